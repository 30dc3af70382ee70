import pytest
import torch

from uncollapse.errors import BadInput
from uncollapse.plan import Order, Settings


def test_buckets_use_every_example_once_and_pad_little():
    lengths = torch.randint(1, 100, (320,), generator=torch.Generator().manual_seed(0))
    order = Order(320, 8, 0, lengths, bucket=10)
    batches = [order.indices(step) for step in range(order.per_epoch)]
    assert sorted(torch.cat(batches).tolist()) == list(range(320))
    spread = torch.stack([lengths[b].max() - lengths[b].min() for b in batches]).float().mean()
    plain = Order(320, 8, 0)
    wide = torch.stack(
        [lengths[plain.indices(s)].max() - lengths[plain.indices(s)].min() for s in range(plain.per_epoch)]
    ).float()
    assert spread < wide.mean() / 3


def test_buckets_are_mixed_afresh_every_epoch_and_repeat_by_seed():
    lengths = torch.arange(64)
    one, two = (Order(64, 4, 5, lengths, bucket=4) for _ in range(2))
    assert torch.equal(one.indices(17), two.indices(17))
    firsts = {tuple(one.indices(step).tolist()) for step in range(16)}
    again = {tuple(one.indices(step).tolist()) for step in range(16, 32)}
    assert firsts != again
    lows = torch.tensor([int(lengths[one.indices(step)].min()) for step in range(16)])
    assert not torch.equal(lows, lows.sort().values)  # short texts do not come first


def test_inner_batches_are_of_similar_length_too():
    order = Order(64, 4, 5, torch.arange(64), bucket=16)
    batch = order.extra(0, 0)
    assert int(batch.max() - batch.min()) == 3


def test_a_bucket_is_a_whole_number():
    with pytest.raises(BadInput, match="bucket should be a positive whole number"):
        Settings(batches=1, bucket=0)
