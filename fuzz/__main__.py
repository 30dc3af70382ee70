"""`python -m fuzz READER [--minutes M]`, `--queue` for all of them in turn, `--merge`, `--replay`, `--findings`."""

import argparse
import sys
from pathlib import Path

from fuzz.readers import NAMED, READERS


def replay(names: list[str]) -> int:
    """Run the seeds, the kept corpus and open findings once; how many go wrong."""
    from fuzz.attempt import attempt, scratch, warm
    from fuzz.driver import findings_of, kept

    wrong = 0
    with scratch() as folder:
        for name in names:
            warm(READERS[name], folder)
            inputs = dict(READERS[name].seeds()) | {path.name: path.read_bytes() for path in kept(name).glob("*")}
            for what, data in (inputs | findings_of(name)).items():
                found = attempt(READERS[name], data, folder)
                if found is not None:
                    wrong += 1
                    print(f"== {name}: {what}: {found.key}\n{found.words}")
    print(f"{wrong} findings")
    return wrong


def one(name: str, path: Path) -> int:
    """Run a file; 1 when it goes wrong."""
    from fuzz.attempt import attempt, limit_memory, scratch, warm

    with scratch() as folder:
        warm(READERS[name], folder)
        limit_memory()
        found = attempt(READERS[name], path.read_bytes(), folder)
    print(f"{name}: {path.name}: {found.key if found else 'as it should be'}", flush=True)
    return 1 if found else 0


def queue(names: list[str], minutes: float) -> None:
    """Rounds in turn, the reader with the least time first, until each has its minutes."""
    from fuzz.driver import ROUND, claimed, merge, one_round, seconds_of

    while left := sorted((name for name in names if seconds_of(name) < minutes * 60), key=seconds_of):
        for name in left:
            with claimed(name) as mine:
                if mine:
                    one_round(name, ROUND)
                    print(f"{name}: {merge(name)} inputs kept", flush=True)
                    break
        else:
            break  # other queues are at work on all that is left


def main() -> int:
    """Do what is asked; 1 when there are findings."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", choices=[*READERS, []], metavar="READER", help=", ".join(READERS))
    parser.add_argument("--minutes", type=float, default=5.0, help="of the processor, for each reader")
    parser.add_argument("--queue", action="store_true", help="rounds in turn until each reader has its minutes in all")
    parser.add_argument("--merge", action="store_true", help="only make the kept corpus anew")
    parser.add_argument("--replay", action="store_true", help="only run what is kept, without atheris")
    parser.add_argument("--settle", action="store_true", help="try findings again; what is mended joins the corpus")
    parser.add_argument("--one", type=Path, help="only run this file through a reader")
    options = parser.parse_args()
    names = options.readers or list(NAMED)
    if options.one:
        return one(names[0], options.one)
    if options.replay:
        return 1 if replay(names) else 0
    from fuzz.driver import findings_of, merge, rounds, settle

    for name in names if options.settle else ():
        settle(name)

    if options.queue:
        queue(names, options.minutes)
    for name in () if options.queue or options.settle else names:
        if not options.merge:
            rounds(name, options.minutes)
        print(f"{name}: {merge(name)} inputs kept", flush=True)
    return 1 if any(findings_of(name) for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
