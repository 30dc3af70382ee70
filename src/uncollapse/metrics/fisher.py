"""Which parameters a likelihood has, and how much its Fisher information weighs a small change of each."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Laplace,
    LogNormal,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    Poisson,
)

from uncollapse.distributions import Folded
from uncollapse.errors import BadInput, Unsupported
from uncollapse.nets.autoregressive import Autoregressive

__all__ = ["Family", "core", "family_of", "mean_of", "parameters_of"]

Roots = tuple[Tensor | None, ...]


class Family(NamedTuple):
    """A family of likelihoods whose Fisher information is diagonal in its parameters.

    Attributes:
        names: of the parameters, attributes of the distribution; where it lies comes first.
        roots: square roots of the diagonal, from the parameters; None where no form is known.
    """

    names: tuple[str, ...]
    roots: Callable[..., Roots]


def normal(loc: Tensor, scale: Tensor) -> Roots:
    """1 / s² for the mean, 2 / s² for the standard deviation."""
    return 1 / scale, 2**0.5 / scale


def laplace(loc: Tensor, scale: Tensor) -> Roots:
    """1 / b² for the centre and for the width."""
    return 1 / scale, 1 / scale


def bernoulli(logits: Tensor) -> Roots:
    """pi (1 - pi), without a difference that would cancel."""
    return ((logits.sigmoid() * (-logits).sigmoid()).sqrt(),)


def categorical(logits: Tensor) -> Roots:
    """pi, for logits that are normalised: their changes are centred under pi, so no row is taken off."""
    return ((0.5 * logits).exp(),)


def poisson(rate: Tensor) -> Roots:
    """1 / rate."""
    return (rate.rsqrt(),)


def negative_binomial(logits: Tensor, total_count: Tensor) -> Roots:
    """r pi for the logits; no closed form for r."""
    return (total_count * logits.sigmoid()).sqrt(), None


FAMILIES: dict[type[Distribution], Family] = {
    Normal: Family(("loc", "scale"), normal),
    LogNormal: Family(("loc", "scale"), normal),
    Laplace: Family(("loc", "scale"), laplace),
    Bernoulli: Family(("logits",), bernoulli),
    Categorical: Family(("logits",), categorical),
    OneHotCategorical: Family(("logits",), categorical),
    Poisson: Family(("rate",), poisson),
    NegativeBinomial: Family(("logits", "total_count"), negative_binomial),
}


def core(px: Distribution) -> Distribution:
    """The distribution of single numbers behind `Folded` and `Independent`."""
    while isinstance(px, Folded | Independent):
        px = px.base if isinstance(px, Folded) else px.base_dist
    return px


def family_of(px: Distribution) -> Family | None:
    """The family of a likelihood; None if it is unknown, or a subclass with a density of its own."""
    base = core(px)
    if isinstance(base, Autoregressive):
        return FAMILIES[Bernoulli]
    for kind, family in FAMILIES.items():
        if isinstance(base, kind) and type(base).log_prob is kind.log_prob:
            return family
    return None


def parameters_of(px: Distribution, x: Tensor | None) -> tuple[Tensor, ...]:
    """The parameters of a likelihood of a known family; those of an autoregressive one at the true x before them."""
    base, family = core(px), cast(Family, family_of(px))
    if isinstance(base, Autoregressive):
        return (base.logits(needed(x)),)
    return tuple(getattr(base, name) for name in family.names)


def mean_of(px: Distribution, x: Tensor | None) -> Tensor:
    """The mean of a likelihood; of classes, their probabilities."""
    base = core(px)
    if isinstance(base, Autoregressive):
        return base.expected(needed(x))
    try:
        mean: Any = base.probs if isinstance(base, Categorical | OneHotCategorical) else px.mean
    except NotImplementedError as error:
        raise Unsupported(f"a {type(base).__name__} likelihood has no mean to differentiate") from error
    return cast(Tensor, mean)


def needed(x: Tensor | None) -> Tensor:
    """x, or the reason why it is needed."""
    if x is None:
        raise BadInput("the parameters of an autoregressive decoder depend on the pixels before: pass the inputs x")
    return x


def weighed(family: Family, values: tuple[Tensor, ...], tangents: tuple[Tensor | None, ...]) -> list[Tensor]:
    """Changes (B, W, ...) of the parameters times the square roots of the Fisher information, (B, W, ?) each.

    Raises:
        NotImplementedError: when a parameter changes whose information has no closed form.
    """
    out = []
    for root, tangent in zip(family.roots(*values), tangents, strict=True):
        if tangent is None:
            continue
        if root is None:
            if tangent.any():
                raise NotImplementedError("no closed form of the Fisher information")
            continue
        # Where nothing can change any more the root is 0, or infinite beside a change of 0.
        use = (root > 0) & root.isfinite()
        out.append(torch.where(use, tangent * root, 0.0).flatten(2))
    return out
