"""`uncollapse diagnose FILE.py:make_model --weights W --data D`."""

import contextlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from uncollapse.cli.shared import AsJson, DataDir, console, stoppable
from uncollapse.errors import BadInput, UncollapseError

__all__ = ["diagnose_command"]


def diagnose_command(
    model: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="A model, or a function that makes one.")],
    data: Annotated[str, typer.Option("--data", help="A data set (mnist:test), a .npy or .npz file, or FILE.py:NAME.")],
    weights: Annotated[Path | None, typer.Option("--weights", help="A .safetensors file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The HTML page to write.")] = None,
    card: Annotated[Path | None, typer.Option("--card", help="The model-card section to write, in Markdown.")] = None,
    loss: Annotated[
        str | None, typer.Option("--loss", metavar="NAME", help="The training loss, in the model's file.")
    ] = None,
    weight: Annotated[float | None, typer.Option("--weight", help="The weight of the KL (beta).")] = None,
    likelihood: Annotated[
        str | None, typer.Option("--likelihood", help="bernoulli or gaussian, where it is not said.")
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="quick (seconds) or full (a minute or two).")] = "quick",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Examples to take at most.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every sample.")] = 0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a model's posterior has collapsed, where, why, and what to change.

    Example: `uncollapse diagnose model.py:make_model --weights weights.safetensors --data mnist:test --out page.html`
    """
    from uncollapse.diagnose import diagnose
    from uncollapse.report.document import write_page

    file, maker = named(model, "the model")
    made = value_of(file, maker)
    if weights is not None:
        load_weights(made, weights)
    x, labels = examples(data, data_dir, seed, limit)
    with stoppable("nothing was written; a smaller --limit is quicker"):
        found = diagnose(
            made, x, labels, loss=None if loss is None else value_of(file, loss, call=False), weight=weight,
            likelihood=likelihood, budget=budget, seed=seed, name=f"{maker} in {file.name}",
            command=f"uncollapse {' '.join(sys.argv[1:])}", progress=not as_json and sys.stderr.isatty(),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        console().print(found)
    if out is not None:
        typer.echo(f"page: {found.to_html(out)}", err=as_json)
    if card is not None:
        write_page(found.to_card(), card)
        typer.echo(f"card: {card}", err=as_json)


def named(what: str, role: str) -> tuple[Path, str]:
    """FILE.py:NAME as its two parts."""
    file, _, name = what.rpartition(":")
    if not file or not name.isidentifier():
        raise BadInput(f"expected {role} as FILE.py:NAME, got {what!r}; for example model.py:make_model")
    if not Path(file).is_file():
        raise BadInput(f"expected a Python file, but there is no {file}; check the path")
    return Path(file), name


def value_of(file: Path, name: str, call: bool = True) -> Any:
    """What a Python file holds under a name; a function or a class is called without arguments."""
    module = imported(file)
    if not hasattr(module, name):
        there = [key for key in vars(module) if not key.startswith("_")]
        raise BadInput(f"{file} has no {name!r}; it has {', '.join(there[:8]) or 'nothing'}")
    value = getattr(module, name)
    if not call or not callable(value) or (hasattr(value, "parameters") and not isinstance(value, type)):
        return value
    try:
        return value()
    except UncollapseError:
        raise
    except Exception as error:  # somebody's code may raise anything
        what = "should be callable without arguments" if needs_arguments(value) else "could not be called"
        raise BadInput(
            f"{name} in {file} {what}: {type(error).__name__}: {error}; write a function that makes it"
        ) from error


def needs_arguments(function: Any) -> bool:
    """Whether a function cannot be called without arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:  # no signature is known
        return False
    return False


