"""Training: `fit` against a bare hand-written loop, pythae's trainer and Lightning's Trainer; and against the floor.

Three models on random pictures of MNIST's size: an MLP VAE (784-512-512 with 64 latents, mirrored, B = 256), a
convolutional one (three layers each way, 32 and 64 channels, 32 latents, B = 256), and a tiny MLP VAE (64 hidden
units, 16 latents, B = 64), where overhead rules. Every party trains the same networks from the same weights for the
same number of steps, with Adam and a Bernoulli likelihood, everything included that it does around them; pythae and
Lightning load their batches by a DataLoader, as their documentation does, with logging, checkpoints and progress bars
switched off. The floor is the FLOPs of a step over the rate of a matrix product of B x 512 x 512.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.timing import gemm_rate, interleaved, ratio
from uncollapse import VAE, fit

PIXELS = 784


@dataclass
class Case:
    """A model and how it is trained."""

    hidden: int
    latent: int
    batch: int
    steps: int
    conv: bool = False

    def networks(self):
        torch.manual_seed(0)
        return self.convolutional() if self.conv else self.dense()

    def dense(self):
        h, d = self.hidden, self.latent
        encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(PIXELS, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, 2 * d)
        )
        decoder = nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, PIXELS))
        return encoder, decoder

    def convolutional(self):
        a, b, d = self.hidden // 2, self.hidden, self.latent
        encoder = nn.Sequential(
            nn.Conv2d(1, a, 4, 2, 1), nn.ReLU(), nn.Conv2d(a, b, 4, 2, 1), nn.ReLU(), nn.Conv2d(b, b, 3, 1, 1),
            nn.ReLU(), nn.Flatten(), nn.Linear(49 * b, 2 * d),
        )  # fmt: skip
        decoder = nn.Sequential(
            nn.Linear(d, 49 * b), nn.ReLU(), nn.Unflatten(1, (b, 7, 7)), nn.Conv2d(b, b, 3, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(b, a, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(a, 1, 4, 2, 1),
        )  # fmt: skip
        return encoder, decoder

    def data(self):
        shape = (self.batch * 20, 1, 28, 28) if self.conv else (self.batch * 20, PIXELS)
        return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.13).float()


MLP, CONV, TINY = Case(512, 64, 256, 300), Case(64, 32, 256, 60, conv=True), Case(64, 16, 64, 2000)


def ours(case, data, precision, device="cpu", **more):
    options = {"validate_every": case.steps, "keep": "last", "precision": precision, "device": device, **more}

    def run():
        model = VAE(*case.networks(), case.latent)
        fit(model, (data, data[: case.batch]), batches=case.steps, batch_size=case.batch, **options)

    return run


def negative_elbo(encoder, decoder, x):
    mean, log_variance = encoder(x).chunk(2, 1)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    rec = binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
    return (rec + kl) / len(x)


def bare(case, data, device="cpu"):
    """The loop that one would write by hand: no checks, no log, no validation."""

    def run():
        encoder, decoder = (net.to(device) for net in case.networks())
        optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3, fused=True)
        batches = len(data) // case.batch
        for step in range(case.steps):
            if step % batches == 0:
                order = torch.randperm(len(data), device=data.device)
            place = step % batches * case.batch
            loss = negative_elbo(encoder, decoder, data[order[place : place + case.batch]])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


def pythae(case, data, device="cpu"):
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
            self.net, self.latent_dim = net, case.latent

        def forward(self, x):
            mean, log_variance = self.net(x).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    config = peers.VAEConfig(input_dim=tuple(data.shape[1:]), latent_dim=case.latent, reconstruction_loss="bce")
    epochs = case.steps // (len(data) // case.batch)
    labels = torch.zeros(len(data))

    def run():
        encoder, decoder = case.networks()
        model = peers.VAE(config, encoder=Encoder(encoder), decoder=Decoder(decoder))
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            settings = BaseTrainerConfig(
                folder, num_epochs=epochs, per_device_train_batch_size=case.batch, learning_rate=1e-3,
                no_cuda=device == "cpu",
            )  # fmt: skip
            BaseTrainer(model, BaseDataset(data, labels), training_config=settings).train()

    return run


def lightning(case, data, device="cpu"):
    """The same networks in a LightningModule, trained by Lightning's Trainer."""
    from lightning import LightningModule, Trainer
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = case.networks()

        def training_step(self, batch, _):
            return negative_elbo(self.encoder, self.decoder, batch[0])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-3, fused=True)

    def run():
        loader = DataLoader(TensorDataset(data), batch_size=case.batch, shuffle=True, drop_last=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about workers and logging intervals
            trainer = Trainer(
                accelerator="cpu" if device == "cpu" else "gpu", devices=1, max_steps=case.steps, max_epochs=-1,
                logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            trainer.fit(Module(), loader)

    return run


def flops_of_step(case):
    """FLOPs of a training step: a forward and a backward pass of the networks."""
    from torch.utils.flop_counter import FlopCounterMode

    encoder, decoder = case.networks()
    with FlopCounterMode(display=False) as counter:
        negative_elbo(encoder, decoder, case.data()[: case.batch]).backward()
    return counter.get_total_flops()


def share_of_products(case, times, name):
    """The share of the GEMM rate that a run reaches, round by round."""
    rate = gemm_rate((case.batch, case.hidden, case.hidden), rounds=200)
    flops = flops_of_step(case) * case.steps
    shares = sorted(flops / seconds / rate for seconds in times[name])
    middle = shares[len(shares) // 2]
    return {
        "ratio": round(middle, 3), "min": round(shares[0], 3), "max": round(shares[-1], 3), "goal": ">= 0.75",
        "rounds": len(shares), "floor": round(flops / rate, 4), "seconds": {name: round(flops / rate / middle, 4)},
    }  # fmt: skip


def run(quick=False):
    """Time all parties in turn, model by model."""
    figures, rounds = {}, 3 if quick else 5
    for case in (MLP, CONV, TINY):
        case.steps = {300: 40, 60: 20, 2000: 200}[case.steps] if quick else case.steps
    data = MLP.data()
    parties = {"fit": ours(MLP, data, "32"), "bare": bare(MLP, data), "auto": ours(MLP, data, "auto")}
    times = interleaved(parties | {"pythae": pythae(MLP, data)}, rounds)
    figures["MLP: fit over a bare loop, fp32"] = ratio(times, "fit", "bare", "<= 1.03")
    figures["MLP: pythae over fit, fp32"] = ratio(times, "pythae", "fit", ">= 1.25")
    figures["MLP: pythae over fit, precision=auto"] = ratio(times, "pythae", "auto", ">= 2.3")
    figures["MLP: fit, share of the GEMM rate, fp32"] = share_of_products(MLP, times, "fit")
    data = CONV.data()
    parties = {"fit": ours(CONV, data, "32"), "auto": ours(CONV, data, "auto"), "pythae": pythae(CONV, data)}
    times = interleaved(parties, 3 if quick else 5)
    figures["conv: pythae over fit, fp32"] = ratio(times, "pythae", "fit", "none")
    figures["conv: pythae over fit, precision=auto"] = ratio(times, "pythae", "auto", ">= 1.75")
    data = TINY.data()
    parties = {"fit": ours(TINY, data, "32"), "bare": bare(TINY, data), "pythae": pythae(TINY, data)}
    times = interleaved(parties | {"Lightning": lightning(TINY, data)}, rounds)
    figures["tiny: fit over a bare loop"] = ratio(times, "fit", "bare", "<= 1.1")
    figures["tiny: pythae over fit"] = ratio(times, "pythae", "fit", ">= 1.5")
    figures["tiny: Lightning's Trainer over fit"] = ratio(times, "Lightning", "fit", ">= 1.5")
    return figures


def gpu(quick=False):
    """The same on a GPU, where data lie: pythae's trainer over `fit`, eager and compiled."""
    figures = {}
    for name, case in (("MLP", MLP), ("conv", CONV)):
        case.steps = 100 if quick else 1000
        data = case.data()
        parties = {
            "pythae": pythae(case, data, "cuda"), "auto": ours(case, data, "auto", "cuda"),
            "compiled": ours(case, data, "auto", "cuda", compile=True), "bare": bare(case, data.cuda(), "cuda"),
        }  # fmt: skip
        times = interleaved(parties, 3 if quick else 5)
        figures[f"GPU, {name}: pythae over fit, precision=auto"] = ratio(times, "pythae", "auto", "none")
        figures[f"GPU, {name}: pythae over fit, compiled"] = ratio(times, "pythae", "compiled", ">= 5")
        figures[f"GPU, {name}: fit over a bare loop"] = ratio(times, "auto", "bare", "<= 1.1")
    return figures
