"""A remedy with a key encoder that follows the model's, in a loop of one's own: three lines, marked 1 to 3."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from uncollapse import VAE, Codes, draw, metrics
from uncollapse.remedies import MomentumContrast


def train(weight, steps=300):
    """A small VAE on binarised digits; returns the model, the remedy and the data."""
    torch.manual_seed(0)
    x = torch.tensor(load_digits().images > 7.5).float().unsqueeze(1)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
    decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64), nn.Unflatten(1, (1, 8, 8)))
    model = VAE(encoder, decoder, latent=8)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)  # the remedy has nothing to train

    remedy = MomentumContrast(encoder, latent=8, weight=weight, augment="crop", queue=512)  # 1: before the loop
    for _ in range(steps):
        batch = x[torch.randint(len(x), (64,))]
        one = draw(model, batch)
        loss = -one.elbo.mean()
        loss = loss + remedy(one, model).mean()  # 2: in the step; views are made in here
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        remedy.after_step(model)  # 3: after the step: the key encoder follows, the keys join the queue
    return model, remedy, x


def main():
    for weight in (0.0, 10.0):
        model, remedy, x = train(weight)
        bracket = metrics.mutual_information(Codes.of(model, x))
        print(
            f"momentum contrast at weight {weight}: information between {bracket.lower:.2f} and {bracket.upper:.2f} "
            f"nats ({len(remedy.bank.filled)} keys in the queue)"
        )


if __name__ == "__main__":
    main()
