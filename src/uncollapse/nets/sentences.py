"""The distribution over rows of token ids that an autoregressive text decoder describes."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from uncollapse.distributions import precise
from uncollapse.errors import ShapeError, Unsupported
from uncollapse.nets.autoregressive import evaluating
from uncollapse.nets.decoding import beams, continued, likeliest
from uncollapse.nets.ids import PAD, begun, ids_of, trimmed
from uncollapse.nets.scoring import token_log_prob

__all__ = ["Sentences", "TextNetwork"]

PIECE = 2**24  #: scores (tokens times vocabulary) computed at once
SPOKEN = 2  #: ids from here on have a score: padding and begin are never said


class TextNetwork(Protocol):
    """What `Sentences` asks of a decoder of text; scores (*, V - 2) are of the ids 2, 3, ..., V - 1."""

    vocabulary: int  #: V

    def features(self, inputs: Tensor, z: Tensor) -> Tensor:
        """Features (N, t, H) of every place of the inputs (N, t) for codes z (N, D), in one pass."""
        ...

    def scores(self, features: Tensor) -> Tensor:
        """Unnormalised log probabilities (M, V - 2) of the next token, of features (M, H)."""
        ...

    def begin(self, z: Tensor) -> list[Tensor]:
        """The state before the first token; tensors (N, ...)."""
        ...

    def step(self, ids: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Features (N, H) after one more token (N,), and the state after it."""
        ...


