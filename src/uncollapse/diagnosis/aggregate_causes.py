"""What the codes look like together: blown up, in tight clusters, beside the prior, or empty for some inputs."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.codes import evaluation, private_stream
from uncollapse.diagnosis.classes import by_class, empty_inputs
from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.metrics.information import BIASED

__all__ = ["clusters", "hidden_hole", "hole", "inflation", "local"]

FAR = 0.5  #: share of the prior's samples beside all codes from which there is a hole, whatever the mismatch
LEAST = 20  #: codes that say where codes lie
BLOWN = 4.0  #: standard deviations of the prior from which on codes count as blown up
SAMPLE = 1000  #: codes between which all distances are computed
TOUCHING, APART = 1.0, 4.0  #: distance of two posteriors in their own scales: the same, and not the same
WASTED = 2.0  #: nats of KL above the information that tight clusters must cost to matter


def inflation(subject: Subject, evidence: Evidence) -> Finding:
    """Whether the codes spread over many times the prior's scale, which costs KL and adds nothing."""
    cause, spread = "scale inflation", relative_spread(subject)
    carrying = evidence.kl.information_per_dim >= 0.1
    if spread is None or not bool(carrying.any()):
        return untested(cause, "Latents that carry something, and a prior with a variance, are needed.")
    factor = float(spread[carrying].median())
    paid = float(evidence.kl) - float(evidence.bracket.upper)
    numbers = {"factor": factor, "mismatch": paid}
    said = f"The codes of latents that carry something spread over {factor:.1f} standard deviations of the prior"
    if factor > BLOWN:
        return found(cause, f"{said}, which costs {paid:.1f} nats of KL and tells nothing.",
                     min(1.0, factor / 30 + 0.3), **numbers)  # fmt: skip
    return clear(cause, f"{said}.", **numbers)


def relative_spread(subject: Subject) -> Tensor | None:
    """Standard deviation of the aggregate posterior over the prior's, (D,); None where the prior has none."""
    try:
        width = subject.model.prior().stddev.detach().double().cpu()
    except (NotImplementedError, AttributeError):
        return None
    if width.shape[-1:] != (subject.codes.latent,) or not bool((width > 0).all()):
        return None
    return subject.codes.sample.double().std(0) / width.reshape(-1, subject.codes.latent).mean(0)


def clusters(subject: Subject, evidence: Evidence) -> Finding:
    """Whether posteriors are either the same or far apart, so that the code only names a cluster."""
    cause, codes = "tight clusters", subject.codes
    if codes.scale is None or len(codes) < 20:
        return untested(cause, "At least 20 Gaussian posteriors are needed.")
    order = torch.randperm(len(codes), generator=private_stream(subject.seed, "clusters"))[:SAMPLE]
    live = evidence.kl.information_per_dim >= 0.1  # the others add no distance
    if not bool(live.any()):
        return clear(cause, "No latent carries enough to name a cluster.")
    sizes, between = components(codes.mean[order][:, live].double(), codes.scale[order][:, live].double())
    shares = sizes / sizes.sum()
    entropy = float(-(shares * shares.log()).sum())
    rate, n = float(evidence.kl), len(order)
    numbers = {"clusters": float(len(sizes)), "entropy": entropy, "kl": rate, "between": between}
    said = f"{len(sizes)} clusters of equal posteriors hold the codes of {n:,} inputs"
    if 2 <= len(sizes) <= n / 5 and between < 0.01:
        waste = rate - entropy
        if waste > WASTED:
            said += f": {rate:.0f} nats of KL, and {entropy:.2f} of information, which is which cluster."
            return found(cause, said, waste / max(rate, 1e-9), **numbers)
    return clear(cause, f"The posteriors overlap by degrees (groups among {n:,} inputs: {len(sizes)}).", **numbers)


def components(mean: Tensor, scale: Tensor) -> tuple[Tensor, float]:
    """Sizes of the groups of posteriors that touch, and the share of pairs that are neither the same nor far apart."""
    from scipy.sparse.csgraph import connected_components

    width = scale.log().mean(0).exp()
    distance = torch.cdist(mean / width, mean / width)
    near = distance < TOUCHING * math.sqrt(mean.shape[1])
    _, names = connected_components(near.numpy(), directed=False)
    sizes = torch.bincount(torch.as_tensor(names).long()).double()
    middle = (distance >= TOUCHING * math.sqrt(mean.shape[1])) & (distance < APART * math.sqrt(mean.shape[1]))
    return sizes, float(middle.double().mean())


