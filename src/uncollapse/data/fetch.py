"""The files of a data set, from where they are published."""

from difflib import get_close_matches
from pathlib import Path

from uncollapse.data.catalogue import SOURCES, about
from uncollapse.data.download import Progress, download, is_known
from uncollapse.data.places import roots
from uncollapse.data.source import Source
from uncollapse.errors import BadInput

__all__ = ["fetch", "target_of"]


def fetch(
    name: str, data_dir: str | Path | None = None, progress: Progress | None = None, replace: bool = False
) -> list[Path]:
    """Download the files of a data set into the first place where they are looked for.

    A file that is there and is the known one is left alone; a broken download goes on where it stopped.

    Arguments:
        name: of the data set.
        data_dir: folder for data; $UNCOLLAPSE_DATA or the user's cache if None.
        progress: called with a file's name, the bytes so far and the bytes in all.
        replace: whether files that are there and are not the known ones may be replaced.

    Returns:
        The files, all of them with the known hash.

    Raises:
        BadInput: for an unknown name, one that cannot be downloaded, and files that would have to be replaced.
        WorkFailed: when the server, the connection or the disk fails, or what came is not the known file.
    """
    source = about(name)
    if not source.remote:
        raise BadInput(no_remote(source, data_dir))
    folder = target_of(source, data_dir)
    for remote in source.remote:
        target = folder / remote.file
        if target.exists() and not is_known(target, remote) and not replace:
            raise BadInput(
                f"{target} is there, but is not the published file ({target.stat().st_size} bytes, expected "
                f"{remote.size} with SHA-256 {remote.sha256[:12]}...); move it away, or replace it with --replace"
            )
    return [download(remote, folder / remote.file, progress) for remote in source.remote]


def no_remote(source: Source, data_dir: str | Path | None) -> str:
    """Why there is nothing to download, and what to do instead."""
    if not source.folders:
        return f"{source.name} needs no file; load it as it is"
    wanted = ", ".join(group[0] for group in source.files)
    able = [one.name for one in SOURCES.values() if one.remote]
    near = get_close_matches(source.name, able, 1, 0.5)
    instead = f"; {near[0]} can be fetched" if near else ""
    how = source.by_hand or "get the files from where they are published"
    return (
        f"{source.name} cannot be downloaded from here; {how}; put {wanted} into {target_of(source, data_dir)}{instead}"
    )


def target_of(source: Source, data_dir: str | Path | None = None) -> Path:
    """The folder that files are put into: one that is there already, else a new one in the first root."""
    root = roots(data_dir)[0]
    if root.name in source.folders:
        return root
    return next((root / name for name in source.folders if (root / name).is_dir()), root / source.folders[0])
