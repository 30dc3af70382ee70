"""The likelihood of rows sums to one, samples follow it, and steps with a kept state equal the full pass."""

from functools import partial
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from uncollapse import VAE
from uncollapse.distributions import Folded
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.likelihoods import tokens
from uncollapse.nets import LSTMDecoder, LSTMEncoder, TransformerDecoder, sentences
from uncollapse.wrappers import WordDropout, drop_tokens

T, V, D = 4, 6, 3
DECODERS = {
    "lstm": partial(LSTMDecoder, embedding=5, hidden=7, dropout_in=0.0, dropout_out=0.0),
    "transformer": partial(TransformerDecoder, width=8, heads=2, dropout=0.0),
}
BOTH = pytest.mark.parametrize("kind", DECODERS)


def decoder(kind, longest=T, vocabulary=V, sharp=3.0, **options):
    torch.manual_seed(1)
    net = DECODERS[kind]((longest,), D, vocabulary, **options)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(sharp) if weight.ndim > 1 else weight.add_(0.1 * torch.randn_like(weight))
    return net


def every_row(longest=T, vocabulary=V):
    """All rows of words and an end token, padded, and those that were cut."""
    words, rows = (3, *range(4, vocabulary)), []
    for count in range(longest):
        rows += [(*row, 2) + (0,) * (longest - count - 1) for row in product(words, repeat=count)]
    return torch.tensor(rows + list(product(words, repeat=longest)))


ROWS = every_row()


@BOTH
def test_probabilities_of_all_rows_add_up_to_one(kind):
    px = decoder(kind)(torch.randn(5, D))
    total = px.log_prob(ROWS[:, None].expand(-1, 5, T)).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(5))


@BOTH
def test_samples_follow_the_likelihood(kind):
    px = decoder(kind)(torch.randn(1, D))
    chance = px.log_prob(ROWS[:, None]).exp()[:, 0].detach()
    torch.manual_seed(2)
    drawn = px.sample((20_000,))[:, 0]
    count = (drawn[:, None] == ROWS).all(2).float().mean(0)
    assert count.sum() == pytest.approx(1.0)
    error = (chance * (1 - chance) / 20_000).sqrt()
    assert ((count - chance).abs() < 4.5 * error + 1e-4).all()


@BOTH
def test_steps_with_a_kept_state_equal_the_full_pass(kind):
    net = decoder(kind, longest=9, vocabulary=30)
    z, inputs = torch.randn(4, D), torch.randint(1, 30, (4, 9))
    whole = net.features(inputs, z)
    state = net.begin(z)
    for place in range(9):
        one, state = net.step(inputs[:, place], state)
        torch.testing.assert_close(one, whole[:, place], rtol=1e-4, atol=1e-5)


@BOTH
def test_log_prob_is_the_cross_entropy_of_the_text_alone(kind):
    net = decoder(kind, longest=6, vocabulary=9)
    z, x = torch.randn(2, D), torch.tensor([[5, 8, 2, 0, 0, 0], [4, 4, 7, 3, 2, 0]])
    scores = net.scores(net.features(F.pad(x[:, :-1], (1, 0), value=1), z))
    nats = -F.cross_entropy(scores.transpose(1, 2), (x - 2).clamp(min=0), reduction="none")
    torch.testing.assert_close(net(z).log_prob(x), (nats * (x != 0)).sum(1))
    per_token = net(z).per_token(x)
    assert per_token.shape == (2, 5)
    assert (per_token[0, 3:] == 0).all()
    assert net(z).lengths(x).tolist() == [3, 5]


@BOTH
def test_padding_and_the_other_rows_of_a_batch_change_nothing(kind):
    net = decoder(kind, longest=12, vocabulary=9)
    z, x = torch.randn(3, D), torch.zeros(3, 12, dtype=torch.int64)
    x[0, :2], x[1, :12], x[2, :5] = torch.tensor([4, 2]), 5, torch.tensor([4, 5, 6, 7, 2])
    together = net(z).log_prob(x)
    for row in range(3):
        torch.testing.assert_close(net(z[[row]]).log_prob(x[[row]]), together[[row]])


@BOTH
def test_scores_in_pieces_are_the_same(kind, monkeypatch):
    net = decoder(kind)
    x, z = ROWS[:50], torch.randn(50, D)
    whole = net(z).log_prob(x)
    monkeypatch.setattr(sentences, "PIECE", 7 * V)
    sizes, score = [], net.scores
    monkeypatch.setattr(net, "scores", lambda features: sizes.append(len(features)) or score(features))
    with torch.no_grad():
        torch.testing.assert_close(net(z).log_prob(x), whole)
    assert max(sizes) == 7
    assert sum(sizes) == (x != 0).sum()
    torch.testing.assert_close(net(z).log_prob(x), whole)  # with a gradient, in one piece
    assert sizes[-1] == (x != 0).sum()


