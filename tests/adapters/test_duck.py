"""Models as people write them, each read as the posterior and likelihood that it was built with."""

import dataclasses
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence

from uncollapse import VAE, Codes, draw
from uncollapse.adapters import adapt
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import BadInput, ShapeError, Unsupported

B, P, D = 48, 16, 3


@pytest.fixture
def x():
    return torch.randn(B, P, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def bits(x):
    return (x > 0).float()


class Net(nn.Module):
    """Two layers whose first output is split; what `encode` returns is up to the test."""

    def __init__(self, decode=True):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.back = nn.Linear(P, 2 * D), nn.Linear(D, P)
        self.has = decode

    def moments(self, x):
        return self.body(x).chunk(2, -1)


def model(encode, decode=None, **more):
    """A model with the given methods."""
    body = {"encode": encode, **more}
    if decode is not False:
        body["decode"] = decode or (lambda self, z: self.back(z))
    return type("Mine", (Net,), body)()


def truth(net, x):
    mean, log_variance = net.moments(x)
    return mean, (0.5 * log_variance).exp()


def read(net, x, **more):
    adapted = adapt(net, x, **more)
    q = adapted.model.posterior(x)
    return adapted, q.base_dist.loc, q.base_dist.scale


def as_pair(self, x):
    mu, logvar = self.moments(x)
    return mu, logvar


def as_list(self, x):
    mu, log_var = self.moments(x)
    return [mu, log_var]


def reversed_pair(self, x):
    mu, logvar = self.moments(x)
    return logvar, mu


def as_triple(self, x):
    a, b = self.moments(x)
    return a + torch.randn_like(a) * (0.5 * b).exp(), a, b


def as_late_sample(self, x):
    a, b = self.moments(x)
    return a, b, a + torch.randn_like(a) * (0.5 * b).exp()


def as_silent_triple(self, x):
    a, b = self.moments(x)
    return (a + torch.randn_like(a) if self.training else a), a, b


def as_dict(self, x):
    a, b = self.moments(x)
    return {"extra": a + b, "log_var": b, "mu": a}


def as_deviation(self, x):
    a, b = self.moments(x)
    return {"loc": a, "scale": (0.5 * b).exp()}


def as_variance(self, x):
    a, b = self.moments(x)
    return {"mean": a, "variance": b.exp()}


def as_log_deviation(self, x):
    a, b = self.moments(x)
    mu, log_std = a, 0.5 * b
    return mu, log_std


def as_named_tuple(self, x):
    return namedtuple("Out", "embedding log_covariance")(*self.moments(x))


Out = dataclasses.make_dataclass("Out", ["mean", "logvar"])


def as_data_class(self, x):
    return Out(*self.moments(x))


def as_tensor(self, x):
    return self.body(x)


def as_distribution(self, x):
    a, b = self.moments(x)
    return Normal(a, (0.5 * b).exp())


def as_independent(self, x):
    a, b = self.moments(x)
    return Independent(Normal(a, (0.5 * b).exp()), 1)


WAYS = [
    as_pair, as_list, reversed_pair, as_triple, as_late_sample, as_silent_triple, as_dict, as_deviation, as_variance,
    as_log_deviation, as_named_tuple, as_data_class, as_tensor, as_distribution, as_independent,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_to_return_a_posterior_is_read(way, x):
    net = model(way)
    adapted, mean, scale = read(net, x)
    torch.testing.assert_close(mean, truth(net, x)[0])
    torch.testing.assert_close(scale, truth(net, x)[1])
    assert adapted.kind == "encode/decode"
    assert adapted.decodes
    assert draw(adapted.model, x).kl.shape == (B, D)


@pytest.mark.parametrize("kind", ["deviation", "variance", "log-deviation", "log-variance"])
def test_the_models_own_samples_settle_how_the_spread_is_written(kind, x):
    write = {
        "deviation": lambda s: s, "variance": lambda s: s**2,
        "log-deviation": lambda s: s.log(), "log-variance": lambda s: 2 * s.log(),
    }[kind]  # fmt: skip
    undo = {"deviation": lambda w: w, "variance": lambda w: w.sqrt(), "log-deviation": lambda w: w.exp(),
            "log-variance": lambda w: (w / 2).exp()}[kind]  # fmt: skip

    def encode(self, x):
        a, b = self.moments(x)
        return a, write((b - 1).exp())

    def reparameterize(self, one, two):
        return one + undo(two) * torch.randn_like(one)

    net = model(encode, reparameterize=reparameterize)
    _, _, scale = read(net, x)
    torch.testing.assert_close(scale, (net.moments(x)[1] - 1).exp())


def test_positive_values_without_a_name_are_taken_for_deviations_and_the_remark_says_so(x):
    def encode(self, x):
        a, b = self.moments(x)
        return a, F.softplus(b)

    net = model(encode)
    adapted, _, scale = read(net, x)
    torch.testing.assert_close(scale, F.softplus(net.moments(x)[1]))
    assert any("standard deviation" in remark for remark in adapted.remarks)


def test_a_collapsed_head_of_zeros_is_a_standard_normal(x):
    def encode(self, x):
        return x.new_zeros(len(x), D), x.new_zeros(len(x), D)

    adapted, mean, scale = read(model(encode), x)
    assert (mean == 0).all()
    assert (scale == 1).all()
    assert Codes.of(adapted.model, x).kl.abs().max() == 0


def test_a_constant_encoder_far_from_the_prior_keeps_its_place(x):
    def encode(self, x):
        mu, logvar = x.new_full((len(x), D), 4.0), x.new_zeros(len(x), D)
        return mu, logvar

    adapted, _, _ = read(model(encode), x)
    torch.testing.assert_close(Codes.of(adapted.model, x).kl, torch.full((B, D), 8.0))


def test_a_posterior_of_another_family_is_passed_through(x):
    def encode(self, x):
        mean, _ = self.moments(x)
        return MultivariateNormal(mean, torch.eye(D) + 0.3)

    adapted = adapt(model(encode), x)
    q, p = adapted.model.posterior(x), adapted.model.prior()
    assert q.event_shape == p.event_shape == (D,)
    assert len(Codes.of(adapted.model, x)) == B


@pytest.mark.parametrize("way", [as_pair, as_triple])
def test_nan_for_some_inputs_does_not_hide_the_pair(way, x):
    net = model(way)
    x[0] = float("nan")
    adapted, mean, _ = read(net, x)
    torch.testing.assert_close(mean[1:], truth(net, x)[0][1:])
    assert adapted.kind == "encode/decode"


# --- sub-modules, heads, forward ---


class Parts(nn.Module):
    """encoder and decoder sub-modules, and heads beside them."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Sequential(nn.Linear(P, 8), nn.Tanh()), nn.Linear(D, P)
        self.fc_mu, self.fc_logvar = nn.Linear(8, D), nn.Linear(8, D)


def test_heads_beside_the_encoder_are_found(x):
    net = Parts()
    _, mean, scale = read(net, x)
    torch.testing.assert_close(mean, net.fc_mu(net.encoder(x)))
    torch.testing.assert_close(scale, (net.fc_logvar(net.encoder(x)) / 2).exp())


class OnlyForward(nn.Module):
    """The posterior comes out of forward alone, after the reconstruction."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.back = nn.Linear(P, D), nn.Linear(P, D), nn.Linear(D, P)

    def forward(self, x):
        a, b = self.one(x), self.two(x)
        return self.back(a + torch.randn_like(a) * (b / 2).exp()), a, b


def test_forward_alone_gives_the_posterior_and_no_decoder(x):
    net = OnlyForward()
    adapted, mean, scale = read(net, x)
    torch.testing.assert_close(mean, net.one(x))
    torch.testing.assert_close(scale, (net.two(x) / 2).exp())
    assert not adapted.decodes
    assert any("forward" in remark for remark in adapted.remarks)
    with pytest.raises(Unsupported, match="no decoder"):
        adapted.model.likelihood(torch.zeros(2, D))


def test_a_random_encode_is_replaced_by_forward(x):
    def encode(self, x):
        a, b = self.moments(x)
        return a + torch.randn_like(a) * (b / 2).exp()

    def forward(self, x):
        a, b = self.moments(x)
        return self.decode(self.encode(x)), a, b

    net = model(encode, forward=forward)
    adapted, mean, scale = read(net, x)
    torch.testing.assert_close(mean, truth(net, x)[0])
    torch.testing.assert_close(scale, truth(net, x)[1])
    assert adapted.decodes


def test_a_plain_object_that_holds_modules(x):
    class Plain:
        def __init__(self):
            self.body, self.back = nn.Linear(P, 2 * D), nn.Linear(D, P)

        def encode(self, x):
            mu, logvar = self.body(x).chunk(2, 1)
            return mu, logvar

        def decode(self, z):
            return self.back(z)

    adapted, _, _ = read(Plain(), x)
    assert len(list(adapted.model.parameters())) == 4


def test_a_wrapped_model_is_unwrapped(x):
    net = model(as_pair)
    _, mean, _ = read(nn.DataParallel(net), x)
    torch.testing.assert_close(mean, truth(net, x)[0])


def test_a_model_of_ours_is_passed_through(x):
    vae = VAE(nn.Linear(P, 2 * D), nn.Linear(D, P), latent=D)
    adapted = adapt(vae)
    assert adapted.model is vae
    assert adapted.kind == "uncollapse"
    assert not adapted.remarks


# --- shapes ---


class Images(nn.Module):
    """A convolution over (1, 4, 4) with latents (2, 2, 2)."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 2, 2), nn.ConvTranspose2d(2, 1, 2, 2)

    def encode(self, x):
        mu, logvar = self.down(x).chunk(2, 1)
        return mu, logvar

    def decode(self, z):
        return self.up(z)


def test_spatial_latents_are_flattened_by_channel(x):
    net, images = Images(), x.reshape(B, 1, 4, 4)
    adapted, mean, _ = read(net, images)
    torch.testing.assert_close(mean, net.encode(images)[0].flatten(1))
    assert adapted.groups == {"channel 0": slice(0, 4), "channel 1": slice(4, 8)}
    torch.testing.assert_close(adapted.model.likelihood(mean).mean, net.decode(net.encode(images)[0]))
    assert any("flattened to 8" in remark for remark in adapted.remarks)
    assert draw(adapted.model, images, samples=2).log_px.shape == (2, B)


@pytest.mark.parametrize("shape", [(16,), (4, 4)])
def test_rows_and_images_without_a_channel_reach_a_convolution(x, shape):
    net = Images()
    adapted = adapt(net, x.reshape(B, *shape))
    torch.testing.assert_close(
        adapted.model.posterior(x.reshape(B, *shape)).mean, net.encode(x.reshape(B, 1, 4, 4))[0].flatten(1)
    )
    assert adapted.model.likelihood(torch.zeros(2, 8)).event_shape == shape


def test_images_reach_a_network_of_vectors(x):
    net = model(as_pair)
    adapted, mean, _ = read(net, x.reshape(B, 1, 4, 4))
    torch.testing.assert_close(mean, truth(net, x)[0])
    assert adapted.model.likelihood(mean).event_shape == (1, 4, 4)
    assert any("flattened" in remark for remark in adapted.remarks)


class Sequences(nn.Module):
    """Latents (T, D) for sequences (T, P)."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(3, 4)

    def encode(self, x):
        mu, logvar = self.inner(x).chunk(2, -1)
        return mu, logvar

    def decode(self, z):
        return self.outer(z)


def test_sequences_of_latents(x):
    series = x.reshape(B, 4, 4)
    net = Sequences()
    adapted, mean, _ = read(net, series)
    assert mean.shape == (B, 12)
    assert adapted.groups["row 1"] == slice(3, 6)
    torch.testing.assert_close(adapted.model.likelihood(mean).mean, net.decode(net.encode(series)[0]))


@pytest.mark.parametrize("separate", [False, True])
def test_levels_are_laid_side_by_side(x, separate):
    def encode(self, x):
        a, b = self.moments(x)
        return [(a, b), (a[:, :2] * 2, b[:, :2])]

    def together(self, levels):
        return self.back(levels[0]) + levels[1].sum(1, keepdim=True)

    def apart(self, low, high):
        return together(self, [low, high])

    net = model(encode, apart if separate else together)
    adapted, mean, _ = read(net, x)
    assert adapted.groups == {"level 0": slice(0, 3), "level 1": slice(3, 5)}
    a, _ = net.moments(x)
    torch.testing.assert_close(mean, torch.cat([a, 2 * a[:, :2]], 1))
    torch.testing.assert_close(adapted.model.likelihood(mean).mean, together(net, [a, 2 * a[:, :2]]))
    assert any("levels" in remark for remark in adapted.remarks)


def test_a_level_that_rests_on_a_draw_of_another(x):
    def encode(self, x):
        a, b = self.moments(x)
        low = a + torch.randn_like(a) * (b / 2).exp()
        return [(a, b), (low[:, :2], low[:, 1:])]

    adapted, mean, _ = read(model(encode, lambda self, levels: self.back(levels[0])), x)
    assert mean.shape == (B, 5)
    assert any("own draw" in remark for remark in adapted.remarks)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(x, dtype):
    net = model(as_pair).to(dtype)
    adapted = adapt(net, x)
    q = adapted.model.posterior(x)
    assert q.mean.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert adapted.model.likelihood(q.mean).log_prob(x).dtype == q.mean.dtype
    assert len(Codes.of(adapted.model, x)) == B


# --- likelihoods ---


def test_probabilities_of_binary_data(bits):
    net = model(as_pair, lambda self, z: self.back(z).sigmoid())
    adapted, mean, _ = read(net, bits)
    p = net.decode(mean)
    expected = -F.binary_cross_entropy(p, bits, reduction="none").sum(1)
    torch.testing.assert_close(adapted.model.likelihood(mean).log_prob(bits), expected)
    assert adapted.assumed
    assert any("probabilities" in remark for remark in adapted.remarks)


def test_logits_of_binary_data(bits):
    net = model(as_pair, lambda self, z: 9 * self.back(z))
    adapted, mean, _ = read(net, bits)
    expected = Bernoulli(logits=net.decode(mean)).log_prob(bits).sum(1)
    torch.testing.assert_close(adapted.model.likelihood(mean).log_prob(bits), expected)


def test_real_data_get_the_variance_of_their_residuals(x):
    net = model(as_pair)
    adapted, mean, _ = read(net, x)
    px = adapted.model.likelihood(mean)
    residual = (draw(adapted.model, x, samples=200).px.mean - x).square().mean().sqrt()
    torch.testing.assert_close(px.base_dist.scale.unique(), residual.reshape(1), rtol=0.05, atol=0)
    assert adapted.assumed
    assert any("standard deviation" in remark for remark in adapted.remarks)


def test_grey_images_are_read_in_the_way_that_is_closer():
    from uncollapse.adapters.observed import choose

    x = torch.rand(B, P)
    means = x + 0.1 * torch.randn(B, P)
    assert isinstance(choose(means, x).read(means).base_dist, Normal)
    logits = 0.9 * x.logit()
    assert isinstance(choose(logits, x).read(logits).base_dist, Bernoulli)


@pytest.mark.parametrize("convert", [lambda x: x.numpy(), lambda x: (255 * x).byte(), lambda x: x.double()])
def test_arrays_and_bytes_are_taken(bits, convert):
    net = model(as_pair, lambda self, z: self.back(z).sigmoid())
    assert isinstance(adapt(net, convert(bits)).model.likelihood(torch.zeros(1, D)).base_dist, Bernoulli)


def test_data_that_were_not_scaled_are_remarked(bits):
    net = model(as_pair, lambda self, z: self.back(z).sigmoid())
    assert any("reach 255" in remark for remark in adapt(net, 255 * bits).remarks)


def test_examples_that_are_not_finite_do_not_spoil_the_likelihood(x):
    net = model(as_pair)
    x[:5] = float("nan")
    assert adapt(net, x).model.likelihood(torch.zeros(1, D)).base_dist.scale.isfinite().all()
    assert adapt(net, x * float("nan")).model.likelihood(torch.zeros(1, D)).base_dist.scale.unique() == 1


@pytest.mark.parametrize("name", ["logits", "bernoulli", "gaussian", FixedGaussian(0.3)])
def test_a_declared_likelihood_is_taken(bits, name):
    net = model(as_pair, lambda self, z: self.back(z).sigmoid())
    adapted, mean, _ = read(net, bits, likelihood=name)
    out = net.decode(mean)
    if name == "logits":
        expected = Bernoulli(logits=out).log_prob(bits).sum(1)
    elif name == "bernoulli":
        expected = Bernoulli(probs=out).log_prob(bits).sum(1)
    else:
        sd = adapted.model.likelihood(mean).base_dist.scale.unique()
        expected = Normal(out, sd).log_prob(bits).sum(1)
    torch.testing.assert_close(adapted.model.likelihood(mean).log_prob(bits), expected)
    assert adapted.assumed == (name == "gaussian")


def test_probabilities_at_the_edge_have_finite_scores_and_gradients():
    from uncollapse.adapters.observed import probabilities

    p = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.3]], requires_grad=True)
    x = torch.tensor([[0.0, 1.0, 1.0, 0.0, 1.0]])
    score = probabilities(p).log_prob(x)
    torch.testing.assert_close(score, -F.binary_cross_entropy(p, x, reduction="none").sum(1))
    score.backward()
    assert p.grad.isfinite().all()


