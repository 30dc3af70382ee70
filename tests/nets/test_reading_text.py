import pytest
import torch

from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.nets import build_vae, interpolations, words
from uncollapse.testing import ToyModel

VOCABULARY = ("_PAD", "<s>", "</s>", "_UNK", "good", "morning", "night")


def test_words_stop_at_the_end_or_at_the_padding_and_leave_the_begin_token_out():
    rows = torch.tensor([[4, 5, 2, 0], [1, 4, 6, 2], [4, 4, 6, 6], [2, 0, 0, 0], [3, 0, 5, 2]])
    assert words(rows, VOCABULARY) == ["good morning", "good night", "good good night night", "", "_UNK"]
    assert words(rows[0], VOCABULARY, between="") == ["goodmorning"]
    assert words(rows.to(torch.uint8), VOCABULARY)[0] == "good morning"


@pytest.mark.parametrize("rows", [torch.tensor([[7, 2]]), torch.tensor([[-1, 2]])])
def test_ids_without_a_word_are_refused(rows):
    with pytest.raises(BadInput, match="0 to 6"):
        words(rows, VOCABULARY)


def model():
    torch.manual_seed(0)
    small = {"name": "lstm", "embedding": 8, "hidden": 16}
    vae = build_vae(small, small, (6,), 3, {"tokens": 9})
    with torch.no_grad():
        for weight in vae.parameters():
            weight.mul_(3)
    return vae


X = torch.tensor([[5, 4, 2, 0, 0, 0], [8, 2, 0, 0, 0, 0], [3, 3, 3, 3, 3, 2], [7, 6, 2, 0, 0, 0]])


def test_the_ends_are_the_reconstructions_and_the_middle_lies_between():
    vae = model()
    found = interpolations(vae, X[:2], X[2:], steps=5)
    assert found.shape == (5, 2, 6)
    vae.eval()
    mean = vae.posterior(X).mean
    assert torch.equal(found[0], vae.likelihood(mean[:2]).greedy())
    assert torch.equal(found[4], vae.likelihood(mean[2:]).greedy())
    assert torch.equal(found[2], vae.likelihood((mean[:2] + mean[2:]) / 2).greedy())
    assert torch.equal(interpolations(vae, X[0], X[2], steps=5), found[:, 0])


def test_with_a_beam_and_without_a_trace_in_the_model():
    vae = model().train()
    state = torch.get_rng_state()
    found = interpolations(vae, X[0], X[1], steps=2, width=4)
    assert vae.training
    assert torch.equal(state, torch.get_rng_state())
    vae.eval()
    assert torch.equal(found, vae.likelihood(vae.posterior(X[:2]).mean).beam(4))


def test_mistakes():
    for steps in (1, 2.5, True):
        with pytest.raises(BadInput, match="from 2"):
            interpolations(model(), X[0], X[1], steps)
    with pytest.raises(ShapeError, match="both texts"):
        interpolations(model(), X[0], X[:2])
    with pytest.raises(Unsupported, match="likelihood of texts"):
        interpolations(ToyModel(), torch.zeros(16), torch.ones(16))
