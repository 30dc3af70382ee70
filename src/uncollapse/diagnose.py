"""`diagnose`: hand over a trained model and data, be told whether it collapsed, where, why, and what to do."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from uncollapse.diagnosis.advice import Advice, advise
from uncollapse.diagnosis.answering import STEPS, Answer, Steps, answer, too_small
from uncollapse.diagnosis.classes import ClassRow
from uncollapse.diagnosis.describing import data_of, model_of, versions
from uncollapse.diagnosis.entering import enter
from uncollapse.diagnosis.finding import Finding
from uncollapse.diagnosis.guarding import as_it_was
from uncollapse.diagnosis.latents import LatentRow
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.objective import Objective
from uncollapse.plain import finite_only
from uncollapse.progress import Report, shown
from uncollapse.verdict import Verdict

__all__ = ["Diagnosis", "diagnose"]

FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """What `diagnose` found; print it, write it as a page, or take it as plain values.

    Attributes:
        verdict: the word and its reasons.
        sentence: the verdict in one sentence.
        causes: what was found, upstream causes first, each with its numbers.
        tests: every test that was made: found, clear, or untested and why.
        advice: what to change, in the order of the causes.
        latents: what every latent carries.
        classes: what is known about the inputs of every class; empty without labels.
        contradictions: numbers that seem to disagree, explained.
        borderline: what another sample could turn, or None.
        remarks: how the model and the data were taken.
        evidence: KL, bracket, active units, shuffle gap; None below two examples.
        result: everything as plain values, as `to_dict` returns it.
    """

    verdict: Verdict
    sentence: str
    causes: list[Finding]
    tests: list[Finding]
    advice: list[Advice]
    latents: list[LatentRow]
    classes: list[ClassRow]
    contradictions: list[str]
    borderline: str | None
    remarks: list[str]
    evidence: Evidence | None
    result: dict[str, Any]

    def __repr__(self) -> str:
        causes = ", ".join(cause.cause for cause in self.causes) or "none found"
        return f"Diagnosis({self.verdict.word}; causes: {causes})"

    def __str__(self) -> str:
        from uncollapse.report.diagnosis import to_text

        return to_text(self.result)

    def __rich__(self) -> Any:
        from uncollapse.report.diagnosis import to_rich

        return to_rich(self.result)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return self.result

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return its path.

        Raises:
            WorkFailed: when the disk is full or may not be written.
        """
        from uncollapse.report.diagnosis import write

        return write(self.result, path)

    def to_card(self) -> str:
        """A section for a model card, in Markdown."""
        from uncollapse.report.diagnosis import to_card

        return to_card(self.result)


