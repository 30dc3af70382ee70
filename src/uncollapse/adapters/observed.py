"""Which likelihood a decoder's output stands for, decided from the output and the data."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal

from uncollapse.adapters.parts import parts_of, role_of
from uncollapse.adapters.spread import SPREADS, spread_kind
from uncollapse.distributions import FixedGaussian, Reader, bernoulli, describe, precise
from uncollapse.errors import BadInput

__all__ = ["Seen", "choose", "probabilities", "reconstruction"]

EDGE = 100.0  #: logit of probabilities 0 and 1, where log is cut off as in torch's binary cross entropy
HOW = 'if not, say likelihood="bernoulli", "logits", "gaussian", FixedGaussian(...) or a reader of your own'
NAMED = ("bernoulli", "logits", "gaussian")


@dataclass(frozen=True)
class Seen:
    """A reader of what the decoder returns, and what was assumed.

    Attributes:
        read: raw output to p(x|z), batch (B,), event X.
        assumed: whether the family or its scale is a guess.
        remark: the guess in words, "" where there is none.
    """

    read: Reader
    assumed: bool = False
    remark: str = ""


def choose(raw: Any, x: Tensor, likelihood: str | Reader | None = None) -> Seen:
    """Read a decoder's output as a likelihood of x.

    Arguments:
        raw: what the decoder returned for codes of `x`.
        x: (B, *X), the data.
        likelihood: "bernoulli" (probabilities), "logits" (of a Bernoulli), "gaussian" (means, variance from the
            residuals), a reader, or None to decide from the values.

    Raises:
        BadInput: when `likelihood` is none of these, or the output does not describe x.
    """
    shape = tuple(x.shape[1:])
    if callable(likelihood):
        given: Reader = likelihood
        return Seen(lambda out: given(shaped(out, shape)))
    if likelihood is not None and likelihood not in NAMED:
        raise BadInput(f"likelihood should be one of {', '.join(NAMED)}, a reader or None, got {likelihood!r}")
    value = observation_of(raw, x)
    if isinstance(value, Distribution):
        return Seen(lambda out: whole(reconstruction(out), len(shape)))
    if likelihood is None and value[0].numel() != x[0].numel():
        return tokens(value, x)
    second = learned_spread(raw, x) if likelihood is None else None
    if second is not None:
        return second
    out = precise(value).reshape(x.shape)
    good = out.flatten(1).isfinite().all(1) & x.flatten(1).isfinite().all(1)
    return Seen(*by_values(out[good], precise(x[good]), likelihood))


def by_values(out: Tensor, x: Tensor, likelihood: str | None) -> tuple[Reader, bool, str]:
    """Reader, whether it is assumed, and the remark, for a decoder that returns one tensor like x."""
    shape = tuple(x.shape[1:])
    family = likelihood or guess(out, x)
    assumed = likelihood is None
    if family == "gaussian":
        # With z drawn from q, this variance is the one that maximises the bound.
        fixed = FixedGaussian(residual(out, x))
        remark = f"the likelihood is taken as Gaussian with the residuals' own standard deviation {fixed.scale:.4g}"
        return (lambda raw: fixed(shaped(raw, shape))), True, f"{remark}; {HOW}{unscaled(out, x)}"
    name = "probabilities" if family == "bernoulli" else "logits"
    remark = f"the decoder's output is read as {name} of a Bernoulli likelihood; {HOW}" if assumed else ""
    read = probabilities if family == "bernoulli" else bernoulli
    return (lambda raw: read(shaped(raw, shape))), assumed, remark


def residual(out: Tensor, x: Tensor) -> float:
    """Root mean squared error, but no less than a thousandth of the spread of the data; 1 without any example."""
    if out.numel() < 2:
        return 1.0
    return max(float((out - x).double().square().mean().sqrt()), 1e-3 * float(x.double().std()), 1e-6)


def unscaled(out: Tensor, x: Tensor) -> str:
    """A warning where the decoder answers in shares of 1 and the data are larger."""
    if not len(x) or not bool(((out >= 0) & (out <= 1)).all()) or not float(x.max()) > 2:
        return ""
    return f". The decoder stays within 0 to 1 but the data reach {float(x.max()):.4g}: scale them as in training"


def guess(out: Tensor, x: Tensor) -> str:
    """The family that the values speak for: the reading that is closer to the data where two are possible."""
    if not len(x) or not (bool((x >= 0).all()) and bool((x <= 1).all())):
        return "gaussian"
    if bool((out >= 0).all()) and bool((out <= 1).all()):
        return "bernoulli"
    closer = float((out.sigmoid() - x).square().mean()) < float((out - x).square().mean())
    return "logits" if closer else "gaussian"


def probabilities(raw: Any) -> Distribution:
    """Bernoulli from probabilities (B, *X), with the cut-off of torch's binary cross entropy at 0 and 1."""
    if isinstance(raw, Distribution):
        return raw
    p = precise(raw)
    inside = p.clamp(torch.finfo(p.dtype).tiny, 1 - torch.finfo(p.dtype).eps / 2)
    logits = inside.log() - torch.log1p(-inside)
    logits = torch.where(p >= 1, EDGE, torch.where(p <= 0, -EDGE, logits))
    return bernoulli(logits)


