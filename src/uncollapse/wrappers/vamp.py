"""A prior that is a mixture of the encoder's own posteriors, at inputs that are learnt."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Size, Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal, constraints

from uncollapse.distributions import describe
from uncollapse.errors import BadInput, ShapeError
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.nets.shapes import check_shape
from uncollapse.wrappers.base import Wrapper, without_prior

__all__ = ["GaussianMixture", "VampPrior"]

Squash = Literal["hardtanh", "sigmoid", "none"]
EDGE = 1e-3  #: how far inside (0, 1) starting values stay where their logit is taken


class VampPrior(Wrapper):
    r"""Variational mixture of posteriors: the prior is what the encoder says of K learnt pseudo-inputs.

    $p(z) = \frac1K \sum_{k=1}^K q(z|u_k)$. The KL has no closed form any more: it is sampled with the z of the pass,
    one number per example, (B, 1), that can be negative by chance. The prior moves to where the codes are, so it lowers
    the mismatch KL(q(z)||p(z)); it does not ask for information: a collapsed encoder makes a collapsed prior.

    Every call of `prior` encodes all K pseudo-inputs. Their pass leaves the running statistics of normalisation layers
    alone. Wrappers that change the posterior family go inside, `SemiAmortised` outside.

    Arguments:
        model: a model whose posterior depends on x.
        shape: X, shape of one observation.
        pseudo_inputs: K; 500 in the paper.
        examples: where to start: (N, *X) data, of which the K pseudo-inputs take one after the other, or (1, *X), say
            their mean; None starts every value at `level`.
        squash: how values stay in [0, 1]: "hardtanh" cuts them off (and has no gradient outside), "sigmoid" bends
            them, "none" leaves them free, for data that are not in [0, 1].
        level: where to start without examples, in the units of the data.
        noise: standard deviation of what is added at the start, so that no two pseudo-inputs are equal.

    Raises:
        BadInput: when an argument is out of range, or `model` has a prior of its own.
        ShapeError: when `examples` do not have the shape X.

    References:
        Tomczak, Welling, 2018, https://arxiv.org/abs/1705.07120, eq. 9; starting values as in the released code.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VampPrior(VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4), shape=(16,), pseudo_inputs=10)
        >>> draw(model, torch.rand(5, 16)).kl.shape
        torch.Size([5, 1])
    """

    sources = ("Tomczak, Welling, 2018, VAE with a VampPrior, https://arxiv.org/abs/1705.07120",)
    side = "prior"

    def __init__(
        self,
        model: Any,
        shape: Sequence[int],
        pseudo_inputs: int = 500,
        examples: Tensor | None = None,
        squash: Squash = "hardtanh",
        level: float = 0.05,
        noise: float = 0.01,
    ) -> None:
        super().__init__(model)
        without_prior(model, "VampPrior")
        shape = check_shape(shape, "VampPrior")
        if isinstance(pseudo_inputs, bool) or not isinstance(pseudo_inputs, int) or pseudo_inputs < 1:
            raise BadInput(f"pseudo_inputs should be a positive whole number, got {pseudo_inputs!r}")
        if squash not in get_args(Squash):
            raise BadInput(f"squash should be one of {', '.join(get_args(Squash))}, got {squash!r}")
        if not noise >= 0 or (squash != "none" and not 0 <= level <= 1):
            raise BadInput(f"noise should be at least 0 and level in [0, 1], got {noise!r} and {level!r}")
        start = torch.full((1, *shape), float(level)) if examples is None else examples.detach().clone().float()
        if start.shape[1:] != shape or not len(start):
            raise ShapeError(f"examples should be (N, *X) with X = {shape}, got {describe(examples)}")
        start = start[torch.arange(pseudo_inputs) % len(start)]
        start = start + noise * torch.randn(start.shape)
        self.squash: Squash = squash
        self.raw = nn.Parameter(start.clamp(EDGE, 1 - EDGE).logit() if squash == "sigmoid" else start)

    def inputs(self) -> Tensor:
        """The pseudo-inputs u, (K, *X)."""
        if self.squash == "sigmoid":
            return self.raw.sigmoid()
        return self.raw.clamp(0, 1) if self.squash == "hardtanh" else self.raw

    def prior(self) -> Distribution:
        """The mixture of the posteriors of all pseudo-inputs: batch (), event (D,)."""
        with unmoved(self.model):
            q = self.model.posterior(self.inputs())
        base = q.base_dist if isinstance(q, Independent) else q
        if isinstance(base, Normal):
            return GaussianMixture(base.loc, base.scale)
        return MixtureSameFamily(Categorical(logits=self.raw.new_zeros(len(self.raw))), q, validate_args=False)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"pseudo_inputs={len(self.raw)}, squash={self.squash!r}"


class GaussianMixture(Distribution):
    r"""Equal shares of K diagonal Gaussians, $\frac1K\sum_k \mathcal N(z; \mu_k, \operatorname{diag}\sigma_k^2)$.

    Arguments:
        means, scales: (K, D), standard deviations positive.

    Example:
        >>> p = GaussianMixture(torch.zeros(3, 2), torch.ones(3, 2))
        >>> p.log_prob(torch.zeros(7, 5, 2)).shape
        torch.Size([7, 5])
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support = constraints.real_vector

    def __init__(self, means: Tensor, scales: Tensor) -> None:
        self.means, self.scales = means, scales
        super().__init__(Size(), means.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean of the means, (D,)."""
        return self.means.mean(0)

    @property
    def variance(self) -> Tensor:
        """Within the components and between them, (D,)."""
        return self.scales.square().mean(0) + self.means.var(0, correction=0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of points (*, D), (*) nats."""
        points = value.reshape(-1, value.shape[-1])
        return log_mean_exp(pairwise_log_prob(points, self.means, self.scales), 1).reshape(value.shape[:-1])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Points (*S, D), without gradient."""
        with torch.no_grad():
            which = torch.randint(len(self.means), Size(sample_shape), device=self.means.device)
            return torch.normal(self.means[which], self.scales[which])


@contextmanager
def unmoved(model: nn.Module) -> Iterator[None]:
    """Let normalisation layers in training mode use their batch without remembering it: it is not one of data."""
    layers: list[Any] = [
        part for part in model.modules() if part.training and getattr(part, "track_running_stats", False)
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