def test_a_decoder_that_returns_a_distribution(x):
    net = model(as_pair, lambda self, z: Normal(self.back(z), 0.5))
    adapted, mean, _ = read(net, x)
    torch.testing.assert_close(
        adapted.model.likelihood(mean).log_prob(x), Normal(net.back(mean), 0.5).log_prob(x).sum(1)
    )
    assert not adapted.assumed


def test_a_decoder_that_returns_mean_and_log_variance(x):
    def decode(self, z):
        out = self.back(z)
        return {"mean": out, "logvar": 0.1 * out}

    net = model(as_pair, decode)
    adapted, mean, _ = read(net, x)
    out = net.back(mean)
    expected = Normal(out, (0.05 * out).exp()).log_prob(x).sum(1)
    torch.testing.assert_close(adapted.model.likelihood(mean).log_prob(x), expected)
    assert not adapted.assumed


def test_a_decoder_that_returns_more_than_x(x):
    net = model(as_pair, lambda self, z: (z, self.back(z)))
    adapted, mean, _ = read(net, x)
    torch.testing.assert_close(adapted.model.likelihood(mean).mean, net.back(mean))


def test_scores_over_tokens():
    torch.manual_seed(0)
    words = torch.randint(7, (B, 5)).float()

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head, self.out = nn.Embedding(7, 8), nn.Linear(8, 2 * D), nn.Linear(D, 35)

        def encode(self, x):
            mu, logvar = self.head(self.embed(x).mean(1)).chunk(2, 1)
            return mu, logvar

        def decode(self, z):
            return self.out(z).reshape(-1, 5, 7)

    net = Bag()
    adapted, mean, _ = read(net, words)
    expected = -F.cross_entropy(net.decode(mean).transpose(1, 2), words.long(), reduction="none").sum(1)
    torch.testing.assert_close(adapted.model.likelihood(mean).log_prob(words), expected)
    assert any("7 classes" in remark for remark in adapted.remarks)


