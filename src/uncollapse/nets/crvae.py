"""The encoders and decoders of CR-VAE's public code, by size."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets.shapes import check_latent, check_widths, image_shape

__all__ = ["CR_PIXELCNN", "PLANS", "CRDecoder", "CREncoder", "CRResNetEncoder"]


class Plan(NamedTuple):
    """Convolutions of an encoder: widths, and how many of them, from the first, are followed by batch normalisation."""

    widths: tuple[int, ...]
    normalised: int


PLANS: dict[str, Plan] = {
    "tiny": Plan((32,), 0),
    "small": Plan((32, 64), 0),
    "medium": Plan((32, 64, 128), 2),
    "large": Plan((32, 64, 128, 256), 0),
}

CR_PIXELCNN: dict[str, Any] = {"kernels": (7, 7, 7, 7, 7, 5), "norm": "batch", "skip": 3}
"""Settings that make a `PixelCNN` of the decoder that goes with the ResNet-18, six blocks with skips.

The public code feeds these blocks 512 maps made from z alone, so its decoder never sees a pixel. Ours does, as a
PixelCNN should, and so describes binary images only; the likelihoods of the two cannot be compared.
"""


class CREncoder(nn.Module):
    """Strided 3x3 convolutions with ReLU, and a linear layer to mean and log-variance.

    Every convolution halves the image; the first has no padding and the others one pixel. "tiny" is one convolution of
    32, "small" 32-64, "medium" 32-64-128 with batch normalisation after the first two, "large" 32-64-128-256; only
    "medium" normalises. These are the sizes of the public code, which was made four months before the paper; which one
    made the paper's tables is not said.

    Arguments:
        shape: (channels, height, width), sides of at least 3.
        latent: D; 16 in the scripts.
        size: "tiny", "small", "medium" or "large".

    Attributes:
        trunk: module from x (B, C, H, W) to features (B, F); a hybrid critic may share it.
        head: linear layer from features to mean and log-variance (B, 2D).
        features: F; 2,048 for "medium" at 28x28 and 32x32.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Lygerakis, Rueckert, 2023, https://arxiv.org/abs/2309.02968, released code.

    Example:
        >>> CREncoder((1, 28, 28), latent=16)(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 32])
    """

    def __init__(self, shape: Sequence[int], latent: int, size: str = "medium") -> None:
        super().__init__()
        channels, *sides = image_shape(shape, "CREncoder")
        if size not in PLANS:
            raise BadInput(f"size should be one of {', '.join(PLANS)}, got {size!r}")
        if min(sides) < 3:
            raise ShapeError(f"CREncoder needs images of at least 3x3 pixels, got {sides[0]}x{sides[1]}")
        plan, parts = PLANS[size], list[nn.Module]()
        for place, (into, out) in enumerate(zip((channels, *plan.widths), plan.widths, strict=False)):
            parts.append(nn.Conv2d(into, out, 3, 2, min(place, 1)))
            parts += [nn.BatchNorm2d(out)] if place < plan.normalised else []
            parts.append(nn.ReLU())
            sides = [(side + 2 * min(place, 1) - 3) // 2 + 1 for side in sides]
        self.features = plan.widths[-1] * sides[0] * sides[1]
        self.trunk = nn.Sequential(*parts, nn.Flatten())
        self.head = nn.Linear(self.features, 2 * check_latent(latent))

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of x (B, C, H, W)."""
        return cast(Tensor, self.head(self.trunk(x)))


