"""Grey levels as what they are: 256 numbers, each with a probability."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from uncollapse.distributions import observation
from uncollapse.errors import BadInput
from uncollapse.likelihoods.planes import halves

__all__ = ["DiscretisedLogistic", "Levels"]

LEAST = -7.0  #: of the log scale, where the interval of the levels is [-1, 1]


class DiscretisedLogistic(nn.Module):
    r"""Reader of a discretised logistic likelihood: probabilities of the levels 0, 1/255, ..., 1.

    $P(x_j = k/255) = \sigma\Big(\frac{v_k + \frac1{255} - \mu_j}{s_j}\Big) -
    \sigma\Big(\frac{v_k - \frac1{255} - \mu_j}{s_j}\Big)$ with $v_k = 2k/255 - 1$; the lowest level takes everything
    below it and the highest everything above, so that the levels add up to 1. Densities of grey levels can be
    arbitrarily large; these are probabilities, and their nats compare with those of every other model of the levels.

    Arguments:
        levels: how many there are; 256 for bytes.
        scale: "learned" for a scale of every value (the decoder gives 2C channels, locations first, then log scales),
            or "shared" for one parameter.

    Locations and log scales are in units where the levels span [-1, 1]; a log scale below -7 counts as -7.

    Attributes:
        planes: numbers that the decoder gives for every value: 2, or 1 with a shared scale.

    Raises:
        BadInput: for fewer than two levels or an unknown `scale`.

    References:
        Salimans, Karpathy, Chen, Kingma, 2017, https://arxiv.org/abs/1701.05517, eq. 2 (one component);
        Kingma et al., 2016, https://arxiv.org/abs/1606.04934, for the shared scale.

    Example:
        >>> px = DiscretisedLogistic()(torch.zeros(2, 6, 4, 4))
        >>> px.log_prob(torch.ones(2, 3, 4, 4)).shape, px.sample().shape
        (torch.Size([2]), torch.Size([2, 3, 4, 4]))
    """

    def __init__(self, levels: int = 256, scale: str = "learned") -> None:
        super().__init__()
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 2:
            raise BadInput(f"levels should be a whole number from 2, 256 for bytes, got {levels!r}")
        if scale not in {"learned", "shared"}:
            raise BadInput(f'the scale of a discretised logistic should be "learned" or "shared", got {scale!r}')
        self.levels, self.planes = levels, 2 if scale == "learned" else 1
        self.log_scale = nn.Parameter(torch.zeros(())) if scale == "shared" else None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Back to a scale of 1."""
        if self.log_scale is not None:
            self.log_scale.zero_()

    def forward(self, raw: Any) -> Distribution:
        """Read the decoder's output as locations and, unless it is shared, log scales."""
        if isinstance(raw, Distribution):
            return raw
        if self.log_scale is None:
            return Levels(*halves(raw, "DiscretisedLogistic"), self.levels)
        place = observation(raw)
        return Levels(place, self.log_scale.to(place).expand_as(place), self.levels)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"levels={self.levels}, scale={'learned' if self.planes == 2 else 'shared'!r}"


class Levels(Distribution):
    """Independent discretised logistics over the levels 0, 1/(L-1), ..., 1.

    Arguments:
        place: (B, *X), where the levels span [-1, 1].
        log_scale: (B, *X), in the same units.
        levels: L.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    has_rsample = False

    def __init__(self, place: Tensor, log_scale: Tensor, levels: int = 256) -> None:
        self.place, self.log_scale, self.levels = place, log_scale.clamp(min=LEAST), levels
        super().__init__(Size(place.shape[:1]), Size(place.shape[1:]), validate_args=False)

    @property
    def support(self) -> Any:
        """Values in [0, 1]; each counts as the nearest level."""
        return constraints.independent(constraints.unit_interval, len(self.event_shape))  # type: ignore[no-untyped-call]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability (*S, B), nats, of values (*S, B, *X) in [0, 1]; each counts as the nearest level."""
        top = self.levels - 1
        level = (value * top).round().to(self.place.dtype)
        shrink = torch.exp(-self.log_scale)
        upper = ((2 * level + 1) / top - 1 - self.place) * shrink
        lower = ((2 * level - 1) / top - 1 - self.place) * shrink
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)): exact in both tails
        inner = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-2 / top * shrink))
        ends = torch.where(level <= 0, F.logsigmoid(upper), F.logsigmoid(-lower))
        found = torch.where((level <= 0) | (level >= top), ends, inner)
        return found.flatten(found.ndim - len(self.event_shape)).sum(-1)

    @property
    def mean(self) -> Tensor:
        """Mean over the levels, (B, *X): one pass over the edges between them."""
        top, shrink = self.levels - 1, torch.exp(-self.log_scale)
        total = torch.zeros_like(self.place)
        for level in range(top):  # the mean of a whole number is the sum of the chances that it exceeds 0, 1, ...
            total = total + torch.sigmoid((self.place - ((2 * level + 1) / top - 1)) * shrink)
        return total / top

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*S, B, *X), without gradient."""
        with torch.no_grad():
            full = Size(sample_shape) + self.place.shape
            uniform = torch.rand(full, dtype=self.place.dtype, device=self.place.device)
            tiny = torch.finfo(uniform.dtype).tiny
            noise = uniform.clamp(min=tiny).log() - torch.log1p(-uniform)
            drawn = self.place + self.log_scale.exp() * noise
            top = self.levels - 1
            return ((drawn + 1) / 2 * top).round().clamp(0, top) / top
