"""Our loop against a bare hand-written one, and pythae's trainer against ours.

The model is an MLP VAE, 784-512-512 with 64 latents (encoder and decoder mirrored), batch 256, Adam, Bernoulli
likelihood, on random images of MNIST's size; every party trains the same networks from the same weights for the same
number of steps, everything included that it does around them.
"""

import contextlib
import io
import logging
import tempfile

import torch
from torch import nn

from benchmarks.timing import interleaved, ratio
from uncollapse import VAE, fit

HIDDEN, LATENT, BATCH = 512, 64, 256


def networks():
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 2 * LATENT),
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784)
    )
    return encoder, decoder


def ours(data, steps, precision):
    options = {"validate_every": steps, "keep": "last", "precision": precision, "device": "cpu"}

    def run():
        fit(VAE(*networks(), LATENT), (data, data[:BATCH]), batches=steps, batch_size=BATCH, **options)

    return run


def bare(data, steps):
    """The loop that one would write by hand: no checks, no log, no validation."""

    def run():
        encoder, decoder = networks()
        optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3, fused=True)
        for step in range(steps):
            if step % (len(data) // BATCH) == 0:
                order = torch.randperm(len(data))
            place = step % (len(data) // BATCH) * BATCH
            x = data[order[place : place + BATCH]]
            mean, log_variance = encoder(x).chunk(2, 1)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            rec = nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
            kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
            optimiser.zero_grad()
            ((rec + kl) / BATCH).backward()
            optimiser.step()

    return run


def pythae(data, steps):
    """The same networks in pythae's classes, trained by its own trainer with its default settings."""
    from pythae import models as peers
    from pythae.data.datasets import BaseDataset
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.disable(logging.INFO)

    class Encoder(BaseEncoder):
        def __init__(self, net):
            super().__init__()
            self.net, self.latent_dim = net, LATENT

        def forward(self, x):
            mean, log_variance = self.net(x).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    config = peers.VAEConfig(input_dim=(784,), latent_dim=LATENT, reconstruction_loss="bce")
    epochs = steps // (len(data) // BATCH)
    labels = torch.zeros(len(data))

    def run():
        encoder, decoder = networks()
        model = peers.VAE(config, encoder=Encoder(encoder), decoder=Decoder(decoder))
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            settings = BaseTrainerConfig(
                folder, num_epochs=epochs, per_device_train_batch_size=BATCH, learning_rate=1e-3, no_cuda=True
            )
            BaseTrainer(model, BaseDataset(data, labels), training_config=settings).train()

    return run


def run(quick=False):
    """Time all parties in turn."""
    steps = 40 if quick else 300
    data = (torch.rand(BATCH * 20, 784, generator=torch.Generator().manual_seed(0)) < 0.13).float()
    parties = {"fit": ours(data, steps, "32"), "bare": bare(data, steps), "auto": ours(data, steps, "auto")}
    parties["pythae"] = pythae(data, steps)
    times = interleaved(parties, rounds=3 if quick else 7)
    return {
        "fit over a bare loop, fp32": ratio(times, "fit", "bare", "<= 1.05"),
        "pythae over fit, fp32": ratio(times, "pythae", "fit", ">= 1.2"),
        "pythae over fit, precision=auto": ratio(times, "pythae", "auto", ">= 2"),
    }
