"""One pass of the encoder over the data: codes of everything, and a sample of the inputs for the tests."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.adapters.base import Adapted
from uncollapse.codes import Codes, batches_of, encode, evaluation, private_stream
from uncollapse.diagnosis.labels import about, classes
from uncollapse.diagnosis.parting import Parts, supplied
from uncollapse.diagnosis.refusals import reason
from uncollapse.distributions import is_counted
from uncollapse.errors import BadInput, ShapeError, UncollapseError, WorkFailed

__all__ = ["Reading", "read"]

COUNTED = ("text", "scvi-tools")  #: kinds of models whose data are whole numbers and should be


@dataclass(frozen=True, eq=False)
class Reading:
    """What one pass gave.

    Attributes:
        codes: of the N examples whose posteriors are finite.
        x: (M, *X), a random sample of those examples, as the encoder took them.
        rows: (M,), the rows of `codes` that they are, ascending.
        total: examples that were read, N and those that were dropped.
        dropped: (R,), numbers of the examples whose posteriors are not finite.
        distinct: how many different examples there are.
        names: of the classes, where labels are not numbers.
        remarks: what a reader must know about how the data were read.
    """

    codes: Codes
    x: Tensor
    rows: Tensor
    total: int
    dropped: Tensor
    distinct: int
    names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())


def read(adapted: Adapted, data: Any, labels: Any, keep: int, batch_size: int, seed: int) -> Reading:
    """Encode all data once, keep a sample of `keep` inputs, and set aside examples whose posteriors are not finite.

    Raises:
        BadInput: when labels do not fit the data.
        ShapeError: when the data hold no example, or are nothing that can be read.
    """
    sieve, parts = Sieve(keep, seed), Parts(labels is not None)
    batches = sieve.watch(batches_of(plain(data, adapted, parts), batch_size, adapted.model))
    codes = encoded(adapted, batches, sieve, seed)
    total = len(codes)
    given, names = classes(codes.labels if labels is None else labels, total)
    names = names or tuple(parts.words)
    scaled = () if adapted.kind in COUNTED or counted(adapted) else sieve.remarks
    remarks = (*scaled, *sieve.broken_remark(), *parts.remarks, *about(given))
    codes = replace(codes, labels=given)
    good = finite(codes)
    dropped = (~good).nonzero().flatten()
    x, rows = sieve.sample()
    chosen = good[rows]
    place = torch.cumsum(good, 0) - 1  # where a row stands once the others are gone
    codes = codes if not len(dropped) else kept(codes, good)
    return Reading(codes, x[chosen.to(x.device)], place[rows[chosen]], total, dropped, sieve.distinct, names, remarks)


def counted(adapted: Adapted) -> bool:
    """Whether the model describes whole numbers, so that the data should be some."""
    try:
        with evaluation(adapted.model, 0):
            return is_counted(adapted.model.likelihood(adapted.model.prior().sample(torch.Size((1,)))))
    except Exception:  # somebody's likelihood may raise anything
        return False


def encoded(adapted: Adapted, batches: Iterable[tuple[Tensor, Tensor | None]], sieve: "Sieve", seed: int) -> Codes:
    """Codes of all batches; what a network says of a batch that it does not take becomes one sentence."""
    try:
        with unvalidated():
            codes = encode(adapted.model, batches, seed)
    except UncollapseError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise WorkFailed(f"memory ran out at a batch of shape {sieve.shape}; try a smaller batch_size=") from error
    except Exception as error:  # somebody's network may raise anything
        raise ShapeError(
            f"the encoder failed at examples {sieve.before} to {sieve.seen - 1}, of shape {sieve.shape[1:]}: "
            f"{reason(error)}; hand over the data as in training"
        ) from error
    if len(codes) != sieve.seen:
        raise ShapeError(
            f"{sieve.seen} inputs gave {len(codes)} posteriors; the encoder cuts batches of shape {sieve.shape} "
            "another way than by example, as view(-1, ...) does: are these the data that it was made for?"
        )
    return codes


@contextmanager
def unvalidated() -> Iterator[None]:
    """Distributions of the user's model may hold NaN: that is to be counted, not raised."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def plain(data: Any, adapted: Adapted, parts: Parts) -> Any:
    """The data as `batches_of` takes them: an adapter's own kind is prepared, batches become pairs (x, labels)."""
    if adapted.prepare is not None:
        prepare = adapted.prepare
        if in_batches(data):
            return (prepare(batch) for batch in supplied(data))
        x, y = prepare(data)
        return x if y is None else (x, y)
    if isinstance(data, Mapping):
        inputs, known = parts(data)
        return inputs if known is None else (inputs, known)
    if not in_batches(data):
        if isinstance(data, Tensor | np.ndarray):
            parts.look(data)
        return data
    return (pair for pair in map(parts, supplied(data)) if len(pair[0]))


