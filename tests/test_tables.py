import json

import numpy as np
import pytest
import torch

from uncollapse import VAE, Codes
from uncollapse.errors import BadInput, ShapeError, Unsupported, WorkFailed
from uncollapse.metrics import active_units, kl, mutual_information
from uncollapse.tables import drafted
from uncollapse.wrappers import VonMisesFisher

TABLES = ("mean", "scale", "sample", "kl", "labels")


@pytest.fixture
def codes():
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (3000,), generator=g)
    return Codes.from_gaussian(torch.randn(3000, 4, generator=g), torch.rand(3000, 4, generator=g) + 0.1, labels)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VAE(torch.nn.Linear(6, 4), torch.nn.Linear(2, 6), latent=2)


def same(one, other):
    for name in TABLES:
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        assert a is None or (a.dtype == b.dtype and torch.equal(a, b)), name


def test_what_is_saved_is_what_is_opened(codes, tmp_path):
    codes.save(tmp_path / "codes")
    found = Codes.open(str(tmp_path / "codes"))
    same(found, codes)
    found.release()
    same(found, codes)
    assert [path.name for path in tmp_path.iterdir()] == ["codes"]
    assert np.load(tmp_path / "codes" / "mean.npy").shape == (3000, 4)  # anybody can read it


def test_metrics_do_not_know_where_the_codes_lie(codes, tmp_path):
    codes.save(tmp_path / "codes")
    found = Codes.open(tmp_path / "codes")
    assert mutual_information(found) == mutual_information(codes)
    assert mutual_information(found, queries=600) == mutual_information(codes, queries=600)
    for definition in ("variance", "kl", "max_mean", "fraction"):
        assert torch.equal(
            active_units(found, definition=definition).statistic, active_units(codes, definition=definition).statistic
        )
    ours, theirs = kl(found), kl(codes)
    assert (ours, ours.se, ours.information) == (theirs, theirs.se, theirs.information)
    assert ours.separation == theirs.separation


@pytest.mark.parametrize("labelled", [True, False])
def test_encoding_to_disk_equals_encoding(model, tmp_path, labelled):
    x = torch.rand(1500, 6)
    data = (x, torch.arange(1500) % 4) if labelled else x
    found = Codes.of(model, data, batch_size=200, seed=3, to=tmp_path / "codes")
    same(found, Codes.of(model, data, seed=3))
    model.train()
    again = Codes.of(model, x[:70], to=tmp_path / "codes")  # takes the place of the old ones
    assert model.training
    assert len(again) == len(Codes.open(tmp_path / "codes")) == 70


def test_bad_codes_leave_no_folder(model, tmp_path):
    x = torch.rand(100, 6)
    x[60:] = torch.nan
    with pytest.raises(BadInput, match="40 of 100 examples"):
        Codes.of(model, x, batch_size=50, to=tmp_path / "codes")
    with pytest.raises(ShapeError, match="no example"):
        Codes.of(model, [], to=tmp_path / "codes")
    sphere = VonMisesFisher(VAE(torch.nn.Linear(6, 6), torch.nn.Linear(3, 6), latent=3))
    with pytest.raises(Unsupported, match="diagonal Gaussian"):
        Codes.of(sphere, x[:60], to=tmp_path / "codes")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_data_is_not_one_of_the_disk(model, tmp_path):
    def batches():
        yield torch.rand(10, 6)
        raise OSError("the tape broke")

    with pytest.raises(OSError, match="the tape broke"):
        Codes.of(model, batches(), to=tmp_path / "codes")
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_not_overwritten(codes, tmp_path):
    (tmp_path / "letters").mkdir()
    with pytest.raises(BadInput, match="something else lies there"):
        codes.save(tmp_path / "letters")
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkFailed, match="cannot write"):
        codes.save(tmp_path / "file" / "codes")


def damaged(folder, what):
    header = folder / "codes.json"
    about = json.loads(header.read_text())
    if what == "no folder":
        header.unlink()
    elif what == "no header":
        header.write_text("{")
    elif what == "another format":
        header.write_text(json.dumps({**about, "format": "uncollapse codes 2"}))
    elif what == "another shape":
        about["tables"]["mean"]["shape"] = [2999, 4]
        header.write_text(json.dumps(about))
    elif what == "one short":
        for name in ("mean", "scale"):
            about["tables"][name]["shape"] = [3000, 5]
            np.save(folder / f"{name}.npy", np.ones((3000, 5), np.float32))
        header.write_text(json.dumps(about))
    elif what == "a path":
        about["tables"]["../secret"] = about["tables"]["mean"]
        header.write_text(json.dumps(about))
    elif what == "no table":
        (folder / "kl.npy").unlink()
    elif what == "cut":
        with (folder / "sample.npy").open("r+b") as file:
            file.truncate(5000)
    elif what == "empty":
        (folder / "scale.npy").write_bytes(b"")
    elif what == "longer":
        with (folder / "mean.npy").open("ab") as file:
            file.write(b"more")
    elif what == "pickle":
        np.save(folder / "mean.npy", np.array([{}, 1], object), allow_pickle=True)


@pytest.mark.parametrize(
    "what",
    ["no folder", "no header", "another format", "another shape", "one short", "a path", "no table", "cut", "empty",
     "longer", "pickle"],
)  # fmt: skip
def test_damaged_folders_are_refused(codes, tmp_path, what):
    codes.save(tmp_path / "codes")
    damaged(tmp_path / "codes", what)
    with pytest.raises(BadInput, match=r"codes"):
        Codes.open(tmp_path / "codes")


def test_rows_of_another_width_are_refused(tmp_path):
    def write():
        with drafted(tmp_path / "codes") as draft:
            draft.append("mean", torch.zeros(3, 2))
            draft.append("mean", torch.zeros(3, 4))

    with pytest.raises(ShapeError, match="should go on"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_the_old_codes(codes, tmp_path):
    def write():
        with drafted(tmp_path / "codes") as draft:
            draft.append("mean", torch.zeros(3, 2))
            raise KeyboardInterrupt

    codes.save(tmp_path / "codes")
    with pytest.raises(KeyboardInterrupt):
        write()
    same(Codes.open(tmp_path / "codes"), codes)
