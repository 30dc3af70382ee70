"""LightningModules that are, or hold, a VAE, trained by Lightning's own Trainer."""

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("lightning", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")

import lightning  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

from uncollapse import VAE, Codes, draw  # noqa: E402
from uncollapse.adapters import adapt  # noqa: E402
from uncollapse.errors import BadInput, Unsupported  # noqa: E402


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.back = nn.Linear(64, 8), nn.Linear(4, 64)

    def encode(self, x):
        mu, logvar = self.body(x).chunk(2, 1)
        return mu, logvar

    def decode(self, z):
        return self.back(z)


def bound(net, x):
    mu, logvar = net.encode(x)
    z = mu + torch.randn_like(mu) * (logvar / 2).exp()
    out = F.binary_cross_entropy_with_logits(net.decode(z), x, reduction="none").sum(1)
    return (out + 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)).mean()


class Base(lightning.LightningModule):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


class Itself(Base):
    """encode and decode on the module; batches are (x, labels)."""

    def __init__(self):
        super().__init__()
        self.body, self.back = nn.Linear(64, 8), nn.Linear(4, 64)

    encode, decode = Inner.encode, Inner.decode

    def training_step(self, batch, batch_idx):
        x, _ = batch
        loss = bound(self, x)
        self.log("loss", loss)
        return loss


class Holder(Base):
    """The VAE is an attribute; batches are x alone, and the step returns a mapping."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def training_step(self, batch, batch_idx):
        return {"loss": bound(self.net, batch)}


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return (torch.tensor(data.data).float() > 7).float(), torch.tensor(data.target)


def fitted(module, data):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(data, batch_size=128, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    return module


@pytest.mark.parametrize("kind", ["itself", "holder"])
def test_a_module_trained_by_the_trainer(kind, digits):
    x, y = digits
    if kind == "itself":
        module = fitted(Itself(), torch.utils.data.TensorDataset(x, y))
        net = module
    else:
        module = fitted(Holder(Inner()), x)
        net = module.net
    adapted = adapt(module, x[:200])
    assert adapted.kind == "lightning"
    mu, logvar = net.encode(x)
    q = adapted.model.posterior(x)
    torch.testing.assert_close(q.mean, mu)
    torch.testing.assert_close(q.variance, logvar.exp())
    expected = -F.binary_cross_entropy_with_logits(net.decode(mu), x, reduction="none").sum(1)
    torch.testing.assert_close(adapted.model.likelihood(mu).log_prob(x), expected)
    assert Codes.of(adapted.model, x).kl.sum(1).mean() > 0.5


@pytest.mark.parametrize("module", [Itself(), Holder(Inner())], ids=["pair", "x"])
def test_the_training_step_is_the_loss(module, digits):
    x = digits[0][:100]
    adapted = adapt(module, x)
    torch.manual_seed(1)
    loss = adapted.loss(module, x)
    torch.manual_seed(1)
    torch.testing.assert_close(loss, bound(getattr(module, "net", module), x))
    loss.backward()
    assert draw(adapted.model, x).elbo.mean().item() == pytest.approx(-float(loss.detach()), rel=0.05)


def test_a_model_of_ours_inside(digits):
    ours = VAE(nn.Linear(64, 8), nn.Linear(4, 64), latent=4)
    adapted = adapt(Holder(ours), digits[0])
    assert adapted.model is ours
    assert adapted.kind == "lightning"
    assert any("`net`" in remark for remark in adapted.remarks)


def test_a_module_of_layers_with_heads(digits):
    class Heads(Base):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Sequential(nn.Linear(64, 16), nn.ReLU()), nn.Linear(4, 64)
            self.fc_mu, self.fc_var = nn.Linear(16, 4), nn.Linear(16, 4)

    net, x = Heads(), digits[0]
    q = adapt(net, x).model.posterior(x)
    torch.testing.assert_close(q.mean, net.fc_mu(net.encoder(x)))
    torch.testing.assert_close(q.variance, net.fc_var(net.encoder(x)).exp())


def test_a_module_without_a_vae(digits):
    class Classifier(Base):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(64, 10)

        def forward(self, x):
            return self.body(x)

    with pytest.raises(BadInput, match="no VAE was found"):
        adapt(Classifier(), digits[0][:50])


def test_a_step_that_needs_its_trainer_says_so(digits):
    class Manual(Itself):
        def training_step(self, batch, batch_idx):
            return self.trainer.world_size

    net = Manual()
    with pytest.raises(Unsupported, match="outside a Trainer"):
        adapt(net, digits[0][:50]).loss(net, digits[0][:50])
