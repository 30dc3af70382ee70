"""Plain convolutional encoder and its mirror."""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets.shapes import activation_of, check_latent, image_shape, whole

__all__ = ["SMALL", "ConvDecoder", "ConvEncoder"]

SMALL: dict[str, Any] = {
    "widths": (16, 32, 32),
    "kernels": (4, 3, 3),
    "strides": (2, 1, 2),
    "padding": (1, 1, 1),
    "hidden": 64,
}
"""Settings for images of about 8x8 that train fast on a processor; any image from 2x2 pixels fits."""


class ConvEncoder(nn.Module):
    """Five convolutions and a fully connected layer; the defaults are those of the Forget-me-not report.

    Arguments:
        shape: (channels, height, width).
        latent: D.
        widths, kernels, strides, padding: one entry a convolution.
        hidden: width F of the fully connected layer.
        activation: as for `MLPEncoder`.

    Attributes:
        trunk: module from x (B, C, H, W) to features (B, F); a hybrid critic may share it.
        head: linear layer from features to mean and log-variance (B, 2D).
        features: F.

    Raises:
        ShapeError: when the image is too small; the message names the smallest side that works.
        BadInput: when settings do not fit each other.

    Example:
        >>> ConvEncoder((1, 28, 28), latent=4)(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        kernels: Sequence[int] = (3, 4, 4, 3, 2),
        strides: Sequence[int] = (1, 2, 2, 2, 1),
        padding: Sequence[int] = (0, 0, 0, 0, 0),
        hidden: int = 512,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        channels, *sides = image_shape(shape, "ConvEncoder")
        plan = check_plan(widths, kernels, strides, padding, hidden)
        heights, lengths = (trace(side, plan, "ConvEncoder") for side in sides)
        parts: list[nn.Module] = []
        for into, (out, kernel, stride, pad) in zip([channels, *widths], plan, strict=False):
            parts += [nn.Conv2d(into, out, kernel, stride, pad), activation_of(activation)]
        flat = widths[-1] * heights[-1] * lengths[-1]
        self.features = hidden
        self.trunk = nn.Sequential(*parts, nn.Flatten(), nn.Linear(flat, hidden), activation_of(activation))
        self.head = nn.Linear(hidden, 2 * check_latent(latent))

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of x (B, C, H, W)."""
        return cast(Tensor, self.head(self.trunk(x)))


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: fully connected layers, then a transposed convolution for each convolution.

    Arguments: as for `ConvEncoder`, in the encoder's order, so that equal settings make a matching pair.
        squash: whether a sigmoid keeps the outputs in [0, 1]: means of a Gaussian likelihood of images, say.

    Raises:
        ShapeError: when the image is too small; the message names the smallest side that works.
        BadInput: when settings do not fit each other.

    Example:
        >>> ConvDecoder((3, 32, 32), latent=4)(torch.zeros(2, 4)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        kernels: Sequence[int] = (3, 4, 4, 3, 2),
        strides: Sequence[int] = (1, 2, 2, 2, 1),
        padding: Sequence[int] = (0, 0, 0, 0, 0),
        hidden: int = 512,
        activation: str = "relu",
        squash: bool = False,
    ) -> None:
        super().__init__()
        channels, *sides = image_shape(shape, "ConvDecoder")
        plan = check_plan(widths, kernels, strides, padding, hidden)
        heights, lengths = (trace(side, plan, "ConvDecoder") for side in sides)
        seed = (widths[-1], heights[-1], lengths[-1])
        parts: list[nn.Module] = [nn.Linear(check_latent(latent), hidden), activation_of(activation)]
        parts += [nn.Linear(hidden, seed[0] * seed[1] * seed[2]), nn.Unflatten(1, seed)]
        into = [channels, *widths]
        for layer in reversed(range(len(plan))):
            width, kernel, stride, pad = plan[layer]
            # what the strided convolution dropped at the border comes back as output padding
            extra = [side[layer] - ((side[layer + 1] - 1) * stride - 2 * pad + kernel) for side in (heights, lengths)]
            deconvolution = nn.ConvTranspose2d(width, into[layer], kernel, stride, pad, (extra[0], extra[1]))
            parts += [activation_of(activation), deconvolution]
        self.body = nn.Sequential(*parts, *([nn.Sigmoid()] if squash else []))

    def forward(self, z: Tensor) -> Tensor:
        """Logits or means (B, C, H, W) for z (B, D)."""
        return cast(Tensor, self.body(z))


Plan = list[tuple[int, int, int, int]]


def check_plan(
    widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int], padding: Sequence[int], hidden: int
) -> Plan:
    """One row (width, kernel, stride, padding) a layer."""
    lengths = {len(widths), len(kernels), len(strides), len(padding)}
    if len(lengths) != 1 or 0 in lengths:
        raise BadInput(
            "widths, kernels, strides and padding should have one entry a convolution, "
            f"got {len(widths)}, {len(kernels)}, {len(strides)} and {len(padding)} entries"
        )
    plan = list(zip(widths, kernels, strides, padding, strict=True))
    for width, kernel, stride, pad in plan:
        if not (whole(width) and whole(kernel) and whole(stride) and 0 <= pad < kernel and stride <= kernel):
            raise BadInput(
                "a convolution needs positive width and kernel, stride at most the kernel and padding below it, "
                f"got width {width}, kernel {kernel}, stride {stride}, padding {pad}"
            )
    if not whole(hidden):
        raise BadInput(f"hidden should be the width of the fully connected layer, got {hidden!r}")
    return plan


def trace(side: int, plan: Plan, user: str) -> list[int]:
    """The side of the image before the first and after every convolution."""
    sides = [side]
    for _, kernel, stride, pad in plan:
        sides.append((sides[-1] + 2 * pad - kernel) // stride + 1)
        if sides[-1] < 1:
            raise ShapeError(
                f"{user} cannot take images with a side of {side}: {smallest(plan)} is the smallest that leaves "
                "a pixel after every convolution; take the small preset, fewer layers or padding"
            )
    return sides


def smallest(plan: Plan) -> int:
    """The smallest side that survives every convolution."""
    side = 1
    for _, kernel, stride, pad in reversed(plan):
        side = max((side - 1) * stride + kernel - 2 * pad, 1)
    return side
