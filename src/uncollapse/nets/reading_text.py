"""Text for people: ids as words, and what lies between two texts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uncollapse.codes import device_of, evaluation
from uncollapse.distributions import Folded
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.nets.ids import BEGIN, END, PAD
from uncollapse.nets.shapes import whole

__all__ = ["interpolations", "words"]


def words(ids: Tensor, vocabulary: Sequence[str], between: str = " ") -> list[str]:
    """Rows of token ids as texts: from the begin token, if there is one, to the end token or the padding.

    Arguments:
        ids: (N, T) whole numbers, or (T,) for one text.
        vocabulary: what the ids 0, 1, ... stand for, as `DataSet.vocabulary` has it.
        between: what stands between two words; "" for SMILES and other signs.

    Raises:
        ShapeError: when the ids are no table.
        BadInput: when an id is not in the vocabulary.

    Example:
        >>> words(torch.tensor([[4, 5, 2, 0]]), ("_PAD", "<s>", "</s>", "_UNK", "good", "morning"))
        ['good morning']
    """
    rows = ids.unsqueeze(0) if ids.ndim == 1 else ids
    if rows.ndim != 2:
        raise ShapeError(f"texts are rows of token ids (N, T), got {tuple(ids.shape)}")
    if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < len(vocabulary):
        raise BadInput(
            f"token ids should lie in 0 to {len(vocabulary) - 1}, the ids of the vocabulary, got {int(rows.min())} to "
            f"{int(rows.max())}"
        )
    return [between.join(vocabulary[int(one)] for one in said(row.tolist())) for row in rows]


def said(row: list[int]) -> list[int]:
    """The ids of a row that are words: without the begin token, up to the end token or the padding."""
    start = 1 if row[:1] == [BEGIN] else 0
    stop = next((place for place, one in enumerate(row) if one in (END, PAD)), len(row))
    return row[start:stop]


def interpolations(model: Any, x0: Tensor, x1: Tensor, steps: int = 5, width: int = 1) -> Tensor:
    r"""Texts on the way from one text to another: decoded from $z_s = (1 - s)\,\mu(x_0) + s\,\mu(x_1)$, s from 0 to 1.

    The ends are what the model makes of x0 and x1, not these texts themselves.

    Arguments:
        model: a text VAE, or anything whose likelihood has `greedy` and `beam`.
        x0, x1: rows of token ids, (T,) each, or (B, T) for several pairs.
        steps: texts on the way, both ends included, at least 2.
        width: 1 for greedy decoding; more for a beam search of that width.

    Returns:
        Rows of token ids (steps, T), or (steps, B, T).

    Raises:
        BadInput: for fewer than two steps, or a width that makes no sense.
        ShapeError: when the two do not have the same shape.
        Unsupported: when the likelihood is not that of a text decoder.

    References:
        Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio, 2016, https://arxiv.org/abs/1511.06349, section 5.3.

    Example:
        >>> from uncollapse.nets import build_vae
        >>> model = build_vae("lstm", "lstm", (6,), latent=4, likelihood={"tokens": 10})
        >>> interpolations(model, torch.tensor([5, 2, 0, 0, 0, 0]), torch.tensor([7, 8, 2, 0, 0, 0]), steps=3).shape
        torch.Size([3, 6])
    """
    if not whole(steps) or steps < 2:
        raise BadInput(f"steps should be a whole number from 2, because both ends count, got {steps!r}")
    if x0.shape != x1.shape or x0.ndim not in (1, 2):
        raise ShapeError(f"both texts should be (T,) or (B, T), got {tuple(x0.shape)} and {tuple(x1.shape)}")
    pair = torch.stack([x0, x1]).reshape(-1, x0.shape[-1]).to(device_of(model))
    with evaluation(model, 0):
        first, last = model.posterior(pair).mean.chunk(2)
        share = torch.linspace(0, 1, steps).to(first).reshape(-1, 1, 1)
        z = torch.lerp(first, last, share).flatten(0, 1)
        return written(model.likelihood(z), width).reshape(steps, *x0.shape)


def written(px: Any, width: int) -> Tensor:
    """The likeliest texts (N, T) that can be found."""
    px = px.base if isinstance(px, Folded) else px
    if not hasattr(px, "beam"):
        raise Unsupported(
            f"interpolations need a likelihood of texts, such as nets.Sentences, got a {type(px).__name__}"
        )
    found: Tensor = px.greedy() if width == 1 else px.beam(width)
    return found
