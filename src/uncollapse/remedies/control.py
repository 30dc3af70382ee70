r"""Remedies that steer: name the KL or the distortion that is wanted, and the weight between the two finds itself.

Setting: the loss is `distortion + w * KL`. The larger w, the smaller the KL; each class moves w after every step by
what the batch showed. The weight is a tensor on the model's device, so that no step waits for a number. None of them
looks at the information: a KL of R nats carries at most R nats of it, and may carry less.

Two traps. The KL that is steered is the one that reaches the remedy, so name it before remedies that reshape the KL.
What is best by the plain bound is not what was asked for, so checkpoints are compared by the distance from the target.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uncollapse.draw import Draw, Model
from uncollapse.errors import BadInput
from uncollapse.remedies.base import Remedy, at_least_zero, one_of, shown
from uncollapse.schedules import Constant, Schedule, arrival, as_schedule

__all__ = ["GECO", "ControlVAE", "TargetRate"]


class Multiplier(nn.Module):
    r"""A positive number that climbs while an error is positive and falls while it is negative.

    $\bar e_t = \alpha\,\bar e_{t-1} + (1-\alpha)\,e_t$, bias corrected, and
    $\log w_{t+1} = \log w_t + \eta\,\operatorname{clip}(\bar e_t, -1, 1)$, bounded.

    Arguments:
        start: w at first.
        speed: eta, the largest change of log w in a step.
        smoothing: alpha, memory of the moving average.
        lowest, highest: bounds of w.
        user: named in errors.
    """

    log_value: Tensor
    average: Tensor
    mass: Tensor

    def __init__(self, start: float, speed: float, smoothing: float, lowest: float, highest: float, user: str) -> None:
        super().__init__()
        if not (isinstance(smoothing, int | float) and 0 <= smoothing < 1):
            raise BadInput(f"smoothing of {user} should be at least 0 and below 1, got {smoothing!r}")
        for name, value in {"start": start, "lowest": lowest, "highest": highest, "speed": speed}.items():
            if at_least_zero(f"{name} of {user}", value) == 0:
                raise BadInput(f"{name} of {user} should be positive, because its logarithm moves, got {value!r}")
        if not lowest <= start <= highest:
            raise BadInput(f"{user} expects lowest <= start <= highest, got {lowest}, {start} and {highest}")
        self.speed, self.smoothing = speed, smoothing
        self.bounds = (math.log(lowest), math.log(highest))
        self.register_buffer("log_value", torch.tensor(math.log(start), dtype=exact()))
        self.register_buffer("average", torch.zeros((), dtype=exact()))
        self.register_buffer("mass", torch.zeros((), dtype=exact()))

    def value(self, like: Tensor) -> Tensor:
        """w as a tensor of the type of `like`."""
        return self.log_value.exp().to(like.dtype)

    @torch.no_grad()
    def follow(self, error: Tensor) -> None:
        """Take in an error and move."""
        self.average.lerp_(error.to(self.average), 1 - self.smoothing)
        self.mass.lerp_(torch.ones_like(self.mass), 1 - self.smoothing)
        self.log_value.add_(self.speed * (self.average / self.mass).clamp(-1, 1)).clamp_(*self.bounds)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        low, high = (math.exp(bound) for bound in self.bounds)
        return f"speed={self.speed:g}, smoothing={self.smoothing:g}, lowest={low:g}, highest={high:g}"


class TargetRate(Remedy):
    r"""A KL weight that finds itself, so that the mean KL is the target: "give me R nats".

    $\min \mathbb E[-\log p(x|z)]$ subject to $\mathbb E\,\mathrm{KL} = R$, by gradient descent on the model and
    ascent on the logarithm of the multiplier: $r(\mathrm{KL}_j) = \beta\,\mathrm{KL}_j$,
    $\log\beta \leftarrow \log\beta + \eta\,\operatorname{clip}(\overline{\mathrm{KL}}/R - 1, -1, 1)$.

    Where it has settled, the model is an optimum of the beta-VAE with that beta. The KL rises only as far as it buys
    likelihood, so unlike with `Capacity` most of it is information; but nothing enforces that.

    Arguments:
        nats: R, the mean KL per example, nats; a positive number or a schedule.
        speed: eta, the largest change of log beta in a step; slower is smoother.
        smoothing: memory of the moving average of the KL, at least 0 and below 1; it forgets in 1 / (1 - smoothing)
            steps.
        start: beta at first.
        lowest, highest: bounds of beta.

    Raises:
        BadInput: when a number is out of range.

    References:
        Alemi et al., 2018, https://arxiv.org/abs/1711.00464 (rate and distortion, the constraint);
        Rezende, Viola, 2018, https://arxiv.org/abs/1810.00597 (multipliers moved in the exponent).

    Example:
        >>> remedy = TargetRate(2.0, speed=0.1, smoothing=0.0)
        >>> for _ in range(3):
        ...     _ = remedy.rate(torch.full((8, 4), 0.25))  # 1 nat instead of 2: beta should fall
        ...     remedy.after_step(None)
        >>> round(remedy.current_weight, 4) == round(math.exp(-3 * 0.1 * 0.5), 4)
        True
    """

    sources = (
        "Alemi et al., 2018, Fixing a Broken ELBO, https://arxiv.org/abs/1711.00464",
        "Rezende, Viola, 2018, Taming VAEs, https://arxiv.org/abs/1810.00597",
    )
    _error: Tensor | None = None

    def __init__(
        self,
        nats: float | Schedule = 5.0,
        speed: float = 0.01,
        smoothing: float = 0.9,
        start: float = 1.0,
        lowest: float = 1e-4,
        highest: float = 1e4,
    ) -> None:
        super().__init__()
        self.target = target_of(nats, type(self).__name__)
        self.multiplier = Multiplier(start, speed, smoothing, lowest, highest, type(self).__name__)

    @property
    def current_weight(self) -> float:
        """Beta at this step."""
        return float(self.multiplier.log_value.exp())

    @property
    def arrives(self) -> int:
        """The step at which the target is final."""
        return arrival(self.target)

    def rate(self, kl: Tensor) -> Tensor:
        """The KL times beta, (B, D) nats."""
        if self.training and torch.is_grad_enabled():
            self._error = kl.detach().sum(1).mean() / self.target(self.step) - 1
        return self.multiplier.value(kl) * kl

    def settled(self, draw: Draw, model: Model) -> Tensor:
        """The distance of the mean KL from its target, dear, in place of the KL, (B,) nats."""
        return aim(draw.kl.sum(1), self.target(max(self.arrives, self.step))) - draw.kl.sum(1)

    @torch.no_grad()
    def after_step(self, model: Model) -> None:
        """Move beta by what the batch showed."""
        super().after_step(model)
        error, self._error = self._error, None
        if error is not None:
            self.multiplier.follow(error)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"nats={shown(self.target)}"


class ControlVAE(Remedy):
    r"""A KL weight moved by a proportional-integral controller, so that the mean KL is the target.

    $w(t) = \dfrac{K_p}{1 + e^{\,e(t)}} - K_i \sum_{s \le t} e(s) + w_{\min}$, with $e(t) = R - \mathrm{KL}(t)$, cut to
    $[w_{\min}, w_{\max}]$.

    The sum stands still where the weight is out of its bounds and the error would drive it further. (The
    published code stops the sum wherever the weight was out of bounds, or never, depending on the experiment: the first
    can hold the weight at a bound for good.) The weight of a step comes from the KL of the step before.

    Arguments:
        nats: R, the mean KL per example, nats; a positive number or a schedule.
        proportional: K_p.
        integral: K_i, per nat and step. At the paper's 1e-4, an error of 1 nat moves w by 0.1 in 1,000 steps.
        lowest, highest: bounds of the weight, w_min and w_max.

    Raises:
        BadInput: when a number is out of range.

    References:
        Shao et al., 2020, https://arxiv.org/abs/2004.05988, section 4 and algorithm 1.

    Example:
        >>> remedy = ControlVAE(2.0, proportional=0.01, integral=0.1)
        >>> _ = remedy.rate(torch.ones(8, 3))  # 3 nats instead of 2
        >>> remedy.after_step(None)
        >>> round(remedy.current_weight, 4) == round(0.01 / (1 + math.exp(-1)) + 0.1, 4)
        True
    """

    sources = ("Shao et al., 2020, ControlVAE: Controllable Variational Autoencoder, https://arxiv.org/abs/2004.05988",)
    value: Tensor
    total: Tensor
    _error: Tensor | None = None

    def __init__(
        self,
        nats: float | Schedule = 5.0,
        proportional: float = 0.01,
        integral: float = 1e-4,
        lowest: float = 0.0,
        highest: float = 1.0,
    ) -> None:
        super().__init__()
        self.target = target_of(nats, type(self).__name__)
        self.proportional = at_least_zero("proportional", proportional)
        self.integral = at_least_zero("integral", integral)
        self.lowest, self.highest = at_least_zero("lowest", lowest), at_least_zero("highest", highest)
        if not lowest < highest:
            raise BadInput(f"ControlVAE expects lowest < highest, got {lowest} and {highest}")
        self.register_buffer("value", torch.tensor(self.lowest, dtype=exact()))  # before it is cut to the bounds
        self.register_buffer("total", torch.zeros((), dtype=exact()))

    @property
    def current_weight(self) -> float:
        """The weight at this step."""
        return float(self.value.clamp(self.lowest, self.highest))

    @property
    def arrives(self) -> int:
        """The step at which the target is final."""
        return arrival(self.target)

    def rate(self, kl: Tensor) -> Tensor:
        """The KL times the weight, (B, D) nats."""
        if self.training and torch.is_grad_enabled():
            self._error = self.target(self.step) - kl.detach().sum(1).mean()
        return self.value.clamp(self.lowest, self.highest).to(kl.dtype) * kl

    def settled(self, draw: Draw, model: Model) -> Tensor:
        """The distance of the mean KL from its target, dear, in place of the KL, (B,) nats."""
        return aim(draw.kl.sum(1), self.target(max(self.arrives, self.step))) - draw.kl.sum(1)

    @torch.no_grad()
    def after_step(self, model: Model) -> None:
        """Move the weight by what the batch showed."""
        super().after_step(model)
        error, self._error = self._error, None
        if error is None:
            return
        error = error.to(self.total)
        further = ((self.value > self.highest) & (error < 0)) | ((self.value < self.lowest) & (error > 0))
        self.total.sub_(torch.where(further, 0.0, self.integral * error))
        self.value.copy_(self.proportional * torch.sigmoid(-error) + self.total + self.lowest)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return (
            f"nats={shown(self.target)}, proportional={self.proportional:g}, integral={self.integral:g}, "
            f"lowest={self.lowest:g}, highest={self.highest:g}"
        )


Per = Literal["example", "pixel"]


class GECO(Remedy):
    r"""A weight on the distortion that finds itself, so that the distortion is the target: as little KL as that takes.

    $\min \mathbb E\,\mathrm{KL}$ subject to $C = \mathbb E[-\log p(x|z)] - \kappa \le 0$: the loss is
    $\mathrm{KL} + \lambda\,C$, with $\lambda \leftarrow \lambda \exp(\nu\,\bar C)$ from a moving average of C. The
    distortion is in the loss already, so this adds $(\lambda - 1)(-\log p(x|z))$.

    The average of C is cut to [-1, 1] nat, so that a step changes the logarithm by at most $\nu$. The term is 0 in
    evaluation mode: validation scores stay those of the plain bound, the same at every step. A $\kappa$ that the model
    cannot reach drives lambda to its bound, and the KL to whatever that costs.

    Arguments:
        distortion: kappa, the mean of -log p(x|z) that is asked for, nats.
        per: whether kappa is "per example" or per number in x ("pixel").
        speed: nu, the change of log lambda in a step, per nat.
        smoothing: alpha, memory of the moving average. A long memory acts late: with the paper's 0.99, take a
            smaller speed, or lambda swings.
        start: lambda at first.
        lowest, highest: bounds of lambda.
        weight: a factor on the added term, a number or a schedule.

    Raises:
        BadInput: when a number is out of range.

    References:
        Rezende, Viola, 2018, https://arxiv.org/abs/1810.00597, algorithm 1.

    Example:
        >>> from uncollapse import Objective, VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> objective = Objective([GECO(8.0, start=3.0)])
        >>> terms = objective(draw(model, torch.rand(5, 16)), model)
        >>> torch.allclose(terms["geco"], 2 * terms["distortion"])
        True
    """

    sources = ("Rezende, Viola, 2018, Taming VAEs, https://arxiv.org/abs/1810.00597",)
    _error: Tensor | None = None

    def __init__(
        self,
        distortion: float,
        per: Per = "example",
        speed: float = 0.01,
        smoothing: float = 0.9,
        start: float = 1.0,
        lowest: float = 1e-4,
        highest: float = 1e4,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight)
        if isinstance(distortion, bool) or not isinstance(distortion, int | float) or not math.isfinite(distortion):
            raise BadInput(f"distortion should be a finite number of nats, got {distortion!r}")
        self.distortion, self.per = float(distortion), one_of("per", per, Per)
        self.reaches_encoder = start != 1  # at lambda = 1 there is nothing to add yet
        self.multiplier = Multiplier(start, speed, smoothing, lowest, highest, type(self).__name__)

    @property
    def current_weight(self) -> float:
        """Lambda at this step."""
        return float(self.multiplier.log_value.exp())

    def forward(self, draw: Draw, model: Model) -> Tensor:
        """The weighted term, (B,) nats; not by `current_weight`, for which the processor would have to wait."""
        return self.weight(self.step) * self.term(draw, model)

    def term(self, draw: Draw, model: Model) -> Tensor:
        """What is missing from lambda times the distortion, (B,) nats."""
        distortion = -draw.log_px.mean(0)
        if not self.training:
            return torch.zeros_like(distortion)
        if torch.is_grad_enabled():
            self._error = distortion.detach().mean() - self.wanted(draw.x)
        return (self.multiplier.value(distortion) - 1) * distortion

    def settled(self, draw: Draw, model: Model) -> Tensor:
        """What the mean distortion exceeds its target by, dear, in place of the distortion, (B,) nats."""
        distortion = -draw.log_px.mean(0)
        return aim(distortion, self.wanted(draw.x), most=True) - distortion

    def wanted(self, x: Tensor) -> float:
        """The target of a whole example, nats."""
        return self.distortion * (x[0].numel() if self.per == "pixel" else 1)

    @torch.no_grad()
    def after_step(self, model: Model) -> None:
        """Move lambda by what the batch showed."""
        super().after_step(model)
        error, self._error = self._error, None
        if error is not None:
            self.multiplier.follow(error)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"distortion={self.distortion:g}, per={self.per!r}, weight={shown(self.weight)}"


DEAR = 10.0  #: what a nat off the target costs when checkpoints are compared, nats


def aim(values: Tensor, target: float, most: bool = False) -> Tensor:
    """DEAR times the distance of the batch's mean from its target, spread over the examples, (B,) nats.

    With `most` the target is one that should not be exceeded, and nothing is due below it.
    """
    side = (values.mean() - target).sign()
    return DEAR * (side.clamp_min(0) if most else side) * (values - target)


def target_of(nats: Any, user: str) -> Schedule:
    """A target for the KL as a schedule.

    Raises:
        BadInput: when it is not positive.
    """
    target = as_schedule(nats)
    if isinstance(target, Constant) and not 0 < target.value < math.inf:
        raise BadInput(f"nats of {user} should be a positive number of nats per example, got {nats!r}")
    return target


def exact() -> torch.dtype:
    """The type of numbers that add up over a whole training; MPS has no float64."""
    return torch.float32 if torch.backends.mps.is_available() else torch.float64
