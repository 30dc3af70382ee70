"""One picture at a time, from files that are not trusted."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from uncollapse.errors import BadInput, said

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ENDINGS", "View", "resized", "show"]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # none that starts another program
MOST_PIXELS = 64 * 2**20
LONGEST_SIDE = 2**16
GREY = {"1", "L", "LA", "I", "I;16", "F"}


@dataclass(frozen=True)
class View:
    """How a picture becomes an array.

    Attributes:
        size: side in pixels after resizing; the picture's own if None.
        crop: side of the square that is cut out of the middle before; if None, the largest that fits where there is
            a `size`, else nothing is cut.
        channels: 1 grey, 3 colour, or the picture's own if None.
        box: resize by plain averages (Pillow's BOX) and not by triangles (BILINEAR, as torchvision does).
        invert: make black white, before anything is averaged.
    """

    size: int | None = None
    crop: int | None = None
    channels: int | None = None
    box: bool = False
    invert: bool = False


def show(file: Path | IO[bytes], what: str, view: View, most: int = MOST_PIXELS) -> np.ndarray:
    """A picture as bytes (C, H, W).

    Raises:
        BadInput: when it is damaged, of an unknown format, or larger than `most` pixels (64 million), which is found
            before they are unpacked.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit below is stricter than Pillow's warning
            with Image.open(file, formats=FORMATS) as picture:
                if picture.width * picture.height > most or max(picture.size) > LONGEST_SIDE:
                    raise BadInput(
                        f"{what} has {picture.width} x {picture.height} pixels, more than the {most} that are accepted"
                    )
                return as_array(picture, what, view)
    except BadInput:
        raise
    except UnidentifiedImageError as error:
        raise BadInput(f"{what} is not a picture that can be read ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise BadInput(f"{what} has more pixels than are accepted: {said(error)}") from error
    except Exception as error:  # each of Pillow's formats fails in its own ways on a damaged file
        raise BadInput(f"{what} is damaged or cannot be read: {type(error).__name__}: {said(error)}") from error


def as_array(picture: "Image", what: str, view: View) -> np.ndarray:
    """The open picture, seen as asked."""
    channels = view.channels or (1 if picture.mode in GREY else 3)
    sixteen = picture.mode.startswith("I")
    if sixteen:  # 16 bits of grey: Pillow would cut them off at 255
        picture = picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    picture = picture.convert("L" if channels == 1 else "RGB")
    if view.invert:
        from PIL import ImageChops

        picture = ImageChops.invert(picture)
    side = view.crop or (min(picture.size) if view.size else None)
    if side is not None:
        picture = middle(picture, side, what)
    if view.size is not None and picture.size != (view.size, view.size):
        from PIL.Image import Resampling

        picture = picture.resize((view.size, view.size), Resampling.BOX if view.box else Resampling.BILINEAR)
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def middle(picture: "Image", side: int, what: str) -> "Image":
    """The square in the middle, rounded as torchvision does."""
    width, height = picture.size
    if side > min(width, height):
        raise BadInput(f"{what} has {width} x {height} pixels, too few to cut {side} x {side} out of it")
    left, top = round((width - side) / 2), round((height - side) / 2)
    return picture.crop((left, top, left + side, top + side))


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Grey images (N, H, W), bytes, at (N, size, size), by averages."""
    from PIL import Image

    if images.shape[1:] == (size, size):
        return images
    small = [Image.fromarray(image).resize((size, size), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image) for image in small])
