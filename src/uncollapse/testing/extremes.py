"""Codes at the ends of what numbers can hold, as strategies of hypothesis: for tests of anybody's metric. Public.

The module needs hypothesis, which `uncollapse` itself does not: `pip install hypothesis`.
"""

import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from uncollapse.codes import Codes

__all__ = ["FAR", "SCALES", "codes_of", "examples", "gaussians", "layouts", "seeds", "tables"]

SCALES = (1e-8, 1e4)  #: posterior scales that occur
FAR = 1e6  #: the largest mean
LAYOUTS = ("plain", "transposed", "strided", "expanded", "float64", "float16", "bfloat16")
SHAPES = ("wide", "equal", "twins", "constant", "dead", "one-hot", "clusters")

Test = TypeVar("Test", bound=Callable[..., Any])


def examples(count: int) -> Callable[[Test], Test]:
    """Settings of a property: `count` examples, always the same; `UNCOLLAPSE_EXAMPLES` tries as many new ones."""
    more = os.environ.get("UNCOLLAPSE_EXAMPLES")
    return settings(
        max_examples=int(more) if more else count,
        derandomize=not more,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def seeds() -> st.SearchStrategy[int]:
    """Seeds of torch's generators: the numbers of a table come from one, so that failures shrink by shape."""
    return st.integers(0, 2**31 - 1)


def layouts(table: Tensor, layout: str) -> Tensor:
    """The table in another memory layout or type; the numbers of half precision are rounded, the others are not.

    Example:
        >>> layouts(torch.eye(3), "transposed").is_contiguous()
        False
    """
    if layout == "transposed":
        return table.T.contiguous().T
    if layout == "strided":
        return table.repeat_interleave(2, 1)[:, ::2]
    if layout == "expanded" and bool((table == table[:1]).all()):
        return table[:1].expand_as(table)
    return table.to(getattr(torch, layout)) if layout.startswith(("float", "bfloat")) else table


@st.composite
def tables(draw: st.DrawFn, rows: tuple[int, int] = (2, 40), columns: tuple[int, ...] = (1, 2, 3, 8, 33)) -> Tensor:
    """Tables (N, D) of numbers up to 1e6: wide, constant, doubled, one-hot, in clusters, or with a dead column."""
    n, d = draw(st.integers(*rows)), draw(st.sampled_from(columns))
    kind, size = draw(st.sampled_from(SHAPES)), draw(st.sampled_from([0.0, 1e-6, 1.0, 30.0, 1e3, FAR]))
    generator = torch.Generator().manual_seed(draw(seeds()))
    return size * table_of(kind, n, d, generator)


def table_of(kind: str, n: int, d: int, generator: torch.Generator) -> Tensor:
    """One table of a kind, (N, D), of numbers of about 1."""
    wide = torch.randn(n, d, generator=generator).clamp(-3, 3) / 3
    if kind == "equal":
        return wide[:1].repeat(n, 1)
    if kind == "twins":
        return wide[torch.randint(max(n // 2, 1), (n,), generator=generator)]
    if kind == "constant":
        wide[:, : -(-d // 2)] = wide[0, : -(-d // 2)].clone()
    if kind == "dead":
        wide[:, 0] = 0
    if kind == "one-hot":
        return torch.eye(max(n, d))[:n, :d]
    if kind == "clusters":
        return wide[torch.randint(min(3, n), (n,), generator=generator)] + 1e-6 * wide
    return wide


@st.composite
def gaussians(
    draw: st.DrawFn, rows: tuple[int, int] = (2, 40), columns: tuple[int, ...] = (1, 2, 3, 8, 33)
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (N, D) of posteriors, the latter from 1e-8 to 1e4, alike or mixed in one table."""
    mean = draw(tables(rows, columns))
    low, high = math.log(SCALES[0]), math.log(SCALES[1])
    kind = draw(st.sampled_from(["one", "columns", "mixed", "near 1", "low", "high"]))
    generator = torch.Generator().manual_seed(draw(seeds()))
    share = torch.rand(mean.shape, generator=generator, dtype=torch.float64)
    if kind == "columns":
        share = share[:1].expand_as(share)
    if kind in ("one", "low", "high", "near 1"):
        value = {"low": 0.0, "high": 1.0, "near 1": low / (low - high)}.get(kind, float(share[0, 0]))
        share = torch.full_like(share, value)
    scale = (low + (high - low) * share).exp()
    scale = scale * (1 + 1e-6 * torch.randn(mean.shape, generator=generator)) if kind == "near 1" else scale
    return mean, scale.float()


@st.composite
def codes_of(
    draw: st.DrawFn, rows: tuple[int, int] = (2, 40), columns: tuple[int, ...] = (1, 2, 3, 8, 33), labels: bool = False
) -> Codes:
    """`Codes` of such posteriors, from tables in any layout and in half precision where it holds them."""
    mean, scale = draw(gaussians(rows, columns))
    layout = draw(st.sampled_from(LAYOUTS))
    if layout == "float16":  # holds 6e-8 to 65,504
        mean, scale = mean.clamp(-6e4, 6e4), scale.clamp(min=1e-7)
    classes = draw(st.integers(1, len(mean))) if labels else 0
    y = torch.arange(len(mean)) % classes if classes else None
    return Codes.from_gaussian(layouts(mean, layout), layouts(scale, layout), y, seed=draw(st.integers(0, 99)))
