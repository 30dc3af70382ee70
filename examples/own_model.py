"""Somebody else's encoder and decoder, measured without touching them."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from uncollapse import VAE, Codes, fit, metrics


class TheirEncoder(nn.Module):
    """As it came: returns a pair (mu, logvar)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten())
        self.mu, self.logvar = nn.Linear(256, 8), nn.Linear(256, 8)

    def forward(self, image):
        """Mean and log-variance."""
        features = self.conv(image)
        return self.mu(features), self.logvar(features)


class TheirDecoder(nn.Module):
    """As it came: returns the logits of a sigmoid."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64), nn.Unflatten(1, (1, 8, 8)))

    def forward(self, code):
        """Logits of the pixels."""
        return self.net(code)


def main():
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.images > 7.5).float().unsqueeze(1)
    model = VAE(TheirEncoder(), TheirDecoder(), latent=8)
    fit(model, x, batches=300, lr=2e-3)

    codes = Codes.of(model, (x, digits.target))
    bracket = metrics.mutual_information(codes)
    units = metrics.active_units(codes)
    print(f"information between {bracket.lower:.2f} and {bracket.upper:.2f} nats of at most {bracket.ceiling:.2f}")
    spectrum = ", ".join(f"{value:.3f}" for value in units.spectrum.tolist())
    print(f"active units: {units:.0f} of {codes.latent}; Var(mean) per latent: {spectrum}")


if __name__ == "__main__":
    main()