def imported(file: Path) -> Any:
    """A Python file as a module, executed once; its folder is on the path meanwhile."""
    key = f"uncollapse_user_{file.resolve()}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, file)
    if spec is None or spec.loader is None:
        raise BadInput(f"expected a Python file, got {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    try:
        with on_path(file.resolve().parent):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[key]
        raise BadInput(f"{file} could not be run: {type(error).__name__}: {error}") from error
    return module


@contextlib.contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Imports look in a folder too."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def load_weights(model: Any, path: Path) -> None:
    """Put the tensors of a .safetensors file into a model.

    Raises:
        BadInput: when the file is another kind, damaged, or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors" and not path.is_file():
        raise BadInput(f"expected a file of weights, but there is no {path}; check the path")
    if path.suffix != ".safetensors" or starts_like_a_pickle(path):
        raise BadInput(
            f"expected weights as .safetensors, got {path.name}, which may run code when it is opened; convert it with "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), 'weights.safetensors')"
        )
    if not hasattr(model, "load_state_dict"):
        raise BadInput(f"expected a torch module to put the weights into, got a {type(model).__name__}")
    try:
        tensors = load_file(path)
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} does not fit: {error}") from error
    odd = [name for name, one in tensors.items() if one.is_floating_point() and one.float().isnan().any()]
    if odd:  # infinite numbers may be meant, in masks
        raise BadInput(f"{path} holds NaN ({', '.join(odd[:3])}); take weights from before training went wrong")
    if missing or unexpected:
        raise BadInput(
            f"{path} and the model differ: {len(missing)} tensors are missing ({', '.join(missing[:3])}) and "
            f"{len(unexpected)} are unknown ({', '.join(unexpected[:3])}); make the model with the same settings"
        )


def starts_like_a_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or torch's zip of one, whatever its name; weights begin with a length that fits."""
    with path.open("rb") as file:
        head = file.read(8)
    packed = head[:2] in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}
    return packed and int.from_bytes(head, "little") > path.stat().st_size


def examples(what: str, data_dir: Path | None, seed: int, limit: int | None) -> tuple[Any, Any]:
    """Inputs and labels (or None) from a name with a part, a file, or FILE.py:NAME."""
    from uncollapse import data

    name, _, part = what.rpartition(":")
    if name.endswith(".py"):
        value = value_of(*named(what, "the data"))
        x, labels = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    elif what.endswith((".npy", ".npz")) and Path(what).is_file():
        x, labels = from_file(Path(what))
    else:
        name, part = (name, part) if name else (what, "test")
        parts = data.load(name, seed=seed, data_dir=data_dir).parts
        if part not in parts:
            raise BadInput(f"{name} has no part {part!r}; there are {', '.join(parts)}")
        x, labels = whole(parts[part])
    return (x, labels) if limit is None else limited(x, labels, limit)


def from_file(path: Path) -> tuple[Any, Any]:
    """All examples of an array file, or its test part where it has one."""
    from uncollapse.data.arrays import grey, read_arrays

    arrays = read_arrays(path)
    x, y = ("x_test", "y_test") if "x_test" in arrays else ("x", "y")
    if x not in arrays:
        raise BadInput(
            f"{path} should hold x and perhaps y, or x_test and y_test, got {', '.join(arrays) or 'nothing'}"
        )
    return grey(arrays[x]), arrays.get(y)


def limited(x: Any, labels: Any, limit: int) -> tuple[Any, Any]:
    """The first examples of a table or a data set.

    Raises:
        BadInput: for a loader or an iterator, which has no first examples without reading it.
    """
    from torch.utils.data import Dataset, Subset

    if hasattr(x, "shape") or (isinstance(x, list) and labels is not None):
        return x[:limit], None if labels is None else labels[:limit]
    if isinstance(x, Dataset) and hasattr(x, "__len__"):
        return Subset(x, range(min(limit, len(x)))), None if labels is None else labels[:limit]
    raise BadInput(f"--limit needs a table or a data set to cut, got a {type(x).__name__}; limit it in the file")


def whole(part: Any) -> tuple[Any, Any]:
    """All inputs and labels of one part of a data set."""
    import torch

    pieces = list(part.batches(4096))
    labels = [y for _, y in pieces if y is not None]
    return torch.cat([x for x, _ in pieces]), torch.cat(labels) if len(labels) == len(pieces) else None
