"""Finding out, on one batch, how somebody's model gives a posterior."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.adapters.levels import Levels
from uncollapse.adapters.observed import choose
from uncollapse.adapters.parts import parts_of, returned_names, role_of
from uncollapse.adapters.posterior import Choice, Reading, decide, same, split_in_two, twice
from uncollapse.codes import device_of, dtype_of
from uncollapse.data import as_values
from uncollapse.distributions import describe
from uncollapse.errors import BadInput, ShapeError, Unsupported

__all__ = ["DECODERS", "ENCODERS", "HOW", "Encoding", "encoding_of", "modules_of", "named", "on_device"]

ENCODERS = ("encode", "encoder", "inference", "inference_network", "recognition", "enc")
DECODERS = ("decode", "decoder", "generator", "generative_network", "dec")
HOW = "give it encode(x) -> (mean, log_variance) and decode(z), or pass uncollapse.VAE(encoder, decoder, latent=D)"


@dataclass(frozen=True)
class Encoding:
    """How to get the raw posterior of a batch: how x enters, who is called, and how the output is read."""

    enter: Callable[[Tensor], Tensor]
    call: Callable[[Tensor], Any]
    reading: Reading
    remarks: tuple[str, ...] = ()


def modules_of(native: Any) -> nn.Module:
    """The model itself, or a list of the modules that a plain object holds."""
    if isinstance(native, nn.Module):
        return native
    values = vars(native).values() if hasattr(native, "__dict__") else ()
    return nn.ModuleList([value for value in values if isinstance(value, nn.Module)])


def on_device(x: Any, module: nn.Module) -> Tensor:
    """A batch on the device and in the floating type of a model."""
    if not isinstance(x, Tensor | np.ndarray) or x.ndim < 2 or len(x) == 0:
        raise ShapeError(f"x should be a batch (B, *X) of at least one example, got {describe(x)}")
    return as_values(x).to(device_of(module), dtype_of(module))


def named(native: Any, names: tuple[str, ...]) -> tuple[str, Callable[..., Any]] | None:
    """The first callable attribute of these names."""
    for name in names:
        one = getattr(native, name, None)
        if callable(one):
            return name, one
    return None


def entries(x: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Ways to hand over a batch, with a remark each: as it is, flattened, as images, as whole numbers."""
    yield "", same
    if x.ndim > 2:
        yield "each example is flattened before it is encoded", lambda x: x.flatten(1)
    if x.ndim == 3:
        yield "images get a channel dimension before they are encoded", lambda x: x.unsqueeze(1)
    side = round(x[0].numel() ** 0.5)
    if x.ndim == 2 and side**2 == x.shape[1]:
        yield "rows are encoded as square images", lambda x: x.reshape(-1, 1, side, side)
    if bool((x == x.round()).all()):
        yield "values are handed over as whole numbers", lambda x: x.long()


def encoding_of(native: Any, x: Tensor) -> Encoding:
    """The first way to encode a batch that gives a posterior: the encoder, the model's own heads, or `forward`."""
    found = named(native, ENCODERS)
    error = ""
    for attempt, (remark, enter) in product((try_encoder, try_forward), entries(x)):
        try:
            outcome = attempt(native, found, enter, x)
        except (BadInput, Unsupported, torch.OutOfMemoryError):
            raise
        except Exception as problem:  # a foreign network complains in its own way
            error, outcome = error or f": {problem}", None
        if outcome is not None:
            remarks = (remark, *outcome.remarks) if remark else outcome.remarks
            return Encoding(enter, outcome.call, outcome.reading, remarks)
    name = type(native).__name__
    raise BadInput(f"no posterior could be read from {name} on x of shape {tuple(x.shape)}{error}; {HOW}")


def try_encoder(native: Any, found: Any, enter: Any, x: Tensor) -> Encoding | None:
    """What the encoder says; a single tensor goes through the model's heads, or is cut into mean and log-variance."""
    if found is None:
        return None
    name, call = found
    reading = decide(lambda: call(enter(x)), returned_names(call), native)
    if reading is not None:
        return Encoding(enter, call, reading)
    parts = parts_of(call(enter(x)))
    if len(parts) != 1:
        return None
    value = parts[0][1]
    found_heads = heads_of(native) if name != "encode" else None
    if found_heads is None:
        return forward_or_none(native, enter, x) or single(native, call, enter, value, x)
    names, heads = found_heads
    through = through_heads(call, heads)
    reading = decide(lambda: through(enter(x)), names, native)
    return None if reading is None else Encoding(enter, through, reading)


def heads_of(native: Any) -> tuple[list[str], list[nn.Module]] | None:
    """The model's own layers for mean and spread, by their names."""
    children = list(native.named_children()) if isinstance(native, nn.Module) else []
    mean = next(((n, m) for n, m in children if role_of(n) == "mean"), None)
    spread = next(((n, m) for n, m in children if role_of(n) in {"log-variance", "log-deviation", "variance"}), None)
    return None if mean is None or spread is None else ([mean[0], spread[0]], [mean[1], spread[1]])


def through_heads(call: Callable[..., Any], heads: list[nn.Module]) -> Callable[[Tensor], Any]:
    """The encoder followed by the layers for mean and spread."""

    def encode(x: Tensor) -> tuple[Any, ...]:
        features = parts_of(call(x))[0][1].flatten(1)
        return tuple(head(features) for head in heads)

    return encode


def single(native: Any, call: Any, enter: Any, value: Tensor, x: Tensor) -> Encoding | None:
    """One tensor: a code if the decoder takes it whole, mean and log-variance if it takes half."""
    decoder = named(native, DECODERS)
    dims = [-1] if value.ndim == 2 else [1, -1]
    if decoder is not None and described(decoder[1], value, x) is not None:
        first, second = twice(lambda: call(enter(x)))
        if not torch.equal(parts_of(first)[0][1], parts_of(second)[0][1]):
            raise BadInput(f"{type(native).__name__} encodes to a random z without its mean and spread; {HOW}")
        raise Unsupported(
            f"{type(native).__name__} is an autoencoder without a posterior: its encoder returns one code of shape "
            f"{tuple(value.shape[1:])} that the decoder takes whole, so there is no q(z|x) that could collapse"
        )
    for dim in dims:
        if value.shape[dim] % 2 == 0 and (
            decoder is None or described(decoder[1], value.chunk(2, dim)[0], x) is not None
        ):
            half = value.chunk(2, dim)[0]
            choice = Choice(0, 1, "log-variance", "the encoder's one output is cut in half: mean, then log-variance")
            return Encoding(enter, call, Reading((choice,), Levels((tuple(half.shape[1:]),)), split_in_two(dim)))
    return None


def described(decoder: Callable[..., Any], z: Any, x: Tensor) -> Any:
    """What a decoder returns for z, if that can describe x; else None."""
    try:
        raw = decoder(z)
        choose(raw, x)
    except Exception as problem:
        if isinstance(problem, torch.OutOfMemoryError):
            raise
        return None
    return raw


def try_forward(native: Any, _: Any, enter: Any, x: Tensor) -> Encoding | None:
    """Mean and log-variance among what `forward` returns."""
    if not callable(native):
        return None
    reading = decide(lambda: native(enter(x)), returned_names(native), native, skip=x[0].numel())
    if reading is None or reading.levels.several:
        return None
    return Encoding(enter, native, reading, ("mean and spread are taken from what forward(x) returns",))


def forward_or_none(native: Any, enter: Any, x: Tensor) -> Encoding | None:
    """The same where forward may want more than x, or another shape."""
    try:
        return try_forward(native, None, enter, x)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return None
