"""He's architecture, and texts whose padding changes nothing."""

import pytest
import torch
from torch import nn

from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets import LSTMDecoder, LSTMEncoder, build_vae
from uncollapse.nets.lstm import HE2019
from uncollapse.testing import check_model


def texts(n=8, longest=9, vocabulary=12):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(3, vocabulary, (n, longest), generator=generator)
    for row in range(n):
        end = row % (longest - 1) + 1
        x[row, end], x[row, end + 1 :] = 2, 0
    return x


def encoder(**options):
    torch.manual_seed(0)
    return LSTMEncoder((9,), 4, 12, embedding=6, hidden=7, **options)


def test_padding_and_the_rest_of_the_batch_change_no_posterior():
    net, x = encoder(), texts()
    whole = net(x)
    for row in range(len(x)):
        length = int((x[row] != 0).sum())
        torch.testing.assert_close(net(x[[row], :length]), whole[[row]])


def test_the_posterior_is_read_from_the_last_hidden_state():
    net, x = encoder(), texts()
    for row in x:
        ids = torch.tensor([[1, *row[row != 0].tolist()]])
        _, (hidden, _) = net.trunk.lstm(net.trunk.embed(ids))
        torch.testing.assert_close(net(row[None]), hidden[0] @ net.head.weight.T)


def test_the_gradient_does_not_come_through_padding():
    net, x = encoder(), texts()
    net(x).square().sum().backward()
    assert (net.trunk.embed.weight.grad[0] == 0).all()
    assert (net.trunk.embed.weight.grad[1:3].abs().sum(1) > 0).all()


def test_he2019_has_the_published_sizes_and_first_weights():
    vae = build_vae("lstm-he2019", "lstm-he2019", (20,), 32, {"tokens": 100})
    found = {name: tuple(p.shape) for name, p in vae.named_parameters()}
    assert found == {
        "encoder.trunk.embed.weight": (100, 512),
        "encoder.trunk.lstm.weight_ih_l0": (4096, 512),
        "encoder.trunk.lstm.weight_hh_l0": (4096, 1024),
        "encoder.trunk.lstm.bias_ih_l0": (4096,),
        "encoder.trunk.lstm.bias_hh_l0": (4096,),
        "encoder.head.weight": (64, 1024),
        "decoder.embed.weight": (100, 512),
        "decoder.start.weight": (1024, 32),
        "decoder.lstm.weight_ih_l0": (4096, 544),
        "decoder.lstm.weight_hh_l0": (4096, 1024),
        "decoder.lstm.bias_ih_l0": (4096,),
        "decoder.lstm.bias_hh_l0": (4096,),
        "decoder.head.weight": (98, 1024),
    }
    for name, weight in vae.named_parameters():
        bound = 0.1 if "embed" in name else 0.01
        assert 0.95 * bound < weight.abs().max() <= bound, name
    assert (vae.decoder.dropout_in.p, vae.decoder.dropout_out.p) == (0.5, 0.5)


def test_reset_draws_fresh_weights_of_the_same_kind():
    net = LSTMDecoder((9,), 4, 12, **HE2019 | {"embedding": 8, "hidden": 8})
    before = {name: p.clone() for name, p in net.named_parameters()}
    net.reset_parameters()
    assert all(not torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert net.lstm.weight_hh_l0.abs().max() <= 0.01


def test_z_starts_the_cell_and_is_seen_at_every_step():
    torch.manual_seed(0)
    net = LSTMDecoder((9,), 4, 12, embedding=6, hidden=7).eval()
    z, ids = torch.randn(1, 4), torch.tensor([[1, 5, 6]])
    hidden = (net.start.weight @ z[0]).tanh()
    cell = net.start.weight @ z[0]
    lstm = nn.LSTMCell(10, 7)
    lstm.load_state_dict({name.removesuffix("_l0"): value for name, value in net.lstm.state_dict().items()})
    for place in range(3):
        told = torch.cat([net.embed.weight[ids[0, place]], z[0]])
        hidden, cell = lstm(told[None], (hidden.reshape(1, 7), cell.reshape(1, 7)))
        torch.testing.assert_close(net.features(ids, z)[0, place], hidden[0])


def test_dropout_falls_on_words_and_states_not_on_z():
    torch.manual_seed(0)
    net = LSTMDecoder((9,), 4, 12, embedding=6, hidden=7, dropout_in=0.9, dropout_out=0.0).train()
    z, seen = torch.ones(50, 4), []
    net.lstm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net.features(torch.full((50, 2), 5), z)
    assert (seen[0][..., 6:] == 1).all()
    assert 0.8 < (seen[0][..., :6] == 0).float().mean() < 0.97


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_text_models_keep_the_contract(name):
    small = {"lstm": {"embedding": 6, "hidden": 7}, "transformer": {"width": 8, "heads": 2}}[name]

    def make():
        torch.manual_seed(0)
        return build_vae({"name": name} | small, {"name": name} | small, (9,), 4, {"tokens": 12})

    check_model(make, texts())
    check_model(make, texts().float())


def test_names_of_text_and_other_data_do_not_mix():
    with pytest.raises(BadInput, match="made for text"):
        build_vae("lstm", "lstm", (9,), 4)
    with pytest.raises(BadInput, match="does not take tokens"):
        build_vae("mlp", "lstm", (9,), 4, {"tokens": 12})
    with pytest.raises(ShapeError, match="rows of token ids"):
        build_vae("lstm", "lstm", (1, 8, 8), 4, {"tokens": 12})


@pytest.mark.parametrize(
    "options",
    [{"embedding": 0}, {"hidden": 2.5}, {"dropout_in": 1.0}, {"dropout_out": -0.1}, {"init": 0}, {"vocabulary": 3}],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(BadInput):
        LSTMDecoder((9,), 4, **{"vocabulary": 12} | options)


def test_several_dimensions_are_no_text():
    with pytest.raises(ShapeError, match=r"\(B, T\)"):
        encoder()(torch.zeros(2, 3, 4))
