"""diffusers' AutoencoderKL from a small configuration, against its own distribution, kl() and decoder."""

import pytest
import torch

pytest.importorskip("diffusers", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")

from diffusers.models import AutoencoderKL, AutoencoderTiny, VQModel  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from uncollapse import Codes, draw  # noqa: E402
from uncollapse.adapters import adapt  # noqa: E402
from uncollapse.distributions import FixedGaussian  # noqa: E402
from uncollapse.errors import BadInput, Unsupported  # noqa: E402

BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
SMALL = {**BLOCKS, "block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 3, "sample_size": 16}


@pytest.fixture(scope="module")
def images():
    random = torch.Generator().manual_seed(0)
    colour = torch.rand(64, 3, 1, 1, generator=random) * 2 - 1
    return (colour + 0.2 * torch.randn(64, 3, 16, 16, generator=random)).clamp(-1, 1)


@pytest.fixture(scope="module")
def model(images):
    torch.manual_seed(0)
    net = AutoencoderKL(**SMALL)
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(25):
        dist = net.encode(images).latent_dist
        loss = F.mse_loss(net.decode(dist.sample()).sample, images) + 1e-3 * dist.kl().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def test_posterior_and_kl_are_diffusers(model, images):
    adapted = adapt(model, images)
    dist = model.encode(images).latent_dist
    q = adapted.model.posterior(images)
    torch.testing.assert_close(q.mean, dist.mean.flatten(1))
    torch.testing.assert_close(q.stddev, dist.std.flatten(1))
    torch.testing.assert_close(draw(adapted.model, images).kl.sum(1), dist.kl(), rtol=1e-4, atol=1e-3)
    assert adapted.kind == "diffusers"


def test_the_likelihood_is_gaussian_round_the_decoded_image(model, images):
    adapted = adapt(model, images)
    z = model.encode(images).latent_dist.mean
    px = adapted.model.likelihood(z.flatten(1))
    torch.testing.assert_close(px.mean, model.decode(z).sample)
    residual = (draw(adapted.model, images, samples=4).px.mean - images).square().mean().sqrt()
    torch.testing.assert_close(px.base_dist.scale.unique(), residual.reshape(1), rtol=0.02, atol=0)
    assert adapted.assumed
    given = adapt(model, images, likelihood=FixedGaussian(0.3))
    assert not given.assumed
    torch.testing.assert_close(
        given.model.likelihood(z.flatten(1)).log_prob(images),
        torch.distributions.Normal(model.decode(z).sample, 0.3).log_prob(images).sum((1, 2, 3)),
    )


def test_latents_are_grouped_by_channel(model, images):
    adapted = adapt(model, images)
    assert adapted.groups == {f"channel {i}": slice(64 * i, 64 * (i + 1)) for i in range(3)}
    assert any("scaling_factor" in remark for remark in adapted.remarks)
    codes = Codes.of(adapted.model, images)
    dist = model.encode(images).latent_dist
    per_channel = 0.5 * (dist.mean**2 + dist.var - 1 - dist.logvar).sum((2, 3))
    ours = torch.stack([codes.kl[:, part].sum(1) for part in adapted.groups.values()], 1)
    torch.testing.assert_close(ours, per_channel.detach(), rtol=1e-4, atol=1e-3)


def test_half_precision(model, images):
    half = AutoencoderKL(**SMALL)
    half.load_state_dict(model.state_dict())
    adapted = adapt(half.bfloat16().eval(), images)
    q = adapted.model.posterior(images)
    assert q.mean.dtype == torch.float32
    torch.testing.assert_close(q.mean, model.encode(images).latent_dist.mean.flatten(1), rtol=0.1, atol=0.1)
    assert draw(adapted.model, images).log_px.dtype == torch.float32


def test_what_has_no_posterior_is_refused(images):
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    )  # fmt: skip
    with pytest.raises(Unsupported, match="without a posterior"):
        adapt(tiny, images)
    with pytest.raises(Unsupported, match="without a posterior"):
        adapt(VQModel(**BLOCKS, block_out_channels=(8, 16), norm_num_groups=4), images)


def test_images_are_asked_for(model):
    with pytest.raises(BadInput, match="pass x="):
        adapt(model)
