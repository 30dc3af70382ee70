import sys

import pytest
import torch
from torch import nn

import uncollapse.precision as precision
from uncollapse import VAE, fit
from uncollapse.data import as_data
from uncollapse.plan import Settings


def conv():
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 8)
    )
    decoder = nn.Sequential(nn.Linear(4, 128), nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 3, 4, 2, 1))
    return VAE(encoder, decoder, latent=4)


def images(n=32):
    return (torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def test_layout_is_plain_unless_asked_to_choose():
    data = as_data(images())
    assert precision.choose_layout(conv(), data, Settings(batches=1, batch_size=8), "32") == "plain"
    mlp = VAE(nn.Sequential(nn.Flatten(), nn.Linear(192, 8)), nn.Linear(4, 192), latent=4)
    assert (
        precision.choose_layout(
            mlp, as_data(images().flatten(1)), Settings(batches=1, batch_size=8, precision="auto"), "32"
        )
        == "plain"
    )


@pytest.mark.parametrize(("gain", "expected"), [(0.5, "channels last"), (0.97, "plain"), (2.0, "plain")])
def test_the_faster_layout_is_taken_if_it_is_clearly_faster(monkeypatch, gain, expected):
    model = conv()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def seconds(model, x, kind):
        return gain if model.encoder[0].weight.is_contiguous(memory_format=torch.channels_last) else 1.0

    monkeypatch.setattr(precision, "seconds_of_pass", seconds)
    assert (
        precision.choose_layout(model, as_data(images()), Settings(batches=1, batch_size=8, precision="auto"), "32")
        == expected
    )
    assert model.encoder[0].weight.is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_timing_a_pass_leaves_no_trace():
    model = conv().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert precision.seconds_of_pass(model, images(4), "bf16") > 0
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())  # batch norm's too
    assert all(p.grad is None for p in model.parameters())


def test_channels_last_gives_the_same_run_and_usual_weights(monkeypatch, tmp_path):
    plain = fit(conv(), images(), batches=6, batch_size=8, keep="last")
    monkeypatch.setattr(sys.modules["uncollapse.fit"], "choose_layout", lambda *_: "channels last")
    monkeypatch.setattr(sys.modules["uncollapse.fit"], "choose_precision", lambda *_: "32")
    other = fit(conv(), images(), batches=6, batch_size=8, keep="last", folder=tmp_path)
    for a, b in zip(plain.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        assert b.is_contiguous()
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_keeps_the_layout_it_began_with(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(sys.modules["uncollapse.fit"], "choose_layout", lambda *_: seen.append(1) or "channels last")
    whole = fit(conv(), images(), batches=8, batch_size=8, keep="last", folder=tmp_path / "whole", checkpoint_every=2)

    def stop(step, total, record):
        if step == 4:
            raise KeyboardInterrupt

    options = {"batches": 8, "batch_size": 8, "keep": "last", "folder": tmp_path / "half", "checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        fit(conv(), images(), progress=stop, **options)
    seen.clear()
    resumed = fit(conv(), images(), **options)
    assert not seen  # it was not chosen anew
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_images_stay_float32_in_bf16():
    seen = []

    class Looking(nn.Module):
        def forward(self, x):
            seen.append(x.dtype)
            return torch.zeros(len(x), 8)

    x = torch.rand(64, 4)
    fit(VAE(nn.Sequential(Looking()), nn.Linear(4, 4), latent=4), x, batches=1, batch_size=8, precision="bf16")
    assert set(seen) == {torch.float32}
