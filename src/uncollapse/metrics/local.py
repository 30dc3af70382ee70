"""Which inputs a model has given up: what their codes hold against what the decoder could tell apart there."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.draw import Model
from uncollapse.errors import BadInput
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.information import information_draws
from uncollapse.metrics.spectrum import Spectrum

__all__ = ["LocalCollapse", "local_collapse"]

TAU = 0.1  #: share of epsilon(x) below which a code holds nothing to speak of
NOTHING = 0.1  #: nats below which a code holds nothing, whatever the decoder could tell apart


@dataclass(frozen=True, eq=False, repr=False)
class LocalCollapse:
    """What M inputs hold, one by one.

    Attributes:
        collapsed: share of the inputs that are collapsed by their KL.
        collapsed_by_information: the same by their information, which an empty KL does not fool.
        rows: (M,), which examples.
        kl: (M,) KL(q_i||p), nats.
        information: (M,) KL(q_i||q(z)), nats; noisy, and log N at most.
        information_se: (M,) its standard error over the draws, nats; NaN for one draw.
        epsilon: (M,) epsilon(x), nats: what a Laplace posterior would hold.
        spectrum: (M, D) eigenvalues behind epsilon, largest first.
        everywhere: (D,) eigenvalues of the mean over the inputs: 0 along a direction that is flat at all of them.
        kl_mask, information_mask: (M,), which inputs are collapsed by either rule.
        tau, floor: what they were held against.
    """

    collapsed: Estimate
    collapsed_by_information: Estimate
    rows: Tensor
    kl: Tensor
    information: Tensor
    information_se: Tensor
    epsilon: Tensor
    spectrum: Tensor
    everywhere: Tensor
    kl_mask: Tensor
    information_mask: Tensor
    tau: float
    floor: float

    def __repr__(self) -> str:
        return f"LocalCollapse(by KL: {self.collapsed}, by information: {self.collapsed_by_information})"


def local_collapse(
    model: Model,
    codes: Codes,
    rows: Tensor | None = None,
    x: Tensor | None = None,
    tau: float = TAU,
    floor: float = NOTHING,
    samples: int = 8,
    chunk: int | None = None,
    seed: int = 0,
) -> LocalCollapse:
    r"""Hold every input's KL and information against what its likelihood could tell apart.

    $x_i$ is collapsed where $\mathrm{KL}(q_i\|p) \le \max(\tau\,\varepsilon(x_i), \text{floor})$, with
    $\varepsilon(x) = \tfrac12\sum_d\log(1+\lambda_d)$ over the local spectrum of the decoder at the posterior mean: the
    information that a Laplace posterior $\mathcal N(\mu, (I + J^\top F J)^{-1})$ would hold under the prior N(0, I).
    The same is told of the information $\mathrm{KL}(q_i\|q(z))$, against the smaller of $\varepsilon(x_i)$ and log N,
    the most that N examples can show.

    Arguments:
        model: anything with `likelihood`, the one that the codes come from.
        codes: posteriors of N examples.
        rows: (M,), the examples to look at; all N if None.
        x: (M, *X), the inputs at `rows`; needed by autoregressive decoders only.
        tau: share of epsilon(x). A tenth, because a healthy posterior stays well above it: in a linear Gaussian model
            even the input at the centre, whose KL is smallest, has 0.28 of epsilon at lambda = 1 and 0.6 at 10.
        floor: nats that count as nothing where the decoder could tell little apart as well, so that a model whose
            decoder is flat is not called healthy for a KL of 0.001. 0 gives the bare definition.
        samples: draws behind the information of every input.
        chunk: as for `local_spectrum`.
        seed: of the draws, and of a sampled Fisher information.

    Returns:
        A `LocalCollapse`. Its shares are of the inputs with a finite spectrum, and carry the flag "sampled" where the
        Fisher information was.

    Raises:
        BadInput: when tau or the floor is negative, or rows and x do not fit.
        ShapeError, Unsupported: as `local_spectrum`.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, for epsilon(x)-collapse, with epsilon left open;
        this estimator of it is our own.

    Example:
        >>> from uncollapse.testing import LinearVAE
        >>> model = LinearVAE(torch.tensor([[2.0], [1.0]]), noise=0.5, posterior="diagonal")
        >>> found = local_collapse(model, uncollapse.Codes.of(model, model.simulate(200)))
        >>> found.collapsed, found.epsilon.mean()
        (0.000 ± 0.000 share (n = 200), tensor(1.1989, dtype=torch.float64))
    """
    for name, value in (("tau", tau), ("floor", floor)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise BadInput(f"{name} should be a finite number of at least 0, got {value!r}")
    rows = torch.arange(len(codes)) if rows is None else torch.as_tensor(rows)
    draws = information_draws(codes, rows, samples, seed)
    spectrum = Spectrum.of(model, codes.mean[rows], x, chunk, seed=seed)
    rate, epsilon = codes.kl[rows].double().sum(1), spectrum.epsilon
    information = draws.mean(0)
    spread = draws.std(0) / math.sqrt(samples) if samples > 1 else torch.full_like(information, math.nan)
    by_kl = rate <= (tau * epsilon).clamp(min=floor)
    by_information = information <= (tau * epsilon.clamp(max=math.log(len(codes)))).clamp(min=floor)
    shares = [share(mask, epsilon, spectrum.flags) for mask in (by_kl, by_information)]
    return LocalCollapse(
        shares[0], shares[1], rows, rate, information, spread, epsilon, spectrum.eigenvalues, spectrum.everywhere,
        by_kl, by_information, tau, floor,
    )  # fmt: skip


def share(mask: Tensor, epsilon: Tensor, flags: tuple[str, ...]) -> Estimate:
    """The share of collapsed inputs among those whose epsilon (M,) is finite."""
    known = epsilon.isfinite()
    if not known.all():
        flags = (*flags, f"{int((~known).sum())} of {len(known)} inputs without a finite spectrum")
    return mean_estimate(mask[known].double(), "share", flags)
