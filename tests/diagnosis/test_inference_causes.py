import torch
from torch import nn

from uncollapse import VAE, Objective
from uncollapse.diagnosis.decoder_causes import autoregressive, factorises, ignores
from uncollapse.diagnosis.inference_causes import inference_lag, unfinished, untrained
from uncollapse.distributions import FixedGaussian, gaussian
from uncollapse.nets import PixelCNN
from uncollapse.remedies import Anneal
from uncollapse.testing.linear import LinearVAE


class Constant(nn.Module):
    """An encoder that answers N(0, I) to everything."""

    def forward(self, x):
        return torch.zeros(len(x), 2), torch.zeros(len(x), 2)


def truth(scale=1.0):
    weight = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    return LinearVAE(scale * weight, noise=0.5, posterior="diagonal")


def with_decoder_of(model, encoder=None):
    decoder = nn.Linear(2, 8)
    with torch.no_grad():
        decoder.weight.copy_(model.weight)
        decoder.bias.copy_(model.bias)
    return VAE(encoder or Constant(), decoder, latent=2, read_x=FixedGaussian(0.5**0.5))


def test_an_encoder_left_behind_is_a_lag(asked):
    model = truth()
    found = asked(inference_lag, with_decoder_of(model), model.simulate(300))
    assert found.state == "found"
    assert found.numbers["gain"] > 5


def test_an_exact_encoder_does_not_lag(asked):
    model = truth()
    assert asked(inference_lag, model, model.simulate(300)).state == "clear"


def test_a_decoder_that_ignores_z_is_no_lag(asked):
    assert asked(inference_lag, with_decoder_of(truth(0.0)), truth().simulate(300)).state == "clear"


def test_without_a_decoder_lag_is_untested(asked):
    from uncollapse.testing.metric import gaussian_codes

    assert asked(inference_lag, gaussian_codes(2.0)).state == "untested"


def test_a_trained_model_beats_the_constant_and_a_wrong_one_does_not(asked):
    model = truth()
    x = model.simulate(300)
    assert asked(untrained, model, x).state == "clear"
    broken = LinearVAE(model.weight, noise=0.5, bias=torch.full((8,), 9.0), posterior="diagonal")
    assert asked(untrained, broken, x).state == "found"


def test_a_collapsed_model_is_not_called_untrained(asked):
    model = truth(0.0)
    assert asked(untrained, model, model.simulate(300)).state == "clear"


def test_a_schedule_that_was_cut_off(asked):
    model = truth()
    objective = Objective([Anneal(over=100)])
    for steps, state in ((0, "found"), (60, "found"), (200, "clear")):
        for _ in range(steps - int(objective.remedies[0].step)):
            objective.after_step(model)
        assert asked(unfinished, model, model.simulate(100), objective=objective).state == state


def test_a_schedule_told_by_the_history(asked):
    model, x = truth(), truth().simulate(100)
    rising, rested = {"beta": [0.1, 0.2, 0.3]}, {"beta": [0.5, 1.0, 1.0]}
    assert asked(unfinished, model, x, history=rising).state == "found"
    assert asked(unfinished, model, x, history=rested).state == "clear"
    assert asked(unfinished, model, x).state == "untested"


def pixelcnn():
    torch.manual_seed(0)
    return VAE(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), PixelCNN.small((1, 8, 8), latent=2), latent=2)


def images(n=200):
    return (torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(3)) > 0.5).float()


def test_independent_pixels_factorise_and_a_pixelcnn_does_not(subject_of):
    model = truth()
    assert factorises(subject_of(model, model.simulate(100))) is True
    assert factorises(subject_of(pixelcnn(), images())) is False


def test_a_pixelcnn_without_a_code_is_named(asked):
    model = pixelcnn()
    for parameter in model.encoder.parameters():
        nn.init.zeros_(parameter)
    found = asked(autoregressive, model, images())
    assert found.state == "found"
    assert asked(autoregressive, truth(), truth().simulate(100)).state == "clear"


def test_a_decoder_of_zeros_ignores_z(asked):
    model = truth()
    x = model.simulate(300)
    encoder = nn.Linear(8, 4)
    deaf = with_decoder_of(truth(0.0), encoder)
    found = asked(ignores, deaf, x)
    assert (found.state, found.numbers["shuffle"]) == ("found", 0.0)
    assert asked(ignores, model, x).state == "clear"


def test_a_decoder_that_would_listen_but_gets_nothing_is_told_apart(asked):
    model = truth()
    found = asked(ignores, with_decoder_of(model), model.simulate(300))
    assert found.state == "clear"


def test_a_heavy_kl_is_no_lag(asked):
    model = truth()
    x = model.simulate(300)
    heavy = LinearVAE.optimal(x.T.cov(), 2, noise=0.5, beta=20.0)
    behind = with_decoder_of(heavy)
    assert asked(inference_lag, heavy, x, weight=20.0).state == "clear"
    assert asked(inference_lag, behind, x).state == "found"
    assert "loss=" in asked(inference_lag, behind, x).sentence
    assert asked(inference_lag, behind, x, weight=1e4).state == "clear"


class Offset(nn.Module):
    """An exact encoder that puts every code in a place where the decoder does badly."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        q = self.model.posterior(x)
        return q.mean + 3.0, 2 * q.stddev.log()


def test_what_is_better_for_all_inputs_alike_is_no_lag(asked):
    model = truth()
    found = asked(inference_lag, with_decoder_of(model, Offset(model)), model.simulate(300))
    assert found.numbers["likelihood"] > 10
    assert found.state == "clear"


def test_dropout_in_a_model_left_in_training_mode_is_no_look_at_x(subject_of):
    torch.manual_seed(0)
    model = VAE(nn.Linear(8, 4), nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 8)), latent=2)
    assert factorises(subject_of(model.train(), torch.rand(100, 8))) is True


class Uneven(nn.Module):
    """A decoder of a constant with a standard deviation of its own for every pixel."""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(scale)

    def forward(self, z):
        mean = z.sum(-1, keepdim=True) * 0 + torch.zeros_like(self.scale)
        return mean, 2 * self.scale.log().expand_as(mean)


def test_the_best_constant_has_the_scale_of_every_pixel(asked):
    scale = torch.tensor([0.01, 0.1, 1.0, 10.0])
    x = scale * torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    found = asked(untrained, VAE(nn.Linear(4, 4), Uneven(scale), latent=2, read_x=gaussian), x)
    exact = float(torch.distributions.Normal(0.0, scale).entropy().sum())
    assert abs(found.numbers["constant"] - exact) < 0.15


def test_a_controlled_weight_that_trembles_has_settled(asked):
    model = truth()
    x = model.simulate(100)
    assert asked(unfinished, model, x, history={"beta": [1.0, 0.6, 0.5, 0.501]}).state == "clear"
    ramp = {"beta": torch.linspace(0, 1, 1000).tolist()}
    assert asked(unfinished, model, x, history=ramp).state == "found"
