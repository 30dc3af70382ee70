import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from uncollapse.cli import main

MODEL = """
import torch
from torch import nn
from uncollapse import VAE, draw
from neighbour import LATENT

def make_model():
    torch.manual_seed(0)
    return VAE(nn.Sequential(nn.Flatten(), nn.Linear(64, 2 * LATENT)), Decoder(), latent=LATENT)

class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(LATENT, 64)

    def forward(self, z):
        return self.net(z).view(-1, 1, 8, 8)

def needs_more(size):
    return size

def loss(model, x):
    one = draw(model, x)
    return (-one.log_px.mean(0) + 50 * one.kl.sum(1)).mean()

data = torch.rand(120, 1, 8, 8), torch.arange(120) % 2
model = make_model()
"""

ODD = """
def broken():
    raise KeyError("no such layer")

def made():
    return data[0].numpy(), ["odd", "even"] * 60

class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(8, 3), nn.Linear(3, 8)

state = model.state_dict()
autoencoder = Autoencoder()
wide = torch.rand(20, 3, 32, 32)
dataset = torch.utils.data.TensorDataset(*data)
loader = torch.utils.data.DataLoader(dataset, 32)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model, its weights and a neighbour that it imports."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "neighbour.py").write_text("LATENT = 3\n")
    (tmp_path / "model.py").write_text(MODEL)
    yield tmp_path
    sys.modules.pop("neighbour", None)


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Runs the program in this process: exit code, output, errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["uncollapse", "diagnose", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out = capsys.readouterr()
        return stop.value.code or 0, out.out, " ".join(out.err.split())

    return call


def weights(place, change=None):
    sys.path.insert(0, str(place))
    try:
        space = {}
        exec(MODEL, space)
    finally:
        sys.path.remove(str(place))
    state = space["make_model"]().state_dict()
    save_file(change(state) if change else state, place / "weights.safetensors")
    return place / "weights.safetensors"


def test_the_whole_command(run, place):
    page, card = place / "page.html", place / "card.md"
    code, out, _ = run(
        "model.py:make_model", "--weights", weights(place), "--data", "digits:test", "--out", page, "--card", card
    )  # fmt: skip
    assert code == 0
    assert "information" in out.lower()
    assert "make_model in model.py" in page.read_text()
    assert "uncollapse diagnose model.py:make_model" in page.read_text()
    assert card.read_text().startswith("#")


def test_json_for_programs(run):
    code, out, _ = run("model.py:model", "--data", "digits:test", "--json", "--limit", "100")
    found = json.loads(out)
    assert code == 0
    assert found["data"]["n"] == 100
    assert len(found["classes"]) > 1


@pytest.mark.parametrize("kind", ["npy", "npz", "python"])
def test_data_from_files(run, place, kind):
    x = np.random.default_rng(0).random((200, 1, 8, 8), dtype=np.float32)
    name = {"npy": "x.npy", "npz": "x.npz", "python": "model.py:data"}[kind]
    if kind == "npy":
        np.save(place / name, x)
    elif kind == "npz":
        np.savez(place / name, x=x)
    code, _, err = run("model.py:make_model", "--data", name)
    assert (code, err) == (0, "")


def test_the_loss_of_the_file_is_read(run):
    code, out, _ = run("model.py:make_model", "--data", "model.py:data", "--loss", "loss", "--json")
    assert code == 0
    test = next(one for one in json.loads(out)["tests"] if one["cause"] == "KL weight too large")
    assert test["numbers"]["beta"] == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.py", "--data", "digits"], "FILE.py:NAME"),
        (["none.py:make", "--data", "digits"], "there is no none.py"),
        (["model.py:other", "--data", "digits"], "has no 'other'; it has"),
        (["model.py:needs_more", "--data", "digits"], "without arguments"),
        (["model.py:make_model", "--data", "digit:test"], "digits"),
        (["model.py:make_model", "--data", "digits:tests"], "no part 'tests'"),
        (["model.py:make_model", "--data", "digits", "--weights", "w.pt"], "safetensors"),
        (["model.py:make_model", "--data", "digits", "--budget", "big"], "quick"),
        (["model.py:loss", "--data", "digits"], "without arguments"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_usage_is_one_sentence_and_exit_2(run, words, said):
    code, _, err = run(*words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_file_that_breaks_is_named(run, place):
    (place / "broken.py").write_text("1 / 0")
    code, _, err = run("broken.py:model", "--data", "digits")
    assert (code, "ZeroDivisionError" in err) == (2, True)


def test_weights_of_another_model_are_refused_and_the_page_is_not_written(run, place):
    path = weights(place, lambda state: {**state, "extra": torch.zeros(1)})
    code, _, err = run("model.py:make_model", "--weights", path, "--data", "digits", "--out", place / "page.html")
    assert code == 2
    assert "1 are unknown (extra)" in err
    assert not (place / "page.html").exists()


def test_damaged_weights_are_refused(run, place):
    path = weights(place)
    path.write_bytes(path.read_bytes()[:50])
    code, _, err = run("model.py:make_model", "--weights", path, "--data", "digits")
    assert code == 2
    assert "does not fit" in err


def test_all_of_an_array_file_is_taken_and_its_test_part_where_there_is_one(run, place):
    x = np.random.default_rng(0).random((90, 8, 8)).astype(np.float32)
    np.save(place / "x.npy", x)
    np.savez(place / "parts.npz", x_train=x, x_test=x[:40], y_test=np.arange(40) % 2)
    assert json.loads(run("model.py:model", "--data", "x.npy", "--json")[1])["data"]["n"] == 90
    found = json.loads(run("model.py:model", "--data", "parts.npz", "--json")[1])
    assert found["data"]["n"] == 40
    assert len(found["classes"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model.py:broken", "--data", "digits"), "KeyError"),
        (("model.py:state", "--data", "digits"), "load_state_dict"),
        (("model.py:autoencoder", "--data", "digits"), "without a posterior"),
        (("model.py:model", "--data", "model.py:wide"), "encoder does not take"),
        (("model.py:model", "--data", "model.py:model"), "the model comes first"),
        (("model.py:model", "--data", "model.py:loader", "--limit", "10"), "--limit"),
        (("model.py:model", "--data", "flat.npy"), "at least one dimension"),
        (("model.py:model", "--data", "cut.npy"), "has only"),
        (("model.py:model", "--data", "nothing.npy"), "no file"),
        (("model.py:model", "--data", "empty.npz"), "should hold x"),
        (("model.py:model", "--data", "digits", "--weights", "nothing.safetensors"), "no nothing.safetensors"),
        (("model.py:state", "--data", "digits", "--weights", "cut.safetensors"), "torch module"),
        (("model.py:model", "--data", "digits", "--weights", "cut.safetensors"), "does not fit"),
        (("model.py:model", "--data", "digits", "--weight", "nan"), "weight"),
        (("model.py:model", "--data", "digits", "--budget", "fast"), "quick"),
        (("model.py:model", "--data", "digits", "--loss", "data"), "loss should be"),
        (("model.py:model", "--data", "digits", "--likelihood", "bernoulli"), "leave likelihood= out"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else "",
)
def test_what_people_get_wrong_is_one_sentence_and_leaves_the_page(run, place, words, said):
    with (place / "model.py").open("a") as file:
        file.write(ODD)
    np.save(place / "flat.npy", np.zeros(50, np.float32))
    np.savez(place / "empty.npz", z=np.zeros(3))
    (place / "cut.npy").write_bytes((place / "flat.npy").read_bytes()[:140])
    (place / "cut.safetensors").write_bytes(b"xx")
    page = place / "page.html"
    page.write_text("the page of yesterday")
    code, _, err = run(*words, "--out", page)
    assert code == 2
    assert said in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert page.read_text() == "the page of yesterday"
    assert not [one for one in place.iterdir() if one.suffix == ".tmp"]


@pytest.mark.parametrize("option", ["--out", "--card"])
def test_a_place_that_cannot_be_written_is_failed_work(run, place, option):
    (place / "folder").mkdir()
    code, out, err = run("model.py:model", "--data", "digits", option, "folder")
    assert code == 1
    assert "another path" in err
    assert "information" in out  # the answer was printed before


def test_data_of_every_kind_from_a_file(run, place):
    with (place / "model.py").open("a") as file:
        file.write(ODD)
    for name in ("loader", "dataset", "made"):
        assert json.loads(run("model.py:model", "--data", f"model.py:{name}", "--json")[1])["data"]["n"] == 120
    assert (
        json.loads(run("model.py:model", "--data", "model.py:dataset", "--limit", "30", "--json")[1])["data"]["n"] == 30
    )


def test_ctrl_c_is_one_sentence_and_an_existing_page_is_kept(run, place, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["uncollapse.diagnose"], "enter", interrupted)  # the name is a function too
    (place / "page.html").write_text("yesterday's")
    code, _, err = run("model.py:make_model", "--data", "digits", "--out", "page.html")
    assert (code, "nothing was written" in err) == (130, True)
    assert (place / "page.html").read_text() == "yesterday's"
