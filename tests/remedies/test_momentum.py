"""Momentum contrast against slow arithmetic, its moving parts one by one, and what it does to information."""

import copy
import math
from collections import deque
from functools import cache

import pytest
import torch
from torch import nn

from uncollapse import VAE, Objective, draw, fit
from uncollapse.distributions import gaussian
from uncollapse.errors import BadInput, ShapeError
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.nets import ConvDecoder, ConvEncoder
from uncollapse.plan import Settings
from uncollapse.remedies import MomentumContrast
from uncollapse.remedies.bank import Bank
from uncollapse.remedies.momentum import AS_PUBLISHED, PUBLISHED
from uncollapse.testing import Prototypes, ToyModel, check_remedy
from uncollapse.testing.bench import Training
from uncollapse.wrappers import Wrapper


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ToyModel()


@pytest.fixture
def x():
    return Prototypes().sample(6)[0]


def inverted(x):
    return 1 - x


def contrast(model, **given):
    return MomentumContrast(model.encoder, 4, **{"augment": "none", **given})


def moved(remedy, seed=5):
    """The key encoder elsewhere than the encoder."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in remedy.key_encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return remedy


def by_loops(queries, keys, queue, temperature, in_batch=True):
    """InfoNCE one pair at a time, in Python numbers; queries (K, B, D), keys (B, D), queue a list of vectors."""

    def score(a, b):
        a, b = a.detach().double(), b.detach().double()
        return float(a @ b / (a.norm() * b.norm())) / temperature

    out = []
    for i in range(len(keys)):
        losses = []
        for z in queries[:, i]:
            others = [key for j, key in enumerate(keys) if j != i and in_batch] + list(queue)
            scores = [score(z, keys[i])] + [score(z, other) for other in others]
            top = max(scores)
            losses.append(top + math.log(sum(math.exp(s - top) for s in scores)) - scores[0])
        out.append(sum(losses) / len(losses))
    return torch.tensor(out)


@pytest.mark.parametrize("compare", ["sample", "mean"])
@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("filled", [0, 5, 8])
def test_term_by_loops(model, x, compare, in_batch, filled):
    remedy = moved(contrast(model, compare=compare, in_batch=in_batch, queue=8, temperature=0.2))
    queue = torch.randn(filled, 4)
    remedy.bank.put(queue)
    one = draw(model, x, samples=3)
    torch.manual_seed(7)
    term = remedy.term(one, model)
    torch.manual_seed(7)
    q = gaussian(remedy.key_encoder(x))
    keys = q.rsample((1,))[0] if compare == "sample" else q.mean
    queries = one.z if compare == "sample" else one.q.mean[None]
    torch.testing.assert_close(term, by_loops(queries, keys, queue, 0.2, in_batch), rtol=1e-4, atol=1e-4)


def test_symmetric_is_the_mean_of_both_roles(model, x):
    remedy = moved(contrast(model, augment=inverted, symmetric=True, compare="mean", temperature=0.3, queue=20))
    queue = torch.randn(7, 4)
    remedy.bank.put(queue)
    one = draw(model, x)
    forth = by_loops(one.q.mean[None], gaussian(remedy.key_encoder(1 - x)).mean, queue, 0.3)
    back = by_loops(model.posterior(1 - x).mean[None], gaussian(remedy.key_encoder(x)).mean, queue, 0.3)
    torch.testing.assert_close(remedy.term(one, model), (forth + back) / 2, rtol=1e-4, atol=1e-4)
    remedy.after_step(model)
    assert len(remedy.bank.filled) == 7 + 12  # the keys of both roles


def test_a_query_from_a_view_is_encoded_from_that_view(model, x):
    remedy = moved(contrast(model, augment=inverted, query="view", compare="mean"))
    term = remedy.term(draw(model, x), model)
    keys = gaussian(remedy.key_encoder(1 - x)).mean
    torch.testing.assert_close(term, by_loops(model.posterior(1 - x).mean[None], keys, [], 0.1), rtol=1e-4, atol=1e-4)


# ---- views that are reconstructed


def test_view_is_described_and_the_key_sees_another_view_of_the_clean_batch(model, x):
    given = []

    def marked(batch):
        given.append(batch.clone())
        return (batch + len(given) / 10).clamp(max=1)

    remedy = moved(contrast(model, augment=marked, query="view", reconstruct="view", compare="mean"))
    objective = Objective([remedy])
    terms = objective.of(model, x)
    assert [torch.equal(one, x) for one in given] == [True, True]
    first, second = (x + 0.1).clamp(max=1), (x + 0.2).clamp(max=1)
    torch.testing.assert_close(terms["rate"], draw(model, first).kl.sum(1))
    keys = gaussian(remedy.key_encoder(second)).mean
    slow = by_loops(model.posterior(first).mean[None], keys, [], 0.1)
    torch.testing.assert_close(terms["momentum_contrast"], slow, rtol=1e-4, atol=1e-4)
    assert remedy._clean is None


def test_in_evaluation_the_batch_stays_clean(model, x):
    objective = Objective([contrast(model, augment=inverted, query="view", reconstruct="view")]).eval()
    model.eval()
    torch.manual_seed(0)
    terms = objective.of(model, x)
    torch.manual_seed(0)
    torch.testing.assert_close(terms["distortion"], -draw(model, x).log_px[0])
    assert objective.remedies[0]._clean is None


def test_clean_reconstruction_leaves_the_batch_alone(model, x):
    assert contrast(model, augment=inverted).prepare(x) is x


def test_nothing_is_left_over_after_the_step(model, x):
    remedy = contrast(model, query="view", reconstruct="view", queue=8)
    remedy.prepare(x)
    remedy.term(draw(model, x), model)
    assert remedy._keys is not None
    remedy.prepare(x)
    remedy.after_step(model)
    assert remedy._keys is None
    assert remedy._clean is None


# ---- the key encoder


class Normed(nn.Module):
    """An encoder with batch normalisation."""

    def __init__(self, latent=4):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 2 * latent))

    def forward(self, x):
        return self.net(x)


def normed():
    torch.manual_seed(0)
    return VAE(Normed(), nn.Linear(4, 16), 4)


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_average_by_hand_with_buffers(batch_norm):
    model, x = normed(), Prototypes().sample(12)[0]
    remedy = contrast(model, momentum=0.9, batch_norm=batch_norm)
    mine = {name: value.clone().double() for name, value in model.encoder.state_dict().items()}
    training = Training(model, remedy, x)
    for step in range(5):
        training.run(step, step + 1)
        for name, value in model.encoder.state_dict().items():
            mine[name] = 0.9 * mine[name] + 0.1 * value.double() if value.is_floating_point() else value.double()
    for name, value in remedy.key_encoder.state_dict().items():
        torch.testing.assert_close(value.double(), mine[name], rtol=1e-5, atol=1e-6)
    assert remedy.key_encoder.net[1].num_batches_tracked == 5
    assert not torch.equal(remedy.key_encoder.net[1].running_mean, model.encoder.net[1].running_mean)


def test_statistics_of_the_batch_or_running_ones():
    model, x = normed(), Prototypes().sample(12)[0]
    for batch_norm, mode in (("running", False), ("batch", True)):
        remedy = moved(contrast(model, batch_norm=batch_norm, compare="mean"))
        keys = remedy.keys(model, x)
        twin = normed().encoder.train(mode)
        twin.load_state_dict(remedy.key_encoder.state_dict())
        torch.testing.assert_close(keys, gaussian(twin(x)).mean)
        assert not remedy.eval().key_encoder.training
        assert remedy.train().key_encoder.training is mode


@pytest.mark.parametrize(
    "given", [{"query": "view", "symmetric": True}, {"key": "none"}, {"key": "end_to_end"}, {"batch_norm": "batch"}]
)
def test_further_passes_leave_running_statistics_alone(given):
    model, x = normed(), Prototypes().sample(12)[0]
    remedy = contrast(model, augment="bits", **given)
    one = draw(model, x)
    before = {name: value.clone() for name, value in [*model.named_buffers(), *remedy.named_buffers()]}
    remedy.term(one, model).sum().backward()
    assert all(torch.equal(before[n], v) for n, v in [*model.named_buffers(), *remedy.named_buffers()])


def test_frozen_keys_never_move(model):
    x = Prototypes().sample(12)[0]
    remedy = contrast(model, key="frozen", augment="bits")
    start = {name: value.clone() for name, value in remedy.key_encoder.state_dict().items()}
    Training(model, remedy, x).run(0, 6)
    assert all(torch.equal(start[name], value) for name, value in remedy.key_encoder.state_dict().items())
    assert not torch.equal(start["head.weight"], model.encoder.head.weight)


@pytest.mark.parametrize(("key", "reached"), [("ema", False), ("frozen", False), ("none", False), ("end_to_end", True)])
def test_gradient_through_the_keys(model, x, key, reached):
    remedy = contrast(model, key=key)
    one = draw(model, x)
    one = type(one)(one.x, one.q, one.z.detach(), one.px, one.prior)
    term = remedy.term(one, model)
    assert term.requires_grad is reached
    assert all(not p.requires_grad for p in remedy.parameters())
    assert (remedy.key_encoder is None) is (key in {"none", "end_to_end"})


def test_no_average_is_the_encoder_itself(model, x):
    """key="none" and momentum=0 give the same keys."""
    torch.manual_seed(0)
    twin = ToyModel()
    for other, remedy in ((model, contrast(model, key="none")), (twin, contrast(twin, momentum=0.0))):
        Training(other, remedy, x).run(0, 5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_another_encoder_is_one_sentence(model, x):
    with pytest.raises(BadInput, match=r"pass encoder=model\.encoder"):
        MomentumContrast(ToyModel(hidden=8).encoder, 4).after_step(model)
    with pytest.raises(BadInput, match=r"looks for model\.encoder"):
        contrast(model).after_step(nn.Linear(2, 2))
    with pytest.raises(ShapeError, match="over 5 latents, got \\(4,\\)"):
        MomentumContrast(model.encoder, 5, augment="none").term(draw(model, x), model)


def test_wrapper_keys_are_read_from_the_encoder(model, x):
    class Shifted(Wrapper):
        def posterior(self, x):
            q = super().posterior(x)
            return gaussian((q.mean + 3, 2 * q.base_dist.scale.log()))

    wrapped = Shifted(model)
    remedy = contrast(wrapped, compare="mean")
    torch.testing.assert_close(remedy.keys(wrapped, x), model.posterior(x).mean)
    torch.testing.assert_close(
        contrast(wrapped, key="none", compare="mean").keys(wrapped, x), model.posterior(x).mean + 3
    )
    Training(wrapped, remedy, x).run(0, 2)
    assert not torch.equal(remedy.key_encoder.head.weight, model.encoder.head.weight)


# ---- the queue


@pytest.mark.parametrize("size", [1, 5, 12, 13])
def test_ring_against_a_deque(size):
    generator = torch.Generator().manual_seed(size)
    bank, slow = Bank(size, 2), deque(maxlen=size)
    for count in [3, 1, 7, 30, 2, 5, 0, 4]:
        vectors = torch.randn(count, 2, generator=generator)
        bank.put(vectors)
        slow.extend(tuple(one) for one in vectors.tolist())
        assert sorted(map(tuple, bank.filled.tolist())) == sorted(slow)


def test_what_has_not_come_yet_is_not_scored(model, x):
    plain, waiting = contrast(model, compare="mean"), contrast(model, compare="mean", queue=1000)
    one = draw(model, x)
    assert torch.equal(plain.term(one, model), waiting.term(one, model))
    alone = contrast(model, queue=1000, in_batch=False, compare="mean")
    assert torch.equal(alone.term(one, model), torch.zeros(6))
    alone.after_step(model)
    assert len(alone.bank.filled) == 6
    assert alone.term(one, model).min() > 0


def test_keys_of_earlier_batches_are_candidates_not_this_ones(model, x):
    remedy = contrast(model, queue=16, compare="mean", key="frozen")
    batches = Prototypes().sample(24, seed=3)[0].split(6)
    for batch in batches:
        remedy.term(draw(model, batch), model)
        remedy.after_step(model)
    expected = gaussian(remedy.key_encoder(torch.cat(batches)[-16:])).mean
    found = remedy.bank.filled
    assert sorted(found.norm(dim=1).tolist()) == pytest.approx(sorted(expected.norm(dim=1).tolist()), rel=1e-5)


def test_queue_is_saved_and_restored_half_full(model):
    x = Prototypes().sample(12)[0]
    straight = Training(model, contrast(model, queue=30, augment="bits"), x)
    straight.run(0, 2)
    state = straight.state()
    torch.manual_seed(9)
    other = ToyModel()
    resumed = Training(other, contrast(other, queue=30, augment="bits"), x)
    resumed.restore(copy.deepcopy(state))
    bank = resumed.objective.remedies[0].bank
    assert bank.written == 24
    for training in (straight, resumed):
        training.run(2, 5)
    assert torch.equal(bank.filled, straight.objective.remedies[0].bank.filled)
    assert len(bank.filled) == 30
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_scores_in_evaluation_do_not_depend_on_the_queue(model, x):
    remedy = contrast(model, queue=16, compare="mean").eval()
    before = remedy.term(draw(model, x), model)
    remedy.bank.put(torch.randn(16, 4))
    assert torch.equal(before, remedy.term(draw(model, x), model))
    assert remedy._keys is None
    assert not torch.equal(before, remedy.train().term(draw(model, x), model))


def test_it_has_not_arrived_before_the_queue_is_full(model, x):
    remedy, plain = contrast(model, queue=16), contrast(model)
    assert plain.arrives == 0
    Training(model, remedy, x).run(0, 2)
    assert remedy.arrives == 3
    Training(model, remedy, x).run(2, 3)
    assert remedy.arrives == 0
    assert contrast(model, queue=16, weight=lambda step: 1.0).arrives == 1


def test_ceiling_counts_the_queue(model):
    assert contrast(model, temperature=0.01).ceiling(50) == pytest.approx(math.log(50))
    assert contrast(model, temperature=0.01, queue=950).ceiling(50) == pytest.approx(math.log(1000))
    published = contrast(model, queue=4096, in_batch=False)
    assert published.ceiling(256) == pytest.approx(math.log(4097) - math.log1p(4096 * math.exp(-10 * 4097 / 4096)))
    assert published.ceiling(256) == pytest.approx(8.15, abs=0.005)


# ---- arguments


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"query": "both"}, "query should be one of clean, view"),
        ({"key": "random"}, "ema, none, end_to_end, frozen"),
        ({"momentum": 1.5}, "from 0 to 1"),
        ({"queue": -1}, "0 for none"),
        ({"queue": 2.5}, "0 for none"),
        ({"in_batch": False}, "queue=4096"),
        ({"reconstruct": "view"}, 'query="view" too'),
        ({"temperature": 0}, "temperature should be a positive number"),
        ({"temperature": "raw"}, "temperature should be a positive number"),
        ({"compare": "mode"}, "compare should be one of"),
        ({"batch_norm": "none"}, "running, batch"),
        ({"augment": "crp"}, "did you mean 'crop'"),
        ({"weight": -1.0}, "weight"),
        ({"latent": 0}, "latent of MomentumContrast"),
        ({"encoder": "mlp"}, "the model's encoder"),
    ],
)
def test_bad_choices_are_refused(model, given, words):
    with pytest.raises(BadInput, match=words):
        MomentumContrast(**{"encoder": model.encoder, "latent": 4, **given})


def test_a_batch_of_one_and_wrong_views_are_refused(model, x):
    with pytest.raises(BadInput, match="at least two"):
        contrast(model).term(draw(model, x[:1]), model)
    with pytest.raises(ShapeError, match="augment should keep the shape"):
        contrast(model, augment=torch.sum).term(draw(model, x), model)
    with pytest.raises(ShapeError, match="Crop needs images"):
        contrast(model, augment="crop").term(draw(model, x), model)


def test_an_encoder_that_cannot_be_copied():
    model = ToyModel()
    model.encoder.kept = model.encoder.head.weight * 2  # not a leaf: torch refuses to copy it
    with pytest.raises(BadInput, match='key="none" needs no copy'):
        contrast(model)
    contrast(model, key="none")


# ---- as published, and in company


def tiny_images(n=32):
    torch.manual_seed(0)
    shape = (3, 8, 8)
    given = {"widths": (4, 8), "kernels": (3, 3), "strides": (2, 2), "padding": (1, 1), "hidden": 16}
    model = VAE(ConvEncoder(shape, 4, **given), ConvDecoder(shape, 4, **given), 4)
    return model, torch.rand(n, *shape)


def test_as_published():
    plan = Settings.of(**PUBLISHED)
    assert (plan.epochs, plan.batch_size, plan.optimiser, plan.lr, plan.clip) == (50, 256, "sgd", 1e-3, 5.0)
    model, x = tiny_images(512)
    remedy = MomentumContrast(model.encoder, 4, weight=1.0, **AS_PUBLISHED)
    done = fit(model, x, Objective([remedy]), **{**PUBLISHED, "epochs": 2})
    assert done.steps == 2  # a tenth of the images is for validation
    assert remedy.bank.written == 2 * 256


def test_as_published_keeps_the_contract():
    model, x = tiny_images(12)

    def half_full():
        remedy = MomentumContrast(model.encoder, 4, **{**AS_PUBLISHED, "queue": 40})
        remedy.bank.put(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)))
        return remedy

    check_remedy(half_full, model, x)


def test_a_study_fills_in_the_encoder():
    from uncollapse.study import ModelSpec, Run
    from uncollapse.study.build import build, load_data

    crop = [{"name": "crop", "scale": [0.5, 1.0]}, "affine"]
    run = Run(
        model=ModelSpec("conv-small", "conv-small", 3), fit={"batches": 5},
        remedies=[{"MomentumContrast": {"weight": 2.0, "augment": crop, "queue": 100}}],
    )  # fmt: skip
    data = load_data(run)
    model, objective = build(run, data)
    assert objective.remedies[0].key_encoder is not model.encoder
    assert fit(model, data, objective, batches=3, batch_size=32).steps == 3
    assert "Crop(scale=(0.5, 1.0)" in repr(objective)


def test_tokens():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Embedding(30, 6), nn.Flatten(), nn.Linear(60, 8))

    class Copycat(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 10)

        def forward(self, z):
            return torch.distributions.Independent(torch.distributions.Poisson(self.net(z).exp()), 1)

    model, x = VAE(encoder, Copycat(), 4), torch.randint(4, 30, (8, 10))
    term = MomentumContrast(encoder, 4, augment="tokens").term(draw(model, x), model)
    assert term.shape == (8,)
    term.sum().backward()
    assert encoder[0].weight.grad.abs().sum() > 0


# ---- information

ARMS = {
    "none": None,
    "default": {},
    "as published": {"query": "view", "reconstruct": "view", "queue": 512, "in_batch": False},
    "no average": {"key": "none"},
    "end to end": {"key": "end_to_end"},
    "frozen": {"key": "frozen"},
    "means": {"compare": "mean"},
}


@cache
def trained(name, steps=300, batch=64):
    """Lower bound of the information over 1,000 images, mean KL, mean term of the last 50 steps, nats."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ToyModel(scale=2.0)
        given = ARMS[name]
        kept = [] if given is None else [contrast(model, weight=5.0, **{"augment": "bits", **given})]
        objective, x, losses = Objective(kept), Prototypes().sample(1000, seed=1)[0], []
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            terms = objective.of(model, x[torch.randint(len(x), (batch,))])
            optimiser.zero_grad()
            sum(term.mean() for term in terms.values()).backward()
            optimiser.step()
            objective.after_step(model)
            losses.append(sum(term.mean().item() for key, term in terms.items() if key not in {"distortion", "rate"}))
        with torch.no_grad():
            one = draw(model.eval(), x)
            q = one.q.base_dist
            scores = pairwise_log_prob(one.z[0], q.loc, q.scale)
            information = (scores.diag() - log_mean_exp(scores, 1)).mean().item()
            return information, one.kl.sum(1).mean().item(), sum(losses[-50:]) / 50


def test_plain_vae_collapses():
    assert abs(trained("none")[0]) < 0.05


@pytest.mark.parametrize("name", ["default", "as published", "no average", "end to end"])
def test_momentum_contrast_raises_information(name):
    information, kl, _ = trained(name)
    assert information > 1.5
    assert information < kl


def test_random_keys_raise_it_less():
    assert 0.3 < trained("frozen")[0] < trained("default")[0] - 0.5


def test_its_own_loss_says_little():
    """At temperature 0.1 a noisy code is punished for being sure: the bound is loose by more than a nat."""
    information, _, loss = trained("default")
    assert math.log(64) - loss / 5 < information - 1.0


def test_a_cosine_of_means_lowers_its_loss_without_information():
    information, _, loss = trained("means")
    assert loss < 5 * (math.log(64) - 1.0)  # by its own loss more than a nat was won
    assert information < 0.3
