r"""A small VAE and a small data set whose answers are known.

`Prototypes` draws one of C binary patterns and flips each pixel with probability f. The patterns are rows of a
16 x 16 Hadamard matrix, so any two differ in exactly 8 of 16 pixels, and with 2^16 possible images every
entropy is a finite sum.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from uncollapse.distributions import FixedGaussian, bernoulli
from uncollapse.draw import VAE
from uncollapse.errors import BadInput
from uncollapse.functional import log_mean_exp
from uncollapse.nets import MLPDecoder, MLPEncoder

__all__ = ["PIXELS", "Prototypes", "ToyModel"]

PIXELS = 16


@dataclass(frozen=True)
class Prototypes:
    r"""C binary patterns of 16 pixels, equally likely, each pixel flipped with probability f.

    $p(x) = \frac1C \sum_c \prod_j f^{[x_j \ne c_j]} (1-f)^{[x_j = c_j]}$

    Arguments:
        classes: C, 1 to 15.
        flip: f, in (0, 0.5).

    Raises:
        BadInput: when an argument is out of range.

    Example:
        >>> x, labels = Prototypes().sample(4)
        >>> x.shape, labels.shape
        (torch.Size([4, 16]), torch.Size([4]))
    """

    classes: int = 10
    flip: float = 0.05

    def __post_init__(self) -> None:
        if not 1 <= self.classes < PIXELS or not 0 < self.flip < 0.5:
            raise BadInput(
                f"Prototypes expects 1 to 15 classes and a flip probability in (0, 0.5), "
                f"got classes={self.classes}, flip={self.flip}"
            )

    @cached_property
    def patterns(self) -> Tensor:
        """The patterns, (C, 16) of zeros and ones."""
        rows = torch.ones(1, 1)
        while len(rows) < PIXELS:
            rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
        return (rows[1 : self.classes + 1] + 1) / 2

    def sample(self, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Images (n, 16) of zeros and ones with their classes (n,)."""
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(self.classes, (n,), generator=generator)
        flips = torch.rand(n, PIXELS, generator=generator) < self.flip
        return (self.patterns[labels] - flips.float()).abs(), labels

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log probability of images (N, 16), (N,) nats."""
        wrong = torch.cdist(x.double(), self.patterns.double(), p=1)
        return log_mean_exp(wrong * math.log(self.flip) + (PIXELS - wrong) * math.log1p(-self.flip), 1)

    @cached_property
    def entropy(self) -> float:
        """H(x), nats: no model can have a smaller mean negative log likelihood."""
        every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * PIXELS)
        logs = self.log_prob(every)
        return float(-(logs.exp() * logs).sum())

    @property
    def information(self) -> float:
        """I(x; class), nats: what a latent must carry to name the pattern; below log C because flips confuse."""
        noise = -self.flip * math.log(self.flip) - (1 - self.flip) * math.log1p(-self.flip)
        return self.entropy - PIXELS * noise


class ToyModel(VAE):
    """A VAE of two small multi-layer perceptrons for images of 16 pixels; the encoder has a `trunk` and a `head`.

    Arguments:
        latent: D.
        scale: None for a Bernoulli likelihood; else the standard deviation of a Gaussian one. The largest
            variance of `Prototypes()` along any direction is 0.37, so at scale 2 the best plain VAE is a
            collapsed one.
        hidden: width of the hidden layers, which is F, the number of features that leave the trunk.

    Example:
        >>> ToyModel()(Prototypes().sample(3)[0]).elbo.shape
        torch.Size([3])
    """

    def __init__(self, latent: int = 4, scale: float | None = None, hidden: int = 32) -> None:
        encoder = MLPEncoder((PIXELS,), latent, hidden=(hidden,), activation="tanh")
        decoder = MLPDecoder((PIXELS,), latent, hidden=(hidden,), activation="tanh")
        super().__init__(encoder, decoder, latent, read_x=bernoulli if scale is None else FixedGaussian(scale))
        self.features = hidden
