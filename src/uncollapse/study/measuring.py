"""What is measured of a trained model, and along the way."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.data import DataSet
from uncollapse.metrics import (
    Estimate,
    active_units,
    density_coverage,
    kl,
    knn_probe,
    linear_probe,
    lipschitz,
    mutual_information,
    nll,
    noise_gap,
    shuffle_gap,
)  # fmt: skip
from uncollapse.metrics import legacy as formulas
from uncollapse.plan import derive
from uncollapse.study.legacy import legacy_values
from uncollapse.study.pictures import pictures, prior_samples
from uncollapse.study.spec import Measure, Run
from uncollapse.study.texts import texts
from uncollapse.verdict import verdict

__all__ = ["measure", "watcher"]

NO_DISTANCE = ("tokens", "negative-binomial", "multinomial")  #: data whose raw values are no feature space


@dataclass(frozen=True)
class Watcher:
    """What is measured at every validation: the bracket, KL and active units of the validation part.

    Attributes:
        data: whose validation part it is.
        batch: B, where the study asks for a paper's per-batch mutual information, which then stands beside as
            `mi_legacy`.
    """

    data: DataSet
    batch: int | None = None

    def __call__(self, model: Any) -> dict[str, float]:
        """Numbers by name."""
        codes = Codes.of(model, self.data.valid)
        bracket = mutual_information(codes)
        old = {} if self.batch is None else {"mi_legacy": float(formulas.batch_mutual_information(codes, self.batch))}
        return {
            "mi_lower": float(bracket.lower), "mi_upper": float(bracket.upper),
            "kl": float(kl(codes)), "active_units": float(active_units(codes)), **old,
        }  # fmt: skip


def watcher(data: DataSet, asked: Measure) -> Watcher:
    """What a study watches; unlike a function within a function, it can be sent to another process."""
    paper = [one.get("batch", 50) for one in asked.legacy.values() if one["formula"] == "batch_mutual_information"]
    return Watcher(data, paper[0] if paper else None)


def measure(run: Run, model: Any, data: DataSet) -> dict[str, Any]:
    """All metrics of a trained model on the test part, its verdict, spectrum and pictures."""
    model.eval()
    seed = derive(run.seed, "measure")
    codes = Codes.of(model, data.test, seed=seed)
    bracket, divergence, units = mutual_information(codes), kl(codes), active_units(codes)
    gap = shuffle_gap(model, data.test, seed=seed, codes=codes)
    metrics: dict[str, Estimate] = {
        **likelihoods(run.measure, model, data, seed),
        "kl": divergence, "kl_information": divergence.information, "kl_mismatch": divergence.mismatch,
        "mi_lower": bracket.lower, "mi_upper": bracket.upper, "active_units": units, "shuffle_gap": gap,
        **probes(run.measure, model, data, codes, seed), **local_constants(run.measure, model, data, codes),
    }  # fmt: skip
    generated, likeness = generations(run.measure, model, data, seed)
    judged = verdict(divergence, bracket, units, gap)
    return {
        "metrics": {name: value.to_dict() for name, value in {**metrics, **likeness}.items()},
        "legacy": {name: value.to_dict() for name, value in papers(run.measure, model, data, codes, seed).items()},
        "mi": {"ceiling": bracket.ceiling, "saturated": bool(bracket.saturated)},
        "verdict": {"word": judged.word, "reasons": judged.reasons},
        "spectrum": units.spectrum.tolist(),
        "reference": reference(data, run.measure) if likeness else {},
        "noise": [
            {"variance": s2, **noise_gap(model, data.test, s2, seed=seed, codes=codes).to_dict()}
            for s2 in run.measure.noise
        ],
        "texts": texts(model, data, run.measure.images, seed),
        "images": None if generated is None else pictures(model, data, generated, run.measure.images, seed),
    }


def papers(asked: Measure, model: Any, data: DataSet, codes: Codes, seed: int) -> dict[str, Estimate]:
    """The papers' own formulas that the study asks for."""
    return legacy_values(asked.legacy, model, data, codes, seed, asked.nll_examples)


def likelihoods(asked: Measure, model: Any, data: DataSet, seed: int) -> dict[str, Estimate]:
    """The importance-weighted bound; for texts also per token (the end mark counts) and as perplexity."""
    part = data.test if asked.nll_examples is None else data.test.head(asked.nll_examples)
    bound = nll(model, part, samples=asked.nll_samples, seed=seed)
    if not part.tokens:
        return {"nll": bound}
    each = float(part.lengths.double().mean())
    token = Estimate(float(bound) / each, se=bound.se / each, n=bound.n, unit="nats per token")
    return {"nll": bound, "nll_token": token, "perplexity": perplexity(token)}


def perplexity(token: Estimate) -> Estimate:
    """exp of the nats per token; the error to first order."""
    from math import exp

    value = exp(min(float(token), 700.0))
    return Estimate(value, se=value * token.se, n=token.n, unit="words")


def probes(asked: Measure, model: Any, data: DataSet, codes: Codes, seed: int) -> dict[str, Estimate]:
    """Accuracy of classifiers on the posterior means, where there are labels of at least two classes."""
    if codes.labels is None or data.train.y is None or int(data.train.y.min()) == int(data.train.y.max()):
        return {}
    train_codes = Codes.of(model, data.train, seed=seed)
    near = {} if asked.knn is None else {"knn": knn_probe(train_codes, codes, k=asked.knn)}
    return {"probe": linear_probe(train_codes, codes), **near}


def local_constants(asked: Measure, model: Any, data: DataSet, codes: Codes) -> dict[str, Estimate]:
    """Smallest and largest singular value of the decoder's Jacobian over some test codes."""
    if not asked.local:
        return {}
    some = data.test.head(asked.local)
    found = lipschitz(model, codes.mean[: len(some)], x=some.tensor(), examples=len(some))
    return {"local_smallest": found.smallest, "local_largest": found.largest}


def generations(asked: Measure, model: Any, data: DataSet, seed: int) -> tuple[Tensor | None, dict[str, Estimate]]:
    """Samples of the prior, and how they lie among the data; nothing where raw values are no feature space."""
    if data.likelihood in NO_DISTANCE:
        return None, {}
    generated = prior_samples(model, asked.samples or len(data.test), seed)
    return generated, density_coverage(data.test.tensor(), generated, k=asked.k)._asdict()


def reference(data: DataSet, asked: Measure) -> dict[str, float]:
    """Density and coverage of real training examples in place of the samples: what perfect samples would score."""
    count = min(len(data.train), asked.samples or len(data.test))
    found = density_coverage(data.test.tensor(), next(iter(data.train.batches(count)))[0], k=asked.k)
    return {"density": float(found.density), "coverage": float(found.coverage)}