@BOTH
@pytest.mark.parametrize("penalty", [0.0, 4.0])
def test_a_wide_beam_finds_the_best_of_all_rows(kind, penalty):
    z = torch.randn(6, D)
    px = decoder(kind)(z)
    nats = px.log_prob(ROWS[:, None].expand(-1, 6, T))
    scores = nats / ((5 + px.lengths(ROWS)) / 6).pow(penalty)[:, None]
    assert torch.equal(scores.argmax(0), nats.argmax(0)) == (penalty == 0)  # the penalty makes a difference here
    rows, found = px.beams(len(ROWS), penalty)
    assert torch.equal(rows[:, 0], ROWS[scores.argmax(0)])
    torch.testing.assert_close(found.sort(1).values, nats.T.sort(1).values)  # here it is exhaustive
    assert torch.equal(px.beam(len(ROWS), penalty), rows[:, 0])


@BOTH
def test_beams_carry_their_true_probability_and_get_better_with_width(kind):
    px = decoder(kind, longest=7, vocabulary=12)(torch.randn(5, D))
    best = []
    for width in (1, 4, 30):
        rows, nats = px.beams(width)
        torch.testing.assert_close(px.log_prob(rows.transpose(0, 1)).T, nats, rtol=1e-4, atol=1e-4)
        assert (nats[:, :-1] >= nats[:, 1:]).all()
        best.append(nats[:, 0])
    assert torch.equal(px.beam(1), px.greedy())
    assert best[2].mean() >= best[1].mean() >= best[0].mean()


def slow_beam(px, width, penalty, longest, vocabulary):
    """The same search with lists, every row scored afresh."""

    def worth(row):
        ids = torch.tensor([(*row, *[0] * (longest - len(row)))])
        # an unfinished row is a cut one: the scores of its tokens are the same
        return px.log_prob(ids).item() / ((5 + len(row)) / 6) ** penalty

    kept = [()]
    for _ in range(longest):
        grown = [
            after for row in kept for after in ([row] if 2 in row else [(*row, word) for word in range(2, vocabulary)])
        ]
        kept = sorted(grown, key=worth, reverse=True)[:width]
    return [[*row, *[0] * (longest - len(row))] for row in kept]


@BOTH
@pytest.mark.parametrize(("width", "penalty"), [(2, 0.0), (3, 1.0), (3, 4.0)])
def test_a_narrow_beam_against_a_slow_one(kind, width, penalty):
    for z in torch.randn(4, 1, D):
        px = decoder(kind, longest=5, vocabulary=7)(z)
        assert px.beams(width, penalty)[0][0].tolist() == slow_beam(px, width, penalty, 5, 7)


def test_a_penalty_asks_for_longer_rows():
    px = decoder("lstm", longest=12, vocabulary=12)(torch.randn(20, D))
    lengths = [px.lengths(px.beam(6, penalty)).float().mean().item() for penalty in (0.0, 1.0, 3.0)]
    assert lengths[0] < lengths[2]
    assert lengths == sorted(lengths)


@BOTH
def test_greedy_takes_the_likeliest_token_and_stops_at_the_end(kind):
    net = decoder(kind, longest=8, vocabulary=12)
    z = torch.randn(20, D)
    rows = net(z).greedy()
    scores = net.scores(net.features(F.pad(rows[:, :-1], (1, 0), value=1), z)).argmax(2) + 2
    text = rows != 0
    assert torch.equal(rows[text], scores[text])
    ends = (rows == 2).float().cumsum(1) - (rows == 2).float()
    assert ((rows == 0) == (ends > 0)).all()


def vae(kind="lstm", **options):
    torch.manual_seed(0)
    return VAE(LSTMEncoder((T,), D, V, embedding=5, hidden=7), decoder(kind, **options), D, read_x=tokens)


@BOTH
def test_folded_samples(kind):
    model = vae(kind)
    z, x = torch.randn(2, 7, D), ROWS[30:37]
    px = model.likelihood(z)
    assert isinstance(px, Folded)
    torch.testing.assert_close(px.log_prob(x), torch.stack([model.likelihood(one).log_prob(x) for one in z]))
    assert px.sample((3,)).shape == (3, 2, 7, T)
    base = model.likelihood(z[0])
    torch.testing.assert_close(base.log_prob(x[0]), base.log_prob(x[:1].expand(7, T)))


