"""A run whose weights are shared out works on a copy, and gives its weights back to the model that it was given."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from uncollapse.errors import NonFinite
from uncollapse.objective import Objective
from uncollapse.plan import Settings
from uncollapse.processes.shards import entire
from uncollapse.team import Team

__all__ = ["shares_out", "working_copy"]


def shares_out(plan: Settings, team: Team) -> bool:
    """Whether every process is to have a piece of each weight."""
    return plan.strategy == "fsdp" and team.size > 1


@contextmanager
def working_copy(
    model: nn.Module, objective: Objective, plan: Settings, team: Team
) -> Iterator[tuple[nn.Module, Objective]]:
    """What is trained: model and objective, or a copy of both that may be taken apart.

    The copy's weights are put into the model when the block ends, and when all processes leave it at the same step.
    """
    if not shares_out(plan, team):
        yield model, objective
        return
    ours = copy.deepcopy((model, objective))
    try:
        yield ours
    except (NonFinite, KeyboardInterrupt) as error:
        if error.args:  # a second Ctrl-C says nothing, and comes to one process at a time
            give_back((model, objective), ours)
        raise
    give_back((model, objective), ours)


def give_back(given: tuple[nn.Module, ...], ours: tuple[nn.Module, ...]) -> None:
    """Put what was trained into what was given."""
    for theirs, trained in zip(given, ours, strict=True):
        theirs.load_state_dict(entire(trained.state_dict()))