# --- priors ---


def test_the_models_own_prior_is_used(x):
    net = model(as_pair, prior=Independent(Normal(torch.ones(D), 2 * torch.ones(D)), 1))
    adapted = adapt(net, x)
    q = adapted.model.posterior(x)
    torch.testing.assert_close(draw(adapted.model, x).kl.sum(1), kl_divergence(q, net.prior))


def test_a_prior_that_cannot_be_read_is_remarked(x):
    adapted = adapt(model(as_pair, prior=lambda self, y: y), x)
    assert adapted.model.prior().mean.shape == (D,)
    assert any("N(0, I)" in remark for remark in adapted.remarks)


def test_a_given_prior_must_fit(x):
    given = Independent(Normal(torch.zeros(D), torch.ones(D)), 1)
    assert adapt(model(as_pair), x, prior=given).model.prior().event_shape == (D,)
    with pytest.raises(BadInput, match="prior should be"):
        adapt(model(as_pair), x, prior=Normal(torch.zeros(7), torch.ones(7)))


# --- what cannot be read ---


def test_a_plain_autoencoder_is_named_as_one(x):
    net = model(lambda self, x: self.moments(x)[0])
    with pytest.raises(Unsupported, match="without a posterior"):
        adapt(net, x)


def test_a_random_code_without_moments(x):
    net = model(lambda self, x: self.moments(x)[0] + torch.randn(len(x), D))
    with pytest.raises(BadInput, match="random z"):
        adapt(net, x)