def in_batches(data: Any) -> bool:
    """Whether the data come batch by batch: a loader, a list or an iterator; not a table, a tuple or a dictionary."""
    whole = isinstance(data, Mapping | Tensor | np.ndarray | tuple) or hasattr(data, "batches") or hasattr(data, "X")
    return isinstance(data, Iterable) and not whole


class Sieve:
    """Looks at batches as they pass: keeps a random sample of the inputs, and counts the different ones.

    Arguments:
        keep: M, examples to keep at most.
        seed: of the choice.
    """

    def __init__(self, keep: int, seed: int) -> None:
        self.keep, self.generator = keep, private_stream(seed, "sieve")
        self.x: Tensor | None = None
        self.keys, self.rows = torch.empty(0), torch.empty(0, dtype=torch.int64)
        self.seen, self.digests = 0, set[bytes]()
        self.remarks: list[str] = []
        self.shape: tuple[int, ...] = ()
        self.broken: list[int] = []

    @property
    def before(self) -> int:
        """Examples before the latest batch."""
        return self.seen - (self.shape[0] if self.shape else 0)

    def watch(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The same batches."""
        for x, y in batches:
            self.shape = tuple(x.shape)
            if self.seen == 0:
                self.inspect(x)
            bad = ~x.isfinite().flatten(1).all(1)
            self.broken += (bad.nonzero().flatten() + self.seen).tolist() if bool(bad.any()) else []
            self.take(x)
            yield x, y

    def take(self, x: Tensor) -> None:
        """Examples with the largest random keys stay, so that every example has the same chance whatever N is."""
        self.digests.update(digests(x))
        keys = torch.rand(len(x), generator=self.generator, dtype=torch.float64)
        rows = torch.arange(self.seen, self.seen + len(x))
        self.seen += len(x)
        floor = self.keys.min() if len(self.keys) == self.keep else torch.tensor(-1.0)
        better = keys > floor
        if not better.any():
            return
        table = x[better.to(x.device)] if self.x is None else torch.cat([self.x, x[better.to(x.device)]])
        keys, rows = torch.cat([self.keys, keys[better]]), torch.cat([self.rows, rows[better]])
        best = keys.topk(min(self.keep, len(keys))).indices
        self.x, self.keys, self.rows = table[best.to(x.device)], keys[best], rows[best]

    def inspect(self, x: Tensor) -> None:
        """Remark on values that look as if they had not been scaled."""
        low, high = float(x.min()), float(x.max())
        if high > 1.5 and high <= 255 and low >= 0 and bool((x == x.round()).all()) and x[0].numel() >= 16:
            self.remarks.append(
                f"The data are whole numbers from {low:g} to {high:g}; if the model was trained on values between "
                "0 and 1, divide them by 255 first, for nothing below is true otherwise."
            )

    def broken_remark(self) -> list[str]:
        """Which inputs hold NaN or infinite values."""
        if not self.broken:
            return []
        return [
            f"{len(self.broken):,} of {self.seen:,} inputs hold NaN or infinite values (first: example "
            f"{self.broken[0]}); clean the data, or leave these examples out."
        ]

    def sample(self) -> tuple[Tensor, Tensor]:
        """The kept inputs (M, *X) and their rows (M,), ascending."""
        if self.x is None:
            raise ShapeError("the data hold no example; at least two are needed")
        order = self.rows.argsort()
        return self.x[order.to(self.x.device)], self.rows[order]

    @property
    def distinct(self) -> int:
        """How many different inputs there were."""
        return len(self.digests)


def digests(x: Tensor) -> list[bytes]:
    """A short name of every example of a batch: equal names mean equal bytes."""
    kind = x.detach().float() if x.dtype in (torch.float16, torch.bfloat16) else x.detach()
    return [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in kind.cpu().contiguous().numpy()]


def finite(codes: Codes) -> Tensor:
    """Which examples have a posterior that is a finite distribution, (N,)."""
    good = codes.mean.isfinite().all(1) & codes.kl.isfinite().all(1) & codes.sample.isfinite().all(1)
    if codes.scale is not None:
        good &= (codes.scale.isfinite() & (codes.scale > 0)).all(1)
    return good


def kept(codes: Codes, good: Tensor) -> Codes:
    """The codes of some examples.

    Raises:
        BadInput: when posteriors are not diagonal Gaussians, whose parts cannot be taken apart.
    """
    if codes.posteriors:
        raise BadInput(
            f"{int((~good).sum())} of {len(good)} posteriors are NaN or infinite (first: example "
            f"{int((~good).nonzero()[0])}); leave these examples out, or look at the encoder's log-variance"
        )
    scale = None if codes.scale is None else codes.scale[good]
    labels = None if codes.labels is None else codes.labels[good]
    return Codes(codes.mean[good], scale, codes.sample[good], codes.kl[good], labels)
