"""Brightness, contrast, saturation and hue of a batch of images as one affine map of the colours each."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.augment.checks import images, number, share
from uncollapse.distributions import describe
from uncollapse.errors import ShapeError

__all__ = ["Colour"]

LUMA = (0.299, 0.587, 0.114)  #: Rec. 601


@dataclass(frozen=True)
class Colour:
    r"""Brightness, contrast, saturation and hue change together; some images lose their colour.

    One affine map of the colours per image, clamped once: brightness, then contrast about the image's mean grey, then
    saturation, then hue as a rotation about the grey axis (torchvision draws the order and turns the hue in HSV).
    On one channel only brightness and contrast mean anything.

    Arguments:
        brightness, contrast, saturation: factors are uniform in [max(0, 1 - a), 1 + a].
        hue: turns either way, at most 0.5.
        p: probability that an image changes.
        grey: probability that it loses its colour, whether it changed or not.

    References:
        The values are those of Chen, Fan, Girshick, He, 2020, https://arxiv.org/abs/2003.04297 (MoCo v2), without blur.

    Example:
        >>> view = Colour(grey=1.0)(torch.rand(2, 3, 8, 8))
        >>> bool((view[:, 0] - view[:, 2]).abs().max() < 1e-5)
        True
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    p: float = 0.8
    grey: float = 0.2

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            number(self, name, 0, math.inf)
        number(self, "hue", 0, 0.5)
        share(self, "p")
        share(self, "grey")

    def __call__(self, x: Tensor) -> Tensor:
        """A view (B, C, H, W)."""
        image = images(x, "Colour")
        if image.shape[1] not in (1, 3):
            raise ShapeError(f"Colour needs one or three channels, got {describe(x)}")
        with torch.autocast(x.device.type, enabled=False):
            luma = image.new_tensor(LUMA if image.shape[1] == 3 else [1.0])
            change, shift = self.map(image, luma)
            out = change @ image.flatten(2) + shift[:, None, None]
            low, high = (image.amin((1, 2, 3)).clamp(max=0), image.amax((1, 2, 3)).clamp(min=1))
            return out.clamp(low[:, None, None], high[:, None, None]).view_as(image).to(x.dtype)

    def map(self, image: Tensor, luma: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices (B, C, C) and shifts (B,) of the colours."""
        u = torch.rand(6, len(image), device=image.device).to(image.dtype)
        changed = u[0] < self.p
        reaches = (self.brightness, self.contrast, self.saturation)
        factors = (max(0.0, 1 - a) + (1 + a - max(0.0, 1 - a)) * one for a, one in zip(reaches, u[1:4], strict=True))
        bright, contrast, saturation = (torch.where(changed, factor, 1.0) for factor in factors)
        mean = torch.einsum("bchw,c->b", image, luma) / image[0, 0].numel()
        scale, shift = (contrast * bright)[:, None, None], (1 - contrast) * bright * mean
        if image.shape[1] == 1:
            return scale, shift
        saturation = torch.where(u[5] < self.grey, 0.0, saturation)
        angle = torch.where(changed, 2 * math.pi * self.hue * (2 * u[4] - 1), 0.0)
        grey, one = luma.expand(3, 3), torch.eye(3, device=image.device, dtype=image.dtype)
        return scale * (turn(angle) @ (grey + saturation[:, None, None] * (one - grey))), shift


def turn(angle: Tensor) -> Tensor:
    """Rotations of colour (B, 3, 3) about the grey axis; a third of a turn makes red green, green blue, blue red."""
    one, third = torch.eye(3, device=angle.device, dtype=angle.dtype), torch.full_like(angle, 1 / 3)[:, None, None]
    cross = one.roll(1, 0) - one.roll(-1, 0)
    return third + angle.cos()[:, None, None] * (one - third) + angle.sin()[:, None, None] * cross / math.sqrt(3)
