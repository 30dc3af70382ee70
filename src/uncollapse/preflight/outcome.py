"""What a pre-flight found, as sentences for people and plain values for programs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from uncollapse.diagnosis.eigenvalues import Spectrum
from uncollapse.diagnosis.weight import EffectiveBeta

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Check", "Preflight"]

MARKS = {"good": "ok  ", "warning": "look", "bad": "STOP", "unknown": "?   "}
COLOURS = {"good": "green", "warning": "yellow", "bad": "bold red", "unknown": "dim"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: "good", "warning", "bad" (training as it is will not work) or "unknown".
        sentence: what was seen, with its numbers.
        code: lines that would set it right, or "".
    """

    name: str
    state: str
    sentence: str
    code: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Preflight:
    """What can be told before training.

    Attributes:
        checks: in the order in which they were made.
        beta: effective weight of the KL.
        spectrum: of the data against the likelihood, or None where there is no rule for it.
        latent: D.
        memory: bytes by name: parameters, gradients, optimiser, activations of a step, and their sum, "peak".
        seconds: of an epoch, and of all epochs if their number was given; None where nothing could be timed.
    """

    checks: tuple[Check, ...]
    beta: EffectiveBeta
    spectrum: Spectrum | None
    latent: int
    memory: Mapping[str, int] = field(default_factory=dict)
    seconds: tuple[float, float | None] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing was found that has to be changed first."""
        return all(check.state != "bad" for check in self.checks)

    @property
    def active(self) -> int | None:
        """How many latents can stay active at this weight and noise, at most D; None where there is no rule."""
        return None if self.spectrum is None else min(self.spectrum.allowed, self.latent)

    def __str__(self) -> str:
        lines = ["Ready to train." if self.ok else "Not ready: change what is marked STOP first."]
        for check in self.checks:
            lines.append(f"  {MARKS[check.state]}  {check.name:<16} {check.sentence}")
            lines += [f"          > {line}" for line in check.code.splitlines()]
        return "\n".join(lines)

    __repr__ = __str__

    def __rich__(self) -> "Text":
        from rich.text import Text

        text = Text("Ready to train." if self.ok else "Not ready.", style="bold")
        for check in self.checks:
            text.append(f"\n  {MARKS[check.state]}  ", style=COLOURS[check.state])
            text.append(f"{check.name:<16} {check.sentence}", style="not bold")
            for line in check.code.splitlines():
                text.append(f"\n          > {line}", style="not bold cyan")
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rule = self.spectrum
        return {
            "ok": self.ok,
            "checks": [asdict(check) for check in self.checks],
            "beta": self.beta.to_dict(),
            "latents": self.latent,
            "active": self.active,
            "rule": None
            if rule is None
            else {"name": rule.rule, "threshold": rule.threshold, "eigenvalues": rule.eigenvalues[:64].tolist()},
            "memory": dict(self.memory),
            "seconds": None if self.seconds is None else {"epoch": self.seconds[0], "all": self.seconds[1]},
        }
