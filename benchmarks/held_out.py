"""Specimens that nobody looked at while the rules were written. The same interface as `uncollapse.testing.gallery`."""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Distribution, Independent, Normal, constraints

from uncollapse.distributions import FixedGaussian
from uncollapse.draw import VAE
from uncollapse.nets import MLPDecoder, MLPEncoder
from uncollapse.objective import Objective
from uncollapse.remedies import Beta
from uncollapse.testing.gallery.specimen import Specimen, sown
from uncollapse.testing.gallery.training import DIGIT, images, negative_elbo, perceptrons, train
from uncollapse.testing.linear import LinearVAE
from uncollapse.wrappers import VampPrior

HEALTHY = frozenset({"healthy"})
NOTHING = frozenset({None})
COLLAPSED = frozenset({"collapsed"})
HOLE = frozenset({"prior hole"})


class Sentences(Distribution):
    """Sequences of 4 letters under a recurrent network that is told the letters before, (B,) x (T,)."""

    arg_constraints = {}  # noqa: RUF012  (the base class declares it so)
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(self, decoder, z, length):
        self.decoder, self.z = decoder, z
        super().__init__(z.shape[:1], torch.Size((length,)), validate_args=False)

    def log_prob(self, value):
        letters = value.long().expand(len(self.z), -1)
        logits = self.decoder.logits(letters, self.z)
        return -F.cross_entropy(logits.transpose(1, 2), letters, reduction="none").sum(1)


class Recurrent(nn.Module):
    def __init__(self, latent, length, hidden=24):
        super().__init__()
        self.length = length
        self.letters, self.first = nn.Embedding(5, 8), nn.Linear(latent, hidden)
        self.cells, self.head = nn.GRU(8, hidden, batch_first=True), nn.Linear(hidden, 4)

    def logits(self, letters, z):
        before = torch.cat([torch.full_like(letters[:, :1], 4), letters[:, :-1]], 1)
        return self.head(self.cells(self.letters(before), torch.tanh(self.first(z))[None])[0])

    def forward(self, z):
        return Sentences(self, z, self.length)


class Read(nn.Module):
    """Letters to numbers."""

    def __init__(self, latent, length):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4 * length, 48), nn.ReLU(), nn.Linear(48, 2 * latent))

    def forward(self, x):
        return self.net(F.one_hot(x.long(), 4).flatten(1).to(self.net[0].weight.dtype))


def sentences(seed: int) -> Specimen:
    length = 10
    table = torch.softmax(3 * torch.randn(4, 4), 1)
    letters = [torch.randint(4, (2000,))]
    for _ in range(length - 1):
        letters.append(torch.multinomial(table[letters[-1]], 1)[:, 0])
    x = torch.stack(letters, 1).float()
    model = VAE(Read(4, length), Recurrent(4, length), latent=4)
    train(model, x, steps=150, rate=1e-2, parameters=model.decoder.parameters())
    train(model, x, steps=150, rate=1e-3)
    story = "Letters that depend on the letter before, read by a GRU that is told it: the code has nothing to add."
    causes = frozenset({"autoregressive decoder"})
    return Specimen("sentences", model, x, None, COLLAPSED, causes, story, {"loss": negative_elbo})


