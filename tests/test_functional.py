import math

import pytest
import torch
from torch.distributions import Independent, Normal
from torch.utils._python_dispatch import TorchDispatchMode

from uncollapse.errors import ShapeError
from uncollapse.functional import gaussian_kl, info_nce, log_mean_exp, pairwise_log_prob

SCALES = [1.0, 1e-2, 1e-3]


def gaussians(scale, b=7, m=9, d=5, dtype=torch.float32):
    """Points near the first means, as a sample of a posterior is."""
    torch.manual_seed(0)
    mean, deviation = torch.randn(m, d, dtype=dtype), scale * (0.5 + torch.rand(m, d, dtype=dtype))
    return mean[:b] + deviation[:b] * torch.randn(b, d, dtype=dtype), mean, deviation


def direct(z, mean, scale):
    """The broadcast form in float64."""
    z, mean, scale = z.double(), mean.double(), scale.double()
    return Independent(Normal(mean, scale), 1).log_prob(z[:, None])


@pytest.mark.parametrize("scale", SCALES)
def test_pairwise_log_prob_is_exact(scale):
    z, mean, deviation = gaussians(scale)
    exact = direct(z, mean, deviation)
    ours = pairwise_log_prob(z, mean, deviation)
    assert ours.dtype == torch.float32
    assert (ours.diag() - exact.diag()).abs().max() < 1e-4  # the own density is a few nats
    torch.testing.assert_close(ours.double(), exact, rtol=1e-6, atol=1e-4)
    doubles = pairwise_log_prob(z.double(), mean.double(), deviation.double())
    torch.testing.assert_close(doubles, exact, rtol=1e-9, atol=1e-7)


def test_a_product_in_float32_would_be_off_by_nats():
    z, mean, deviation = gaussians(1e-3)
    precision = deviation.pow(-2)
    left, right = torch.cat([z.square(), z], 1), torch.cat([-0.5 * precision, precision * mean], 1)
    constant = -0.5 * (precision * mean.square()).sum(1) - deviation.log().sum(1) - 2.5 * math.log(2 * math.pi)
    off = (torch.addmm(constant, left, right.T) - direct(z, mean, deviation)).diag().abs().max()
    assert off > 0.1


@pytest.mark.parametrize("scale", SCALES)
def test_pairwise_log_prob_ignores_autocast(scale):
    z, mean, deviation = gaussians(scale)
    with torch.autocast("cpu", torch.bfloat16):
        ours = pairwise_log_prob(z, mean, deviation)
    assert torch.equal(ours, pairwise_log_prob(z, mean, deviation))


def test_pairwise_log_prob_survives_means_far_from_zero():
    z, mean, deviation = gaussians(1e-3, dtype=torch.float64)
    far = pairwise_log_prob(z + 1e3, mean + 1e3, deviation)
    torch.testing.assert_close(far.diag(), direct(z + 1e3, mean + 1e3, deviation).diag(), rtol=0, atol=1e-6)


def neighbours(scale, b=200, d=8):
    """Pairs of posteriors that overlap, so that the softmax is not decided and the gradient is not zero."""
    torch.manual_seed(0)
    half, deviation = torch.randn(b // 2, d), scale * (0.5 + torch.rand(b, d))
    mean = torch.cat([half, half + 0.3 * deviation[: b // 2] * torch.randn(b // 2, d)])
    return mean + deviation * torch.randn(b, d), mean, deviation


@pytest.mark.parametrize("scale", [*SCALES, 1e-4])
def test_gradients_equal_those_of_the_direct_form(scale):
    losses, slopes = [], []
    for form in (pairwise_log_prob, direct):
        inputs = [part.requires_grad_() for part in neighbours(scale)]
        losses.append(info_nce(form(*inputs)).mean())
        losses[-1].backward()
        slopes.append([part.grad for part in inputs])
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for ours, theirs in zip(*slopes, strict=True):
        assert (ours - theirs).norm() < max(1e-5, 4e-7 / scale) * theirs.norm()


def test_gradcheck():
    inputs = [part.requires_grad_() for part in gaussians(0.5, b=3, m=4, d=2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(pairwise_log_prob, inputs)
    assert torch.autograd.gradgradcheck(pairwise_log_prob, inputs)
    assert torch.autograd.gradcheck(info_nce, torch.randn(3, 4, dtype=torch.float64, requires_grad=True))


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made, backward included."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, torch.Tensor):
                self.numel = max(self.numel, one.numel())
        return out


def test_no_tensor_of_b_times_b_times_d_is_made():
    b, d = 64, 32
    z, mean, deviation = (part.requires_grad_() for part in gaussians(1.0, b, b, d))
    with Largest() as ours:
        info_nce(pairwise_log_prob(z, mean, deviation)).sum().backward()
    with Largest() as broadcast:
        direct(z, mean, deviation)
    assert ours.numel < 2 * b * b
    assert broadcast.numel >= b * b * d


@pytest.mark.parametrize(
    "shapes", [((3,), (3, 2), (3, 2)), ((3, 2), (3, 2), (4, 2)), ((3, 2), (3, 4), (3, 4)), ((1, 3, 2), (3, 2), (3, 2))]
)
def test_pairwise_log_prob_refuses_other_shapes(shapes):
    with pytest.raises(ShapeError, match="expects z"):
        pairwise_log_prob(*(torch.ones(shape) for shape in shapes))


def test_info_nce_by_loops():
    torch.manual_seed(0)
    s = torch.randn(4, 6, dtype=torch.float64)
    slow = [-math.log(math.exp(s[i, i]) / sum(math.exp(s[i, j]) for j in range(6))) for i in range(4)]
    assert info_nce(s).tolist() == pytest.approx(slow)


def test_info_nce_knows_its_ends():
    assert info_nce(torch.zeros(3, 3)).tolist() == pytest.approx([math.log(3)] * 3)
    assert info_nce(1e4 * torch.eye(3)).tolist() == [0, 0, 0]
    assert info_nce(torch.zeros(2, 2).bfloat16()).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert info_nce(torch.zeros(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("shape", [(3, 2), (3,), (2, 3, 3)])
def test_info_nce_refuses_other_shapes(shape):
    with pytest.raises(ShapeError, match="expects scores"):
        info_nce(torch.zeros(shape))


def test_log_mean_exp():
    x = torch.tensor([[0.0, math.log(3.0)], [-1e4, -1e4]])
    assert log_mean_exp(x).tolist() == pytest.approx([math.log(2.0), -1e4])
    assert log_mean_exp(x, 0)[0].item() == pytest.approx(-math.log(2.0))


def test_gaussian_kl_against_torch():
    torch.manual_seed(0)
    mean, scale = torch.randn(50, dtype=torch.float64), torch.rand(50, dtype=torch.float64) + 0.1
    expected = torch.distributions.kl_divergence(Normal(mean, scale), Normal(torch.zeros(50), torch.ones(50)))
    torch.testing.assert_close(gaussian_kl(mean, scale), expected)
