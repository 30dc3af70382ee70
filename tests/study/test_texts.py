import torch

from uncollapse.data.dataset import DataSet
from uncollapse.data.part import Part
from uncollapse.study.texts import texts


class Echo:
    """A model whose code is the first token, and which writes it twice."""

    training = False

    def modules(self):
        return []

    def posterior(self, x):
        mean = x[:, :1].float()
        return torch.distributions.Independent(torch.distributions.Normal(mean, torch.ones_like(mean)), 1)

    def prior(self):
        return torch.distributions.Independent(torch.distributions.Normal(torch.tensor([5.0]), torch.tensor([1e-6])), 1)

    def likelihood(self, z):
        return Twice(z)


class Twice:
    def __init__(self, z):
        self.z = z

    def greedy(self):
        first = self.z.round().long()
        return torch.cat([first, first, torch.full_like(first, 2)], 1)

    sample = greedy


def data(between=" "):
    rows = torch.tensor([[4, 2, 0], [6, 5, 2], [5, 2, 0]], dtype=torch.uint8)
    part = Part(rows, tokens=True)
    words = ("<pad>", "<s>", "</s>", "_UNK", "a", "b", "c")
    return DataSet("t", part, part, part, likelihood="tokens", vocabulary=words, between=between)


def test_texts_are_written_in_words():
    found = texts(Echo(), data(), 2, seed=0)
    assert found["originals"] == ["a", "c b"]
    assert found["reconstructions"] == ["a a", "c c"]
    assert found["samples"] == ["b b", "b b"]
    assert [found["interpolation"][place] for place in (0, 3, 6)] == ["a a", "b b", "c c"]


def test_molecules_have_nothing_between_their_atoms():
    assert texts(Echo(), data(""), 2, seed=0)["originals"] == ["a", "cb"]


def test_no_texts_without_tokens(tiny):
    from uncollapse.data import from_tensors

    assert texts(Echo(), from_tensors(torch.rand(20, 3)), 2, seed=0) is None
