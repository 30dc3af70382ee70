"""Data sets by name, from files and from tensors. Nothing is downloaded."""

from uncollapse.data.builtin import digits, gaussian_mixture
from uncollapse.data.catalogue import Entry, about, catalogue, load, names
from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import read_idx
from uncollapse.data.part import Part
from uncollapse.data.source import Remote, Source
from uncollapse.data.tensors import as_data, as_values, from_tensors

__all__ = [
    "DataSet",
    "Entry",
    "Part",
    "Remote",
    "Source",
    "about",
    "as_data",
    "as_values",
    "catalogue",
    "digits",
    "from_tensors",
    "gaussian_mixture",
    "load",
    "names",
    "read_idx",
]
