"""A VAE as tutorials write it, with a mistake that is often made: its diagnosis, and that of the model once mended.

The reconstruction is averaged over the pixels, the KL is not: for the gradients, the KL weighs 64 times as much.
"""

import torch
import torch.nn.functional as F
from torch import nn

import uncollapse


class TutorialVAE(nn.Module):
    def __init__(self, pixels=64, hidden=128, latent=8):
        super().__init__()
        self.fc1 = nn.Linear(pixels, hidden)
        self.fc_mu, self.fc_logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.fc3, self.fc4 = nn.Linear(latent, hidden), nn.Linear(hidden, pixels)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decode(z), mu, logvar


def averaged(recon, x, mu, logvar):
    """The mistake: a mean over pixels beside a sum over latents."""
    kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1)
    return F.binary_cross_entropy(recon, x) + kl.mean()


def summed(recon, x, mu, logvar):
    """The evidence lower bound."""
    kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1)
    return F.binary_cross_entropy(recon, x, reduction="none").sum(1).mean() + kl.mean()


def train(loss_of, data, steps=800):
    torch.manual_seed(0)
    model = TutorialVAE()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        x = data.train.take(torch.randint(len(data.train), (64,))).flatten(1)
        recon, mu, logvar = model(x)
        optimiser.zero_grad()
        loss_of(recon, x, mu, logvar).backward()
        optimiser.step()
    return model, optimiser


def main():
    data = uncollapse.data.load("digits")
    test = data.test.tensor().flatten(1)
    for loss in (averaged, summed):
        model, optimiser = train(loss, data)
        report = uncollapse.diagnose(model, test, loss=loss, optimizer=optimiser, likelihood="bernoulli")
        print(f"{loss.__name__}: {report.verdict.word}; {report.sentence}")
        bracket = report.evidence.bracket
        print(f"  information between {bracket.lower:.2f} and {bracket.upper:.2f} nats")
        for cause in report.causes[:1]:
            print(f"  {cause.cause}: {cause.sentence}")


if __name__ == "__main__":
    main()
