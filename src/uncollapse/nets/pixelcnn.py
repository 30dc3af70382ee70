"""Autoregressive decoder of binary images: strong enough to do without z, which makes it a test bed for collapse."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from uncollapse.errors import BadInput
from uncollapse.nets.autoregressive import Autoregressive
from uncollapse.nets.masked import MaskedConv
from uncollapse.nets.shapes import activation_of, check_latent, check_widths, image_shape, whole

__all__ = ["PixelCNN"]

Feed = Literal["first", "every"]

HE2019: dict[str, Any] = {"kernels": (7,) * 5 + (5,) * 4 + (3,) * 4, "norm": "batch", "skip": 3}
SMALL: dict[str, Any] = {"channels": 24, "kernels": (7, 3, 3), "bottleneck": 16, "activation": "relu"}


class PixelCNN(nn.Module):
    r"""Decoder whose pixels see z and the pixels before them in raster order.

    z becomes `latent_maps` feature maps of the image's size by a linear layer; they are concatenated with the
    image. The first convolution is masked (type A: the pixel itself is hidden) for the image only, so that z
    reaches every pixel; residual bottleneck blocks (1x1, masked type B, 1x1) follow. With several channels,
    the features fall into as many groups, in order: channel c sees earlier pixels whole and, of its own
    pixel, the channels before c.

    Arguments:
        shape: (channels, height, width).
        latent: D.
        channels: width of the residual stream, at least the image's channels.
        kernels: odd kernel sizes, one a block; the first is the type A convolution.
        bottleneck: width inside a block, at least the image's channels.
        latent_maps: feature maps that carry z.
        activation: "elu" as in the paper, or another one of `MLPEncoder`.
        norm: "none" or "batch". Batch normalisation makes the examples of a batch depend on each other in
            training, so per-example terms are only per-example in evaluation.
        skip: a block also receives the output of the block `skip` places back, through a bottleneck block of
            its own; 0 for none.
        feed: "first" to add z's maps to the first layer only, or "every" to add them to every block, through a
            convolution of each block's own, before its last nonlinearity: a generative skip model.

    Raises:
        ShapeError: when the data are not images.
        BadInput: when settings do not fit each other.

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu, 2016, https://arxiv.org/abs/1601.06759, section 3;
        He, Spokoyny, Neubig, Berg-Kirkpatrick, 2019, https://arxiv.org/abs/1901.05534;
        Dieng, Kim, Rush, Blei, 2019, https://arxiv.org/abs/1807.04863, for `feed="every"`.

    Example:
        >>> decoder = PixelCNN.small((1, 8, 8), latent=4)
        >>> decoder(torch.zeros(3, 4)).log_prob(torch.ones(3, 1, 8, 8)).shape
        torch.Size([3])
    """

    later = ("network",)  #: what its likelihood passes

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        channels: int = 64,
        kernels: Sequence[int] = (7, 7, 7, 5, 5, 3, 3),
        bottleneck: int = 32,
        latent_maps: int = 4,
        activation: str = "elu",
        norm: str = "none",
        skip: int = 0,
        feed: Feed = "first",
    ) -> None:
        super().__init__()
        self.shape = image_shape(shape, "PixelCNN")
        self.latent_maps = latent_maps
        check(self.shape[0], channels, kernels, bottleneck, latent_maps, norm, skip)
        if feed not in get_args(Feed):
            raise BadInput(f"feed should be one of {', '.join(get_args(Feed))}, got {feed!r}")
        fed = channels * (len(kernels) if feed == "every" else 1)
        self.spread = nn.Linear(check_latent(latent), latent_maps * self.shape[1] * self.shape[2])
        self.place = nn.Conv2d(latent_maps, fed, kernels[0], padding=kernels[0] // 2, bias=False)
        style = Style(self.shape[0], activation, norm)
        self.network = Stack(style, channels, tuple(kernels), bottleneck, skip)

    @classmethod
    def he2019(cls, shape: Sequence[int], latent: int, **options: Any) -> "PixelCNN":
        """The decoder of He et al. 2019 for 28x28 images: 13 blocks with batch normalisation and skip blocks."""
        return cls(shape, latent, **HE2019 | options)

    @classmethod
    def small(cls, shape: Sequence[int], latent: int, **options: Any) -> "PixelCNN":
        """For images of about 8x8; quick on a processor, yet strong enough to model digits without z."""
        return cls(shape, latent, **SMALL | options)

    def forward(self, z: Tensor) -> Autoregressive:
        """p(x|z) for z (B, D): batch (B,), event (C, H, W)."""
        return Autoregressive(self.network, self.context(z), self.shape)

    def context(self, z: Tensor) -> Tensor:
        """What z adds to the first layer, (B, channels, H, W), or to every block, one after the other.

        Linear layer and convolution are both linear, so they are applied to the D + 1 columns of the linear
        layer, which are usually fewer than the examples.
        """
        columns = torch.cat([self.spread.weight.T, self.spread.bias.unsqueeze(0)])
        basis = cast(Tensor, self.place(columns.reshape(-1, self.latent_maps, *self.shape[1:]))).flatten(1)
        return torch.addmm(basis[-1], z, basis[:-1]).reshape(len(z), -1, *self.shape[1:])


class Style(NamedTuple):
    """What all layers share: image channels, activation and normalisation."""

    groups: int
    activation: str
    norm: str

    def after(self, channels: int) -> list[nn.Module]:
        """Normalisation, if any, and activation."""
        return [*self.normal(channels), activation_of(self.activation, overwrite=True)]

    def normal(self, channels: int) -> list[nn.Module]:
        """Normalisation, if any."""
        return [nn.BatchNorm2d(channels)] if self.norm == "batch" else []


class Stack(nn.Module):
    """The masked network: images (B, C, h, W) and context (B, channels or blocks * channels, h, W) to logits.

    The context is added to the first layer; what it holds beyond that belongs to the blocks, in order.
    """

    steps = True  #: a walk pixel by pixel needs a memory for the masked convolutions only

    def __init__(self, style: Style, channels: int, kernels: tuple[int, ...], bottleneck: int, skip: int) -> None:
        super().__init__()
        self.skip = skip
        self.first = MaskedConv(style.groups, channels, kernels[0], style.groups, hide_self=True)
        self.start = nn.Sequential(*style.after(channels))
        self.blocks = nn.ModuleList(Bottleneck(style, channels, bottleneck, k) for k in kernels[1:])
        jumps = kernels[1 : len(kernels) - skip + 2] if skip else ()
        self.jumps = nn.ModuleList(Bottleneck(style, channels, bottleneck, k) for k in jumps)
        self.last = nn.Sequential(
            MaskedConv(channels, channels, 1, style.groups),
            *style.after(channels),
            MaskedConv(channels, style.groups, 1, style.groups),
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Logits of every pixel given the pixels before it."""
        seen = self.first(x)
        own, *rest = torch.split(context, seen.shape[1], 1)
        # the stream is as wide as what the convolutions give: in mixed precision, no block has to convert it.
        # channels last is a quarter faster on processors, and the layout that accelerators want
        outputs = [self.start((seen + own.to(seen.dtype)).contiguous(memory_format=torch.channels_last))]
        for block, extra in zip_longest(self.blocks, rest):
            outputs.append(block(self._join(outputs), extra))
        return cast(Tensor, self.last(self._join(outputs)))

    def _join(self, outputs: list[Tensor]) -> Tensor:
        """The latest output, plus the one `skip` places before the next through its own block."""
        place = len(outputs) - self.skip
        if not self.skip or place < 0:
            return outputs[-1]
        return outputs[-1] + cast(Tensor, self.jumps[place](outputs[place]))


