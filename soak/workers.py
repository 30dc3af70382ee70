"""Four plain workers on one shared folder, killed, stopped and woken at random."""

import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from soak._studies import advance, audit, finished_runs, kill, pause, start, study_file, undisturbed
from uncollapse.storage import at

WORKERS, AWAKE = 4, 2  #: as many as there are, and as many as compute at the same time
LEASE = 5  #: seconds


class Crowd:
    """Four workers of which two are stopped at any time, as processes on overloaded machines are."""

    def __init__(self, study: Path, folder: Path, logs: Path) -> None:
        self.words = ("study", "work", study, "--out", folder, "--lease", LEASE)
        self.logs, self.number = logs, 0
        self.members = [self.one() for _ in range(WORKERS)]
        self.asleep = self.members[AWAKE:]
        for member in self.asleep:
            os.kill(member.pid, signal.SIGSTOP)

    def one(self) -> Any:
        """A further worker."""
        self.number += 1
        return start(*self.words, log=self.logs / f"worker-{self.number}.log")

    def awake(self) -> list[Any]:
        """Those who compute."""
        return [one for one in self.members if one not in self.asleep and one.poll() is None]

    def idle(self) -> bool:
        """Whether there is nothing left to do."""
        return any(one.poll() is not None for one in self.members)

    def shift(self, chance: random.Random) -> None:
        """Wake one and stop another."""
        if not self.asleep or not self.awake():
            return
        up, down = chance.choice(self.asleep), chance.choice(self.awake())
        os.kill(down.pid, signal.SIGSTOP)
        os.kill(up.pid, signal.SIGCONT)
        self.asleep.remove(up)
        self.asleep.append(down)

    def replace(self, chance: random.Random) -> None:
        """Kill one, awake or asleep, and start another in its place."""
        victim = chance.choice([one for one in self.members if one.poll() is None])
        kill(victim)
        fresh = self.one()
        self.members[self.members.index(victim)] = fresh
        if victim in self.asleep:
            self.asleep.remove(victim)
            os.kill(fresh.pid, signal.SIGSTOP)
            self.asleep.append(fresh)

    def rest(self) -> list[int]:
        """Let all go on to their end, two at a time."""
        for member in [*self.asleep]:
            while len(self.awake()) >= AWAKE:
                time.sleep(0.5)
            self.asleep.remove(member)
            os.kill(member.pid, signal.SIGCONT)
        return [member.wait() for member in self.members]

    def end(self) -> None:
        """Leave nothing behind."""
        for member in self.members:
            with suppress(ProcessLookupError):
                kill(member)


def run(quick: bool) -> dict[str, Any]:
    """24 runs (or 6), four workers, kills and stops at random times; the results are those of an undisturbed study."""
    chance, kills, shifts = random.Random(7), 0, 0
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        study, runs = study_file(base, quick)
        expected = undisturbed(base, study, runs)
        place = at(base / "shared")
        began = time.monotonic()
        crowd = Crowd(study, base / "shared", base)
        try:
            while (done := len(finished_runs(place))) < runs - 2 and kills < (4 if quick else 24):
                advance(place, chance.randrange(25, 500), crowd.idle)
                pause(chance, 0, 1)
                if chance.random() < 0.5:
                    crowd.replace(chance)
                    kills += 1
                else:
                    crowd.shift(chance)
                    shifts += 1
                print(f"{done} of {runs} done, {kills} killed, {shifts} stopped and woken", flush=True)
            codes = crowd.rest()
        finally:
            crowd.end()
        assert codes == [0] * WORKERS, f"workers ended with {codes}"
        return {
            "workers": WORKERS, "workers at a time": AWAKE, "lease, s": LEASE, "SIGKILLs": kills,
            "SIGSTOP and SIGCONT": shifts, "seconds": round(time.monotonic() - began, 1), **audit(place, expected),
        }  # fmt: skip
