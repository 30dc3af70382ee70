"""Whether labels can be read from the codes: probes fitted on training codes and scored on test codes."""

import math
import warnings
from typing import Any

import torch

from uncollapse.codes import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics.estimate import Estimate, mean_estimate

__all__ = ["knn_probe", "linear_probe"]


def linear_probe(train_codes: Codes, test_codes: Codes, standardise: bool = False) -> Estimate:
    """Accuracy of logistic regression on posterior means.

    It is scikit-learn's `LogisticRegression(max_iter=1000)` (L-BFGS, C = 1) on the means in float64, as they
    are. C = 1 penalises small codes; `standardise=True` puts a `StandardScaler` fitted on the training codes in
    front, which removes that and lifts latents that are almost constant to the same footing.

    Arguments:
        train_codes: with labels; the probe is fitted on these.
        test_codes: with labels; the probe is scored on these.
        standardise: bring every latent to unit variance first.

    Returns:
        The share of test examples that are classified rightly.

    Raises:
        BadInput: when labels are missing, or the training codes hold one class only.

    References:
        Alain, Bengio, 2016, https://arxiv.org/abs/1610.01644.

    Example:
        >>> labels = torch.arange(100) % 2
        >>> mean = labels[:, None] + 0.1 * torch.randn(100, 3)
        >>> codes = uncollapse.Codes.from_gaussian(mean, torch.ones(100, 3), labels)
        >>> float(linear_probe(codes, codes))
        1.0
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe: Any = LogisticRegression(max_iter=1000)
    if standardise:
        probe = make_pipeline(StandardScaler(), probe)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        found = scored(probe, train_codes, test_codes, "linear_probe")
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        found.flags = (*found.flags, "not converged after 1,000 steps")
    return found


def knn_probe(train_codes: Codes, test_codes: Codes, k: int = 5) -> Estimate:
    """Accuracy of a vote among the k nearest training means, as scikit-learn's `KNeighborsClassifier(k)` counts it.

    Arguments:
        train_codes: with labels; the neighbours are searched among these.
        test_codes: with labels.
        k: voters, each with one vote; CR-VAE's scripts use 200.

    Returns:
        The share of test examples that are classified rightly.

    Raises:
        BadInput: when labels are missing, or k exceeds the number of training codes.

    Example:
        >>> labels = torch.arange(100) % 2
        >>> codes = uncollapse.Codes.from_gaussian(labels[:, None] * torch.ones(100, 3), torch.ones(100, 3), labels)
        >>> float(knn_probe(codes, codes))
        1.0
    """
    from sklearn.neighbors import KNeighborsClassifier

    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= len(train_codes):
        raise BadInput(f"k should be between 1 and the {len(train_codes)} training codes, got {k!r}")
    return scored(KNeighborsClassifier(k), train_codes, test_codes, "knn_probe")


def scored(probe: Any, train_codes: Codes, test_codes: Codes, user: str) -> Estimate:
    """Fit a scikit-learn classifier on one set of codes and score it on another."""
    from threadpoolctl import threadpool_limits

    if train_codes.labels is None or test_codes.labels is None:
        raise BadInput(f"{user} needs labels, and these codes have none; pass (x, labels) to Codes.of")
    for labels in (train_codes.labels, test_codes.labels):
        if labels.is_floating_point() and not torch.equal(labels, labels.round()):
            raise BadInput(f"{user} needs whole numbers as labels, got fractions; pass the class of each example")
    if train_codes.latent != test_codes.latent:
        raise BadInput(f"{user} needs codes of one model, got {train_codes.latent} and {test_codes.latent} latents")
    classes = len(set(train_codes.labels.tolist()))
    if classes < 2:
        raise BadInput(f"{user} needs at least two classes among the training codes, got one")
    with (
        threadpool_limits(1),
        warnings.catch_warnings(),
    ):  # two threads are ten times slower here: they wait for each other
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)  # said by a flag
        probe.fit(train_codes.mean.double().numpy(), train_codes.labels.numpy())
        right = probe.predict(test_codes.mean.double().numpy()) == test_codes.labels.numpy()
    found = mean_estimate(torch.as_tensor(right), "share")
    n, share = found.n, found.value
    flags = ("fewer than two training codes a class",) if 2 * classes > len(train_codes) else ()
    return Estimate(share, math.sqrt(share * (1 - share) / n), n, "share", flags)
