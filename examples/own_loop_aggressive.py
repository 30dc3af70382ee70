"""Aggressive training in a loop of one's own: it gets hold of the loop through an `Inner`; three lines, 1 to 3."""

from contextlib import contextmanager

import torch
from sklearn.datasets import load_digits

from uncollapse import VAE, Codes, draw, metrics, nets
from uncollapse.remedies import Aggressive


class Inner:
    """What a remedy may do ahead of a step: draw batches, compute the loss, move a part of the model."""

    def __init__(self, model, train, valid):
        self.model, self.train, self.valid, self.epoch = model, train, valid, 0.0
        self.members = {"encoder": model.encoder, "decoder": model.decoder}
        self.optimisers = {name: torch.optim.Adam(part.parameters(), 1e-2) for name, part in self.members.items()}
        self.x = self.batch()

    def batch(self):
        return self.train[torch.randint(len(self.train), (64,))]

    def loss(self, x):
        return -draw(self.model, x).elbo

    def step(self, loss, *parts):
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        loss.mean().backward()
        for part in parts:
            self.optimisers[part].step()

    @contextmanager
    def only(self, *parts):
        """No gradients for the others."""
        others = [p for name, part in self.members.items() if name not in parts for p in part.parameters()]
        for parameter in others:
            parameter.requires_grad_(False)
        yield
        for parameter in others:
            parameter.requires_grad_(True)

    def validation(self):
        yield from self.valid.split(64)


def train(aggressive, steps=30):
    """A VAE whose decoder sees the pixels before each pixel, on binarised digits; returns model, data, inner steps."""
    torch.manual_seed(0)
    x = torch.tensor(load_digits().images > 7.5).float().unsqueeze(1)
    small = {"channels": 16, "kernels": (5, 3), "bottleneck": 8, "activation": "relu", "latent_maps": 4}
    model = VAE(nets.MLPEncoder((1, 8, 8), 8, hidden=(64,)), nets.PixelCNN((1, 8, 8), 8, **small), latent=8)
    inner = Inner(model, x[:1400], x[1400:])

    lagging = Aggressive(most=20, gradients="encoder")  # 1: before the loop
    for step in range(steps):
        inner.x, inner.epoch = inner.batch(), 64 * step / len(inner.train)
        frozen = lagging.before_step(inner) if aggressive else frozenset()  # 2: ahead of the step
        inner.step(inner.loss(inner.x), *(set(inner.members) - frozen))
        lagging.after_step(model)  # 3: after the step
    return model, x, lagging.total_inner_steps


def main():
    for aggressive in (False, True):
        model, x, steps = train(aggressive)
        bracket = metrics.mutual_information(Codes.of(model, x))
        print(
            f"{'aggressive' if aggressive else 'plain'}: information between {bracket.lower:.2f} and "
            f"{bracket.upper:.2f} nats, {steps} steps of the encoder alone"
        )


if __name__ == "__main__":
    main()
