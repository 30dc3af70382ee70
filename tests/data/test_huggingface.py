"""Data sets of Hugging Face's library: objects, saved folders, names."""

import sys

import numpy as np
import pytest
import torch

from uncollapse.data import as_data, load
from uncollapse.data.huggingface import values_of
from uncollapse.errors import BadInput, ShapeError, Unsupported

datasets = pytest.importorskip("datasets")
from PIL import Image as Picture  # noqa: E402

N = 20


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache / "hf")
    datasets.disable_progress_bars()


def images(n=N, side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3)).astype(np.uint8)


def pictures(n=N, seed=0, side=8):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    content = {
        "image": [Picture.fromarray(x) for x in images(n, side, seed)],
        "label": [k % 2 for k in range(n)],
    }
    return datasets.Dataset.from_dict(content, features=features)


def everything(data):
    return torch.cat([part.x for part in data.parts.values()])


def rows(x):
    return sorted(bytes(row.numpy().tobytes()) for row in torch.as_tensor(x))


def test_pictures():
    data = as_data(pictures())
    assert data.shape == (3, 8, 8)
    assert data.classes == ("cat", "dog")
    assert data.likelihood == "discretised-logistic"
    assert data.train.divisor == 255
    assert [len(part) for part in data.parts.values()] == [16, 2, 2]
    assert rows(everything(data)) == rows(np.ascontiguousarray(images().transpose(0, 3, 1, 2)))
    for x, label in zip(data.train.x, data.train.y, strict=True):
        place = int((images() == x.numpy().transpose(1, 2, 0)).all((1, 2, 3)).argmax())
        assert label == place % 2
    assert as_data(pictures(), seed=1).fingerprint != data.fingerprint


@pytest.mark.parametrize("valid", ["validation", "valid", None])
def test_parts(valid):
    parts = {"train": pictures(18), "test": pictures(5, 2)} | ({valid: pictures(4, 1)} if valid else {})
    data = as_data(datasets.DatasetDict(parts))
    assert [len(part) for part in data.parts.values()] == ([18, 4, 5] if valid else [16, 2, 5])
    assert rows(data.test.x) == rows(np.ascontiguousarray(images(5, seed=2).transpose(0, 3, 1, 2)))
    assert len(set(rows(everything(data)))) == sum(len(part) for part in data.parts.values())


def test_a_saved_folder(tmp_path):
    pictures().save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": pictures(), "test": pictures(4, 1)}).save_to_disk(tmp_path / "several")
    assert load(tmp_path / "one").name == "one"
    assert load(tmp_path / "one").fingerprint == as_data(pictures()).fingerprint
    data = load(tmp_path / "several", size=4, binarise="dynamic", channels=1)
    assert data.shape == (1, 4, 4)
    assert len(data.test) == 4
    assert data.likelihood == "bernoulli"
    with pytest.raises(BadInput, match="mean 'size'"):
        load(tmp_path / "one", sise=3)
    for path in (tmp_path / "one").glob("*.arrow"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match="not a readable folder"):
        load(tmp_path / "one")


def test_numbers_side_by_side():
    content = {"a": np.arange(N) / 7, "b": np.arange(N), "flag": [k % 2 == 0 for k in range(N)], "text": ["t"] * N}
    content["target"] = [("no", "yes")[k % 2] for k in range(N)]
    data = as_data(datasets.Dataset.from_dict(content))
    assert data.shape == (3,)
    assert data.classes == ("no", "yes")
    found = everything(data).numpy()
    found = found[np.argsort(found[:, 1])]
    assert np.allclose(found, np.stack([content["a"], content["b"], content["flag"]], 1))
    labels = torch.cat([part.y for part in data.parts.values()]).numpy()
    assert np.array_equal(labels, everything(data)[:, 1].numpy() % 2)


def test_an_array_column():
    x = np.random.default_rng(0).random((N, 4, 5)).astype(np.float32)
    features = datasets.Features({"grid": datasets.Array2D((4, 5), "float32"), "more": datasets.Value("int64")})
    data = as_data(datasets.Dataset.from_dict({"grid": x, "more": list(range(N))}, features=features))
    assert data.shape == (4, 5)
    assert rows(everything(data)) == rows(x)
    vectors = as_data(datasets.Dataset.from_dict({"vector": x[:, 0].tolist()}))
    assert vectors.shape == (5,)
    assert np.allclose(np.sort(everything(vectors).numpy(), 0), np.sort(x[:, 0], 0))


def test_what_does_not_suit(tmp_path):
    mixed = datasets.concatenate_datasets([pictures(), pictures(2, side=9)])
    with pytest.raises(BadInput, match="set size="):
        as_data(mixed)
    text = datasets.Dataset.from_dict({"text": ["a"] * N})
    with pytest.raises(BadInput, match="name one as column="):
        as_data(text)
    text.save_to_disk(tmp_path / "text")
    with pytest.raises(BadInput, match="should hold numbers"):
        load(tmp_path / "text", column="text")
    with pytest.raises(BadInput, match="no column 'q'; known: text"):
        load(tmp_path / "text", column="q")
    with pytest.raises(BadInput, match="no column 'q'"):
        load(tmp_path / "text", label="q")
    with pytest.raises(BadInput, match="called train, got other"):
        as_data(datasets.DatasetDict({"other": pictures()}))
    ragged = datasets.Dataset.from_dict({"x": [[1.0] * (1 + k % 2) for k in range(N)]})
    with pytest.raises(BadInput, match="one shape"):
        as_data(ragged)
    with pytest.raises((BadInput, ShapeError)):
        as_data(pictures(0))


def test_damaged_pictures():
    features = datasets.Features({"image": datasets.Image()})
    content = {"image": [{"bytes": b"no picture", "path": None}] * N}
    with pytest.raises(BadInput, match="picture 0 of column 'image'"):
        as_data(datasets.Dataset.from_dict(content, features=features))


def test_by_name(monkeypatch):
    asked = []

    def answer(name, config):
        asked.append((name, config))
        if name == "gone":
            raise FileNotFoundError("Couldn't find any data file\nand more lines")
        return pictures()

    monkeypatch.setattr(datasets, "load_dataset", answer)
    data = load("hf:someone/pets", config="small", size=4)
    assert asked == [("someone/pets", "small")]
    assert data.name == "pets"
    assert data.shape == (3, 4, 4)
    with pytest.raises(BadInput, match=r"'gone' could not be had from the Hub: Couldn't find any data file$"):
        load("hf:gone")


def test_without_the_library(tmp_path, monkeypatch):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    for name in ("hf:someone/pets", tmp_path / "saved"):
        with pytest.raises(Unsupported, match=r"pip install 'uncollapse\[hf\]'"):
            load(name)


def test_diagnose_takes_such_an_object():
    from uncollapse import diagnose
    from uncollapse.nets import build_vae

    torch.manual_seed(0)
    x = np.random.default_rng(0).random((300, 6)).astype(np.float32)
    given = datasets.Dataset.from_dict({"x": x, "label": [k % 2 for k in range(300)]})
    model = build_vae("mlp", "mlp", (6,), 2, likelihood="gaussian")
    found, expected = (diagnose(model, data, seed=0) for data in (given, (x, np.arange(300) % 2)))
    assert found.verdict == expected.verdict
    with pytest.raises(BadInput, match=r"pass data\['train'\]"):
        diagnose(model, datasets.DatasetDict({"train": given}))
    pixels, labels = values_of(pictures())
    assert np.array_equal(pixels, images().transpose(0, 3, 1, 2) / np.float32(255))
    assert labels.tolist() == [0, 1] * 10
