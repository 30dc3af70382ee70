"""Runs side by side in one process: those at the same step and learning rate move as one."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from uncollapse.board import Board
from uncollapse.errors import NonFinite
from uncollapse.fabric import interruptible
from uncollapse.fit import Fit, Loop
from uncollapse.seeds.stack import Stack

__all__ = ["train_together"]

Key = tuple[Any, ...]  #: learning rate, then the places of the runs
Report = Callable[[int, int, dict[str, Any]], None]


def train_together(loops: Sequence[Loop], report: Report) -> list[Fit]:
    """Train runs to their ends; a run that stops, or whose learning rate differs, leaves its stack.

    Arguments:
        loops: runs that can be stacked (see `stack.check`), each as far as its folder says.
        report: told (steps of all runs, their total, the last record).
    """
    for loop in loops:
        loop.resume()
        loop.learn()
        loop.board = Board(None if loop.step >= loop.total else loop.files.path, loop.step)
    side_by_side = Groups(loops)
    with interruptible() as interrupted:
        try:
            while running := [loop for loop in loops if loop.step < loop.total and not loop.stopped]:
                side_by_side.arrange(running)
                side_by_side.advance(report, interrupted)
        finally:
            side_by_side.close()
    for loop in loops:
        loop.board.close()
    return [loop.finish() for loop in loops]


class Groups:
    """The runs that move now, in stacks by learning rate and places."""

    def __init__(self, loops: Sequence[Loop]) -> None:
        self.loops = loops
        self.total = sum(loop.total for loop in loops)
        self.stacks: dict[Key, Stack | None] = {}
        self.until = 0

    def arrange(self, running: list[Loop]) -> None:
        """Stack the runs that are furthest behind by their learning rates, up to the step where that may change."""
        behind = min(loop.step for loop in running)
        ahead = [loop.step for loop in running if loop.step > behind]
        wanted: dict[float, list[int]] = {}
        ends = list(ahead)
        for place, loop in enumerate(self.loops):
            if loop.step == behind and any(loop is one for one in running):
                wanted.setdefault(loop.engine.lr, []).append(place)
                ends += [loop.total, (behind // loop.every + 1) * loop.every]
        self.until = min(ends)
        keys: list[Key] = [(rate, *places) for rate, places in wanted.items()]
        for key in [key for key in self.stacks if key not in keys]:
            self.drop(key)
        for key in keys:
            if key not in self.stacks:
                members = [self.loops[place] for place in key[1:]]
                self.stacks[key] = Stack(members) if len(members) > 1 else None

    def advance(self, report: Report, interrupted: Callable[[], bool]) -> None:
        """Train all stacks to the step `until`."""
        for key, stack in self.stacks.items():
            members = [self.loops[place] for place in key[1:]]
            while members[0].step < self.until:
                started = time.monotonic()
                move(members, stack)
                share = (time.monotonic() - started) / len(members)
                for loop in members:
                    settle(loop, share)
                report(sum(loop.step for loop in self.loops), self.total, (members[0].history or [{}])[-1])
                if interrupted():
                    self.leave()

    def leave(self) -> None:
        """Save all runs and end as `fit` does when it is interrupted."""
        for loop in self.loops:
            if loop.step < loop.total and not loop.stopped:
                loop.save()
        steps = sum(loop.step for loop in self.loops)
        raise KeyboardInterrupt(f"stopped after {steps} of {self.total} batches of all seeds; run again to resume")

    def drop(self, key: Key) -> None:
        """Give the runs of a stack their own memory."""
        stack = self.stacks.pop(key)
        if stack is not None:
            stack.close()

    def close(self) -> None:
        """Undo all stacks."""
        for key in list(self.stacks):
            self.drop(key)


def move(members: Sequence[Loop], stack: Stack | None) -> None:
    """One step of the runs of a stack, or of a run that is alone."""
    if stack is not None:
        stack.one_step()
        return
    try:
        members[0].one_step()
    except NonFinite as error:
        raise NonFinite(f"seed {members[0].plan.seed}: {error}; {members[0].rescued()}") from None


def settle(loop: Loop, seconds: float) -> None:
    """What follows a step, as in `fit`: validation, log, checkpoint."""
    loop.seconds += seconds
    started = time.monotonic()
    try:
        if loop.step % loop.every == 0 or loop.step == loop.total:
            loop.validate()
            loop.seconds += time.monotonic() - started
        loop.file_away()
    except NonFinite as error:
        raise NonFinite(f"seed {loop.plan.seed}: {error}; {loop.rescued()}") from None
