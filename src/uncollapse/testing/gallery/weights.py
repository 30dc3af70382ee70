"""Models trained with another loss than their user believes, or stopped on the way."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.distributions import FixedGaussian, diagonal
from uncollapse.draw import VAE, draw
from uncollapse.objective import Objective
from uncollapse.remedies import Anneal
from uncollapse.testing.gallery.specimen import Specimen
from uncollapse.testing.gallery.training import images, negative_elbo, perceptrons, train
from uncollapse.testing.toy import Prototypes, ToyModel

__all__ = [
    "beta_6144",
    "beta_zero",
    "kl_mean_reduced",
    "noisy_decoder",
    "pixel_mean_loss",
    "reconstruction_loss",
    "schedule_unfinished",
    "summed_and_averaged_loss",
]

LARGE: frozenset[str | None] = frozenset({"KL weight too large"})
SMALL: frozenset[str | None] = frozenset({"KL weight too small"})
COLLAPSED: frozenset[str] = frozenset({"collapsed"})


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from N(0, I) latent by latent, (B, D) nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def summed_and_averaged_loss(x_hat: Tensor, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Cross-entropy summed over the pixels, KL averaged over the latents: beta is 1 / D."""
    cross_entropy = F.binary_cross_entropy(x_hat, x, reduction="sum") / len(x)
    return cross_entropy + divergence(mean, log_variance).mean()


def pixel_mean_loss(x_hat: Tensor, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Squared error averaged over the pixels, KL summed over the latents: beta is (pixels / 2) / variance."""
    return F.mse_loss(x_hat, x) + divergence(mean, log_variance).sum(1).mean()


def reconstruction_loss(model: VAE, x: Tensor) -> Tensor:
    """Negative log likelihood and nothing else: beta is 0."""
    return -draw(model, x).log_px.mean()


def classic(loss: object, model: VAE, x: Tensor) -> Tensor:
    """A loss of (x_hat, x, mean, log_variance), fed by a model."""
    one = draw(model, x)
    mean, scale = diagonal(one.q, "the loss")
    value: Tensor = loss(one.px.mean[0], x, mean, 2 * scale.log())  # type: ignore[operator]
    return value


def kl_mean_reduced(seed: int) -> Specimen:
    """KL averaged over 16 latents."""
    x, y = images(seed)
    model = perceptrons(latent=16)
    optimizer = train(model, x, partial(classic, summed_and_averaged_loss))
    story = "The loss averages the KL over 16 latents and sums the cross-entropy over pixels, so that beta is 1/16."
    arguments = {"loss": summed_and_averaged_loss, "optimizer": optimizer}
    return Specimen("kl-mean-reduced", model, x, y, frozenset({"healthy"}), SMALL, story, arguments)


def beta_6144(seed: int) -> Specimen:
    """Squared error averaged over 12,288 pixels."""
    small, y = images(seed, "none")
    x = F.interpolate(small[:400], size=64, mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    model = perceptrons(latent=8, hidden=16, read_x=FixedGaussian(1.0), shape=(3, 64, 64))
    with torch.no_grad():  # the decoder starts as the mean image, as is usual, so that little remains to be learnt
        model.decoder.head.weight.zero_()  # type: ignore[operator, union-attr]
        model.decoder.head.bias.copy_(x.mean(0).flatten())  # type: ignore[operator, union-attr]
    train(model, x, partial(classic, pixel_mean_loss), steps=200, rate=1e-3, batch=32)
    story = "Squared error averaged over 3 x 64 x 64 pixels beside a summed KL: beta is 6,144 at unit variance."
    return Specimen("beta-6144", model, x, y[:400], COLLAPSED, LARGE, story, {"loss": pixel_mean_loss})


def beta_zero(seed: int) -> Specimen:
    """No KL in the loss."""
    x, y = images(seed)
    model = perceptrons(latent=2)
    nn.init.normal_(model.encoder.head.weight, std=2.0)  # type: ignore[arg-type, union-attr]
    train(model, x, reconstruction_loss)
    story = "The loss has no KL: nothing pulls back the codes, and most samples of the prior hit none of them."
    return Specimen("beta-zero", model, x, y, frozenset({"prior hole"}), SMALL, story, {"loss": reconstruction_loss})


def noisy_decoder(seed: int) -> Specimen:
    """A decoder variance that no direction of the data exceeds."""
    x, y = Prototypes().sample(2000, seed)
    model = ToyModel(latent=4, scale=2.0)
    optimizer = train(model, x)
    story = "Decoder variance 4, while no direction of the data has a variance above 0.37: collapse is the optimum."
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("noisy-decoder", model, x, y, COLLAPSED, frozenset({"decoder noise too large"}), story, arguments)


def schedule_unfinished(seed: int) -> Specimen:
    """Stopped while the KL weight was 0.1."""
    x, y = images(seed)
    model, objective = perceptrons(latent=4), Objective([Anneal(over=6000)])

    def loss(model: VAE, x: Tensor) -> Tensor:
        terms = objective.of(model, x)
        objective.after_step(model)
        return torch.stack(list(terms.values())).sum(0).mean()

    optimizer = train(model, x, loss)
    story = "KL annealing over 6,000 steps, stopped after 600: the weight had come to 0.1."
    causes = frozenset({"schedule not finished"})
    arguments = {"objective": objective, "optimizer": optimizer}
    return Specimen("schedule-unfinished", model, x, y, frozenset({"healthy"}), causes, story, arguments)
