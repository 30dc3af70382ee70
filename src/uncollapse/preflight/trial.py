"""A few steps on a copy of the model: which weights learn, what a step takes, what is dead from the start."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from uncollapse.codes import evaluation

__all__ = ["Trial", "attempt"]

STEPS, SECONDS = 5, 10.0  #: timed at most


class Trial(NamedTuple):
    """What the steps showed.

    Attributes:
        encoder, decoder: names of the weights that the posterior and the likelihood depend on.
        frozen: names of those with `requires_grad` off.
        still: names of those that get no gradient, or only zeros.
        dead: share of the ReLU units that are zero for the whole batch, by module name.
        memory: bytes by name.
        seconds: of a step, median.
        loss: of the first step.
    """

    encoder: frozenset[str]
    decoder: frozenset[str]
    frozen: frozenset[str]
    still: frozenset[str]
    dead: dict[str, float]
    memory: dict[str, int]
    seconds: float
    loss: float


def attempt(native: nn.Module, view: Callable[[Any], Any], x: Tensor, loss: Any, optimizer: Any, seed: int) -> Trial:
    """Train a copy for a few steps.

    Arguments:
        native: the user's module; it is copied, not touched.
        view: makes the adapted model of a module.
        x: (B, *X), one batch.
        loss: (native, adapted, x) -> scalar.
        optimizer: the user's, whose class and settings the copy gets; Adam if None.
        seed: of the noise.
    """
    with evaluation(native, seed), torch.inference_mode(False), torch.enable_grad():
        copy = deepcopy(native).train()
        adapted = view(copy)
        encoder = reached(copy, lambda: [adapted.posterior(x).mean, adapted.posterior(x).variance])
        z = adapted.posterior(x).mean.detach()
        decoder = reached(copy, lambda: [adapted.likelihood(z).mean])
        decoder |= reached(copy, lambda: [adapted.likelihood(z).log_prob(x)])  # not all have a mean, nor all in it
        frozen = frozenset(name for name, p in copy.named_parameters() if not p.requires_grad)
        with relus(copy) as dead, saved() as kept:
            value = loss(copy, adapted, x)
        activations = activation_bytes(kept, copy, x)
        value.backward()
        still = frozenset(n for n, p in copy.named_parameters() if p.requires_grad and nothing(p.grad))
        first = float(value.detach())
        moving = remade(optimizer, copy)
        seconds = timed(lambda: step(copy, adapted, x, loss, moving))
        memory = sizes(copy, moving, activations)
    return Trial(encoder, decoder, frozen, still, dict(dead), memory, seconds, first)


def nothing(gradient: Tensor | None) -> bool:
    """Whether a gradient is missing or zero."""
    return gradient is None or not bool(gradient.abs().max() > 0)


def reached(module: nn.Module, call: Callable[[], list[Tensor]]) -> frozenset[str]:
    """Names of the weights that a result depends on, frozen ones included."""
    flags = {p: p.requires_grad for p in module.parameters()}
    try:
        for p in flags:
            p.requires_grad_(p.is_floating_point())
        results = [one for one in call() if one.requires_grad]
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not results or not named:
            return frozenset()
        total = torch.stack([one.float().sum() for one in results]).sum()
        got = torch.autograd.grad(total, [p for _, p in named], allow_unused=True)
        return frozenset(name for (name, _), g in zip(named, got, strict=True) if g is not None)
    except NotImplementedError:
        return frozenset()
    finally:
        for p, flag in flags.items():
            p.requires_grad_(flag)


@contextmanager
def relus(module: nn.Module) -> Iterator[dict[str, float]]:
    """While it holds, notes which share of every ReLU's units is zero for all examples."""
    dead: dict[str, float] = {}

    def note(name: str, out: Tensor) -> None:
        dead[name] = float((out.detach().flatten(1).abs().amax(0) == 0).float().mean())

    layers = [(name, m) for name, m in module.named_modules() if isinstance(m, nn.ReLU)]
    hooks = [m.register_forward_hook(lambda _, __, out, name=name: note(name, out)) for name, m in layers]
    try:
        yield dead
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def saved() -> Iterator[dict[int, int]]:
    """While it holds, notes the storages that the backward pass will need: bytes by address."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def activation_bytes(kept: dict[int, int], module: nn.Module, x: Tensor) -> int:
    """Bytes of what was kept for the backward pass, weights and the batch itself left out."""
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers(), x)}
    return sum(size for address, size in kept.items() if address not in own)


def remade(optimizer: Any, module: nn.Module) -> Any:
    """An optimiser of the same kind for the copy; Adam where there is none or its class wants more."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    if optimizer is not None:
        try:
            return type(optimizer)(trainable, **optimizer.defaults)
        except (TypeError, ValueError):
            pass
    return torch.optim.Adam(trainable, 1e-3)


def step(module: nn.Module, adapted: Any, x: Tensor, loss: Any, optimizer: Any) -> None:
    """One step of training."""
    optimizer.zero_grad()
    loss(module, adapted, x).backward()
    optimizer.step()
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)


def timed(call: Callable[[], None]) -> float:
    """Median seconds of a call after one that is not counted."""
    call()
    times: list[float] = []
    while len(times) < STEPS and sum(times) < SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def sizes(module: nn.Module, optimizer: Any, activations: int) -> dict[str, int]:
    """Bytes by name."""
    weights = [*module.parameters(), *module.buffers()]
    states = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
    found = {
        "parameters": sum(t.numel() * t.element_size() for t in weights),
        "gradients": sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad),
        "optimiser": sum(t.numel() * t.element_size() for t in states),
        "activations": activations,
    }
    return found | {"peak": sum(found.values())}
