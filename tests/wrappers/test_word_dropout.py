"""Word dropout: what is replaced, what never is, and what it buys and costs."""

import math
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Distribution

from uncollapse import VAE, Codes, draw
from uncollapse.errors import BadInput, Unsupported
from uncollapse.metrics import mutual_information
from uncollapse.nets import MLPEncoder, PixelCNN
from uncollapse.testing import Prototypes, ToyModel, check_model
from uncollapse.wrappers import WordDropout, Wrapper, drop_tokens

PAD, BOS, UNK = 0, 1, 3


def pictures(n=12, seed=0):
    return Prototypes().sample(n, seed=seed)[0].reshape(-1, 1, 4, 4)


def painter(**given):
    torch.manual_seed(0)
    decoder = PixelCNN((1, 4, 4), 4, **{"channels": 16, "kernels": (5, 3), "bottleneck": 8} | given)
    return VAE(MLPEncoder((1, 4, 4), 4, hidden=(32,), activation="tanh"), decoder, 4)


def test_the_expected_share_is_replaced():
    torch.manual_seed(0)
    tokens = torch.randint(4, 50, (200, 100))
    for rate in (0.0, 0.3, 1.0):
        gone = drop_tokens(tokens, rate, UNK) == UNK
        assert gone.float().mean().item() == pytest.approx(rate, abs=4 * math.sqrt(0.25 / tokens.numel()))
    dropped = drop_tokens(tokens, 0.3, UNK)
    assert torch.equal(dropped[dropped != UNK], tokens[dropped != UNK])
    assert dropped.dtype == tokens.dtype
    gone = (dropped == UNK).float()  # independent over positions and examples
    assert gone.mean(0).std().item() == pytest.approx(math.sqrt(0.21 / 200), rel=0.3)
    assert gone.mean(1).std().item() == pytest.approx(math.sqrt(0.21 / 100), rel=0.3)


def test_begin_and_padding_are_kept():
    tokens = torch.tensor([[BOS, 5, 6, PAD], [BOS, 7, PAD, PAD]])
    expected = torch.tensor([[BOS, UNK, UNK, PAD], [BOS, UNK, PAD, PAD]])
    assert torch.equal(drop_tokens(tokens, 1.0, UNK, keep=(BOS, PAD)), expected)
    assert tokens[0, 1] == 5


@pytest.mark.parametrize("rate", [-0.1, 1.1, True, "half", float("nan")])
def test_rates_that_are_no_shares(rate):
    with pytest.raises(BadInput, match="a share between 0 and 1"):
        WordDropout(painter(), rate)
    with pytest.raises(BadInput, match="a share between 0 and 1"):
        drop_tokens(torch.ones(3), rate, 0)


def test_half_a_token_is_no_token():
    with pytest.raises(BadInput, match="should be numbers"):
        WordDropout(painter(), unknown="UNK")
    with pytest.raises(BadInput, match="token id"):
        drop_tokens(torch.ones(3, dtype=torch.long), 0.5, 0.5)


def test_inputs_are_replaced_and_targets_are_not():
    model, x = WordDropout(painter(), 1.0), pictures()
    z = torch.randn(2, 12, 4)
    plain = model.model.likelihood(z).base
    blind = plain.logits(torch.full_like(x, 0.5).expand(2, -1, -1, -1, -1).reshape(24, 1, 4, 4))
    target = x.expand(2, -1, -1, -1, -1).reshape(24, 1, 4, 4)
    expected = -F.binary_cross_entropy_with_logits(blind, target, reduction="none").sum((1, 2, 3)).reshape(2, 12)
    torch.testing.assert_close(model.likelihood(z).log_prob(x), expected)


def test_evaluation_is_the_plain_model_to_the_bit_and_draws_nothing():
    model, x, z = WordDropout(painter(), 0.5).eval(), pictures(), torch.randn(12, 4)
    state = torch.get_rng_state()
    assert torch.equal(model.likelihood(z).log_prob(x), model.model.likelihood(z).log_prob(x))
    assert torch.equal(state, torch.get_rng_state())
    model.train()
    one, two = (model.likelihood(z).log_prob(x) for _ in range(2))
    assert not torch.equal(one, two)
    torch.manual_seed(5)
    one = model.likelihood(z).log_prob(x)
    torch.manual_seed(5)
    assert torch.equal(model.likelihood(z).log_prob(x), one)
    torch.manual_seed(5)  # samples are drawn by the plain network
    one = model.likelihood(z).sample()
    torch.manual_seed(5)
    assert torch.equal(model.model.likelihood(z).sample(), one)


