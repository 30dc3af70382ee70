"""What every latent carries."""

from dataclasses import dataclass

import torch

from uncollapse.diagnosis.subject import Evidence, Subject

__all__ = ["LatentRow", "by_latent"]

CARRIES = 0.1  #: nats of information from which a latent carries something
CLOSE = 2.0  #: factor round that threshold within which it is called borderline


@dataclass(frozen=True)
class LatentRow:
    """One column of z.

    Attributes:
        index: its number.
        group: the name of its group, or None.
        kl: mean KL to the prior, nats; NaN where the KL does not factorise.
        information: I(x;z_j), nats.
        mismatch: KL(q(z_j)||p_j), nats; NaN where the KL does not factorise.
        variance: over the examples, of the posterior means.
        mean: over the examples, of the posterior means.
        scale: mean posterior standard deviation; NaN where there is none.
        word: "carries", "borderline", "dead" (it sits on the prior) or "off-prior" (KL, and no information).
    """

    index: int
    group: str | None
    kl: float
    information: float
    mismatch: float
    variance: float
    mean: float
    scale: float
    word: str


def by_latent(subject: Subject, evidence: Evidence) -> list[LatentRow]:
    """One row a latent."""
    codes, rate = subject.codes, evidence.kl
    nothing = torch.full((codes.latent,), float("nan"), dtype=torch.float64)
    kl, mismatch = (rate.per_dim, rate.mismatch_per_dim) if rate.factorises else (nothing, nothing)
    scale = nothing if codes.scale is None else codes.scale.double().mean(0)
    columns = (kl, rate.information_per_dim, mismatch, evidence.units.spectrum, codes.mean.double().mean(0), scale)
    groups = {i: name for name, part in subject.adapted.groups.items() for i in range(codes.latent)[part]}
    words = [word_of(*pair) for pair in zip(kl.tolist(), rate.information_per_dim.tolist(), strict=True)]
    rows = zip(*(column.tolist() for column in columns), words, strict=True)
    return [LatentRow(index, groups.get(index), *row) for index, row in enumerate(rows)]


def word_of(kl: float, information: float) -> str:
    """A word for one latent."""
    if information >= CARRIES / CLOSE:
        return "carries" if information >= CARRIES * CLOSE else "borderline"
    return "off-prior" if kl > CARRIES * CLOSE else "dead"
