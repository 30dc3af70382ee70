"""Predicted against trained: how many units of a linear VAE stay active over a sweep of beta times the noise.

`python -m benchmarks.eigenvalue_rule --data digits|mnist [--data-dir DIR] [--points 24] [--latent D]`

Linear VAEs are trained from random weights, each at its own beta and decoder variance, by full-batch L-BFGS in double
precision until a hundred iterations no longer help. The expectation over z is exact, not sampled, and a quadratic
loss needs the mean and the covariance of the training images only, so those stand in for the images. The decoder is
what moves; the best linear encoder and variances for it are solved for in every step, so that no encoder lags.
Training works in the coordinates of the covariance's eigenvectors, an orthogonal change of the pixels to which
Gaussian initial weights are blind. Predicted: `diagnosis.eigenvalues.eigenvalue_rule` on the images. Trained:
`metrics.active_units` (variance of the means of at least 0.01) of the trained encoder on the images themselves.
`excess` is the trained loss over that of the closed form (`uncollapse.testing.linear.optimum`), nats.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import machine
from uncollapse import VAE, Codes
from uncollapse.data import load
from uncollapse.diagnosis.eigenvalues import eigenvalue_rule
from uncollapse.distributions import FixedGaussian
from uncollapse.metrics import active_units
from uncollapse.testing.linear import optimum

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "eigenvalue-rule"
BETAS = (1.0, 0.25, 4.0)
LATENT = {"digits": 64, "mnist": 100}


class Encoder(nn.Module):
    """Linear mean, one variance per latent."""

    def __init__(self, weight, bias, log_variance):
        super().__init__()
        self.weight, self.bias, self.log_variance = weight, bias, log_variance

    def forward(self, x):
        mean = x.flatten(1) @ self.weight.T + self.bias
        return mean, self.log_variance.expand_as(mean)


class Decoder(nn.Module):
    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, z):
        return z @ self.weight.T + self.bias


def loss(decoder, values, threshold):
    """Exact negative beta-ELBO per example over beta, with the best encoder for this decoder, without constants."""
    gram = decoder.T @ decoder
    factor = torch.linalg.cholesky(gram + threshold * torch.eye(len(gram), dtype=gram.dtype))
    caught = torch.linalg.solve_triangular(factor, (decoder * values.sqrt()[:, None]).T, upper=False)
    error = values.sum() - caught.square().sum()
    return error / (2 * threshold) + 0.5 * (gram.diagonal() / threshold).log1p().sum()


def train(values, latent, threshold, seed, rounds=40):
    """Decoder, encoder, log variances (in the coordinates of the eigenvectors), loss and iterations."""
    generator = torch.Generator().manual_seed(seed)
    size = len(values)
    start = torch.randn(size, latent, generator=generator, dtype=torch.float64) / math.sqrt(size)
    moving = start.requires_grad_()
    spread = (values + threshold).sqrt()[:, None]  # each coordinate in units of its own spread: a preconditioner
    optimiser = torch.optim.LBFGS(
        [moving], max_iter=100, history_size=30, line_search_fn="strong_wolfe", tolerance_grad=1e-10,
        tolerance_change=1e-15,
    )  # fmt: skip

    def closure():
        optimiser.zero_grad()
        value = loss(spread * moving, values, threshold)
        value.backward()
        return value

    last = math.inf
    for _ in range(rounds):
        now = optimiser.step(closure).item()
        if last - now < 1e-8 * max(abs(now), 1):
            break
        last = now
    decoder = (spread * moving).detach()
    gram = decoder.T @ decoder
    encoder = torch.linalg.solve(gram + threshold * torch.eye(latent, dtype=gram.dtype), decoder.T)
    final = loss(decoder, values, threshold).item()
    return decoder, encoder, -(gram.diagonal() / threshold).log1p(), final, optimiser.state[moving]["n_iter"]


def closed(values, latent, threshold):
    """The same loss at the closed form's optimum."""
    best = optimum(values, latent, threshold)
    kept = ((values[:latent] - threshold).clamp(min=0)).sum()
    return float((values.sum() - kept) / (2 * threshold) + best.kl.sum())


def swept(values, latent, points):
    """Values of beta times the noise, even on a logarithmic scale: above the first eigenvalue to below the last."""
    top, bottom = 1.3 * float(values[0]), 0.9 * float(values[min(latent, int((values > 1e-4).sum())) - 1])
    return torch.logspace(math.log10(top), math.log10(bottom), points, dtype=torch.float64).tolist()


