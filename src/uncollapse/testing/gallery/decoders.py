"""Models in which encoder and decoder do not fit each other, and decoders that can do without a code."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.draw import VAE
from uncollapse.nets import MLPEncoder
from uncollapse.nets.autoregressive import Autoregressive
from uncollapse.testing.gallery.specimen import Specimen
from uncollapse.testing.gallery.training import images, negative_elbo, perceptrons, settle, train

__all__ = ["Chain", "ChainDecoder", "autoregressive_decoder", "decoder_ignores_z", "lagging_encoder", "walks"]

STRIP = (1, 4, 8)
FLIP = 0.05


class Silent(nn.Module):
    """Multiplies the code by 0."""

    def forward(self, z: Tensor) -> Tensor:
        """Zeros (B, D)."""
        return 0 * z


def decoder_ignores_z(seed: int) -> Specimen:
    """A good code that is multiplied by 0 on its way into the decoder."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    train(model, x)
    model.decoder = nn.Sequential(Silent(), model.decoder)
    settle(model, x)
    story = (
        "A healthy model whose decoder then got 0 in place of z and was trained on: the code is there, nobody reads it."
    )
    word = "decoder ignores z"
    return Specimen("decoder-ignores-z", model, x, y, frozenset({word}), frozenset({word}), story)


class Chain(nn.Module):
    """Logits of a pixel from the pixel before it, plus a context: the exact model of `walks`."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor, context: Tensor) -> Tensor:
        """Logits (B, 1, h, W) for images (B, 1, h, W) and context (B, 1, h, W)."""
        before = F.pad(2 * images.flatten(1)[:, :-1] - 1, (1, 0))
        return context + self.gain * before.reshape(images.shape)


class ChainDecoder(nn.Module):
    """An autoregressive decoder: z adds to the logits of every pixel, (B, D) to images (1, 4, 8)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.chain, self.context = Chain(), nn.Linear(latent, 32)

    def forward(self, z: Tensor) -> Autoregressive:
        """p(x|z), batch (B,), event (1, 4, 8)."""
        return Autoregressive(self.chain, self.context(z).reshape(-1, *STRIP), STRIP)


def walks(n: int) -> Tensor:
    """Chains of 32 pixels, each the one before it or, with probability 0.05, its opposite, (N, 1, 4, 8)."""
    turns = torch.cat([torch.randint(2, (n, 1)), (torch.rand(n, 31) < FLIP).long()], 1)
    return (turns.cumsum(1) % 2).float().reshape(n, *STRIP)


def autoregressive_decoder(seed: int) -> Specimen:
    """Markov chains under a decoder that sees the pixel before."""
    x = walks(2000)
    model = VAE(MLPEncoder(STRIP, 4, (64,)), ChainDecoder(4), latent=4)
    train(model, x, steps=300, rate=3e-2, parameters=model.decoder.parameters())  # first as a model of x alone
    optimizer = train(model, x, steps=500, rate=2e-3)
    story = "Each pixel depends on the one before it only, which the decoder sees: no code can add anything to that."
    causes = frozenset({"autoregressive decoder"})
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("autoregressive-decoder", model, x, None, frozenset({"collapsed"}), causes, story, arguments)


def lagging_encoder(seed: int) -> Specimen:
    """A decoder that uses z, behind an encoder that says next to nothing."""
    x, y = images(seed)
    model = perceptrons(latent=4)
    optimizer = train(model, x)
    head = cast(nn.Linear, model.encoder.head)
    with torch.no_grad():
        head.weight.mul_(0.02)
        head.bias.mul_(0.02)
    story = "The decoder learnt from posteriors that used z; then the encoder's head shrank fiftyfold: it is behind."
    causes = frozenset({"inference lag"})
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("lagging-encoder", model, x, y, frozenset({"collapsed"}), causes, story, arguments)
