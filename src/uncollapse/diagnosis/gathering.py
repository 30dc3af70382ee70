"""The measurements that every diagnosis rests on."""

import torch
from torch import Tensor

from uncollapse.codes import evaluation
from uncollapse.diagnosis.refusals import reason
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.draw import Model, described
from uncollapse.metrics import NLL, active_units, kl, mutual_information, nll, shuffle_gap
from uncollapse.metrics.estimate import mean_estimate
from uncollapse.verdict import verdict

__all__ = ["gather", "likelihood_bound", "log_likelihoods"]


def gather(subject: Subject) -> tuple[Evidence, list[str]]:
    """Measure the code and what the decoder makes of it, and say what could not be measured and why."""
    codes, remarks = subject.codes, []
    queries = subject.budget.queries if len(codes) > subject.budget.queries else None
    bracket, rate, units = mutual_information(codes, queries=queries), kl(codes, queries=queries), active_units(codes)
    if queries is not None:
        remarks.append(
            f"The information is measured at {queries:,} of the {len(codes):,} examples, each against all of them; "
            f"its standard error is {bracket.lower.se:.3f} nats."
        )
    gap = distortion = None
    if subject.adapted.decodes and len(subject.x) > 1:
        try:
            count = subject.afford(len(subject.x), 3)
            values = log_likelihoods(subject.model, subject.some(count), subject.z[:count])
            broken = int((~values.isfinite()).sum())
            if broken:
                subject.memory["broken decoder"] = (broken, count)
            else:
                distortion = mean_estimate(-values, "nats")
                gap = shuffle_gap(subject.model, subject.some(count), seed=subject.seed)
        except Exception as error:  # somebody's decoder may raise anything
            remarks.append(f"The decoder could not be asked ({reason(error)}), so nothing is said about it.")
    return Evidence(rate, bracket, units, gap, distortion, verdict(rate, bracket, units, gap)), remarks


def log_likelihoods(model: Model, x: Tensor, z: Tensor, chunk: int = 256, seed: int = 0) -> Tensor:
    """log p(x_i|z_i) of paired inputs (M, *X) and codes (M, D), (M,) nats, in evaluation mode and without gradients."""
    with evaluation(model, seed):
        parts = zip(torch.split(x, chunk), torch.split(z, chunk), strict=True)
        return torch.cat([described(model.likelihood(code), one).log_prob(one).double().cpu() for one, code in parts])


def likelihood_bound(subject: Subject, samples: int = 64, examples: int = 1024) -> NLL | None:
    """The importance-weighted bound on the sample, with the full budget and a decoder; else None."""
    if subject.budget.name != "full" or not subject.adapted.decodes or not len(subject.x):
        return None
    try:
        return nll(subject.model, subject.some(subject.afford(examples, samples)), samples=samples, seed=subject.seed)
    except Exception:  # somebody's decoder may raise anything
        return None
