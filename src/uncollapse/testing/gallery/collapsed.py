"""Models whose codes say nothing, or whose latents are dead in part."""

from typing import cast

import torch
from torch import Tensor, nn

from uncollapse.distributions import FixedGaussian
from uncollapse.draw import VAE, draw
from uncollapse.nets import MLPDecoder
from uncollapse.testing.gallery.specimen import Specimen
from uncollapse.testing.gallery.training import BATCH, DIGIT, images, negative_elbo, perceptrons, settle, train
from uncollapse.testing.linear import LinearVAE

__all__ = [
    "Constant",
    "active_on_samples",
    "constant_off_prior",
    "dead_head",
    "encoder_left_out",
    "frozen_head",
    "half_dead",
    "one_class_collapsed",
    "posterior_at_prior",
    "sixty_four_latents",
    "untrained",
]

COLLAPSED: frozenset[str] = frozenset({"collapsed"})
PARTIAL: frozenset[str] = frozenset({"partial collapse"})
DEAD: frozenset[str | None] = frozenset({"dead encoder head"})
SURPLUS: frozenset[str | None] = frozenset({"more latents than the data support"})


class Constant(nn.Module):
    """An encoder with the same N(mean, I) for every input.

    Arguments:
        mean: (D,).
    """

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, (B, D) each."""
        mean = self.mean.expand(len(x), -1)
        return mean, torch.zeros_like(mean)


def constant(level: float, latent: int, x: Tensor) -> VAE:
    """A constant encoder at `level` with a decoder that was trained on its samples."""
    model = VAE(Constant(torch.full((latent,), level)), MLPDecoder(DIGIT, latent, (64,)), latent)
    settle(model, x)
    return model


def posterior_at_prior(seed: int) -> Specimen:
    """q(z|x) = p(z), exactly."""
    x, y = images(seed)
    story = "The encoder returns N(0, I) whatever it is shown: KL and information are exactly 0."
    arguments = {"loss": negative_elbo}
    return Specimen("posterior-at-prior", constant(0.0, 8, x), x, y, COLLAPSED, DEAD, story, arguments)


def constant_off_prior(seed: int) -> Specimen:
    """q(z|x) = N(4, I): 128 nats of KL and no information."""
    x, y = images(seed)
    story = "The encoder returns N(4, I) whatever it is shown: 16 latents have a KL of 128 nats and carry nothing."
    word = frozenset({"off-prior collapse"})
    return Specimen("constant-off-prior", constant(4.0, 16, x), x, y, word, DEAD, story, {"loss": negative_elbo})


def active_on_samples(seed: int) -> Specimen:
    """32 latents that look alive where activity is counted on samples."""
    x, y = images(seed)
    model = perceptrons(latent=32)
    train(model, x, lambda model, x: heavier(model, x, 30.0), steps=400)
    story = "Trained with beta = 30: samples of all 32 latents have a variance near 1, their means have next to none."
    causes = frozenset({"KL weight too large"})
    return Specimen("active-on-samples", model, x, y, COLLAPSED, causes, story, {"weight": 30.0})


def heavier(model: VAE, x: Tensor, weight: float | Tensor) -> Tensor:
    """Negative ELBO with a weight, for all or for every example (B,), on the KL."""
    one = draw(model, x)
    return (weight * one.kl.sum(1) - one.log_px[0]).mean()


def half_dead(seed: int) -> Specimen:
    """8 latents for data with 4 directions above the noise."""
    basis = torch.linalg.qr(torch.randn(16, 16)).Q
    spectrum = torch.cat([torch.tensor([6.0, 5.0, 4.0, 3.0]), torch.full((12,), 0.2)])
    x = torch.randn(2000, 16) * spectrum.sqrt() @ basis.T
    x = x - x.mean(0)
    model = LinearVAE.optimal(torch.cov(x.T), latent=8, noise=0.5).eval()
    story = (
        "The optimum of a linear VAE: 4 eigenvalues of the data exceed the decoder's variance, so 4 of 8 latents live."
    )
    return Specimen("half-dead", model, x, None, PARTIAL, SURPLUS, story)


def sixty_four_latents(seed: int) -> Specimen:
    """64 latents, because that is what the last project had."""
    x, y = images(seed, "none")
    model = perceptrons(latent=64, read_x=FixedGaussian(0.3))
    optimizer = train(model, x)
    story = "64 latents with decoder variance 0.09, which no more than 16 eigenvalues of the grey digits exceed."
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("sixty-four-latents", model, x, y, PARTIAL, SURPLUS, story, arguments)


def one_class_collapsed(seed: int) -> Specimen:
    """Zeros sit on the prior, the other digits do not."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(700):
        rows = torch.randint(len(x), (BATCH,))
        value = heavier(model, x[rows], 1 + 99 * (y[rows] == 0))
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    optimizer.zero_grad()
    story = (
        "The KL of zeros was weighted a hundredfold in training: their posteriors are the prior, the others are not."
    )
    return Specimen("one-class-collapsed", model.eval(), x, y, PARTIAL, frozenset({"class collapsed"}), story)


def dead_head(seed: int) -> Specimen:
    """No hidden unit of the encoder ever fires."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    with torch.no_grad():
        cast(nn.Linear, cast(nn.Sequential, model.encoder.trunk)[1]).bias.fill_(-50.0)
    optimizer = train(model, x, steps=400)
    story = "The biases before the ReLU started at -50: no hidden unit fires for any input, and no gradient gets past."
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("dead-head", model, x, y, COLLAPSED, DEAD, story, arguments)


def frozen_head(seed: int) -> Specimen:
    """The last layer of the encoder is zero and not trained."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    for parameter in cast(nn.Linear, model.encoder.head).parameters():
        nn.init.zeros_(parameter).requires_grad_(False)
    optimizer = train(model, x, steps=400, parameters=[p for p in model.parameters() if p.requires_grad])
    story = (
        "The head was set to zero and frozen, and the optimiser got what asks for gradients: nothing reaches the code."
    )
    causes = DEAD | {"encoder outside the optimiser"}
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("frozen-head", model, x, y, COLLAPSED, causes, story, arguments)


def encoder_left_out(seed: int) -> Specimen:
    """The optimiser was given the decoder alone."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    optimizer = settle(model, x, steps=500)
    story = "The optimiser holds the decoder's parameters only; the encoder is as it was initialised, and says nothing."
    causes = frozenset({"encoder outside the optimiser"})
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("encoder-left-out", model, x, y, COLLAPSED, causes, story, arguments)


def untrained(seed: int) -> Specimen:
    """As initialised."""
    x, y = images(seed)
    model = perceptrons(latent=8)
    optimizer = torch.optim.Adam(model.parameters())
    story = "Never trained: the likelihood is worse than that of the mean image, and the codes say nothing."
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("untrained", model.eval(), x, y, COLLAPSED, frozenset({"untrained model"}), story, arguments)