def measure(x, latent, points, seed=0):
    """Rows of the table, one a point of the sweep."""
    rows = x.flatten(1).double()
    values, vectors = torch.linalg.eigh(rows.T.cov())
    values, vectors = values.flip(0).clamp(min=1e-12), vectors.flip(1)
    return [
        point(rows, values, vectors, latent, threshold, BETAS[number % len(BETAS)], seed + number)
        for number, threshold in enumerate(swept(values, latent, points))
    ]


def point(rows, values, vectors, latent, threshold, beta, seed):
    """One linear VAE, trained and counted."""
    noise, start = threshold / beta, time.process_time()
    decoder, encoder, log_variance, final, steps = train(values, latent, threshold, seed)
    centre, encoder = rows.mean(0), encoder @ vectors.T
    model = VAE(
        Encoder(*(nn.Parameter(p) for p in (encoder, -encoder @ centre, log_variance))),
        Decoder(nn.Parameter(vectors @ decoder), nn.Parameter(centre)),
        latent,
        read_x=FixedGaussian(math.sqrt(noise)),
    )
    units, rule = active_units(Codes.of(model, rows)), eigenvalue_rule(rows, noise, beta)
    one = {
        "threshold": threshold, "beta": beta, "noise": noise, "above": min(rule.allowed, latent),
        "predicted": min(rule.visible, latent), "trained": int(units),
        "smallest_active": float(units.spectrum[units.mask].min()) if int(units) else None,
        "largest_dead": float(units.spectrum[~units.mask].max()) if int(units) < latent else None,
        "excess": final - closed(values, latent, threshold), "iterations": steps,
        "seconds": round(time.process_time() - start, 1),
    }  # fmt: skip
    print(
        f"beta s2 = {threshold:9.4g} (beta {beta:4}): predicted {one['predicted']:3}, trained {one['trained']:3}; loss "
        f"{one['excess']:.2g} nats above the closed form; {steps} iterations, {one['seconds']} s",
        flush=True,
    )
    return one


def page(results):
    """The table in Markdown."""
    lines = [
        "# The eigenvalue rule on linear VAEs",
        "",
        "`python -m benchmarks.eigenvalue_rule --data digits|mnist`: linear VAEs trained from random weights, each at",
        "its own beta and decoder variance. Predicted, from the covariance of the images: eigenvalues with",
        "1 - beta s²/eigenvalue >= 0.01. Trained: active units (variance of the means of at least 0.01). Excess: the",
        "trained loss above that of the closed form.",
    ]
    for name, one in results.items():
        rows = one["rows"]
        same = sum(row["predicted"] == row["trained"] for row in rows)
        lines += [
            "",
            f"## {name}: {one['examples']:,} images of {one['pixels']} pixels, {one['latent']} latents",
            "",
            f"Predicted and trained agree at {same} of {len(rows)} points.",
            "",
            "| beta s² | beta | s² | eigenvalues above | predicted | trained | smallest active variance "
            "| largest dead | excess, nats |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in rows:
            edge = [
                "" if row[key] is None else f"{row[key]:.2g}" if row[key] > 1e-12 else "0"
                for key in ("smallest_active", "largest_dead")
            ]
            lines.append(
                f"| {row['threshold']:.4g} | {row['beta']:g} | {row['noise']:.4g} | {row['above']} "
                f"| {row['predicted']} | {row['trained']} | {edge[0]} | {edge[1]} | {row['excess']:.1g} |"
            )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eigenvalue_rule", description=__doc__)
    parser.add_argument("--data", choices=tuple(LATENT), default="digits")
    parser.add_argument("--data-dir", help="where MNIST lies, or $UNCOLLAPSE_DATA")
    parser.add_argument("--points", type=int, default=24)
    parser.add_argument("--latent", type=int, help="64 for the digits, 100 for MNIST")
    options = parser.parse_args()
    torch.set_num_threads(1)
    place = {} if options.data == "digits" else {"data_dir": options.data_dir}
    x = load(options.data, binarise="none", **place).train.tensor()
    x = x[:: -(-len(x) // 4096)]
    latent = options.latent or LATENT[options.data]
    rows = measure(x, latent, options.points)
    same = sum(row["predicted"] == row["trained"] for row in rows)
    print(f"{options.data}: predicted and trained agree at {same} of {len(rows)} points")
    kept = RESULTS / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    results[options.data] = {
        "examples": len(x), "pixels": x[0].numel(), "latent": latent, "rows": rows, "machine": machine()
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "table.md").write_text(page(dict(sorted(results.items()))))


if __name__ == "__main__":
    main()
