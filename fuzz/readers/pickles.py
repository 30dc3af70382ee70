"""CIFAR-10's pickles."""

import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.attempt import Reader

__all__ = ["READERS"]


class Evil:
    """Pickled, it asks its reader to call something."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = (call, arguments)

    def __reduce__(self) -> Any:
        return self.call


def run(data: bytes, folder: Path) -> Any:
    """A batch, the names of the classes, and any pickle."""
    from uncollapse.data import cifar10, pickles

    path = folder / "data_batch_1"
    path.write_bytes(data)
    which = zlib.crc32(data) % 3
    return (cifar10.read_batch, cifar10.class_names, pickles.read_pickle)[which](path)


def seeds() -> dict[str, bytes]:
    """Batches as Python 2 and 3 write them, names, and pickles that ask for more."""
    import os
    import subprocess

    x = np.zeros((2, 3072), np.uint8)
    small = {b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [1, 2]}
    out = {f"protocol-{p}": pickle.dumps(small, p) for p in range(6)}
    out["batch"] = pickle.dumps({b"data": x, b"labels": [1, 2]}, 2)
    out["names"] = pickle.dumps({b"label_names": [b"a"] * 10, "n": {"deep": [(1, 2)]}}, 2)
    out["python2"] = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
        b"\x87Rq\x05(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x02ABtbU\x06labelsq\x08]q\x09(K\x01K\x02eu."
    )
    calls = (Evil(os.system, "true"), Evil(eval, "1"), Evil(open, "made", "w"), Evil(subprocess.Popen, ["true"]))
    return out | {f"evil-{n}": pickle.dumps({"data": call}, n) for n, call in enumerate(calls)}


READERS = (Reader("pickle", run, seeds, None, 4096),)
