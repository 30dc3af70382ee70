"""The networks of LR-VAE's public code: a residual convolutional encoder, a wide decoder, and deep narrow ones."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.errors import BadInput
from uncollapse.nets.shapes import check_latent, check_shape, check_widths, image_shape, numel, whole

__all__ = ["NarrowDecoder", "NarrowEncoder", "ResidualEncoder", "WideDecoder"]


class ResidualEncoder(nn.Module):
    """Pairs of residual blocks, the first of each of stride 2, and two fully connected layers; LeakyReLU throughout.

    After the blocks come a linear layer to 2D numbers, batch normalisation, LeakyReLU and a plain linear head, so F is
    2D and the log-variance is not bounded. In training the examples of a batch depend on each other.

    Arguments:
        shape: (channels, height, width).
        latent: D; 28 for 28x28 grey images, 32 for Omniglot and 128 for CIFAR-10 and CelebA in the public code.
        widths: maps of the pairs; (32, 64, 128, 256) for Omniglot, CIFAR-10 and CelebA there.

    Attributes:
        trunk: module from x (B, C, H, W) to features (B, F); a hybrid critic may share it.
        head: linear layer from features to mean and log-variance (B, 2D).
        features: F.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, released code.

    Example:
        >>> ResidualEncoder((1, 28, 28), latent=4, widths=(8, 8))(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 8])
    """

    def __init__(self, shape: Sequence[int], latent: int, widths: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        channels, height, width = image_shape(shape, "ResidualEncoder")
        widths = check_widths(widths, "widths")
        if not widths:
            raise BadInput("widths should name the maps of at least one pair of blocks, such as (32, 64), got none")
        blocks: list[nn.Module] = []
        for into, out in zip([channels, *widths], widths, strict=False):
            blocks += [Block(into, out, 2), Block(out, out, 1)]
            height, width = -(-height // 2), -(-width // 2)
        self.features = 2 * check_latent(latent)
        narrow = [nn.Linear(widths[-1] * height * width, self.features), nn.BatchNorm1d(self.features), nn.LeakyReLU()]
        self.trunk = nn.Sequential(*blocks, nn.Flatten(), *narrow)
        self.head = nn.Linear(self.features, self.features)

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of x (B, C, H, W)."""
        return cast(Tensor, self.head(self.trunk(x)))


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation around a shortcut."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out), nn.LeakyReLU(),
            nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out),
        )  # fmt: skip
        changes = stride > 1 or into != out
        self.shortcut = nn.Sequential(*([nn.Conv2d(into, out, 1, stride), nn.BatchNorm2d(out)] if changes else []))

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, ceil(H / stride), ceil(W / stride))."""
        return F.leaky_relu(self.body(x) + self.shortcut(x))


class WideDecoder(nn.Module):
    """Three hidden layers of half, half and all of the data's size, with batch normalisation and LeakyReLU.

    D-392-392-784-784 for 28x28 images; the last layer is plain. No convolution, so nothing but z places a pixel.

    Arguments:
        shape: shape X of one observation.
        latent: D.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, released code.

    Example:
        >>> WideDecoder((1, 8, 8), latent=4)(torch.zeros(3, 4)).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(self, shape: Sequence[int], latent: int) -> None:
        super().__init__()
        self.shape = check_shape(shape, "WideDecoder")
        size = numel(self.shape)
        half = max(size // 2, 1)
        self.body = nn.Sequential(*normalised([check_latent(latent), half, half, size]))
        self.head = nn.Linear(size, size)

    def forward(self, z: Tensor) -> Tensor:
        """Logits or means (B, *X) for z (B, D)."""
        return cast(Tensor, self.head(self.body(z))).reshape(-1, *self.shape)


class NarrowEncoder(nn.Module):
    """A deep and narrow multi-layer perceptron: many layers of a few units with batch normalisation and LeakyReLU.

    Ten layers of 16 for images and twelve for two-dimensional data in the last public version of LR-VAE. There, the
    head of the two-dimensional ones ends in batch normalisation and LeakyReLU, which keeps log-variances from falling
    below about zero; and the one for images cannot run, because its first layer takes one number. Here the head is
    a plain linear layer and the first layer takes the flattened observation.

    Arguments:
        shape: shape X of one observation; it is flattened.
        latent: D.
        layers: how many hidden layers.
        width: of every one of them.

    Attributes:
        trunk, head, features: as for `MLPEncoder`.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, released code.

    Example:
        >>> NarrowEncoder((1, 8, 8), latent=4)(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 8])
    """

    def __init__(self, shape: Sequence[int], latent: int, layers: int = 10, width: int = 16) -> None:
        super().__init__()
        size = numel(check_shape(shape, "NarrowEncoder"))
        self.features = depth(layers, width)[0]
        self.trunk = nn.Sequential(nn.Flatten(), *normalised([size, *depth(layers, width)]))
        self.head = nn.Linear(width, 2 * check_latent(latent))

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of x (B, *X)."""
        return cast(Tensor, self.head(self.trunk(x)))


class NarrowDecoder(nn.Module):
    """The mirror of `NarrowEncoder`, with the same arguments; its last layer is plain.

    Example:
        >>> NarrowDecoder((2,), latent=2, layers=12)(torch.zeros(3, 2)).shape
        torch.Size([3, 2])
    """

    def __init__(self, shape: Sequence[int], latent: int, layers: int = 10, width: int = 16) -> None:
        super().__init__()
        self.shape = check_shape(shape, "NarrowDecoder")
        self.body = nn.Sequential(*normalised([check_latent(latent), *depth(layers, width)]))
        self.head = nn.Linear(width, numel(self.shape))

    def forward(self, z: Tensor) -> Tensor:
        """Logits or means (B, *X) for z (B, D)."""
        return cast(Tensor, self.head(self.body(z))).reshape(-1, *self.shape)


def normalised(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers with batch normalisation and LeakyReLU after each."""
    parts: list[nn.Module] = []
    for into, out in pairwise(widths):
        parts += [nn.Linear(into, out), nn.BatchNorm1d(out), nn.LeakyReLU()]
    return parts


def depth(layers: int, width: int) -> list[int]:
    """The widths of equal layers."""
    for name, value in {"layers": layers, "width": width}.items():
        if not whole(value):
            raise BadInput(f"{name} should be a positive whole number, got {value!r}")
    return [width] * layers
