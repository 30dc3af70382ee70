import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from uncollapse import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics import knn_probe, linear_probe
from uncollapse.testing.metric import collapsed_codes


def labelled(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    mean = rng.normal(size=(n, 4)) + 0.9 * np.eye(3, 4)[labels]
    mean[:, 3] *= 30
    return Codes.from_gaussian(mean, np.ones((n, 4)), labels, seed)


TRAIN, TEST = labelled(400, 0), labelled(300, 1)


def tables(codes):
    return codes.mean.double().numpy(), codes.labels.numpy()


def test_linear_equals_scikit_learn():
    found = linear_probe(TRAIN, TEST)
    plain = LogisticRegression(max_iter=1000).fit(*tables(TRAIN)).score(*tables(TEST))
    assert found == pytest.approx(plain, abs=1e-12)
    assert found.se == pytest.approx((plain * (1 - plain) / 300) ** 0.5)
    assert (found.n, found.unit, found.flags) == (300, "share", ())


def test_standardised_equals_scikit_learn():
    (a, ya), (b, yb) = tables(TRAIN), tables(TEST)
    scaler = StandardScaler().fit(a)
    plain = LogisticRegression(max_iter=1000).fit(scaler.transform(a), ya).score(scaler.transform(b), yb)
    assert linear_probe(TRAIN, TEST, standardise=True) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("k", [1, 5, 200])
def test_knn_equals_scikit_learn(k):
    plain = KNeighborsClassifier(k).fit(*tables(TRAIN)).score(*tables(TEST))
    assert knn_probe(TRAIN, TEST, k=k) == pytest.approx(plain, abs=1e-12)


def test_collapsed_codes_are_worth_a_guess():
    labels = torch.arange(300) % 3
    none = collapsed_codes(300)
    codes = Codes(none.mean, none.scale, none.sample, none.kl, labels)
    assert linear_probe(codes, codes) == pytest.approx(1 / 3)


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_bad_codes(probe):
    bare = Codes(TEST.mean, TEST.scale, TEST.sample, TEST.kl)
    with pytest.raises(BadInput, match="needs labels"):
        probe(TRAIN, bare)
    with pytest.raises(BadInput, match="needs labels"):
        probe(bare, TEST)
    one = Codes(TEST.mean, TEST.scale, TEST.sample, TEST.kl, torch.zeros(300))
    with pytest.raises(BadInput, match="two classes"):
        probe(one, TEST)
    narrow = Codes(TEST.mean[:, :2], TEST.scale[:, :2], TEST.sample[:, :2], TEST.kl[:, :2], TEST.labels)
    with pytest.raises(BadInput, match="one model"):
        probe(TRAIN, narrow)


@pytest.mark.parametrize("k", [0, 401, 1.5])
def test_bad_k(k):
    with pytest.raises(BadInput, match="training codes"):
        knn_probe(TRAIN, TEST, k=k)


def test_a_probe_that_did_not_finish_says_so(monkeypatch):
    original = LogisticRegression.fit

    def hasty(self, *args):
        self.max_iter = 1
        return original(self, *args)

    monkeypatch.setattr(LogisticRegression, "fit", hasty)
    assert linear_probe(TRAIN, TEST).flags == ("not converged after 1,000 steps",)


def test_labels_that_are_no_classes_are_refused():
    codes = Codes.from_gaussian(torch.randn(20, 2), torch.ones(20, 2), torch.rand(20))
    with pytest.raises(BadInput, match="whole numbers as labels"):
        linear_probe(codes, codes)