def test_nothing_is_dropped_while_writing_and_the_mode_comes_back():
    net = LSTMDecoder((T,), D, V, embedding=5, hidden=7).train()
    px = net(torch.randn(5, D))
    assert torch.equal(px.greedy(), px.greedy())
    assert net.training
    assert net.dropout_in.training
    assert not torch.equal(px.log_prob(ROWS[:5]), px.log_prob(ROWS[:5]))


def test_samples_are_reproducible_whole_numbers_without_gradient():
    px = decoder("lstm")(torch.randn(3, D))
    torch.manual_seed(3)
    first = px.sample()
    torch.manual_seed(3)
    assert torch.equal(first, px.sample())
    assert first.dtype == torch.int64
    assert not first.requires_grad
    assert px.support.check(first).all()


def test_word_dropout_changes_what_is_seen_and_not_what_is_scored():
    wrapped = WordDropout(vae(), rate=1.0, unknown=3, keep=(0, 1))
    z, x = torch.randn(6, D), ROWS[-6:]
    plain = wrapped.model.likelihood(z)
    seen = plain.network.features(torch.tensor([[1, 3, 3, 3]]).expand(6, 4), z)
    nats = -F.cross_entropy(plain.network.scores(seen).transpose(1, 2), x - 2, reduction="none").sum(1)
    torch.testing.assert_close(wrapped.train().likelihood(z).log_prob(x), nats)
    torch.testing.assert_close(wrapped.eval().likelihood(z).log_prob(x), plain.log_prob(x))
    assert drop_tokens(x, 1.0, 3, (0, 1)).eq(3).all()


@pytest.mark.parametrize(
    ("x", "kind", "words"),
    [
        (torch.tensor([[1, 5, 2, 0]]), ShapeError, "leave the begin token"),
        (torch.tensor([[6, 2, 0, 0]]), BadInput, "0 to 5"),
        (torch.tensor([[-1, 2, 0, 0]]), BadInput, "0 to 5"),
        (torch.tensor([[0.5, 2, 0, 0]]), BadInput, "whole numbers"),
        (torch.tensor([[5, 2, 0, 0]]).half(), BadInput, "half precision"),
        (torch.tensor([[5, 2, 0]]), ShapeError, "rows of token ids"),
    ],
)
def test_rows_that_are_none(x, kind, words):
    px = decoder("lstm")(torch.zeros(1, D))
    with pytest.raises(kind, match=words):
        px.log_prob(x)


def test_an_empty_row_has_nothing_to_score():
    assert decoder("lstm")(torch.zeros(1, D)).log_prob(torch.zeros(1, T, dtype=torch.int64)).tolist() == [0.0]


def test_floats_that_hold_whole_numbers_are_taken():
    px = decoder("lstm")(torch.zeros(2, D))
    torch.testing.assert_close(px.log_prob(ROWS[:2].float()), px.log_prob(ROWS[:2]))


def test_what_cannot_be_had_is_refused():
    px = decoder("lstm")(torch.zeros(2, D))
    for name in ("mean", "variance"):
        with pytest.raises(Unsupported, match="sample"):
            getattr(px, name)
    for width, penalty in ((0, 0.0), (2.5, 0.0), (3, -1.0), (3, "long")):
        with pytest.raises(BadInput, match="beam search"):
            px.beam(width, penalty)


@BOTH
def test_half_precision_networks_give_full_precision_likelihoods(kind):
    net, z = decoder(kind, sharp=1.0), torch.randn(5, D)
    exact = net(z).log_prob(ROWS[:5])
    with torch.autocast("cpu", torch.bfloat16):
        px = net(z)
        rough = px.log_prob(ROWS[:5])
        assert px.sample().shape == px.beam(3).shape == (5, T)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)
    half = net.to(torch.bfloat16)(z.bfloat16())
    assert half.log_prob(ROWS[:5]).dtype == torch.float32
    torch.testing.assert_close(half.log_prob(ROWS[:5]), exact, rtol=0.05, atol=0.05)


@BOTH
def test_gradients_reach_z_and_every_weight(kind):
    net, z = decoder(kind), torch.randn(4, D, requires_grad=True)
    net(z).log_prob(ROWS[40:44]).sum().backward()
    assert z.grad.abs().max() > 0
    assert all(p.grad is not None for p in net.parameters())


def test_a_network_is_a_module_and_stays_one():
    assert isinstance(decoder("lstm")(torch.zeros(1, D)).network, nn.Module)
