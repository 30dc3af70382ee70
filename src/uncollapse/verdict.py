"""One word for the state of a posterior, with the numbers it rests on."""

from dataclasses import dataclass, field

from uncollapse.metrics import KL, ActiveUnits, Bracket, Estimate

__all__ = ["Verdict", "verdict"]

NOTHING = 0.1  #: nats of information below which a model or a latent, and of effect below which a decoder, has none
EMPTY_RATE = 0.5  #: nats of KL below which a posterior sits on the prior


@dataclass(frozen=True)
class Verdict:
    """A word and its reasons.

    Attributes:
        word: healthy, partial collapse, collapsed, off-prior collapse, decoder ignores z or prior hole.
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

    The KL in excess of the upper bound, KL(m||p) for the moment-matched Gaussian m of the aggregate posterior, is
    a lower bound of KL(q(z)||p(z)): a prior hole is declared when it exceeds 1 nat and the information.
    """
    size = len(units.spectrum)
    carrying = int((kl.information_per_dim >= NOTHING).sum())
    lower, upper, excess = float(bracket.lower), float(bracket.upper), float(kl) - float(bracket.upper)
    facts = [
        f"Information lies between {lower:.2f} and {upper:.2f} nats (ceiling log N = {bracket.ceiling:.2f}).",
        f"The KL is {float(kl):.2f} nats.",
        f"{carrying} of {size} latents carry at least {NOTHING} nats each; "
        f"{int(units)} have a variance of means of at least 0.01.",
    ]
    if lower < NOTHING + 2 * float(bracket.lower.se):
        word = "collapsed" if float(kl) < EMPTY_RATE else "off-prior collapse"
        if upper > 1:
            facts.append(f"The upper bound of {upper:.2f} nats leaves room; more examples would narrow it.")
    elif gap is not None and float(gap) < NOTHING + 2 * float(gap.se):
        word = "decoder ignores z"
        facts.append(f"Shuffling z between inputs costs the likelihood {float(gap):.2f} nats.")
    elif excess > max(1.0, lower):
        word = "prior hole"
        facts.append(f"At least {excess:.2f} nats of KL separate the aggregate posterior from the prior.")
    else:
        word = "healthy" if carrying == size else "partial collapse"
    return Verdict(word, facts)
