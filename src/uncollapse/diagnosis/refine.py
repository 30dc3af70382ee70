"""Posteriors optimised one example at a time: how much of the bound the encoder leaves on the table."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from uncollapse.codes import private_stream
from uncollapse.diagnosis.encoder_causes import still
from uncollapse.distributions import diagonal
from uncollapse.draw import Model
from uncollapse.functional import gaussian_kl

__all__ = ["Refined", "refine"]

DRAWS = 8  #: common noise vectors per example by which start and end are compared


@dataclass(frozen=True, eq=False)
class Refined:
    """What optimising q(z|x) example by example gave.

    Attributes:
        gain: (M,), rise of the evidence lower bound, nats.
        mean, scale: (M, D), the refined posteriors.
        told, used: mean nats that log p(x|z) loses when the encoder's codes, and the refined ones, are shuffled between
            the examples.
        error: standard error of their difference, nats.
        before, distortion: mean of -log p(x|z) at samples of the encoder's and of the refined posteriors, nats.
    """

    gain: Tensor
    mean: Tensor
    scale: Tensor
    told: float
    used: float
    error: float
    before: float
    distortion: float


def refine(
    model: Model, x: Tensor, steps: int, width: Tensor, seed: int = 0, lr: float = 0.2, weight: float = 1.0
) -> Refined:
    r"""Take gradient steps on the mean and the log scale of every example's own posterior.

    $\max_{\mu_i, \sigma_i} \mathbb E_{\mathcal N(\mu_i, \sigma_i^2)}[\log p(x_i|z)] - \beta\,\mathrm{KL}(q_i\|p)$ by
    Adam from the encoder's answer, with fresh noise at every step; start and end are compared on common noise, and an
    example that got worse keeps its start.

    Arguments:
        model: with diagonal Gaussian posteriors and a decoder that has gradients.
        x: (M, *X).
        steps: of Adam, with its rate falling to 0.
        width: (D,), the size of a step in every latent, in units of z.
        seed: of the noise.
        lr: of Adam, times `width`.
        weight: of the KL, beta.

    Raises:
        Unsupported: when the posteriors are of another family.
    """
    module = model if isinstance(model, nn.Module) else nn.Identity()
    generator = private_stream(seed, "refine")
    with still(module), frozen(module):
        q = model.posterior(x)
        start_mean, start_scale = (part.detach() for part in diagonal(q, "refine"))
        width = width.to(start_mean)
        offset = torch.zeros_like(start_mean, requires_grad=True)
        stretch = torch.zeros_like(start_scale, requires_grad=True)
        rule = torch.optim.Adam([offset, stretch], lr=lr)
        fade = torch.optim.lr_scheduler.LambdaLR(rule, lambda step: 1 - step / max(steps, 1))
        for _ in range(steps):
            noise = torch.randn(start_mean.shape, generator=generator).to(start_mean)
            mean, scale = start_mean + width * offset, start_scale * stretch.exp()
            loss = -bound(model, x, mean, scale, noise[None], weight).sum()
            if not loss.isfinite():
                break
            offset.grad, stretch.grad = torch.autograd.grad(loss, [offset, stretch])
            rule.step()
            fade.step()
        with torch.no_grad():
            return compared(model, x, (start_mean, start_scale), (start_mean + width * offset,
                            start_scale * stretch.exp()), generator, weight)  # fmt: skip


def bound(model: Model, x: Tensor, mean: Tensor, scale: Tensor, noise: Tensor, weight: float = 1.0) -> Tensor:
    """Evidence lower bound (M,) of Gaussian posteriors at noise (K, M, D), nats."""
    z = mean + scale * noise
    prior = model.prior()
    log_px = model.likelihood(z).log_prob(x).mean(0)
    base = getattr(prior, "base_dist", prior)
    if isinstance(base, Normal) and base.loc.ndim == 1:
        kl = gaussian_kl((mean - base.loc) / base.scale, scale / base.scale).sum(1)
    else:
        log_q: Tensor = Normal(mean, scale, validate_args=False).log_prob(z).sum(-1)  # type: ignore[no-untyped-call]
        kl = (log_q - prior.log_prob(z)).mean(0)
    elbo: Tensor = log_px - weight * kl
    return elbo


def compared(
    model: Model,
    x: Tensor,
    start: tuple[Tensor, Tensor],
    end: tuple[Tensor, Tensor],
    generator: torch.Generator,
    weight: float,
) -> Refined:
    """Start against end on common noise, and what the refined codes are worth to the decoder."""
    noise = torch.randn((DRAWS, *start[0].shape), generator=generator).to(start[0])
    before = torch.stack([bound(model, x, *start, one[None], weight) for one in noise]).mean(0)
    after = torch.stack([bound(model, x, *end, one[None], weight) for one in noise]).mean(0)
    better = (after > before) & after.isfinite()
    mean, scale = (torch.where(better[:, None], new, old) for new, old in zip(end, start, strict=True))
    z = mean + scale * noise[0]
    z_start = start[0] + start[1] * noise[0]
    far = max(len(z) // 2, 1)  # neighbours may be of one class, or nearly the same
    codes = torch.stack([z_start, z_start.roll(far, 0), z, z.roll(far, 0)])
    values = model.likelihood(codes).log_prob(x).double().cpu()
    first, mixed, right, wrong = values.mean(1).tolist()
    error = float((values[2] - values[3] - values[0] + values[1]).std() / len(z) ** 0.5)
    gain = torch.where(better, after - before, torch.zeros_like(before)).double().cpu()
    return Refined(
        gain, mean.cpu(), scale.cpu(), first - mixed, right - wrong, error, -first, -right
    )  # fmt: skip


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradient reaches the module's weights; their flags are put back."""
    flags = [(p, p.requires_grad) for p in module.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
