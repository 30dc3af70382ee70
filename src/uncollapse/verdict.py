"""One word for the state of a posterior, with the numbers it rests on."""

from dataclasses import dataclass, field

from uncollapse.metrics import KL, ActiveUnits, Bracket, Estimate
from uncollapse.metrics.information import BIASED

__all__ = ["Verdict", "verdict"]

NOTHING = 0.1  #: nats of information below which a model or a latent, and of effect below which a decoder, has none
FAR_OFF = 2.0  #: nats of mismatch below which the codes are not called far from the prior, however little they carry
EMPTY_RATE = 0.5  #: nats of KL below which a posterior sits on the prior


@dataclass(frozen=True)
class Verdict:
    """A word and its reasons.

    Attributes:
        word: healthy, partial collapse, collapsed, off-prior collapse, decoder ignores z, prior hole, or undetermined
            where the examples are too few to tell.
        reasons: sentences with the numbers.
    """

    word: str
    reasons: list[str] = field(default_factory=list)


def verdict(kl: KL, bracket: Bracket, units: ActiveUnits, gap: Estimate | None = None) -> Verdict:
    r"""Judge a posterior by its information, not by its KL.

    Arguments:
        kl: mean KL(q(z|x)||p(z)) with its split per latent, nats.
        bracket: lower and upper bound of the mutual information, nats.
        units: active units, for the record: a latent may count as active and still carry next to nothing.
        gap: mean loss of log p(x|z) when z is shuffled between the examples, nats; None when there is no decoder.

    The mismatch KL(q(z)||p(z)) is bounded from below in two ways: by the KL in excess of the upper bound, which is
    KL(m||p) for the moment-matched Gaussian m of the aggregate posterior, and, for a prior that factorises, by the sum
    of the mismatches of the latents (`KL.separation`). The larger one is held against the information.
    """
    low, high = sorted((float(bracket.lower), float(bracket.upper)))
    size, carrying = len(units.spectrum), int((kl.information_per_dim >= NOTHING).sum())
    hole = max(float(kl) - float(bracket.upper), kl.separation)
    facts = [
        f"Information lies between {low:.2f} and {high:.2f} nats (ceiling log N = {bracket.ceiling:.2f}).",
        f"The KL is {float(kl):.2f} nats; at least {max(hole, 0.0):.2f} only separate the codes from the prior.",
        f"{carrying} of {size} latents carry at least {NOTHING} nats each; "
        f"{int(units)} have a variance of means of at least 0.01.",
    ]
    repeated = float(kl.information) - high
    if repeated > max(0.5, 0.2 * high):
        facts.append(f"The latents repeat each other: their information adds up to {float(kl.information):.2f} nats.")
    word, more = judge(float(kl), bracket, hole, gap)
    if word == "healthy" and carrying < size:
        word = "partial collapse"
    return Verdict(word, [*facts, *more])


def judge(rate: float, bracket: Bracket, hole: float, gap: Estimate | None) -> tuple[str, list[str]]:
    """The word for the code as a whole, and what to say beside the common facts."""
    lower, upper = bracket.lower, bracket.upper
    if lower < NOTHING + 2 * lower.se:
        if 2 * lower.se < NOTHING or (lower < NOTHING and upper < NOTHING + 2 * upper.se):
            return ("collapsed" if rate < EMPTY_RATE else "off-prior collapse"), []
        return "undetermined", [f"The lower bound is uncertain by {lower.se:.2f} nats; more examples are needed."]
    if gap is not None and gap.value == gap.value and gap < NOTHING + min(2 * gap.se, EMPTY_RATE):
        return "decoder ignores z", [f"Shuffling z between inputs costs the likelihood {float(gap):.2f} nats."]
    near = bracket.ceiling - lower < BIASED
    if hole > max(FAR_OFF, float(upper) if near else float(lower)):
        return "prior hole", ["Codes and samples of the prior do not lie in the same places."]
    return "healthy", []
