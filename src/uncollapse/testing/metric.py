"""Controls that any metric of latents should pass, on codes whose answers are known."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from uncollapse.codes import Codes, private_stream
from uncollapse.errors import BadInput

__all__ = [
    "check_metric",
    "cluster_codes",
    "collapsed_codes",
    "constant_codes",
    "gaussian_codes",
    "reordered",
]

Expected = float | tuple[float, float]


def collapsed_codes(n: int = 500, latent: int = 8, seed: int = 0) -> Codes:
    """Every posterior equals the prior: nothing is known, and nothing is paid.

    Example:
        >>> float(collapsed_codes().kl.sum())
        0.0
    """
    return constant_codes(n, latent, 0.0, seed)


def constant_codes(n: int = 500, latent: int = 8, mean: float = 4.0, seed: int = 0) -> Codes:
    """Every posterior is N(mean, I): the KL is latent * mean² / 2 nats, the information 0.

    Example:
        >>> float(constant_codes(latent=16).kl.sum(1).mean())
        128.0
    """
    return Codes.from_gaussian(torch.full((n, latent), mean), torch.ones(n, latent), seed=seed)


def gaussian_codes(information: float, n: int = 2000, latent: int = 8, seed: int = 0) -> Codes:
    r"""Codes with a known I(x;z), spread evenly over the latents, whose aggregate posterior is the prior.

    $x \sim \mathcal N(0, I)$, $z|x \sim \mathcal N(\sqrt{1 - s^2}\,x, s^2 I)$ with $s = e^{-I/D}$. The x
    are standardised and decorrelated, so that two moments are exact: then the mean KL is the information too.

    Arguments:
        information: I(x;z), nats, at least 0.
        n: examples, more than `latent`.
        latent: D.
        seed: of x and of the samples.

    Example:
        >>> codes = gaussian_codes(3.0)
        >>> round(float(codes.kl.sum(1).mean()), 4)
        3.0
    """
    if information < 0 or n <= latent:
        raise BadInput(f"gaussian_codes expects information >= 0 and n > latent, got {information}, {n} and {latent}")
    x = torch.randn(n, latent, generator=private_stream(seed, "x"), dtype=torch.float64)
    x = x - x.mean(0)
    factor = torch.linalg.cholesky(x.T @ x / n)
    x = torch.linalg.solve_triangular(factor, x.T, upper=False).T
    scale = math.exp(-information / latent)
    return Codes.from_gaussian(math.sqrt(1 - scale**2) * x, torch.full_like(x, scale), seed=seed)


def cluster_codes(clusters: int = 10, each: int = 100, latent: int = 8, scale: float = 1e-3, seed: int = 0) -> Codes:
    """Tight clusters far apart, the same posterior within each: the information is log(clusters). Labels name them.

    Example:
        >>> cluster_codes(3, each=2).labels
        tensor([0, 1, 2, 0, 1, 2])
    """
    centres = torch.randn(clusters, latent, generator=private_stream(seed, "centres"))
    labels = torch.arange(clusters).repeat(each)
    return Codes.from_gaussian(centres[labels], torch.full((len(labels), latent), scale), labels, seed)


def reordered(codes: Codes, seed: int = 0) -> Codes:
    """The same examples in another order.

    Example:
        >>> len(reordered(collapsed_codes(10)))
        10
    """
    order = torch.randperm(len(codes), generator=private_stream(seed, "reordered"))
    return taken(codes, order)


def check_metric(
    metric: Callable[..., Any],
    read: Callable[[Any], float] = float,
    *,
    collapsed: Expected | None = None,
    constant: Expected | None = None,
    gaussian: Expected | None = None,
    permuted: Expected | None = None,
    information: float = 3.0,
    latent: int = 8,
    sampled: bool = True,
    chunked: bool = False,
    tolerance: float = 1e-6,
) -> None:
    """Run the public controls on a metric of `Codes`.

    Arguments:
        metric: a function of `Codes`.
        read: picks the number out of what the metric returns.
        collapsed: what it should return when every posterior is the prior: a number (met within `tolerance`) or a
            pair of limits. None skips a control.
        constant: ... when every posterior is N(4, I), with a KL of 8 * latent nats and no information.
        gaussian: ... on `gaussian_codes(information, 2000, latent)`.
        permuted: ... on those with the samples shuffled between the examples.
        information: of the Gaussian control, nats.
        latent: D of all controls.
        sampled: False if the metric must not depend on the seed of the samples.
        chunked: True if the metric takes `chunk=`, on which the result must not depend.
        tolerance: absolute below 1, relative above; also for the order of the rows and for chunks, checked always.

    Raises:
        AssertionError: naming the control that failed, the value and the expectation.

    Example:
        >>> from uncollapse.metrics import mutual_information
        >>> check_metric(mutual_information, lambda b: b.lower, collapsed=0, constant=0, permuted=0, chunked=True)
    """
    known = gaussian_codes(information, 2000, latent)
    controls = {
        "collapsed": (collapsed_codes(500, latent), collapsed),
        "constant": (constant_codes(500, latent), constant),
        "gaussian": (known, gaussian),
        "permuted": (known.permuted(), permuted),
    }
    for name, (codes, expected) in controls.items():
        if expected is not None:
            require(read(metric(codes)), expected, tolerance, f"the {name} control")
    value = read(metric(known))
    require(read(metric(reordered(known))), value, tolerance, "reordered examples")
    if not sampled:
        again = gaussian_codes(information, 2000, latent)
        other = Codes(again.mean, again.scale, again.mean - (again.sample - again.mean), again.kl)
        require(read(metric(other)), value, tolerance, "other samples")
    if chunked:
        for chunk in (1, 7, 5000):
            part = taken(known, torch.arange(200))
            require(read(metric(part, chunk=chunk)), read(metric(part)), tolerance, f"chunk={chunk}")


def taken(codes: Codes, rows: Tensor) -> Codes:
    """Some rows of a table of codes."""
    scale = None if codes.scale is None else codes.scale[rows]
    labels = None if codes.labels is None else codes.labels[rows]
    return Codes(codes.mean[rows], scale, codes.sample[rows], codes.kl[rows], labels)


def require(value: float, expected: Expected, tolerance: float, control: str) -> None:
    """Raise unless the value is as expected."""
    if isinstance(expected, tuple):
        low, high = expected
    else:
        slack = tolerance * max(1.0, abs(expected))
        low, high = expected - slack, expected + slack
    if not low <= value <= high:
        raise AssertionError(f"{control} should give {low:.6g} to {high:.6g}, got {float(value):.6g}")
