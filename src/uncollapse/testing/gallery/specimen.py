"""What a model of the gallery is: the model, its data, and the truth about both."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from uncollapse.codes import private_stream

__all__ = ["Specimen", "sown"]


@dataclass(frozen=True, eq=False)
class Specimen:
    """A model whose state is known because of how it was made.

    Attributes:
        name: what it is called.
        model: answers `posterior`, `likelihood` and `prior`; in evaluation mode.
        data: (N, *X), what to judge it on.
        labels: (N,) or None.
        arguments: what a user would have at hand beside model and data, by the names that `diagnose` takes: `loss`,
            `optimizer`, `objective`, `weight`.
        verdict: the words that are right.
        causes: the first causes that are right; None among them where nothing is wrong.
        story: what was done to it, and why this is the truth.
    """

    name: str
    model: Any
    data: Tensor
    labels: Tensor | None
    verdict: frozenset[str]
    causes: frozenset[str | None]
    story: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        causes = " or ".join(sorted(cause or "nothing wrong" for cause in self.causes))
        return f"Specimen({self.name}: {' or '.join(sorted(self.verdict))}; {causes})"


@contextmanager
def sown(name: str, seed: int) -> Iterator[None]:
    """A private random stream of torch while it holds: the same specimen whenever and after whatever it is made."""
    with torch.random.fork_rng([]):
        torch.manual_seed(private_stream(seed, f"gallery {name}").initial_seed())
        yield
