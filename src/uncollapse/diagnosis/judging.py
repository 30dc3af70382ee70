"""The verdict in words: what the numbers say together, where they are close to a limit, and where they contradict."""

import math
from dataclasses import replace

from uncollapse.diagnosis.classes import by_class, empty_inputs
from uncollapse.diagnosis.finding import Finding
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.metrics.estimate import known_error
from uncollapse.verdict import FAR_OFF, NOTHING, Verdict

__all__ = ["borderline", "contradictions", "sentence", "settled"]

SENTENCES = {
    "healthy": "The posterior has not collapsed: the code carries {information} of information about its input.",
    "partial collapse": "The posterior has collapsed in part: {part}; the whole code carries {information}.",
    "collapsed": "The posterior has collapsed: the code carries {information} about its input.",
    "off-prior collapse": "The posterior has collapsed away from the prior: a KL of {kl} nats, and "
    "{information} of information.",
    "decoder ignores z": "The decoder ignores z: the code carries {information}, and the likelihood does not use it.",
    "prior hole": "The code carries {information}, but lies where the prior has little mass.",
    "undetermined": "The examples cannot tell whether the posterior has collapsed.",
}

FEWEST = 20  #: examples below which single latents, classes and distances to the prior rest on chance


def settled(subject: Subject, evidence: Evidence, local: Finding, hidden: str | None = None) -> Verdict:
    """The verdict of the numbers, with what single classes and inputs, and a hole that no mismatch shows, add to it."""
    base = evidence.verdict
    if len(subject.codes) < FEWEST and base.word in ("healthy", "partial collapse", "prior hole"):
        why = f"{len(subject.codes)} examples show that the code carries something, and are too few to say more."
        return replace(base, word="undetermined", reasons=[*base.reasons, why])
    if hidden is not None and base.word in ("healthy", "partial collapse"):
        base = replace(base, word="prior hole", reasons=[*base.reasons, hidden])
    if local.state != "found" or base.word not in ("healthy", "partial collapse", "prior hole"):
        return base
    word = base.word if base.word == "prior hole" else "partial collapse"
    return replace(base, word=word, reasons=[*base.reasons, local.sentence])


def sentence(subject: Subject, evidence: Evidence, verdict: Verdict) -> str:
    """The verdict in one sentence."""
    return SENTENCES[verdict.word].format(
        information=amount(evidence), kl=plain(float(evidence.kl)), part=what_part(subject, evidence)
    )


def plain(nats: float) -> str:
    """`12.3`, and `1.2e+07` from where digits mean nothing."""
    return f"{nats:.1f}" if abs(nats) < 1e5 else f"{nats:.1e}"


def amount(evidence: Evidence) -> str:
    """`3.1 nats`, `at least 6.2 nats`, `no more than 0.02 nats`, or `less than 0.01 nats`."""
    lower, upper = float(evidence.bracket.lower), float(evidence.bracket.upper)
    if max(upper, lower) < 0.01:
        return "less than 0.01 nats"
    if upper < NOTHING:
        return f"no more than {max(upper, lower):.2f} nats"
    if evidence.bracket.saturated or upper - lower > max(0.5, 0.2 * lower):
        return f"at least {lower:.1f} nats"
    return f"{lower:.2f} nats"


def what_part(subject: Subject, evidence: Evidence) -> str:
    """Which part is empty: latents, classes, inputs."""
    empty = [row.label for row in by_class(subject, evidence) if row.word == "collapsed"]
    dead = int((evidence.kl.information_per_dim < NOTHING).sum())
    parts = []
    if dead == subject.codes.latent:
        parts.append(f"no latent carries {NOTHING} nats by itself")
    elif dead:
        parts.append(f"{dead} of {subject.codes.latent} latents {'carries' if dead == 1 else 'carry'} nothing")
    if empty:
        named = ", ".join(empty[:3]) + " and others" * (len(empty) > 3)
        parts.append(f"class {named} carries nothing" if len(empty) == 1 else f"classes {named} carry nothing")
    elif not dead:
        parts.append(f"{empty_inputs(subject):.0%} of the inputs carry nothing")
    return " and ".join(parts)


