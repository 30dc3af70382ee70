"""Likelihoods of counts: how often every gene was read, how often every word was written."""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints
from torch.distributions import Multinomial as TorchMultinomial

from uncollapse.distributions import describe, observation, precise
from uncollapse.errors import BadInput, NonFinite, ShapeError, Unsupported

__all__ = ["Counts", "Multinomial", "NegativeBinomial", "WordCounts"]

Mean = Literal["share", "exp"]

ENDS = (-700.0, 80.0)  #: of log r: beyond, counts are those at the end (a Poisson variable's) in all digits
MOST = 1e18  #: of the mean of a Poisson variable that is drawn
STIRLING = 12.0  #: log r from which on the series is exact to 1e-16, and the difference of log-gammas to 1e-9


class NegativeBinomial(nn.Module):
    r"""Reader of a negative binomial likelihood of counts, with one learned dispersion for every gene or word.

    $\log p(x|z) = \sum_j \log \frac{\Gamma(x_j + r_j)}{\Gamma(r_j)\, x_j!}
    \Big(\frac{r_j}{r_j + \mu_j}\Big)^{r_j} \Big(\frac{\mu_j}{r_j + \mu_j}\Big)^{x_j}$, of mean $\mu_j$ and variance
    $\mu_j + \mu_j^2 / r_j$. With `mean="share"`, $\mu = n \operatorname{softmax}(f(z))$, where n is the total of x: it
    is taken from x when x is scored, so this is $\log p(x|z, n)$ and the model need not explain how deep a cell was
    sequenced. With `mean="exp"`, $\mu = e^{f(z)}$ and nothing is taken from x.

    Arguments:
        width: V, how many counts an example has.
        mean: "share" or "exp".

    Attributes:
        planes: 1; numbers that the decoder gives for every count.
        log_dispersion: (V,), log r, a parameter; 0 at the start.

    Raises:
        BadInput: for an unknown mean or a width that is no positive whole number.
        ShapeError: when the decoder gives another width.

    References:
        Lopez, Regier, Cole, Jordan, Yosef, 2018, Deep generative modeling for single-cell transcriptomics,
        https://doi.org/10.1038/s41592-018-0229-2.

    Example:
        >>> px = NegativeBinomial(16)(torch.zeros(3, 16))
        >>> px.log_prob(torch.ones(3, 16)).shape, float(px.of(torch.tensor(160.0)).mean[0, 0])
        (torch.Size([3]), 10.0)
    """

    planes = 1

    def __init__(self, width: int, mean: Mean = "share") -> None:
        super().__init__()
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise BadInput(f"NegativeBinomial needs the number of counts of an example, got {width!r}")
        if mean not in get_args(Mean):
            raise BadInput(
                f"the mean of a negative binomial should be one of {', '.join(get_args(Mean))}, got {mean!r}"
            )
        self.given_mean = mean
        self.log_dispersion = nn.Parameter(torch.zeros(width))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Back to dispersion 1."""
        self.log_dispersion.zero_()

    def forward(self, raw: Any) -> Distribution:
        """Read the decoder's output as log shares, up to a constant, or as log means."""
        if isinstance(raw, Distribution):
            return raw
        scores = vectors(raw, "NegativeBinomial")
        if scores.shape[1] != len(self.log_dispersion):
            raise ShapeError(
                f"the decoder should give {len(self.log_dispersion)} numbers an example, got {scores.shape[1]}"
            )
        spread = precise(self.log_dispersion).to(scores)
        if self.given_mean == "share":
            return Counts(scores.log_softmax(1), spread)
        return Counts(scores, spread, torch.ones_like(scores[:, 0]))

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"{len(self.log_dispersion)}, mean={self.given_mean!r}"


class Counts(Distribution):
    """Independent negative binomials.

    Arguments:
        log_rate: (B, V), log mean of every count divided by the size of the example.
        log_dispersion: (V,), log r.
        size: (B,), by which rates are multiplied; if None, an example's own total when it is scored.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support: Any = constraints.independent(constraints.nonnegative_integer, 1)  # type: ignore[no-untyped-call]
    has_rsample = False

    @property
    def given_total(self) -> bool:
        """Whether counts are described given their total, so that one tells a little about another."""
        return self.size is None

    def __init__(self, log_rate: Tensor, log_dispersion: Tensor, size: Tensor | None = None) -> None:
        self.log_rate, self.log_dispersion, self.size = log_rate, log_dispersion, size
        super().__init__(Size(log_rate.shape[:1]), Size(log_rate.shape[1:]), validate_args=False)

    def of(self, size: Tensor) -> "Counts":
        """The same likelihood for examples of a given total, () or (B,): it then has a mean and samples."""
        return Counts(self.log_rate, self.log_dispersion, size.to(self.log_rate).expand(self.batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability (*S, B), nats, of counts (*S, B, V); where no size was given, given their total."""
        x = exact(value.to(self.log_rate.dtype))
        size = x.sum(-1) if self.size is None else self.size.to(x.dtype)
        log_size = size.clamp(min=torch.finfo(x.dtype).tiny).log()  # an empty example has probability 1
        log_mean, log_r = self.log_rate + log_size.unsqueeze(-1), self.log_dispersion.to(x.dtype).clamp(*ENDS)
        r, over = log_r.exp(), F.softplus(log_mean - log_r, threshold=50)  # log(1 + mu / r), to the last bit
        found = rising(x, log_r) - torch.lgamma(x + 1) + x * (log_mean - over) - r * over
        return found.sum(-1).to(self.log_rate.dtype)

    @property
    def mean(self) -> Tensor:
        """Mean counts (B, V)."""
        return self._size().unsqueeze(1) * self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        """Variances of the counts (B, V)."""
        return self.mean + self.mean.square() * (-self.log_dispersion).exp()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Counts (*S, B, V), without gradient: Poisson of a gamma.

        Raises:
            NonFinite: when a mean is above 1e18, where torch draws negative counts.
        """
        with torch.no_grad():
            full = Size(sample_shape) + self.batch_shape + self.event_shape
            r = self.log_dispersion.exp().expand(full)
            rate = torch._standard_gamma(r) * (self.mean / self.log_dispersion.exp())
            if not bool((rate <= MOST).all()):
                raise NonFinite(
                    f"counts of means up to {MOST:g} can be drawn, got {float(rate.max()):g}; look at the logits"
                )
            return torch.poisson(rate)

    def _size(self) -> Tensor:
        return total(self.size)


def rising(x: Tensor, log_r: Tensor) -> Tensor:
    r"""$\log \frac{\Gamma(x + r)}{\Gamma(r)\, r^x}$; for large r by Stirling's series, where two log-gammas cancel."""
    r = log_r.exp()
    plain = torch.lgamma(x + r) - torch.lgamma(r) - x * log_r
    if log_r.device.type == "cpu" and not (log_r > STIRLING).any():
        return plain
    large = log_r.clamp(min=STIRLING).exp()
    series = (x + large - 0.5) * torch.log1p(x / large) - x + (1 / (x + large) - 1 / large) / 12
    return torch.where(log_r > STIRLING, series, plain)


