"""Encoders and decoders: plain modules, none of which is needed to use the rest of the package."""

from uncollapse.nets.autoregressive import Autoregressive
from uncollapse.nets.build import build_vae, decoders, encoders
from uncollapse.nets.conv import ConvDecoder, ConvEncoder
from uncollapse.nets.icnn import ICNN
from uncollapse.nets.lid import LID, LIDPixelCNN
from uncollapse.nets.mlp import MLPDecoder, MLPEncoder
from uncollapse.nets.pixelcnn import PixelCNN
from uncollapse.nets.resnet import ResNetEncoder
from uncollapse.nets.skip import SkipDecoder

__all__ = [
    "ICNN",
    "LID",
    "Autoregressive",
    "ConvDecoder",
    "ConvEncoder",
    "LIDPixelCNN",
    "MLPDecoder",
    "MLPEncoder",
    "PixelCNN",
    "ResNetEncoder",
    "SkipDecoder",
    "build_vae",
    "decoders",
    "encoders",
]
