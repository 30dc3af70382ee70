"""Skip links from z to every layer of a decoder."""

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from uncollapse.distributions import describe
from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets.conv import ConvDecoder
from uncollapse.nets.mlp import MLPDecoder
from uncollapse.nets.shapes import check_latent

__all__ = ["SkipDecoder", "skipped"]

LINKED = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip


class SkipDecoder(nn.Module):
    r"""A decoder whose every layer sees z.

    $h_{l+1} = f_l(W_l h_l + b_l + V_l z)$: a linear map of z is added to what every linear or convolutional layer
    gives, before the nonlinearity (which is the same as concatenating z to the input of a linear layer). The last
    layer, which gives logits or means, has one too. $V_l$ goes to every position of a convolution's output. With all
    $V_l = 0$ it is the plain decoder.

    Arguments:
        plain: `MLPDecoder`, `ConvDecoder`, or an `nn.Sequential` of layers from z (B, D) to logits or means (B, *X)
            with at least two linear or convolutional ones. Its layers become part of this decoder.
        latent: D.

    Raises:
        BadInput: when the plain decoder is something else.
        ShapeError: when it does not take z (B, D).

    References:
        Dieng, Kim, Rush, Blei, 2019, https://arxiv.org/abs/1807.04863.

    Example:
        >>> decoder = SkipDecoder(MLPDecoder((1, 8, 8), latent=4, hidden=(32, 16)), latent=4)
        >>> decoder(torch.zeros(3, 4)).shape, [tuple(link.weight.shape) for link in decoder.links]
        (torch.Size([3, 1, 8, 8]), [(16, 4), (64, 4)])
    """

    def __init__(self, plain: nn.Module, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*flat(layers_of(plain)))
        sizes = widths(self.layers, check_latent(latent))
        if len(sizes) < 2:
            raise BadInput(
                f"SkipDecoder links z to the layers after the first, but {describe(plain)} has {len(sizes)} linear or "
                "convolutional layers; a layer inside a block of another kind is not seen"
            )
        self.links = nn.ModuleList(nn.Linear(latent, size, bias=False) for size in sizes[1:])

    def forward(self, z: Tensor) -> Tensor:
        """Logits or means (B, *X) for z (B, D)."""
        links = iter(self.links)
        h, first = z, True
        for layer in self.layers:
            h = layer(h)
            if isinstance(layer, LINKED):
                h = h if first else h + next(links)(z).reshape(h.shape)
                first = False
        return h


def layers_of(plain: nn.Module) -> nn.Sequential:
    """A decoder as a chain of layers."""
    if isinstance(plain, MLPDecoder):
        return nn.Sequential(plain.body, plain.head, nn.Unflatten(1, plain.shape))
    if isinstance(plain, ConvDecoder):
        return plain.body
    if isinstance(plain, nn.Sequential):
        return plain
    raise BadInput(f"SkipDecoder takes an MLPDecoder, a ConvDecoder or an nn.Sequential, got {describe(plain)}")


def flat(chain: nn.Sequential) -> Iterator[nn.Module]:
    """The layers of a chain, those of chains inside it one by one."""
    for layer in chain:
        if isinstance(layer, nn.Sequential):
            yield from flat(layer)
        else:
            yield layer


@torch.no_grad()
def widths(layers: nn.Sequential, latent: int) -> list[int]:
    """How many numbers each layer that can be linked gives for one z."""
    modes = [(part, part.training) for part in layers.modules()]
    weight = next(layers.parameters(), torch.zeros(()))
    h, found = weight.new_zeros(1, latent), []
    try:
        for layer in layers.eval():
            h = layer(h)
            if isinstance(layer, LINKED):
                found.append(h.numel())
    except RuntimeError as error:
        raise ShapeError(f"the decoder does not take z of shape (B, {latent}): {error}") from error
    finally:
        for part, mode in modes:
            part.training = mode
    return found


def skipped(plain: type[nn.Module]) -> Callable[..., SkipDecoder]:
    """The constructor of a decoder with skip links, with the arguments of the plain one."""

    @functools.wraps(plain, updated=())  # so that its signature is that of the plain one
    def make(shape: tuple[int, ...], latent: int, **options: object) -> SkipDecoder:
        return SkipDecoder(plain(shape, latent, **options), latent)

    return make
