"""A queue of runs, workers that fail, checkpoints: how long a study takes, by events; and the formulas beside it.

A worker comes up after its start-up and takes the next run. A run is a row of stages, each of which ends in a
checkpoint (the last one in the result). A worker fails after an exponential time while it works or starts: the stage
that was going on is lost, the run goes to the end of the queue, and the worker starts again. A run that fails `tries`
times in a row without a new checkpoint is given up. The driver hands out one run after the other.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Outcome", "Workers", "best_interval", "bounds", "expected_seconds", "simulate"]


@dataclass(frozen=True)
class Workers:
    """What does the work.

    Arguments:
        count: W, workers.
        mtbf: mean seconds between two failures of one worker; infinite for none.
        start: seconds until a worker that was started, or started again after a failure, can take a run.
        setup: seconds from taking a run until its first stage, such as loading its data and its checkpoint.
        hand_out: seconds that the driver needs to hand out a run.
        tries: attempts without a new checkpoint after which a run is given up.
    """

    count: int
    mtbf: float = math.inf
    start: float = 0.0
    setup: float = 0.0
    hand_out: float = 0.0
    tries: int = 3


@dataclass
class Outcome:
    """What a simulated study came to, in seconds where not said otherwise.

    Attributes:
        seconds: until the last run was over.
        done, given_up: numbers of runs.
        failures: of workers while they worked.
        lost: work that was done in vain.
        useful: work that counts.
        busy: (begin, end, worker, run, ended well) of every attempt, for pictures.
    """

    seconds: float = 0.0
    done: int = 0
    given_up: int = 0
    failures: int = 0
    lost: float = 0.0
    useful: float = 0.0
    busy: list[tuple[float, float, int, int, bool]] = field(default_factory=list)

    def utilisation(self, workers: int) -> float:
        """The share of the workers' time that went into work that counts."""
        return self.useful / (workers * self.seconds) if self.seconds else 0.0


@dataclass
class Piece:
    """A run in the queue: its stages, how many are behind it, and how often it failed since."""

    name: int
    stages: Sequence[float]
    behind: int = 0
    failed: int = 0


def simulate(runs: Sequence[Sequence[float]], workers: Workers, seed: int = 0) -> Outcome:
    """Do all runs.

    Arguments:
        runs: the seconds of the stages of each, in the order of the queue.
        workers: what does them.
        seed: of the failures.

    Returns:
        An `Outcome`.

    Example:
        >>> simulate([[2.0], [1.0], [1.0]], Workers(2)).seconds
        2.0
    """
    return Simulation(runs, workers, seed).run()


class Simulation:
    """The queue, the workers that are free, and what happens when."""

    def __init__(self, runs: Sequence[Sequence[float]], workers: Workers, seed: int) -> None:
        self.workers, self.random, self.outcome = workers, random.Random(seed), Outcome()
        self.ready = deque(Piece(i, stages) for i, stages in enumerate(runs))
        self.idle: list[int] = []
        self.events: list[tuple[float, int, int, Piece | None, bool]] = []
        self.count, self.driver = 0, 0.0

    def run(self) -> Outcome:
        """From the start of the workers to the end of the last run."""
        for worker in range(min(self.workers.count, len(self.ready))):
            self.note(self.restart(0.0), worker)
        while self.events:
            now, _, worker, piece, well = heapq.heappop(self.events)
            if piece is not None:
                self.over(now, worker, piece, well)
            if well:
                self.idle.append(worker)
            while self.idle and self.ready:
                self.take(now, self.idle.pop(), self.ready.popleft())
        return self.outcome

    def note(self, when: float, worker: int, piece: Piece | None = None, well: bool = True) -> None:
        """Something that will happen."""
        self.count += 1
        heapq.heappush(self.events, (when, self.count, worker, piece, well))

    def life(self) -> float:
        """Seconds until a worker fails."""
        return self.random.expovariate(1 / self.workers.mtbf) if math.isfinite(self.workers.mtbf) else math.inf

    def restart(self, now: float) -> float:
        """When a worker that starts now is up: it may fail while it starts."""
        while (life := self.life()) < self.workers.start:
            now += life
        return now + self.workers.start

    def take(self, now: float, worker: int, piece: Piece) -> None:
        """One attempt, up to its end or to the failure of its worker."""
        begin = self.driver = max(now, self.driver) + self.workers.hand_out
        life, passed, behind = self.life(), self.workers.setup, piece.behind
        for stage in piece.stages[piece.behind :]:
            if passed + stage > life:
                break
            passed, piece.behind = passed + stage, piece.behind + 1
            self.outcome.useful += stage
        well = piece.behind == len(piece.stages)
        end = begin + (passed if well else life)
        piece.failed = 0 if piece.behind > behind else piece.failed + 1
        self.outcome.busy.append((begin, end, worker, piece.name, well))
        if not well:
            gained = sum(piece.stages[behind : piece.behind])
            self.outcome.lost += life - gained
        self.note(end, worker, piece, well)

    def over(self, now: float, worker: int, piece: Piece, well: bool) -> None:
        """The end of an attempt."""
        if well:
            self.outcome.done, self.outcome.seconds = self.outcome.done + 1, now
            return
        self.outcome.failures += 1
        if piece.failed >= self.workers.tries:
            self.outcome.given_up, self.outcome.seconds = self.outcome.given_up + 1, now
        else:
            self.ready.append(piece)
        self.note(self.restart(now), worker)


def bounds(seconds: Sequence[float], workers: int) -> tuple[float, float]:
    """Between which times any order of a queue ends without failures.

    max(sum p / W, max p) <= C <= sum p / W + (1 - 1/W) max p, for a worker takes the next run as soon as it is free.

    Arguments:
        seconds: p of every run.
        workers: W.

    References:
        Graham, 1969, Bounds on multiprocessing timing anomalies, SIAM Journal on Applied Mathematics 17.

    Example:
        >>> bounds([2.0, 1.0, 1.0], 2)
        (2.0, 3.0)
    """
    mean, most = sum(seconds) / workers, max(seconds, default=0.0)
    return max(mean, most), mean + (1 - 1 / workers) * most


def expected_seconds(stage: float, count: int, mtbf: float, restart: float) -> float:
    """Expected seconds of a run of `count` equal stages on one worker that fails and is restarted.

    E = count * M exp(R / M) (exp(stage / M) - 1), with failures during restarts, M the mean time between failures.

    Arguments:
        stage: seconds between two checkpoints, with the writing of one (tau + delta).
        count: stages.
        mtbf: M, seconds.
        restart: R, seconds from a failure until the work goes on.

    References:
        Daly, 2006, A higher order estimate of the optimum checkpoint interval for restart dumps, Future Generation
        Computer Systems 22, the complete expression of the wall time (there T_s / tau stages).

    Example:
        >>> round(expected_seconds(60.0, 10, 3600.0, 5.0), 1)
        605.9
    """
    return count * mtbf * math.exp(restart / mtbf) * math.expm1(stage / mtbf)


def best_interval(write: float, mtbf: float) -> float:
    """Seconds of work between checkpoints at which least is lost, sqrt(2 delta M), for delta much smaller than M.

    Arguments:
        write: delta, seconds that a checkpoint takes.
        mtbf: M, seconds.

    References:
        Young, 1974, A first order approximation to the optimum checkpoint interval, Communications of the ACM 17.
    """
    return math.sqrt(2 * write * mtbf) if math.isfinite(mtbf) else math.inf
