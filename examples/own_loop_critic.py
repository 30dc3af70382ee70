"""A critic with networks of its own in a loop of one's own: its parameters join the optimiser; three lines, 1 to 3.

The loop computes everything itself, as existing code does, and fills a `Draw` from what it has.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from uncollapse import VAE, Codes, Draw, metrics
from uncollapse.remedies import NeuralCritic


def train(weight, steps=300):
    """A small VAE on binarised digits; returns a view on the networks, the critic and the data."""
    torch.manual_seed(0)
    x = torch.tensor(load_digits().data > 7.5).float()
    encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 16))
    decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64))
    view = VAE(encoder, decoder, latent=8)  # only borrows the two networks
    prior = Independent(Normal(torch.zeros(8), torch.ones(8)), 1)

    critic = NeuralCritic(shape=(64,), latent=8, weight=weight)  # 1: before the loop
    optimiser = torch.optim.Adam([*view.parameters(), *critic.parameters()], lr=2e-3)
    for _ in range(steps):
        batch = x[torch.randint(len(x), (64,))]
        mean, log_variance = encoder(batch).chunk(2, dim=1)
        q = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
        z = q.rsample()
        px = Independent(Bernoulli(logits=decoder(z)), 1)
        loss = (kl_divergence(q, prior) - px.log_prob(batch)).mean()
        one = Draw(batch, q, z[None], px.expand((1, len(batch))), prior)  # z is (K, B, D)
        loss = loss + critic(one, view).mean()  # 2: in the step
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        critic.after_step(view)  # 3: after the step
    return view, critic, x


def main():
    for weight in (0.0, 2.0):
        view, critic, x = train(weight)
        bracket = metrics.mutual_information(Codes.of(view, x))
        print(
            f"neural critic at weight {weight}: information between {bracket.lower:.2f} and {bracket.upper:.2f} nats "
            f"(a batch of 64 lets it add {critic.ceiling(64):.2f} at most)"
        )


if __name__ == "__main__":
    main()
