"""Means that are enlarged on the way to the decoder, while the loss pays for the small ones."""

import math
from typing import Any, cast

from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence, register_kl

from uncollapse.distributions import diagonal
from uncollapse.errors import BadInput
from uncollapse.wrappers.base import Wrapper

__all__ = ["ScaledMean"]


class ScaledMean(Wrapper):
    r"""The decoder receives posterior means that are multiplied, latent by latent, by one factor for all inputs.

    $z = f_j\,\mu_j(x) + \sigma_j(x)\,\varepsilon$ with $f_j = s / \sqrt{\operatorname{Var}\mu_j + \epsilon}$, the
    variance over the batch in training and a running one in evaluation. In training, the KL is that of the posterior
    before scaling, $\mathcal N(\mu, \sigma^2)$; in evaluation everything is that of the posterior the decoder
    receives, $\mathcal N(f\mu, \sigma^2)$.

    So the training loss is **no bound** on the likelihood: multiply all $\mu$ by a small number and the decoder notices
    nothing, while the KL forgets the means. Validation, NLL and information are right, because they use the true
    posterior; its KL is larger than the one in the training loss, and aggregate codes of spread s + sigma need not look
    like the prior.

    The paper was not at hand in full. Its abstract says that factors are per latent, the same for all inputs, keep
    the means apart, and leave the KL as it was. That the factor is s over the standard deviation in the batch is how an
    unofficial implementation reads it.

    Arguments:
        model: a model with a diagonal Gaussian posterior.
        spread: s, the standard deviation of the scaled means over the data, positive.
        momentum, eps: of the running statistics, as in `torch.nn.BatchNorm1d`; eps limits f to s / sqrt(eps).

    Raises:
        BadInput: when an argument is out of range, or a training batch holds a single example.
        Unsupported: when the posterior is not a diagonal Gaussian.

    References:
        Song et al., 2024, https://aclanthology.org/2024.lrec-main.1250.

    Example:
        >>> from uncollapse import VAE
        >>> model = ScaledMean(VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4), spread=2.0)
        >>> spread = model.posterior(torch.rand(9, 16)).mean.std(0, correction=0)
        >>> bool(((spread - 2).abs() < 0.01).all())
        True
    """

    sources = (
        "Song et al., 2024, Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder, "
        "https://aclanthology.org/2024.lrec-main.1250",
    )
    side = "encoder"

    def __init__(self, model: Any, spread: float = 1.0, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__(model)
        for name, value in {"spread": spread, "momentum": momentum, "eps": eps}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise BadInput(f"{name} of ScaledMean should be a positive number, got {value!r}")
        self.spread = float(spread)
        self.means = nn.BatchNorm1d(model.prior().event_shape[0], eps, momentum, affine=False)

    def posterior(self, x: Tensor) -> Distribution:
        """The posterior that the decoder receives: batch (B,), event (D,)."""
        mean, scale = diagonal(self.model.posterior(x), type(self).__name__)
        if self.training and len(mean) < 2:
            raise BadInput("ScaledMean compares the examples of a training batch, so it needs at least two, got one")
        scaled = self.factors(mean) * mean
        if not self.training:
            return Independent(Normal(scaled, scale, validate_args=False), 1, validate_args=False)
        return Independent(Rescaled(scaled, scale, mean), 1, validate_args=False)

    def factors(self, mean: Tensor) -> Tensor:
        """f, (D,), the same for all inputs."""
        if self.training:
            self.means(mean.detach())  # moves the running statistics
            variance = mean.var(0, correction=0)
        else:
            variance = cast(Tensor, self.means.running_var)
        return self.spread * (variance + self.means.eps).rsqrt()

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"spread={self.spread:g}"


class Rescaled(Normal):
    """A normal distribution whose divergence is that of another mean.

    Arguments:
        loc, scale: (B, D), of what is sampled.
        given: (B, D), the mean that the divergence is taken at.
    """

    def __init__(self, loc: Tensor, scale: Tensor, given: Tensor) -> None:
        super().__init__(loc, scale, validate_args=False)
        self.given = given


@register_kl(Rescaled, Normal)  # type: ignore[no-untyped-call, untyped-decorator]
def kl_rescaled(q: Rescaled, p: Normal) -> Tensor:
    """The divergence before scaling, (B, D) nats."""
    return kl_divergence(Normal(q.given, q.scale, validate_args=False), p)
