"""What a user's own loss charges for the KL and for the reconstruction, read off its gradients.

Two signatures are understood: `loss(model, x)` and the classic `loss(x_hat, x, mean, log_variance)`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse.diagnosis.matching import Match, described, families, flat, likelihood_slopes, match
from uncollapse.diagnosis.taps import Cut, frontier
from uncollapse.distributions import kl_per_dimension
from uncollapse.draw import Model
from uncollapse.errors import BadInput, UncollapseError, Unsupported
from uncollapse.functional import gaussian_kl

__all__ = ["Slopes", "classic_slopes", "positional", "slopes"]

NEAR, FAR = 0.05, 1.0  #: spread of the encoder outputs that are tried: posteriors close to the prior, and far from it
CALLS = 16  #: of a loss that draws noise
SAMPLES = 64  #: for a KL without a closed form

Loss = Callable[..., Any]


class Slopes(NamedTuple):
    """What the gradients of one batch say; weights are of sums over the batch.

    Attributes:
        near, far: of the KL, for posteriors near the prior and far from it.
        own: of the model's own log p(x|z), or None.
        families: of log p(x|z) under each family with parameter x_hat, by name.
    """

    near: Match
    far: Match
    own: Match | None
    families: Mapping[str, Match]


def positional(loss: Loss) -> int:
    """How many positional arguments a loss requires.

    Raises:
        BadInput: when it is neither two nor four.
    """
    target = loss.forward if isinstance(loss, nn.Module) else loss
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        given = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return 2
    count = sum(p.kind in kinds and p.default is p.empty for p in given)
    if count in (2, 4):
        return count
    if any(p.kind is p.VAR_POSITIONAL for p in given) and count <= 2:
        return 2
    raise BadInput(
        f"loss should take (model, x) or (x_hat, x, mean, log_variance), but it requires {count} arguments; "
        "wrap it: loss=lambda model, x: ..."
    )


def classic_slopes(loss: Loss, x: Tensor, latent: int) -> Slopes:
    """Slopes of loss(x_hat, x, mean, log_variance), at values of ours."""
    found, x_hat = {}, torch.sigmoid(1.5 * torch.randn_like(x))
    for name, spread in (("near", NEAR), ("far", FAR)):
        mean, log_variance = (spread * torch.randn(len(x), latent).to(x) for _ in range(2))
        leaves = [one.detach().clone().requires_grad_() for one in (x_hat, mean, log_variance)]
        gradients, leaves, noise = averaged(partial(classic_call, loss, x, leaves), leaves)
        mean, log_variance = (leaf.double() for leaf in leaves[1:])
        kls = {
            "log-variance": gaussian_kl(mean, (0.5 * log_variance).exp()).sum(),
            "log standard deviation": gaussian_kl(mean, log_variance.exp()).sum(),
        }
        against = {key: flat(torch.autograd.grad(one, leaves[1:], retain_graph=True)) for key, one in kls.items()}
        found[name] = match(flat(gradients[1:]), against, sum(noise[1:]))
    return Slopes(found["near"], found["far"], None, families(gradients[0], leaves[0], x, leaves[0]))


def classic_call(loss: Loss, x: Tensor, leaves: Sequence[Tensor]) -> Any:
    """The loss of these values; where the images are not taken as they are, as rows of numbers."""
    try:
        return loss(leaves[0], x, *leaves[1:])
    except (RuntimeError, ValueError, IndexError):
        if x.ndim == 2:
            raise
        rows = x.flatten(1)
        try:
            return loss(leaves[0].flatten(1), rows, *leaves[1:])
        except (RuntimeError, ValueError, IndexError):
            return loss(leaves[0].flatten(1), x, *leaves[1:])


def slopes(loss: Loss, model: Model, native: Any, x: Tensor, own: bool) -> Slopes:
    """Slopes of loss(model, x), with the outputs of the encoder and of the decoder held in place.

    Arguments:
        loss: (native, x) -> scalar.
        model: the adapted model.
        native: what the loss takes.
        x: (B, *X).
        own: whether the model's likelihood is its own, rather than a guess of an adapter.

    Raises:
        Unsupported: when the gradients cannot be taken apart.
    """
    z = model.posterior(x).mean.detach()
    z = z.to(x.dtype) if x.is_floating_point() else z
    owners = [native, model]
    head = frontier(owners, lambda x: statistics(model.posterior(x)), x)
    tail = frontier(owners, lambda z: described(model.likelihood(z), x), z)
    if head is None or tail is None:
        raise Unsupported(
            f"the output of the {'encoder' if head is None else 'decoder'} could not be singled out; "
            "pass loss(x_hat, x, mean, log_variance) instead"
        )
    found = {}
    for name, spread in (("near", NEAR), ("far", FAR)):
        inner, outer = Cut(head, normal(spread)), Cut(tail, jittered)

        def once(inner: Cut = inner, outer: Cut = outer) -> Any:
            with inner, outer:
                return loss(native, x)

        gradients, _, noise = averaged(once, both(inner, outer))
        if not inner.leaves or not outer.leaves:
            raise Unsupported("the loss does not pass x through the encoder and the decoder that the diagnosis sees")
        count = len(inner.leaves)
        found[name] = match(flat(gradients[:count]), {"KL": kl_slope(model, x, inner)}, sum(noise[:count]))
    mine, others = likelihood_slopes(model, x, z, outer, gradients[count:], own)
    return Slopes(found["near"], found["far"], mine, others)


def both(inner: Cut, outer: Cut) -> Callable[[], list[Tensor]]:
    """What gives the constants of two cuts, once they are known."""
    return lambda: [*inner.leaves, *outer.leaves]


def kl_slope(model: Model, x: Tensor, inner: Cut) -> Tensor:
    """Gradient of the KL, summed over the batch, by the encoder's output."""
    with inner:
        q = model.posterior(x)
        kl = kl_per_dimension(q, model.prior())
        if kl is None:
            z = q.rsample(torch.Size((SAMPLES,)))
            kl = (q.log_prob(z) - model.prior().log_prob(z)).mean(0)
    return flat(torch.autograd.grad(kl.double().sum(), inner.leaves, allow_unused=True), inner.leaves)


