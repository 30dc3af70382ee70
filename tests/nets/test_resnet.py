"""He's residual encoder against its formula, written out without overwriting anything."""

import torch
import torch.nn.functional as F

from uncollapse.nets import ResNetEncoder


def slow(net, x):
    *blocks, wide, norm, _, _ = net.trunk
    for block in blocks:
        first, before, _, second, after = block.body
        inner = second(F.elu(before(first(x))))
        x = F.elu(after(inner) + block.shortcut(x))
    return net.head(F.elu(norm(wide(x))).flatten(1))


def test_formula_and_gradients():
    found = []
    for call in (slow, lambda net, x: net(x)):
        torch.manual_seed(0)
        net = ResNetEncoder((2, 9, 7), latent=3, widths=(5, 6), hidden=8).double()
        x = torch.rand(6, 2, 9, 7).double().requires_grad_()
        out = call(net, x)
        out.square().sum().backward()
        found.append([out.detach(), x.grad, *[p.grad for p in net.parameters()]])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)
