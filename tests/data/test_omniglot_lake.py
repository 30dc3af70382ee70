"""The original drawings, from small archives of the same tree."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from uncollapse.data import load
from uncollapse.errors import BadInput


def png(array, mode="L"):
    file = io.BytesIO()
    Image.fromarray(array, "L" if mode != "1" else None).convert(mode).save(file, "PNG")
    return file.getvalue()


def drawing(rng):
    paper = np.full((105, 105), 255, np.uint8)
    top, left = rng.integers(5, 60, 2)
    paper[top : top + 30, left : left + 4] = 0
    return paper


def write(folder, seed=0, junk=()):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {}
    for archive, alphabets in (("background", ("Greek", "Arcadian")), ("evaluation", ("Tengwar", "Angelic"))):
        with zipfile.ZipFile(folder / f"images_{archive}.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(f"images_{archive}/", b"")
            file.writestr(f"__MACOSX/images_{archive}/Greek/character01/._0001_01.png", b"junk")
            for alphabet in alphabets:
                for number in range(10):
                    name = (
                        f"images_{archive}/{alphabet}/character{number // 5 + 1:02}/00{number // 5:02}_{number:02}.png"
                    )
                    drawings[name] = drawing(rng)
                    file.writestr(name, png(drawings[name], "1"))
            for name, content in junk:
                file.writestr(name, content)
    return drawings


def weights():
    """Averages of whole pixels, those whose centres lie in the 3.75 pixels of a small one."""
    centres, edges = np.arange(105) + 0.5, np.arange(29) * 3.75
    inside = (centres > edges[:-1, None]) & (centres <= edges[1:, None])
    return inside / inside.sum(1, keepdims=True)


def wide(side):
    """A picture whose header announces side x side pixels."""
    header = struct.pack(">II", side, side) + b"\x08\0\0\0\0"
    chunk = b"IHDR" + header
    small = png(np.zeros((1, 1), np.uint8))
    return small[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + small[33:]


def test_streamed_small_and_ink_bright(tmp_path, cache):
    drawings = write(tmp_path / "omniglot")
    data = load("omniglot-lake", data_dir=tmp_path, valid=4)
    assert [len(part) for part in data.parts.values()] == [16, 4, 20]
    assert data.shape == (1, 28, 28)
    assert data.classes == ("Arcadian", "Greek", "Angelic", "Tengwar")
    assert set(data.train.y.tolist()) == {0, 1}
    assert set(data.test.y.tolist()) == {2, 3}
    names = sorted(name for name in drawings if name.startswith("images_evaluation"))
    for place in (0, 7, 19):
        expected = weights() @ (255.0 - drawings[names[place]]) @ weights().T
        assert np.abs(data.test.x[place, 0].numpy() - expected).max() <= 1
    assert load("omniglot-lake", data_dir=tmp_path, valid=4).fingerprint == data.fingerprint
    assert len(load("omniglot-lake", data_dir=tmp_path).valid) == 2


def test_the_second_start_reads_no_archive(tmp_path, cache, monkeypatch):
    write(tmp_path / "omniglot")
    expected = load("omniglot-lake", data_dir=tmp_path, valid=4).fingerprint
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_, **__: pytest.fail("the archive was opened"))
    assert load("omniglot-lake", data_dir=tmp_path, valid=4).fingerprint == expected


HOSTILE = {
    "no picture": (b"text", "not a picture"),
    "cut short": (png(np.zeros((105, 105), np.uint8))[:60], "damaged|not a picture"),
    "too many pixels": (wide(10_000), "10000 x 10000 pixels"),
    "far too many pixels": (wide(100_000), "more pixels than are accepted"),
    "fewer than announced": (wide(200), "damaged"),
    "large member": (b"\0" * (2**20 + 1), "too large"),
}


@pytest.mark.parametrize(("content", "words"), HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_members(tmp_path, cache, content, words):
    write(tmp_path / "omniglot", junk=[("images_background/Greek/character01/0000_99.png", content)])
    with pytest.raises(BadInput, match=words):
        load("omniglot-lake", data_dir=tmp_path, valid=4)


def test_names_that_climb_out_write_nothing(tmp_path, cache):
    write(tmp_path / "omniglot", junk=[("../../evil.png", b"x"), ("/etc/evil/character01/0_0.png", b"x")])
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert len(load("omniglot-lake", data_dir=tmp_path, valid=4).test) == 20
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_damaged_archives(tmp_path, cache):
    write(tmp_path / "omniglot")
    path = tmp_path / "omniglot" / "images_evaluation.zip"
    whole = path.read_bytes()
    for content in (b"", b"no zip", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="not a readable zip"):
            load("omniglot-lake", data_dir=tmp_path, valid=4)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other/thing.png", b"x")
    with pytest.raises(BadInput, match="should hold drawings"):
        load("omniglot-lake", data_dir=tmp_path, valid=4)
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= 255
        path.write_bytes(damaged)
        try:
            load("omniglot-lake", data_dir=tmp_path, valid=4)
        except BadInput:
            continue
