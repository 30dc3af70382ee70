"""Latent reconstruction in a training loop of one's own: three lines, marked 1 to 3, and what to read beside it.

Squared error and a KL weight below 1, as in its paper: nearly collapsed, so that a push is enough.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from uncollapse import VAE, Codes, draw, metrics
from uncollapse.distributions import FixedGaussian
from uncollapse.remedies import LatentReconstruction


def train(weight, steps=200, beta=0.3):
    """A small VAE on digits; returns the model and the data."""
    torch.manual_seed(0)
    x = torch.tensor(load_digits().data / 16).float()
    encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
    decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64))
    model = VAE(encoder, decoder, latent=8, read_x=FixedGaussian(1.0))
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)

    latent = LatentReconstruction(weight=weight, warmup=100, share=1.0)  # 1: before the loop
    for _ in range(steps):
        batch = x[torch.randint(len(x), (64,))]
        one = draw(model, batch)
        loss = (beta * one.kl.sum(1) - one.log_px.mean(0)).mean()
        loss = loss + latent(one, model).mean()  # 2: in the step
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        latent.after_step(model)  # 3: after the step; the warm-up counts them
    return model, x


def main():
    for weight in (0.0, 3.0):
        codes = Codes.of(*train(weight))
        bracket, mismatch = metrics.mutual_information(codes), metrics.kl(codes).joint_mismatch
        print(
            f"latent reconstruction at weight {weight}: information between {bracket.lower:.2f} and "
            f"{bracket.upper:.2f} nats; aggregate posterior {mismatch:.2f} nats from the prior"
        )


if __name__ == "__main__":
    main()
