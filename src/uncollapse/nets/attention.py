"""Transformer blocks that can go on where they stopped: keys and values of the past are handed on, not made again."""

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, cat, nn

from uncollapse.errors import BadInput
from uncollapse.nets.shapes import whole

__all__ = ["Block", "check_heads"]

Cache = tuple[Tensor, Tensor]  #: keys and values, (N, heads, t, width / heads) each


class Block(nn.Module):
    """Attention and a perceptron, each after a layer normalisation and added to what came in.

    Arguments:
        width: of the residual stream.
        heads: of the attention.
        dropout: of what both add, and of the attention.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.tell = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.body = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, h: Tensor, seen: Tensor | None = None, past: Cache | None = None, causal: bool = False
    ) -> tuple[Tensor, Cache]:
        """(N, t, width) to the same, with the keys and values of everything so far.

        Arguments:
            h: (N, t, width).
            seen: (N, 1, 1, t), which places may be looked at; all if None.
            past: keys and values of the places before these; every place here may look at all of them.
            causal: whether a place may not look at later ones.
        """
        mixed, cache = self.attend(self.before(h), seen, past, causal)
        h = h + self.dropout(mixed)
        return h + self.dropout(self.body(self.after(h))), cache

    def attend(self, h: Tensor, seen: Tensor | None, past: Cache | None, causal: bool) -> tuple[Tensor, Cache]:
        """What every place takes from the places that it may look at."""
        many, length, width = h.shape
        parts = self.ask(h).reshape(many, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        if past is not None:
            key, value = cat([past[0].to(key), key], 2), cat([past[1].to(value), value], 2)
        rate = self.rate if self.training else 0.0
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=rate, is_causal=causal)
        return cast(Tensor, self.tell(out.transpose(1, 2).reshape(many, length, width))), (key, value)


def check_heads(width: Any, heads: Any, layers: Any) -> None:
    """Refuse sizes that do not fit each other.

    Raises:
        BadInput: when one of them is no positive whole number, or the heads do not divide the width.
    """
    if not (whole(width) and whole(heads) and whole(layers)) or width % heads:
        raise BadInput(
            f"a transformer's width, heads and layers should be positive whole numbers, and the width a multiple of "
            f"the heads, got {width!r}, {heads!r} and {layers!r}"
        )
