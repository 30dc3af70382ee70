"""Input as people produce it: a right answer with a remark, or one clear sentence; never a raw traceback."""

import copy
import json
import warnings
from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import (
    Bernoulli,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    RelaxedOneHotCategorical,
)
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from uncollapse import VAE, Codes, Objective, diagnose, draw
from uncollapse.errors import BadInput, UncollapseError
from uncollapse.remedies import Anneal
from uncollapse.wrappers import VampPrior, VonMisesFisher


def pictures(n=400):
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(0, 3, (n,), generator=generator)
    x = torch.zeros(n, 1, 8, 8)
    for image, k in zip(x[:, 0], kind.tolist(), strict=True):
        start = int(torch.randint(0, 4, (1,), generator=generator))
        if k == 0:
            image[start + 1 : start + 3] = 1
        elif k == 1:
            image[:, start + 1 : start + 3] = 1
        else:
            image.fill_diagonal_(1)
    return (0.9 * x + 0.05 * torch.rand(x.shape, generator=generator)).clamp(0, 1), kind


class Plain(nn.Module):
    """The variational autoencoder of the PyTorch examples."""

    def __init__(self, norm=False):
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.norm = nn.Sequential(nn.BatchNorm1d(32), nn.Dropout(0.3)) if norm else nn.Identity()
        self.fc21, self.fc22 = nn.Linear(32, 3), nn.Linear(32, 3)
        self.fc3, self.fc4 = nn.Linear(3, 32), nn.Linear(32, 64)

    def encode(self, x):
        h = self.norm(F.relu(self.fc1(x)))
        return self.fc21(h), self.fc22(h)

    def reparameterize(self, mu, logvar):
        return mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, 64))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    bce = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def trained(model, steps=250):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    model.train()
    for _ in range(steps):
        x = X[torch.randint(0, len(X), (64,))]
        if isinstance(model, Plain):
            loss = loss_function(*(out := model(x))[:1], x, *out[1:]) / len(x)
        else:
            loss = -draw(model, x).elbo.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


IMAGES, Y = pictures()
X = IMAGES.flatten(1)
WORDS = [("row", "column", "diagonal")[k] for k in Y]


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return trained(Plain())


def around(outputs=6, **more):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, outputs))
    decoder = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 64))
    return VAE(encoder, decoder, latent=3, **more)


@pytest.fixture(scope="module")
def wrapped():
    return trained(around())


def answer(model, *data, **more):
    """The diagnosis, checked to be plain JSON, and printable."""
    report = diagnose(model, *data, **more)
    json.dumps(report.to_dict(), allow_nan=False)
    assert str(report)
    assert report.to_card()
    return report


def told(report, words):
    return [one for one in [*report.remarks, *report.contradictions] if words in one]


def refusal(kind, *arguments, **more):
    with pytest.raises(kind) as caught:
        diagnose(*arguments, **more)
    text = str(caught.value)
    assert isinstance(caught.value, UncollapseError)
    assert text
    assert "\n" not in text
    return text


# the data


class Examples(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return {"image": X[i], "label": int(Y[i])}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


class Frame:
    """As far like a pandas DataFrame as reading it needs: it iterates over the names of its columns."""

    def __init__(self, values):
        self.values, self.columns = values, list(range(values.shape[1]))

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.columns)

    def to_numpy(self):
        return self.values


