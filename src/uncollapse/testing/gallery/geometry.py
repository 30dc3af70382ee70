"""Codes with information, in the wrong place or at the wrong scale; and statistics that belong to other data."""

from typing import cast

import torch
from torch import Tensor, nn

from uncollapse.draw import VAE
from uncollapse.nets import MLPDecoder
from uncollapse.testing.gallery.specimen import Specimen
from uncollapse.testing.gallery.training import DIGIT, images, negative_elbo, perceptrons, train
from uncollapse.testing.toy import Prototypes

__all__ = ["batch_statistics", "prior_hole", "scale_inflation", "tight_clusters"]

HOLE: frozenset[str] = frozenset({"prior hole"})


def remap(model: VAE, factor: float, shift: Tensor) -> None:
    """Codes z become factor * z + shift in the means, and the decoder takes it back: the same images as before."""
    head = cast(nn.Linear, model.encoder.head)
    first = cast(nn.Linear, cast(nn.Sequential, model.decoder.body)[0])
    with torch.no_grad():
        head.weight[: model.latent] *= factor
        head.bias[: model.latent] *= factor
        head.bias[: model.latent] += shift
        first.weight /= factor
        first.bias.sub_(first.weight @ shift)


def prior_hole(seed: int) -> Specimen:
    """A good code in a place where the prior is not."""
    x, y = images(seed)
    model = perceptrons(latent=2)
    train(model, x)
    remap(model, 1.0, 5 * torch.randn(2).sign())
    story = (
        "All codes were moved by 5 in both latents and the decoder takes it back: same information, prior elsewhere."
    )
    return Specimen("prior-hole", model, x, y, HOLE, frozenset({"prior hole"}), story)


def scale_inflation(seed: int) -> Specimen:
    """Means blown up by 30 to 100."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    train(model, x)
    remap(model, 30 + 70 * float(torch.rand(())), torch.zeros(4))
    story = "Means were multiplied by 30 to 100 and the decoder divides by it: distances grew, the data did not."
    return Specimen("scale-inflation", model, x, y, HOLE, frozenset({"scale inflation"}), story)


class NearestEncoder(nn.Module):
    """The centre of the nearest pattern, with the same tiny scale for all.

    Arguments:
        patterns: (C, P) of zeros and ones.
        centres: (C, D).
        scale: of the posteriors.
    """

    patterns: Tensor

    def __init__(self, patterns: Tensor, centres: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("patterns", patterns)
        self.centres = nn.Parameter(centres.clone())
        self.log_variance = nn.Parameter(torch.full(centres.shape[1:], scale).log() * 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, (B, D) each."""
        mean = self.centres[torch.cdist(x, self.patterns).argmin(1)]
        return mean, self.log_variance.expand_as(mean)


class NearestDecoder(nn.Module):
    """Logits of the pattern whose centre is nearest to z, softly.

    Arguments:
        patterns: (C, P) of zeros and ones.
        centres: (C, D).
        flip: chance of a pixel to differ from its pattern.
    """

    def __init__(self, patterns: Tensor, centres: Tensor, flip: float) -> None:
        super().__init__()
        self.logits = nn.Parameter((2 * patterns - 1) * torch.logit(torch.tensor(1 - flip)))
        self.centres = nn.Parameter(centres.clone())

    def forward(self, z: Tensor) -> Tensor:
        """Logits (B, P)."""
        return (-0.5 * (z[:, None] - self.centres).square().sum(2)).softmax(1) @ self.logits


def tight_clusters(seed: int) -> Specimen:
    """Ten points with a large KL, and log 10 of information."""
    toy = Prototypes(classes=10, flip=0.02)
    x, y = toy.sample(2000, seed)
    centres = torch.randn(10, 16)
    encoder = NearestEncoder(toy.patterns, centres, scale=0.004)
    model = VAE(encoder, NearestDecoder(toy.patterns, centres, toy.flip), latent=16).eval()
    story = (
        "The code is the name of one of ten patterns, as one of ten dots of width 0.004: 88 nats of KL, log 10 inside."
    )
    return Specimen("tight-clusters", model, x, y, HOLE, frozenset({"tight clusters"}), story)


def batch_statistics(seed: int) -> Specimen:
    """Running statistics of images in 0 to 255, for images in 0 to 1."""
    x, y = images(seed)
    norm = nn.BatchNorm1d(64)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), norm, nn.ReLU(), nn.Linear(64, 8))
    model = VAE(encoder, MLPDecoder(DIGIT, 4, (64,)), latent=4)
    optimizer = train(model, x)
    with torch.no_grad():
        cast(Tensor, norm.running_mean).mul_(255)
        cast(Tensor, norm.running_var).mul_(255**2)
    story = (
        "Healthy in training mode; its running statistics are those of 0 to 255, so that in evaluation all codes agree."
    )
    word = frozenset({"collapsed", "off-prior collapse"})
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("batch-statistics", model, x, y, word, frozenset({"batch statistics"}), story, arguments)
