"""What `diagnose` is called with, looked at before any work is done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from uncollapse.codes import Codes
from uncollapse.distributions import describe
from uncollapse.errors import BadInput
from uncollapse.objective import Objective

__all__ = ["check_arguments", "check_model"]


def check_arguments(
    given: Mapping[str, Any], budget: Any, seed: Any, batch_size: Any, known: Mapping[str, Any]
) -> None:
    """Refuse what is out of range.

    Arguments:
        given: loss, optimizer, objective, weight and history, by name.
        budget, seed, batch_size: as `diagnose` takes them.
        known: budgets by name.

    Raises:
        BadInput: for the first that is wrong.
    """
    if budget not in known:
        raise BadInput(f'budget should be "quick" or "full", got {budget!r}')
    for name, value, least in (("seed", seed, None), ("batch_size", batch_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
            raise BadInput(f"{name} should be a whole number{' of at least 1' if least else ''}, got {value!r}")
    weight, loss, history = given.get("weight"), given.get("loss"), given.get("history")
    if weight is not None and not (isinstance(weight, int | float) and 0 <= weight < float("inf")):
        raise BadInput(f"weight should be the weight of the KL, a number of at least 0, got {weight!r}")
    if loss is not None and not callable(loss):
        raise BadInput(f"loss should be a function (model, x) or (x_hat, x, mean, log_variance), got {describe(loss)}")
    if history is not None and not isinstance(history, Mapping):
        raise BadInput(f'history should be values by name, such as {{"beta": [...]}}, got {describe(history)}')
    for name, kind in (("optimizer", Optimizer), ("objective", Objective)):
        if given.get(name) is not None and not isinstance(given[name], kind):
            raise BadInput(f"{name} should be one {kind.__name__}, got {describe(given[name])}")
    check_history(history or {})


def check_history(history: Mapping[str, Any]) -> None:
    """Refuse a history of beta that is no row of numbers."""
    try:
        [float(one) for one in history.get("beta", [])]
    except (TypeError, ValueError) as error:
        raise BadInput(f'history["beta"] should be a row of numbers, got {history["beta"]!r:.60}') from error


def check_model(model: Any) -> None:
    """Refuse what is no model, or a model without numbers.

    Raises:
        BadInput: with what to hand over instead.
    """
    if model is None:
        raise BadInput("expected a model, got None; pass the trained model, or Codes in its place")
    if isinstance(model, str | Path):
        raise BadInput(f"expected a model, got the text {str(model)!r}; make the model and load its weights first")
    if isinstance(model, Mapping) and not isinstance(model, nn.Module):
        raise BadInput(
            "expected a model, got a dictionary, as torch.load gives one; make the model, call "
            "model.load_state_dict(...) and pass the model"
        )
    if isinstance(model, Tensor):
        raise BadInput(f"expected a model, got {describe(model)}; the model comes first: diagnose(model, x)")
    if isinstance(model, Codes):
        raise BadInput("codes come alone, diagnose(codes), or in the place of the data, diagnose(model, codes)")
    for parameter in model.parameters() if isinstance(model, nn.Module) else ():
        if isinstance(parameter, UninitializedParameter):
            raise BadInput("the model has lazy layers that have not seen a batch; pass one through it, or load weights")
        if parameter.device.type == "meta":
            raise BadInput(
                "the model is on the meta device and has no weights; load them: load_state_dict(assign=True)"
            )
