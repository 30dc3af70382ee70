"""Writing text token by token: by chance, greedily, or by beam search, one step of the network for a token."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from uncollapse.distributions import precise
from uncollapse.errors import BadInput
from uncollapse.nets.ids import BEGIN, END, PAD
from uncollapse.nets.shapes import whole

__all__ = ["beams", "continued", "likeliest"]

SPOKEN = 2  #: id of the first score


def continued(network: Any, z: Tensor, longest: int, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """Rows (N, T) of token ids, padded after the end token; it stops when all rows have ended.

    Arguments:
        network: see `nets.sentences.TextNetwork`.
        z: (N, D).
        longest: T.
        choose: from scores (N, V - 2) to places of the chosen tokens among them (N,).
    """
    rows = torch.full((len(z), longest), PAD, dtype=torch.int64, device=z.device)
    state, last = network.begin(z), rows.new_full((len(z),), BEGIN)
    ended = torch.zeros_like(last, dtype=torch.bool)
    for place in range(longest):
        features, state = network.step(last, state)
        last = (choose(network.scores(features)) + SPOKEN).masked_fill(ended, PAD)
        rows[:, place] = last
        ended = ended | (last == END)
        if bool(ended.all()):
            break
    return rows


def likeliest(scores: Tensor) -> Tensor:
    """The likeliest token of every row of scores (N, V - 2)."""
    return scores.argmax(1)


def beams(network: Any, z: Tensor, longest: int, width: int, penalty: float = 0.0) -> tuple[Tensor, Tensor]:
    """Beam search: rows (N, W, T) of token ids, best first, and their log probabilities (N, W), nats.

    Where there are fewer than W rows at all, the rest has log probability minus infinity.

    Arguments:
        network: see `nets.sentences.TextNetwork`.
        z: (N, D).
        longest: T.
        width: W.
        penalty: alpha of the length penalty.

    Raises:
        BadInput: when the width is no positive whole number, or the penalty is negative.
    """
    if not whole(width) or not isinstance(penalty, int | float) or not penalty >= 0:
        raise BadInput(f"beam search takes a width from 1 and a penalty from 0, got {width!r} and {penalty!r}")
    beam = Beam(network, z, longest, width, penalty)
    for place in range(longest):
        beam.grow(place)
        if beam.done:
            break
    return beam.ranked()


class Beam:
    """The rows that are kept, W for each of N codes."""

    def __init__(self, network: Any, z: Tensor, longest: int, width: int, penalty: float) -> None:
        self.network, self.width, self.penalty, self.longest = network, width, penalty, longest
        many = len(z) * width
        self.rows = torch.full((many, longest), PAD, dtype=torch.int64, device=z.device)
        self.last = self.rows.new_full((many,), BEGIN)
        self.state: list[Tensor] = network.begin(z.repeat_interleave(width, 0))
        self.nats = torch.full((len(z), width), -torch.inf, dtype=precise(z[:0]).dtype, device=z.device)
        self.nats[:, 0] = 0.0  # at first all rows are the same empty one
        self.length = self.rows.new_zeros(len(z), width)

    def grow(self, place: int) -> None:
        """One more token for every row that has not ended, and the best W of what comes of it."""
        features, state = self.network.step(self.last, self.state)
        gains = precise(self.network.scores(features)).log_softmax(1).reshape(*self.nats.shape, -1)
        ended = self.length > 0
        gains = gains.masked_fill(ended.unsqueeze(2), -torch.inf)
        gains[..., 0] = gains[..., 0].masked_fill(ended, 0.0)  # a row that has ended goes on as itself
        nats = (self.nats.unsqueeze(2) + gains).flatten(1)
        length = torch.where(ended, self.length, place + 1).unsqueeze(2).expand_as(gains).flatten(1)
        best = (nats / worth(length, self.penalty)).topk(self.width, 1).indices
        self.keep(best, nats, length, ended, state, place)

    def keep(self, best: Tensor, nats: Tensor, length: Tensor, ended: Tensor, state: list[Tensor], place: int) -> None:
        """Make the chosen candidates (N, W) the rows."""
        words = nats.shape[1] // self.width
        parent, word = best // words, best % words + SPOKEN
        source = (parent + torch.arange(len(best), device=best.device).unsqueeze(1) * self.width).flatten()
        over = ended.gather(1, parent)
        word = word.masked_fill(over, PAD)
        self.nats = nats.gather(1, best)
        self.length = torch.where(over | (word == END), length.gather(1, best), 0)
        self.rows, self.last = self.rows[source], word.flatten()
        self.rows[:, place] = self.last
        self.state = [part[source] for part in state]

    @property
    def done(self) -> bool:
        """Whether all rows have ended."""
        return bool(((self.length > 0) | self.nats.isneginf()).all())

    def ranked(self) -> tuple[Tensor, Tensor]:
        """Rows and log probabilities, best first."""
        length = torch.where(self.length > 0, self.length, self.longest)
        order = (self.nats / worth(length, self.penalty)).argsort(dim=1, descending=True, stable=True)
        rows = self.rows.reshape(*self.nats.shape, self.longest)
        rows = rows.gather(1, order.unsqueeze(2).expand_as(rows))
        return rows, self.nats.gather(1, order)


def worth(length: Tensor, penalty: float) -> Tensor:
    """What log probabilities of rows of so many tokens are divided by."""
    return ((5 + length) / 6) ** penalty
