import torch

from uncollapse.nets import MLPEncoder


def test_counts_are_read_as_logarithms():
    torch.manual_seed(0)
    plain = MLPEncoder((5,), 2, hidden=(4,))
    torch.manual_seed(0)
    counts = MLPEncoder((5,), 2, hidden=(4,), log1p=True)
    x = torch.tensor([[0.0, 1.0, 7.0, 300.0, 2.0]])
    assert torch.equal(counts(x), plain(torch.log1p(x)))
