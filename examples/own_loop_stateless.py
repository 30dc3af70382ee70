"""A remedy without parameters in a training loop of one's own: three lines, marked 1 to 3."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from uncollapse import VAE, Codes, draw, metrics
from uncollapse.remedies import SelfCritic


def train(weight, steps=300):
    """A small VAE on binarised digits; returns the model and the data."""
    torch.manual_seed(0)
    x = torch.tensor(load_digits().data > 7.5).float()
    encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
    decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64))
    model = VAE(encoder, decoder, latent=8)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)

    critic = SelfCritic(weight=weight)  # 1: before the loop
    for _ in range(steps):
        batch = x[torch.randint(len(x), (64,))]
        one = draw(model, batch)
        loss = -one.elbo.mean()
        loss = loss + critic(one, model).mean()  # 2: in the step; critic(...) is (B,), averaging is yours
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        critic.after_step(model)  # 3: after the step; only schedules and state need it
    return model, x


def main():
    for weight in (0.0, 2.0):
        model, x = train(weight)
        bracket = metrics.mutual_information(Codes.of(model, x))
        print(f"self critic at weight {weight}: information between {bracket.lower:.2f} and {bracket.upper:.2f} nats")


if __name__ == "__main__":
    main()
