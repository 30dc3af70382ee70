"""From what the user hands over to what the tests are asked about."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse.adapters import Adapted, adapt
from uncollapse.codes import Codes, dtype_of
from uncollapse.diagnosis.arguments import check_arguments, check_model
from uncollapse.diagnosis.describing import misfit, training
from uncollapse.diagnosis.labels import about, classes
from uncollapse.diagnosis.peeking import check_first, peeked, tried
from uncollapse.diagnosis.reading import finite, kept, read, unvalidated
from uncollapse.diagnosis.subject import FULL, QUICK, Budget, Subject
from uncollapse.diagnosis.unpacking import unpacked
from uncollapse.distributions import standard_normal
from uncollapse.errors import BadInput, Unsupported

__all__ = ["BUDGETS", "enter"]

BUDGETS = {budget.name: budget for budget in (QUICK, FULL)}


def enter(
    model: Any, data: Any, labels: Any, likelihood: Any, budget: str, seed: int, batch_size: int, given: dict[str, Any]
) -> tuple[Subject, list[str]]:
    """Adapt the model, encode the data once, and say how both were taken."""
    check_arguments(given, budget, seed, batch_size, BUDGETS)
    if isinstance(model, Codes) and data is None:
        model, data = None, model
    if data is None:
        data = getattr(model, "adata", None)  # scvi-tools' models hold theirs
    if data is None:
        raise BadInput("diagnose needs data beside the model: a tensor, an array, a loader or Codes")
    if isinstance(data, Codes):
        return from_codes(model, data, labels, BUDGETS[budget], seed, given)
    check_model(model)
    data, remarks = part_of(data)
    data, labels = unpacked(data, labels, batch_size)
    first, data = peeked(data)
    check_first(first)
    with unvalidated():
        adapted = adapt(model, first.clone() if isinstance(first, Tensor) else first, likelihood=likelihood)
        tried(adapted, first)
    if likelihood is not None and adapted.kind == "uncollapse":
        raise BadInput("the model has a likelihood of its own; leave likelihood= out, or set read_x= where it is made")
    one = read(adapted, data, labels, BUDGETS[budget].examples, batch_size, seed)
    remarks += [*adapted.remarks, *one.remarks, *mode_of(model)]
    subject = Subject(
        adapted, model, one.codes, one.x, one.rows, BUDGETS[budget], seed, **given,
        dropped=len(one.dropped), distinct=one.distinct, names=one.names,
    )  # fmt: skip
    return subject, [*remarks, *misfit(subject)]


def from_codes(
    model: Any, codes: Codes, labels: Any, budget: Budget, seed: int, given: dict[str, Any]
) -> tuple[Subject, list[str]]:
    """A subject without inputs: what codes alone can tell."""
    remark = "Only codes were given: nothing is said about the decoder or the inputs."
    values, names = classes(codes.labels if labels is None else labels, len(codes))
    good = finite(codes)
    dropped = int((~good).sum())
    codes = Codes(codes.mean, codes.scale, codes.sample, codes.kl, values, codes.posteriors)
    codes = kept(codes, good) if dropped else codes
    adapted = Adapted(OnlyCodes(codes.latent), "codes", decodes=False)
    nothing = torch.empty(0, codes.latent), torch.empty(0, dtype=torch.int64)
    subject = Subject(adapted, model, codes, *nothing, budget, seed, **given, dropped=dropped, names=names)
    return subject, [remark, *about(values)]


class OnlyCodes(nn.Module):
    """Stands for a model of which only codes are at hand; its prior is taken to be N(0, I)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def posterior(self, x: Tensor) -> Distribution:
        """Not to be had."""
        raise Unsupported("only codes were given; pass the model and the data to ask for more")

    def likelihood(self, z: Tensor) -> Distribution:
        """Not to be had."""
        raise Unsupported("only codes were given; pass the model and the data to ask for more")

    def prior(self) -> Distribution:
        """N(0, I)."""
        return standard_normal(self.latent)


def part_of(data: Any) -> tuple[Any, list[str]]:
    """The test part of a data set that has one, with a remark; everything else as it is."""
    test = getattr(data, "test", None)
    if test is None or not hasattr(test, "batches"):
        return data, []
    return test, ["The test part of the data set was used."]


def mode_of(model: Any) -> list[str]:
    """Remarks on modes and precision."""
    module = model if isinstance(model, nn.Module) else None
    said = []
    if training(module):
        said.append("The model was left in training mode; it was evaluated in evaluation mode and put back.")
    if module is not None and dtype_of(module) in (torch.float16, torch.bfloat16):
        said.append(
            f"The model computes in {str(dtype_of(module)).removeprefix('torch.')}: posteriors are read in float32, "
            "but carry the rounding of the network."
        )
    return said
