"""Fidelity and diversity of generated samples, by nearest neighbours in a feature space with a name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uncollapse.distributions import describe
from uncollapse.errors import BadInput, ShapeError
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.neighbours import Space

__all__ = ["DensityCoverage", "coverage", "density", "density_coverage", "precision", "recall"]

Features = Callable[[Any], Tensor]


class Likeness(NamedTuple):
    """The four fields of `DensityCoverage`."""

    density: Estimate
    coverage: Estimate
    precision: Estimate
    recall: Estimate


class DensityCoverage(Likeness):
    """Fidelity (density, precision) and diversity (coverage, recall) of generated samples.

    Attributes:
        density: mean number of real neighbourhoods that hold a fake, over k; may exceed 1.
        coverage: share of real neighbourhoods that hold a fake.
        precision: share of fakes in some real neighbourhood.
        recall: share of reals in some fake neighbourhood.
        features: name of the feature space.
        k: the neighbour that sets the radius.
    """

    features: str
    k: int


def density_coverage(real: Any, fake: Any, k: int = 5, features: Features | None = None) -> DensityCoverage:
    r"""Compare generated samples with real ones through balls that reach to the k-th nearest neighbour.

    With $r_i$ the distance from real i to its k-th nearest other real,
    $\text{density} = \frac{1}{kM}\sum_{j}\sum_i 1[d(y_j, x_i) < r_i]$ and
    $\text{coverage} = \frac1N\sum_i 1[\min_j d(y_j, x_i) < r_i]$. Of equal distributions the density is 1 and the
    coverage $1 - \prod_{i=1}^k \frac{N-i}{2N-i}$ for M = N. Never use the latents of the model under test as features:
    a collapsed model would look perfect.

    Arguments:
        real: (N, *X), N > k.
        fake: (M, *X), M > k.
        k: which neighbour sets the radius.
        features: a fixed function from either set to (N, F), named by its `__name__`; "pixels", that is the
            flattened values, if None.

    Returns:
        A `DensityCoverage`. Distances are compared exactly (float64 differences wherever float32 cannot decide),
        the memory is a few rows of distances and a copy of the features, and standard errors treat the radii as fixed.

    Raises:
        ShapeError: when the two sets differ in shape.
        BadInput: when a set has k examples or fewer, or a value is not finite.

    References:
        Naeem, Oh, Uh, Choi, Yoo, 2020, https://arxiv.org/abs/2002.09797, eq. 3 and 4;
        Kynkäänniemi et al., 2019, https://arxiv.org/abs/1904.06991, for precision and recall.

    Example:
        >>> likeness = density_coverage(torch.randn(200, 4), torch.randn(200, 4))
        >>> likeness.features, 0.8 < likeness.coverage <= 1
        ('pixels', True)
    """
    x, y = (table(data, features, name) for data, name in ((real, "real"), (fake, "fake")))
    if x.shape[1] != y.shape[1]:
        raise ShapeError(f"real and fake examples should have one shape, got {x.shape[1]} and {y.shape[1]} features")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < min(len(x), len(y)):
        raise BadInput(f"k should be at least 1 and below the {len(x)} real and {len(y)} fake examples, got {k!r}")
    space = Space(x, y)
    inside, covered, recalled = space.compare(space.radii(0, k), space.radii(1, k))
    found = DensityCoverage(
        mean_estimate(inside / k, "ratio"),
        mean_estimate(covered, "share"),
        mean_estimate((inside > 0).double(), "share"),
        mean_estimate(recalled, "share"),
    )
    found.features, found.k = "pixels" if features is None else name_of(features), k
    return found


def density(real: Any, fake: Any, k: int = 5, features: Features | None = None) -> Estimate:
    """Mean number of real neighbourhoods that hold a fake, over k; see `density_coverage`."""
    return density_coverage(real, fake, k, features).density


def coverage(real: Any, fake: Any, k: int = 5, features: Features | None = None) -> Estimate:
    """Share of real neighbourhoods that hold a fake; see `density_coverage`."""
    return density_coverage(real, fake, k, features).coverage


def precision(real: Any, fake: Any, k: int = 5, features: Features | None = None) -> Estimate:
    """Share of fakes in some real neighbourhood; see `density_coverage`."""
    return density_coverage(real, fake, k, features).precision


def recall(real: Any, fake: Any, k: int = 5, features: Features | None = None) -> Estimate:
    """Share of reals in some fake neighbourhood; see `density_coverage`."""
    return density_coverage(real, fake, k, features).recall


def table(data: Any, features: Features | None, name: str) -> Tensor:
    """Features (N, F) in float64."""
    data = data.tensor() if hasattr(data, "batches") else data
    with torch.no_grad():
        values = torch.as_tensor(data if features is None else features(data))
    if values.ndim < 2 or not len(values) or (features is not None and values.ndim != 2):
        expected = "(N, *X)" if features is None else "(N, F) from the feature function"
        raise ShapeError(f"density and coverage need {name} examples {expected}, got {describe(values)}")
    values = values.detach().flatten(1).double()
    if not values.isfinite().all():
        raise BadInput(f"the {name} examples hold NaN or infinite values")
    return values


def name_of(features: Features) -> str:
    """How a feature function is called."""
    return str(getattr(features, "__name__", type(features).__name__))
