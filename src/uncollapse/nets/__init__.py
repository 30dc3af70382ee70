"""Encoders and decoders: plain modules, none of which is needed to use the rest of the package."""

from uncollapse.nets.autoregressive import Autoregressive
from uncollapse.nets.build import build_vae, decoders, encoders
from uncollapse.nets.conv import ConvDecoder, ConvEncoder
from uncollapse.nets.crvae import CRDecoder, CREncoder, CRResNetEncoder
from uncollapse.nets.icnn import ICNN
from uncollapse.nets.invertible import FlowDecoder
from uncollapse.nets.lid import LID, LIDPixelCNN
from uncollapse.nets.lstm import LSTMDecoder, LSTMEncoder
from uncollapse.nets.mlp import MLPDecoder, MLPEncoder
from uncollapse.nets.pixelcnn import PixelCNN
from uncollapse.nets.reading_text import interpolations, words
from uncollapse.nets.residual import NarrowDecoder, NarrowEncoder, ResidualEncoder, WideDecoder
from uncollapse.nets.resnet import ResNetEncoder
from uncollapse.nets.sentences import Sentences
from uncollapse.nets.skip import SkipDecoder
from uncollapse.nets.transformer import TransformerDecoder, TransformerEncoder

__all__ = [
    "ICNN",
    "LID",
    "Autoregressive",
    "CRDecoder",
    "CREncoder",
    "CRResNetEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "FlowDecoder",
    "LIDPixelCNN",
    "LSTMDecoder",
    "LSTMEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "NarrowDecoder",
    "NarrowEncoder",
    "PixelCNN",
    "ResNetEncoder",
    "ResidualEncoder",
    "Sentences",
    "SkipDecoder",
    "TransformerDecoder",
    "TransformerEncoder",
    "WideDecoder",
    "build_vae",
    "decoders",
    "encoders",
    "interpolations",
    "words",
]
