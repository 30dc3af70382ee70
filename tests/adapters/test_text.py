"""Text VAEs in plain torch: alignment, padding, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from uncollapse import draw
from uncollapse.adapters import adapt
from uncollapse.adapters.text import Tokens
from uncollapse.errors import BadInput, ShapeError, Unsupported

B, T, V, D, PAD = 40, 6, 9, 3, 0


class Text(nn.Module):
    """A recurrent text VAE whose decoder is fed the text itself ("next") or the text moved by one ("here")."""

    pad_token_id = PAD

    def __init__(self, way="next"):
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.embed, self.head = nn.Embedding(V, 8), nn.Linear(8, 2 * D)
        self.cell, self.enter, self.out = nn.GRU(8, 8, batch_first=True), nn.Linear(D, 8), nn.Linear(8, V)

    def encode(self, input_ids, attention_mask):
        seen = self.embed(input_ids) * attention_mask[..., None]
        mean, logvar = self.head(seen.sum(1) / attention_mask.sum(1, keepdim=True)).chunk(2, 1)
        return mean, logvar

    def decode(self, z, input_ids):
        fed = self.embed(input_ids)
        if self.way == "here":
            fed = F.pad(fed, (0, 0, 1, -1))
        if self.way == "both":
            fed = fed + fed.flip(1)
        if self.way == "blind":
            fed = torch.zeros_like(fed)
        return self.out(self.cell(fed + self.enter(z)[:, None])[0])


@pytest.fixture
def words():
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(1, V, (B, T), generator=random)
    lengths = torch.randint(3, T + 1, (B,), generator=random)
    return ids.masked_fill(torch.arange(T) >= lengths[:, None], PAD)


@pytest.mark.parametrize(("way", "shift"), [("next", 1), ("here", 0), ("blind", 0)])
def test_scores_are_held_against_the_right_tokens(way, shift, words):
    net = Text(way)
    adapted = adapt(net, words)
    assert adapted.kind == "text"
    one = draw(adapted.model, words)
    logits = net.decode(one.z[0], words).log_softmax(-1)
    expected = torch.zeros(B)
    for row in range(B):
        for place in range(shift, T):
            if words[row, place] != PAD:
                expected[row] += logits[row, place - shift, words[row, place]]
    torch.testing.assert_close(one.log_px[0], expected)


def test_a_decoder_that_sees_the_future_is_refused(words):
    with pytest.raises(Unsupported, match="later tokens"):
        adapt(Text("both"), words)


def test_the_mask_keeps_padding_from_the_encoder(words):
    net = Text()
    mean, _ = net.encode(words, (words != PAD).long())
    torch.testing.assert_close(adapt(net, words).model.posterior(words).mean, mean)


def test_without_a_padding_id_every_token_counts(words):
    net = Text("here")
    net.pad_token_id = None
    adapted = adapt(net, words)
    assert any("every token" in remark for remark in adapted.remarks)
    one = draw(adapted.model, words)
    logits = net.decode(one.z[0], words)
    expected = -F.cross_entropy(logits.transpose(1, 2), words, reduction="none").sum(1)
    torch.testing.assert_close(one.log_px[0], expected)


def test_where_padding_is_the_end_mark_the_first_one_counts():
    ids = torch.tensor([[5, 0, 3, 0, 0], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]])
    assert Tokens(0, 0).mask(ids).tolist() == [
        [True, True, True, True, False],
        [True] * 5,
        [True, False, False, False, False],
    ]
    assert Tokens(0, 7).mask(ids)[0].tolist() == [True, False, True, False, False]


def test_encode_alone(words):
    class Encoder(Text):
        decode = None

    adapted = adapt(Encoder(), words)
    assert not adapted.decodes
    assert adapted.model.posterior(words).mean.shape == (B, D)


def test_what_does_not_fit_is_refused(words):
    with pytest.raises(BadInput, match="pass x="):
        adapt(Text())
    with pytest.raises(BadInput, match="softmax"):
        adapt(Text(), words, likelihood="gaussian")
    adapted = adapt(Text(), words)
    with pytest.raises(ShapeError, match=r"\(6,\)"):
        adapted.model.likelihood(torch.zeros(B, D)).log_prob(words[:, :4])
    with pytest.raises(BadInput, match="half precision"):
        adapted.model.posterior(words.half())
    with pytest.raises(ShapeError, match="token ids"):
        adapted.model.posterior(words[..., None])
    with pytest.raises(Unsupported, match="no mean"):
        _ = adapted.model.likelihood(torch.zeros(B, D)).mean
