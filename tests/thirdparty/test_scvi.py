"""scvi-tools' SCVI, trained by its own API, against its own posterior, reconstruction error and bound."""

import logging
import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("scvi", exc_type=ImportError)
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import anndata
    import scvi

from uncollapse import Codes, draw  # noqa: E402
from uncollapse.adapters import adapt  # noqa: E402
from uncollapse.codes import evaluation  # noqa: E402
from uncollapse.errors import BadInput, ShapeError  # noqa: E402

N, G = 300, 40


@pytest.fixture(scope="module", autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def cells():
    """Counts of four kinds of cells in two batches, with a covariate."""
    random = np.random.default_rng(0)
    kind, batch = random.integers(4, size=N), random.integers(2, size=N)
    rates = random.gamma(1.0, 2.0, size=(4, G))
    size = random.lognormal(0, 0.3, size=(N, 1))
    adata = anndata.AnnData(random.poisson(rates[kind] * size * (1 + batch[:, None])).astype(np.float32))
    adata.obs["batch"] = [f"b{i}" for i in batch]
    adata.obs["kind"] = [f"k{i}" for i in kind]
    adata.obs["depth"] = random.normal(size=N).astype(np.float32)
    return adata


def trained(adata, setup=None, **more):
    adata = adata.copy()
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(adata, **(setup or {}))
    model = scvi.model.SCVI(adata, n_latent=5, n_hidden=32, **more)
    model.train(max_epochs=8, accelerator="cpu", enable_progress_bar=False, logger=False, batch_size=100)
    return model


PLAIN = {}
WHOLE = {"batch_key": "batch", "continuous_covariate_keys": ["depth"], "categorical_covariate_keys": ["kind"]}
CASES = {
    "plain": (PLAIN, {}),
    "nb": (PLAIN, {"gene_likelihood": "nb"}),
    "covariates": (WHOLE, {"encode_covariates": True}),
    "labels": ({"labels_key": "kind", "batch_key": "batch"}, {"dispersion": "gene-label"}),
    "library": ({"batch_key": "batch"}, {"use_observed_lib_size": False}),
    "logistic": (PLAIN, {"latent_distribution": "ln"}),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request, cells):
    setup, more = CASES[request.param]
    model = trained(cells, setup, **more)
    return request.param, model, adapt(model)


def test_posteriors_are_scvis(case):
    _, model, adapted = case
    x, _ = adapted.prepare(None)
    with evaluation(adapted.model, 0):
        q = adapted.model.posterior(x)
    mean, variance = model.get_latent_representation(return_dist=True)
    torch.testing.assert_close(q.mean.cpu(), torch.from_numpy(mean), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(q.variance.cpu(), torch.from_numpy(variance), rtol=1e-4, atol=1e-5)


def test_reconstruction_error_and_bound_are_scvis(case):
    name, model, adapted = case
    x, _ = adapted.prepare(None)
    with evaluation(adapted.model, 0):
        one = draw(adapted.model, x, samples=40)
        ours, kl = -one.log_px.mean(0), one.kl.sum(1)
        error = float(one.log_px.std(0).mean()) / 40**0.5
    theirs = np.mean([model.get_reconstruction_error(return_mean=True)["reconstruction_loss"] for _ in range(20)])
    bound = np.mean([float(np.asarray(model.get_elbo(return_mean=True))) for _ in range(20)])
    if name == "library":  # scvi samples the library size and counts its KL; here it is held at its mean
        assert float(ours.mean()) < abs(theirs) < abs(bound)
        return
    assert abs(abs(theirs) - float(ours.mean())) < 0.1 + 4 * error / N**0.5
    assert abs(abs(bound) - float((ours + kl).mean())) < 0.1 + 4 * error / N**0.5


def test_the_same_code_gives_the_same_score_as_the_module(case):
    name, model, adapted = case
    if name == "library":
        pytest.skip("the module samples the library size")
    x, _ = adapted.prepare(None)
    batch = next(iter(model._make_data_loader(adata=model.adata, batch_size=N)))
    with evaluation(adapted.model, 0):
        z = adapted.model.posterior(x).mean
        out = model.module.inference(**model.module._get_inference_input(batch))
        out["z"] = model.module.z_encoder.z_transformation(z)
        px = model.module.generative(**model.module._get_generative_input(batch, out))["px"]
        torch.testing.assert_close(adapted.model.likelihood(z).log_prob(x), px.log_prob(batch["X"]).sum(-1))


def test_the_loss_is_the_modules(case):
    _, model, adapted = case
    x, _ = adapted.prepare(None)
    batch = next(iter(model._make_data_loader(adata=model.adata, batch_size=N)))
    with evaluation(adapted.model, 0):
        torch.manual_seed(0)
        ours = adapted.loss(model, x)
        torch.manual_seed(0)
        theirs = model.module(batch, loss_kwargs={"kl_weight": 1.0})[2].loss
    torch.testing.assert_close(ours, theirs)


def test_codes(case):
    _, _, adapted = case
    codes = Codes.of(adapted.model, adapted.prepare(None)[0])
    assert codes.mean.shape == (N, 5)
    assert len(adapted.remarks) >= 1
    assert adapted.kind == "scvi-tools"


def test_columns_hold_what_the_module_uses(cells):
    def names(setup, **more):
        adata = cells.copy()
        scvi.model.SCVI.setup_anndata(adata, **setup)
        adapted = adapt(scvi.model.SCVI(adata, n_latent=3, **more))
        return [key for key, _ in adapted.model.columns.kept]

    assert names(PLAIN) == ["X"]
    assert names({"labels_key": "kind"}) == ["X"]
    assert names({"labels_key": "kind"}, dispersion="gene-label") == ["X", "labels"]
    assert names(WHOLE) == ["X", "batch", "extra_categorical_covs", "extra_continuous_covs"]


def test_data_of_every_kind(cells):
    model = trained(cells, {"labels_key": "kind"})
    adapted = adapt(model)
    x, labels = adapted.prepare(None)
    torch.testing.assert_close(x, torch.from_numpy(model.adata.X))
    assert [f"k{int(y)}" for y in labels] == list(model.adata.obs["kind"])
    torch.testing.assert_close(adapted.prepare(model.adata[:50].copy())[0], x[:50])
    torch.testing.assert_close(adapted.prepare(next(iter(model._make_data_loader(adata=model.adata))))[0], x[:128])
    torch.testing.assert_close(adapted.prepare(x.numpy())[0], x)
    bare = adapt(model.module)
    torch.testing.assert_close(bare.model.posterior(x[:5]).mean.shape, adapted.model.posterior(x[:5]).mean.shape)


def test_what_does_not_fit_is_refused(cells):
    model = trained(cells, {"batch_key": "batch"})
    with pytest.raises(BadInput, match="several batches"):
        adapt(model.module)
    with pytest.raises(BadInput, match="declare their likelihood"):
        adapt(model, likelihood="gaussian")
    with pytest.raises(ShapeError, match="41 columns"):
        adapt(model).model.posterior(torch.ones(3, G))


def test_linear_scvi_is_read_too(cells):
    adata = cells.copy()
    scvi.model.LinearSCVI.setup_anndata(adata)
    adapted = adapt(scvi.model.LinearSCVI(adata, n_latent=3))
    assert draw(adapted.model, adapted.prepare(None)[0][:9]).log_px.isfinite().all()
