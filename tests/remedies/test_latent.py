"""Latent reconstruction: its formula, who learns from it, what it leaves alone, and what it buys."""

import math
from functools import cache

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from uncollapse import VAE, Codes, Objective, draw, metrics
from uncollapse.distributions import FixedGaussian, standard_normal
from uncollapse.errors import BadInput, Unsupported
from uncollapse.nets import PixelCNN
from uncollapse.remedies import Beta, LatentReconstruction
from uncollapse.remedies.second_pass import still
from uncollapse.schedules import Linear
from uncollapse.testing import Prototypes, ToyModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ToyModel()


@pytest.fixture
def x():
    return Prototypes().sample(12)[0]


def read_back(model, z):
    """The code of one image made of one code, with nothing from the package but the two networks."""
    logits = model.decoder(z[None])
    return model.encoder(logits.sigmoid())[0, : model.latent]


def test_posterior_codes_against_a_loop(model, x):
    one = draw(model, x, samples=2)
    term = LatentReconstruction(source="posterior", share=1.0).term(one, model)
    for i in range(len(x)):
        slow = [(read_back(model, one.z[k, i]) - one.z[k, i]).square().sum() for k in range(2)]
        assert term[i].item() == pytest.approx(sum(slow).item() / 2, rel=1e-4)


@pytest.mark.parametrize(("share", "number"), [(0.25, 3), (0.01, 2), (1.0, 12), (2.0, 24)])
def test_prior_codes_against_a_loop(model, x, share, number):
    one = draw(model, x)
    torch.manual_seed(5)
    term = LatentReconstruction(share=share, spread=1.5).term(one, model)
    torch.manual_seed(5)
    codes = 1.5 * standard_normal(4).sample((number,))
    slow = sum((read_back(model, z) - z).square().sum().item() for z in codes) / number
    assert term.tolist() == pytest.approx([slow] * 12, rel=1e-4)


def test_a_part_of_the_posterior_codes(model, x):
    one = draw(model, x)
    whole = LatentReconstruction(source="posterior", share=1.0).term(one, model)
    half = LatentReconstruction(source="posterior", share=0.5)
    found = []
    for seed in range(400):
        torch.manual_seed(seed)
        term = half.term(one, model)
        assert term.std() == 0
        found.append(term[0].item())
    assert sum(found) / 400 == pytest.approx(whole.mean().item(), rel=0.02)


def test_nothing_to_pay_where_the_encoder_inverts_the_decoder():
    class Inverse(nn.Linear):
        def forward(self, x):
            return torch.cat([super().forward(x), x.new_zeros(len(x), 3)], 1)

    decoder, encoder = nn.Linear(3, 6, bias=False), Inverse(6, 3, bias=False)
    encoder.weight.data = torch.linalg.pinv(decoder.weight.data)
    model = VAE(encoder, decoder, latent=3, read_x=FixedGaussian(1.0))
    assert LatentReconstruction().term(draw(model, torch.randn(8, 6)), model).abs().max() < 1e-9


def gradients(model, loss):
    """The gradient of every parameter, zeros where there is none, in two rows: encoder, decoder."""
    slopes = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, retain_graph=True)
    named = zip(model.named_parameters(), slopes, strict=True)
    found = {name: torch.zeros_like(p) if slope is None else slope for (name, p), slope in named}
    rows = [[g.flatten() for name, g in found.items() if name.startswith(part)] for part in ("encoder", "decoder")]
    return [torch.cat(row) for row in rows]


def passes(model, z, x_hat=None):
    x_hat = model.decoder(z).sigmoid() if x_hat is None else x_hat
    return model.encoder(x_hat)[:, : model.latent]


def nov_2024_prior(model, z, prior):
    return gradients(model, (passes(model, 1.649 * prior) - 1.649 * prior).square().sum(1).mean())


def nov_2024_posterior(model, z, prior):
    return gradients(model, (passes(model, z) - z).square().sum(1).mean())


def dec_2024(model, z, prior):
    encoder, decoder = nov_2024_posterior(model, z, prior)
    return 1e-4 * encoder, decoder


def jul_2025(model, z, prior):
    x_hat = model.decoder(z).sigmoid().detach()
    encoder, decoder = gradients(model, (passes(model, z, x_hat) - z).square().sum(1).mean())
    return 1e-4 * encoder, decoder


def aug_2025(model, z, prior):
    encoder, decoder = gradients(model, (passes(model, z.detach()) - z.detach()).square().sum(1).mean())
    return 1e-4 * encoder, decoder


VERSIONS = [
    (nov_2024_prior, {"share": 1.0, "spread": 1.649}),
    (nov_2024_posterior, {"source": "posterior", "detach": False, "share": 1.0}),
    (dec_2024, {"source": "posterior", "detach": False, "share": 1.0, "encoder_scale": 1e-4}),
    (jul_2025, {"source": "posterior", "detach": False, "share": 1.0, "encoder_scale": 1e-4, "flow": "encoder"}),
    (aug_2025, {"source": "posterior", "share": 1.0, "encoder_scale": 1e-4}),
]


