"""A posterior on the unit sphere, whose KL is one number that nothing can lower."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional as F

from uncollapse.errors import ShapeError
from uncollapse.vonmises import VMF, UniformSphere, series
from uncollapse.wrappers.base import Wrapper, without_prior

__all__ = ["VonMisesFisher"]

TINY = 1e-6  #: length below which a mean has no direction of its own


class VonMisesFisher(Wrapper):
    r"""The posterior is von Mises-Fisher round the encoder's direction, the prior uniform on the sphere.

    $q(z|x) = \mathrm{vMF}\big(\mu(x)/|\mu(x)|, \kappa\big)$ on $S^{D-1}$, $\mathrm{KL} = \kappa A_D(\kappa) -
    \log f_D(\kappa)$ whatever x: with kappa fixed the KL cannot vanish, and there is nothing to gain by lowering it.
    It is no floor on information, though: a direction that is the same for every x pays the same.

    The inner model keeps its encoder; of its posterior only the mean is used, and its scales stay untrained. A rate
    remedy (`Beta`, `FreeBits`) has nothing to act on. Remedies that need diagonal Gaussians (`SelfCritic`, say) refuse
    this posterior; metrics take it. kappa cannot be learnt: what a sample owes to kappa is not differentiated here.

    Arguments:
        model: a model with a posterior that has a mean and D >= 2 latents; wrappers that change the prior go round
            this one, not into it.
        kappa: concentration, in (0, 1e6]; the KL in nats is `series(D, kappa).rate`.

    Raises:
        BadInput: when D is below 2, kappa is out of range, or `model` has a prior of its own.

    References:
        Xu, Durrett, 2018, https://arxiv.org/abs/1808.10805, section 3 (kappa fixed);
        Davidson et al., 2018, https://arxiv.org/abs/1804.00891.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VonMisesFisher(VAE(nn.Linear(16, 64), nn.Linear(32, 16), latent=32), kappa=50)
        >>> draw(model, torch.rand(5, 16)).kl[:2].T
        tensor([[12.2534, 12.2534]])
    """

    sources = (
        "Xu, Durrett, 2018, Spherical Latent Spaces for Stable Variational Autoencoders, "
        "https://arxiv.org/abs/1808.10805",
        "Davidson et al., 2018, Hyperspherical Variational Auto-Encoders, https://arxiv.org/abs/1804.00891",
    )

    zero: Tensor

    def __init__(self, model: Any, kappa: float = 50.0) -> None:
        super().__init__(model)
        without_prior(model, "VonMisesFisher")
        self.kappa = kappa
        shape = model.prior().event_shape
        series(shape[0], kappa)  # refuses what is out of range
        self.register_buffer("zero", torch.zeros(shape), persistent=False)

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): x (B, *X) gives batch (B,), event (D,), on the sphere."""
        mean = self.model.posterior(x).mean
        if mean.shape[1:] != self.zero.shape:
            raise ShapeError(f"the posterior should have {len(self.zero)} latents, got a mean {tuple(mean.shape)}")
        return VMF(direction(mean), self.kappa)

    def prior(self) -> Distribution:
        """The uniform distribution on the sphere: batch (), event (D,)."""
        return UniformSphere(len(self.zero), self.zero.device, self.zero.dtype)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"kappa={self.kappa:g}"


def direction(mean: Tensor) -> Tensor:
    """Unit vectors of means (B, D); a mean of length 0 points along the first axis, and still has a gradient."""
    short = mean.detach().norm(dim=1, keepdim=True) < 0.5 * TINY
    nudge = torch.zeros_like(mean)
    nudge[:, :1] = TINY * short
    return F.normalize(mean + nudge, dim=1)
