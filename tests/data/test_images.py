"""Pictures that are damaged or hostile: one sentence with the name of the file, and no traceback."""

import numpy as np
import pytest
from PIL import Image

from uncollapse.data import load
from uncollapse.data.images import View, show
from uncollapse.errors import BadInput


def fill(folder, n=20, ending="png"):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(folder / f"{number}.{ending}")


def test_a_view_of_one_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    assert np.array_equal(show(path, "a", View()), picture.transpose(2, 0, 1))
    assert np.array_equal(show(path, "a", View(invert=True)), 255 - picture.transpose(2, 0, 1))
    halves = show(path, "a", View(size=2, crop=4, box=True))
    expected = picture[1:5].reshape(2, 2, 2, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(halves - expected).max() <= 1


DAMAGE = {
    "text": b"not a picture",
    "empty": b"",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
    "gif head": b"GIF89a\xff\xff\xff\xff\x00\x00\x00",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=list(DAMAGE))
def test_damaged_pictures(tmp_path, cache, content):
    fill(tmp_path / "mine")
    (tmp_path / "mine" / "7.png").write_bytes(content)
    with pytest.raises(BadInput, match=r"7\.png"):
        load(tmp_path / "mine", size=8)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp", "tiff", "ppm"])
def test_cut_and_flipped_pictures_never_escape(tmp_path, cache, ending):
    fill(tmp_path / "mine", 6, ending=ending)
    path = tmp_path / "mine" / f"0.{ending}"
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for trial in range(25):
        damaged = bytearray(whole)
        if trial % 2:
            damaged = damaged[: int(rng.integers(len(whole)))]
        else:
            damaged[int(rng.integers(min(len(whole), 60)))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(tmp_path / "mine", fractions=(1 / 3, 1 / 3, 1 / 3))
        except BadInput as error:
            assert f"0.{ending}" in str(error) or f"1.{ending}" in str(error)  # noqa: PT017  # 1 where 0 set the size