def borderline(subject: Subject, evidence: Evidence) -> str | None:
    """What another sample of examples could turn, or None."""
    lower, gap = evidence.bracket.lower, evidence.gap
    at_most = evidence.bracket.upper + 2 * known_error(evidence.bracket.upper)
    if abs(lower - NOTHING) < 2 * known_error(lower) and at_most > NOTHING:
        return (
            f"Borderline: the information of {float(lower):.2f} ± {known_error(lower):.2f} nats is at the limit of "
            f"{NOTHING} between collapsed and not."
        )
    near = evidence.kl.information_per_dim
    close = int(((near > NOTHING / 2) & (near < NOTHING * 2)).sum())
    carrying = int((near >= NOTHING).sum())
    if (
        close
        and evidence.verdict.word in ("healthy", "partial collapse")
        and abs(subject.codes.latent - carrying) <= close
    ):
        return f"Borderline: {close} of {subject.codes.latent} latents carry close to {NOTHING} nats."
    if gap is not None and math.isfinite(gap.se) and abs(gap - NOTHING) < 2 * gap.se and lower > NOTHING:
        return f"Borderline: shuffling z costs {float(gap):.2f} ± {gap.se:.2f} nats, which may be nothing."
    mismatch = max(float(evidence.kl) - float(evidence.bracket.upper), evidence.kl.separation)
    limit = max(FAR_OFF, float(lower))
    if 0.7 * limit < mismatch < 1.4 * limit:
        return (
            f"Borderline: the distance of the codes from the prior, {mismatch:.1f} nats, is close to the information, "
            "from which on it is called a prior hole."
        )
    return None


def contradictions(subject: Subject, evidence: Evidence) -> list[str]:
    """Numbers that seem to say different things, told apart."""
    size, lower, rate = subject.codes.latent, float(evidence.bracket.lower), float(evidence.kl)
    nothing = float(evidence.bracket.upper) < NOTHING or evidence.verdict.word in ("collapsed", "off-prior collapse")
    said = []
    sampled = int((subject.codes.sample.double().var(0) >= 0.01).sum())
    if nothing and sampled:
        said.append(
            f"{sampled} of {size} units look active on samples, but the information is {lower:.2f} nats: a sample of "
            "the prior varies too. Units are counted on means."
        )
    if nothing and int(evidence.units):
        said.append(
            f"{int(evidence.units)} units count as active by the variance of their means, but the information is "
            f"{lower:.2f} nats: their posteriors are wider than their means differ."
        )
    carrying = int((evidence.kl.information_per_dim >= NOTHING).sum())
    if not nothing and int(evidence.units) - carrying >= max(2, size // 5):
        said.append(
            f"{int(evidence.units)} units count as active by the variance of their means, but {carrying} carry "
            f"{NOTHING} nats or more: at its threshold of 0.01 that count admits latents with 0.005 nats."
        )
    if nothing and rate > 1:
        said.append(
            f"The KL is {rate:.1f} nats, but the information is {lower:.2f}: all of it is distance from the prior."
        )
    total = float(evidence.kl.information)
    if total > float(evidence.bracket.upper) + max(0.5, 0.2 * float(evidence.bracket.upper)):
        said.append(
            f"The latents' information adds up to {total:.1f} nats, the whole code's is at most "
            f"{float(evidence.bracket.upper):.1f}: latents repeat one another."
        )
    if evidence.gap is not None and lower > 1 and float(evidence.gap) < NOTHING:
        said.append(
            f"The code holds {lower:.1f} nats, but a wrong code costs the likelihood {float(evidence.gap):.2f}: the "
            "encoder writes what the decoder does not read."
        )
    if rate + 3 * known_error(evidence.kl) + 0.05 < lower:
        said.append(
            f"The information ({lower:.2f} nats) is above the KL ({rate:.2f}), which cannot be: the prior given is not "
            "the one that the KL was taken to, or the posteriors are not those of the samples."
        )
    if "broken decoder" in subject.memory:
        broken, asked = subject.memory["broken decoder"]
        said.append(
            f"log p(x|z) is NaN or infinite for {broken:,} of {asked:,} inputs: the verdict is about the code alone, "
            "and nothing is known of what the decoder makes of it. Look at its weights and at the scale of the data."
        )
    if evidence.bracket.saturated:
        said.append(
            f"The information shown, {lower:.2f} nats, is all that {len(subject.codes):,} examples can show "
            f"({evidence.bracket.ceiling:.2f}); the true value may be as high as {float(evidence.bracket.upper):.1f}."
        )
    return said
