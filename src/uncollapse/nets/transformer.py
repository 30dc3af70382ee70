"""A small transformer VAE of text: an encoder that sees the whole text, a decoder that sees z and the past."""

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from uncollapse.errors import BadInput
from uncollapse.nets.attention import Block, check_heads
from uncollapse.nets.ids import PAD, begun, check_text, ids_of, trimmed
from uncollapse.nets.lstm import share
from uncollapse.nets.sentences import Sentences
from uncollapse.nets.shapes import check_latent

__all__ = ["TransformerDecoder", "TransformerEncoder"]

Pool = Literal["mean", "first"]


class TransformerEncoder(nn.Module):
    """A bidirectional transformer over a text whose places are averaged, or represented by the begin token.

    Padding is looked at by nobody and not averaged: it changes nothing.

    Arguments:
        shape: (T,), length of a row of token ids: words, the end token 2, zeros.
        latent: D.
        vocabulary: V, how many ids there are.
        width: of word vectors and of the residual stream.
        heads: of the attention; they divide the width.
        layers: blocks of attention and perceptron.
        dropout: share, in training.
        pool: "mean" of all places that are not padding, or "first", the begin token's.

    Attributes:
        trunk: module from rows (B, T) to features (B, width); a hybrid critic may share it.
        head: linear layer from features to mean and log-variance (B, 2D).
        features: width of the features.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762; layer normalisation comes first, as in Radford et al.,
        2019 (GPT-2).

    Example:
        >>> encoder = TransformerEncoder((6,), latent=4, vocabulary=10, width=8, heads=2)
        >>> encoder(torch.tensor([[5, 9, 2, 0, 0, 0]])).shape
        torch.Size([1, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        vocabulary: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        pool: Pool = "mean",
    ) -> None:
        super().__init__()
        check_text(shape, vocabulary, "TransformerEncoder")
        self.trunk = Reader(shape[0], vocabulary, width, heads, layers, dropout, pool)
        self.features = width
        self.head = nn.Linear(width, 2 * check_latent(latent))

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of rows of token ids (B, T)."""
        return cast(Tensor, self.head(self.trunk(x)))


class Reader(nn.Module):
    """Features (B, width) of rows of token ids (B, T)."""

    def __init__(
        self, longest: int, vocabulary: int, width: int, heads: int, layers: int, dropout: float, pool: Pool
    ) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise BadInput(f"pool should be one of {', '.join(get_args(Pool))}, got {pool!r}")
        self.vocabulary, self.pool = vocabulary, pool
        self.words = Words(longest, vocabulary, width, heads, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The mean over the text, or what the begin token has gathered."""
        ids = begun(trimmed(ids_of(x, self.vocabulary)))
        text = ids != PAD
        h = self.words.embedded(ids, 0)
        for block in self.words.blocks:
            h, _ = block(h, seen=text[:, None, None])
        h = self.words.norm(h)
        if self.pool == "first":
            return cast(Tensor, h[:, 0])
        weight = text.to(h).unsqueeze(2)
        return cast(Tensor, (h * weight).sum(1) / weight.sum(1))


class Words(nn.Module):
    """What encoder and decoder have alike: word vectors, places, blocks."""

    def __init__(self, longest: int, vocabulary: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        check_heads(width, heads, layers)
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(longest + 1, width)
        self.dropout = share("dropout", dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh word vectors and places; torch's own are too wide to start from."""
        for table in (self.embed, self.place):
            table.weight.normal_(0, 0.02)

    def embedded(self, ids: Tensor, first: int) -> Tensor:
        """Vectors (N, t, width) of tokens (N, t) of which the first stands at the place `first`."""
        places = torch.arange(first, first + ids.shape[1], device=ids.device)
        return cast(Tensor, self.dropout(self.embed(ids) + self.place(places)))


class TransformerDecoder(nn.Module):
    """A causal transformer for which z is the first token, and is added to every other.

    In generation keys and values of the past are kept, so that a token costs one step.

    Arguments:
        shape, vocabulary, width, heads, layers, dropout: as for `TransformerEncoder`.
        latent: D.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Li et al., 2020, Optimus, https://arxiv.org/abs/2004.04092, section 3, for both ways of telling z.

    Example:
        >>> decoder = TransformerDecoder((6,), latent=4, vocabulary=10, width=8, heads=2)
        >>> decoder(torch.zeros(3, 4)).greedy().shape
        torch.Size([3, 6])
    """

    later = (
        "words.embed",
        "words.place",
        "words.blocks",
        "words.norm",
        "first",
        "every",
        "head",
    )  #: what its likelihood passes

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        vocabulary: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.longest, self.vocabulary = check_text(shape, vocabulary, "TransformerDecoder"), vocabulary
        self.words = Words(self.longest, vocabulary, width, heads, layers, dropout)
        self.first = nn.Linear(check_latent(latent), width)
        self.every = nn.Linear(latent, width, bias=False)
        self.head = nn.Linear(width, vocabulary - 2, bias=False)

    def forward(self, z: Tensor) -> Sentences:
        """p(x|z) for z (B, D): batch (B,), event (T,)."""
        return Sentences(self, z, (self.longest,))

    def features(self, inputs: Tensor, z: Tensor) -> Tensor:
        """Features (N, t, width) after every token of the inputs (N, t)."""
        words = self.words.embedded(inputs, 0)
        h = torch.cat([self.first(z).to(words).unsqueeze(1), words + self.every(z).to(words).unsqueeze(1)], 1)
        for block in self.words.blocks:
            h, _ = block(h, causal=True)
        return cast(Tensor, self.words.norm(h[:, 1:]))

    def scores(self, features: Tensor) -> Tensor:
        """Scores (M, V - 2) of the ids 2 to V - 1 from features (M, width)."""
        return cast(Tensor, self.head(features))

    def begin(self, z: Tensor) -> list[Tensor]:
        """What z adds to every token, and the keys and values of z as a token, block by block."""
        h, state = self.first(z).unsqueeze(1), [self.every(z)]
        for block in self.words.blocks:
            h, cache = block(h)
            state += cache
        return state

    def step(self, ids: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Features (N, width) after one more token (N,), and the state with its keys and values."""
        every, caches = state[0], state[1:]
        h = self.words.embedded(ids.unsqueeze(1), caches[0].shape[2] - 1) + every.unsqueeze(1)
        after = [every]
        for block, key, value in zip(self.words.blocks, caches[::2], caches[1::2], strict=True):
            h, cache = block(h, past=(key, value))
            after += cache
        return cast(Tensor, self.words.norm(h[:, 0])), after
