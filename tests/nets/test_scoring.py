"""The log probability of tokens, block by block, against a slow double-precision form."""

import pytest
import torch

from uncollapse.nets import scoring
from uncollapse.nets.scoring import token_log_prob


@pytest.fixture(params=["plain", "blocks", "rows"])
def way(request, monkeypatch):
    """The plain operations, blocks of three rows with a rest, and single rows that are longer than a block."""
    if request.param != "plain":
        monkeypatch.setattr(scoring, "SMALL", 0)
        monkeypatch.setattr(scoring, "BLOCK", 3 * 11 + 1 if request.param == "blocks" else 5)
    return request.param


def case(kind, rows=7, columns=11):
    torch.manual_seed(0)
    scores = (6 * torch.randn(rows, columns)).to(kind)
    scores[1] += 300  # an exponential of these would overflow
    return scores.requires_grad_(), torch.randint(0, columns, (rows,)), torch.randn(rows)


def slow(scores, ids):
    """Row by row in float64."""
    rows = [
        row[i] - (row - row.max()).exp().sum().log() - row.max() for row, i in zip(scores.double(), ids, strict=True)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_the_slow_form(way, kind):
    scores, ids, pull = case(kind)
    exact = slow(scores, ids)
    (wanted,) = torch.autograd.grad((exact * pull).sum(), scores)
    found = token_log_prob(scores, ids)
    (slope,) = torch.autograd.grad((found * pull).sum(), scores)
    assert found.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert slope.dtype == kind
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-4)  # 300 in float32 has steps of 3e-5
    torch.testing.assert_close(slope, wanted)


def test_blocks_give_the_bits_of_the_plain_operations(monkeypatch):
    scores, ids, pull = case(torch.float32, rows=50)
    plain = token_log_prob(scores, ids)
    (wanted,) = torch.autograd.grad((plain * pull).sum(), scores)
    monkeypatch.setattr(scoring, "SMALL", 0)
    monkeypatch.setattr(scoring, "BLOCK", 99)
    found = token_log_prob(scores, ids)
    assert torch.equal(found, plain)
    (slope,) = torch.autograd.grad((found * pull).sum(), scores)
    torch.testing.assert_close(slope, wanted)


def test_gradients_of_gradients(way):
    scores, ids, _ = case(torch.float64, rows=4)
    assert torch.autograd.gradgradcheck(lambda s: token_log_prob(s / 20, ids), scores)


def test_large_scores_take_the_blocks_and_small_ones_do_not():
    assert (
        "TokenLogProb"
        in type(token_log_prob(torch.zeros(3, 2**22, requires_grad=True), torch.arange(3)).grad_fn).__name__
    )
    assert (
        "TokenLogProb"
        not in type(token_log_prob(torch.zeros(3, 9, requires_grad=True), torch.arange(3)).grad_fn).__name__
    )


def test_no_row_at_all():
    assert token_log_prob(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)).shape == (0,)
