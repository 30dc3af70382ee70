"""How to read a posterior out of what an encoder returns, decided once from a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from uncollapse.adapters.levels import Levels
from uncollapse.adapters.parts import parts_of, role_of
from uncollapse.adapters.spread import SPREADS, sampled_kind, sampler_kind, spread_kind
from uncollapse.codes import private_stream
from uncollapse.distributions import diagonal, precise

__all__ = ["Reading", "decide", "split_in_two"]

INNER = (
    "the moments of a level rest on the encoder's own draw of another level, so they differ from pass to pass, and the "
    "decoder is given another draw"
)


@dataclass(frozen=True)
class Choice:
    """Which parts of an output are mean and spread, and how the spread is written; `mean` alone is a distribution."""

    mean: int
    spread: int | None = None
    kind: str = ""
    why: str = ""


@dataclass(frozen=True)
class Reading:
    """From raw output to q(z|x).

    Attributes:
        choices: one a level.
        levels: shapes of the latents.
        cut: changes the raw output first (splits a single tensor, say).
        names: of the elements of a plain tuple.
    """

    choices: tuple[Choice, ...]
    levels: Levels
    cut: Callable[[Any], Any]
    names: tuple[str, ...] = ()

    def __call__(self, raw: Any) -> Distribution:
        """q(z|x): batch (B,), event (D,)."""
        outputs = list(self.cut(raw)) if self.levels.several else [self.cut(raw)]
        pairs = [moments(parts_of(one, self.names), choice) for one, choice in zip(outputs, self.choices, strict=True)]
        if len(pairs) == 1 and isinstance(pairs[0], Distribution):
            return pairs[0]
        mean, scale = (self.levels.flat(list(column)) for column in zip(*map(both, pairs), strict=True))
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know."""
        return [text for text in dict.fromkeys([self.levels.remark(), *(c.why for c in self.choices)]) if text]


