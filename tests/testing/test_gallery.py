"""Every specimen of the gallery is what it claims to be, measured here from scratch and without a diagnosis."""

import math
from functools import cache

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from uncollapse.diagnosis.finding import CAUSES
from uncollapse.errors import BadInput
from uncollapse.testing.gallery import gallery, names, specimen
from uncollapse.testing.gallery.weights import pixel_mean_loss, summed_and_averaged_loss

WORDS = {
    "healthy", "partial collapse", "collapsed", "off-prior collapse", "decoder ignores z", "prior hole", "undetermined",
}  # fmt: skip


@cache
def made(name):
    return specimen(name)


@torch.no_grad()
def codes(one, limit=1500):
    """Means, scales and one sample (N, D) of the examples with finite posteriors, in float64."""
    base = one.model.posterior(one.data[:limit]).base_dist
    good = base.loc.isfinite().all(1)
    mean, scale = base.loc[good].double(), base.scale[good].double()
    noise = torch.randn(mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    return mean, scale, mean + scale * noise


def densities(z, mean, scale):
    """log q(z_i|x_j) latent by latent, (M, N, D)."""
    return Normal(mean, scale).log_prob(z[:, None])


def information(one, limit=700):
    """I(x;z), and I(x;z_j) of every latent, nats."""
    mean, scale, z = codes(one, limit)
    table = densities(z, mean, scale)

    def of(table):
        return (table.diagonal() - (table.logsumexp(1) - math.log(len(z))).movedim(-1, -1).T).mean(-1)

    return float(of(table.sum(2)[..., None])), of(table)


@torch.no_grad()
def rate(one):
    """Mean KL to the prior of every latent, (D,) nats."""
    mean, scale, _ = codes(one, 2000)
    q = Normal(mean.float(), scale.float())
    return kl_divergence(q, one.model.prior().base_dist).mean(0)


@torch.no_grad()
def distortion(one, z):
    """Mean of -log p(x|z), nats."""
    return float(-one.model.likelihood(z.float()).log_prob(one.data[: len(z)]).mean())


def gap(one):
    """What a wrong code costs, nats."""
    z = codes(one)[2]
    return distortion(one, z.roll(1, 0)) - distortion(one, z)


@torch.no_grad()
def landing(one, limit=700):
    """Share of the prior's samples where codes are as dense as where at least 99 % of other codes lie."""
    mean, scale, z = codes(one, limit)
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        theirs = one.model.prior().sample((limit,)).double()
    others = densities(z, mean, scale).sum(2).fill_diagonal_(-math.inf).logsumexp(1)
    return float((densities(theirs, mean, scale).sum(2).logsumexp(1) > others.quantile(0.01)).double().mean())


@torch.no_grad()
def inside(one):
    """Share of the codes that lie where 99 % of the prior's own samples do, by density."""
    prior, z = one.model.prior(), codes(one)[2].float()
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        usual = prior.log_prob(prior.sample((2000,))).quantile(0.01)
    return float((prior.log_prob(z) > usual).double().mean())


def held(optimizer):
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def grey_entropy(x):
    """The distortion of the best model of binary pixels that are independent of each other and of everything."""
    p = x.flatten(1).mean(0).clamp(1e-6, 1 - 1e-6)
    return float(-(p * p.log() + (1 - p) * (1 - p).log()).sum())


@pytest.mark.parametrize("name", names())
def test_a_specimen_is_well_formed(name):
    one = made(name)
    assert one.name == name
    assert one.verdict
    assert one.verdict <= WORDS
    assert 1 <= len(one.causes) <= 2
    assert one.causes <= {*CAUSES, None}
    assert set(one.arguments) <= {"loss", "optimizer", "objective", "weight"}
    assert one.labels is None or len(one.labels) == len(one.data)
    assert not one.model.training
    assert one.story.endswith(".")
    assert one.data.isfinite().all()


def test_the_gallery_holds_what_it_names():
    assert len(names()) >= 24
    assert len(set(names())) == len(names())
    assert [next(gallery()).name] == [names()[0]]
    with pytest.raises(BadInput, match="there is no specimen 'nonsense'"):
        specimen("nonsense")


@pytest.mark.parametrize("name", ["half-dead", "untrained", "tight-clusters", "dead-head"])
def test_the_seed_decides_and_nothing_else(name):
    before = torch.get_rng_state()
    again, other = specimen(name), specimen(name, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    first = made(name)
    assert torch.equal(first.data, again.data)
    state, same, different = (one.model.state_dict() for one in (first, again, other))
    assert all(torch.equal(state[key], same[key]) for key in state)
    assert any(not torch.equal(state[key], different[key]) for key in state)
    assert not torch.equal(first.data, other.data)


ALL_CARRY = (
    "healthy", "healthy-2d", "healthy-conv", "healthy-gaussian", "discrete-codes", "learned-prior", "nan-inputs",
    "schedule-unfinished", "kl-mean-reduced",
)  # fmt: skip


@pytest.mark.parametrize("name", ALL_CARRY)
def test_healthy_codes_carry_in_every_latent_and_fill_the_prior(name):
    one = made(name)
    whole, each = information(one)
    assert whole > 1
    assert each.min() > 0.15
    if name != "nan-inputs":  # its decoder is asked below
        assert gap(one) > 3
    assert landing(one) > 0.5
    assert inside(one) > 0.45


NOTHING = (
    "posterior-at-prior", "active-on-samples", "dead-head", "frozen-head", "encoder-left-out", "untrained",
    "autoregressive-decoder", "lagging-encoder", "beta-6144", "noisy-decoder",
)  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_collapsed_codes_are_on_the_prior_and_carry_nothing(name):
    one = made(name)
    assert information(one, 1000)[0] < 0.08
    assert rate(one).sum() < 0.4


@pytest.mark.parametrize("name", ["prior-hole", "scale-inflation", "tight-clusters", "beta-zero"])
def test_a_hole_is_where_the_prior_is(name):
    one = made(name)
    assert information(one)[0] > 1
    assert gap(one) > 3
    assert min(landing(one), inside(one)) < 0.15
    # what the KL has beyond the entropy of N equally likely examples cannot be information about them
    assert rate(one).sum() - math.log(len(one.data)) > 2 * math.log(len(one.data))


def test_posterior_is_the_prior():
    one = made("posterior-at-prior")
    q = one.model.posterior(one.data).base_dist
    assert torch.equal(q.loc, torch.zeros_like(q.loc))
    assert torch.equal(q.scale, torch.ones_like(q.scale))


def test_constant_encoder_has_128_nats_and_no_information():
    one = made("constant-off-prior")
    assert rate(one).sum() == pytest.approx(128)
    assert codes(one)[0].var(0).max() == 0
    assert abs(information(one)[0]) < 1e-9


def test_all_units_look_active_on_samples_and_none_is_on_means():
    mean, _, z = codes(made("active-on-samples"))
    assert (z.var(0) >= 0.01).sum() == 32
    assert (mean.var(0) >= 0.01).sum() == 0


def test_four_of_eight_directions_exceed_the_noise():
    one = made("half-dead")
    spectrum = torch.linalg.eigvalsh(torch.cov(one.data.T)).flip(0)
    assert (spectrum > one.model.noise).sum() == 4
    kl = rate(one)
    assert torch.allclose(kl[:4], 0.5 * (spectrum[:4] / one.model.noise).log(), atol=1e-2)
    assert kl[4:].abs().max() < 1e-5


def test_most_of_sixty_four_latents_have_nothing_to_do():
    one = made("sixty-four-latents")
    spectrum = torch.linalg.eigvalsh(torch.cov(one.data.flatten(1).T))
    assert (spectrum > 0.3**2).sum() <= 16
    each = information(one, 400)[1]
    assert (each < 0.1).sum() >= 48
    assert (each > 0.3).sum() >= 3


def test_zeros_sit_on_the_prior_and_the_others_do_not():
    one = made("one-class-collapsed")
    q = one.model.posterior(one.data)
    kl = kl_divergence(q, one.model.prior()).detach()
    zeros = one.labels == 0
    assert kl[zeros].mean() < 0.05
    assert q.mean[zeros].var(0).max() < 0.01
    assert min(float(kl[one.labels == digit].mean()) for digit in range(1, 10)) > 1


def test_no_hidden_unit_fires():
    one = made("dead-head")
    assert one.model.encoder.trunk(one.data).max() == 0
    one.arguments["loss"](one.model, one.data).backward()
    reached = [float(p.grad.abs().max()) for p in one.model.encoder.trunk.parameters()]
    one.model.zero_grad()
    assert max(reached) == 0


def test_the_head_is_zero_and_frozen():
    one = made("frozen-head")
    head = list(one.model.encoder.head.parameters())
    assert all(not p.requires_grad and not p.any() for p in head)
    assert not held(one.arguments["optimizer"]) & {id(p) for p in head}


def test_the_optimiser_knows_the_decoder_alone():
    one = made("encoder-left-out")
    assert held(one.arguments["optimizer"]) == {id(p) for p in one.model.decoder.parameters()}
    assert all(p.requires_grad for p in one.model.encoder.parameters())
    # the decoder was trained: it is as good as the mean image
    assert distortion(one, codes(one)[2]) < grey_entropy(one.data) + 0.5


def test_the_untrained_model_is_worse_than_the_mean_image():
    one = made("untrained")
    assert distortion(one, codes(one)[2]) > grey_entropy(one.data) + 10


def test_the_decoder_says_the_same_whatever_the_code():
    one = made("decoder-ignores-z")
    assert information(one)[0] > 1
    logits = one.model.decoder(torch.randn(50, 4))
    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_the_decoder_knows_the_chain_without_a_code():
    one = made("autoregressive-decoder")
    turn = -(0.05 * math.log(0.05) + 0.95 * math.log(0.95))
    entropy = math.log(2) + 31 * turn
    prior = torch.randn(len(one.data), 4, generator=torch.Generator().manual_seed(1))
    assert distortion(one, prior) < entropy + 0.6  # standard error 0.08
    assert grey_entropy(one.data) > 3 * entropy  # pixels that do not see each other are far from it


def test_a_few_steps_on_the_posteriors_close_a_large_gap():
    one = made("lagging-encoder")
    x = one.data[:200]
    base = one.model.posterior(x).base_dist
    mean, log_scale = base.loc.detach().requires_grad_(), base.scale.detach().log().requires_grad_()
    optimizer = torch.optim.Adam([mean, log_scale], 0.05)
    values = []
    for _ in range(100):
        q = Independent(Normal(mean, log_scale.exp()), 1)
        kl = kl_divergence(q, one.model.prior())
        loss = kl - one.model.likelihood(q.rsample((4,))).log_prob(x).mean(0)
        values.append(float(loss.detach().mean()))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    one.model.zero_grad()
    assert values[0] - values[-1] > 3
    assert kl.mean() > 1.5


def slopes(loss, pixels, latent, variance):
    """Effective beta: the slope of a classic loss in the mean over that in x_hat, in units of the negative ELBO."""
    torch.manual_seed(0)
    x, x_hat = torch.rand(4, pixels), torch.rand(4, pixels).mul(0.8).add(0.1).requires_grad_()
    mean, log_variance = torch.randn(4, latent, requires_grad=True), torch.zeros(4, latent)
    loss(x_hat, x, mean, log_variance).backward()
    spread = x_hat * (1 - x_hat) if variance is None else variance  # of the likelihood: Bernoulli or Gaussian
    fit = (x_hat - x) / spread / 4
    return float(((mean.grad * 4 / mean).median() / (x_hat.grad / fit).median()).detach())


def test_the_kl_is_averaged_over_sixteen_latents():
    assert slopes(summed_and_averaged_loss, 64, 16, None) == pytest.approx(1 / 16, rel=1e-3)
    assert made("kl-mean-reduced").arguments["loss"] is summed_and_averaged_loss
    assert codes(made("kl-mean-reduced"))[0].shape[1] == 16


def test_beta_is_6144_and_more_than_the_data_can_bear():
    one = made("beta-6144")
    assert one.data[0].numel() == 2 * 6144
    assert slopes(pixel_mean_loss, 2 * 6144, 8, 1.0) == pytest.approx(6144, rel=1e-3)
    flat = one.data.flatten(1)
    assert torch.linalg.matrix_norm(flat - flat.mean(0), 2) ** 2 / (len(flat) - 1) < 6144


def test_no_divergence_in_the_loss():
    one = made("beta-zero")
    torch.manual_seed(0)
    loss = float(one.arguments["loss"](one.model, one.data).detach())
    assert loss == pytest.approx(distortion(one, codes(one)[2]), rel=0.05)


def test_no_direction_of_the_data_exceeds_the_decoders_variance():
    one = made("noisy-decoder")
    assert torch.linalg.eigvalsh(torch.cov(one.data.T)).max() < one.model.read_x.scale**2 / 5


def test_the_weight_had_come_to_a_tenth():
    one = made("schedule-unfinished")
    objective = one.arguments["objective"]
    assert objective.weights() == {"anneal": pytest.approx(0.1)}
    assert objective.arrives == 6000


def test_the_hole_is_a_shift():
    mean, scale, _ = codes(made("prior-hole"))
    assert (mean.mean(0).abs() - 5).abs().max() < 0.6
    assert mean.std(0).max() < 1.3
    assert scale.mean() < 0.7


def test_means_are_blown_up_and_images_are_as_good():
    one = made("scale-inflation")
    mean, scale, z = codes(one)
    assert (mean.std(0) / (1 - scale.square().mean(0)).sqrt()).min() > 20
    healthy = made("healthy")
    assert distortion(one, z) < distortion(healthy, codes(healthy)[2])


def test_ten_dots():
    one = made("tight-clusters")
    mean, scale, _ = codes(one)
    assert len(mean.unique(dim=0)) == 10
    assert scale.max() < 0.005
    assert information(one)[0] == pytest.approx(math.log(10), abs=0.02)
    assert 80 < rate(one).sum() < 96


def test_evaluation_sees_one_point_and_training_does_not():
    one = made("batch-statistics")
    assert information(one)[0] < 0.01
    one.model.train()
    statistics = [buffer.clone() for buffer in one.model.buffers()]
    whole, _ = information(one)
    for buffer, before in zip(one.model.buffers(), statistics, strict=True):
        buffer.copy_(before)
    one.model.eval()
    assert whole > 1
    assert (float(rate(one).sum()) > 0.5) == ("off-prior collapse" in one.verdict) or float(rate(one).sum()) < 0.5


def test_blank_images_give_nan_and_others_do_not():
    one = made("nan-inputs")
    blank = one.data.flatten(1).std(1) == 0
    bad = ~one.model.posterior(one.data).mean.isfinite().all(1)
    assert torch.equal(blank, bad)
    assert 0.03 < float(bad.float().mean()) < 0.07
    z = one.model.posterior(one.data[~bad]).mean
    px = one.model.likelihood(torch.stack([z, z.roll(1, 0)])).log_prob(one.data[~bad])
    assert (px[0] - px[1]).mean() > 3


def test_one_example_is_one():
    assert len(made("one-example").data) == 1


def test_eight_images_allow_log_8():
    one = made("duplicated-data")
    assert len(one.data.unique(dim=0)) == 8
    assert len(one.data) == 800
    assert 1.95 < information(one)[0] < math.log(8) + 0.05


def test_the_prior_is_far_from_the_standard_one_and_the_codes_are_there():
    one = made("learned-prior")
    assert one.model.prior().mean.abs().min() > 4
    mean, scale, _ = codes(one)
    assert kl_divergence(Normal(mean, scale), Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(1).mean() > 50
    assert rate(one).sum() < 5


def test_codes_of_coins_lie_in_heaps():
    one = made("discrete-codes")
    mean, _, _ = codes(one)
    bits = one.data[: len(mean)].reshape(-1, 5, 8).mean(2).round()
    heaps = (bits @ (2.0 ** torch.arange(5))).long()
    centres = torch.stack([mean[heaps == heap].mean(0) for heap in range(32)])
    assert ((mean - centres[heaps]).var(0) / mean.var(0)).max() < 0.2


def test_two_directions_behind_four_latents():
    one = made("redundant-latents")
    assert torch.linalg.matrix_rank(one.model.weight) == 2
    assert information(one)[1].min() > 0.5
    assert (torch.linalg.eigvalsh(torch.cov(one.data.T)) > 2 * one.model.noise).sum() == 2


def test_the_huge_one_carries_what_the_formula_says():
    one = made("huge")
    assert len(one.data) == 200_000
    exact = 0.5 * torch.log1p(one.model.weight.square().sum(0) / one.model.noise)
    mean, scale, _ = codes(one, 200_000)
    kl = kl_divergence(Normal(mean, scale), Normal(torch.zeros_like(mean), torch.ones_like(mean))).mean(0)
    assert torch.allclose(kl, exact.double(), rtol=0.03)
    assert exact.min() > 0.5
