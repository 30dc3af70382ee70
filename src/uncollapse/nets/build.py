"""Networks by name, for settings that come from a file."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

from torch import nn

from uncollapse.distributions import FixedGaussian, Reader, bernoulli
from uncollapse.draw import VAE
from uncollapse.errors import BadInput
from uncollapse.nets.conv import SMALL, ConvDecoder, ConvEncoder
from uncollapse.nets.lid import LID, LIDPixelCNN
from uncollapse.nets.mlp import MLPDecoder, MLPEncoder
from uncollapse.nets.pixelcnn import HE2019, PixelCNN
from uncollapse.nets.pixelcnn import SMALL as SMALL_PIXELCNN
from uncollapse.nets.resnet import ResNetEncoder
from uncollapse.nets.skip import skipped

__all__ = ["build_vae", "decoders", "encoders"]

Constructor = Callable[..., nn.Module]


def encoders() -> dict[str, Constructor]:
    """Encoders by name; each is called with (shape, latent, **options).

    Example:
        >>> sorted(encoders())
        ['conv', 'conv-small', 'mlp', 'resnet']
    """
    return {
        "mlp": MLPEncoder,
        "conv": ConvEncoder,
        "conv-small": partial(ConvEncoder, **SMALL),
        "resnet": ResNetEncoder,
    }


def decoders() -> dict[str, Constructor]:
    """Decoders by name; each is called with (shape, latent, **options).

    Example:
        >>> sorted(decoders())
        ['conv', 'conv-small', 'il-lid', 'lid', 'lid-pixelcnn', 'lid-pixelcnn-small', 'mlp', 'pixelcnn',
         'pixelcnn-small', 'skip-conv', 'skip-conv-small', 'skip-mlp']
    """
    return {
        "mlp": MLPDecoder,
        "conv": ConvDecoder,
        "conv-small": partial(ConvDecoder, **SMALL),
        "skip-mlp": skipped(MLPDecoder),
        "skip-conv": skipped(ConvDecoder),
        "skip-conv-small": partial(skipped(ConvDecoder), **SMALL),
        "lid": LID,
        "il-lid": partial(LID, inverse_lipschitz=0.5, singular=(1.0, 10.0)),
        "pixelcnn": PixelCNN.he2019,
        "pixelcnn-small": PixelCNN.small,
        "lid-pixelcnn": partial(LIDPixelCNN, **HE2019),
        "lid-pixelcnn-small": partial(LIDPixelCNN, **SMALL_PIXELCNN),
    }


def build_vae(
    encoder: Mapping[str, Any] | str,
    decoder: Mapping[str, Any] | str,
    shape: Sequence[int],
    latent: int,
    likelihood: Mapping[str, float] | str = "bernoulli",
) -> VAE:
    """A VAE from the names of its parts.

    Arguments:
        encoder: a name from `encoders()`, or a mapping with the key "name" and options of that network.
        decoder: the same for `decoders()`.
        shape: shape X of one observation.
        latent: D.
        likelihood: "bernoulli", or {"gaussian": standard deviation}; "gaussian" alone has deviation 1.

    Raises:
        BadInput: for an unknown name or option; the message names the nearest right one.
        ShapeError: when a network cannot take the shape.

    Example:
        >>> model = build_vae("conv-small", "pixelcnn-small", (1, 8, 8), latent=4)
        >>> model(torch.zeros(3, 1, 8, 8)).elbo.shape
        torch.Size([3])
    """
    reader = read_likelihood(likelihood)
    if reader is not bernoulli and "pixelcnn" in str(name_of(decoder)):
        raise BadInput('a PixelCNN describes binary images: take likelihood "bernoulli", or a conv or mlp decoder')
    return VAE(
        make("encoder", encoder, encoders(), shape, latent),
        make("decoder", decoder, decoders(), shape, latent),
        latent,
        read_x=reader,
    )


def make(
    kind: str, setting: Mapping[str, Any] | str, known: dict[str, Constructor], shape: Sequence[int], latent: int
) -> nn.Module:
    """One network from its setting."""
    constructor = known[pick(kind, name_of(setting), known)]
    options = {} if isinstance(setting, str) else {str(key): value for key, value in setting.items() if key != "name"}
    allowed = options_of(constructor)
    for option in options:
        pick(f"option of {kind} {name_of(setting)!r}", option, allowed)
    return constructor(shape, latent, **options)


def options_of(constructor: Constructor) -> list[str]:
    """The names of the options that a network takes."""
    plain = constructor.func if isinstance(constructor, partial) else constructor
    plain = PixelCNN if inspect.ismethod(plain) else plain  # its presets pass everything on
    return [name for name in inspect.signature(plain).parameters if name not in {"shape", "latent"}]


def name_of(setting: Any) -> Any:
    """The name in a setting."""
    if isinstance(setting, Mapping):
        return setting.get("name")
    return setting


def pick(kind: str, name: Any, known: Any) -> str:
    """The name, if it is known; otherwise an error with the nearest one that is."""
    if isinstance(name, str) and name in known:
        return name
    near = get_close_matches(str(name), list(known), 1, 0.4)
    hint = f"did you mean {near[0]!r}? known: " if near else "known: "
    raise BadInput(f"unknown {kind} {name!r}; {hint}{', '.join(known)}")


def read_likelihood(likelihood: Mapping[str, float] | str) -> Reader:
    """The reader of a likelihood setting."""
    if isinstance(likelihood, Mapping) and len(likelihood) == 1:
        ((name, scale),) = likelihood.items()
        if pick("likelihood", name, ["bernoulli", "gaussian"]) == "gaussian":
            if isinstance(scale, bool) or not isinstance(scale, int | float):
                raise BadInput(f'likelihood {{"gaussian": ...}} takes a standard deviation, got {scale!r}')
            return FixedGaussian(float(scale))
        raise BadInput('the Bernoulli likelihood has no setting: write "bernoulli"')
    if pick("likelihood", likelihood, ["bernoulli", "gaussian"]) == "gaussian":
        return FixedGaussian(1.0)
    return bernoulli
