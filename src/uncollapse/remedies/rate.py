"""Remedies that reshape the KL: weights, schedules and thresholds.

Setting: `KL_j(x)` is the divergence of latent j's posterior from the prior, (B, D) nats. The objective minimises
the sum over j of what these remedies return, averaged over the batch. None of them looks at the data, so each can
hold the KL up without any information in it: read the mutual information beside it.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from uncollapse import schedules
from uncollapse.errors import BadInput
from uncollapse.remedies.base import Remedy, at_least_zero, one_of, shown
from uncollapse.schedules import Constant, Linear, Schedule, arrival, as_schedule

__all__ = ["Anneal", "Beta", "Capacity", "Cyclical", "FreeBits"]


class Beta(Remedy):
    r"""A constant weight on the KL.

    $r(\mathrm{KL}_j) = \beta\,\mathrm{KL}_j$; below 1 it keeps information at the price of a worse bound.

    Arguments:
        beta: the weight, at least 0.

    Raises:
        BadInput: when beta is negative or not finite.

    References:
        Higgins et al., 2017, https://openreview.net/forum?id=Sy2fzU9gl.

    Example:
        >>> Beta(0.5).rate(torch.ones(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    sources = (
        "Higgins et al., 2017, beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, "
        "https://openreview.net/forum?id=Sy2fzU9gl",
    )

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__(at_least_zero("beta", beta))

    def rate(self, kl: Tensor) -> Tensor:
        """The KL times the current weight, (B, D) nats."""
        return self.current_weight * kl

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"beta={shown(self.weight)}"


class Anneal(Remedy):
    r"""A KL weight that rises along a line (KL annealing, warm-up).

    $r(\mathrm{KL}_j) = w(t)\,\mathrm{KL}_j$ with w from `start` to `end` between step `delay` and `delay + over`.

    Arguments:
        over: length of the ramp, steps; or a schedule of one's own, which then stands alone.
        start, end: weights at both ends.
        delay: steps spent at `start` first.

    Raises:
        BadInput: when the ramp has no length, a weight is negative, or a schedule comes with the other arguments.

    References:
        Bowman et al., 2016, https://arxiv.org/abs/1511.06349, section 3.1;
        Sonderby et al., 2016, https://arxiv.org/abs/1602.02282 (linear).

    Example:
        >>> Anneal(over=10, start=0.1)
        Anneal(weight=Linear(start=0.1, end=1.0, over=10, delay=0))
    """

    sources = (
        "Bowman et al., 2016, Generating Sentences from a Continuous Space, https://arxiv.org/abs/1511.06349",
        "Sønderby et al., 2016, Ladder Variational Autoencoders, https://arxiv.org/abs/1602.02282",
    )

    def __init__(self, over: int | Schedule, start: float = 0.0, end: float = 1.0, delay: int = 0) -> None:
        if callable(over):
            if (start, end, delay) != (0.0, 1.0, 0):
                raise BadInput("Anneal takes either a schedule or over=, start=, end= and delay=, not both")
            super().__init__(over)
        else:
            super().__init__(
                Linear(
                    at_least_zero("start", start), at_least_zero("end", end), steps("over", over), steps("delay", delay)
                )
            )

    def rate(self, kl: Tensor) -> Tensor:
        """The KL times the current weight, (B, D) nats."""
        return self.current_weight * kl


class Cyclical(Remedy):
    r"""A KL weight that rises several times.

    $r(\mathrm{KL}_j) = w(t)\,\mathrm{KL}_j$; in each of M cycles of T / M steps, w rises linearly over the share R
    and then stays.

    Arguments:
        over: T, length of all cycles together, steps; afterwards the weight stays at `end`.
        cycles: M.
        ramp: R, share of a cycle that rises, in (0, 1].
        start, end: weights at the foot and on the plateau.

    Raises:
        BadInput: when there are fewer steps than cycles, R is out of range or a weight is negative.

    References:
        Fu et al., 2019, https://arxiv.org/abs/1903.10145, eq. 6-7.

    Example:
        >>> Cyclical(over=1000, cycles=2).arrives
        1000
    """

    sources = (
        "Fu et al., 2019, Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing, "
        "https://arxiv.org/abs/1903.10145",
    )

    def __init__(self, over: int, cycles: int = 4, ramp: float = 0.5, start: float = 0.0, end: float = 1.0) -> None:
        start, end = at_least_zero("start", start), at_least_zero("end", end)
        super().__init__(schedules.Cyclical(steps("over", over), steps("cycles", cycles), ramp, start, end))

    def rate(self, kl: Tensor) -> Tensor:
        """The KL times the current weight, (B, D) nats."""
        return self.current_weight * kl


FreeBitsMode = Literal["per_dimension", "per_example", "batch_mean"]


class FreeBits(Remedy):
    r"""A KL below a threshold costs nothing more to raise.

    Three variants go by this name; $\lambda$ is `floor`, $\langle\cdot\rangle$ the mean over the batch:

    - `batch_mean`: $\sum_j \max(\lambda, \langle \mathrm{KL}_j \rangle)$, Kingma's; the whole batch is free or not.
    - `per_dimension`: $\langle \sum_j \max(\lambda, \mathrm{KL}_j(x)) \rangle$, each example on its own.
    - `per_example`: $\langle \max(\lambda, \sum_j \mathrm{KL}_j(x)) \rangle$, the whole vector at once. The code of
      Li et al. (2019) multiplies by the indicator of KL(x) > lambda instead: the gradient is the same, the value
      then drops to 0.

    A floor on the KL is not a floor on information: a posterior that is constant in x meets it.

    Arguments:
        floor: lambda, nats, per latent (first two) or per example (last); 0.125 to 2 were useful in the paper.
        mode: which of the three.

    Raises:
        BadInput: when the floor is negative or the mode unknown.

    References:
        Kingma et al., 2016, https://arxiv.org/abs/1606.04934 (batch_mean);
        Li et al., 2020, https://arxiv.org/abs/2004.04092 (per_dimension);
        Li et al., 2019, https://arxiv.org/abs/1909.00868 (on the whole vector).

    Example:
        >>> kl = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]])
        >>> for mode in ("batch_mean", "per_dimension", "per_example"):
        ...     print(mode, round(FreeBits(0.5, mode).rate(kl).sum(1).mean().item(), 3))
        batch_mean 1.167
        per_dimension 1.667
        per_example 1.167
    """

    sources = (
        "Kingma et al., 2016, Improving Variational Inference with Inverse Autoregressive Flow, "
        "https://arxiv.org/abs/1606.04934",
        "Li et al., 2019, A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text, "
        "https://arxiv.org/abs/1909.00868",
    )

    def __init__(self, floor: float = 0.5, mode: FreeBitsMode = "per_dimension") -> None:
        super().__init__()
        self.floor = at_least_zero("floor", floor)
        self.mode = one_of("mode", mode, FreeBitsMode)

    def rate(self, kl: Tensor) -> Tensor:
        """The KL with its threshold, (B, D) nats; its sums and means are those of the formulas."""
        if self.mode == "per_dimension":
            return kl.clamp_min(self.floor)
        if self.mode == "batch_mean":
            return torch.where(kl.mean(0) > self.floor, kl, self.floor)
        return torch.where(kl.sum(1, keepdim=True) > self.floor, kl, self.floor / kl.shape[1])

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"floor={self.floor:g}, mode={self.mode!r}"


CapacityMode = Literal["batch_mean", "per_example"]


class Capacity(Remedy):
    r"""The total KL is drawn to a target that may rise.

    $\sum_j r_j = \gamma\,|\mathrm{KL} - C(t)|$; written latent by latent as
    $r_j = \gamma\,\operatorname{sign}(\mathrm{KL} - C)\,(\mathrm{KL}_j - C/D)$, which has the same sum and gradient,
    so it composes: `[Capacity(5, 10), Beta(2)]` doubles it, `[FreeBits(0.5), Capacity(5, 10)]` measures
    the KL after its floor. Put it after remedies that should act on the KL itself.

    Arguments:
        target: C, nats in total; or a schedule.
        strength: gamma, or a schedule.
        over: steps in which C rises from 0 to `target`; 0 starts there.
        mode: "batch_mean" draws the mean KL of the batch to C, "per_example" the KL of every example.

    Raises:
        BadInput: when a number is negative, the mode unknown, or a schedule comes with `over`.

    References:
        Burgess et al., 2018, https://arxiv.org/abs/1804.03599.

    Example:
        >>> Capacity(target=3.0, strength=10.0).rate(torch.ones(1, 2)).sum().item()
        10.0
    """

    sources = ("Burgess et al., 2018, Understanding disentangling in beta-VAE, https://arxiv.org/abs/1804.03599",)

    def __init__(
        self,
        target: float | Schedule = 5.0,
        strength: float | Schedule = 1.0,
        over: int = 0,
        mode: CapacityMode = "batch_mean",
    ) -> None:
        super().__init__(strength)
        if callable(target) and over:
            raise BadInput("Capacity takes either a schedule as target or over=, not both")
        if over and not callable(target):
            target = Linear(0.0, at_least_zero("target", target), steps("over", over))
        self.target = as_schedule(target)
        if isinstance(self.target, Constant):
            at_least_zero("target", self.target.value)
        self.mode = one_of("mode", mode, CapacityMode)

    @property
    def arrives(self) -> int:
        """The step at which target and strength are final."""
        return max(arrival(self.weight), arrival(self.target))

    def rate(self, kl: Tensor) -> Tensor:
        """The distance from the target, latent by latent, (B, D) nats; single entries may be negative."""
        target = self.target(self.step)
        total = kl.detach().sum(1, keepdim=True)
        above = ((total.mean() if self.mode == "batch_mean" else total) - target).sign()
        return self.current_weight * above * (kl - target / kl.shape[1])

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"target={shown(self.target)}, strength={shown(self.weight)}, mode={self.mode!r}"


def steps(what: str, value: Any) -> int:
    """A whole number of steps.

    Raises:
        BadInput: when it is not whole.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"{what} should be a whole number of steps, got {value!r}")
    return value
