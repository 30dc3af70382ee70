"""Replace what parts of a foreign model return, so that gradients through one side of it can be told from the other.

A loss of one batch depends on the encoder's output twice: directly, through the KL, and through the decoder. With
the decoder's output held constant only the direct part is left, whatever the model looks like inside.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal

__all__ = ["Cut", "Place", "frontier", "places"]

METHODS = ("encode", "decode", "posterior", "likelihood")
DEPTH = 16  #: parts that are tried before giving up

Rebuild = Callable[[Sequence[Tensor]], Any]
Hook = Callable[[Any], Any]


class Place:
    """A module, or a method of an object, whose result can be replaced.

    Arguments:
        owner: a module, or any object.
        method: None for the module itself, else the name of the method.
    """

    def __init__(self, owner: Any, method: str | None = None) -> None:
        self.owner, self.method = owner, method

    @contextmanager
    def answering(self, hook: Hook) -> Iterator[None]:
        """While it holds, results pass through `hook`; None leaves a result as it is."""
        if self.method is None:
            handle = self.owner.register_forward_hook(lambda _, __, out: hook(out))
            try:
                yield
            finally:
                handle.remove()
            return
        original, own = getattr(self.owner, self.method), self.method in vars(self.owner)

        def patched(*args: Any, **options: Any) -> Any:
            out = original(*args, **options)
            new = hook(out)
            return out if new is None else new

        object.__setattr__(self.owner, self.method, patched)
        try:
            yield
        finally:
            if own:
                object.__setattr__(self.owner, self.method, original)
            else:
                object.__delattr__(self.owner, self.method)


def places(*owners: Any) -> list[Place]:
    """Everywhere in these objects where something can be replaced: modules first, then methods."""
    modules = {id(m): m for owner in owners if isinstance(owner, nn.Module) for m in owner.modules()}
    distinct = {id(owner): owner for owner in owners if hasattr(owner, "__dict__")}.values()
    methods = [Place(o, name) for o in distinct for name in METHODS if callable(getattr(o, name, None))]
    return [*map(Place, modules.values()), *methods]


def split(output: Any) -> tuple[list[Tensor], Rebuild] | None:
    """The floating tensors in a result and how to put others in their place; None where that cannot be done."""
    if isinstance(output, Tensor):
        return ([output], lambda new: new[0]) if output.is_floating_point() else None
    if isinstance(output, Distribution):
        return split_distribution(output)
    if not isinstance(output, tuple | list) or not all(isinstance(part, Tensor) for part in output):
        return None
    where = [i for i, part in enumerate(output) if part.is_floating_point()]

    def rebuild(new: Sequence[Tensor]) -> Any:
        parts = list(output)
        for i, tensor in zip(where, new, strict=True):
            parts[i] = tensor
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)

    return ([output[i] for i in where], rebuild) if where else None


def split_distribution(output: Distribution) -> tuple[list[Tensor], Rebuild] | None:
    """The same for independent Gaussians (mean and log scale) and Bernoullis (logits)."""
    base = output.base_dist if isinstance(output, Independent) else output
    count = output.reinterpreted_batch_ndims if isinstance(output, Independent) else 0

    def wrapped(new: Distribution) -> Distribution:
        return Independent(new, count, validate_args=False) if count else new

    if isinstance(base, Normal):
        return [base.loc, base.scale.log()], lambda new: wrapped(Normal(new[0], new[1].exp(), validate_args=False))
    if isinstance(base, Bernoulli):
        return [base.logits], lambda new: wrapped(Bernoulli(logits=new[0], validate_args=False))
    return None


class Cut:
    """While it is entered, some places answer with constants of ours: the same ones every time.

    Arguments:
        at: the places.
        value: what an output is replaced by when it is first seen.

    Attributes:
        leaves: the constants, which take gradients, in the order in which they were first asked for.
    """

    def __init__(self, at: Sequence[Place], value: Callable[[Tensor], Tensor] = lambda out: out) -> None:
        self.at, self.value = list(at), value
        self.kept: dict[tuple[Any, ...], list[Tensor]] = {}
        self.recording = True
        self.stack = ExitStack()

    @property
    def leaves(self) -> list[Tensor]:
        """The constants so far."""
        return [leaf for leaves in self.kept.values() for leaf in leaves]

    def __enter__(self) -> "Cut":
        for number, place in enumerate(self.at):
            self.stack.enter_context(place.answering(partial(self.answer, number)))
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()
        self.recording = self.recording and error[0] is not None

    def answer(self, number: int, output: Any) -> Any:
        """The constant for this place and these shapes; copies, because a layer may work in place."""
        found = split(output)
        if found is None:
            return None
        tensors, rebuild = found
        key = number, *(t.shape for t in tensors)
        if self.recording and key not in self.kept:
            self.kept[key] = [self.value(t.detach()).detach().clone().requires_grad_() for t in tensors]
        return rebuild([leaf.clone() for leaf in self.kept[key]]) if key in self.kept else None


def frontier(owners: Sequence[Any], call: Callable[[Tensor], Sequence[Tensor]], source: Tensor) -> list[Place] | None:
    """The last places through which everything passes that `call` makes of `source`; None where there are none.

    Arguments:
        owners: the objects that are looked through.
        call: makes tensors of the source, by way of the owners.
        source: a tensor; for whole numbers, dependence on parameters stands for dependence on it.
    """
    every = places(*owners)
    order = called(every, lambda: call(source))
    for kind in (False, True):  # modules first: a method is patched only where they are not enough
        at: list[Place] = []
        for place in [p for p in reversed(order) if (p.method is not None) == kind][:DEPTH]:
            at.append(place)
            if not depends(at, call, source, owners):
                return at
    return None


def called(every: Sequence[Place], call: Callable[[], Any]) -> list[Place]:
    """The places that answer with something replaceable while `call` runs, in the order of their last answers."""
    seen: list[Place] = []

    def note(place: Place, out: Any) -> None:
        if split(out) is not None:
            if place in seen:
                seen.remove(place)
            seen.append(place)

    with ExitStack() as stack:
        for place in every:
            stack.enter_context(place.answering(partial(note, place)))
        call()
    return seen


def depends(at: Sequence[Place], call: Callable[[Tensor], Sequence[Tensor]], source: Tensor, owners: Any) -> bool:
    """Whether the result still hangs on the source when these places are constants."""
    if source.is_floating_point():
        source = source.detach().clone().requires_grad_()
        roots = [source]
    else:
        roots = [p for owner in owners if isinstance(owner, nn.Module) for p in owner.parameters() if p.requires_grad]
    with Cut(at):
        results = [one for one in call(source) if one.requires_grad]
    if not results or not roots:
        return False
    total = torch.stack([one.double().sum() for one in results]).sum()
    return any(one is not None for one in torch.autograd.grad(total, roots, allow_unused=True))
