"""Data that need no file: scikit-learn's digits and the Gaussian mixture of the Forget-me-not report."""

import math

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.source import Source
from uncollapse.data.tensors import from_tensors
from uncollapse.errors import BadInput

__all__ = ["SOURCES", "digits", "gaussian_mixture"]

ALPAYDIN = "Alpaydin, Kaynak, 1998, Optical Recognition of Handwritten Digits, https://archive.ics.uci.edu/dataset/80"
MENON = (
    "Menon, Blei, Vondrick, 2022, Forget-me-not!, https://arxiv.org/abs/2207.09535; mixture of its re-implementation"
)


def digits(seed: int = 0, binarise: str = "dynamic") -> DataSet:
    """1,797 handwritten digits of 8x8 pixels in 17 grey levels, split 1,257 / 180 / 360 by class.

    Arguments:
        seed: of the split and of the fixed draws.
        binarise: "dynamic", "fixed" or "none".

    References:
        Alpaydin, Kaynak, 1998, https://archive.ics.uci.edu/dataset/80.

    Example:
        >>> digits().train.take(torch.arange(5)).shape
        torch.Size([5, 1, 8, 8])
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return from_tensors(
        bunch.images.astype(np.uint8)[:, None],
        bunch.target,
        name="digits",
        divisor=16,
        likelihood="bernoulli",
        binarise=binarise,
        fractions=(1257 / 1797, 180 / 1797, 360 / 1797),
        classes=[str(digit) for digit in range(10)],
        seed=seed,
        citation=ALPAYDIN,
        licence="CC BY 4.0",
    )


def gaussian_mixture(
    seed: int = 0, binarise: str = "none", size: int = 200_000, classes: int = 10, dimension: int = 16
) -> DataSet:
    r"""Classes as Gaussian balls, from the re-implementation report of Forget-me-not.

    Mean of a class: a random direction times $u \sim U(0, 40)$; covariance: $v I$ with $v \sim U(0, 8)$. The
    numbers always come from the generator with seed 1. The likelihood is Gaussian with variance 1/2, which is
    squared error with weight 1, as in the report.

    Arguments:
        seed: of the split, 81 / 9 / 10 %.
        binarise: only "none" makes sense.
        size: examples in all; the report has 20,000 a class.
        classes: number of Gaussians.
        dimension: of the data.

    Raises:
        BadInput: when a number makes no sense.

    Example:
        >>> gaussian_mixture(size=1000)
        DataSet('gaussian-mixture', (16,), train/valid/test 810/90/100, gaussian)
    """
    if binarise != "none":
        raise BadInput(f'the Gaussian mixture is not an image: binarise should be "none", got {binarise!r}')
    if classes < 1 or dimension < 1 or size < classes:
        raise BadInput(f"the mixture needs size >= classes >= 1 and dimension >= 1, got {size}, {classes}, {dimension}")
    generator = np.random.default_rng(1)
    direction = generator.standard_normal((classes, dimension))
    mean = direction / np.linalg.norm(direction, axis=1, keepdims=True) * generator.uniform(0, 40, (classes, 1))
    deviation = np.sqrt(generator.uniform(0, 8, (classes, 1)))
    y = np.arange(size) % classes
    x = mean[y] + deviation[y] * generator.standard_normal((size, dimension))
    return from_tensors(
        x,
        y,
        name="gaussian-mixture",
        likelihood="gaussian",
        scale=math.sqrt(0.5),
        fractions=(0.81, 0.09, 0.1),
        classes=[str(k) for k in range(classes)],
        seed=seed,
        citation=MENON,
        licence="none needed",
    )


SOURCES = (
    Source(
        name="digits",
        what="handwritten digits in 17 grey levels; comes with scikit-learn",
        shape=(1, 8, 8),
        size=(1257, 180, 360),
        load=digits,
        citation=ALPAYDIN,
        licence="CC BY 4.0",
    ),
    Source(
        name="gaussian-mixture",
        what="ten Gaussian balls in 16 dimensions; generated",
        shape=(16,),
        size=(162_000, 18_000, 20_000),
        load=gaussian_mixture,
        citation=MENON,
        licence="none needed",
        width=4,
    ),
)