def diagnose(
    model: Any,
    data: Any = None,
    labels: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | None = None,
    objective: Objective | None = None,
    weight: float | None = None,
    history: Mapping[str, Any] | None = None,
    likelihood: Any = None,
    budget: str = "quick",
    seed: int = 0,
    batch_size: int = 512,
    name: str | None = None,
    command: str | None = None,
    progress: bool | Report = False,
) -> Diagnosis:
    r"""Find out whether a model's posterior has collapsed, where, why, and what to change.

    The verdict rests on the information $I(x;z)$ (a bracket, in nats), not on the KL; on what a wrong code costs
    $\log p(x|z)$; and on $\mathrm{KL}(q(z)\|p)$. Then every cause of `uncollapse.diagnosis.CAUSES` is looked for by a
    test with a number. The model is left as it was.

    Arguments:
        model: a `VAE`, anything with `posterior`, `likelihood` and `prior`, or anything that `adapters.adapt` takes:
            modules with `encode` and `decode`, Lightning modules, models of pythae, scvi-tools, diffusers. `Codes`
            alone do too.
        data: a tensor or array (N, *X), a pair (x, labels), a data set or a part of one, a loader (of tensors, pairs or
            dictionaries), or `Codes`.
        labels: (N,) numbers or words; classes are told apart by them.
        loss: the training loss, `(model, x) -> scalar` or `(x_hat, x, mean, log_variance) -> scalar`; the weight of the
            KL is read off its gradients.
        optimizer: to see whether it holds the encoder.
        objective: ours, to see whether its schedules have ended.
        weight: the declared weight of the KL (beta).
        history: values over training; "beta" is read.
        likelihood: what the decoder's output means, where it returns a tensor: "bernoulli", "gaussian" or a reader.
        budget: "quick" (seconds) or "full" (a minute or two: more examples, longer refinement, an IWAE bound).
        seed: of every sample.
        batch_size: examples per pass of the encoder.
        name: shown as the title; the class of the model if None.
        command: shown on the page.
        progress: show a bar.

    Returns:
        A `Diagnosis`.

    Raises:
        BadInput: when an argument is out of range, or labels do not fit.
        ShapeError: when the data are empty or do not fit the model.
        Unsupported: when the model has no posterior.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> report = uncollapse.diagnose(model, torch.rand(200, 16))
        >>> report.verdict.word in ("collapsed", "partial collapse", "healthy", "prior hole", "decoder ignores z")
        True
        >>> sorted(report.to_dict())[:3]
        ['advice', 'budget', 'causes']
    """
    began = time.perf_counter()
    given: dict[str, Any] = {"loss": loss, "optimizer": optimizer, "objective": objective, "weight": weight}
    given["history"] = {} if history is None else history
    with shown(progress, STEPS, "reading") as tell:
        steps = Steps(tell)
        steps("encoding the data")
        with as_it_was(model if isinstance(model, nn.Module) else None, weights=loss is not None):
            subject, remarks = enter(model, data, labels, likelihood, budget, seed, batch_size, given)
            found = answer(subject, steps) if len(subject.codes) > 1 else too_small(subject)
    return assembled(subject, found, remarks, name, command, began)


def assembled(
    subject: Subject, answer: Answer, remarks: list[str], name: str | None, command: str | None, began: float
) -> Diagnosis:
    """The diagnosis, as objects and as plain values."""
    causes = [one for one in answer.tests if one.state == "found"]
    advice = advise(causes, answer.verdict.word)
    remarks = [*remarks, *answer.remarks, *spoken(subject, advice)]
    result = {
        "format": FORMAT,
        "name": name or type(subject.native if subject.native is not None else subject.model).__name__,
        "verdict": {"word": answer.verdict.word, "sentence": answer.sentence, "reasons": answer.verdict.reasons,
                    "borderline": answer.borderline},
        "metrics": answer.metrics or {},
        "ceiling": None if answer.evidence is None else answer.evidence.bracket.ceiling,
        "saturated": None if answer.evidence is None else answer.evidence.bracket.saturated,
        "latents": [asdict(row) for row in answer.latents],
        "tests": [one.to_dict() for one in answer.tests], "causes": [one.cause for one in causes],
        "advice": [asdict(one) for one in advice], "contradictions": list(answer.contradictions), "remarks": remarks,
        "local": answer.local, "classes": [asdict(row) for row in answer.classes] or None, "images": answer.images,
        "model": model_of(subject), "data": data_of(subject), "budget": subject.budget.name,
        "seconds": round(time.perf_counter() - began, 2), "versions": versions(), "command": command,
    }  # fmt: skip
    return Diagnosis(
        answer.verdict, answer.sentence, causes, answer.tests, advice, list(answer.latents), list(answer.classes),
        list(answer.contradictions), answer.borderline, remarks, answer.evidence, finite_only(result),
    )  # fmt: skip


def spoken(subject: Subject, advice: list[Advice]) -> list[str]:
    """What the advice takes for granted, where the model is somebody else's."""
    if subject.adapted.kind == "uncollapse" or not any("uncollapse." in one.code for one in advice):
        return []
    return [
        "The advice speaks of model = uncollapse.VAE(encoder, decoder, latent=D) round your two networks; an Objective "
        "goes to uncollapse.fit, or its remedies into your own loop in three lines (docs/how-to/own-loop.md)."
    ]
