"""uncollapse: find out whether a VAE's posterior has collapsed, why, and what to do about it.

Parts of the package, and torch with them, are loaded when they are first asked for: a command that only reads files
starts in a fraction of the time that torch takes to load.
"""

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uncollapse import adapters, data, functional, metrics, nets, remedies, schedules
    from uncollapse.codes import Codes
    from uncollapse.diagnose import Diagnosis, diagnose
    from uncollapse.draw import VAE, Draw, Model, draw
    from uncollapse.fit import Fit, fit
    from uncollapse.metrics import Estimate
    from uncollapse.monitor import Monitor
    from uncollapse.objective import Objective
    from uncollapse.preflight import Preflight, preflight
    from uncollapse.rescuing import Rescued, rescue
    from uncollapse.seeds import fit_seeds
    from uncollapse.team import across
    from uncollapse.verdict import Verdict, verdict

try:
    __version__ = version("uncollapse")
except PackageNotFoundError:  # run from a source folder on the path
    __version__ = "0+source"

__all__ = [
    "VAE",
    "Codes",
    "Diagnosis",
    "Draw",
    "Estimate",
    "Fit",
    "Model",
    "Monitor",
    "Objective",
    "Preflight",
    "Rescued",
    "Verdict",
    "across",
    "adapters",
    "data",
    "diagnose",
    "draw",
    "fit",
    "fit_seeds",
    "functional",
    "metrics",
    "nets",
    "preflight",
    "remedies",
    "rescue",
    "schedules",
    "verdict",
]

#: where each name that is not a module of its own is defined
HOMES = {
    "VAE": "draw",
    "Codes": "codes",
    "Diagnosis": "diagnose",
    "Draw": "draw",
    "Estimate": "metrics",
    "Fit": "fit",
    "Model": "draw",
    "Monitor": "monitor",
    "Objective": "objective",
    "Preflight": "preflight",
    "Rescued": "rescuing",
    "Verdict": "verdict",
    "across": "team",
    "diagnose": "diagnose",
    "draw": "draw",
    "fit": "fit",
    "fit_seeds": "seeds",
    "preflight": "preflight",
    "rescue": "rescuing",
    "verdict": "verdict",
}


class Package(ModuleType):
    """This package: a name is looked up in its module at its first use."""

    def __getattr__(self, name: str) -> Any:
        home = f"{__name__}.{HOMES.get(name, name)}"
        missing = AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name.startswith("_"):
            raise missing
        try:
            module = import_module(home)
        except ModuleNotFoundError as error:
            if error.name == home:
                raise missing from None
            raise
        found = getattr(module, name) if name in HOMES else module
        setattr(self, name, found)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        # loading uncollapse.fit leaves that module here under its name, where the function is meant
        function = isinstance(value, ModuleType) and HOMES.get(name) == name
        super().__setattr__(name, getattr(value, name) if function else value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = Package
