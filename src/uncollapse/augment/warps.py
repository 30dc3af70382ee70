"""What moves the pixels of an image: maps of coordinates that multiply, so that several sample the image once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from uncollapse.augment.checks import Pair, images, interval, number, share
from uncollapse.errors import BadInput

__all__ = ["Affine", "Crop", "Flip", "Warp", "warped"]


class Warp:
    """What moves pixels: a subclass says how, as a map from the view's coordinates in [-1, 1] to the image's."""

    outside: str | None = None  #: what is seen beyond the border: "zeros", "border", "reflection"; None has no opinion

    def matrix(self, x: Tensor) -> Tensor:
        """Homogeneous maps (B, 3, 3) for images (B, C, H, W); the last column is the shift."""
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        """A view (B, C, H, W)."""
        return warped(x, [self])


@dataclass(frozen=True)
class Crop(Warp):
    """A random part of the image at the size of the whole (RandomResizedCrop).

    The area is uniform in `scale`, the logarithm of the ratio uniform in `ratio`, as far as such a part fits into the
    image: no attempt is rejected. Positions are not rounded to pixels.

    Arguments:
        scale: smallest and largest area, shares of the image's. torchvision and CR-VAE take (0.08, 1); the smaller the
            part, the less a contrast with the whole can ask for.
        ratio: smallest and largest width over height, relative to the image's own; 1 lies between them.

    Example:
        >>> Crop(scale=(0.5, 1))(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    scale: Pair = (0.5, 1.0)
    ratio: Pair = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        interval(self, "scale", 1e-6, 1.0)
        low, high = interval(self, "ratio", 1e-6, 1e6)
        if not low <= 1 <= high:
            raise BadInput(f"ratio of Crop should be an interval with 1 in it, got {self.ratio!r}")

    def matrix(self, x: Tensor) -> Tensor:
        """Scaling and shift, (B, 3, 3)."""
        u = torch.rand(4, len(x), device=x.device)
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * u[0]
        room = -area.log()  # a part of this area fits while |log ratio| <= room
        low, high = (-room).clamp(min=math.log(self.ratio[0])), room.clamp(max=math.log(self.ratio[1]))
        half = 0.5 * (low + (high - low) * u[1])
        width, height = area.sqrt() * half.exp(), area.sqrt() * (-half).exp()
        return rows(width, 0, (2 * u[2] - 1) * (1 - width), 0, height, (2 * u[3] - 1) * (1 - height))


@dataclass(frozen=True)
class Flip(Warp):
    """Left and right exchanged with probability p. Not for digits and letters: a mirrored one is another or none.

    Example:
        >>> Flip(p=1.0)(torch.tensor([[[[0.0, 1.0]]]]))
        tensor([[[[1., 0.]]]])
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        share(self, "p")

    def matrix(self, x: Tensor) -> Tensor:
        """Mirrored or not, (B, 3, 3)."""
        sign = 1 - 2 * (torch.rand(len(x), device=x.device) < self.p).float()
        return rows(sign, 0, 0, 0, 1, 0)


@dataclass(frozen=True)
class Affine(Warp):
    """A small rotation, shift and change of size about the middle.

    Arguments:
        degrees: largest rotation either way.
        shift: largest shift either way, share of the side.
        zoom: smallest and largest magnification.
        outside: what comes in at the border: "zeros", "border" (the last pixel again) or "reflection".

    Example:
        >>> Affine(degrees=5, shift=0)(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    degrees: float = 10.0
    shift: float = 0.1
    zoom: Pair = (0.9, 1.1)
    outside: str = "zeros"

    def __post_init__(self) -> None:
        number(self, "degrees", 0, 180)
        number(self, "shift", 0, 1)
        interval(self, "zoom", 1e-6, 1e6)
        if self.outside not in {"zeros", "border", "reflection"}:
            raise BadInput(f"outside of Affine should be zeros, border or reflection, got {self.outside!r}")

    def matrix(self, x: Tensor) -> Tensor:
        """Rotation, shift and size, (B, 3, 3); a turn is one of pixels, whatever the sides."""
        u = 2 * torch.rand(4, len(x), device=x.device) - 1
        angle, tall = u[0] * math.radians(self.degrees), x.shape[-2] / x.shape[-1]
        middle, reach = sum(self.zoom) / 2, (self.zoom[1] - self.zoom[0]) / 2
        size = 1 / (middle + reach * u[1])
        cos, sin = size * angle.cos(), size * angle.sin()
        return rows(cos, -sin * tall, 2 * self.shift * u[2], sin / tall, cos, 2 * self.shift * u[3])


def warped(x: Tensor, warps: Sequence[Warp]) -> Tensor:
    """Images seen through several maps and sampled once (bilinear); values stay within those of each image."""
    image = images(x, " and ".join(type(warp).__name__ for warp in warps))
    outside = next((warp.outside for warp in warps if warp.outside is not None), "border")
    with torch.autocast(x.device.type, enabled=False):
        total = warps[0].matrix(image)
        for warp in warps[1:]:
            total = total @ warp.matrix(image)
        view = F.grid_sample(image, grid(total.to(image.dtype), image), padding_mode=outside, align_corners=False)
        low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
        if outside == "zeros":
            low, high = low.clamp(max=0), high.clamp(min=0)
        return view.clamp(low, high).to(x.dtype)  # the weights of bilinear sampling add up to 1 but for rounding


def grid(matrix: Tensor, image: Tensor) -> Tensor:
    """Where every pixel of the views looks, (B, H, W, 2): `affine_grid` for pixel centres, but one plane a coordinate.

    torch multiplies (H W, 3) by (3, 2) for every image, which takes twelve times as long (256 of 28x28, one thread).
    """
    rows, columns = (centres(side, matrix) for side in image.shape[2:])
    across, down, shift = matrix[:, :2].permute(2, 1, 0).unsqueeze(-1)  # (2, B, 1) each
    planes: Tensor = (down * rows + shift).unsqueeze(-1) + (across * columns).unsqueeze(-2)
    return planes.permute(1, 2, 3, 0)


def centres(side: int, like: Tensor) -> Tensor:
    """Centres of the pixels along a side of length 2 about 0."""
    return (2 * torch.arange(side, device=like.device, dtype=like.dtype) + 1) / side - 1


def rows(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Tensor:
    """Matrices (B, 3, 3) with the rows (a, b, c), (d, e, f), (0, 0, 1); numbers stand for B equal ones."""
    like = next(one for one in (a, b, c, d, e, f) if isinstance(one, Tensor))
    whole = [one if isinstance(one, Tensor) else torch.full_like(like, one) for one in (a, b, c, d, e, f, 0, 0, 1)]
    return torch.stack(whole, 1).view(-1, 3, 3)
