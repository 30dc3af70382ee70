"""A study in an object store."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uncollapse.caches import user_cache
from uncollapse.claim import Claim
from uncollapse.drafts import scratch, sweep
from uncollapse.errors import WorkFailed
from uncollapse.storage.bucket import Bucket
from uncollapse.storage.mirror import Mirror
from uncollapse.store import read_json, write_json

__all__ = ["Cloud"]

PREFIX = "uncollapse-run."  #: of scratch folders
TAIL = 8192  #: bytes at the end of a log that are copied
SMALL = ("study.yaml", "study.json", "data.json", "protocol.json", "failed.json", "state.json", "fit.json")


class Cloud:
    """A study in an object store, with a copy of its small files in the user's cache.

    Arguments:
        address: such as s3://bucket/study.
    """

    def __init__(self, address: str) -> None:
        self.bucket = Bucket(address)
        self.name = self.bucket.name
        title = self.name.rpartition("/")[2] + "-" + hashlib.sha256(self.name.encode()).hexdigest()[:12]
        self.folder = user_cache() / "studies" / title
        self.folder.mkdir(parents=True, exist_ok=True)

    def ready(self) -> None:
        """Look whether the store knows conditional writes."""
        try:
            self.bucket.check()
        except OSError as error:
            raise WorkFailed(f"cannot write {self.name}: {error.strerror or error}") from error

    def refresh(self) -> None:
        """Copy what is new or has changed, and forget what is no longer there."""
        try:
            found = {name: one for name, one in self.bucket.find().items() if small(name)}
            kept = self.stamps()
            for name in sorted(found, key=lambda name: name.endswith("result.json")):
                if kept.get(name) != found[name] or not (self.folder / name).exists():
                    self.copy(name)
            for name in kept.keys() - found.keys():
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise WorkFailed(f"cannot read {self.name}: {error.strerror or error}") from error
        if found != kept:
            write_json(self.folder / ".stamps", found)

    def stamps(self) -> dict[str, str]:
        """What the copy holds, by what the store said of it then."""
        with suppress(WorkFailed):
            found = read_json(self.folder / ".stamps")
            return found if isinstance(found, dict) else {}
        return {}

    def copy(self, name: str) -> None:
        """Copy one file; of a log only its end."""
        with suppress(FileNotFoundError):
            if name.endswith(".jsonl"):
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.bucket.tail(name, TAIL))
            else:
                self.bucket.get(name, self.folder / name)

    def publish(self, *names: str) -> None:
        """Put files of the copy into the store."""
        try:
            for name in names:
                if (self.folder / name).exists():
                    self.bucket.put(self.folder / name, name)
        except OSError as error:
            raise WorkFailed(f"cannot write {self.name}: {error.strerror or error}") from error

    def shelf(self, run: str) -> Bucket:
        """Where the claim on a run lies."""
        return self.bucket.below(run)

    def holds(self, run: str, name: str) -> bool:
        """Whether the folder of a run has a file."""
        return self.bucket.has(f"{run}/{name}")

    def result(self, run: str) -> Path:
        """A fresh copy of the result of a run, which may not be there yet."""
        path = self.folder / run / "result.json"
        path.unlink(missing_ok=True)
        if self.bucket.has(f"{run}/result.json"):
            self.copy(f"{run}/result.json")
        return path

    def set_aside(self, run: str) -> None:
        """Move a damaged result out of the way."""
        name = f"{run}/result.json"
        self.bucket.write(f"{name}.damaged", self.bucket.read(name) or "")
        self.bucket.remove(name)

    def write(self, run: str, name: str, text: str) -> None:
        """Write a small file of a run."""
        self.bucket.write(f"{run}/{name}", text)

    def remove(self, run: str, name: str) -> None:
        """Remove a file of a run."""
        self.bucket.remove(f"{run}/{name}")

    @contextmanager
    def workshop(self, run: str, claim: Claim) -> Iterator[Path]:
        """A scratch folder; what others of this machine left when they were killed is removed."""
        above = Path(tempfile.gettempdir())
        sweep(above, PREFIX)
        with scratch(above, PREFIX) as place:
            folder = place / run
            folder.mkdir()
            self.mirror = Mirror(self.bucket.below(run), folder, claim)
            self.mirror.pull()
            self.mirror.thread.start()
            try:
                yield folder
            finally:
                self.mirror.stop()
                if not claim.lost and not self.mirror.finished:
                    self.mirror.insist()

    def finish(self, run: str, claim: Claim, folder: Path, text: str) -> bool:
        """Make the result, after all other files."""
        self.mirror.stop()
        self.mirror.insist()
        claim.check(now=True)
        self.mirror.finished = True
        made = self.bucket.create(f"{run}/result.json", text)
        for name in self.bucket.below(run).names():
            if name.startswith("checkpoint."):
                self.bucket.remove(f"{run}/{name}")
        return made


def small(name: str) -> bool:
    """Whether the copy holds a file."""
    last = name.rpartition("/")[2]
    named = last in SMALL or last.endswith((".jsonl", "result.json")) or last.startswith(("claim-", "attempt-"))
    return name.count("/") < 2 and named
