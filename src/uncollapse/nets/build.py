"""Networks by name, for settings that come from a file."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from uncollapse.distributions import bernoulli
from uncollapse.draw import VAE
from uncollapse.errors import BadInput
from uncollapse.likelihoods.setting import pick, planes_of, read_likelihood, vocabulary_of
from uncollapse.nets.conv import SMALL, ConvDecoder, ConvEncoder
from uncollapse.nets.crvae import CR_PIXELCNN, PLANS, CRDecoder, CREncoder, CRResNetEncoder
from uncollapse.nets.invertible import FlowDecoder
from uncollapse.nets.lid import LID, LIDPixelCNN
from uncollapse.nets.lstm import ASOKAN, LSTMDecoder, LSTMEncoder
from uncollapse.nets.lstm import HE2019 as HE2019_LSTM
from uncollapse.nets.mlp import MLPDecoder, MLPEncoder
from uncollapse.nets.pixelcnn import HE2019, PixelCNN
from uncollapse.nets.pixelcnn import SMALL as SMALL_PIXELCNN
from uncollapse.nets.residual import NarrowDecoder, NarrowEncoder, ResidualEncoder, WideDecoder
from uncollapse.nets.resnet import ResNetEncoder
from uncollapse.nets.shapes import check_shape
from uncollapse.nets.skip import skipped
from uncollapse.nets.transformer import TransformerDecoder, TransformerEncoder

__all__ = ["build_vae", "decoders", "encoders"]

Constructor = Callable[..., nn.Module]


def encoders() -> dict[str, Constructor]:
    """Encoders by name; each is called with (shape, latent, **options).

    Example:
        >>> {"mlp", "conv", "resnet", "lstm"} <= set(encoders())
        True
    """
    return {
        "mlp": MLPEncoder,
        "conv": ConvEncoder,
        "conv-small": partial(ConvEncoder, **SMALL),
        "resnet": ResNetEncoder,
        **{f"cr-{size}": partial(CREncoder, size=size) for size in PLANS},
        "cr-resnet18": CRResNetEncoder,
        "lr-conv": ResidualEncoder,
        "narrow-mlp": NarrowEncoder,
        "lstm": LSTMEncoder,
        "lstm-he2019": partial(LSTMEncoder, **HE2019_LSTM),
        "lstm-asokan": partial(LSTMEncoder, **ASOKAN),
        "transformer": TransformerEncoder,
    }


def decoders() -> dict[str, Constructor]:
    """Decoders by name; each is called with (shape, latent, **options).

    Example:
        >>> {"mlp", "conv", "pixelcnn", "lid", "lstm"} <= set(decoders())
        True
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
        **dict.fromkeys((f"cr-{size}" for size in PLANS), CRDecoder),
        "cr-pixelcnn": partial(PixelCNN, **CR_PIXELCNN),
        "lr-mlp": WideDecoder,
        "narrow-mlp": NarrowDecoder,
        "flow": FlowDecoder,
        "lstm": LSTMDecoder,
        "lstm-he2019": partial(LSTMDecoder, **HE2019_LSTM),
        "lstm-asokan": partial(LSTMDecoder, **ASOKAN),
        "transformer": TransformerDecoder,
    }


def build_vae(
    encoder: Mapping[str, Any] | str,
    decoder: Mapping[str, Any] | str,
    shape: Sequence[int],
    latent: int,
    likelihood: Mapping[str, Any] | str = "bernoulli",
) -> VAE:
    """A VAE from the names of its parts.

    Arguments:
        encoder: a name from `encoders()`, or a mapping with the key "name" and options of that network.
        decoder: the same for `decoders()`. It is asked for as many numbers per value as the likelihood needs.
        shape: shape X of one observation.
        latent: D.
        likelihood: "bernoulli", or {"gaussian": standard deviation}; see `likelihoods.read_likelihood` for all.
            {"tokens": V} goes with networks of text, which are told V.

    Raises:
        BadInput: for an unknown name or option; the message names the nearest right one.
        ShapeError: when a network cannot take the shape.

    Example:
        >>> model = build_vae("conv-small", "pixelcnn-small", (1, 8, 8), latent=4)
        >>> model(torch.zeros(3, 1, 8, 8)).elbo.shape
        torch.Size([3])
    """
    vocabulary, shape = vocabulary_of(likelihood), check_shape(shape, "build_vae")
    reader = read_likelihood(likelihood, shape)
    if reader is not bernoulli and "pixelcnn" in str(name_of(decoder)):
        raise BadInput('a PixelCNN describes binary images: take likelihood "bernoulli", or a conv or mlp decoder')
    wide = (planes_of(reader) * shape[0], *shape[1:])
    return VAE(
        make("encoder", encoder, encoders(), shape, latent, vocabulary),
        make("decoder", decoder, decoders(), wide, latent, vocabulary),
        latent,
        read_x=reader,
    )


def make(
    kind: str,
    setting: Mapping[str, Any] | str,
    known: dict[str, Constructor],
    shape: Sequence[int],
    latent: int,
    vocabulary: int | None = None,
) -> nn.Module:
    """One network from its setting; networks of text are told the size of the vocabulary."""
    constructor = known[pick(kind, name_of(setting), known)]
    options = {} if isinstance(setting, str) else {str(key): value for key, value in setting.items() if key != "name"}
    allowed = options_of(constructor)
    for option in options:
        pick(f"option of {kind} {name_of(setting)!r}", option, allowed)
    if "vocabulary" in allowed and "vocabulary" not in options:
        options["vocabulary"] = vocabulary
    told(f"{kind} {name_of(setting)!r}", options.get("vocabulary"), "vocabulary" in allowed, vocabulary)
    return constructor(shape, latent, **options)


def told(network: str, size: Any, text: bool, vocabulary: int | None) -> None:
    """Refuse networks of text for other data, and other networks for text."""
    if text and size is None:
        raise BadInput(
            f'{network} is made for text: take data of tokens, or likelihood {{"tokens": size of the vocabulary}}'
        )
    if not text and vocabulary is not None:
        raise BadInput(f"{network} does not take tokens; take lstm or transformer")


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
