"""Old pickles of plain numbers, read without running anything that they name."""

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uncollapse.errors import BadInput, said
from uncollapse.limits import regular

__all__ = ["read_pickle"]

MAX_BYTES = 256 * 2**20
KINDS = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}


class Kind:
    """Stands in for numpy.dtype: keeps what the pickle says and does nothing with it."""

    def __init__(self, *settings: Any) -> None:
        self.settings = settings
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Array:
    """Stands in for numpy.ndarray."""

    state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


def reconstruct(*_: Any) -> Array:
    """Stands in for NumPy's function that makes an empty array, to be filled by its state."""
    return Array()


ADMITTED = {("numpy", "ndarray"): Array, ("numpy", "dtype"): Kind} | {
    (f"numpy.{core}.multiarray", "_reconstruct"): reconstruct for core in ("core", "_core")
}


OPCODES = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.DUP, pickle.MEMOIZE),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.GET, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2),
    *(pickle.LONG, pickle.LONG1, pickle.LONG4, pickle.FLOAT, pickle.BINFLOAT),
    *(pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.UNICODE, pickle.BINUNICODE),
    *(pickle.SHORT_BINUNICODE, pickle.BINUNICODE8, pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST, pickle.LIST),
    *(pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE),
)  #: what numbers, texts, lists, tuples, dictionaries and arrays are written with


class Careful(pickle._Unpickler):  # the one in C lets a file claim memory at will
    """An unpickler that knows three names, and stand-ins for them; it has only what plain values are made of."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPCODES}

    def load_build(self) -> None:
        """Give a stand-in its state, and nothing else any."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Array | Kind):
            raise BadInput("it sets the state of something that is no array")
        self.stack[-1].__setstate__(state)

    def load_setitems(self) -> None:
        """Entries of a dictionary; keys are texts or numbers, because nested ones can overrun the stack of C."""
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.enter(key, value)

    def load_setitem(self) -> None:
        """One entry of a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        self.enter(key, value)

    def load_dict(self) -> None:
        """A dictionary of the items since the mark."""
        items = self.pop_mark()
        self.stack.append({})
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.enter(key, value)

    def enter(self, key: Any, value: Any) -> None:
        """Put an entry into the dictionary on top of the stack."""
        if type(self.stack[-1]) is not dict or type(key) not in {str, bytes, int}:
            raise BadInput(f"it has a {type(key).__name__} as a key of a {type(self.stack[-1]).__name__}")
        self.stack[-1][key] = value

    dispatch |= {pickle.BUILD[0]: load_build, pickle.DICT[0]: load_dict}
    dispatch |= {pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems}

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the file stands for."""
        if (module, name) not in ADMITTED:
            raise BadInput(
                f"it names {f'{module}.{name}'[:100]}, which plain numbers do not need; do not open it elsewhere either"
            )
        return ADMITTED[module, name]


def read_pickle(path: str | Path) -> dict[str, Any]:
    """The dictionary in a pickle that holds plain values and NumPy arrays of numbers.

    Nothing that the file names is ever called: the three names that an array needs lead to stand-ins, and the arrays
    are made from their bytes here.

    Arguments:
        path: the file, written by Python 2 or 3.

    Returns:
        Its entries; keys and the texts in lists of texts are strings, whichever Python wrote them.

    Raises:
        BadInput: when the file is missing, damaged, too large, no dictionary, or names anything else.
    """
    path = regular(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error
    if len(data) > MAX_BYTES:
        raise BadInput(f"{path} is larger than {MAX_BYTES} bytes; is this the right file?")
    try:
        content = Careful(io.BytesIO(data), encoding="bytes").load()
        return {text(key): value_of(value) for key, value in dict(content).items()}
    except BadInput as error:
        raise BadInput(f"{path} was not read: {error}") from error
    except Exception as error:  # a damaged pickle may fail in any way
        raise BadInput(f"{path} is not a readable pickle of numbers ({type(error).__name__}: {said(error)})") from error


def text(value: Any) -> Any:
    """Bytes as a string; everything else as it is."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def value_of(value: Any) -> Any:
    """A value with real arrays for the stand-ins."""
    if isinstance(value, Array):
        return array_of(value)
    if isinstance(value, list):
        return [text(item) for item in value]
    return text(value)


def array_of(given: Array) -> np.ndarray:
    """An array from what its stand-in was told."""
    _, shape, kind, fortran, data = given.state
    name, order = text(kind.settings[0]), text(kind.state[1])
    if name not in KINDS or order not in {"|", "<", ">", "="}:
        raise BadInput(f"it holds an array of type {name!r}, not of plain numbers")
    dtype = np.dtype(name).newbyteorder(order)
    if (
        not isinstance(data, bytes)
        or any(int(side) < 0 for side in shape)
        or math.prod(shape) * dtype.itemsize != len(data)
    ):
        raise BadInput(f"it announces an array of shape {shape} that does not fit its bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