def test_a_decoder_that_wants_more_than_z_is_left_out(x):
    adapted, mean, _ = read(model(as_pair, lambda self, z, y: self.back(z) + y), x)
    assert not adapted.decodes
    assert mean.shape == (B, D)
    assert any("decode(z) could not be used" in remark for remark in adapted.remarks)


def test_a_decoder_of_another_size_is_left_out(x):
    adapted, _, _ = read(model(as_pair, lambda self, z: z), x)
    assert not adapted.decodes


def test_encode_alone(x):
    adapted, mean, _ = read(model(as_pair, False), x)
    assert not adapted.decodes
    assert Codes.of(adapted.model, x).mean.shape == mean.shape


@pytest.mark.parametrize(
    ("thing", "match"),
    [(nn.Linear(P, 7), "no posterior"), (Net, "call it to make one"), (object(), "no posterior"), (3, "no posterior")],
)
def test_what_is_no_vae_is_refused_in_one_sentence(thing, match, x):
    with pytest.raises(BadInput, match=match):
        adapt(thing, x)


def test_x_is_asked_for(x):
    with pytest.raises(BadInput, match="pass x="):
        adapt(model(as_pair))
    with pytest.raises(ShapeError, match="batch"):
        adapt(model(as_pair), torch.zeros(0, P))


def test_data_that_do_not_fit_name_the_complaint(x):
    with pytest.raises(BadInput, match=r"no posterior could be read .*mat1"):
        adapt(model(as_pair), x[:, :5])


def test_an_unknown_likelihood_is_refused(x):
    with pytest.raises(BadInput, match="likelihood should be one of"):
        adapt(model(as_pair), x, likelihood="poisson")


def test_the_model_is_left_as_it_was(x):
    net = model(as_triple, extra=None)
    net.norm = nn.BatchNorm1d(3)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    adapt(net, x)
    assert net.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
