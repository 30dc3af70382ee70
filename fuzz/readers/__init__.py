"""Every reader of other people's files, by name."""

from fuzz.attempt import Reader
from fuzz.readers import archives, arrays, pickles, pictures, runs, tables, texts

__all__ = ["NAMED", "READERS"]

READERS: dict[str, Reader] = {
    one.name: one
    for one in (
        *arrays.READERS,
        *archives.READERS,
        *pickles.READERS,
        *pictures.READERS,
        *tables.READERS,
        *texts.READERS,
        *runs.READERS,
    )
}

#: those that the package promises at least half an hour of the processor for
NAMED = ("idx", "mat", "npy", "npz", "zip", "pickle", "parquet", "pictures", "text")
