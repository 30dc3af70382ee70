"""How gradients compare: with that of a log density of every family, and with one another."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.diagnosis.taps import Cut
from uncollapse.draw import Model
from uncollapse.errors import Unsupported

__all__ = ["Match", "described", "families", "flat", "likelihood_slopes", "match"]


class Match(NamedTuple):
    """How a gradient lies to that of a known function.

    Attributes:
        name: of the function.
        weight: how many times that function, by least squares.
        cosine: 1 where the gradient is a multiple of it; 0 where there is no gradient.
        error: standard error of the weight, for a loss that draws noise.
    """

    name: str
    weight: float
    cosine: float
    error: float = 0.0


def match(gradient: Tensor, candidates: Mapping[str, Tensor], noise: float = 0.0) -> Match:
    """The candidate that a gradient follows best, with its sign.

    Arguments:
        gradient: a vector.
        candidates: vectors of the same size, by name.
        noise: squared length of the error of the gradient, which is taken out of the cosine.

    Example:
        >>> match(torch.tensor([2.0, 4.0]), {"one": torch.tensor([1.0, 2.0]), "other": torch.tensor([1.0, 0.0])}).name
        'one'
    """
    best = Match("none", 0.0, 0.0)
    square = float(gradient.double().square().sum())
    size = max(square - noise, 0.05 * square) ** 0.5
    for name, one in candidates.items():
        length = float(one.double().norm())
        if size > 0 and length > 0:
            product = float(gradient.double() @ one.double())
            cosine = min(max(product / (size * length), -1.0), 1.0)
            if abs(cosine) > abs(best.cosine) + 1e-3:
                error = math.sqrt(noise / one.numel()) / length
                best = Match(name, product / length**2, round(cosine, 9), error)
    return best


def likelihood_slopes(
    model: Model, x: Tensor, z: Tensor, outer: Cut, gradients: Sequence[Tensor], own: bool
) -> tuple[Match | None, dict[str, Match]]:
    """How the loss follows the model's own log p(x|z), and that of every family, by the decoder's output."""
    px, copies = replayed(model, x, z, outer)
    with outer:
        log_px, x_hat = log_density(px, x), mean_of(px)
    mine = None
    if own and log_px is not None and log_px.requires_grad:
        total = -log_px.double().sum() / copies
        slope = flat(torch.autograd.grad(total, outer.leaves, retain_graph=True, allow_unused=True), outer.leaves)
        mine = match(flat(gradients), {"own": slope})
    if x_hat is None or not x_hat.requires_grad:
        return mine, {}
    raw = outer.leaves[0].reshape(x_hat.shape) if outer.leaves[0].numel() == x_hat.numel() else None
    return mine, families(flat(gradients), x_hat, x, raw, outer.leaves, copies)


def replayed(model: Model, x: Tensor, z: Tensor, outer: Cut) -> tuple[Distribution, int]:
    """The likelihood made of the constants of a cut, for as many samples of z as the loss drew."""
    most = len(outer.leaves[0])
    px = None
    for copies in dict.fromkeys((max(most // len(x), 1), 1, most)):
        for one in [z, z[None]] if copies == 1 else [z.expand(copies, *z.shape)]:
            with outer:
                px = model.likelihood(one)
                shown = described(px, x)
            if any(part.requires_grad for part in shown):
                return px, copies
    raise Unsupported("the loss decodes another number of examples than it is given, so its weights cannot be told")


def families(
    gradient: Tensor, x_hat: Tensor, x: Tensor, raw: Tensor | None, leaves: Any = None, copies: int = 1
) -> dict[str, Match]:
    """How a gradient follows -log p under every family: "bernoulli", "gaussian" (unit variance), "laplace"."""
    leaves = [x_hat] if leaves is None else leaves
    x, x_hat = x.expand(x_hat.shape).double(), x_hat.double()
    totals = {"gaussian": [0.5 * (x - x_hat).square().sum()], "laplace": [(x - x_hat).abs().sum()], "bernoulli": []}
    if x.min() >= 0 and x.max() <= 1:
        if x_hat.min() >= 0 and x_hat.max() <= 1:
            totals["bernoulli"].append(F.binary_cross_entropy(x_hat, x, reduction="sum"))
        if raw is not None:
            logits = raw.double()
            totals["bernoulli"].append(F.binary_cross_entropy_with_logits(logits, x, reduction="sum"))
    if raw is not None:
        totals["gaussian"].append(0.5 * (x - raw.double()).square().sum())
    found = {}
    for name, options in totals.items():
        grads = [torch.autograd.grad(one / copies, leaves, retain_graph=True, allow_unused=True) for one in options]
        best = match(flat([gradient]), {str(i): flat(one, leaves) for i, one in enumerate(grads)})
        found[name] = Match(name, best.weight, best.cosine)
    return found


def described(px: Distribution, x: Tensor) -> list[Tensor]:
    """What a likelihood says about x; where x is not what it describes, its mean."""
    said = log_density(px, x)
    said = mean_of(px) if said is None else said
    return [] if said is None else [said]


def log_density(px: Distribution, x: Tensor) -> Tensor | None:
    """log p(x|z), or None where x is outside its support (grey levels under a strict Bernoulli)."""
    try:
        return px.log_prob(x)
    except ValueError:
        return None


def mean_of(px: Distribution) -> Tensor | None:
    """The mean of a likelihood, or None where it has none in closed form."""
    try:
        return px.mean
    except NotImplementedError:
        return None


def flat(parts: Any, like: Any = None) -> Tensor:
    """Gradients as one vector in double precision; a missing one counts as zero."""
    parts = list(parts)
    if like is not None:
        parts = [torch.zeros_like(a) if g is None else g for g, a in zip(parts, like, strict=True)]
    return torch.cat([part.detach().double().flatten() for part in parts])