@pytest.mark.parametrize(("version", "arguments"), VERSIONS, ids=lambda v: getattr(v, "__name__", ""))
def test_every_version_of_the_authors_code_by_arguments(model, x, version, arguments):
    one = draw(model.double(), x.double())
    torch.manual_seed(3)
    prior = torch.randn(12, 4, dtype=torch.float64)
    torch.manual_seed(3)
    found = gradients(model, LatentReconstruction(**arguments).term(one, model).mean())
    for mine, theirs in zip(found, version(model, one.z[0], prior), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-12)


def test_flow_to_the_decoder_alone(model, x):
    one = draw(model, x)
    for source in ("prior", "posterior"):
        remedy = LatentReconstruction(source=source, flow="decoder", detach=False)
        assert not remedy.reaches_encoder
        encoder, decoder = gradients(model, remedy.term(one, model).mean())
        assert (encoder == 0).all()
        assert decoder.abs().sum() > 0
    assert all(p.requires_grad for p in model.parameters())


def test_passes_that_are_made_are_not_made_again(model, x):
    fed = {"encoder": [], "decoder": []}
    for name, sizes in fed.items():
        getattr(model, name).register_forward_pre_hook(lambda _, args, sizes=sizes: sizes.append(len(args[0])))
    one = draw(model, x)
    for arguments, encoder, decoder in [
        ({}, [3], [3]),
        ({"source": "posterior", "share": 1.0}, [12], [12]),
        ({"source": "posterior", "share": 1.0, "detach": False}, [12], []),
        ({"source": "posterior", "flow": "encoder"}, [3], []),
    ]:
        fed["encoder"].clear(), fed["decoder"].clear()
        LatentReconstruction(**arguments).term(one, model)
        assert (fed["encoder"], fed["decoder"]) == (encoder, decoder)


class Normalised(nn.Sequential):
    """An encoder of images (B, 1, 4, 4) with both kinds of layers that keep running statistics."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True), nn.Flatten(),
            nn.Linear(16, 8), nn.BatchNorm1d(8, momentum=None),
        )  # fmt: skip


@pytest.mark.parametrize("flow", ["both", "encoder", "decoder"])
def test_normalisation_layers_do_not_remember_decoded_codes(flow):
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Unflatten(1, (1, 4, 4)))
    model = VAE(Normalised(), decoder, latent=4)
    start = {name: value.clone() for name, value in model.named_buffers()}
    one = draw(model, torch.rand(8, 1, 4, 4))
    main = {name: value.clone() for name, value in model.named_buffers()}
    assert any(not torch.equal(value, main[name]) for name, value in start.items())
    for mode in (True, False):
        model.train(mode)
        term = LatentReconstruction(flow=flow, share=1.0).term(one, model).mean()
        term.backward()
        assert all(torch.equal(value, main[name]) for name, value in model.named_buffers())
        if mode:
            trained = term.item()
    assert term.item() != pytest.approx(trained, rel=1e-3)  # in training the batch's own statistics count


def test_layers_are_themselves_again_after_an_error():
    model = VAE(Normalised(), nn.Linear(4, 16), latent=4)
    before = dict(model.named_buffers())
    with pytest.raises(BadInput), still(model):
        LatentReconstruction(source="data")
    assert all(value is before[name] for name, value in model.named_buffers())


def test_warm_up():
    remedy = LatentReconstruction(weight=2.0, warmup=10)
    assert remedy.weight == Linear(0.0, 2.0, 10)
    assert remedy.arrives == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"source": "data"}, "prior, posterior"),
        ({"flow": "none"}, "both, decoder, encoder"),
        ({"decode": "sample"}, "mean, expected"),
        ({"share": 0.0}, "share should be a positive number"),
        ({"encoder_scale": -1.0}, "encoder_scale"),
        ({"source": "posterior", "share": 2.0}, "at most 1"),
        ({"source": "posterior", "spread": 2.0}, "spread is 1"),
        ({"flow": "decoder", "encoder_scale": 0.1}, "nothing for encoder_scale=0.1 to scale"),
        ({"weight": Linear(0, 1, 5), "warmup": 5}, "not both"),
        ({"warmup": 2.5}, "whole number of steps"),
    ],
)
def test_arguments_are_checked(arguments, words):
    with pytest.raises(BadInput, match=words):
        LatentReconstruction(**arguments)


@pytest.fixture
def autoregressive():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    return VAE(encoder, PixelCNN.small((1, 4, 4), latent=4), latent=4)


def test_an_autoregressive_decoder_has_no_mean(autoregressive):
    x = torch.rand(6, 1, 4, 4).round()
    with pytest.raises(Unsupported, match=r"LatentReconstruction.*decode='expected'"):
        LatentReconstruction().term(draw(autoregressive, x), autoregressive)


@pytest.mark.parametrize("source", ["prior", "posterior"])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_an_autoregressive_decoder_with_its_teacher(autoregressive, source, share):
    model, x = autoregressive, torch.rand(6, 1, 4, 4).round()
    one = draw(model, x, samples=2)
    remedy = LatentReconstruction(source=source, share=share, decode="expected")
    torch.manual_seed(2)
    term = remedy.term(one, model)
    assert term.shape == (6,)
    assert all(slope.abs().sum() > 0 for slope in gradients(model, term.mean()))
    if (source, share) == ("posterior", 1.0):
        for i in range(6):
            z = one.z[:, i]
            back = model.encoder(model.decoder(z).expected(x[i].expand(2, 1, 4, 4)))[:, :4]
            assert term[i].item() == pytest.approx((back - z).square().sum(1).mean().item(), rel=1e-4)


def test_expected_needs_a_teacher(model, x):
    with pytest.raises(Unsupported, match="decode='mean'"):
        LatentReconstruction(decode="expected").term(draw(model, x), model)


def test_a_mean_without_a_gradient_is_refused(x):
    def tokens(raw):
        return Independent(Categorical(logits=raw.unflatten(1, (16, 2)), validate_args=False), 1, validate_args=False)

    model = VAE(nn.Linear(16, 8), nn.Linear(4, 32), latent=4, read_x=tokens)
    with pytest.raises(Unsupported, match="no gradient"):
        LatentReconstruction().term(draw(model, x), model)


def test_a_prior_of_ones_own(x):
    mixture = MixtureSameFamily(
        Categorical(torch.ones(3)), Independent(Normal(5 * torch.randn(3, 4), torch.ones(3, 4)), 1)
    )
    model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4, prior=mixture)
    term = LatentReconstruction(share=1.0).term(draw(model, x), model)
    assert term.mean() > 30  # the encoder starts near 0, the codes lie around 5


@cache
def trained(*arguments, beta=1.0, scale=2.0, steps=300, batch=64):
    """Codes of 1,000 images after a training with a KL weight, and the mean term of its last 50 steps."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        remedies = [Beta(beta), *([LatentReconstruction(**dict(arguments))] if arguments else [])]
        model, objective = ToyModel(scale=scale), Objective(remedies)
        x, losses = Prototypes().sample(1000, seed=1)[0], []
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            terms = objective(draw(model, x[torch.randint(len(x), (batch,))]), model)
            optimiser.zero_grad()
            sum(term.mean() for term in terms.values()).backward()
            optimiser.step()
            objective.after_step(model)
            losses.append(terms.get("latent_reconstruction", torch.zeros(1)).mean().item())
        return Codes.of(model, x), sum(losses[-50:]) / 50