def hole(subject: Subject, evidence: Evidence) -> Finding:
    """Whether samples of the prior land where no code lies."""
    cause = "prior hole"
    mismatch = max(float(evidence.kl) - float(evidence.bracket.upper), evidence.kl.separation)
    if len(subject.codes) < LEAST:
        return untested(cause, f"At least {LEAST} codes are needed to say where they lie.")
    try:
        far, ratio = landing(subject)
    except (NotImplementedError, RuntimeError) as error:
        return untested(cause, f"The prior cannot be sampled: {error}.")
    numbers = {"mismatch": mismatch, "far": far, "ratio": ratio}
    said = (
        f"KL(q(z)||p) is at least {max(mismatch, 0):.2f} nats; {far:.0%} of the prior's samples land farther from any "
        f"code than 99 % of the codes' own samples do ({ratio:.1f} times the usual distance)"
    )
    if evidence.verdict.word == "prior hole":
        return found(cause, f"{said}.", min(1.0, max(0.2, far)), **numbers)
    return clear(cause, f"{said}.", **numbers)


def landing(subject: Subject) -> tuple[float, float]:
    """Share of prior samples farther from all codes than 99 % of fresh codes are; the ratio of median distances."""
    if "landing" not in subject.memory:
        subject.memory["landing"] = landed(subject)
    found: tuple[float, float] = subject.memory["landing"]
    return found


def landed(subject: Subject, count: int = 1000) -> tuple[float, float]:
    """The same, measured."""
    codes = subject.codes
    order = torch.randperm(len(codes), generator=private_stream(subject.seed, "landing"))
    half = min(len(codes) // 2, 20_000)
    known, fresh = codes.sample[order[:half]].double(), codes.sample[order[half : half + count]].double()
    with evaluation(subject.module, subject.seed):
        drawn = prior_samples(subject.model.prior(), count, codes.latent)
    width = known.std(0).clamp(min=1e-9)
    ours, theirs = (torch.cdist(one / width, known / width).amin(1) for one in (fresh, drawn))
    far = float((theirs > ours.quantile(0.99)).double().mean())
    return far, float(theirs.median() / ours.median().clamp(min=1e-12))


def hidden_hole(subject: Subject, evidence: Evidence) -> str | None:
    """A hole that the mismatch cannot show because the information is near its ceiling, in a sentence; or None."""
    bracket = evidence.bracket
    if bracket.ceiling - bracket.lower > BIASED or len(subject.codes) < LEAST:
        return None
    try:
        far, _ = landing(subject)
    except (NotImplementedError, RuntimeError):
        return None
    if far < FAR:
        return None
    return (
        f"{far:.0%} of the prior's samples land where no code lies. The mismatch does not show it, because the "
        f"information is near its ceiling of {bracket.ceiling:.2f} nats."
    )


def prior_samples(prior: Distribution, count: int, latent: int) -> Tensor:
    """Samples (count, D) on the CPU."""
    return prior.sample(torch.Size((count,))).detach().double().cpu().reshape(count, latent)


def local(subject: Subject, evidence: Evidence) -> Finding:
    """Whether single classes, or a share of the inputs, carry nothing while the others do."""
    cause, rows = "class collapsed", by_class(subject, evidence)
    empty = [row for row in rows if row.word == "collapsed"]
    share = empty_inputs(subject)
    numbers = {"classes": float(len(rows)), "empty": float(len(empty)), "share": share}
    if evidence.verdict.word in ("collapsed", "off-prior collapse"):
        return clear(cause, "Nothing is carried for any input: that is no local matter.", **numbers)
    if empty:
        names = ", ".join(row.label for row in empty[:5])
        return found(cause, f"The posterior carries nothing for {len(empty)} of {len(rows)} classes ({names}).",
                     len(empty) / len(rows), **numbers)  # fmt: skip
    if share > 0.05:
        return found(cause, f"For {share:.0%} of the inputs the posterior is the prior, while others carry "
                     f"{float(evidence.bracket.lower):.1f} nats.", share, **numbers)  # fmt: skip
    said = f"None of {len(rows)} classes is empty" if rows else "No labels were given"
    if math.isnan(share):
        return clear(cause, f"{said}; the KL is sampled, and too noisy to judge single inputs.", **numbers)
    return clear(cause, f"{said}, and {share:.1%} of the inputs have a posterior that is the prior.", **numbers)
