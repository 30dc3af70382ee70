import time

import pytest
import torch
from torch import nn

from uncollapse import VAE, diagnose
from uncollapse.distributions import FixedGaussian


class Slow(nn.Module):
    """A linear decoder that takes a millisecond for every example."""

    def __init__(self, seconds):
        super().__init__()
        self.net, self.seconds = nn.Linear(2, 6), seconds

    def forward(self, z):
        time.sleep(self.seconds * len(z))
        return self.net(z)


def model(seconds):
    torch.manual_seed(0)
    return VAE(nn.Linear(6, 4), Slow(seconds), latent=2, read_x=FixedGaussian(0.3))


X = torch.rand(600, 6, generator=torch.Generator().manual_seed(0))


def test_a_fast_decoder_sees_everything(subject_of):
    assert subject_of(model(0.0), X).afford(256, 10) == 256
    assert subject_of(model(0.0), X).afford(10_000, 1) == 512  # no more than the sample holds


def test_a_slow_decoder_sees_a_power_of_two_that_fits_a_fifth_of_the_budget(subject_of):
    subject = subject_of(model(1e-3), X)
    assert subject.pace == pytest.approx(1e-3, rel=0.5)
    assert subject.afford(256, 20) in (64, 32)  # 2 s / (20 ms an example) = 100, and less where sleeping is late
    assert subject.afford(256, 10**6) == 16


def test_a_diagnosis_with_a_slow_decoder_keeps_to_its_budget():
    began = time.perf_counter()
    report = diagnose(model(1e-3), X)
    assert time.perf_counter() - began < 60  # ten seconds are meant, and a machine may be busy; without it, minutes
    assert report.evidence.gap is not None
