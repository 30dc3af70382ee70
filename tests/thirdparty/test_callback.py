"""The callback in Lightning's own Trainer."""

import logging

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")

import lightning  # noqa: E402
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger  # noqa: E402

from uncollapse import VAE, Codes  # noqa: E402
from uncollapse.adapters.callback import CollapseWatch  # noqa: E402
from uncollapse.metrics import kl, mutual_information  # noqa: E402


class Module(lightning.LightningModule):
    def __init__(self, weight=1.0):
        super().__init__()
        self.vae, self.weight = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4), weight

    def training_step(self, batch, batch_idx):
        one = self.vae(batch[0])
        return (-one.log_px[0] + self.weight * one.kl.sum(1)).mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def data(n=512):
    pattern = (torch.rand(8, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    return TensorDataset(pattern[torch.arange(n) % 8])


def trained(watch, tmp_path, weight=1.0, validation=True, epochs=4, logger=None):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    module = Module(weight)
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[watch], accelerator="cpu", logger=logger or CSVLogger(tmp_path),
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    loaders = [DataLoader(data(), batch_size=64, shuffle=True)]
    trainer.fit(module, *loaders, *([DataLoader(data(256), batch_size=64)] if validation else []))
    return module, trainer


def test_every_epoch_is_looked_at_with_the_weights_of_the_moment(tmp_path):
    watch = CollapseWatch()
    module, trainer = trained(watch, tmp_path)
    assert len(watch.history) == 4
    codes = Codes.of(module.vae, data(256).tensors[0])
    assert watch.history[-1].kl == pytest.approx(float(kl(codes)), rel=1e-4)
    assert watch.history[-1].upper == pytest.approx(float(mutual_information(codes).upper), rel=1e-4)
    assert float(trainer.callback_metrics["uncollapse/kl"]) == pytest.approx(watch.history[-1].kl, rel=1e-5)
    assert watch.history[-1].lower > 0.5


def test_every_second_epoch_and_no_validation_loader(tmp_path):
    watch = CollapseWatch(every=2)
    trained(watch, tmp_path, validation=False)
    assert len(watch.history) == 2


@pytest.mark.filterwarnings("default")
def test_a_collapse_warns(tmp_path):
    with pytest.warns(UserWarning, match="nothing about its input"):
        trained(CollapseWatch(), tmp_path, weight=200.0)


def test_training_is_the_same_with_and_without(tmp_path):
    with_watch, _ = trained(CollapseWatch(), tmp_path / "a")
    torch.manual_seed(0)
    without = Module()
    trainer = lightning.Trainer(
        max_epochs=4, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(without, DataLoader(data(), batch_size=64, shuffle=True), DataLoader(data(256), batch_size=64))
    for ours, theirs in zip(with_watch.parameters(), without.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_tensorboard_gets_a_heat_map(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    trained(CollapseWatch(), tmp_path, epochs=2, logger=logger)
    logger.finalize("success")
    events = EventAccumulator(logger.log_dir).Reload()
    assert "uncollapse/kl_per_latent" in events.Tags()["images"]


def test_a_model_that_cannot_be_read_is_said_once(tmp_path):
    class Plain(Module):
        def __init__(self):
            super().__init__()
            del self.vae
            self.net = nn.Linear(16, 1)

        def training_step(self, batch, batch_idx):
            return self.net(batch[0]).mean()

    watch = CollapseWatch()
    trainer = lightning.Trainer(
        max_epochs=2, callbacks=[watch], accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="watches nothing"):
        trainer.fit(Plain(), DataLoader(data(), batch_size=64))
    assert watch.history == []
