r"""Training of a linear VAE by its exact expected loss.

$q(z|x) = \mathcal N(Vx, \operatorname{diag} S)$, $p(x|z) = \mathcal N(Wz, s^2 I)$, $p(z) = \mathcal N(0, \eta^2 I)$,
data with covariance C. All of V, W and S are trained at once by L-BFGS in double precision, from random weights.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Fitted", "fitted", "loss"]


class Fitted(NamedTuple):
    """A trained linear VAE, most active latent first.

    Attributes:
        decoder: (X, D) W.
        encoder: (D, X) V.
        variance: (D,) S.
        mean_variance: (D,) variance over the data of the posterior means.
        kl: (D,) mean KL to the prior, nats.
        loss: nats, without the constant of the Gaussian.
        steps: iterations.
    """

    decoder: Tensor
    encoder: Tensor
    variance: Tensor
    mean_variance: Tensor
    kl: Tensor
    loss: float
    steps: int


def loss(
    decoder: Tensor, encoder: Tensor, log_variance: Tensor, covariance: Tensor, noise: float, beta: float, prior: float
) -> Tensor:
    r"""Expected negative beta-ELBO per example, without $\tfrac X2\log 2\pi s^2$.

    $\frac1{2s^2}\big(\operatorname{tr} (I - WV) C (I - WV)^\top + \operatorname{tr} W S W^\top\big) +
    \frac\beta2\sum_d\big(\frac{(V C V^\top)_{dd} + S_d}{\eta^2} - 1 - \log\frac{S_d}{\eta^2}\big)$

    Arguments:
        decoder, encoder, log_variance: W (X, D), V (D, X) and log S (D,).
        covariance: (X, X).
        noise: s².
        beta: weight of the KL.
        prior: eta², variance of the prior.
    """
    rest = torch.eye(len(covariance), dtype=covariance.dtype) - decoder @ encoder
    error = ((rest @ covariance) * rest).sum() + (decoder.square() * log_variance.exp()).sum()
    spread = ((encoder @ covariance) * encoder).sum(1) + log_variance.exp()
    kl = 0.5 * (spread / prior - 1 - log_variance + math.log(prior))
    return error / (2 * noise) + beta * kl.sum()


def fitted(
    covariance: Tensor,
    latent: int,
    noise: float,
    beta: float = 1.0,
    prior: float = 1.0,
    seed: int = 0,
    rounds: int = 30,
    size: float = 0.3,
) -> Fitted:
    """Train until a hundred iterations of L-BFGS no longer help.

    Arguments:
        covariance, noise, beta, prior: as for `loss`.
        latent: D.
        seed: of the first weights, normal with standard deviation `size`.
        rounds: hundreds of iterations, at most.
    """
    moving = [weights.requires_grad_() for weights in first_weights(len(covariance), latent, seed, size)]
    optimiser = torch.optim.LBFGS(
        moving, max_iter=100, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-11,
        tolerance_change=1e-16,
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(moving[0], moving[1], moving[2], covariance, noise, beta, prior)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    last = math.inf
    for _ in range(rounds):
        now = optimiser.step(closure).item()  # type: ignore[no-untyped-call]
        if last - now < 1e-13 * max(abs(now), 1.0):
            break
        last = now
    steps = int(optimiser.state[moving[0]]["n_iter"])
    decoder, encoder, log_variance = (weights.detach() for weights in moving)
    return ordered(decoder, encoder, log_variance, covariance, prior, now, steps)


def first_weights(numbers: int, latent: int, seed: int, size: float) -> list[Tensor]:
    """Random W, V and log S."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((numbers, latent), (latent, numbers), (latent,))
    return [size * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def ordered(
    decoder: Tensor, encoder: Tensor, log_variance: Tensor, covariance: Tensor, prior: float, value: float, steps: int
) -> Fitted:
    """The trained model with its latents in order."""
    means = ((encoder @ covariance) * encoder).sum(1)
    kl = 0.5 * ((means + log_variance.exp()) / prior - 1 - log_variance + math.log(prior))
    by = means.argsort(descending=True)
    return Fitted(decoder[:, by], encoder[by], log_variance.exp()[by], means[by], kl[by], value, steps)