def information(*arguments, **setting):
    return metrics.mutual_information(trained(*arguments, **setting)[0]).lower.value


def mismatch(*arguments, **setting):
    return metrics.kl(trained(*arguments, **setting)[0]).joint_mismatch.value


@pytest.mark.parametrize(
    "arguments",
    [
        (("weight", 1.0),),
        (("flow", "encoder"),),
        (("source", "posterior"), ("share", 1.0)),
    ],
    ids=["prior", "encoder", "posterior"],
)
def test_information_rises_where_the_posterior_is_about_to_collapse(arguments):
    # at 0.1 the KL weighs as much as the strongest direction of the data
    assert information(beta=0.1) < 0.2
    assert information(*arguments, beta=0.1) > 1.0


def test_squared_error_of_weight_one_as_in_the_paper():
    setting = {"scale": math.sqrt(0.5)}
    assert information(**setting) < 0.1
    assert information(("weight", 1.0), **setting) > 0.6


def test_its_loss_and_active_units_can_be_bought_without_information():
    codes, loss = trained(("weight", 1.0))
    assert loss < 0.1 < 4.0  # an encoder that answers 0 pays 4, one unit of variance a latent
    assert metrics.active_units(codes).value == 4
    assert information(("weight", 1.0)) < 0.4  # of 2.2 nats that name the pattern


def test_codes_inflate():
    plain, moderate, heavy = (mismatch(*a, beta=0.1) for a in [(), (("weight", 1.0),), (("weight", 30.0),)])
    assert plain < 0.1
    assert heavy > moderate + 0.2
    assert information(("weight", 30.0), beta=0.1) < information(("weight", 1.0), beta=0.1) + 0.2
    assert mismatch(("flow", "encoder"), beta=0.1) > 0.7


def with_a_pixelcnn(remedies, steps=250):
    """Information after a training with an autoregressive decoder of the patterns as 4 x 4 images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 8))
        model, objective = VAE(encoder, PixelCNN.small((1, 4, 4), latent=4), latent=4), Objective(remedies)
        x = Prototypes().sample(1000, seed=1)[0].view(-1, 1, 4, 4)
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(steps):
            terms = objective(draw(model, x[torch.randint(len(x), (64,))]), model)
            optimiser.zero_grad()
            sum(term.mean() for term in terms.values()).backward()
            optimiser.step()
            objective.after_step(model)
        return metrics.mutual_information(Codes.of(model.eval(), x)).lower.value


def test_with_its_teacher_it_raises_information_under_an_autoregressive_decoder():
    plain = with_a_pixelcnn([])
    helped = with_a_pixelcnn([LatentReconstruction(decode="expected")])
    assert helped > plain + 0.5