def test_every_sample_has_gaps_of_its_own():
    seen = []
    model, x = WordDropout(painter(), 0.5), pictures()
    model.decoder.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.likelihood(torch.zeros(3, 12, 4)).log_prob(x)
    gaps = (seen[0] == 0.5).reshape(3, 12, 16)
    assert len(torch.cat(list(gaps)).unique(dim=0)) > 30


def test_rate_zero_changes_nothing():
    model, z, x = WordDropout(painter(), 0.0), torch.randn(12, 4), pictures()
    assert torch.equal(model.likelihood(z).log_prob(x), model.model.likelihood(z).log_prob(x))


def test_a_decoder_that_sees_z_alone_is_refused_in_training():
    model = WordDropout(ToyModel(), 0.5)
    with pytest.raises(Unsupported, match="corrupted"):
        model(Prototypes().sample(3)[0])
    assert model.eval()(Prototypes().sample(3)[0]).elbo.shape == (3,)


def test_contract(device, dtype):
    x = pictures().to(device, dtype)
    check_model(lambda: WordDropout(painter(), 0.3), x)
    check_model(lambda: Wrapper(WordDropout(Wrapper(painter()), 0.3, unknown=0.0)), x)
    assert "https://" in WordDropout.sources[0]


class Sentence(Distribution):
    """Sentences (B, T) of a tiny recurrent decoder, padding not scored: a likelihood with a `corrupted` of its own."""

    def __init__(self, net, z, change=None):
        self.net, self.z, self.change = net, z, change
        super().__init__(z.shape[:1], torch.Size([net.length]), validate_args=False)

    def corrupted(self, change):
        return Sentence(self.net, self.z, change)

    def log_prob(self, value):
        past = torch.cat([torch.full_like(value[:, :1], BOS), value[:, :-1]], 1)
        past = past if self.change is None else self.change(past)
        logits = self.net.read(self.net.words(past), self.z)
        scores = F.cross_entropy(logits.transpose(1, 2), value, reduction="none")
        return -(scores * (value != PAD)).sum(1)


class GRUDecoder(nn.Module):
    def __init__(self, latent=4, words=12, length=6):
        super().__init__()
        self.length, self.words = length, nn.Embedding(words, 8)
        self.start, self.gru, self.out = nn.Linear(latent, 16), nn.GRU(8, 16, batch_first=True), nn.Linear(16, words)

    def forward(self, z):
        return Sentence(self, z)

    def read(self, past, z):
        return self.out(self.gru(past, self.start(z).tanh().unsqueeze(0))[0])


class Bag(nn.Module):
    def __init__(self, latent=4, words=12):
        super().__init__()
        self.words = nn.Embedding(words, 2 * latent)

    def forward(self, x):
        return self.words(x).mean(1)


def test_token_models():
    torch.manual_seed(0)
    plain = VAE(Bag(), GRUDecoder(), 4)
    model = WordDropout(plain, 1.0, unknown=UNK, keep=(BOS, PAD))
    x = torch.tensor([[5, 6, 7, 2, PAD, PAD], [8, 9, 10, 11, 5, 2]])
    seen = []
    plain.decoder.words.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    z = torch.randn(1, 2, 4)
    told = model.likelihood(z).log_prob(x)
    assert torch.equal(seen[0], torch.tensor([[BOS, UNK, UNK, UNK, UNK, PAD], [BOS] + [UNK] * 5]))
    exact = model.eval().likelihood(z).log_prob(x)
    assert torch.equal(seen[1], torch.tensor([[BOS, 5, 6, 7, 2, PAD], [BOS, 8, 9, 10, 11, 5]]))
    assert torch.equal(exact, plain.likelihood(z).log_prob(x))
    assert (told != exact).all()
    assert draw(model.train(), x).elbo.isfinite().all()


@cache
def trained(rate, steps=300):
    """Information, KL and negative bound of evaluation over 1,000 images, nats."""
    with torch.random.fork_rng():
        model, x = WordDropout(painter(), rate), pictures(1000, seed=1)
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            loss = -draw(model, x[torch.randint(len(x), (64,))]).elbo.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        codes = Codes.of(model.eval(), x)
        information = float(mutual_information(codes).lower)
        return information, float(codes.kl.sum(1).mean()), -draw(model, x).elbo.mean().item()


def test_information_rises_and_the_bound_pays():
    (plain, _, low), (dropped, kl, high) = trained(0.0), trained(0.5)
    assert dropped > plain + 0.4
    assert dropped < kl
    assert low < high < low + 1.0
