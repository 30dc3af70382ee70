"""pythae's models, trained by its own trainer, against its own losses."""

import logging

import numpy as np
import pytest
import torch

pytest.importorskip("pythae", exc_type=ImportError)
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

from pythae.models import (  # noqa: E402
    AE,
    INFOVAE_MMD,
    IWAE,
    RAE_L2,
    SVAE,
    VAE,
    VAE_IAF,
    VAEGAN,
    VAMP,
    VQVAE,
    AEConfig,
    BetaTCVAE,
    BetaTCVAEConfig,
    BetaVAE,
    BetaVAEConfig,
    FactorVAE,
    FactorVAEConfig,
    INFOVAE_MMD_Config,
    IWAEConfig,
    RAE_L2_Config,
    SVAEConfig,
    VAE_IAF_Config,
    VAEConfig,
    VAEGANConfig,
    VAMPConfig,
    VQVAEConfig,
)  # fmt: skip
from pythae.pipelines import TrainingPipeline  # noqa: E402
from pythae.trainers import BaseTrainerConfig  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

from uncollapse import Codes, draw  # noqa: E402
from uncollapse.adapters import adapt  # noqa: E402
from uncollapse.errors import BadInput, Unsupported  # noqa: E402

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def digits():
    logging.disable(logging.INFO)
    x = load_digits().images.astype(np.float32)[:, None] / 16
    return torch.from_numpy(x)


def trained(model, x, folder, epochs=3):
    config = BaseTrainerConfig(
        output_dir=str(folder), num_epochs=epochs, learning_rate=3e-3, per_device_train_batch_size=128, no_cuda=True
    )
    torch.manual_seed(0)
    TrainingPipeline(model=model, training_config=config)(train_data=x)
    return model.eval()


def settings(**more):
    return {"input_dim": SHAPE, "latent_dim": 4, **more}


MODELS = {
    "VAE, mse": lambda: VAE(VAEConfig(**settings(reconstruction_loss="mse"))),
    "VAE, bce": lambda: VAE(VAEConfig(**settings(reconstruction_loss="bce"))),
    "BetaVAE": lambda: BetaVAE(BetaVAEConfig(**settings(beta=4.0, reconstruction_loss="bce"))),
    "VAMP": lambda: VAMP(VAMPConfig(**settings(number_components=10, reconstruction_loss="bce"))),
}


@pytest.fixture(scope="module", params=list(MODELS))
def model(request, digits, tmp_path_factory):
    torch.manual_seed(0)
    return trained(MODELS[request.param](), digits, tmp_path_factory.mktemp("pythae"))


def test_reconstruction_loss_and_kl_are_pythaes(model, digits):
    x = digits[:300]
    adapted = adapt(model)
    assert adapted.kind == "pythae"
    assert not adapted.assumed
    with torch.no_grad():
        q, p = adapted.model.posterior(x), adapted.model.prior()
        z = q.sample()
        base = q.base_dist
        out = model.decoder(z)["reconstruction"]
        log_var = 2 * base.scale.log()
        given = (out, x, base.loc, log_var, z, 100) if isinstance(model, VAMP) else (out, x, base.loc, log_var, z)
        _, reconstruction, kl = model.loss_function(*given)
        log_px = adapted.model.likelihood(z).log_prob(x)
    constant = 32 * np.log(2 * np.pi) if model.model_config.reconstruction_loss == "mse" else 0
    torch.testing.assert_close(-log_px.mean() - constant, reconstruction, rtol=1e-4, atol=1e-3)
    if isinstance(model, VAMP):
        # pythae leaves log(2 pi) out on both sides, so it cancels
        torch.testing.assert_close((q.log_prob(z) - p.log_prob(z)).mean(), kl, rtol=1e-4, atol=1e-3)
    else:
        torch.testing.assert_close(draw(adapted.model, x).kl.sum(1).mean(), kl, rtol=1e-4, atol=1e-3)


def test_the_loss_is_pythaes_and_has_gradients(model, digits):
    adapted = adapt(model)
    torch.manual_seed(3)
    loss = adapted.loss(model, digits[:50])
    torch.manual_seed(3)
    torch.testing.assert_close(loss, model({"data": digits[:50]}).loss)
    assert loss.requires_grad


def test_codes_and_draws(model, digits):
    adapted = adapt(model)
    codes = Codes.of(adapted.model, digits)
    assert codes.mean.shape == (len(digits), 4)
    torch.testing.assert_close(codes.mean[:9], model.encoder(digits[:9]).embedding.detach())
    assert draw(adapted.model, digits[:7], samples=2).log_px.shape == (2, 7)


def test_the_bound_agrees_with_pythaes_own_likelihood(model, digits):
    """With many samples pythae's importance-weighted estimate lies above the plain bound, by less than the gap."""
    adapted = adapt(model)
    x = digits[:20]
    with torch.no_grad():
        one = draw(adapted.model, x, samples=200)
        tight = torch.logsumexp(one.log_w, 0) - np.log(200)
        torch.manual_seed(0)
        theirs = model.get_nll(x, n_samples=200, batch_size=200)
    if isinstance(model, VAMP):
        theirs += 0  # the same constants are left out of the prior and the posterior
    assert abs(float(tight.mean()) - theirs) < 0.5
    assert float(one.elbo.mean()) < theirs + 0.5


def test_beta_is_remarked(digits):
    adapted = adapt(MODELS["BetaVAE"]())
    assert any("beta = 4" in remark for remark in adapted.remarks)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BetaTCVAE(BetaTCVAEConfig(**settings())),
        lambda: FactorVAE(FactorVAEConfig(**settings())),
        lambda: INFOVAE_MMD(INFOVAE_MMD_Config(**settings())),
        lambda: IWAE(IWAEConfig(**settings())),
        lambda: VAEGAN(VAEGANConfig(**settings())),
    ],
    ids=["BetaTCVAE", "FactorVAE", "INFOVAE_MMD", "IWAE", "VAEGAN"],
)
def test_relatives_of_the_vae_are_read(make, digits):
    torch.manual_seed(0)
    adapted = adapt(make(), digits[:64])
    assert draw(adapted.model, digits[:9]).log_px.isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: AE(AEConfig(**settings())),
        lambda: RAE_L2(RAE_L2_Config(**settings())),
        lambda: SVAE(SVAEConfig(**settings())),
        lambda: VAE_IAF(VAE_IAF_Config(**settings())),
        lambda: VQVAE(VQVAEConfig(**settings())),
    ],
    ids=["AE", "RAE_L2", "SVAE", "VAE_IAF", "VQVAE"],
)
def test_what_has_no_such_posterior_is_refused(make):
    with pytest.raises(Unsupported, match=r"has no posterior|cannot be read yet"):
        adapt(make())


def test_a_model_without_a_declared_likelihood_needs_data():
    with pytest.raises(BadInput, match="pass x="):
        adapt(VAEGAN(VAEGANConfig(**settings())))
