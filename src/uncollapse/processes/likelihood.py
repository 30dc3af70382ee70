"""A likelihood of which every process holds its own rows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.processes.exchange import mine, whole
from uncollapse.processes.group import Group
from uncollapse.processes.region import own_rows

__all__ = ["Apart"]


class Apart(Distribution):
    """The likelihoods of K * B codes, made and asked row by row; only densities travel, and what else is asked for.

    Arguments:
        make: from codes (N, D) to a likelihood with batch (N,).
        z: (K, B, D), codes of the whole batch.
        group: the processes.
        model: whose likelihood it is.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)

    def __init__(self, make: Callable[[Tensor], Distribution], z: Tensor, group: Group, model: Any) -> None:
        self.group, self.model = group, model
        self.count = z.shape[0] * z.shape[1]
        with own_rows(group, self.count, model):
            self.own = make(mine(z.reshape(self.count, -1), group))
        super().__init__(z.shape[:2], self.own.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """The support of the likelihood."""
        return self.own.support

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (K, B), nats, of values (B, *X) or (K, B, *X)."""
        values = value.expand(*self.batch_shape, *self.event_shape).reshape(self.count, *self.event_shape)
        with own_rows(self.group, self.count, self.model):
            found = self.own.log_prob(mine(values, self.group))
        return whole(found, self.group, self.count).view(self.batch_shape)

    @property
    def expected(self) -> Callable[[Tensor], Tensor]:
        """As the likelihood's own `expected`, where it has one."""
        given: Callable[[Tensor], Tensor] = self.own.expected  # type: ignore[attr-defined]

        def expected(value: Tensor) -> Tensor:
            with own_rows(self.group, self.count, self.model):
                found = given(mine(value, self.group))
            return self._unfold(whole(found, self.group, self.count))

        return expected

    @property
    def mean(self) -> Tensor:
        """Mean, (K, B, *X)."""
        return self._unfold(whole(self.own.mean, self.group, self.count))

    @property
    def variance(self) -> Tensor:
        """Variance, (K, B, *X)."""
        return self._unfold(whole(self.own.variance, self.group, self.count))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*S, K, B, *X), without gradient, with the noise of the whole batch."""
        with torch.no_grad():
            found = [self._drawn() for _ in range(Size(sample_shape).numel())]
        return torch.stack(found).view(*sample_shape, *self.batch_shape, *self.event_shape)

    def _drawn(self) -> Tensor:
        with own_rows(self.group, self.count, None):  # no network draws here: the likelihood does
            own = self.own.sample()
        return whole(own, self.group, self.count)

    def _unfold(self, flat: Tensor) -> Tensor:
        return flat.reshape(*self.batch_shape, *self.event_shape)
