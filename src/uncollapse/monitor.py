"""Watch a posterior while it trains: KL per latent, active units, the bracket, and a warning in words."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from uncollapse.codes import Codes, batches_of, evaluation
from uncollapse.distributions import kl_per_dimension
from uncollapse.draw import Model
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.metrics import active_units, mutual_information

__all__ = ["Monitor", "Record"]

NOTHING = 0.1  #: nats of information below which a posterior has collapsed
DEAD = 0.01  #: nats of KL below which a latent sits on the prior
FALL = 0.5  #: share of the best information so far below which a fall is told


@dataclass(frozen=True)
class Record:
    """One look at the posterior.

    Attributes:
        epoch: its number, from 1.
        kl: mean KL to the prior, nats.
        kl_per_latent: the same by latent, (D,) nats.
        active_units: by the variance of the means.
        lower, upper, ceiling: the bracket of the information and log n, nats; measured on the latest `keep` posteriors
            of training, which are a little older than the weights.
        n: posteriors behind the bracket.
        warnings: in words; empty while all is well.
    """

    epoch: int
    kl: float
    kl_per_latent: tuple[float, ...]
    active_units: int
    lower: float
    upper: float
    ceiling: float
    n: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = (
            f"epoch {self.epoch}: KL {self.kl:.2f} nats, information {self.lower:.2f} to {self.upper:.2f} nats "
            f"(ceiling {self.ceiling:.2f}), {self.active_units} of {len(self.kl_per_latent)} units active"
        )
        return "\n".join([said, *(f"  warning: {one}" for one in self.warnings)])


@dataclass
class Monitor:
    """Collects posteriors in any training loop and judges them once an epoch.

    Arguments:
        every: of how many batches one is taken into the mean KL.
        keep: posteriors on which the bracket is measured: the latest ones, because older ones belong to other weights,
            and what moves with the weights would look like information. The cost is keep² x D, once an epoch.
        tell: called with every record that has a warning; None to stay silent.
        writer: a TensorBoard `SummaryWriter`, or None.

    Raises:
        BadInput: when a number is out of range.

    Example:
        >>> watch = Monitor(tell=None)                      # 1, before the loop
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> for x in torch.rand(8, 64, 16):
        ...     q = model.posterior(x)
        ...     watch(q, model.prior())                     # 2, in the step
        >>> watch.epoch().n                                 # 3, after an epoch
        512
    """

    every: int = 4
    keep: int = 1024
    tell: Callable[[Record], Any] | None = print
    writer: Any = None
    history: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.every < 1 or self.keep < 16:
            raise BadInput(f"Monitor expects every >= 1 and keep >= 16, got {self.every} and {self.keep}")
        self.restart()

    def restart(self) -> None:
        """Forget the posteriors of this epoch."""
        self.calls, self.counted, self.held = 0, 0, 0
        self.total: Tensor | None = None
        self.recent: deque[tuple[Tensor, Tensor]] = deque()
        self.prior: Distribution | None = None

    @torch.no_grad()
    def __call__(self, q: Distribution, prior: Distribution | None = None) -> None:
        """Note a batch of posteriors; N(0, I) is the prior if None.

        Raises:
            Unsupported: when the posteriors are not diagonal Gaussians.
        """
        base = q.base_dist if isinstance(q, Independent) else q
        if not isinstance(base, Normal) or base.loc.ndim != 2:
            raise Unsupported(
                f"Monitor needs diagonal Gaussian posteriors (B, D), got a {type(q).__name__}; of two tensors make "
                "torch.distributions.Normal(mean, (0.5 * log_variance).exp())"
            )
        mean, scale = base.loc.detach(), base.scale.detach()
        known = [] if prior is None else [tuple(prior.event_shape) or tuple(prior.batch_shape)]
        if any(size != mean.shape[1:] for size in [*known, *(one.shape[1:] for one, _ in list(self.recent)[-1:])]):
            raise ShapeError(f"the prior and all posteriors should have one size, got posteriors of {mean.shape[1]}")
        self.prior = prior
        self.recent.append((mean, scale))
        self.held += len(mean)
        while self.held - len(self.recent[0][0]) >= self.keep:
            self.held -= len(self.recent.popleft()[0])
        if self.calls % self.every == 0:
            kl = divergence(mean, scale, prior).sum(0)
            self.total = kl if self.total is None else self.total + kl
            self.counted += len(mean)
        self.calls += 1

    def look(self, model: Model, batches: Any, device: torch.device | str | None = None) -> Record:
        """Encode held-out batches of x, or of pairs, with the weights of this moment, and judge them as one epoch."""
        if not isinstance(model, Model):
            raise Unsupported(
                f"Monitor.look needs a model with `posterior` and `prior`, got a {type(model).__name__}; "
                "uncollapse.adapters.adapt(model, x).model has them"
            )
        self.restart()
        with evaluation(model, 0):
            # what `x.split(64)` gives is a tuple of batches, not a pair
            for x, _ in batches_of(list(batches) if isinstance(batches, tuple) else batches, 512, model):
                self.calls = 0  # every batch counts
                self(model.posterior(x if device is None else x.to(device)), model.prior())
        return self.epoch()

    def epoch(self) -> Record:
        """Judge what was noted since the last call.

        Raises:
            BadInput: when fewer than two posteriors were noted.
        """
        if self.total is None or self.held < 2:
            raise BadInput("Monitor.epoch needs at least two posteriors: call monitor(q) in every training step first")
        per_latent = (self.total / self.counted).double().cpu()
        mean, scale = (torch.cat(part)[-self.keep :].float() for part in zip(*self.recent, strict=True))
        kl = divergence(mean, scale, self.prior)
        record = self.judged(len(self.history) + 1, per_latent, mean.cpu(), scale.cpu(), kl.cpu())
        self.history.append(record)
        self.restart()
        if record.warnings and self.tell is not None:
            self.tell(record)
        if self.writer is not None:
            write(self.writer, self.history)
        return record

    def judged(self, epoch: int, per_latent: Tensor, mean: Tensor, scale: Tensor, kl: Tensor) -> Record:
        """The record of one epoch."""
        finite = mean.isfinite().all(1) & scale.isfinite().all(1) & kl.isfinite().all(1)
        broken = int((~finite).sum())
        if int(finite.sum()) < 2:
            why = f"{broken} of {len(mean)} posteriors are NaN or infinite; lower the learning rate"
            return Record(epoch, math.nan, tuple(per_latent.tolist()), 0, math.nan, math.nan, math.nan, 0, (why,))
        table = Codes.from_gaussian(mean[finite], scale[finite].clamp(min=1e-30))
        codes = Codes(table.mean, table.scale, table.sample, kl[finite])
        bracket, units = mutual_information(codes), active_units(codes)
        record = Record(
            epoch, float(per_latent.sum()), tuple(per_latent.tolist()), int(units), float(bracket.lower),
            float(bracket.upper), bracket.ceiling, len(codes),
        )  # fmt: skip
        said = [f"{broken} of {len(mean)} posteriors are NaN or infinite"] if broken else []
        return Record(**{**vars(record), "warnings": (*said, *warnings(record, self.history))})


def divergence(mean: Tensor, scale: Tensor, prior: Distribution | None) -> Tensor:
    """KL of Gaussians (B, D) to the prior, (B, D) nats; in equal parts where it does not factorise."""
    if prior is None:
        return 0.5 * (mean.square() + scale.square() - 1) - scale.log()
    q = Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)
    kl = kl_per_dimension(q, prior)
    if kl is None:
        z = q.sample()
        log_q: Tensor = q.log_prob(z)  # type: ignore[no-untyped-call]
        kl = (log_q - prior.log_prob(z)).unsqueeze(-1)
    return kl if kl.shape[-1] == mean.shape[1] else (kl / mean.shape[1]).expand_as(mean)


def warnings(now: Record, before: list[Record]) -> list[str]:
    """What a person would want to be told about this epoch."""
    said = []
    best = max((one.lower for one in before if one.lower == one.lower), default=0.0)
    dead = sum(one < DEAD for one in now.kl_per_latent)
    size = len(now.kl_per_latent)
    if now.upper < NOTHING:
        if now.kl > 1:
            said.append(
                f"the KL is {now.kl:.1f} nats, but the code tells nothing about its input "
                f"({now.upper:.2f} nats at most): it is all distance from the prior"
            )
        elif best > 2 * NOTHING:
            said.append(f"the posterior has collapsed: of {best:.2f} nats at most {now.upper:.2f} are left")
        else:
            said.append(
                f"the code tells nothing about its input so far ({now.upper:.2f} nats at most); if that lasts, start "
                "with a smaller weight of the KL, or add a critic"
            )
    elif now.lower < FALL * best and best > 2 * NOTHING:
        said.append(f"information has fallen from {best:.2f} to {now.lower:.2f} nats: the posterior is collapsing")
    if before and now.upper >= NOTHING:
        lost = dead - sum(one < DEAD for one in before[-1].kl_per_latent)
        if lost >= max(2, size // 4):
            said.append(f"{lost} latents fell to the prior in this epoch; {size - dead} of {size} are left")
    return said


def write(writer: Any, history: list[Record]) -> None:
    """Scalars of the last record, and KL per latent over all epochs as a picture."""
    now = history[-1]
    values = {"kl": now.kl, "mi_lower": now.lower, "mi_upper": now.upper, "active_units": float(now.active_units)}
    for name, value in values.items():
        writer.add_scalar(f"uncollapse/{name}", value, now.epoch)
    writer.add_image("uncollapse/kl_per_latent", heat_map(history), now.epoch)
    for one in now.warnings:
        writer.add_text("uncollapse/warning", one, now.epoch)


def heat_map(history: list[Record], pixels: int = 8) -> Tensor:
    """KL per latent (rows) over epochs (columns) as a picture (3, H, W) in [0, 1], on a logarithmic scale."""
    table = torch.tensor([one.kl_per_latent for one in history]).T.nan_to_num(0.0).clamp(min=DEAD / 10)
    shade = ((table / (DEAD / 10)).log() / math.log(10 / (DEAD / 10))).clamp(0, 1)  # 0.001 to 10 nats
    low, high = torch.tensor([0.97, 0.97, 0.96]), torch.tensor([0.05, 0.25, 0.45])
    picture = low[:, None, None] + (high - low)[:, None, None] * shade
    return picture.repeat_interleave(pixels, 1).repeat_interleave(pixels, 2)
