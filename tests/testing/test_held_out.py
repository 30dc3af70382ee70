"""The truth of the specimens kept for the end, measured without a diagnosis."""

import importlib.util
import math
from functools import cache
from pathlib import Path

import torch
from torch.distributions import Normal, kl_divergence

FILE = Path(__file__).parents[2] / "benchmarks" / "held_out.py"
spec = importlib.util.spec_from_file_location("held_out", FILE)
held_out = importlib.util.module_from_spec(spec)
spec.loader.exec_module(held_out)


@cache
def made(name, seed=0):
    return held_out.specimen(name, seed)


@torch.no_grad()
def codes(one):
    base = one.model.posterior(one.data).base_dist
    good = base.loc.isfinite().all(1) & base.scale.isfinite().all(1)
    return base.loc[good], base.scale[good]


@torch.no_grad()
def distortion(one, z):
    return float(-one.model.likelihood(z).log_prob(one.data[: len(z)]).mean())


def test_letters_are_told_without_a_code():
    one = made("sentences")
    x = one.data.long()
    pairs = torch.zeros(4, 4).index_put_((x[:, :-1].flatten(), x[:, 1:].flatten()), torch.tensor(1.0), accumulate=True)
    row = pairs / pairs.sum(1, keepdim=True)
    entropy = math.log(4) - float((pairs * row.clamp(min=1e-9).log()).sum()) / len(x)
    assert distortion(one, torch.randn(len(x), 4)) < entropy + 0.5
    assert kl_divergence(Normal(*codes(one)), Normal(0.0, 1.0)).sum(1).mean() < 0.1


def test_dead_channels_do_not_fire():
    one = made("dead-channels")
    assert one.model.encoder.body(one.data)[:, 8:].max() < 0
    mean, _ = codes(one)
    assert mean[:, 2:].var(0).max() == 0
    assert mean[:, :2].var(0).min() > 0.5


def test_the_ring_has_no_code_inside():
    mean, scale = codes(made("ring"))
    assert torch.allclose(mean.norm(dim=1), torch.tensor(5.0))
    assert 5 - 5 * scale.max() > torch.randn(1000, 2).norm(dim=1).quantile(0.99)


def test_half_of_the_posteriors_are_nan():
    one = made("half-nan")
    assert 0.45 < len(codes(one)[0]) / len(one.data) < 0.55


def test_noise_and_weight_exceed_the_spectrum():
    for name, floor in (("floored-variance", math.exp(0.5)), ("heavy-objective", 60 * 0.09)):
        x = made(name).data.flatten(1)
        assert torch.linalg.eigvalsh(torch.cov(x.T)).max() < floor / 2
        assert codes(made(name))[0].var(0).max() < 1e-3


def test_the_exact_posterior_is_the_exact_posterior():
    one = made("correlated")
    assert torch.allclose(one.model.log_evidence(one.data), one.model.elbo(one.data), atol=1e-2)
    assert torch.linalg.matrix_rank(one.model.weight) == 6


def test_one_latent_follows_the_curve():
    one = made("one-latent")
    mean, scale = codes(one)
    assert mean.var() > 0.5
    assert scale.mean() < 0.3


def test_layer_norm_over_one_feature_is_constant():
    mean, _ = codes(made("lone-norm"))
    assert mean.var(0).max() < 1e-9
    assert mean.abs().min() > 1


def test_the_projection_was_never_trained():
    one = made("random-projection")
    held = {id(p) for group in one.arguments["optimizer"].param_groups for p in group["params"]}
    assert not held & {id(p) for p in one.model.encoder.parameters()}
    mean, scale = codes(one)
    assert torch.allclose(mean.var(0) + scale.square().mean(0), torch.ones(3), atol=0.1)


def test_thirty_dots():
    mean, scale = codes(made("thirty-dots"))
    assert len(mean.unique(dim=0)) == 30
    assert 35 < kl_divergence(Normal(mean, scale), Normal(0.0, 1.0)).sum(1).mean() < 39


def test_the_linear_decoder_has_a_far_better_posterior():
    one = made("linear-lag")
    w = one.model.decoder.head.weight.detach()
    covariance = torch.linalg.inv(torch.eye(5) + w.T @ w / 0.25)
    mean = one.data @ (covariance @ w.T / 0.25).T
    scale = covariance.diagonal().sqrt().expand_as(mean)
    pairs = (mean, scale), codes(one)
    best, now = (
        kl_divergence(Normal(m, s), Normal(0.0, 1.0)).sum(1).mean() + distortion(one, m + s * torch.randn_like(m))
        for m, s in pairs
    )
    assert now - best > 10


def test_the_mixture_is_where_the_codes_are():
    one = made("vamp")
    z = one.model.posterior(one.data).sample()
    assert one.model.prior().log_prob(z).mean() > Normal(0.0, 1.0).log_prob(z).sum(1).mean() - 0.5


def test_few_originals():
    assert len(made("few-originals").data.unique(dim=0)) == 24
