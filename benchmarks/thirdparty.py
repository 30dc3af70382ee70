"""Models of other libraries, trained by those libraries, unmodified, and diagnosed.

`python -m benchmarks.thirdparty [--data-dir DIR] [--pages DIR] [--only NAME ...] [--batches N]` in the environment that
`make thirdparty` makes. pythae's models, AutoencoderKL and the LightningModule see MNIST where `--data-dir` has it,
else the digits that come with scikit-learn, and are diagnosed on held-out images. SCVI sees counts generated here, and
the word counts of 20 Newsgroups (`newsgroups20/20ng.zip` under `--data-dir`; labels are the groups), and is diagnosed
on what it was trained on, as it is used. Pages go to `--pages`, figures to results/thirdparty.json; what stands there
already is kept for the models that are not run.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import importlib
import json
import logging
import tempfile
import time
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import uncollapse
from benchmarks.timing import machine
from uncollapse.data import load
from uncollapse.errors import BadInput

RESULTS = Path(__file__).parent / "results" / "thirdparty.json"
LATENT = 16
MOST = 5000  #: examples that a diagnosis sees


def images(options):
    """Name, training images and held-out (images, labels)."""
    try:
        data = load("mnist", data_dir=options.data_dir) if options.data_dir else load("digits")
    except BadInput:
        data = load("digits")
    rows = torch.arange(min(MOST, len(data.test)))
    return data.name, data.train.tensor(), (data.test.take(rows), data.test.y[rows])


def epochs_of(options, count):
    """Epochs of `count` examples that make the wanted number of batches of 128."""
    return max(1, round(options.batches * 128 / count))


def pythae_model(kind, options, **more):
    """A model of pythae, trained by its own pipeline."""
    models = importlib.import_module("pythae.models")
    pipelines = importlib.import_module("pythae.pipelines")
    trainers = importlib.import_module("pythae.trainers")
    name, x, held_out = images(options)
    shape = tuple(x.shape[1:])
    config = getattr(models, f"{kind}Config")(input_dim=shape, latent_dim=LATENT, reconstruction_loss="bce", **more)
    model = getattr(models, kind)(config)
    with tempfile.TemporaryDirectory() as folder:
        training = trainers.BaseTrainerConfig(
            output_dir=folder, num_epochs=epochs_of(options, len(x)), learning_rate=1e-3,
            per_device_train_batch_size=128, no_cuda=True,
        )  # fmt: skip
        pipelines.TrainingPipeline(model=model, training_config=training)(train_data=x)
    return model, held_out, {"weight": more.get("beta")}, f"{name}, {epochs_of(options, len(x))} epochs"


def generated(_):
    """Counts of 2,000 cells of six kinds and two batches, 200 genes."""
    random = np.random.default_rng(0)
    kind, batch = random.integers(6, size=2000), random.integers(2, size=2000)
    rates = random.gamma(0.6, 2.0, size=(6, 200))[kind] * np.exp(0.3 * random.normal(size=(2, 200)))[batch]
    size = random.lognormal(0, 0.4, size=(2000, 1))
    counts = random.poisson(random.gamma(2.0, rates * size / 2.0))  # negative binomial
    return counts.astype(np.float32), kind, batch


def newsgroups(options):
    """Word counts of 20 Newsgroups, (11268, 2000), with the group; every fourth document."""
    path = Path(options.data_dir or "") / "newsgroups20" / "20ng.zip"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; give --data-dir a folder with newsgroups20/20ng.zip")
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("20ng/train.feat").decode().splitlines()[::4]
    counts, labels = np.zeros((len(lines), 2000), np.float32), np.zeros(len(lines), np.int64)
    for row, line in enumerate(lines):
        label, *pairs = line.split()
        labels[row] = int(label) - 1
        for pair in pairs:
            index, count = pair.split(":")
            counts[row, int(index) - 1] = float(count)
    return counts, labels, None


def scvi_model(make, options):
    """SCVI, trained by its own `train`."""
    anndata, scvi = importlib.import_module("anndata"), importlib.import_module("scvi")
    counts, labels, batch = make(options)
    adata = anndata.AnnData(counts)
    if batch is not None:
        adata.obs["batch"] = [f"batch {one}" for one in batch]
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(adata, batch_key=None if batch is None else "batch")
    model = scvi.model.SCVI(adata, n_latent=10)
    epochs = epochs_of(options, len(counts))
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, logger=False)
    return model, adata, {"labels": torch.as_tensor(labels)}, f"{len(counts)} rows, {epochs} epochs"


def autoencoder_kl(options):
    """diffusers' AutoencoderKL from a small configuration, on 16 x 16 pixels, with squared error and a small KL."""
    models = importlib.import_module("diffusers.models")
    name, x, (held_out, labels) = images(options)
    fit = lambda one: F.interpolate(one, size=16, mode="bilinear", antialias=True) * 2 - 1  # noqa: E731
    model = models.AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=2, block_out_channels=(8, 16, 16), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    steps = options.batches // 4
    for step in range(steps):
        batch = fit(x[torch.randint(len(x), (32,), generator=torch.Generator().manual_seed(step))])
        dist = model.encode(batch).latent_dist
        loss = F.mse_loss(model.decode(dist.sample()).sample, batch) + 1e-6 * dist.kl().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    few = 500
    return model.eval(), (fit(held_out[:few]), labels[:few]), {}, f"{name}, {steps} batches of 32, KL weight 1e-6"