class Multinomial(nn.Module):
    r"""Reader of a multinomial likelihood of counts: which words, given how many.

    $\log p(x|z) = \log \frac{n!}{\prod_j x_j!} + \sum_j x_j \log \operatorname{softmax}(f(z))_j$. The total n is taken
    from x when x is scored: this is $\log p(x|z, n)$. The coefficient is included, so that these are probabilities of
    counts; many topic models leave it out, and their figures are then those of a text in its order.

    Attributes:
        planes: 1; numbers that the decoder gives for every count.

    References:
        Miao, Yu, Blunsom, 2016, https://arxiv.org/abs/1511.06038, who leave the coefficient out.

    Example:
        >>> px = Multinomial()(torch.zeros(3, 2))
        >>> px.log_prob(torch.tensor([[1.0, 1.0]]).expand(3, 2)).exp()
        tensor([0.5000, 0.5000, 0.5000])
    """

    planes = 1

    def forward(self, raw: Any) -> Distribution:
        """Read the decoder's output as log shares up to a constant."""
        if isinstance(raw, Distribution):
            return raw
        return WordCounts(vectors(raw, "Multinomial").log_softmax(1))


class WordCounts(Distribution):
    """A multinomial whose total is that of the counts that are scored.

    Arguments:
        log_share: (B, V), which add up to 1.
        size: (B,), the total, or None.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support: Any = constraints.independent(constraints.nonnegative_integer, 1)  # type: ignore[no-untyped-call]
    has_rsample = False
    given_total = True  #: counts are described given their total, so that one tells a little about another

    def __init__(self, log_share: Tensor, size: Tensor | None = None) -> None:
        self.log_share, self.size = log_share, size
        super().__init__(Size(log_share.shape[:1]), Size(log_share.shape[1:]), validate_args=False)

    def of(self, size: Tensor) -> "WordCounts":
        """The same likelihood for examples of a given total, () or (B,): it then has a mean and samples."""
        return WordCounts(self.log_share, size.to(self.log_share).expand(self.batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability (*S, B), nats, of counts (*S, B, V), given their total."""
        x = exact(value.to(self.log_share.dtype))
        chosen = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1)
        return (chosen + (x * self.log_share).sum(-1)).to(self.log_share.dtype)

    @property
    def mean(self) -> Tensor:
        """Mean counts (B, V)."""
        return total(self.size).unsqueeze(1) * self.log_share.exp()

    @property
    def variance(self) -> Tensor:
        """Variances of the counts (B, V)."""
        return self.mean * -torch.expm1(self.log_share)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Counts (*S, B, V), without gradient."""
        sizes, share = total(self.size).long().tolist(), self.log_share.detach().exp()
        each: list[Any] = [TorchMultinomial(n, one) for n, one in zip(sizes, share, strict=True)]
        return torch.stack([one.sample(Size(sample_shape)) for one in each], len(Size(sample_shape)))


def vectors(raw: Any, user: str) -> Tensor:
    """The decoder's output (B, V), in float32 or better."""
    scores = observation(raw)
    if scores.ndim != 2:
        raise ShapeError(f"{user} describes vectors of counts (B, V), but the decoder gives {describe(scores)}")
    return scores


def exact(x: Tensor) -> Tensor:
    """In double precision, where the device has it: log-gammas of large counts nearly cancel."""
    return x if x.device.type == "mps" else x.double()


def total(size: Tensor | None) -> Tensor:
    """The total of every example, (B,).

    Raises:
        Unsupported: when it is not known.
    """
    if size is None:
        raise Unsupported(
            "these counts are described given their total, which only x tells; ask likelihood(z).of(total) for a mean "
            "or for samples, or take negative-binomial with mean exp"
        )
    return size
