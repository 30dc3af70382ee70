"""Padding changes nothing, the future is not seen, and z reaches every token."""

import pytest
import torch

from uncollapse.errors import BadInput
from uncollapse.nets import TransformerDecoder, TransformerEncoder
from uncollapse.nets.attention import Block


def encoder(**options):
    torch.manual_seed(0)
    return TransformerEncoder((9,), 4, 12, width=8, heads=2, **options).eval()


def texts():
    x = torch.randint(3, 12, (6, 9), generator=torch.Generator().manual_seed(0))
    for row in range(6):
        x[row, row + 1], x[row, row + 2 :] = 2, 0
    return x


@pytest.mark.parametrize("pool", ["mean", "first"])
def test_padding_and_the_rest_of_the_batch_change_no_posterior(pool):
    net, x = encoder(pool=pool), texts()
    whole = net(x)
    for row in range(6):
        torch.testing.assert_close(net(x[[row], : row + 2]), whole[[row]], rtol=1e-4, atol=1e-6)


def test_the_two_ways_to_pool():
    x = texts()
    mean, first = encoder(pool="mean"), encoder(pool="first")
    words = mean.trunk.words
    ids = torch.tensor([[1, *x[0][x[0] != 0].tolist()]])
    h = words.embedded(ids, 0)
    for block in words.blocks:
        h, _ = block(h)
    h = words.norm(h)
    torch.testing.assert_close(mean.trunk(x[:1]), h.mean(1))
    torch.testing.assert_close(first.trunk(x[:1]), h[:, 0])


def test_attention_against_a_slow_version():
    torch.manual_seed(0)
    block, h = Block(8, 2, 0.0), torch.randn(2, 5, 8)
    query, key, value = block.ask(h).reshape(2, 5, 3, 2, 4).unbind(2)
    out = torch.zeros(2, 5, 2, 4)
    for n in range(2):
        for head in range(2):
            for place in range(5):
                weight = (key[n, : place + 1, head] @ query[n, place, head] / 4**0.5).softmax(0)
                out[n, place, head] = weight @ value[n, : place + 1, head]
    found, _ = block.attend(h, None, None, causal=True)
    torch.testing.assert_close(found, block.tell(out.reshape(2, 5, 8)), rtol=1e-4, atol=1e-5)


def test_the_decoder_sees_the_past_and_z_only():
    torch.manual_seed(0)
    net = TransformerDecoder((9,), 4, 12, width=8, heads=2).eval()
    z, ids = torch.randn(1, 4), torch.randint(3, 12, (1, 9))
    whole = net.features(ids, z)
    for place in range(9):
        other = ids.clone()
        other[0, place] = 3 + (ids[0, place] - 2) % 9
        moved = (net.features(other, z) - whole).abs().amax(2)[0] > 1e-6
        assert not moved[:place].any()
        assert moved[place:].any()
    assert ((net.features(ids, z + 1) - whole).abs().amax(2) > 1e-4).all()


def test_dropout_is_for_training():
    net = encoder(dropout=0.5)
    x = texts()
    assert torch.equal(net(x), net(x))
    assert not torch.equal(net.train()(x), net(x))


@pytest.mark.parametrize("options", [{"heads": 3}, {"width": 0}, {"layers": 0}, {"dropout": 1.0}, {"pool": "last"}])
def test_options_that_make_no_sense(options):
    with pytest.raises(BadInput):
        TransformerEncoder((9,), 4, 12, **{"width": 8, "heads": 2} | options)
