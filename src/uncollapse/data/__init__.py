"""Data sets by name, from files and from tensors. Nothing is downloaded unless `fetch` is asked for it."""

from uncollapse.data.builtin import digits, gaussian_mixture
from uncollapse.data.catalogue import Entry, about, catalogue, load, names
from uncollapse.data.checking import Report, check
from uncollapse.data.dataset import DataSet
from uncollapse.data.fetch import fetch
from uncollapse.data.idx import read_idx
from uncollapse.data.part import Part
from uncollapse.data.source import Remote, Source
from uncollapse.data.tensors import as_data, as_values, from_tensors
from uncollapse.data.vocabulary import decode, encode

__all__ = [
    "DataSet",
    "Entry",
    "Part",
    "Remote",
    "Report",
    "Source",
    "about",
    "as_data",
    "as_values",
    "catalogue",
    "check",
    "decode",
    "digits",
    "encode",
    "fetch",
    "from_tensors",
    "gaussian_mixture",
    "load",
    "names",
    "read_idx",
]