def both(pair: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a level."""
    return diagonal(pair, "a hierarchy of latents") if isinstance(pair, Distribution) else pair


def moments(parts: list[tuple[str, Any]], choice: Choice) -> Any:
    """(mean, standard deviation) of one level, or its distribution where that is no diagonal Gaussian."""
    value = parts[choice.mean][1]
    if choice.spread is not None:
        return precise(value), SPREADS[choice.kind](precise(parts[choice.spread][1]))
    base = value
    while isinstance(base, Independent):
        base = base.base_dist
    if isinstance(base, Normal):
        return precise(base.loc), precise(base.scale)
    return value if value.event_shape else Independent(value, 1, validate_args=False)


def decide(encode: Callable[[], Any], names: Sequence[str], model: Any, skip: int = 0) -> Reading | None:
    """Find mean and spread by names, by places, and by which outputs are random; None where there is no such pair.

    Arguments:
        encode: gives the raw output of the same batch at every call.
        names: of the elements of a plain tuple, from the source; may be empty.
        model: whose own sampler, if it has one, settles how the spread is written.
        skip: numbers an example: parts without a telling name that have so many are not latents (reconstructions).
    """
    raws = twice(encode)
    several = is_levels(raws[0])
    pairs = list(zip(*raws, strict=True)) if several else [raws]
    names = () if several else tuple(names)
    choices = [choice_of([parts_of(raw, names) for raw in pair], model, skip) for pair in pairs]
    if not choices or None in choices:
        return None
    found = tuple(choice for choice in choices if choice is not None)
    shapes = [shape_of(parts_of(pair[0], names)[one.mean][1]) for pair, one in zip(pairs, found, strict=True)]
    return Reading(found, Levels(tuple(shapes), several), same, names)


def twice(call: Callable[[], Any]) -> tuple[Any, Any]:
    """The output under two seeds: what differs is sampled. The caller puts the random state back."""
    outputs = []
    for seed in (1, 2):
        torch.manual_seed(private_stream(seed, "adapters").initial_seed())
        outputs.append(call())
    return outputs[0], outputs[1]


def same(raw: Any) -> Any:
    """The raw output as it is."""
    return raw


def is_levels(raw: Any) -> bool:
    """Whether an output is a list of levels: each a pair, a mapping or a distribution."""
    if not isinstance(raw, tuple | list) or len(raw) < 2 or hasattr(raw, "_fields"):
        return False
    return all(not isinstance(one, Tensor) and len(parts_of(one)) > 0 for one in raw)


def shape_of(value: Any) -> tuple[int, ...]:
    """Shape of the latents of one example."""
    if isinstance(value, Distribution):
        return tuple((*value.batch_shape, *value.event_shape)[1:])
    return tuple(value.shape[1:])


def choice_of(runs: list[list[tuple[str, Any]]], model: Any, skip: int) -> Choice | None:
    """Mean and spread among the parts of one level, from two runs with different noise."""
    first, second = runs
    for index, (_, value) in enumerate(first):
        if isinstance(value, Distribution):
            return Choice(index)
    pair = named_pair(first) or placed_pair(first, second, skip)
    if pair is None:
        return None
    mean, spread = (first[index][1] for index in pair)
    drawn = [run[i][1] for run in runs for i in noisy(first, second) if run[i][1].shape == mean.shape]
    evidence = sampled_kind(torch.stack(drawn), mean, spread) if drawn else sampler_kind(model, mean)
    kind, why = spread_kind(first[pair[1]][0], spread, evidence)
    inner = "" if not {*pair} & {*sampled(first, second)} else INNER
    return Choice(*pair, kind, "; ".join(text for text in (why, inner) if text))


def named_pair(parts: list[tuple[str, Any]]) -> tuple[int, int] | None:
    """Places of the mean and the spread, where both have telling names and equal shapes."""
    roles = [role_of(name) if is_latent(value) else "" for name, value in parts]
    if "mean" not in roles:
        return None
    mean = roles.index("mean")
    for kind in SPREADS:
        for index, role in enumerate(roles):
            if role == kind and parts[index][1].shape == parts[mean][1].shape:
                return mean, index
    return None


def placed_pair(first: list[tuple[str, Any]], second: list[tuple[str, Any]], skip: int) -> tuple[int, int] | None:
    """Places of the first two outputs of equal shape that are not random, not a copy and not the observation."""
    random = set(noisy(first, second))
    kept = []
    for index, (name, value) in enumerate(first):
        told = role_of(name) in {"observation", "sample"}
        if is_latent(value) and index not in random and not told and not (skip and value[0].numel() == skip):
            kept.append(index)
    latents, kept = kept, without_copies(kept, first)
    for index in kept:
        after = [other for other in kept if other > index and first[other][1].shape == first[index][1].shape]
        if after:
            # of a mean and its copy z, the one beside the spread is the mean
            copies = [i for i in latents if i < after[0] and torch.equal(first[i][1], first[index][1])]
            return max([index, *copies]), after[0]
    return None


def without_copies(kept: list[int], parts: list[tuple[str, Any]]) -> list[int]:
    """Of three or more places, those that repeat none before: some models give the mean as z when not training."""
    fresh = [i for n, i in enumerate(kept) if not any(torch.equal(parts[i][1], parts[k][1]) for k in kept[:n])]
    return kept[-2:] if len(kept) > 2 and len(fresh) < 2 else fresh if len(kept) > 2 else kept


def is_latent(value: Any) -> bool:
    """Whether a part may be a row of numbers an example."""
    return isinstance(value, Tensor) and value.ndim >= 2 and value.is_floating_point()


def noisy(first: list[tuple[str, Any]], second: list[tuple[str, Any]]) -> list[int]:
    """The same, unless all change: moments that rest on a draw of the level above are no samples."""
    found = sampled(first, second)
    return [] if len(found) == sum(is_latent(value) for _, value in first) else found


def sampled(first: list[tuple[str, Any]], second: list[tuple[str, Any]]) -> list[int]:
    """Places of the outputs that change with the noise."""
    pairs = enumerate(zip(first, second, strict=True))
    return [i for i, ((_, a), (_, b)) in pairs if is_latent(a) and not torch.equal(a.nan_to_num(), b.nan_to_num())]


def split_in_two(dim: int) -> Callable[[Any], Any]:
    """Cut one tensor into mean and log-variance along a dimension."""

    def cut(raw: Any) -> Any:
        ((_, value),) = parts_of(raw)[:1]
        return value.chunk(2, dim)

    return cut
