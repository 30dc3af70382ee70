"""Text needs a decoder that knows its own past: the reader passes on what it returns."""

from typing import Any

from torch.distributions import Distribution

from uncollapse.distributions import describe
from uncollapse.errors import ShapeError

__all__ = ["tokens"]


def tokens(raw: Any) -> Distribution:
    """Read a text decoder's output, which is a distribution over rows of token ids already.

    Raises:
        ShapeError: when the decoder returned a tensor.
    """
    if isinstance(raw, Distribution):
        return raw
    raise ShapeError(
        f"a text decoder should return a distribution over rows of token ids, such as nets.Sentences, got "
        f"{describe(raw)}; take the decoder lstm or transformer, or pass read_x= to read it your own way"
    )
