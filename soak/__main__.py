"""Runs long experiments and keeps what they found: `python -m soak [NAME...] [--quick]`.

Each module here that has `run(quick)` is one experiment; its figures go to soak/results/NAME.json, with the command,
the date and the versions of what was run. A quick run proves that the experiment works and keeps nothing.
"""

import argparse
import importlib
import json
import pkgutil
import platform
import shlex
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("uncollapse", "torch", "numpy", "lightning-fabric", "ray", "distributed", "submitit", "s3fs", "atheris")


def names() -> list[str]:
    """Names of the experiments: the modules here that have `run`."""
    found = sorted(one.name for one in pkgutil.iter_modules([str(HERE)]) if not one.name.startswith("_"))
    return [name for name in found if "\ndef run(" in (HERE / f"{name}.py").read_text(encoding="utf-8")]


def versions() -> dict[str, str]:
    """Versions of what is installed of the packages that the experiments use."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


def keep(name: str, figures: dict[str, Any], command: str, seconds: float) -> Path:
    """Write the figures of one experiment."""
    path = HERE / "results" / f"{name}.json"
    head = {"command": command, "date": datetime.now(UTC).date().isoformat(), "seconds": round(seconds, 1)}
    path.write_text(json.dumps({**head, "versions": versions(), "figures": figures}, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> int:
    """Run the experiments that are asked for; 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names(), []], metavar="NAME", help=", ".join(names()))
    parser.add_argument("--quick", action="store_true", help="a short run that keeps nothing")
    options = parser.parse_args()
    failed = []
    for name in options.names or names():
        print(f"== {name}", flush=True)
        started = time.monotonic()
        try:
            figures = importlib.import_module(f"soak.{name}").run(options.quick)
        except AssertionError as error:
            print(f"FAILED: {error}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        print(json.dumps(figures, indent=1), flush=True)
        if not options.quick:
            print(
                f"kept in {keep(name, figures, shlex.join(['python', '-m', 'soak', name]), time.monotonic() - started)}"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
