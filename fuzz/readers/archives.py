"""Zip archives: Omniglot's drawings and the counts of 20 Newsgroups, which are read and never unpacked to disk."""

import io
from pathlib import Path
from typing import Any

from fuzz.attempt import Reader
from fuzz.packing import in_zip, zipped

__all__ = ["READERS"]


def run(data: bytes, folder: Path) -> Any:
    """Both readers: an archive with drawings goes to the first, others to the second."""
    from uncollapse.data import counts, omniglot_lake
    from uncollapse.data.stored import Store

    name = "images_background.zip" if b"images_" in data else "20ng.zip"
    path = folder / "newsgroups20" / name
    path.parent.mkdir()
    path.write_bytes(data)
    if name == "20ng.zip":
        return counts.newsgroups20(data_dir=folder, valid=2)
    return omniglot_lake.write(Store(), [path, path])


def drawing() -> bytes:
    """A small picture."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("1", (30, 30), 1).save(buffer, "PNG")
    return buffer.getvalue()


def seeds() -> dict[str, bytes]:
    """An archive of each kind, packed and not, with names that lead elsewhere, and one in another."""
    lines = b"".join(b"%d 1:%d 2:1\n" % (label % 2 + 1, label + 1) for label in range(8))
    bags = {"20ng/train.feat": lines, "20ng/test.feat": lines, "20ng/vocab.new": b"cat 3\ndog 2\n"}
    places = [f"images_background/{name}/character01/0{n}_01.png" for n, name in enumerate(("Greek", "..", "Latin"))]
    pictures = dict.fromkeys([*places, "../../images_b/x/character01/01_01.png"], drawing())
    return {
        "bags": zipped(bags),
        "bags-stored": zipped(bags, 0),
        "pictures": zipped(pictures),
        "nested": zipped({"20ng/train.feat": zipped(bags), **bags}),
    }


READERS = (Reader("zip", run, seeds, in_zip, 16384),)
