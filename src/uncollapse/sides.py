"""Which modules are the encoder's and which are the decoder's."""

from typing import Any

__all__ = ["sides"]


def sides(model: Any) -> dict[str, list[Any]]:
    """What belongs to the encoder and to the decoder of a model: the networks, and the readers of their output.

    A model may say otherwise with a method `parts()`, {name: modules}; where it has none of them, None stands for it.

    Example:
        >>> from uncollapse.testing import ToyModel
        >>> {part: [type(one).__name__ for one in members] for part, members in sides(ToyModel()).items()}
        {'encoder': ['MLPEncoder', 'function'], 'decoder': ['MLPDecoder', 'function']}
    """
    told = getattr(model, "parts", None)
    if callable(told):
        return dict(told())
    pairs = {"encoder": "read_q", "decoder": "read_x"}
    return {part: [getattr(model, part, None), getattr(model, reader, None)] for part, reader in pairs.items()}