class Bottleneck(nn.Module):
    """Residual block: 1x1, masked convolution, 1x1."""

    def __init__(self, style: Style, channels: int, bottleneck: int, kernel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            MaskedConv(channels, bottleneck, 1, style.groups),
            *style.after(bottleneck),
            MaskedConv(bottleneck, bottleneck, kernel, style.groups),
            *style.after(bottleneck),
            MaskedConv(bottleneck, channels, 1, style.groups),
            *style.normal(channels),
        )
        self.activation = activation_of(style.activation, overwrite=True)

    def forward(self, h: Tensor, extra: Tensor | None = None) -> Tensor:
        """(B, channels, H, W) to the same; `extra` of that shape is added before the last nonlinearity."""
        out = h + self.body(h)
        return cast(Tensor, self.activation(out if extra is None else out + extra))


def check(
    groups: int, channels: int, kernels: Sequence[int], bottleneck: int, latent_maps: int, norm: str, skip: int
) -> None:
    """Refuse settings that do not fit each other."""
    if not check_widths(kernels, "kernels") or not all(k % 2 for k in kernels) or kernels[0] < 3:
        raise BadInput(f"kernels should be odd sizes from 3, one a block, such as (7, 5, 3), got {kernels!r}")
    for name, width in {"channels": channels, "bottleneck": bottleneck}.items():
        if not whole(width) or width < groups:
            raise BadInput(f"{name} should be at least the image's {groups} channel(s), got {width!r}")
    if not whole(latent_maps):
        raise BadInput(f"latent_maps should be a positive whole number, got {latent_maps!r}")
    if norm not in {"none", "batch"}:
        raise BadInput(f'norm should be "none" or "batch", got {norm!r}')
    if not isinstance(skip, int) or (skip and not 2 <= skip <= len(kernels)):
        raise BadInput(f"skip should be 0 or lie between 2 and the {len(kernels)} blocks, got {skip!r}")
