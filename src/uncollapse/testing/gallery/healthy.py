"""Models that carry information in every latent: a diagnosis has to leave them in peace."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from uncollapse.distributions import FixedGaussian
from uncollapse.draw import VAE
from uncollapse.nets import ConvDecoder, ConvEncoder
from uncollapse.testing.gallery.specimen import Specimen
from uncollapse.testing.gallery.training import DIGIT, images, negative_elbo, perceptrons, train
from uncollapse.testing.linear import LinearVAE

__all__ = [
    "discrete_codes",
    "healthy",
    "healthy_2d",
    "healthy_conv",
    "healthy_gaussian",
    "huge",
    "learned_prior",
    "redundant_latents",
]

HEALTHY: frozenset[str] = frozenset({"healthy"})
NOTHING: frozenset[str | None] = frozenset({None})


def healthy(seed: int) -> Specimen:
    """Perceptrons on binary digits, 4 latents."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    optimizer = train(model, x)
    story = "Trained on the plain negative ELBO; each of its four latents carries more than half a nat."
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("healthy", model, x, y, HEALTHY, NOTHING, story, arguments)


def healthy_2d(seed: int) -> Specimen:
    """Two latents, as people choose them for a picture."""
    x, y = images(seed)
    model = perceptrons(latent=2)
    train(model, x)
    story = "Trained on the plain negative ELBO with two latents, nothing declared; both carry about a nat."
    return Specimen("healthy-2d", model, x, y, HEALTHY, NOTHING, story)


def healthy_gaussian(seed: int) -> Specimen:
    """Grey digits under a Gaussian likelihood of fixed variance."""
    x, y = images(seed, "none")
    model = perceptrons(latent=4, read_x=FixedGaussian(0.25))
    train(model, x)
    story = "Grey digits with decoder variance 0.06, below the four largest eigenvalues of the data (0.4 to 0.7)."
    return Specimen("healthy-gaussian", model, x, y, HEALTHY, NOTHING, story, {"weight": 1.0})


def healthy_conv(seed: int) -> Specimen:
    """Convolutions on both sides."""
    x, y = images(seed, "none")
    plan = {"widths": (16,), "kernels": (4,), "strides": (2,), "padding": (1,), "hidden": 64}
    encoder, decoder = ConvEncoder(DIGIT, 2, **plan), ConvDecoder(DIGIT, 2, **plan)  # type: ignore[arg-type]
    model = VAE(encoder, decoder, latent=2, read_x=FixedGaussian(0.25))
    optimizer = train(model, x, steps=300, rate=4e-3)
    story = (
        "A convolution on each side, grey digits, a Gaussian likelihood, the plain negative ELBO: both latents carry."
    )
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("healthy-conv", model, x, y, HEALTHY, NOTHING, story, arguments)


def discrete_codes(seed: int) -> Specimen:
    """Data made of coins, so that the codes gather at the corners of a cube."""
    bits = (torch.rand(2000, 5) < 0.5).float()
    flips = (torch.rand(2000, 40) < 0.02).float()
    x = (bits.repeat_interleave(8, 1) - flips).abs()
    model = perceptrons(latent=5, shape=(40,))
    train(model, x, steps=500, rate=1e-2)
    story = (
        "Five fair coins, eight noisy pixels each: the codes lie in 32 heaps because the data do, and that is right."
    )
    return Specimen("discrete-codes", model, x, None, HEALTHY, NOTHING, story, {"loss": negative_elbo})


class Learned(nn.Module):
    """A Gaussian prior that is trained with the model, (D,)."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.mean, self.log_scale = nn.Parameter(mean), nn.Parameter(torch.zeros_like(mean))

    def forward(self) -> Distribution:
        """p(z): batch (), event (D,)."""
        return Independent(Normal(self.mean, self.log_scale.exp()), 1)


def learned_prior(seed: int) -> Specimen:
    """A prior far from N(0, I), with the codes where it is."""
    x, y = images(seed)
    corner = 8 * torch.randn(4).sign()
    model = perceptrons(latent=4)
    model.given_prior = Learned(corner)
    with torch.no_grad():
        cast(nn.Linear, model.encoder.head).bias[:4] = corner
        first = cast(nn.Linear, cast(nn.Sequential, model.decoder.body)[0])
        first.bias.sub_(first.weight @ corner)
    optimizer = train(model, x)
    story = "The prior was trained too and sits 8 away from 0 in every latent; the codes fill it, so there is no hole."
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("learned-prior", model, x, y, HEALTHY, NOTHING, story, arguments)


def huge(seed: int) -> Specimen:
    """200,000 codes of a linear model with its exact posterior."""
    basis = torch.linalg.qr(torch.randn(24, 16)).Q
    weight = basis * torch.linspace(1.0, 3.0, 16).sqrt()
    model = LinearVAE(weight, noise=0.5, posterior="diagonal").eval()
    x = model.simulate(200_000, seed)
    story = "A linear model with orthogonal directions, data drawn from it, and its exact posterior; 200,000 examples."
    return Specimen("huge", model, x, None, HEALTHY, NOTHING, story)


def redundant_latents(seed: int) -> Specimen:
    """Four latents for two directions."""
    basis = torch.linalg.qr(torch.randn(12, 2)).Q
    weight = 1.5 * basis.repeat_interleave(2, 1)
    model = LinearVAE(weight, noise=0.25, posterior="diagonal").eval()
    x = model.simulate(2000, seed)
    story = (
        "Latents 0 and 1 enter the decoder as a sum only, and so do 2 and 3: all carry, half of them the same thing."
    )
    causes = frozenset({"non-identifiable directions", "more latents than the data support"})
    return Specimen("redundant-latents", model, x, None, HEALTHY, causes, story)
