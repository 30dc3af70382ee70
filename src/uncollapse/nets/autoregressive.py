"""The distribution over binary images that an autoregressive decoder describes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from uncollapse.distributions import precise
from uncollapse.errors import ShapeError, Unsupported
from uncollapse.nets.stepping import stepping

__all__ = ["Autoregressive"]


class Autoregressive(Distribution):
    r"""Binary images whose pixels depend on z and on the pixels before them in raster order.

    $\log p(x|z) = \sum_i \log \mathrm{Bernoulli}(x_i; \pi_i(x_{<i}, z))$

    Within a pixel, channels come in their stored order. `log_prob` costs one pass of the network, `sample` and `greedy`
    one pass for every pixel and channel: of that pixel alone where the network remembers the ones before (see
    `nets.stepping`; `PixelCNN` and `LIDPixelCNN` do), otherwise of all pixels so far.

    Arguments:
        network: a module from images (B, C, h, W) and context (B, M, h, W) to logits (B, C, h, W). It takes
            any number h of upper rows, and the rows below make no difference to them.
        context: (B, M, H, W), feature maps made from z.
        shape: (C, H, W).
        change: what the network is given in place of the true pixels in `log_prob`, `logits` and `expected`, a function
            of images (*, C, H, W); the images that are scored stay as they are, and so do samples.

    Example:
        >>> from uncollapse.nets import PixelCNN
        >>> px = PixelCNN.small((1, 8, 8), latent=4)(torch.zeros(3, 4))
        >>> px.log_prob(torch.ones(3, 1, 8, 8)).shape, px.sample().shape
        (torch.Size([3]), torch.Size([3, 1, 8, 8]))
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support: Any = constraints.independent(constraints.boolean, 3)  # type: ignore[no-untyped-call]

    def __init__(
        self,
        network: nn.Module,
        context: Tensor,
        shape: tuple[int, int, int],
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.network, self.context, self.change = network, precise(context), change
        super().__init__(Size(context.shape[:1]), Size(shape), validate_args=False)

    def corrupted(self, change: Callable[[Tensor], Tensor]) -> "Autoregressive":
        """The same likelihood whose network sees `change(x)` where it would see the true pixels x."""
        return Autoregressive(self.network, self.context, cast(tuple[int, int, int], self.event_shape), change)

    def logits(self, value: Tensor) -> Tensor:
        """Logits (*S, B, C, H, W) of every pixel given the true pixels before it, in one pass (teacher forcing)."""
        lead = self._lead(value)
        flat, context = self._fold(value, lead)
        flat = flat if self.change is None else self.change(flat)
        return precise(self.network(flat, context)).reshape(lead + self.batch_shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log likelihood (*S, B), nats, of images (*S, B, C, H, W) with values in [0, 1]."""
        logits = self.logits(value)
        value = value.to(logits.dtype).expand_as(logits)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none").flatten(-3).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Ancestral samples (*S, B, C, H, W), pixel by pixel, without gradient."""
        return self._generate(Size(sample_shape), torch.bernoulli)

    def greedy(self) -> Tensor:
        """The image (B, C, H, W) that takes the likelier value at every pixel in turn, without gradient."""
        return self._generate(Size(), torch.round)

    def expected(self, value: Tensor) -> Tensor:
        """Probability of ink (*S, B, C, H, W) at every pixel given the true pixels before it."""
        return self.logits(value).sigmoid()

    @property
    def mean(self) -> Tensor:
        """Not to be had: the marginal mean of a pixel sums over all images before it."""
        raise Unsupported("an autoregressive decoder has no cheap mean; take sample(), greedy() or expected(x) instead")

    @property
    def variance(self) -> Tensor:
        """Not to be had, as the mean."""
        raise Unsupported("an autoregressive decoder has no cheap variance; take the variance of sample((n,)) instead")

    @torch.no_grad()
    def _generate(self, lead: Size, choose: Callable[[Tensor], Tensor]) -> Tensor:
        full = lead + self.batch_shape + self.event_shape
        flat, context = self._fold(self.context.new_zeros(full), lead)
        channels, height, width = self.event_shape
        with evaluating(self.network), stepping(self.network, flat) as place:
            for row, column, channel in product(range(height), range(width), range(channels)):
                if place is None:  # nothing below this row can matter, so it is left out
                    logits = self.network(flat[:, :, : row + 1], context[:, :, : row + 1])[:, channel, row, column]
                else:
                    place.row, place.column = row, column
                    here = (slice(None), slice(None), slice(row, row + 1), slice(column, column + 1))
                    logits = self.network(flat[here], context[here])[:, channel, 0, 0]
                flat[:, channel, row, column] = choose(precise(logits).sigmoid())
        return flat.reshape(full)

    def _lead(self, value: Tensor) -> Size:
        tail = self.batch_shape + self.event_shape
        if value.shape[-3:] != self.event_shape or (value.ndim > 3 and value.shape[-4] not in {1, tail[0]}):
            raise ShapeError(f"the decoder describes images {tuple(tail)}, got {tuple(value.shape)}")
        return value.shape[:-4]

    def _fold(self, value: Tensor, lead: Size) -> tuple[Tensor, Tensor]:
        value = value.to(self.context.dtype).expand(*lead, *self.batch_shape, *self.event_shape)
        context = self.context.expand(*lead, *self.context.shape)
        return value.reshape(-1, *self.event_shape), context.reshape(-1, *self.context.shape[1:])


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode: half-drawn images must not move batch statistics."""
    modules = [module for module in network.modules() if module.training]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True