def reconstruction(raw: Any, numbers: int = 0) -> Any:
    """The tensor or distribution in a decoder's output that describes x.

    Arguments:
        raw: a tensor, a distribution, a tuple, a mapping or an object.
        numbers: of one observation; 0 to take any.
    """
    parts = parts_of(raw)
    for _, value in parts:
        if isinstance(value, Distribution):
            return value
    tensors = [(name, value) for name, value in parts if value.ndim >= 2]
    fits = [one for one in tensors if not numbers or one[1][0].numel() == numbers] or tensors
    ranked = sorted(fits, key=lambda one: ("observation", "mean").index(role) if (role := role_of(one[0])) in
                    {"observation", "mean"} else 2)  # fmt: skip
    return ranked[0][1] if ranked else None


def observation_of(raw: Any, x: Tensor) -> Any:
    """What describes x in a decoder's output, checked for its shape."""
    value = reconstruction(raw, x[0].numel())
    if isinstance(value, Distribution):
        event = (*value.batch_shape, *value.event_shape)
        if event != tuple(x.shape):
            raise BadInput(f"the decoder describes observations of shape {event[1:]}, but x has {tuple(x.shape[1:])}")
        return value
    labels = value is not None and value.ndim == x.ndim + 1 and class_dim(value, x) is not None
    if value is None or len(value) != len(x) or not (value[0].numel() == x[0].numel() or labels):
        raise BadInput(f"the decoder should describe x of shape {tuple(x.shape)}, but it returns {describe(raw)}")
    return value


def shaped(raw: Any, shape: tuple[int, ...]) -> Any:
    """The part of an output that describes x, as (B, *X)."""
    value = reconstruction(raw, math.prod(shape))
    return whole(value, len(shape)) if isinstance(value, Distribution) else precise(value).reshape(-1, *shape)


def whole(px: Distribution, dims: int) -> Distribution:
    """A likelihood whose batch shape is (B,)."""
    extra = dims - len(px.event_shape)
    return Independent(px, extra, validate_args=False) if extra > 0 else px


def learned_spread(raw: Any, x: Tensor) -> Seen | None:
    """A Gaussian whose spread the decoder returns beside the mean; None where there is no second tensor like x."""
    like = [(i, name) for i, (name, value) in enumerate(parts_of(raw)) if getattr(value, "shape", None) == x.shape]
    roles = [role_of(name) for _, name in like]
    if len(like) != 2 or not (set(roles) & set(SPREADS) or set(roles) == {""}):
        return None
    order = like if roles[0] not in SPREADS else like[::-1]
    (mean, _), (spread, name) = order
    kind, why = spread_kind(name, parts_of(raw)[spread][1])

    def read(out: Any) -> Distribution:
        parts = parts_of(out)
        loc, scale = precise(parts[mean][1]), SPREADS[kind](precise(parts[spread][1]))
        return Independent(Normal(loc, scale, validate_args=False), loc.ndim - 1, validate_args=False)

    remark = f"the decoder's two outputs are read as mean and {kind} of a Gaussian likelihood"
    return Seen(read, bool(why), f"{remark}; {HOW}" if why else "")


def class_dim(out: Tensor, x: Tensor) -> int | None:
    """Which dimension of (B, V, *X) or (B, *X, V) counts classes; None where x is no table of whole numbers."""
    if not bool((x == x.round()).all()) or bool((x < 0).any()):
        return None
    for dim in (-1, 1):
        if tuple(out.movedim(dim, -1).shape[:-1]) == tuple(x.shape) and float(x.max()) < out.shape[dim]:
            return dim
    return None


def tokens(out: Tensor, x: Tensor) -> Seen:
    """Independent classes at every place, from scores over V classes."""
    dim, dims = class_dim(out, x), x.ndim - 1
    if dim is None:
        raise BadInput(
            f"the decoder returns {describe(out)} for x of shape {tuple(x.shape)}; pass likelihood= to read it"
        )

    def read(raw: Any) -> Distribution:
        scores = precise(reconstruction(raw)).movedim(dim, -1)
        return Independent(Categorical(logits=scores, validate_args=False), dims, validate_args=False)

    remark = f"the decoder's output is read as logits over {out.shape[dim]} classes at each place; {HOW}"
    return Seen(read, True, remark)