class CRDecoder(nn.Module):
    """The decoder that all of CR-VAE's convolutional encoders share.

    A linear layer to 256 maps of 4x4, three 3x3 transposed convolutions of stride 2 with batch normalisation and ReLU,
    and one of stride 1. The sides are those of the public code for images of 28 (4, 7, 13, 28) and 32 (4, 8, 16, 32);
    it knows no others. Here any image works: it starts from an eighth of the side, rounded up, and doubles, less the
    pixel that is too much.

    Arguments:
        shape: (channels, height, width).
        latent: D.
        widths: maps after the linear layer and after every convolution of stride 2.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Lygerakis, Rueckert, 2023, https://arxiv.org/abs/2309.02968, released code.

    Example:
        >>> CRDecoder((3, 32, 32), latent=16)(torch.zeros(2, 16)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, shape: Sequence[int], latent: int, widths: Sequence[int] = (256, 128, 64, 32)) -> None:
        super().__init__()
        channels, height, width = image_shape(shape, "CRDecoder")
        widths = check_widths(widths, "widths")
        if len(widths) < 2:
            raise BadInput(
                f"widths should name the maps before and after every doubling, such as (64, 32), got {widths}"
            )
        heights, lengths = (growing(side, len(widths) - 1) for side in (height, width))
        seed = (widths[0], heights[0], lengths[0])
        parts: list[nn.Module] = [nn.Linear(check_latent(latent), seed[0] * seed[1] * seed[2]), nn.ReLU()]
        parts.append(nn.Unflatten(1, seed))
        for place, (into, out) in enumerate(pairwise(widths)):
            pads = [fit(side[place], side[place + 1]) for side in (heights, lengths)]
            parts += [Doubling(into, out, pads[0], pads[1]), nn.BatchNorm2d(out), nn.ReLU()]
        self.body = nn.Sequential(*parts, nn.ConvTranspose2d(widths[-1], channels, 3, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        """Logits or means (B, C, H, W) for z (B, D); no sigmoid."""
        return cast(Tensor, self.body(z))


class Doubling(nn.ConvTranspose2d):
    """A 3x3 transposed convolution of stride 2 with a padding of its own for either side."""

    def __init__(self, into: int, out: int, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        super().__init__(into, out, 3, 2, (rows[0], columns[0]), (rows[1], columns[1]))


def growing(side: int, steps: int) -> list[int]:
    """The sides of the maps, the first one first; those of the public code for 28."""
    if side == 28 and steps == 3:
        return [4, 7, 13, 28]
    sides = [side]
    for _ in range(steps):
        sides.insert(0, -(-sides[0] // 2))
    return sides


def fit(before: int, after: int) -> tuple[int, int]:
    """Padding and output padding that lead from one side to the next."""
    for padding in (1, 0):
        extra = after - (2 * (before - 1) - 2 * padding + 3)
        if extra in (0, 1):
            return padding, extra
    raise ShapeError(f"a 3x3 transposed convolution of stride 2 does not lead from {before} to {after} pixels")


class CRResNetEncoder(nn.Module):
    """A ResNet-18 for small images: a 3x3 stem of stride 1, no pooling after it, and without the last of four stages.

    The three stages of two blocks each have 64, 128 and 256 maps, of which the mean over the image is taken: F is 256.

    Arguments:
        shape: (channels, height, width).
        latent: D.
        widths: maps of the stages; each but the first halves the image.

    Attributes:
        trunk, head, features: as for `CREncoder`.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Lygerakis, Rueckert, 2023, https://arxiv.org/abs/2309.02968, released code;
        He, Zhang, Ren, Sun, 2016, https://arxiv.org/abs/1512.03385, for the blocks.

    Example:
        >>> CRResNetEncoder((3, 8, 8), latent=4, widths=(8, 16))(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 8])
    """

    def __init__(self, shape: Sequence[int], latent: int, widths: Sequence[int] = (64, 128, 256)) -> None:
        super().__init__()
        channels, *_ = image_shape(shape, "CRResNetEncoder")
        widths = check_widths(widths, "widths")
        if not widths:
            raise BadInput("widths should name the maps of at least one stage, such as (64, 128, 256), got none")
        parts: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])]
        parts.append(nn.ReLU())
        for place, (into, out) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            parts += [Basic(into, out, 2 if place else 1), Basic(out, out, 1)]
        self.features = widths[-1]
        self.trunk = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(self.features, 2 * check_latent(latent))

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of x (B, C, H, W)."""
        return cast(Tensor, self.head(self.trunk(x)))


class Basic(nn.Module):
    """Two 3x3 convolutions with batch normalisation around a shortcut."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        changes = stride > 1 or into != out
        way = [nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out)] if changes else []
        self.shortcut = nn.Sequential(*way)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, ceil(H / stride), ceil(W / stride))."""
        return F.relu(self.body(x) + self.shortcut(x))
