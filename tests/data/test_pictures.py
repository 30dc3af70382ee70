"""Image folders: parts, classes, sizes; CelebA and FFHQ; damaged and hostile pictures; bounded memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from uncollapse.data import load
from uncollapse.errors import BadInput


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def colour(rng, height=8, width=8):
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def fill(folder, n=20, seed=0, ending="png", **size):
    rng = np.random.default_rng(seed)
    pictures = [colour(rng, **size) for _ in range(n)]
    for number, picture in enumerate(pictures):
        save(folder / f"{number}.{ending}", picture)
    return pictures


def pixels(data):
    return {bytes(x.numpy().tobytes()) for part in data.parts.values() for x in part.x}


def as_rows(pictures):
    return {picture.transpose(2, 0, 1).tobytes() for picture in pictures}


def test_a_flat_folder(tmp_path, cache):
    pictures = fill(tmp_path / "mine")
    (tmp_path / "mine" / "readme.txt").write_text("no picture")
    save(tmp_path / "mine" / ".hidden.png", pictures[0])
    data = load(tmp_path / "mine")
    assert data.name == "mine"
    assert [len(part) for part in data.parts.values()] == [16, 2, 2]
    assert data.shape == (3, 8, 8)
    assert data.likelihood == "discretised-logistic"
    assert data.train.y is None
    assert pixels(data) == as_rows(pictures)
    assert load(tmp_path / "mine", seed=5).fingerprint == data.fingerprint
    other = load(tmp_path / "mine", split=1, likelihood="gaussian", scale=0.5)
    assert other.fingerprint != data.fingerprint
    assert other.likelihood_setting == {"gaussian": 0.5}


def test_classes_are_folders(tmp_path, cache):
    for name in ("cat", "dog 10", "dog 9"):
        fill(tmp_path / "pets" / name / "deep", seed=len(name) + ord(name[-1]))
    data = load(tmp_path / "pets")
    assert data.classes == ("cat", "dog 9", "dog 10")
    assert data.test.y.bincount().tolist() == [2, 2, 2]
    assert data.train.y.bincount().tolist() == [16, 16, 16]


@pytest.mark.parametrize("valid", ["valid", "val"])
def test_parts_are_folders(tmp_path, cache, valid):
    expected = {}
    for seed, part in enumerate(("train", valid, "test")):
        expected[part] = [p for k in range(2) for p in fill(tmp_path / "set" / part / f"k{k}", 4, 10 * seed + k)]
    data = load(tmp_path / "set")
    assert data.classes == ("k0", "k1")
    for part, name in (("train", "train"), ("valid", valid), ("test", "test")):
        assert {bytes(x.numpy().tobytes()) for x in data.parts[part].x} == as_rows(expected[name])
        assert data.parts[part].y.tolist() == [0] * 4 + [1] * 4


def test_a_test_folder_without_a_validation_folder(tmp_path, cache):
    fill(tmp_path / "set" / "train", 18)
    held_out = fill(tmp_path / "set" / "test", 5, seed=1)
    data = load(tmp_path / "set")
    assert [len(part) for part in data.parts.values()] == [16, 2, 5]
    assert {bytes(x.numpy().tobytes()) for x in data.test.x} == as_rows(held_out)


def test_grey_and_ink(tmp_path, cache):
    rng = np.random.default_rng(0)
    for number in range(20):
        save(tmp_path / "grey" / f"{number}.png", rng.integers(0, 256, (6, 6)).astype(np.uint8))
    data = load(tmp_path / "grey", binarise="dynamic")
    assert data.shape == (1, 6, 6)
    assert data.likelihood == "bernoulli"
    assert data.train.take([0]).unique().tolist() == [0, 1]
    assert load(tmp_path / "grey", channels=3).shape == (3, 6, 6)


def test_sixteen_bits_are_not_cut_off(tmp_path, cache):
    for number in range(20):
        (tmp_path / "deep").mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), 3000 * number, np.uint16)).save(tmp_path / "deep" / f"{number}.png")
    data = load(tmp_path / "deep")
    found = torch.cat([part.x[:, 0, 0, 0] for part in data.parts.values()]).sort().values.float()
    assert (found - torch.arange(20) * 3000 / 257).abs().max() <= 1


def test_crop_and_resize(tmp_path, cache):
    pictures = fill(tmp_path / "wide", height=20, width=30)
    with pytest.raises(BadInput, match="size should"):
        load(tmp_path / "wide", size=0)
    cut = load(tmp_path / "wide", crop=8)
    assert pixels(cut) == as_rows([picture[6:14, 11:19] for picture in pictures])
    small = load(tmp_path / "wide", size=10)  # the largest square first: no stretching
    assert small.shape == (3, 10, 10)
    first = small.train.x.float().mean((0, 2, 3)) / 255
    assert (first - 0.5).abs().max() < 0.1
    with pytest.raises(BadInput, match="too few to cut"):
        load(tmp_path / "wide", crop=21)


def test_pictures_of_different_sizes_need_a_size(tmp_path, cache):
    fill(tmp_path / "mixed")
    save(tmp_path / "mixed" / "99.png", colour(np.random.default_rng(0), 9, 9))
    with pytest.raises(BadInput, match="set size="):
        load(tmp_path / "mixed")
    assert load(tmp_path / "mixed", size=8).shape == (3, 8, 8)


def test_the_second_start_opens_no_picture_until_one_changes(tmp_path, cache, monkeypatch):
    fill(tmp_path / "mine")
    expected = load(tmp_path / "mine").fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
        assert load(tmp_path / "mine").fingerprint == expected
    save(tmp_path / "mine" / "3.png", np.zeros((8, 8, 3), np.uint8))
    assert load(tmp_path / "mine").fingerprint != expected


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("uncollapse.data.pictures.PIECE", 16)

    def peak(n):
        fill(tmp_path / f"many{n}", n, height=64, width=64)
        tracemalloc.start()
        load(tmp_path / f"many{n}")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)  # imports
    assert peak(600) - peak(200) < 2**20  # 400 pictures more are 4.9 MB more


def test_folders_that_cannot_be_used(tmp_path, cache):
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="should hold pictures"):
        load(tmp_path / "none")
    fill(tmp_path / "few", 5)
    with pytest.raises(BadInput, match="too few"):
        load(tmp_path / "few")
    with pytest.raises(BadInput, match="channels"):
        load(tmp_path / "few", channels=2)
    with pytest.raises(BadInput, match="mean 'size'"):
        load(tmp_path / "few", sise=2)


def celeba(folder, n=12):
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(1, n + 1):
        pictures.append(np.full((218, 178, 3), rng.integers(0, 256, 3), np.uint8))
        pictures[-1][:35] = pictures[-1][-35:] = 0  # all that is to be cut off
        pictures[-1][:, :15] = pictures[-1][:, -15:] = 0
        (folder / "img_align_celeba").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[-1]).save(folder / "img_align_celeba" / f"{number:06}.jpg", quality=100, subsampling=0)
    lines = [f"{number:06}.jpg {min((number - 1) // 4, 2)}" for number in range(1, n + 1)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return pictures


def test_celeba(tmp_path, cache):
    pictures = celeba(tmp_path / "celeba")
    data = load("celeba", data_dir=tmp_path)
    assert data.name == "celeba-12of202599"
    assert data.shape == (3, 64, 64)
    assert [len(part) for part in data.parts.values()] == [4, 4, 4]
    inner = data.test.x[:, :, 2:-2, 2:-2].float()
    expected = torch.from_numpy(np.stack(pictures[8:])[:, 100, 100]).float()
    assert (inner - expected[:, :, None, None]).abs().max() <= 4
    assert data.classes == ()


def test_celebas_list(tmp_path, cache):
    celeba(tmp_path / "celeba")
    listing = tmp_path / "celeba" / "list_eval_partition.txt"
    whole = listing.read_text()
    listing.write_text(whole + "000099.jpg 1\n")
    with pytest.raises(BadInput, match=r"cannot read .*000099\.jpg"):
        load("celeba", data_dir=tmp_path)
    for line in ("../../etc/passwd 0", "000001.jpg 3", "000001.jpg", "/etc/passwd 1"):
        listing.write_text(whole + line)
        with pytest.raises(BadInput, match="line 13 of"):
            load("celeba", data_dir=tmp_path)
    listing.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="text file"):
        load("celeba", data_dir=tmp_path)
    listing.rename(listing.with_suffix(".csv"))
    listing.with_suffix(".csv").write_text("image_id,partition\n" + whole.replace(" ", ","))
    assert len(load("celeba", data_dir=tmp_path).train) == 4


def test_ffhq(tmp_path, cache):
    rng = np.random.default_rng(0)
    for number in (0, 1, 54_999, 55_000, 59_999, 60_000, 69_999):
        save(
            tmp_path / "ffhq" / "thumbnails128x128" / f"{number // 1000:02}000" / f"{number:05}.png",
            colour(rng, 128, 128),
        )
    data = load("ffhq", data_dir=tmp_path)
    assert data.name == "ffhq-7of70000"
    assert [len(part) for part in data.parts.values()] == [3, 2, 2]
    assert data.shape == (3, 64, 64)
    assert data.train.y is None
    (tmp_path / "ffhq" / "thumbnails128x128" / "00000" / "me.png").write_bytes(b"")
    with pytest.raises(BadInput, match="named by a number"):
        load("ffhq", data_dir=tmp_path)
