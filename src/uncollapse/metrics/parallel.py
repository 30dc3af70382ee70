"""The same work on many pieces, one thread a piece."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["each_piece"]

Piece = TypeVar("Piece")
Found = TypeVar("Found")


def each_piece(work: Callable[[Piece], Found], pieces: Iterable[Piece]) -> list[Found]:
    """What the work returns for every piece, in the order of the pieces.

    As many threads as torch may use take one piece after another, each with one core to itself: operations on blocks
    that fit into the cache are too short to be shared out one by one. The result does not depend on how many there are.

    Example:
        >>> each_piece(lambda x: x + 1, [1, 2])
        [2, 3]
    """
    pieces, threads = list(pieces), torch.get_num_threads()
    if threads == 1 or len(pieces) < 2:
        return [work(piece) for piece in pieces]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, pieces))
    finally:
        torch.set_num_threads(threads)  # a thread's setting is also that of threads to come