def lightning_model(options):
    """A LightningModule that holds a VAE with encode and decode, trained by Lightning's Trainer."""
    lightning = importlib.import_module("lightning")
    name, x, held_out = images(options)
    pixels = x[0].numel()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 256), nn.ReLU(), nn.Linear(256, 2 * LATENT))
            self.back = nn.Sequential(nn.Linear(LATENT, 256), nn.ReLU(), nn.Linear(256, pixels), nn.Sigmoid())

        def encode(self, x):
            mu, logvar = self.body(x).chunk(2, 1)
            return mu, logvar

        def decode(self, z):
            return self.back(z)

    class Digits(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Net()

        def training_step(self, batch, batch_idx):
            (x,) = batch if isinstance(batch, tuple | list) else (batch,)
            mu, logvar = self.model.encode(x)
            out = self.model.decode(mu + torch.randn_like(mu) * (logvar / 2).exp())
            kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
            return (F.binary_cross_entropy(out, x.flatten(1), reduction="none").sum(1) + kl).mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-3)

    module = Digits()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=128, shuffle=True)
    lightning.Trainer(
        max_epochs=epochs_of(options, len(x)), accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(module, loader)  # fmt: skip
    return module, held_out, {}, f"{name}, {epochs_of(options, len(x))} epochs"


MODELS = {
    "pythae-vae": ("pythae", lambda options: pythae_model("VAE", options)),
    "pythae-betavae": ("pythae", lambda options: pythae_model("BetaVAE", options, beta=20.0)),
    "pythae-vamp": ("pythae", lambda options: pythae_model("VAMP", options, number_components=50)),
    "scvi-generated": ("scvi-tools", lambda options: scvi_model(generated, options)),
    "scvi-newsgroups": ("scvi-tools", lambda options: scvi_model(newsgroups, options)),
    "autoencoder-kl": ("diffusers", autoencoder_kl),
    "lightning": ("lightning", lightning_model),
}


def measured(name, options):
    """Train one model, diagnose it, write its page, and return the row for the table."""
    library, make = MODELS[name]
    torch.manual_seed(0)
    began = time.perf_counter()
    model, data, more, what = make(options)
    trained = time.perf_counter()
    report = uncollapse.diagnose(model, data, name=name, **more)
    seconds = time.perf_counter() - trained
    page = report.to_html(options.pages / f"{name}.html")
    result = report.to_dict()
    row = {
        "library": f"{library} {version(library)}",
        "training": what,
        "verdict": result["verdict"]["word"],
        "sentence": result["verdict"]["sentence"],
        "metrics": {key: one for key, one in result["metrics"].items() if one},
        "causes": result["causes"],
        "remarks": result["remarks"],
        "seconds": {"training": round(trained - began, 1), "diagnosis": round(seconds, 1)},
    }
    print(
        f"{name:<18} {row['verdict']:<20} {', '.join(row['causes']) or 'no cause'} ({seconds:.1f} s) -> {page}",
        flush=True,
    )
    return row


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thirdparty", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="folder with mnist/ and newsgroups20/")
    parser.add_argument("--pages", type=Path, default=Path("runs/thirdparty"), help="where pages go")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), help="some of the models")
    parser.add_argument("--batches", type=int, default=2000, help="of 128 examples, of training")
    parser.add_argument("--keep", type=Path, default=RESULTS, help="file of figures")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    options.pages.mkdir(parents=True, exist_ok=True)
    kept = json.loads(options.keep.read_text())["models"] if options.keep.is_file() else {}
    failed = []
    for name in options.only:
        try:
            kept[name] = measured(name, options)
        except FileNotFoundError as error:
            failed.append(name)
            print(f"{name:<18} left out: {error}")
    options.keep.write_text(json.dumps({"machine": machine(), "models": kept}, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
