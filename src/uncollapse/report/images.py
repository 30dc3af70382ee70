"""Grids of images as PNG data URIs, decoded with care: the sizes in a file are claims, not facts."""

import base64
import binascii
import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncollapse.errors import BadInput

__all__ = ["data_uri", "decode", "grid"]

MOST_PIXELS = 1 << 26
GAP = 1

Pixels = NDArray[np.uint8]


def decode(entry: dict[str, Any]) -> Pixels:
    """Turn `{"shape": [n, C, H, W], "data": base64 of zlib}` into an array of bytes.

    Raises:
        BadInput: when the shape is no image batch, or the data are damaged or of another size.
    """
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) != 4 or not all(isinstance(s, int) and s > 0 for s in shape):
        raise BadInput(f"expected images of shape [n, C, H, W], got {shape!r}; measure the run again")
    size = math.prod(shape)
    if size > MOST_PIXELS:
        raise BadInput(f"expected at most {MOST_PIXELS} image bytes, got {size}; store fewer images in the result")
    try:
        packed = base64.b64decode(entry["data"], validate=True)
        raw = zlib.decompressobj().decompress(packed, size + 1)
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise BadInput(f"expected images as base64 of zlib bytes, got damaged data ({error})") from error
    if len(raw) != size:
        raise BadInput(f"expected {size} image bytes for shape {shape}, got another number; measure the run again")
    return np.frombuffer(raw, np.uint8).reshape(shape)


def grid(images: Pixels, most_bytes: int) -> tuple[bytes, int, int]:
    """Lay images out, at most eight a row, in a PNG of at most `most_bytes` where that can be.

    Images are dropped from the end until the file fits; if four are still too large, they are halved in size.

    Arguments:
        images: (n, C, H, W); three channels are colours, else the first channel is shown as grey.
        most_bytes: the budget.

    Returns:
        (png, shown, columns): the file, how many images it shows, and how many stand in a row.
    """
    images = images if images.shape[1] == 3 else images[:, :1]
    shown = min(len(images), 32)
    while True:
        columns = min(8, shown)
        png = _png(_tiled(images[:shown], columns))
        if len(png) <= most_bytes or (shown <= 4 and min(images.shape[2:]) < 16):
            return png, shown, columns
        if shown > 4:
            shown = max(4, shown - 8 if shown > 8 else shown // 2)
        else:
            images = _halved(images)


def _halved(images: Pixels) -> Pixels:
    n, c, h, w = (*images.shape[:2], images.shape[2] // 2, images.shape[3] // 2)
    blocks = images[:, :, : 2 * h, : 2 * w].reshape(n, c, h, 2, w, 2)
    means: Pixels = np.round(blocks.mean((3, 5), dtype=np.float32)).astype(np.uint8)
    return means


def _tiled(images: Pixels, columns: int) -> Pixels:
    """A transparent sheet (height, width, C + 1) with the images on it, one pixel apart."""
    n, c, h, w = images.shape
    lines = -(-n // columns)
    sheet = np.zeros((lines * (h + GAP) - GAP, columns * (w + GAP) - GAP, c + 1), np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (h + GAP), i % columns * (w + GAP)
        sheet[top : top + h, left : left + w, :c] = image.transpose(1, 2, 0)
        sheet[top : top + h, left : left + w, c] = 255
    return sheet


def _png(sheet: Pixels) -> bytes:
    height, width, channels = sheet.shape
    kind = {2: 4, 4: 6}[channels]  # grey with alpha, colours with alpha
    lines = np.concatenate([np.zeros((height, 1), np.uint8), sheet.reshape(height, -1)], 1)
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    body = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A file as an address inside the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
