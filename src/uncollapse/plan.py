"""How long, how fast and in which order a model is trained: settings, seeds, data order, plateaus."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from uncollapse.errors import BadInput

if TYPE_CHECKING:  # torch takes a second to load, and settings need none
    from torch import Tensor

__all__ = ["Order", "Plateau", "Settings", "derive"]


@dataclass(frozen=True)
class Settings:
    """Everything about training that is not the model, the data or the objective.

    Arguments:
        batches: length of training in batches; or give `epochs`. Inner steps of a remedy do not count.
        epochs: length of training in passes over the data (fractions are fine).
        batch_size: B. The last incomplete batch of an epoch is left out, so that K of a critic is constant.
        optimiser: "adam", "adamw", "sgd" (momentum 0.9) or "plain-sgd" (none).
        lr: learning rate.
        weight_decay: decoupled for AdamW, an L2 penalty for the others.
        clip: largest norm of the whole gradient; None leaves it alone.
        samples: K, samples of z per example in a training step.
        precision: "32", "bf16", or "auto": bf16 where this machine computes it faster and the model is large enough,
            and images channels last where that is faster. Posteriors, likelihoods and critics stay in float32.
        compile: compile the forward pass and its gradient with `torch.compile`, on a GPU into CUDA graphs. It
            takes half a minute at first; where it fails, training goes on without it and `Fit.remarks` says so.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        devices: R, processes that share the rows of every batch, one a device; None is one, or under `torchrun` all
            that it started. The numbers are those of one process, to rounding, so they are no part of what a run is.
        strategy: how several processes hold the weights: "ddp", every one all of them; "fsdp", each a piece of every
            weight and of the optimiser's state, and all of a network's weights only while it passes.
        validate_every: batches between validations; None is once an epoch.
        halve_after: validations without improvement after which the learning rate is halved; None never.
        halvings: stop when the learning rate would be halved once more than this; None sets no limit.
        stop_after: validations without improvement after which training ends; None never.
        keep: "best" ends with the weights of the best validation score, "last" with the last ones.
        log_every: batches between lines of the log.
        checkpoint_every: batches between checkpoints; None is once a validation.
        bucket: for token sequences, batches of similar length: so many batches at a time are sorted by length and
            then mixed; None draws at random. The candidates of a critic are then of similar length too.
        seed: of data order and noise. Weights are initialised by the caller.

    Patience, for halving and for stopping, starts when every schedule of the objective has arrived.
    """

    batches: int | None = None
    epochs: float | None = None
    batch_size: int = 64
    optimiser: Literal["adam", "adamw", "sgd", "plain-sgd"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    clip: float | None = None
    samples: int = 1
    precision: Literal["32", "bf16", "auto"] = "32"
    compile: bool = False
    device: str = "auto"
    devices: int | None = None
    strategy: Literal["ddp", "fsdp"] = "ddp"
    validate_every: int | None = None
    halve_after: int | None = None
    halvings: int | None = None
    stop_after: int | None = None
    keep: Literal["best", "last"] = "best"
    log_every: int = 50
    checkpoint_every: int | None = None
    bucket: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = list(self.mistakes())
        if wrong:
            raise BadInput("; ".join(wrong))

    def mistakes(self) -> Iterator[str]:
        """Everything that is wrong with these settings, a sentence each."""
        if (self.batches is None) == (self.epochs is None):
            yield "training needs a length: give either batches=... or epochs=..., and not both"
        choices = {
            "optimiser": ("adam", "adamw", "sgd", "plain-sgd"),
            "precision": ("32", "bf16", "auto"),
            "keep": ("best", "last"),
            "strategy": ("ddp", "fsdp"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                yield f"{name} should be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
        for name in (*WHOLE, *POSITIVE):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (
                number and 0 < value < math.inf and (name in POSITIVE or value == int(value))
            ):
                yield f"{name} should be a positive {'whole number' if name in WHOLE else 'number'}, got {value!r}"
        compiled: Any = self.compile
        if not isinstance(compiled, bool):
            yield f"compile should be true or false, got {compiled!r}"
        if not isinstance(self.weight_decay, int | float) or not 0 <= self.weight_decay < math.inf:
            yield f"weight_decay should be at least 0, got {self.weight_decay!r}"

    def described(self) -> dict[str, Any]:
        """Plain values by name, for JSON and for hashing: without what would not have been said before it existed."""
        values = asdict(self)
        if not self.compile:
            del values["compile"]
        for where in ("devices", "strategy"):  # not what is computed
            del values[where]
        return values

    @classmethod
    def of(cls, **given: Any) -> "Settings":
        """Settings from keywords, with the nearest right name for a wrong one."""
        import difflib

        names = [field.name for field in fields(cls)]
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"
                raise BadInput(f"there is no training setting {name!r}{hint}")
        return cls(**given)


WHOLE = (
    "batches", "batch_size", "samples", "validate_every", "halve_after", "halvings", "stop_after", "log_every",
    "checkpoint_every", "bucket", "devices",
)  # fmt: skip
POSITIVE = ("epochs", "lr", "clip")


def derive(seed: int, *words: object) -> int:
    """A seed for one purpose, from the run's seed and the words that name the purpose.

    All randomness of training is a function of (seed, purpose, step), so a resumed run needs no saved
    generator and repeats the same bits.

    Example:
        >>> derive(0, "step", 1) == derive(0, "step", 1) != derive(0, "step", 2)
        True
    """
    digest = hashlib.blake2b(repr((seed, *words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Order:
    """Which examples are in which batch: a fresh permutation an epoch, without the incomplete last batch.

    Arguments:
        n: number of examples.
        batch_size: B, at most n.
        seed: the run's seed.
        lengths: (n,) lengths of the examples, for batches of similar length.
        bucket: batches that are sorted by length together; needs `lengths`.

    Raises:
        BadInput: when the batch is larger than the data.

    Example:
        >>> order = Order(10, 4, seed=0)
        >>> order.per_epoch, len(order.indices(0)), order.epoch(5)
        (2, 4, 2.5)
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, lengths: "Tensor | None" = None, bucket: int | None = None
    ) -> None:
        if batch_size > n:
            raise BadInput(
                f"the batch ({batch_size}) is larger than the training data ({n} examples); use batch_size <= {n}"
            )
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.lengths, self.pool = (None, 0) if bucket is None else (lengths, bucket * batch_size)
        self.per_epoch = n // batch_size
        self._epoch = -1
        self._permutation: Tensor

    def indices(self, step: int) -> "Tensor":
        """The examples of batch number `step` (from 0), (B,)."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, self._mixed("order", epoch)
        return self._permutation[place * self.batch_size : (place + 1) * self.batch_size]

    def extra(self, step: int, count: int) -> "Tensor":
        """The examples of the `count`-th extra batch ahead of a step, for inner loops, (B,)."""
        return self._mixed("inner", step, count)[: self.batch_size]

    def epoch(self, step: int) -> float:
        """Passes over the data after `step` batches."""
        return step / self.per_epoch

    def _mixed(self, *purpose: object) -> "Tensor":
        """A permutation of the examples; with buckets, every batch of it holds examples of similar length."""
        import torch

        generator = torch.Generator().manual_seed(derive(self.seed, *purpose))
        order = torch.randperm(self.n, generator=generator)
        if self.lengths is None:
            return order
        used = order[: self.per_epoch * self.batch_size]
        sorted_pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in torch.split(used, self.pool)]
        batches = torch.cat(sorted_pools).view(self.per_epoch, self.batch_size)
        return batches[torch.randperm(self.per_epoch, generator=generator)].flatten()


@dataclass
class Plateau:
    """Remembers the best score and how long ago it was.

    Arguments:
        halve_after, halvings, stop_after: as in `Settings`, in validations.
    """

    halve_after: int | None
    halvings: int | None
    stop_after: int | None
    best: float = math.inf
    best_step: int = -1
    waited: int = 0
    since_halving: int = 0
    halved: int = 0

    def see(self, score: float, step: int, patient: bool) -> bool:
        """Take in a score; True when it is the best so far. Waiting counts only while `patient` is false."""
        if score < self.best:
            self.best, self.best_step = score, step
            self.waited = self.since_halving = 0
            return True
        if not patient:
            self.waited += 1
            self.since_halving += 1
        return False

    def halve(self) -> bool:
        """Whether the learning rate should be halved now; counts it."""
        if self.halve_after is None or self.since_halving < self.halve_after:
            return False
        self.since_halving = 0
        self.halved += 1
        return True

    @property
    def over(self) -> str | None:
        """Why training should end, or None."""
        if self.stop_after is not None and self.waited >= self.stop_after:
            return f"no improvement in {self.waited} validations"
        if self.halvings is not None and self.halved > self.halvings:
            return f"learning rate halved {self.halvings} times"
        return None


def even_pieces(n: int, size: int) -> "Iterator[Tensor]":
    """Indices 0..n-1 in the fewest pieces of at most `size`, as equal as can be: no critic meets a lone example."""
    import torch

    yield from torch.arange(n).tensor_split(max(math.ceil(n / size), 1))
