"""Good models and data that stand in the way of judging them."""

import torch
from torch import Tensor, nn

from uncollapse.draw import VAE
from uncollapse.nets import MLPDecoder, MLPEncoder
from uncollapse.testing.gallery.specimen import Specimen
from uncollapse.testing.gallery.training import DIGIT, images, negative_elbo, perceptrons, train

__all__ = ["duplicated_data", "nan_inputs", "one_example"]


class Standardised(nn.Module):
    """Every image by itself to mean 0 and variance 1: 0 / 0 for an image of one colour."""

    def forward(self, x: Tensor) -> Tensor:
        """Images of the same shape (B, *X)."""
        flat = x.flatten(1)
        return ((flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)).reshape(x.shape)


def nan_inputs(seed: int) -> Specimen:
    """One input in twenty makes the encoder divide 0 by 0."""
    x, y = images(seed)
    model = VAE(nn.Sequential(Standardised(), MLPEncoder(DIGIT, 4, (64,))), MLPDecoder(DIGIT, 4, (64,)), latent=4)
    train(model, x)
    blank = torch.randperm(len(x))[: len(x) // 20]
    x = x.index_fill(0, blank, 0.0)
    story = "The encoder divides by the spread of each image, and one in twenty is blank: NaN there, healthy elsewhere."
    causes = frozenset({"non-finite posteriors"})
    return Specimen("nan-inputs", model, x, y, frozenset({"healthy"}), causes, story, {"loss": negative_elbo})


def one_example(seed: int) -> Specimen:
    """A data set of one."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    train(model, x)
    story = "A healthy model and a single example: whether codes differ between inputs cannot be seen on one input."
    causes = frozenset({"too few examples"})
    return Specimen("one-example", model, x[:1], y[:1], frozenset({"undetermined"}), causes, story)


def duplicated_data(seed: int) -> Specimen:
    """Eight images, a hundred times each."""
    x, y = images(seed)
    rows = torch.tensor([int((y == label).nonzero()[0]) for label in range(8)]).repeat(100)
    rows = rows[torch.randperm(len(rows))]
    model = perceptrons(latent=2)
    train(model, x[rows], steps=700)
    story = "Eight images, a hundred copies each: no code of them can carry more than log 8, and this one does."
    causes = frozenset({"duplicated data"})
    word = frozenset({"healthy", "undetermined"})
    return Specimen("duplicated-data", model, x[rows], y[rows], word, causes, story, {"loss": negative_elbo})
