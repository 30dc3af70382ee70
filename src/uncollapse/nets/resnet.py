"""Residual encoder for images, as in the study of lagging inference networks."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.errors import BadInput
from uncollapse.nets.shapes import check_latent, check_widths, image_shape, whole

__all__ = ["ResNetEncoder"]


class ResNetEncoder(nn.Module):
    """Residual blocks of stride 2, then one convolution over what is left, batch normalisation and ELU throughout.

    At 28x28 and the default widths the last convolution is the 4x4 one of the paper. Any image size works.
    In training the examples of a batch depend on each other through batch normalisation.

    Arguments:
        shape: (channels, height, width).
        latent: D.
        widths: channels of the residual blocks, each of which halves the image.
        hidden: width F of the last convolution.

    Attributes:
        trunk: module from x (B, C, H, W) to features (B, F); a hybrid critic may share it.
        head: linear layer from features to mean and log-variance (B, 2D).
        features: F.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        He, Spokoyny, Neubig, Berg-Kirkpatrick, 2019, https://arxiv.org/abs/1901.05534.

    Example:
        >>> ResNetEncoder((1, 28, 28), latent=4, widths=(8, 8, 8), hidden=16)(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 8])
    """

    def __init__(
        self, shape: Sequence[int], latent: int, widths: Sequence[int] = (64, 64, 64), hidden: int = 512
    ) -> None:
        super().__init__()
        channels, height, width = image_shape(shape, "ResNetEncoder")
        widths = check_widths(widths, "widths")
        if not widths or not whole(hidden):
            raise BadInput(f"ResNetEncoder needs at least one block and a width for hidden, got {widths}, {hidden!r}")
        blocks = [Residual(a, b) for a, b in zip([channels, *widths], widths, strict=False)]
        factor = 2 ** len(widths)
        rest = (-(-height // factor), -(-width // factor))
        self.features = hidden
        self.trunk = nn.Sequential(
            *blocks,
            nn.Conv2d(widths[-1], hidden, rest, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ELU(inplace=True),
            nn.Flatten(),
        )
        self.head = nn.Linear(hidden, 2 * check_latent(latent))

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of x (B, C, H, W)."""
        return cast(Tensor, self.head(self.trunk(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, around a strided shortcut."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(into, out, 3, 2, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ELU(inplace=True),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(into, out, 1, 2, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, ceil(H / 2), ceil(W / 2))."""
        return F.elu(self.body(x) + self.shortcut(x), inplace=True)
