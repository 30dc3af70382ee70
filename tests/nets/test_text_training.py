"""Remedies and wrappers train a text VAE; every case is seconds at most."""

import pytest
import torch

from uncollapse import Objective, fit, remedies
from uncollapse.data import DataSet, Part
from uncollapse.errors import Unsupported
from uncollapse.metrics import nll, shuffle_gap
from uncollapse.nets import build_vae
from uncollapse.study.build import build_named
from uncollapse.wrappers import BatchNormMean, WordDropout

V, T, D = 16, 8, 3


def rows(n=120):
    """One word, repeated two to six times, and the end."""
    x = torch.zeros(n, T, dtype=torch.int64)
    for i in range(n):
        many = 2 + i % 5
        x[i, :many], x[i, many] = 4 + i % 12, 2
    return x.to(torch.uint8)


def data():
    x = rows()
    parts = (Part(piece, tokens=True) for piece in x.split([80, 20, 20]))
    return DataSet("repeats", *parts, likelihood="tokens", vocabulary=tuple(str(i) for i in range(V)))


def vae(decoder=None):
    torch.manual_seed(0)
    small = {"name": "lstm", "embedding": 8, "hidden": 16}
    return build_vae(small, decoder or small | {"dropout_in": 0.0, "dropout_out": 0.0}, (T,), D, {"tokens": V})


REMEDIES = {
    "none": lambda: [],
    "self": lambda: [remedies.SelfCritic(5.0)],
    "anneal": lambda: [remedies.Anneal(over=8)],
    "cyclical": lambda: [remedies.Cyclical(over=8)],
    "free bits": lambda: [remedies.FreeBits(0.5)],
    "aggressive": lambda: [remedies.Aggressive(rule="text", window=2, most=4)],
    "neural": lambda: [remedies.NeuralCritic((T,), D, 5.0, vocabulary=V)],
    "neural transformer": lambda: [remedies.NeuralCritic((T,), D, 5.0, vocabulary=V, x_tower="transformer")],
    "hybrid": lambda: [remedies.HybridCritic(16, D, weight=5.0)],
    "mine": lambda: [remedies.MINE((T,), D, vocabulary=V)],
    "several": lambda: [remedies.Anneal(over=8), remedies.FreeBits(0.5), remedies.SelfCritic(5.0)],
}


@pytest.mark.parametrize("name", REMEDIES)
def test_remedies_train_a_text_vae(name):
    model = vae()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fit(model, data(), Objective(REMEDIES[name]()), batches=6, batch_size=16)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items() if "encoder" in key)
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items() if "decoder" in key)


@pytest.mark.parametrize("wrap", [lambda m: WordDropout(m, 0.5, unknown=3, keep=(0, 1)), BatchNormMean])
def test_wrappers_train_a_text_vae(wrap):
    model = wrap(vae())
    fit(model, data(), Objective(), batches=6, batch_size=16)
    assert torch.isfinite(torch.tensor(nll(model, data().test, samples=5).value))


def test_a_text_vae_learns_the_word_from_z_and_metrics_see_it():
    model, ds = vae(), data()
    start = nll(model, ds.test, samples=5).value
    fit(model, ds, Objective([remedies.FreeBits(1.0)]), batches=150, batch_size=40, lr=2e-2)
    assert nll(model, ds.test, samples=5).value < 0.6 * start
    assert shuffle_gap(model, ds.test).value > 0.5


def test_batches_of_floats_give_what_batches_of_ids_give():
    model, ds = vae(), data()
    ids = ds.test.tensor()
    assert ids.dtype == torch.int64
    assert nll(model, ds.test, samples=5).value == pytest.approx(nll(model, ids, samples=5).value)
    assert nll(model, ds.test, samples=5).value == pytest.approx(nll(model, ids.numpy(), samples=5).value)


def test_studies_tell_a_critic_the_vocabulary():
    critic = build_named("NeuralCritic", {"shape": (T,), "latent": D, "vocabulary": V}, "remedy")
    assert critic.x_tower[0].vocabulary == V


def test_feeding_a_mean_back_is_refused_because_texts_have_none():
    with pytest.raises(Unsupported, match="text has no mean"):
        fit(vae(), data(), Objective([remedies.LatentReconstruction()]), batches=1, batch_size=16)
