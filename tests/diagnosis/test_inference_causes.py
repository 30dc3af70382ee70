import torch
from torch import nn

from uncollapse import VAE, Objective
from uncollapse.diagnosis.decoder_causes import autoregressive, factorises, ignores
from uncollapse.diagnosis.inference_causes import inference_lag, unfinished, untrained
from uncollapse.distributions import FixedGaussian
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
