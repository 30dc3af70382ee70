"""The prepared form: written once, mapped afterwards, made anew when damaged, in memory when it cannot be written."""

import json
import os
import time

import numpy as np
import pytest
import torch

from uncollapse.data import DataSet, Part
from uncollapse.data.mapped import prepared
from uncollapse.data.stored import Store
from uncollapse.errors import BadInput


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.bin"
    path.write_bytes(b"abc")
    return path


class Maker:
    """Writes two arrays in pieces and counts how often it is asked."""

    def __init__(self, error=None):
        self.calls, self.error = 0, error
        self.x = np.random.default_rng(0).integers(0, 256, (10, 1, 4, 4)).astype(np.uint8)

    def __call__(self, store):
        self.calls += 1
        store.write("x", self.x.shape, np.uint8, (self.x[start : start + 3] for start in range(0, 10, 3)))
        if self.error and self.calls == 1:
            raise self.error
        store.put("y", np.arange(10) % 2)
        store.facts["classes"] = ["even", "odd"]


def test_the_second_time_is_mapped(source, cache):
    make = Maker()
    first = prepared("set", [source], {"size": 4}, make)
    second = prepared("set", [source], {"size": 4}, make)
    assert make.calls == 1
    for found in (first, second):
        assert np.array_equal(found.arrays["x"], make.x)
        assert found.facts == {"classes": ["even", "odd"]}
        assert isinstance(found.arrays["x"].base, np.memmap)
    folders = list((cache / "prepared").iterdir())
    assert [folder.name.rpartition("-")[0] for folder in folders] == ["set"]
    assert {path.name for path in folders[0].iterdir()} == {"x.npy", "y.npy", "meta.json"}
    assert np.array_equal(np.load(folders[0] / "x.npy"), make.x)


def test_a_change_of_source_or_options_is_noticed(source, cache):
    make = Maker()
    prepared("set", [source], {"size": 4}, make)
    prepared("set", [source], {"size": 5}, make)
    source.write_bytes(b"abcd")
    prepared("set", [source], {"size": 4}, make)
    os.utime(source, (1, 1))
    prepared("set", [source], {"size": 4}, make)
    assert make.calls == 4
    source.unlink()
    with pytest.raises(BadInput, match="cannot read"):
        prepared("set", [source], {"size": 4}, make)


def cut(folder):
    data = (folder / "x.npy").read_bytes()
    (folder / "x.npy").write_bytes(data[:-1])


def longer(folder):
    with (folder / "x.npy").open("ab") as file:
        file.write(b"\0")


def reshaped(folder):
    np.save(folder / "x.npy", np.zeros((5, 2, 4, 4), np.uint8))


def pickled(folder):
    np.save(folder / "x.npy", np.array([{}], dtype=object))


DAMAGE = {
    "cut": cut,
    "longer": longer,
    "another shape": reshaped,
    "pickle": pickled,
    "array gone": lambda folder: (folder / "y.npy").unlink(),
    "meta gone": lambda folder: (folder / "meta.json").unlink(),
    "meta no json": lambda folder: (folder / "meta.json").write_text("{"),
    "meta another kind": lambda folder: (folder / "meta.json").write_text("[]"),
    "meta without arrays": lambda folder: (folder / "meta.json").write_text(json.dumps({"facts": {}})),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_copy_is_made_anew(source, cache, damage):
    make = Maker()
    prepared("set", [source], {}, make)
    damage(next((cache / "prepared").iterdir()))
    found = prepared("set", [source], {}, make)
    assert make.calls == 2
    assert np.array_equal(found.arrays["x"], make.x)
    prepared("set", [source], {}, make)
    assert make.calls == 2


def test_a_copy_that_failed_leaves_nothing(source, cache):
    with pytest.raises(BadInput, match="broken"):
        prepared("set", [source], {}, Maker(BadInput("broken")))
    assert list((cache / "prepared").iterdir()) == []


def test_old_drafts_are_swept(source, cache):
    old, young = cache / "prepared" / ".a.part", cache / "prepared" / ".b.part"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "x.npy").write_bytes(b"begun")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    prepared("set", [source], {}, Maker())
    assert young.is_dir()
    assert not old.exists()


def test_without_a_place_to_write_it_stays_in_memory(source, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where a folder should be")
    make = Maker()
    with pytest.warns(UserWarning, match="kept in memory") as caught:
        found = prepared("set", [source], {}, make)
    assert len(caught) == 1
    assert np.array_equal(found.arrays["x"], make.x)
    assert found.part("x", "y").range == (float(make.x.min()), float(make.x.max()))


def test_a_full_disk(source, cache):
    make = Maker(OSError(28, "No space left on device"))
    with pytest.warns(UserWarning, match="No space left"):
        found = prepared("set", [source], {}, make)
    assert np.array_equal(found.arrays["x"], make.x)
    assert list((cache / "prepared").iterdir()) == []


def test_parts_know_their_range_and_digest_without_reading(source, cache, monkeypatch):
    make = Maker()
    found = prepared("set", [source], {}, make)
    part = found.part("x", "y", divisor=255, seed=2)
    plain = Part(torch.from_numpy(make.x), torch.arange(10) % 2, divisor=255, seed=2)
    assert part.range == plain.range
    assert torch.equal(part.tensor(), plain.tensor())
    assert torch.equal(part.y, plain.y)
    data = DataSet("set", part, part, part)
    expected = data.fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "aminmax", lambda *_: pytest.fail("read"))
        patch.setattr(torch.Tensor, "contiguous", lambda x: x if x.dtype == torch.int64 else pytest.fail("read"))
        again = found.part("x", "y", divisor=255, seed=2)
        assert DataSet("set", again, again, again).fingerprint == expected
        assert DataSet("set", again, again, again).binarised("dynamic").fingerprint != expected
    assert DataSet("set", part.to("cpu"), part, part).fingerprint == expected
    other = found.part("x", divisor=255, seed=2)
    assert DataSet("set", other, other, other).fingerprint != expected


def test_what_is_known_of_one_tensor_is_not_said_of_another(source, cache):
    from dataclasses import replace

    part = prepared("set", [source], {}, Maker()).part("x", divisor=255)
    other = replace(part, x=part.x[:4] // 2)
    assert other.known is None
    assert other.range == tuple(float(edge) / 255 for edge in other.x.aminmax())


def test_writing_into_a_mapped_array_changes_no_file(source, cache):
    make = Maker()
    prepared("set", [source], {}, make).part("x").x.zero_()
    assert np.array_equal(prepared("set", [source], {}, make).arrays["x"], make.x)


def test_pieces_have_to_add_up():
    store = Store()
    with pytest.raises(BadInput, match="only 2"):
        store.write("x", (3, 2), np.uint8, [np.ones((2, 2))])
    with pytest.raises(BadInput, match="got a piece"):
        store.write("x", (3, 2), np.uint8, [np.ones((4, 2))])
    with pytest.raises(BadInput, match="got a piece"):
        store.write("x", (3, 2), np.uint8, [np.ones((3, 1))])


def test_not_a_number_is_not_hidden(source, cache):
    def make(store):
        store.put("x", np.array([[1.0], [np.nan], [2.0]], np.float32))

    with pytest.raises(BadInput, match="finite"):
        prepared("set", [source], {}, make).part("x")
