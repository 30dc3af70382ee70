"""One pass of a model over a data set, as a table that every latent metric reads."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.distributions import precise
from uncollapse.draw import Model
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.functional import gaussian_kl
from uncollapse.passes import (
    batches_of,
    device_of,
    divergences,
    dtype_of,
    evaluation,
    moved,
    posterior_noise,
    private_stream,
    tabulate,
)  # fmt: skip
from uncollapse.tables import NAMES, Draft, Mapped, drafted

__all__ = [
    "Codes", "batches_of", "checked", "device_of", "dtype_of", "encode", "evaluation", "moved", "posterior_noise",
    "private_stream", "tabulate",
]  # fmt: skip


BLOCK = 2**15  #: examples read at once from tables that may be on disk


def stay() -> None:
    """Nothing to give back."""


@dataclass(frozen=True, eq=False, repr=False)
class Codes:
    """Posteriors of N examples, on the CPU in float32; the samples in float64, so that tiny scales leave a trace.

    Attributes:
        mean: (N, D) posterior means.
        scale: (N, D) posterior standard deviations, or None when q is not a diagonal Gaussian.
        sample: (N, D), one draw of each posterior, fixed by the seed.
        kl: (N, D) KL to the prior per dimension, nats ((N, 1) where it does not factorise).
        labels: (N,) or None.
        posteriors: the posteriors themselves, in batches and in order, where they are not diagonal Gaussians.
        release: gives the memory back that has been read from disk; does nothing where the tables are in memory.

    Example:
        >>> codes = Codes.from_gaussian(torch.zeros(3, 2), torch.ones(3, 2))
        >>> len(codes), codes.latent, codes.kl.sum().item()
        (3, 2, 0.0)
    """

    mean: Tensor
    scale: Tensor | None
    sample: Tensor
    kl: Tensor
    labels: Tensor | None = None
    posteriors: tuple[Distribution, ...] = ()
    release: Callable[[], None] = stay

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else "labels"
        return f"Codes({len(self)} examples, {self.latent} latents, {labels})"

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def latent(self) -> int:
        """D."""
        return self.mean.shape[1]

    def gaussian(self, user: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, scale and sample (N, D) in float64, for metrics that need a diagonal Gaussian.

        Raises:
            BadInput: when the posteriors are of another family, or a number is not finite.
        """
        mean, scale = self.normal(user)
        return mean.double(), scale.double(), self.sample.double()

    def normal(self, user: str) -> tuple[Tensor, Tensor]:
        """Mean and scale (N, D) as they lie, in memory or on disk, for metrics that read them in blocks.

        Raises:
            BadInput: when the posteriors are of another family.
        """
        if self.scale is None:
            raise BadInput(f"{user} needs diagonal Gaussian posteriors, and these codes have no scale")
        return self.mean, self.scale

    def moments(self, user: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, standard deviation and sample (N, D) in float64, whatever the family.

        Raises:
            BadInput: when neither scales nor posteriors are there, or the family has no variance.
        """
        if self.scale is not None or not self.posteriors:
            return self.gaussian(user)
        try:
            spread = torch.cat([q.stddev.double().cpu() for q in self.posteriors])
        except NotImplementedError as error:
            name = type(self.posteriors[0]).__name__
            raise BadInput(f"{user} needs the variance of the posteriors, and a {name} has none") from error
        return self.mean.double(), spread, self.sample.double()

    def permuted(self, seed: int = 0) -> "Codes":
        """The same posteriors with the samples shuffled between the examples: a control with no information."""
        order = torch.randperm(len(self), generator=private_stream(seed, "permuted"))
        return replace(self, sample=self.sample[order])

    @classmethod
    def from_gaussian(cls, mean: Any, scale: Any, labels: Any = None, seed: int = 0) -> "Codes":
        """Codes from means and standard deviations (N, D) against the prior N(0, I).

        Raises:
            ShapeError: when shapes do not match.
            BadInput: when there are fewer than two examples, a scale is not positive or a number is not finite.
        """
        mean, scale = (precise(torch.as_tensor(value).detach().cpu()) for value in (mean, scale))
        if mean.ndim != 2 or mean.shape != scale.shape:
            raise ShapeError(f"codes need mean and scale (N, D), got {tuple(mean.shape)} and {tuple(scale.shape)}")
        if not (scale > 0).all():
            raise BadInput("posterior scales should be positive, got zero, less or NaN; they are standard deviations")
        noise = posterior_noise(0, len(mean), mean.shape[1], seed)
        labels = None if labels is None else torch.as_tensor(labels).cpu()
        return checked(cls(mean, scale, moved(mean, scale, noise), gaussian_kl(mean, scale), labels))

    @classmethod
    def of(cls, model: Model, data: Any, batch_size: int = 512, seed: int = 0, to: str | Path | None = None) -> "Codes":
        """Encode a data set once, in evaluation mode and without gradients.

        Arguments:
            model: anything with `posterior` and `prior`.
            data: a tensor or array (N, *X), a pair (x, labels), one part of a data set, or an iterable of batches.
            batch_size: examples per pass; the result does not depend on it for Gaussian posteriors of models that draw
                no noise of their own.
            seed: of the one sample per example.
            to: a folder to write into while encoding, for more codes than the memory holds; what is returned is then
                read from there. It appears when it is complete, and takes the place of codes that were there.

        Raises:
            ShapeError, BadInput: when the data are empty or of the wrong shape, or a posterior is not finite.
            Unsupported: when codes on disk are asked for and the posteriors are not diagonal Gaussians.
            WorkFailed: when the disk does not take them.
        """
        batches = batches_of(data, batch_size, model)
        if to is None:
            return checked(encode(model, batches, seed))
        return written(Path(to), pieces_of(model, batches, seed))

    def save(self, folder: str | Path) -> None:
        """Write the tables into a folder, one .npy file each, without pickle; it appears when it is complete.

        Raises:
            Unsupported: when the posteriors are not diagonal Gaussians.
            BadInput: when something that is not codes lies there.
            WorkFailed: when the disk does not take them.
        """
        labels = self.labels
        written(Path(folder), (
            Piece(
                self.mean[rows], None if self.scale is None else self.scale[rows], self.sample[rows], self.kl[rows],
                None if labels is None else labels[rows], None,
            )
            for rows in blocks(len(self))
        ))  # fmt: skip

    @classmethod
    def open(cls, folder: str | Path) -> "Codes":
        """Codes that `save` or `of` wrote: mapped into memory and read when they are touched. They are for reading.

        Raises:
            BadInput: when the folder holds no codes, or a table is missing, cut short or not what the header says.

        Example:
            >>> from tempfile import gettempdir
            >>> codes = Codes.from_gaussian(torch.zeros(3, 2), torch.ones(3, 2))
            >>> folder = Path(gettempdir()) / "codes of a docstring"
            >>> codes.save(folder)
            >>> torch.equal(Codes.open(folder).sample, codes.sample)
            True
        """
        mapped = Mapped(Path(folder))
        tables = mapped.tables
        shapes = {name: tuple(table.shape) for name, table in tables.items()}
        mean, kl = shapes.get("mean", ()), shapes.get("kl", ())
        alike = all(shapes.get(name) == mean for name in ("scale", "sample"))
        if not alike or len(mean) != 2 or len(kl) != 2 or {shape[0] for shape in shapes.values()} != {mean[0]}:
            raise BadInput(f"{folder} should hold mean, scale, sample and kl of N examples each, got {shapes}")
        four = tables["mean"], tables["scale"], tables["sample"], tables["kl"]
        return cls(*four, tables.get("labels"), release=mapped.release)


class Piece(NamedTuple):
    """A batch of codes, and its posteriors where these are no diagonal Gaussians."""

    mean: Tensor
    scale: Tensor | None
    sample: Tensor
    kl: Tensor
    labels: Tensor | None
    posterior: Distribution | None


def encode(model: Model, batches: Iterable[tuple[Tensor, Tensor | None]], seed: int = 0) -> Codes:
    """`Codes.of` from batches that are ready for the model, without looking at the numbers: they may be NaN.

    Raises:
        ShapeError: when there is no batch.
    """
    pieces = list(pieces_of(model, batches, seed))
    if not pieces:
        raise ShapeError("the data hold no example; at least two are needed")
    mean, sample, kl = (torch.cat([getattr(piece, name) for piece in pieces]) for name in ("mean", "sample", "kl"))
    scales, labels = [one.scale for one in pieces], [one.labels for one in pieces]
    scale = None if any(s is None for s in scales) else torch.cat([s for s in scales if s is not None])
    label = None if any(y is None for y in labels) else torch.cat([y for y in labels if y is not None])
    posteriors = tuple(one.posterior for one in pieces if one.posterior is not None) if scale is None else ()
    return Codes(mean, scale, sample, kl, label, posteriors)


def pieces_of(model: Model, batches: Iterable[tuple[Tensor, Tensor | None]], seed: int) -> Iterator[Piece]:
    """One batch of codes after another."""
    seen = 0
    with evaluation(model, seed):
        for x, y in batches:
            q = model.posterior(x)
            mean, scale, z = tabulate(q, seen, seed)
            seen += len(mean)
            rates = divergences(q, model.prior(), z.to(x if x.is_floating_point() else mean.to(x.device)))
            yield Piece(mean, scale, z, rates, y, q if scale is None else None)


def written(folder: Path, pieces: Iterable[Piece]) -> Codes:
    """Codes on disk from batches of them, looked at before the folder takes its name."""
    with drafted(folder) as draft:
        for piece in pieces:
            if piece.scale is None:
                raise Unsupported("codes on disk need diagonal Gaussian posteriors; keep those of others in memory")
            append(draft, piece)
        if not draft.files:
            raise ShapeError("the data hold no example; at least two are needed")
        draft.complete()
        checked(Codes.open(draft.folder))
    return Codes.open(folder)


def append(draft: Draft, piece: Piece) -> None:
    """The next batch."""
    for name in NAMES:
        table = getattr(piece, name)
        if table is not None:
            draft.append(name, table.double() if name == "sample" else table)


def blocks(n: int) -> Iterator[slice]:
    """Consecutive examples."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def checked(codes: Codes) -> Codes:
    """The codes, or an error that says what is wrong with them."""
    if len(codes) < 2:
        raise BadInput(f"codes of at least two examples are needed, got {len(codes)}")
    for name, values in {"mean": codes.mean, "scale": codes.scale, "KL": codes.kl}.items():
        bad = [] if values is None else broken(values, codes.release)
        if bad:
            raise BadInput(
                f"the posterior {name} should be finite, but {len(bad)} of {len(codes)} examples are NaN or "
                f"infinite (first: example {bad[0]}); look at these inputs and at the encoder's log-variance"
            )
    if codes.scale is not None and not all(bool((codes.scale[rows] > 0).all()) for rows in blocks(len(codes))):
        raise BadInput("posterior scales should be positive, got zero or less; they are standard deviations")
    if codes.labels is not None and len(codes.labels) != len(codes):
        raise ShapeError(f"one label an example is needed, got {len(codes.labels)} for {len(codes)} examples")
    return codes


def broken(values: Tensor, release: Callable[[], None]) -> list[int]:
    """Which examples hold a number that is not finite."""
    found: list[int] = []
    for rows in blocks(len(values)):
        finite = values[rows].isfinite()
        if not finite.all():
            found += ((~finite).any(1).nonzero().flatten() + rows.start).tolist()
        release()
    return found
