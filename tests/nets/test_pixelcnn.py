"""The masks, the way of z, and the presets."""

import pytest
import torch
import torch.nn.functional as F

from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets import PixelCNN
from uncollapse.nets.masked import MaskedConv

CASES = [((1, 5, 4), {}), ((3, 3, 4), {}), ((2, 4, 3), {"skip": 2}), ((1, 6, 6), {"norm": "batch", "skip": 2})]


def build(shape, latent=3, **options):
    torch.manual_seed(0)
    settings = {"channels": 7, "kernels": (5, 3, 3), "bottleneck": 6, "latent_maps": 2}
    net = PixelCNN(shape, latent, **settings | options).double().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after some training
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net


def jacobian(net, shape):
    px = net(torch.randn(1, 3, dtype=torch.float64))
    x = torch.rand(shape, dtype=torch.float64)
    # order of the numbers of an image: pixel by pixel in raster order, channels within a pixel
    flat = torch.autograd.functional.jacobian(lambda v: px.logits(v[None])[0].permute(1, 2, 0).flatten(), x)
    return flat.permute(0, 2, 3, 1).flatten(1)


@pytest.mark.parametrize(("shape", "options"), CASES)
def test_a_pixel_sees_exactly_what_lies_before_it(shape, options):
    table = jacobian(build(shape, **options), shape)
    n = table.shape[0]
    later = torch.ones(n, n).triu().bool()
    assert (table[later] == 0).all()
    pixels = table.reshape(shape[1], shape[2], shape[0], shape[1], shape[2], shape[0]).abs().amax((2, 5))
    for row in range(shape[1]):
        for column in range(shape[2]):
            assert column == 0 or pixels[row, column, row, column - 1] > 0
            assert row == 0 or pixels[row, column, row - 1, column] > 0
    if shape[0] > 1:
        last, first = slice(shape[0] - 1, None, shape[0]), slice(0, None, shape[0])
        assert (table[last, first].diagonal().abs() > 0).all()  # the last channel sees the first of its own pixel


def test_the_whole_past_is_within_reach():
    table = jacobian(build((1, 5, 4), kernels=(7, 5, 5)), (1, 5, 4))
    assert (table[-1, :-1].abs() > 0).all()


@pytest.mark.parametrize(("shape", "options"), CASES)
def test_z_reaches_every_pixel(shape, options):
    net = build(shape, **options)
    x = torch.rand(1, *shape, dtype=torch.float64)
    table = torch.autograd.functional.jacobian(lambda z: net(z).logits(x).flatten(), torch.randn(1, 3).double())
    assert (table.abs().amax((1, 2)) > 0).all()


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("hide_self", [True, False])
def test_cropped_kernels_equal_the_full_masked_form(kernel, groups, hide_self):
    torch.manual_seed(0)
    into, out, half = 7, 5, kernel // 2
    conv = MaskedConv(into, out, kernel, groups, hide_self)
    full = torch.zeros(out, into, kernel, kernel)
    for o in range(out):
        for i in range(into):
            for row in range(kernel):
                for column in range(kernel):
                    here = row == half and column == half
                    target, source = o * groups // out, i * groups // into
                    seen = (
                        (source < target if hide_self else source <= target) if here else (row, column) < (half, half)
                    )
                    if seen:
                        full[o, i, row, column] = conv.weight[o, i, row, column]
    x = torch.randn(2, into, 6, 5)
    torch.testing.assert_close(conv(x), F.conv2d(x, full, conv.bias, padding=half))
    assert conv.weight.shape[2] == half + 1


def test_masked_weights_start_at_zero_and_never_move():
    conv = MaskedConv(3, 4, 3, 1)
    conv(torch.randn(2, 3, 5, 5)).square().sum().backward()
    dead = conv.mask == 0
    assert dead.any()
    assert (conv.weight[dead] == 0).all()
    assert (conv.weight.grad[dead] == 0).all()


def test_context_is_the_convolution_of_the_linear_maps():
    net = build((2, 4, 5))
    z = torch.randn(6, 3, dtype=torch.float64)
    expected = net.place(net.spread(z).reshape(6, 2, 4, 5))
    torch.testing.assert_close(net.context(z), expected)


