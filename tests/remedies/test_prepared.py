"""Prepared columns against those made afresh, however the bank was moved."""

import copy
import pickle

import pytest
import torch

from uncollapse.functional import gaussian_columns
from uncollapse.remedies import prepared as module
from uncollapse.remedies.bank import Bank
from uncollapse.remedies.prepared import Prepared


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(module, "TILE", 4)


def posteriors(count, latent=3):
    """Means and standard deviations (N, 2 D)."""
    return torch.cat([torch.randn(count, latent), 0.5 + torch.rand(count, latent)], 1)


def afresh(bank):
    """Columns of what is in a bank."""
    return gaussian_columns(*bank.filled.chunk(2, 1), shift=torch.zeros(bank.filled.shape[1] // 2)).right


@pytest.mark.parametrize("size", [4, 7, 10])
@pytest.mark.parametrize("counts", [(3, 3, 3, 3), (5, 1, 9), (10, 2), (25, 3)])
def test_columns_follow_the_ring(size, counts):
    torch.manual_seed(0)
    bank, prepared = Bank(size, 6), Prepared()
    assert prepared.of(bank).shape == (7, 0)
    for count in counts:
        prepared.put(bank, posteriors(count))
        torch.testing.assert_close(prepared.of(bank), afresh(bank), rtol=1e-12, atol=1e-12)
        assert torch.equal(prepared.of(bank), Prepared().of(bank))  # to the last bit, as after loading


def test_what_others_do_to_the_bank_is_noticed():
    torch.manual_seed(0)
    bank, prepared = Bank(5, 6), Prepared()
    prepared.put(bank, posteriors(5))
    bank.put(posteriors(2))
    torch.testing.assert_close(prepared.of(bank), afresh(bank))
    other = Bank(5, 6)
    other.put(posteriors(5))
    bank.load_state_dict(other.state_dict())
    torch.testing.assert_close(prepared.of(bank), afresh(other))
    prepared.put(bank.double(), posteriors(1).double())
    torch.testing.assert_close(prepared.of(bank), afresh(bank))


def test_copies_start_empty():
    prepared = Prepared()
    bank = Bank(5, 6)
    prepared.put(bank, posteriors(5))
    assert torch.equal(prepared.of(bank), prepared.rows.T)
    for twin in (copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert twin.rows is None