Batch = namedtuple("Batch", "x y")
Turned = namedtuple("Turned", "label image")
PIECES = [slice(i, i + 64) for i in range(0, len(X), 64)]
SHAPES = {
    "tensor": lambda: X,
    "float64": lambda: X.double(),
    "half": lambda: X.half(),
    "numpy": lambda: X.double().numpy(),
    "sparse": lambda: X.to_sparse(),
    "with gradient": lambda: X.clone().requires_grad_(),
    "pair": lambda: (X, Y),
    "pair in a list": lambda: [X, Y],
    "pair with words": lambda: (X, WORDS),
    "three": lambda: (X, Y, torch.arange(len(X))),
    "single": lambda: (X,),
    "rows": lambda: list(X),
    "lists": lambda: X.tolist(),
    "examples": lambda: [(x, int(y)) for x, y in zip(X, Y, strict=True)],
    "frame": lambda: Frame(X.numpy()),
    "one dictionary": lambda: {"x": X, "y": Y},
    "one dictionary, inputs alone": lambda: {"x": X},
    "map data set": lambda: TensorDataset(X, Y),
    "data set of dictionaries": Examples,
    "subset": lambda: Subset(TensorDataset(X, Y), range(len(X))),
    "stream": Stream,
    "loader": lambda: DataLoader(TensorDataset(X, Y), 64),
    "loader that shuffles": lambda: DataLoader(TensorDataset(X, Y), 64, shuffle=True),
    "loader of tensors": lambda: DataLoader(X, 64),
    "loader of a stream": lambda: DataLoader(Stream(), 64),
    "batches of one": lambda: DataLoader(TensorDataset(X, Y), 1),
    "batches of all sizes": lambda: [X[:1], X[1:100], X[100:100], X[100:103], X[103:]],
    "generator": lambda: ((X[i], Y[i]) for i in PIECES),
    "dictionaries": lambda: [{"image": X[i], "label": Y[i]} for i in PIECES],
    "dictionaries with words": lambda: [{"image": X[i], "label": WORDS[i]} for i in PIECES],
    "odd names": lambda: [{"left": X[i], "right": Y[i]} for i in PIECES],
    "named tuples": lambda: [Batch(X[i], Y[i]) for i in PIECES],
    "named tuples, labels first": lambda: [Turned(Y[i], X[i]) for i in PIECES],
    "words": lambda: [(X[i], WORDS[i]) for i in PIECES],
    "arrays": lambda: [(X[i].numpy(), Y[i].numpy()) for i in PIECES],
    "one-hot": lambda: [(X[i], F.one_hot(Y[i], 3)) for i in PIECES],
    "indices too": lambda: [(X[i], Y[i], torch.arange(64)) for i in PIECES],
}
UNLABELLED = {
    "tensor", "float64", "half", "numpy", "sparse", "with gradient", "single", "rows", "lists", "frame",
    "one dictionary, inputs alone", "loader of tensors", "batches of all sizes", "odd names",
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_data_in_every_shape_give_the_same_answer(plain, shape):
    report = answer(plain, SHAPES[shape]())
    assert report.evidence.kl.value == pytest.approx(float(Codes.of(View(plain), X).kl.sum(1).mean()), rel=1e-2)
    assert report.verdict.word == "healthy"
    assert bool(report.classes) == (shape not in UNLABELLED)
    if shape not in UNLABELLED:
        assert sorted(row.n for row in report.classes) == sorted(torch.bincount(Y).tolist())


class View(nn.Module):
    """The posterior of `Plain` without any adapter."""

    def __init__(self, native):
        super().__init__()
        self.native = native

    def posterior(self, x):
        mean, log_variance = self.native.encode(x)
        return Independent(Normal(mean, (log_variance / 2).exp()), 1)

    def likelihood(self, z):
        return Independent(Bernoulli(self.native.decode(z)), 1)

    def prior(self):
        return Independent(Normal(torch.zeros(3), torch.ones(3)), 1)


def test_a_memory_map_is_read_without_a_warning(plain, tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answer(plain, np.load(tmp_path / "x.npy", mmap_mode="r")).verdict.word == "healthy"


def test_images_are_flattened_with_a_remark(wrapped, plain):
    assert answer(plain, IMAGES).verdict.word == "healthy"
    assert "encoder does not take" in refusal(UncollapseError, wrapped, IMAGES)


WRONG = {
    "nothing": (lambda: None, "needs data"),
    "text": (lambda: "mnist", "load it first"),
    "number": (lambda: 3, "expected data"),
    "one number": (lambda: torch.tensor(3.0), "at least one dimension"),
    "bytes": (lambda: b"abc", "expected data"),
    "model": (lambda: Plain(), "model comes first"),
    "empty": (lambda: X[:0], "no example"),
    "empty list": (list, "no batch"),
    "empty loader": (lambda: DataLoader(TensorDataset(X[:0]), 8), "no batch"),
    "spent generator": (lambda: iter([]), "only once"),
    "no dimension": (lambda: X[:, 0], "at least one dimension"),
    "labels first": (lambda: [(Y[i], X[i]) for i in PIECES], "inputs before the labels"),
    "batches of two shapes": (lambda: [X[:64], IMAGES[64:128]], "one shape"),
    "ragged": (lambda: [[1.0, 2.0], [3.0]], "one length"),
    "complex": (lambda: X.to(torch.complex64), "real numbers"),
    "meta": (lambda: X.to("meta"), "meta"),
    "objects": (lambda: np.array([object()] * 8), "real numbers"),
    "words": (lambda: np.array([["a"] * 64] * 8), "real numbers"),
    "dictionary without data": (lambda: {"a": 1}, "under one of"),
    "object": (object, "expected data"),
    "width": (lambda: X[:, :63], "no posterior could be read"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_are_no_data_is_said_in_one_sentence(plain, case):
    make, words = WRONG[case]
    assert words in refusal(UncollapseError, plain, make())


def test_a_loader_that_fails_says_after_how_many_batches(wrapped):
    def failing(count):
        yield from (X[:300],) * count
        raise OSError("the disk is gone")

    assert "OSError: the disk is gone" in refusal(UncollapseError, wrapped, failing(1))
    assert "after 3 batches" in refusal(UncollapseError, wrapped, failing(3))


def test_a_data_set_of_pictures_without_a_transform_is_explained(plain):
    class Raw(Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return object(), 1

    assert "transform" in refusal(BadInput, plain, Raw())


# values


def test_bytes_are_divided_by_255_and_it_is_said(plain):
    report = answer(plain, (X * 255).round().to(torch.uint8))
    assert report.verdict.word == "healthy"
    assert told(report, "divided by 255")
    assert told(answer(plain, [(X * 255).round().to(torch.uint8)]), "divided by 255")


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
def test_unscaled_values_are_remarked_on(wrapped, kind):
    assert told(answer(wrapped, (X * 20).round().to(kind)), "divide them by 255")


def test_standardised_data_under_a_bernoulli_likelihood_are_remarked_on(wrapped):
    assert told(answer(wrapped, (X - X.mean()) / X.std()), "between 0 and 1")
    assert not told(answer(wrapped, X), "between 0 and 1")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_inputs_are_set_aside_and_named(plain, wrapped, value):
    x = X.clone()
    x[7, 3] = value
    for model in (plain, wrapped):
        report = answer(model, x, Y)
        assert report.verdict.word == "healthy"
        assert report.causes[0].cause == "non-finite posteriors"
        assert told(report, "first: example 7")


def test_nothing_but_nan_is_undetermined_and_blamed_on_nothing_else(plain):
    report = answer(plain, X * float("nan"))
    assert report.verdict.word == "undetermined"
    assert [one.cause for one in report.causes] == ["non-finite posteriors"]


@pytest.mark.parametrize("x", [torch.full((200, 64), 0.3), torch.zeros(200, 64)], ids=["grey", "black"])
def test_constant_data_are_named(plain, x):
    assert answer(plain, x).causes[0].cause == "duplicated data"


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_a_handful_of_examples_decides_nothing(wrapped, n):
    report = answer(wrapped, X[:n], Y[:n])
    assert report.verdict.word == "undetermined"
    assert report.causes[0].cause == "too few examples"


def test_more_latents_than_examples():
    report = answer(Codes.from_gaussian(torch.zeros(50, 64), torch.ones(50, 64)))
    assert report.verdict.word == "collapsed"
    codes = Codes.from_gaussian(2 * torch.randn(50, 64, generator=torch.Generator().manual_seed(1)), torch.ones(50, 64))
    assert answer(codes).verdict.word in ("healthy", "prior hole")


def test_the_data_are_left_alone(plain):
    x = X.clone()
    answer(plain, x, Y)
    assert torch.equal(x, X)


# labels


@pytest.mark.parametrize(
    "labels",
    [
        Y, Y.tolist(), Y.numpy(), Y.float(), Y[:, None], F.one_hot(Y), F.one_hot(Y).float().numpy(), WORDS,
        np.array(WORDS), tuple(WORDS),
    ],
    ids=["tensor", "list", "array", "floats", "column", "one-hot", "one-hot array", "words", "word array", "tuple"],
)  # fmt: skip
def test_labels_in_every_shape(wrapped, labels):
    report = answer(wrapped, X, labels)
    assert sorted(row.n for row in report.classes) == sorted(torch.bincount(Y).tolist())
    assert {row.label for row in report.classes} in ({"0", "1", "2"}, set(WORDS))


@pytest.mark.parametrize(
    "labels",
    [Y[:5], torch.rand(len(X), 7), "labels", 3, {"a": 1}, [[1], [1, 2]] * 200],
    ids=["short", "many", "text", "number", "dictionary", "ragged"],
)
def test_labels_that_do_not_fit_are_refused(wrapped, labels):
    assert f"each of the {len(X)} examples" in refusal(BadInput, wrapped, X, labels)


def test_labels_beside_a_loader_that_shuffles_are_refused(wrapped):
    assert "shuffle" in refusal(BadInput, wrapped, DataLoader(X, 64, shuffle=True), Y)


def test_labels_beside_a_loader_that_drops_examples_are_refused(wrapped):
    text = refusal(BadInput, wrapped, DataLoader(TensorDataset(X), 64, drop_last=True), Y)
    assert "384 examples, got 400" in text


def test_odd_labels_are_remarked_on(wrapped):
    labels = Y.float()
    labels[3] = float("nan")
    assert told(answer(wrapped, X, labels), "1 of 400 labels are NaN")
    assert told(answer(wrapped, X, torch.rand(len(X))), "too many to be classes")
    assert told(answer(wrapped, X, torch.zeros(len(X))), "no classes to tell apart")
    report = answer(wrapped, [(X, torch.rand(len(X), 7))])
    assert told(report, "not taken as labels")
    assert not report.classes


# the model


class Triple(Plain):
    def encode(self, x):
        mu, logvar = super().encode(x)
        return self.reparameterize(mu, logvar), mu, logvar

    def forward(self, x):
        _, mu, logvar = self.encode(x)
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


class Named(Plain):
    def encode(self, x):
        mu, logvar = super().encode(x)
        return {"mu": mu, "log_var": logvar}


class Whole(Plain):
    def encode(self, x):
        mu, logvar = super().encode(x)
        return Normal(mu, (logvar / 2).exp())


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.module = inner

    def forward(self, x):
        return self.module(x)


def loaded(kind, source):
    model = kind()
    model.load_state_dict(source.state_dict())
    return model


SAME = {
    "z, mean, log-variance": lambda m: loaded(Triple, m),
    "dictionary": lambda m: loaded(Named, m),
    "distribution": lambda m: loaded(Whole, m),
    "half": lambda m: copy.deepcopy(m).half(),
    "bfloat16": lambda m: copy.deepcopy(m).bfloat16(),
    "float64": lambda m: copy.deepcopy(m).double(),
    "no gradients": lambda m: copy.deepcopy(m).requires_grad_(False),
    "compiled": lambda m: torch.compile(m, backend="eager"),
    "DataParallel": nn.DataParallel,
    "wrapper": Around,
    "AveragedModel": AveragedModel,
}


@pytest.mark.parametrize("shape", SAME)
def test_the_same_model_in_every_shape_gives_the_same_answer(plain, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a machine without a GPU is told so by DataParallel
        model = SAME[shape](plain)
    Distribution.set_default_validate_args(True)  # torch.compile switches it off for everybody
    report = answer(model, X)
    expected = float(Codes.of(View(plain), X).kl.sum(1).mean())
    assert report.evidence.kl.value == pytest.approx(expected, rel=3e-2)
    assert report.verdict.word == "healthy"
    assert report.result["model"]["decodes"]
    assert report.evidence.gap.value > 1


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_vae_in_any_precision_is_asked_for_its_likelihood(wrapped, kind):
    report = answer(copy.deepcopy(wrapped).to(kind), X)
    assert report.verdict.word == "healthy"
    assert report.evidence.gap.value == pytest.approx(answer(wrapped, X).evidence.gap.value, rel=0.1)


def test_forward_alone_gives_a_verdict(plain):
    class Only(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = plain

        def forward(self, x):
            return self.inner(x)

    report = answer(Only(), X)
    assert report.verdict.word == "healthy"
    assert told(report, "forward(x)")


def test_training_mode_is_remarked_on_and_left(plain):
    model = trained(Plain(norm=True)).train()
    before = copy.deepcopy(model.state_dict())
    report = answer(model, X)
    assert told(report, "training mode")
    assert report.verdict.word == "healthy"
    assert model.training
    assert all(one.training for one in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_untrained_model_is_named():
    torch.manual_seed(3)
    report = answer(Plain(), X)
    assert report.verdict.word == "collapsed"
    assert report.causes[0].cause == "untrained model"


NO_MODEL = {
    "none": (lambda: None, "got None"),
    "text": (lambda: "model.pt", "load its weights"),
    "state dict": (lambda: Plain().state_dict(), "load_state_dict"),
    "class": (lambda: Plain, "call it to make one"),
    "tensor": (lambda: X, "model comes first"),
    "codes": (lambda: Codes.from_gaussian(X[:, :2], X[:, 2:4] + 1), "codes come alone"),
    "meta": (lambda: Plain().to("meta"), "meta"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), "lazy"),
    "object": (object, "no posterior could be read"),
    "autoencoder": (lambda: Deterministic(), "without a posterior"),
    "one layer": (lambda: nn.Linear(64, 8), "no posterior could be read"),
    "condition": (lambda: Conditioned(), "no posterior could be read"),
    "in place": (lambda: Destructive(), "writes into its input"),
    "no mean": (lambda: around(3, read_q=relaxed), "has none"),
    "fails": (lambda: around(read_q=failing), "boom"),
    "single numbers": (lambda: View1(Plain()), "Independent"),
}


class Deterministic(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 3), nn.Linear(3, 64)


class Conditioned(Plain):
    def encode(self, x, condition):
        return super().encode(x)

    def forward(self, x, condition):
        return super().forward(x)


class Destructive(Plain):
    def encode(self, x):
        return super().encode(x.mul_(0.5))


class View1(View):
    def posterior(self, x):
        mean, log_variance = self.native.encode(x)
        return Normal(mean, (log_variance / 2).exp())


def relaxed(raw):
    return RelaxedOneHotCategorical(torch.tensor(0.5), logits=raw)


def failing(raw):
    raise KeyError("boom")


@pytest.mark.parametrize("case", NO_MODEL)
def test_what_is_no_model_is_said_in_one_sentence(case):
    make, words = NO_MODEL[case]
    assert words in refusal(UncollapseError, make(), X.clone())


def test_an_encoder_that_fails_later_says_where(wrapped):
    class Fussy(nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        def forward(self, x):
            assert not bool((x == 0.5).all(1).any()), "no grey picture"
            return self.encoder(x)

    x = X.clone()
    x[300] = 0.5
    model = VAE(Fussy(wrapped.encoder), wrapped.decoder, latent=3)
    text = refusal(UncollapseError, model, x, batch_size=100)
    assert "at examples 300 to 399" in text
    assert "no grey picture" in text


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_nan_weights_are_named(plain, part):
    model = copy.deepcopy(plain)
    (model.fc21 if part == "encoder" else model.fc4).weight.data.fill_(float("nan"))
    report = answer(model, X)
    if part == "encoder":
        assert report.causes[0].cause == "non-finite posteriors"
    else:
        assert told(report, "log p(x|z) is NaN or infinite for 400 of 400")
        assert report.evidence.gap is None


@pytest.mark.parametrize(("value", "every"), [(-1000.0, True), (1000.0, True), (-1000.0, False)])
def test_a_scale_of_zero_or_infinity_is_no_posterior(plain, value, every):
    model = copy.deepcopy(plain)
    rows = slice(None) if every else slice(0, 1)
    model.fc22.weight.data[rows] = 0
    model.fc22.bias.data[rows] = value
    report = answer(model, X)
    assert report.verdict.word == "undetermined"
    assert "width zero" in report.causes[0].sentence


def test_a_huge_kl_is_not_written_out(plain):
    model = copy.deepcopy(plain)
    model.fc22.weight.data.zero_()
    model.fc22.bias.data.fill_(80.0)
    report = answer(model, X)
    assert report.verdict.word == "off-prior collapse"
    assert "e+3" in report.sentence


# posteriors and priors of other families


def full(raw):
    lower = torch.tril(raw[:, 3:].reshape(-1, 3, 3), -1)
    spread = F.softplus(raw[:, 3:].reshape(-1, 3, 3).diagonal(0, 1, 2)) + 1e-3
    return MultivariateNormal(raw[:, :3], scale_tril=lower + torch.diag_embed(spread))


def low_rank(raw):
    return LowRankMultivariateNormal(raw[:, :3], raw[:, 3:6, None], F.softplus(raw[:, 6:]) + 1e-3)


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.place, self.width = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))

    def forward(self):
        return Independent(Normal(self.place, self.width.exp()), 1)


FAMILIES = {
    "full covariance": lambda: around(12, read_q=full),
    "low rank": lambda: around(9, read_q=low_rank),
    "von Mises-Fisher": lambda: VonMisesFisher(around(), kappa=20.0),
    "learned prior": lambda: around(prior=Learned()),
    "VampPrior": lambda: VampPrior(around(), (64,), 20),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_are_judged(family):
    report = answer(trained(FAMILIES[family](), 150), X, Y)
    assert report.verdict.word == "healthy"
    assert len(report.classes) == 3


def test_binary_codes_are_judged():
    def read(raw):
        return Independent(Bernoulli(logits=raw[:, :3]), 1)

    model = around(read_q=read, prior=Independent(Bernoulli(torch.full((3,), 0.5)), 1))
    assert answer(model, X).verdict.word == "collapsed"


def test_one_latent():
    model = VAE(nn.Linear(64, 2), nn.Linear(1, 64), latent=1)
    assert len(answer(trained(model, 100), X).latents) == 1


# decoders


class Said(nn.Module):
    def __init__(self, said, width=64):
        super().__init__()
        self.net, self.said = nn.Linear(3, width), said

    def forward(self, z):
        return self.said(self.net(z))


def test_a_decoder_that_returns_a_distribution_is_asked():
    model = around()
    model.decoder = Said(lambda h: Independent(Normal(h, torch.ones_like(h)), 1))
    assert answer(model, X).evidence.gap is not None


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        (Said(lambda h: (h, h)), "read_x="),
        (Said(lambda h: Normal(h, torch.ones_like(h))), "Independent"),
        (Said(lambda h: h, 63), "shape"),
        (Said(lambda h: {}["nothing"]), "KeyError"),
    ],
    ids=["pair", "single numbers", "width", "fails"],
)
def test_a_decoder_that_cannot_be_asked_leaves_the_verdict(decoder, words):
    model = around()
    model.decoder = decoder
    report = answer(model, X)
    assert report.verdict.word == "collapsed"
    assert words in told(report, "decoder could not be asked")[0]


def test_a_test_that_meets_an_unusual_error_is_untested():
    class Stubborn(Plain):
        def decode(self, z):
            assert not torch.is_grad_enabled(), "no gradients, please"
            return super().decode(z)

    report = answer(Stubborn(), X)
    assert report.verdict.word == "collapsed"
    assert any("no gradients, please" in one.sentence for one in report.tests if one.state == "untested")


# the training


def own_loss(model, x):
    return loss_function(*(out := model(x))[:1], x, *out[1:]) / len(x)


def stepping(model, x):
    model.train()
    loss = own_loss(model, x)
    loss.backward()
    with torch.no_grad():
        model.fc1.weight.add_(1.0)
    return loss.detach()


LOSSES = {
    "classic": loss_function,
    "own": own_loss,
    "per example": lambda x_hat, x, m, v: (x_hat - x).square().sum(1) - 0.5 * (1 + v - m**2 - v.exp()).sum(1),
    "with an option": lambda x_hat, x, mu, logvar, beta=1.0: loss_function(x_hat, x, mu, logvar),
    "with its parts": lambda x_hat, x, mu, logvar: (loss_function(x_hat, x, mu, logvar), {"kl": 1}),
    "named": lambda x_hat, x, mu, logvar: {"loss": loss_function(x_hat, x, mu, logvar)},
}
BAD_LOSSES = {
    "fails": lambda model, x: 1 / 0,
    "three arguments": lambda a, b, c: a.sum(),
    "returns nothing": lambda x_hat, x, mu, logvar: None,
    "NaN": lambda x_hat, x, mu, logvar: loss_function(x_hat, x, mu, logvar) * float("nan"),
    "detached": lambda x_hat, x, mu, logvar: loss_function(x_hat, x, mu, logvar).detach(),
    "turned round": lambda x, x_hat, mu, logvar: F.binary_cross_entropy(x_hat, x.clamp(0, 1), reduction="sum"),
    "steps": stepping,
    "criterion": nn.MSELoss(),
}


def weight_of(report):
    return next(one for one in report.tests if one.cause == "KL weight too large")


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_every_kind_are_read(plain, name):
    assert "A nat of KL costs" in weight_of(answer(plain, X, loss=LOSSES[name])).sentence


@pytest.mark.parametrize("name", BAD_LOSSES)
def test_losses_that_cannot_be_read_leave_the_verdict(plain, name):
    report = answer(plain, X, loss=BAD_LOSSES[name])
    assert report.verdict.word == "healthy"
    assert weight_of(report).state == "untested"


@pytest.mark.parametrize("loss", [own_loss, stepping], ids=["own", "steps"])
def test_a_loss_cannot_change_the_model(loss):
    model = trained(Plain(norm=True), 60)
    model.zero_grad(set_to_none=True)
    model.fc4.bias.grad = torch.ones(64)
    before = copy.deepcopy(model.state_dict())

    def training(model, x):
        model.train()
        return loss(model, x)

    answer(model, X, loss=training)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(one.training for one in model.modules())
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["fc4.bias"]
    assert torch.equal(model.fc4.bias.grad, torch.ones(64))


def test_an_optimiser_of_another_model_says_nothing(plain):
    report = answer(plain, X, optimizer=torch.optim.Adam(Plain().parameters()))
    test = next(one for one in report.tests if one.cause == "encoder outside the optimiser")
    assert test.state == "untested"
    assert "another" in test.sentence


def test_an_objective_is_asked_for_its_schedule(plain):
    report = answer(plain, X, objective=Objective([Anneal(1000)]))
    assert "schedule not finished" in {one.cause for one in report.causes}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"budget": "fast"}, "quick"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "many"}, "batch_size"),
        ({"seed": None}, "seed"),
        ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": "4"}, "weight"),
        ({"history": [1, 2]}, "history"),
        ({"history": {"beta": "abc"}}, "history"),
        ({"loss": "mse"}, "loss"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"optimizer": [1]}, "optimizer"),
        ({"objective": "elbo"}, "objective"),
        ({"likelihood": "bernoulli"}, "likelihood"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(wrapped, given, word):
    assert word in refusal(BadInput, wrapped, X, **given)
