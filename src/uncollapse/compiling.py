"""Training steps compiled by `torch.compile`, with a way back."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["Compiled"]


class Compiled:
    """A module's forward pass, compiled at its first call; where that fails, the module itself, with a remark.

    Random numbers are those of the module as it is, so that a compiled run sees the same noise. Counters of steps are
    traced as numbers that move, so that a schedule is compiled once. On a GPU, whole passes become CUDA graphs.

    Arguments:
        module: what to compile; it stays as it is.
        device: where it runs.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module, self.remark = module, ""
        options: dict[str, Any] = {"fallback_random": True}
        if device.type == "cuda":
            options["triton.cudagraphs"] = True
        with validation_kept():
            self.call: Callable[[Any], Any] = torch.compile(module, options=options)

    def __call__(self, x: Tensor) -> Any:
        """The module's output; an error of the compiler's leads back to the module, with the same random numbers."""
        if self.remark:
            return self.module(x)
        before = random_states(x.device)
        try:
            with validation_kept(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of torch about itself
                return self.call(x)
        except Exception as error:
            restore(before, x.device)
            found = self.module(x)  # what is wrong with the model itself raises here as it would without compilation
            self.remark = f"not compiled: {type(error).__name__}: {first_line(error)}; trained without compilation"
            return found

    @staticmethod
    def moving() -> AbstractContextManager[Any]:
        """While it holds, whole numbers of modules (counters of steps) are compiled as variables."""
        import torch._dynamo

        return cast(AbstractContextManager[Any], torch._dynamo.config.patch(allow_unspec_int_on_nn_module=True))


@contextmanager
def validation_kept() -> Iterator[None]:
    """Keep torch's validation of distributions as it is: its compiler switches it off for everybody."""
    before = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def random_states(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The states of the CPU's random stream and of this device's."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def restore(states: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    """Put the random streams back."""
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state(states[1], device)


def first_line(error: Exception) -> str:
    """The first line of an error's text that says something, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else "no reason given"
