"""A scratch folder and a folder of a store: what changes in the one is put into the other."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from uncollapse.claim import Claim
from uncollapse.errors import WorkFailed
from uncollapse.storage.bucket import Bucket

__all__ = ["Mirror"]

EVERY = 1.0  #: seconds between two looks for changes
PATIENCE = 600.0  #: seconds for which a store may be out of reach at the end of a run
OWN = ("claim-", "attempt-", "result.json", "failed.json")  #: what is not a matter of the loop
LEFT = (*OWN, "checkpoint.previous")  #: what is not put: an object is always whole, one checkpoint will do


class Mirror:
    """Puts the files of a run into a store, each whenever it was replaced, in the order in which they were.

    A file that is replaced faster than the network takes it is put as it is when its turn comes. A store that is out
    of reach is tried again while training goes on. Nothing is put once the claim is lost.

    Arguments:
        bucket: the folder of the run in the store.
        folder: the scratch folder.
        claim: on the run.
    """

    def __init__(self, bucket: Bucket, folder: Path, claim: Claim) -> None:
        self.bucket, self.folder, self.claim = bucket, folder, claim
        self.known: dict[str, tuple[int, ...]] = {}
        self.finished = False
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.follow, name="uncollapse-mirror", daemon=True)

    def pull(self) -> None:
        """Bring what an earlier attempt left."""
        for name in self.bucket.find():
            if not name.startswith(OWN) and ".." not in Path(name).parts:
                self.bucket.get(name, self.folder / name)
        self.known = self.seen()

    def seen(self) -> dict[str, tuple[int, ...]]:
        """Every file of the run in the scratch folder, with what changes when it is replaced or written to."""
        found: dict[str, tuple[int, ...]] = {}
        for place, folders, names in os.walk(self.folder):
            folders[:] = [one for one in folders if not one.startswith(".")]
            for name in names:
                path = Path(place) / name
                relative = path.relative_to(self.folder).as_posix()
                if not name.startswith(".") and not relative.startswith(LEFT):
                    with suppress(FileNotFoundError):
                        state = path.stat()
                        found[relative] = (state.st_mtime_ns, state.st_size, state.st_ino)
        return found

    def push(self) -> None:
        """Put what has changed.

        Raises:
            RunConflict: when the claim is lost.
            OSError: when the store is out of reach.
        """
        now = self.seen()
        for name in sorted((one for one in now if self.known.get(one) != now[one]), key=lambda one: now[one]):
            self.claim.check()
            with suppress(FileNotFoundError):
                self.bucket.put(self.folder / name, name)
            self.known[name] = now[name]

    def follow(self) -> None:
        """Put what changes until the end."""
        while not self.over.wait(EVERY) and not self.claim.lost:
            with suppress(OSError, WorkFailed):
                self.push()

    def stop(self) -> None:
        """Leave what there is to `push`."""
        self.over.set()
        if self.thread.ident is not None:
            self.thread.join()

    def insist(self) -> None:
        """Put what has changed, however long the store is away.

        Raises:
            WorkFailed: when that is too long; the next attempt goes on from what was put before.
        """
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.push()
            except (OSError, WorkFailed) as error:
                if time.monotonic() > end:
                    raise WorkFailed(f"{error}; run again to go on from the last checkpoint there") from error
                time.sleep(EVERY)
