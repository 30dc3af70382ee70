"""Digits, small networks and a bare training loop: what most models of the gallery are made of."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from uncollapse.data import digits
from uncollapse.distributions import Reader, bernoulli
from uncollapse.draw import VAE, Model, draw
from uncollapse.nets import MLPDecoder, MLPEncoder

__all__ = ["BATCH", "DIGIT", "images", "negative_elbo", "perceptrons", "settle", "train"]

DIGIT = (1, 8, 8)
BATCH = 128

Loss = Callable[[VAE, Tensor], Tensor]


def images(seed: int, binarise: str = "fixed") -> tuple[Tensor, Tensor]:
    """1,257 digits (N, 1, 8, 8) with their labels (N,); which ones, and which pixels are inked, depends on the seed."""
    part = digits(seed, binarise).train
    assert part.y is not None
    return part.tensor(), part.y


def perceptrons(latent: int, hidden: int = 64, read_x: Reader = bernoulli, shape: tuple[int, ...] = DIGIT) -> VAE:
    """A VAE of two perceptrons with one hidden layer each."""
    encoder, decoder = MLPEncoder(shape, latent, (hidden,)), MLPDecoder(shape, latent, (hidden,))
    return VAE(encoder, decoder, latent, read_x=read_x)


def negative_elbo(model: Model, x: Tensor) -> Tensor:
    """The usual loss of a batch: summed over pixels and latents, averaged over examples; nats."""
    return -draw(model, x).elbo.mean()


def train(
    model: VAE,
    x: Tensor,
    loss: Loss = negative_elbo,
    steps: int = 600,
    rate: float = 3e-3,
    parameters: Iterable[nn.Parameter] | None = None,
    batch: int = BATCH,
) -> Optimizer:
    """Train in place, on random batches, and leave the model in evaluation mode.

    Arguments:
        model: trained in place.
        x: (N, *X).
        loss: of a model and a batch, a scalar.
        steps: of Adam.
        rate: of learning.
        parameters: which ones the optimiser moves; all if None.
        batch: examples a step.

    Returns:
        The optimiser.
    """
    optimizer = Adam(model.parameters() if parameters is None else parameters, rate)
    model.train()
    for _ in range(steps):
        value = loss(model, x[torch.randint(len(x), (batch,))])
        model.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.zero_grad()
    model.eval()
    return optimizer


def settle(model: VAE, x: Tensor, steps: int = 300) -> Optimizer:
    """Train the decoder alone."""
    return train(model, x, steps=steps, parameters=model.decoder.parameters())