class Halves(nn.Module):
    """A convolution whose second half of channels never fires, and a head for each half."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 16, 4, 2, 1)
        self.left, self.right = nn.Linear(128, 4), nn.Linear(128, 4)
        nn.init.constant_(self.body.bias[8:], -40.0)

    def forward(self, x):
        h = self.body(x).relu()
        (m1, v1), (m2, v2) = self.left(h[:, :8].flatten(1)).chunk(2, 1), self.right(h[:, 8:].flatten(1)).chunk(2, 1)
        return torch.cat([m1, m2], 1), torch.cat([v1, v2], 1)


def dead_channels(seed: int) -> Specimen:
    x, y = images(seed, "none")
    model = VAE(Halves(), MLPDecoder(DIGIT, 4, (64,)), latent=4, read_x=FixedGaussian(0.25))
    optimizer = train(model, x, steps=500)
    story = "Latents 2 and 3 are read from convolution channels that never fire, and sit on the prior; the others live."
    word, causes = frozenset({"partial collapse"}), frozenset({"dead encoder head"})
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("dead-channels", model, x, y, word, causes, story, arguments)


class Compass(nn.Module):
    """The angle of a bump on a circle of pixels, as a point on a ring."""

    def __init__(self, pixels, radius, scale):
        super().__init__()
        angles = torch.arange(pixels) * 2 * math.pi / pixels
        self.waves = nn.Parameter(torch.stack([angles.cos(), angles.sin()], 1))
        self.radius, self.log_scale = radius, nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, x):
        mean = self.radius * F.normalize(x @ self.waves, dim=1)
        return mean, (2 * self.log_scale).expand_as(mean)


class Bump(nn.Module):
    def __init__(self, pixels):
        super().__init__()
        angles = torch.arange(pixels) * 2 * math.pi / pixels
        self.waves = nn.Parameter(torch.stack([angles.cos(), angles.sin()]))
        self.gain, self.bias = nn.Parameter(torch.tensor(6.0)), nn.Parameter(torch.tensor(-3.0))

    def forward(self, z):
        return self.gain * F.normalize(z, dim=1) @ self.waves + self.bias


def ring(seed: int) -> Specimen:
    angle = 2 * math.pi * torch.rand(2000, 1)
    at = torch.arange(48) * 2 * math.pi / 48
    x = (torch.rand(2000, 48) < torch.sigmoid(6 * (at - angle).cos() - 3)).float()
    model = VAE(Compass(48, 5.0, 0.2), Bump(48), latent=2).eval()
    story = "Angles coded on a ring of radius 5: the prior's mass lies inside it, where no code is."
    causes = frozenset({"prior hole", "scale inflation"})
    return Specimen("ring", model, x, None, HOLE, causes, story)


class Logarithm(nn.Module):
    """Adds the logarithm of the ink above a level: NaN below it."""

    def __init__(self, level, encoder):
        super().__init__()
        self.level, self.encoder = level, encoder

    def forward(self, x):
        ink = (x.flatten(1).sum(1) - self.level).log()
        mean, log_variance = self.encoder(x).chunk(2, 1)
        return mean, log_variance + 0 * ink[:, None]


def half_nan(seed: int) -> Specimen:
    x, y = images(seed, "none")
    model = perceptrons(latent=3, read_x=FixedGaussian(0.25))
    train(model, x)
    level = float(x.flatten(1).sum(1).median()) + 0.01
    model.encoder = Logarithm(level, model.encoder).eval()
    story = (
        "The log-variance takes the logarithm of a negative number for half of the inputs: NaN there, and only there."
    )
    return Specimen("half-nan", model, x, y, HEALTHY, frozenset({"non-finite posteriors"}), story)


def floored(raw):
    """Mean and log-variance, the latter clamped from below where somebody meant from above."""
    mean, log_variance = raw.chunk(2, 1)
    return Independent(Normal(mean, (0.5 * log_variance.clamp(min=0.5)).exp(), validate_args=False), 1)


def floored_variance(seed: int) -> Specimen:
    x, y = images(seed, "none")
    x = x.flatten(1)
    model = VAE(MLPEncoder((64,), 6, (64,)), MLPDecoder((128,), 6, (64,)), latent=6, read_x=floored)
    train(model, x)
    story = "The decoder learns its variance but is clamped above e^0.5 = 1.65; the data's largest eigenvalue is 0.7."
    causes = frozenset({"decoder noise too large"})
    return Specimen("floored-variance", model, x, y, COLLAPSED, causes, story, {"loss": negative_elbo})


def correlated(seed: int) -> Specimen:
    weight = torch.randn(20, 6)
    weight = weight + 0.7 * weight.roll(1, 1)
    model = LinearVAE(weight, noise=1.0, posterior="exact").eval()
    x = model.simulate(2500, seed)
    story = "A linear model with correlated directions and its exact posterior of full covariance: nothing is wrong."
    return Specimen("correlated", model, x, None, HEALTHY, NOTHING, story)


def one_latent(seed: int) -> Specimen:
    angle = math.pi * torch.rand(1500, 1)
    x = torch.cat([3 * angle.cos(), 3 * angle.sin(), angle, 1 - angle], 1) + 0.3 * torch.randn(1500, 4)
    encoder, decoder = MLPEncoder((4,), 1, (32,), "tanh"), MLPDecoder((4,), 1, (32,), "tanh")
    model = VAE(encoder, decoder, latent=1, read_x=FixedGaussian(0.3))
    optimizer = train(model, x, steps=600, rate=5e-3)
    story = "A curve in four dimensions and one latent that follows it: nothing is wrong."
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("one-latent", model, x, None, HEALTHY, NOTHING, story, arguments)


def lone_norm(seed: int) -> Specimen:
    x, y = images(seed)
    head = nn.Linear(1, 12)
    with torch.no_grad():
        head.bias.copy_(torch.cat([2.5 * torch.randn(6).sign(), torch.full((6,), -3.0)]))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1), nn.LayerNorm(1), head)
    model = VAE(encoder, MLPDecoder(DIGIT, 6, (64,)), latent=6)
    train(model, x, lambda model, x: -model(x).log_px.mean(), steps=300, rate=1e-3)
    story = "Layer normalisation over one feature returns 0 for every input; the bias behind it is far from the prior."
    causes = frozenset({"dead encoder head"})
    return Specimen("lone-norm", model, x, y, frozenset({"off-prior collapse"}), causes, story)


def random_projection(seed: int) -> Specimen:
    x, y = images(seed, "none")
    flat = x.flatten(1)
    model = VAE(nn.Sequential(nn.Flatten(), nn.Linear(64, 6)), MLPDecoder(DIGIT, 3, (64,)), latent=3,
                read_x=FixedGaussian(0.25))  # fmt: skip
    directions = torch.randn(64, 3) / 8
    projected = flat @ directions
    layer = model.encoder[1]
    with torch.no_grad():
        layer.weight[:3] = (0.95 * directions / projected.std(0)).T
        layer.bias[:3] = -0.95 * projected.mean(0) / projected.std(0)
        layer.weight[3:].zero_()
        layer.bias[3:] = 2 * math.log(0.3)
    optimizer = train(model, x, parameters=model.decoder.parameters())
    story = "A random projection as encoder that the optimiser never held; the decoder made the best of it."
    causes = frozenset({"encoder outside the optimiser"})
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("random-projection", model, x, y, HEALTHY, causes, story, arguments)


class Dots(nn.Module):
    def __init__(self, patterns, centres, scale):
        super().__init__()
        self.patterns, self.centres = nn.Parameter(patterns.clone()), nn.Parameter(centres.clone())
        self.scale = scale

    def forward(self, x):
        mean = self.centres[torch.cdist(x, self.patterns).argmin(1)]
        return mean, torch.full_like(mean, 2 * math.log(self.scale))


def thirty_dots(seed: int) -> Specimen:
    patterns = (torch.rand(30, 60) < 0.5).float()
    y = torch.randint(30, (3000,))
    x = (patterns[y] - (torch.rand(3000, 60) < 0.03).float()).abs()
    corners = torch.randperm(256)[:30]
    centres = 2.0 * ((corners[:, None] >> torch.arange(8)) % 2) - 1
    decoder = MLPDecoder((60,), 8, (64,))
    model = VAE(Dots(patterns, centres, 0.01), decoder, latent=8)
    train(model, x, steps=400, rate=5e-3, parameters=decoder.parameters())
    story = "Thirty patterns as thirty corners of a cube with width 0.01: 37 nats of KL, log 30 of information."
    return Specimen("thirty-dots", model, x, y, HOLE, frozenset({"tight clusters"}), story)


def heavy_objective(seed: int) -> Specimen:
    x, y = images(seed, "none")
    model = VAE(MLPEncoder(DIGIT, 10, (64,)), MLPDecoder(DIGIT, 10, (64,)), latent=10, read_x=FixedGaussian(0.3))
    objective = Objective([Beta(60.0)])
    train(model, x, lambda model, x: sum(objective.of(model, x).values()).mean(), steps=500)
    story = (
        "Beta 60 with a decoder variance of 0.09: beta times variance is 5.4, the largest eigenvalue of the data 0.7."
    )
    causes = frozenset({"KL weight too large"})
    return Specimen("heavy-objective", model, x, y, COLLAPSED, causes, story, {"objective": objective})


def linear_lag(seed: int) -> Specimen:
    basis = torch.linalg.qr(torch.randn(24, 5)).Q * torch.linspace(2.0, 4.0, 5).sqrt()
    x = torch.randn(1500, 5) @ basis.T + 0.5 * torch.randn(1500, 24)
    encoder, decoder = MLPEncoder((24,), 5, ()), MLPDecoder((24,), 5, ())
    with torch.no_grad():
        gain = torch.linalg.inv(torch.eye(5) + basis.T @ basis / 0.25) @ basis.T / 0.25
        encoder.head.weight.copy_(torch.cat([0.03 * gain, 0.001 * torch.randn(5, 24)]))
        encoder.head.bias.zero_()
        decoder.head.weight.copy_(basis)
        decoder.head.bias.zero_()
    model = VAE(encoder, decoder, latent=5, read_x=FixedGaussian(0.5)).eval()
    story = "The true linear decoder behind an encoder with 3 % of the gain it should have, at the prior's scale."
    return Specimen("linear-lag", model, x, None, COLLAPSED, frozenset({"inference lag"}), story,
                    {"loss": negative_elbo})  # fmt: skip


def vamp(seed: int) -> Specimen:
    x, y = images(seed)
    model = VampPrior(perceptrons(latent=3), DIGIT, pseudo_inputs=20, examples=x)
    optimizer = train(model, x, steps=450)
    story = "A VampPrior of 20 pseudo-inputs, trained with the model: the prior is where the codes are."
    arguments = {"loss": negative_elbo, "optimizer": optimizer}
    return Specimen("vamp", model, x, y, HEALTHY, NOTHING, story, arguments)


def few_originals(seed: int) -> Specimen:
    x, y = images(seed, "none")
    rows = torch.randperm(len(x))[:24].repeat(50)
    model = perceptrons(latent=2, read_x=FixedGaussian(0.25))
    train(model, x[rows], steps=600)
    story = "24 images, fifty copies each: whatever the code holds, it is at most log 24."
    word = frozenset({"healthy", "undetermined"})
    return Specimen("few-originals", model, x[rows], y[rows], word, frozenset({"duplicated data"}), story)


MAKERS: tuple[Callable[[int], Specimen], ...] = (
    sentences, dead_channels, ring, half_nan, floored_variance, correlated, one_latent, lone_norm, random_projection,
    thirty_dots, heavy_objective, linear_lag, vamp, few_originals,
)  # fmt: skip
BY_NAME = {maker.__name__.replace("_", "-"): maker for maker in MAKERS}
HELD_OUT = tuple(BY_NAME)


def names() -> tuple[str, ...]:
    return HELD_OUT


def specimen(name: str, seed: int = 0) -> Specimen:
    with sown(name, seed):
        return BY_NAME[name](seed)


def gallery(seed: int = 0) -> Iterator[Specimen]:
    for name in HELD_OUT:
        yield specimen(name, seed)
