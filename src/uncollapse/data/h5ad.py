"""Annotated count tables (.h5ad, as anndata writes them), read in a process of their own."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.tables import coded
from uncollapse.data.tensors import FRACTIONS, from_tensors
from uncollapse.errors import BadInput, Unsupported
from uncollapse.hdf5 import Cells
from uncollapse.limits import regular

__all__ = ["read_h5ad"]

SECONDS, RATE = 30.0, 1e6  # of the processor, and bytes that take a second more
PATIENCE = 20  # times longer by the clock, on a busy machine


def read_h5ad(
    path: str | Path,
    seed: int = 0,
    label: str | None = None,
    layer: str | None = None,
    binarise: str = "none",
    likelihood: str | None = None,
    scale: float = 1.0,
    fractions: Sequence[float] = FRACTIONS,
) -> DataSet:
    """A data set from an .h5ad file: cells by genes, dense or sparse.

    Arguments:
        path: the file.
        seed: of the split.
        label: the column of `obs` that holds labels, such as a cell type; none if None.
        layer: one of `layers`; the table `X` if None.
        binarise, scale, fractions: as for `from_tensors`.
        likelihood: if None, negative binomial where all values are whole numbers from 0, else Gaussian.

    Raises:
        BadInput: when the file is missing, damaged or too large, or points outside itself.
        Unsupported: when h5py is not installed.
    """
    if find_spec("h5py") is None:
        raise Unsupported("h5ad files need h5py, which is not installed: pip install 'uncollapse[h5ad]'")
    path = regular(path)
    x, labels, genes = apart(path, layer, label)
    whole = x.dtype.kind in "ui"
    kind = likelihood or ("negative-binomial" if whole else "gaussian")
    y, classes = (None, ()) if labels is None else coded(labels)
    options: dict[str, Any] = {"binarise": binarise, "scale": scale, "fractions": fractions, "seed": seed}
    made = from_tensors(x, y, name=path.stem, likelihood=kind, divisor=1.0, classes=classes, **options)
    counts = kind in {"negative-binomial", "multinomial"} and len(genes) == x.shape[1]
    return replace(made, vocabulary=genes) if counts else made


def apart(path: Path, layer: str | None, label: str | None, seconds: float = SECONDS) -> Cells:
    """What `hdf5.read_cells` reads, from a process that ends when its time is up.

    Arguments:
        path, layer, label: as for `read_h5ad`.
        seconds: of the processor, and a second more for every megabyte.

    Raises:
        BadInput: when the file is refused, or reading it does not end or ends the process.
    """
    allowed = math.ceil(seconds + path.stat().st_size / RATE)
    with TemporaryDirectory(prefix="uncollapse-") as out:
        options = [str(path.resolve()), out, str(allowed), layer or "", label or ""]
        command, limit = [sys.executable, "-m", "uncollapse.hdf5", *options], PATIENCE * allowed
        try:
            ran = subprocess.run(command, check=False, capture_output=True, timeout=limit, env=found_there())
            if ran.returncode == 0:
                return taken_over(Path(out))
            how = f"the reader ended with {ran.returncode}"
        except subprocess.TimeoutExpired:
            how = "the reader did not end"
    raise BadInput(
        f"{path} is damaged: the library of HDF5 could not read it within {allowed} seconds of the processor ({how}); "
        "write it anew with anndata"
    )


def found_there() -> dict[str, str]:
    """The environment of a process that finds the same packages."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def taken_over(out: Path) -> Cells:
    """What the other process left."""
    facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))
    if "refused" in facts:
        raise BadInput(facts["refused"])
    return np.load(out / "x.npy", allow_pickle=False), facts["labels"], tuple(facts["genes"])
