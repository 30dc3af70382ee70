import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from uncollapse.errors import BadInput
from uncollapse.report.images import decode, grid


def pack(images, **changes):
    data = base64.b64encode(zlib.compress(images.tobytes())).decode()
    return {"shape": list(images.shape), "data": data} | changes


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_stands_at_its_place_pixel_by_pixel(channels):
    images = np.random.default_rng(0).integers(0, 256, (11, channels, 5, 4), np.uint8)
    png, shown, columns = grid(decode(pack(images)), 10**6)
    assert (shown, columns) == (11, 8)
    sheet = opened(png)
    assert sheet.shape == (2 * 6 - 1, 8 * 5 - 1, 4)
    for i, image in enumerate(images):
        tile = sheet[i // 8 * 6 :, i % 8 * 5 :][:5, :4]
        assert (tile[..., :3] == image.transpose(1, 2, 0)).all()
        assert (tile[..., 3] == 255).all()
    assert (sheet[5, :, 3] == 0).all()


def test_large_images_are_fewer_then_smaller():
    images = np.random.default_rng(0).integers(0, 256, (32, 3, 64, 64), np.uint8)
    png, shown, _ = grid(images, 110_000)
    assert len(png) <= 110_000
    assert 4 <= shown < 32
    png, shown, _ = grid(images, 5_000)
    assert (len(png) <= 5_000, shown) == (True, 4)
    flat = np.full((4, 3, 64, 64), 77, np.uint8)
    assert (opened(grid(flat, 100)[0])[0, 0] == [77, 77, 77, 255]).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [2, 1, 3]},
        {"shape": [2, 1, 3, -3]},
        {"shape": "2133"},
        {"shape": [2, 1, 3, 4]},
        {"shape": [2, 1, 3, 2]},
        {"shape": [10**6, 3, 512, 512]},
        {"data": "not base64!"},
        {"data": base64.b64encode(b"not zlib").decode()},
        {"data": None},
        {"data": base64.b64encode(zlib.compress(bytes(10**7))).decode()},
    ],
)
def test_damaged_images_are_refused_in_a_sentence(changes):
    with pytest.raises(BadInput, match="expected"):
        decode(pack(np.zeros((2, 1, 3, 3), np.uint8), **changes))