def averaged(call: Callable[[], Any], leaves: Any) -> tuple[list[Tensor], list[Tensor], list[float]]:
    """Gradients of a loss by leaves (a list, or a function that gives it after a call), averaged if it draws noise.

    Returns:
        The gradients, the leaves, and the squared length of the error of each gradient.
    """
    runs: list[list[Tensor]] = []
    while len(runs) < CALLS:
        value = scalar(attempt(call))
        at = leaves() if callable(leaves) else leaves
        if not at or not value.requires_grad:
            return [torch.zeros_like(leaf) for leaf in at], at, [0.0] * len(at)
        got = torch.autograd.grad(value, at, allow_unused=True)
        runs.append([torch.zeros_like(a) if g is None else g for g, a in zip(got, at, strict=True)])
        if len(runs) == 2 and all(torch.allclose(a, b, rtol=1e-6, atol=0) for a, b in zip(*runs, strict=True)):
            break
    stacks = [torch.stack(each).double() for each in zip(*runs, strict=True)]
    return [s.mean(0) for s in stacks], at, [float(s.var(0).sum()) / len(s) for s in stacks]


def attempt(call: Callable[[], Any]) -> Any:
    """The result, or one sentence about why there is none."""
    try:
        return call()
    except UncollapseError:
        raise
    except Exception as error:  # the user's own code may fail in any way
        raise BadInput(
            f"the loss could not be computed ({type(error).__name__}: {str(error)[:200]}); it should take "
            "(model, x) or (x_hat, x, mean, log_variance)"
        ) from error


def scalar(value: Any) -> Tensor:
    """The loss itself, also where it comes in a mapping, on an output object or with other things; a mean if many."""
    if isinstance(value, Mapping) and "loss" in value:
        value = value["loss"]
    elif hasattr(value, "loss"):
        value = value.loss
    elif isinstance(value, tuple | list) and value:
        value = value[0]
    if not isinstance(value, Tensor):
        raise BadInput(f"the loss should be one tensor, got a {type(value).__name__}")
    return value if value.ndim == 0 else value.mean()


def statistics(q: Distribution) -> list[Tensor]:
    """Everything that a posterior is made of, as far as it can be asked."""
    return [q.mean, q.variance]


def normal(spread: float) -> Callable[[Tensor], Tensor]:
    """What replaces an output by Gaussian noise of this spread."""
    return lambda out: spread * torch.randn_like(out)


def jittered(out: Tensor) -> Tensor:
    """Values as spread out as a gradient needs to tell the families apart; shares stay shares."""
    noise = torch.randn_like(out)
    if out.min() >= 0 and out.max() <= 1:
        return torch.sigmoid(torch.logit(out.float(), 0.05) + 1.5 * noise.float()).to(out.dtype)
    return out + noise * out.float().std().clamp(0.5, 2.0).to(out.dtype)