def test_skip_blocks_come_from_three_layers_back():
    net = build((1, 6, 6), kernels=(7, 5, 5, 3, 3, 3), skip=3, norm="batch")
    stack, x, context = net.network, torch.rand(2, 1, 6, 6).double(), torch.randn(2, 7, 6, 6).double()
    seen = [stack.start(stack.first(x) + context)]
    for block in range(1, 6):
        entry = seen[-1]
        if block >= 3:
            entry = entry + stack.jumps[block - 3](seen[block - 3])
        seen.append(stack.blocks[block - 1](entry))
    expected = stack.last(seen[-1] + stack.jumps[3](seen[3]))
    torch.testing.assert_close(stack(x, context), expected)


def test_preset_of_he():
    net = PixelCNN.he2019((1, 28, 28), 32)
    stack = net.network
    kernels = [stack.first.weight.shape[-1], *(block.body[3].weight.shape[-1] for block in stack.blocks)]
    assert kernels == [7] * 5 + [5] * 4 + [3] * 4
    assert [jump.body[3].weight.shape[-1] for jump in stack.jumps] == kernels[1:-1]
    assert stack.first.weight.shape[0] == 64
    assert stack.blocks[0].body[0].weight.shape[:2] == (32, 64)
    assert (net.spread.out_features, net.place.in_channels) == (4 * 28 * 28, 4)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())


def test_presets_take_options_and_colour():
    net = PixelCNN.small((3, 8, 8), 4, channels=9, bottleneck=5)
    assert net.network.first.weight.shape[:2] == (9, 3)
    assert PixelCNN.he2019((3, 9, 9), 4, kernels=(3, 3, 3))(torch.zeros(2, 4)).event_shape == (3, 9, 9)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"kernels": (4, 3)}, "kernels"),
        ({"kernels": ()}, "kernels"),
        ({"kernels": (1, 3)}, "kernels"),
        ({"kernels": 3}, "kernels"),
        ({"channels": 0}, "channels"),
        ({"bottleneck": 2.0}, "bottleneck"),
        ({"latent_maps": -1}, "latent_maps"),
        ({"norm": "layer"}, "norm"),
        ({"skip": 9}, "skip"),
        ({"activation": "sinus"}, "activation"),
        ({"latent": 0}, "latent"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, word):
    with pytest.raises(BadInput, match=word):
        PixelCNN(**{"shape": (1, 8, 8), "latent": 4} | options)


def test_channels_fewer_than_the_images_are_refused():
    with pytest.raises(BadInput, match="at least the image's 3"):
        PixelCNN((3, 8, 8), 4, bottleneck=2)


@pytest.mark.parametrize("shape", [(8, 8), (64,), 8, (1, 0, 8), "188", (1, 8.0, 8)])
def test_only_images(shape):
    with pytest.raises(ShapeError, match="PixelCNN"):
        PixelCNN(shape, 4)


def plain(net):
    """The same network with activations that write to fresh memory."""
    for module in net.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return net


@pytest.mark.parametrize("activation", ["elu", "relu", "leaky_relu", "silu", "tanh"])
@pytest.mark.parametrize("options", [{}, {"norm": "batch", "skip": 2}, {"feed": "every"}])
def test_activations_that_overwrite_their_input_change_nothing(activation, options):
    found = []
    for change in (plain, lambda net: net):
        net = change(build((2, 6, 5), activation=activation, **options)).train()
        torch.manual_seed(1)
        x, z = torch.rand(4, 2, 6, 5).double(), torch.randn(4, 3).double().requires_grad_()
        nats = net(z).log_prob(x)
        (first,) = torch.autograd.grad(nats.sum(), z, create_graph=True)
        first.square().sum().backward()  # through the gradient too
        found.append([nats.detach(), first.detach(), z.grad, *[p.grad for p in net.parameters()]])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)
    overwritten = any(getattr(module, "inplace", False) for module in net.modules())
    assert overwritten == (activation in {"elu", "relu", "leaky_relu"})


def test_the_stream_stays_narrow_in_mixed_precision():
    torch.manual_seed(0)
    net = PixelCNN((1, 8, 8), 4, channels=8, bottleneck=4, norm="batch", skip=2)
    kinds = []
    for block in [*net.network.blocks, *net.network.jumps]:
        block.register_forward_hook(lambda _, given, out: kinds.append((given[0].dtype, out.dtype)))
    z, x = torch.randn(5, 4), torch.rand(5, 1, 8, 8).round()
    exact = net(z).log_prob(x)
    assert set(kinds) == {(torch.float32, torch.float32)}
    kinds.clear()
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(z).log_prob(x)
    assert set(kinds) == {(torch.bfloat16, torch.bfloat16)}
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.01, atol=0.3)
