r"""Random views of a batch, on its device, every example with random numbers of its own.

An augmentation is any function from a batch (B, *X) to a batch of the same shape and type. The ones here are frozen,
print their settings, pickle, and draw from torch's global generators only, so that a resumed run repeats them. What
moves pixels (`Crop`, `Flip`, `Affine`) is a map from the view's coordinates to the image's; several in a row are
multiplied and the image is sampled once. Values never leave the range of the example they come from (`Colour`: nor
[0, 1]), so binary images stay in [0, 1], though not binary.

| name | class | for |
|---|---|---|
| `crop`, `flip`, `affine` | `Crop`, `Flip`, `Affine` | images (B, C, H, W); no flips for digits or letters |
| `colour` | `Colour` | images of one or three channels in [0, 1] |
| `bits` | `BitFlip` | binary data of any shape |
| `noise`, `dropout` | `Noise`, `Dropout` | real numbers, counts; any shape |
| `tokens` | `TokenDropout` | integer sequences (B, T) |
| `none` | `Chain()` | nothing happens |
"""

from uncollapse.augment.build import Augmentation, Chain, Spec, of
from uncollapse.augment.colour import Colour
from uncollapse.augment.values import BitFlip, Dropout, Noise, TokenDropout
from uncollapse.augment.warps import Affine, Crop, Flip, Warp

__all__ = [
    "Affine", "Augmentation", "BitFlip", "Chain", "Colour", "Crop", "Dropout", "Flip", "Noise", "Spec", "TokenDropout",
    "Warp", "of",
]  # fmt: skip
