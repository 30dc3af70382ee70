"""What a test of a cause may ask: the model, a sample of the data, and everything that was measured before."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from uncollapse.adapters.base import Adapted
from uncollapse.codes import Codes, evaluation
from uncollapse.draw import Model
from uncollapse.metrics import KL, ActiveUnits, Bracket, Estimate
from uncollapse.objective import Objective
from uncollapse.verdict import Verdict

__all__ = ["FULL", "QUICK", "Budget", "Evidence", "Subject"]

SHARE = 0.2  #: of the budget's time for one test
LEAST = 16  #: examples that any test sees


@dataclass(frozen=True)
class Budget:
    """How much work a diagnosis may do.

    Attributes:
        name: "quick" or "full".
        seconds: what all of it should take beyond one pass of the encoder, about; tests of slow decoders look at fewer
            examples to keep it.
        examples: of the data that decoder tests see.
        queries: examples at which the information is evaluated (always against all).
        steps: of refining posteriors.
        spectra: examples whose local spectrum of the decoder is computed.
    """

    name: str
    seconds: float
    examples: int
    queries: int
    steps: int
    spectra: int


QUICK = Budget("quick", 10.0, examples=1024, queries=4096, steps=20, spectra=64)
FULL = Budget("full", 120.0, examples=8192, queries=16384, steps=100, spectra=1024)


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and its data, as the tests see them.

    Attributes:
        adapted: the model behind its adapter.
        native: what the user handed over.
        codes: of all N examples (those with finite posteriors).
        x: (M, *X), a random sample of the examples, on the model's device, as the encoder takes them.
        rows: (M,), which rows of `codes` these are.
        budget: how much work is allowed.
        seed: of everything random.
        loss: the user's own loss, (model, x) -> scalar, or (x_hat, x, mean, log_variance) -> scalar; None if not given.
        optimizer: the user's, or None.
        objective: ours, where the model was trained with it.
        weight: the declared weight of the KL (beta), or None.
        dropped: how many examples had posteriors that are not finite.
        distinct: how many different inputs were read; None where the inputs are not at hand.
        names: of the classes, where labels are words.
        history: values over training, by name, or empty.
        memory: what a test computed and another may want.
    """

    adapted: Adapted
    native: Any
    codes: Codes
    x: Tensor
    rows: Tensor
    budget: Budget = QUICK
    seed: int = 0
    loss: Callable[..., Tensor] | None = None
    optimizer: Optimizer | None = None
    objective: Objective | None = None
    weight: float | None = None
    dropped: int = 0
    distinct: int | None = None
    names: tuple[str, ...] = ()
    history: Mapping[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The model, answering `posterior`, `likelihood` and `prior`."""
        return self.adapted.model

    @property
    def module(self) -> nn.Module | None:
        """Where parameters are looked for: what the user handed over, or the adapted model; None without modules."""
        for one in (self.native, self.adapted.model):
            if isinstance(one, nn.Module):
                return one
        return None

    @cached_property
    def z(self) -> Tensor:
        """(M, D), the samples of the codes at `rows`, on the device and in the type of `x`."""
        kind = self.x.dtype if self.x.is_floating_point() else torch.float32
        return self.codes.sample[self.rows].to(self.x.device, kind)

    @cached_property
    def pace(self) -> float:
        """Seconds that the decoder takes over one example, measured on a few; 0 without one."""
        few = min(16, len(self.x))
        if not self.adapted.decodes or not few:
            return 0.0
        with evaluation(self.module, self.seed):
            try:
                for _ in range(2):  # the first pass loads what has to be loaded
                    began = time.perf_counter()
                    self.model.likelihood(self.z[:few]).log_prob(self.x[:few])
            except Exception:  # somebody's decoder may raise anything
                return 0.0
        return (time.perf_counter() - began) / few

    def afford(self, count: int, passes: int) -> int:
        """How many of `count` examples a test may pass so often through the decoder, in a fifth of the budget's time.

        All of them, or a power of two of at least 16, so that small differences in speed do not change an answer.
        """
        most = SHARE * self.budget.seconds / max(self.pace * passes, 1e-12)
        count = min(count, len(self.x))
        return count if count <= most else min(count, max(LEAST, 2 ** int(math.log2(max(most, 1.0)))))

    def some(self, count: int) -> Tensor:
        """The first `count` examples of the sample, (min(count, M), *X)."""
        return self.x[:count]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that was measured before causes are looked for.

    Attributes:
        kl: mean KL with its split, nats.
        bracket: bounds of the information, nats.
        units: active units with the spectrum of the means.
        gap: what shuffling z costs log p(x|z), on the sample, nats; None without a decoder.
        distortion: mean of -log p(x|z) on the sample, nats; None without a decoder.
        verdict: the word and its reasons.
    """

    kl: KL
    bracket: Bracket
    units: ActiveUnits
    gap: Estimate | None
    distortion: Estimate | None
    verdict: Verdict
