"""A collapsed checkpoint becomes informative again; what it was before and what it is after."""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from uncollapse import VAE, Objective, data, fit, nets, rescue
from uncollapse.remedies import Beta


def make_model(shape):
    """A decoder that sees the pixels before each pixel can do without z."""
    torch.manual_seed(0)
    decoder = nets.PixelCNN(shape, 8, channels=16, kernels=(5, 3), bottleneck=8, activation="relu", latent_maps=2)
    return VAE(nets.MLPEncoder(shape, 8, hidden=(64,)), decoder, latent=8)


def main():
    digits = data.load("digits")
    with tempfile.TemporaryDirectory() as place:
        # somebody's checkpoint: the KL was too dear while it was trained
        fit(make_model(digits.shape), digits, Objective([Beta(4.0)]), batches=200, lr=5e-3, folder=Path(place) / "run")

        model = make_model(digits.shape)
        model.load_state_dict(load_file(Path(place) / "run" / "weights.safetensors"))
        rescued = rescue(model, digits, batches=300, pretrain=75, anneal=150, lr=5e-3, folder=Path(place) / "rescue")

    print(rescued)
    for name, one in {"before": rescued.before, "after": rescued.after}.items():
        lower, upper = one.metrics["mi_lower"], one.metrics["mi_upper"]
        print(f"{name}: {one.verdict.word}, information between {lower:.2f} and {upper:.2f} nats")


if __name__ == "__main__":
    main()
