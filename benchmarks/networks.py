"""A training step of our PixelCNN and LSTM VAEs against the published reference's operations, run plainly in fp32.

The reference is the public code of He, Spokoyny, Neubig and Berg-Kirkpatrick, 2019 (https://arxiv.org/abs/1901.05534,
repository jxhe/vae-lagging-encoder, modules/decoders/dec_pixelcnn_v2.py, modules/encoders/enc_resnet_v2.py,
modules/decoders/dec_lstm.py, modules/encoders/enc_lstm.py, image.py and text.py), its operations written down afresh:
masks of full size that are multiplied into the weights at every pass, z's maps concatenated with the image, a sigmoid
and logarithms, two optimisers in their plain forms, the gradient clipped to 5. Sizes are the published ones:
28x28 images in batches of 50, z of 32; texts in batches of 32, z of 32, word vectors of 512, LSTMs of 1024, 20,001
words. The reference trains on batches of one length; for several lengths it packs and pads. Texts have 40 words here,
about half of what Yahoo's have; longer ones only make the fixed part of a step (optimiser, casts of weights) smaller.
Ours is what `fit` does in one step, with the same clip and the published optimiser. One thread. `flops` is their work
over ours: what kernels cropped to what may be seen, and rows without padding, are worth alone.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import gemm_rate, interleaved, ratio, threads
from uncollapse.data import DataSet, Part, as_data
from uncollapse.fit import Loop
from uncollapse.nets import build_vae
from uncollapse.objective import Objective
from uncollapse.plan import Settings
from uncollapse.resume import RunFolder

LATENT, CLIP, GOAL = 32, 5.0, ">= 1.6"
IMAGES, TEXTS, WORDS, LONGEST = 50, 32, 20_001, 40
KERNELS = (7,) * 5 + (5,) * 4 + (3,) * 4


class Masked(nn.Conv2d):
    """Their masked convolution: the mask is written into the weights before every pass."""

    def __init__(self, into, out, kernel, hidden, late):
        super().__init__(into, out, kernel, padding=kernel // 2, bias=False)
        mask = torch.ones_like(self.weight)
        mask[:, :hidden, kernel // 2, kernel // 2 + late :] = 0
        mask[:, :hidden, kernel // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x):
        self.weight.data.mul_(self.mask)
        return super().forward(x)


class Block(nn.Module):
    """Their residual block."""

    def __init__(self, channels, kernel):
        super().__init__()
        half = channels // 2
        self.main = nn.Sequential(
            nn.Conv2d(channels, half, 1, bias=False), nn.BatchNorm2d(half), nn.ELU(),
            Masked(half, half, kernel, half, 1), nn.BatchNorm2d(half), nn.ELU(),
            nn.Conv2d(half, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x):
        return F.elu(self.main(x) + x)


class PixelDecoder(nn.Module):
    """Their PixelCNN in its large mode."""

    def __init__(self, channels=64):
        super().__init__()
        self.spread = nn.Linear(LATENT, 4 * 28 * 28)
        self.first = nn.Sequential(Masked(5, channels, KERNELS[0], 1, 0), nn.BatchNorm2d(channels), nn.ELU())
        self.blocks = nn.ModuleList(Block(channels, kernel) for kernel in KERNELS[1:])
        self.jumps = nn.ModuleList(Block(channels, kernel) for kernel in KERNELS[1:-1])
        self.last = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ELU(),
            nn.Conv2d(channels, 1, 1, bias=False), nn.Sigmoid(),
        )  # fmt: skip

    def error(self, x, z):
        maps = self.spread(z).view(len(x), 4, 28, 28)
        outputs = [self.first(torch.cat([x, maps], 1))]
        for place, block in enumerate(self.blocks):
            h = outputs[-1] + self.jumps[place - 2](outputs.pop(0)) if place > 1 else outputs[-1]
            outputs.append(block(h))
        ink = self.last(outputs[-1] + self.jumps[-1](outputs[0])).flatten(1)
        x = x.flatten(1)
        return -((ink + 1e-12).log() * x + (1 - ink + 1e-12).log() * (1 - x)).sum(1)


class Residual(nn.Module):
    """Their encoder's block."""

    def __init__(self, into, out):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(into, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ELU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.side = nn.Sequential(nn.Conv2d(into, out, 1, 2, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        return F.elu(self.main(x) + self.side(x))


def image_encoder():
    return nn.Sequential(
        Residual(1, 64), Residual(64, 64), Residual(64, 64),
        nn.Conv2d(64, 512, 4, bias=False), nn.BatchNorm2d(512), nn.ELU(), nn.Flatten(), nn.Linear(512, 2 * LATENT),
    )  # fmt: skip


class TextEncoder(nn.Module):
    """Their LSTM encoder; with lengths (B,), longest first, it packs."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(WORDS, 512), nn.LSTM(512, 1024, batch_first=True)
        self.linear = nn.Linear(1024, 2 * LATENT, bias=False)

    def forward(self, x, lengths=None):
        words = self.embed(x)
        _, (last, _) = self.lstm(packed(words, lengths))
        return self.linear(last[0])


class TextDecoder(nn.Module):
    """Their LSTM decoder, which scores padding too and gives it no weight."""

    def __init__(self):
        super().__init__()
        self.embed, self.start = nn.Embedding(WORDS, 512), nn.Linear(LATENT, 1024, bias=False)
        self.lstm = nn.LSTM(512 + LATENT, 1024, batch_first=True)
        self.predict = nn.Linear(1024, WORDS, bias=False)
        self.loss = nn.CrossEntropyLoss(torch.ones(WORDS).index_fill(0, torch.tensor([0]), 0.0), reduction="none")

    def error(self, x, z, lengths=None):
        words = F.dropout(self.embed(x[:, :-1]), 0.5)
        told = torch.cat([words, z.unsqueeze(1).expand(-1, words.shape[1], -1)], -1)
        cell = self.start(z).unsqueeze(0)
        out, _ = self.lstm(packed(told, None if lengths is None else lengths - 1), (cell.tanh(), cell))
        out = out if lengths is None else pad_packed_sequence(out, batch_first=True)[0]
        scores = self.predict(F.dropout(out, 0.5))
        return self.loss(scores.view(-1, WORDS), x[:, 1:].flatten()).view(len(x), -1).sum(1)


def packed(words, lengths):
    return words if lengths is None else pack_padded_sequence(words, lengths.tolist(), batch_first=True)


def reference(encoder, decoder, optimiser, x, *lengths):
    """A call that makes one of their training steps."""
    parts = [*encoder.parameters(), *decoder.parameters()]
    optimisers = [optimiser(part.parameters()) for part in (encoder, decoder)]

    def step():
        for one in optimisers:
            one.zero_grad()
        mean, log_variance = encoder(x, *lengths).chunk(2, 1)
        z = mean + torch.randn_like(mean) * log_variance.mul(0.5).exp()
        kl = 0.5 * (mean.pow(2) + log_variance.exp() - log_variance - 1).sum(1)
        loss = (decoder.error(x, z, *lengths) + kl).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(parts, CLIP)
        for one in optimisers:
            one.step()
        return loss.item()

    return step


def ours(model, data, precision, **settings):
    """A call that makes one of `fit`'s training steps."""
    plan = Settings.of(batches=10**6, clip=CLIP, device="cpu", precision=precision, **settings)
    loop = Loop(model, data, Objective(), plan, RunFolder(None))
    loop.learn()
    return loop.one_step


def image_steps():
    """Their and our step of the image VAE."""
    torch.manual_seed(0)
    x = (torch.rand(IMAGES, 1, 28, 28) < 0.13).float()
    theirs = reference(image_encoder(), PixelDecoder(), partial(torch.optim.Adam, lr=1e-3), x)
    data = as_data((x, x))
    return {"reference": theirs} | {
        precision: ours(build_vae("resnet", "pixelcnn", (1, 28, 28), LATENT), data, precision, batch_size=IMAGES)
        for precision in ("32", "auto")
    }


def text_steps(lengths):
    """Their and our step of the text VAE for texts of these lengths (B,), longest first, the end token included."""
    torch.manual_seed(0)
    longest = int(lengths.max())
    x = torch.randint(4, WORDS, (len(lengths), longest))
    x[torch.arange(len(x)), lengths - 1] = 2
    x = x * (torch.arange(longest) < lengths.unsqueeze(1))
    told = () if bool((lengths == longest).all()) else (lengths + 1,)
    theirs = reference(TextEncoder(), TextDecoder(), partial(torch.optim.SGD, lr=1.0), F.pad(x, (1, 0), value=1), *told)
    part = Part(x, tokens=True)
    data = DataSet("texts", part, part, part, likelihood="tokens", vocabulary=tuple(map(str, range(WORDS))))
    settings = {"batch_size": len(x), "optimiser": "plain-sgd", "lr": 1.0}
    return {"reference": theirs} | {
        precision: ours(
            build_vae("lstm-he2019", "lstm-he2019", (longest,), LATENT, {"tokens": WORDS}), data, precision, **settings
        )
        for precision in ("32", "auto")
    }


def recurrent(lengths, padded):
    """FLOPs of both LSTMs, forward and backward, which the counter does not see."""
    steps = len(lengths) * (int(lengths.max()) + 0.5) if padded else float(lengths.sum()) + len(lengths) / 2
    return 3 * 2 * 4 * 1024 * steps * ((512 + 1024) + (512 + LATENT + 1024))


def flops(step, more=0.0):
    """FLOPs of a step, its backward pass included."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() + more


def compared(what, parties, rounds, more=(0.0, 0.0)):
    """Both figures of one pair of networks; FLOPs are theirs over ours, the floor is ours at the measured rate."""
    work = {name: flops(parties[name], extra) for name, extra in zip(("reference", "32"), more, strict=True)}
    times = interleaved(parties, rounds)
    figures = {}
    for name, kind in (("32", torch.float32), ("auto", torch.bfloat16)):
        row = ratio(times, "reference", name, GOAL if name == "auto" else "none")
        row |= {
            "flops": round(work["reference"] / work["32"], 2),
            "floor": round(work["32"] / gemm_rate(dtype=kind), 3),
        }
        figures[f"reference {what} step over ours, precision {name}"] = row
    return figures


def run(quick=False):
    """Time theirs and ours in turn."""
    rounds, longest = (1, 16) if quick else (5, LONGEST)
    equal, mixed = torch.full((TEXTS,), longest), torch.linspace(longest, longest // 2, TEXTS).long()
    with threads(1):
        figures = compared("PixelCNN", image_steps(), rounds)
        figures |= compared("LSTM", text_steps(equal), rounds, (recurrent(equal, True),) * 2)
        more = (recurrent(mixed, False), recurrent(mixed, True))
        return figures | compared("LSTM, texts of several lengths,", text_steps(mixed), rounds, more)
