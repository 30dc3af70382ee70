"""LSTM encoder and decoder of text: the decoder sees z at every step, and could do without it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from uncollapse.errors import BadInput
from uncollapse.nets.ids import PAD, begun, check_text, ids_of, trimmed
from uncollapse.nets.sentences import Sentences
from uncollapse.nets.shapes import check_latent, whole

__all__ = ["LSTMDecoder", "LSTMEncoder"]

HE2019: dict[str, Any] = {"embedding": 512, "hidden": 1024, "init": 0.01}
ASOKAN: dict[str, Any] = {"embedding": 256, "hidden": 1024}


class LSTMEncoder(nn.Module):
    """The last hidden state of an LSTM over a text, and a linear layer without bias.

    The begin token is put in front, as the decoder does. Rows end where their padding begins, whatever the others of
    the batch do: padding changes nothing.

    Arguments:
        shape: (T,), length of a row of token ids: words, the end token 2, zeros.
        latent: D.
        vocabulary: V, how many ids there are.
        embedding: width of the word vectors.
        hidden: width of the LSTM.
        init: all weights are drawn from U(-init, init), as published with 0.01; if None, as torch draws them. Word
            vectors are drawn from U(-0.1, 0.1) either way.

    Attributes:
        trunk: module from rows (B, T) to features (B, hidden); a hybrid critic may share it.
        head: linear layer from features to mean and log-variance (B, 2D).
        features: width of the features.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        He, Spokoyny, Neubig, Berg-Kirkpatrick, 2019, https://arxiv.org/abs/1901.05534, and its code.

    Example:
        >>> encoder = LSTMEncoder((6,), latent=4, vocabulary=10, embedding=8, hidden=8)
        >>> encoder(torch.tensor([[5, 9, 2, 0, 0, 0]])).shape
        torch.Size([1, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        vocabulary: int,
        embedding: int = 256,
        hidden: int = 256,
        init: float | None = None,
    ) -> None:
        super().__init__()
        check_text(shape, vocabulary, "LSTMEncoder")
        self.trunk = Reader(vocabulary, embedding, hidden)
        self.features, self.init = hidden, check_init(init)
        self.head = nn.Linear(hidden, 2 * check_latent(latent), bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights."""
        fresh(self, self.trunk.embed, self.init)

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of rows of token ids (B, T)."""
        return cast(Tensor, self.head(self.trunk(x)))


class Reader(nn.Module):
    """The last hidden state (B, hidden) of an LSTM over rows of token ids (B, T)."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        check_sizes(embedding=embedding, hidden=hidden)
        self.vocabulary = vocabulary
        self.embed = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """The state after the last token that is not padding."""
        ids = trimmed(ids_of(x, self.vocabulary))
        with differentiable(self.lstm):
            states, _ = self.lstm(self.embed(begun(ids)))
        last = (ids != PAD).sum(1)  # the begin token has moved everything by one place
        return cast(Tensor, states[torch.arange(len(ids), device=ids.device), last])


class LSTMDecoder(nn.Module):
    """An LSTM that is told z at every step, beside the word before, and starts from it.

    The initial cell is a linear map of z without bias, the initial hidden state its tanh. Padding and begin token have
    no output: they are never said.

    Arguments:
        shape, vocabulary, embedding, hidden, init: as for `LSTMEncoder`.
        latent: D.
        dropout_in, dropout_out: of word vectors, and of the states before the last layer.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        He, Spokoyny, Neubig, Berg-Kirkpatrick, 2019, https://arxiv.org/abs/1901.05534, and its code.

    Example:
        >>> decoder = LSTMDecoder((6,), latent=4, vocabulary=10, embedding=8, hidden=8)
        >>> decoder(torch.zeros(3, 4)).greedy().shape
        torch.Size([3, 6])
    """

    later = ("embed", "start", "lstm", "head")  #: what its likelihood passes

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        vocabulary: int,
        embedding: int = 256,
        hidden: int = 256,
        dropout_in: float = 0.5,
        dropout_out: float = 0.5,
        init: float | None = None,
    ) -> None:
        super().__init__()
        self.longest, self.vocabulary = check_text(shape, vocabulary, "LSTMDecoder"), vocabulary
        check_sizes(embedding=embedding, hidden=hidden)
        self.init = check_init(init)
        self.embed = nn.Embedding(vocabulary, embedding)
        self.dropout_in, self.dropout_out = share("dropout_in", dropout_in), share("dropout_out", dropout_out)
        self.start = nn.Linear(check_latent(latent), hidden, bias=False)
        self.lstm = nn.LSTM(embedding + latent, hidden, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary - 2, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights."""
        fresh(self, self.embed, self.init)

    def forward(self, z: Tensor) -> Sentences:
        """p(x|z) for z (B, D): batch (B,), event (T,)."""
        return Sentences(self, z, (self.longest,))

    def features(self, inputs: Tensor, z: Tensor) -> Tensor:
        """States (N, t, hidden) after every token of the inputs (N, t)."""
        words = self.dropout_in(self.embed(inputs))
        told = torch.cat([words, z.to(words).unsqueeze(1).expand(-1, inputs.shape[1], -1)], 2)
        hidden, cell, _ = self.begin(z)
        with differentiable(self.lstm):
            states, _ = self.lstm(told, (hidden.unsqueeze(0), cell.unsqueeze(0)))
        return cast(Tensor, self.dropout_out(states))

    def scores(self, features: Tensor) -> Tensor:
        """Scores (M, V - 2) of the ids 2 to V - 1 from states (M, hidden)."""
        return cast(Tensor, self.head(features))

    def begin(self, z: Tensor) -> list[Tensor]:
        """Hidden state, cell and z before the first token."""
        cell = self.start(z)
        return [cell.tanh(), cell, z]

    def step(self, ids: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """State (N, hidden) after one more token (N,); once more with everything that the next step needs."""
        hidden, cell, z = state
        words = self.embed(ids)
        told = torch.cat([words, z.to(words)], 1).unsqueeze(1)
        out, (hidden, cell) = self.lstm(told, (hidden.unsqueeze(0), cell.unsqueeze(0)))
        return out[:, 0], [hidden[0], cell[0], z]


@contextmanager
def differentiable(lstm: nn.LSTM) -> Iterator[None]:
    """On an accelerator an LSTM has a gradient in training mode only; one layer without dropout is the same in both."""
    mode, lstm.training = lstm.training, lstm.training or torch.is_grad_enabled()
    try:
        yield
    finally:
        lstm.training = mode


@torch.no_grad()
def fresh(module: nn.Module, embed: nn.Embedding, init: float | None) -> None:
    """Draw all weights of a module anew."""
    for part in module.modules():
        if isinstance(part, nn.LSTM | nn.Linear):
            part.reset_parameters()
    if init is not None:
        for weight in module.parameters():
            weight.uniform_(-init, init)
    embed.weight.uniform_(-0.1, 0.1)


def check_sizes(**sizes: int) -> None:
    """Refuse widths that are no positive whole numbers."""
    for name, size in sizes.items():
        if not whole(size):
            raise BadInput(f"{name} should be a positive whole number, got {size!r}")


def check_init(init: Any) -> float | None:
    """The bound of the uniform distribution of fresh weights, or None."""
    if init is not None and (isinstance(init, bool) or not isinstance(init, int | float) or not init > 0):
        raise BadInput(f"init should be a positive bound of the first weights or None, got {init!r}")
    return init


def share(name: str, rate: Any) -> nn.Dropout:
    """A dropout layer, if the rate is a share below 1."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise BadInput(f"{name} should be a share from 0 to below 1, got {rate!r}")
    return nn.Dropout(rate)