class Sentences(Distribution):
    r"""Rows of token ids: every token depends on z and on the tokens before it.

    $\log p(x|z) = \sum_{t=1}^{n} \log p(x_t \mid z, x_{<t})$ over the n tokens of a row, its end token included and
    its padding left out. Padding and the begin token have no probability at all, so that the rows of at most T tokens,
    those that were cut at T included, add up to 1.

    `log_prob` costs one pass of the network, as long as the longest row; `sample`, `greedy` and `beam` one step for a
    token, with the state kept. Dropout is as the network's mode says in `log_prob`, and off in the others.

    Arguments:
        network: see `TextNetwork`.
        z: (B, D), codes as the network takes them.
        shape: (T,).
        change: what the network is given in place of the true tokens in `log_prob`, a function of rows (N, t); the
            tokens that are scored stay as they are.

    Example:
        >>> from uncollapse.nets import LSTMDecoder
        >>> px = LSTMDecoder((6,), latent=4, vocabulary=10, hidden=8, embedding=8)(torch.zeros(3, 4))
        >>> px.log_prob(torch.tensor([[5, 9, 2, 0, 0, 0]]).expand(3, 6)).shape, px.sample().shape
        (torch.Size([3]), torch.Size([3, 6]))
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support: Any = constraints.independent(constraints.nonnegative_integer, 1)  # type: ignore[no-untyped-call]
    has_rsample = False

    def __init__(
        self, network: TextNetwork, z: Tensor, shape: tuple[int], change: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.network: Any = network
        self.z, self.change = z, change
        super().__init__(Size(z.shape[:1]), Size(shape), validate_args=False)

    def corrupted(self, change: Callable[[Tensor], Tensor]) -> "Sentences":
        """The same likelihood whose network sees `change(x)` where it would see the true tokens x."""
        return Sentences(self.network, self.z, (self.event_shape[0],), change)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability (*S, B), nats, of rows (*S, B, T) or (T,); padding is not scored."""
        nats: Tensor = self.per_token(value).sum(-1)
        return nats

    def per_token(self, value: Tensor) -> Tensor:
        """Log probability of every token, (*S, B, t), nats, 0 at padding; t is the length of the longest row."""
        lead = self._lead(value)
        rows = value.expand(*lead, *self.batch_shape, *self.event_shape).reshape(-1, *self.event_shape)
        ids = trimmed(ids_of(rows, self.network.vocabulary))
        seen = ids if self.change is None else self.change(ids)
        features = self.network.features(begun(seen[:, :-1]), self._codes(lead))
        text = ids != PAD
        found: Tensor = features.new_zeros(ids.shape, dtype=precise(features[:0]).dtype)
        found = found.masked_scatter(text, self._scored(features[text], ids[text]))
        return found.reshape(*lead, *self.batch_shape, ids.shape[1])

    def lengths(self, value: Tensor) -> Tensor:
        """Tokens of every row (*, T) before its padding, the end token included, (*)."""
        return (value != PAD).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Rows (*S, B, T) drawn token by token, int64, padded with 0 after the end token; without gradient."""
        lead = Size(sample_shape)
        with torch.no_grad(), evaluating(self.network):
            rows = continued(self.network, self._codes(lead), self.event_shape[0], drawn)
        return rows.reshape(*lead, *self.batch_shape, *self.event_shape)

    def greedy(self) -> Tensor:
        """The rows (B, T) that take the likeliest token at every place in turn."""
        with torch.no_grad(), evaluating(self.network):
            return continued(self.network, self.z, self.event_shape[0], likeliest)

    def beam(self, width: int = 10, penalty: float = 0.0) -> Tensor:
        r"""The best rows (B, T) that a beam search finds.

        Arguments:
            width: rows that are kept at every place; 1 is `greedy` as long as there is no penalty.
            penalty: alpha of $\log p(x|z) \big/ \big(\frac{5 + n}{6}\big)^{\alpha}$, by which rows of n tokens are
                compared; 0 for the probability itself, more for longer rows.

        References:
            Wu et al., 2016, https://arxiv.org/abs/1609.08144, eq. 14, for the penalty.
        """
        return self.beams(width, penalty)[0][:, 0]

    def beams(self, width: int = 10, penalty: float = 0.0) -> tuple[Tensor, Tensor]:
        """All rows of a beam search, best first, (B, width, T), and their log probabilities (B, width), nats."""
        with torch.no_grad(), evaluating(self.network):
            return beams(self.network, self.z, self.event_shape[0], width, penalty)

    @property
    def mean(self) -> Tensor:
        """Not to be had: token ids are names."""
        raise Unsupported("a text has no mean; take sample(), greedy() or beam() instead")

    @property
    def variance(self) -> Tensor:
        """Not to be had, as the mean."""
        raise Unsupported("a text has no variance; compare sample((n,)) instead")

    def _scored(self, features: Tensor, ids: Tensor) -> Tensor:
        """Log probability of every token, (M,): so many scores at a time that memory stays bounded.

        For a gradient all scores are kept anyway, and the last layer's would have to be added up over the pieces.
        """
        rows = max(len(features) if torch.is_grad_enabled() else PIECE // self.network.vocabulary, 1)
        pieces = zip(torch.split(features, rows), torch.split(allowed(ids), rows), strict=True)
        found = [token_log_prob(self.network.scores(f), i) for f, i in pieces]
        return torch.cat(found)

    def _lead(self, value: Tensor) -> Size:
        tail = self.batch_shape + self.event_shape
        if (
            value.ndim < 1
            or value.shape[-1:] != self.event_shape
            or (value.ndim > 1 and value.shape[-2] not in {1, tail[0]})
        ):
            raise ShapeError(f"the decoder describes rows of token ids {tuple(tail)}, got {tuple(value.shape)}")
        return value.shape[:-2]

    def _codes(self, lead: Size) -> Tensor:
        return self.z.expand(*lead, *self.z.shape).reshape(-1, self.z.shape[-1])


def allowed(ids: Tensor) -> Tensor:
    """Which score belongs to a token; -1 would be out of range, so a begin token inside a row is an error."""
    if bool((ids < SPOKEN).any()):
        raise ShapeError("rows of token ids hold words and the end token 2, then zeros; leave the begin token 1 out")
    return ids - SPOKEN


def drawn(scores: Tensor) -> Tensor:
    """One token of every row of scores (N, V - 2), by chance."""
    return torch.multinomial(precise(scores).softmax(1), 1).squeeze(1)
