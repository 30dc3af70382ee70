import math

import pytest
import torch

from uncollapse.codes import Codes
from uncollapse.diagnosis.aggregate_causes import clusters, components, hole, inflation, landing, local
from uncollapse.diagnosis.classes import by_class, empty_inputs
from uncollapse.diagnosis.gathering import gather
from uncollapse.diagnosis.judging import borderline, contradictions, sentence, settled
from uncollapse.diagnosis.latents import by_latent
from uncollapse.testing.metric import cluster_codes, collapsed_codes, constant_codes, gaussian_codes


def blown(codes, factor):
    return Codes.from_gaussian(codes.mean * factor, codes.scale * factor, codes.labels)


def test_codes_of_the_prior_are_neither_inflated_nor_clustered_nor_beside_it(asked):
    codes = gaussian_codes(3.0)
    for test in (inflation, clusters, hole, local):
        assert asked(test, codes).state == "clear"


def test_inflation_is_measured_in_scales_of_the_prior(asked):
    found = asked(inflation, blown(gaussian_codes(3.0), 30.0))
    assert found.state == "found"
    assert found.numbers["factor"] == pytest.approx(30, rel=0.05)


def test_ten_tight_clusters_carry_log_ten(asked):
    found = asked(clusters, cluster_codes(10, each=100))
    assert found.state == "found"
    assert found.numbers["clusters"] == 10
    assert found.numbers["entropy"] == pytest.approx(math.log(10), abs=0.02)
    assert found.numbers["kl"] > 20


def test_overlapping_clusters_are_not_tight():
    mean = torch.randn(400, 2) + 3 * torch.eye(2)[torch.arange(400) % 2]
    sizes, between = components(mean.double(), torch.full_like(mean, 0.5).double())
    assert len(sizes) > 80 or between >= 0.01


def ring(radius=3.0, n=1000):
    angle = torch.linspace(0, 2 * math.pi, n)
    return Codes.from_gaussian(radius * torch.stack([angle.cos(), angle.sin()], 1), torch.full((n, 2), 0.05))


def test_samples_of_the_prior_land_inside_the_ring(asked, subject_of):
    far, ratio = landing(subject_of(ring()))
    assert far > 0.8  # 99 % of a two-dimensional normal lies within 3.03 of its middle, and little of it near 3
    assert ratio > 10
    far, ratio = landing(subject_of(gaussian_codes(2.0, latent=2)))
    assert far < 0.05
    assert ratio == pytest.approx(1, abs=0.15)


def labelled(seed=0):
    """Ten classes of two-dimensional codes, of which the third sits on the prior."""
    codes = gaussian_codes(4.0, n=1000, latent=2, seed=seed)
    labels = torch.arange(1000) % 10
    mean, scale = codes.mean.clone(), codes.scale.clone()
    mean[labels == 3], scale[labels == 3] = 0.0, 1.0
    return Codes.from_gaussian(mean, scale, labels)


def test_a_class_that_sits_on_the_prior_is_found(asked, subject_of):
    found = asked(local, labelled())
    assert (found.state, found.numbers["empty"]) == ("found", 1)
    assert "3" in found.sentence
    subject = subject_of(labelled())
    evidence, _ = gather(subject)
    words = [row.word for row in by_class(subject, evidence)]
    assert words == ["carries"] * 3 + ["collapsed"] + ["carries"] * 6
    assert settled(subject, evidence, found).word == "partial collapse"


def test_empty_inputs_are_found_without_labels(asked, subject_of):
    codes = labelled()
    bare = Codes(codes.mean, codes.scale, codes.sample, codes.kl)
    assert empty_inputs(subject_of(bare)) == pytest.approx(0.1)
    assert asked(local, bare).state == "found"


def test_clusters_that_are_classes_know_the_label_only(subject_of):
    subject = subject_of(cluster_codes(5, each=100))
    evidence, _ = gather(subject)
    rows = by_class(subject, evidence)
    assert [row.word for row in rows] == ["label only"] * 5
    assert rows[0].information == pytest.approx(math.log(5), abs=0.05)


def test_latents_get_their_own_words(subject_of):
    one = gaussian_codes(2.0, latent=1)
    n = len(one)
    mean = torch.cat([one.mean, torch.zeros(n, 1), torch.full((n, 1), 4.0)], 1)
    scale = torch.cat([one.scale, torch.ones(n, 2)], 1)
    subject = subject_of(Codes.from_gaussian(mean, scale))
    evidence, _ = gather(subject)
    rows = by_latent(subject, evidence)
    assert [row.word for row in rows] == ["carries", "dead", "off-prior"]
    assert rows[2].mismatch == pytest.approx(8.0, abs=0.01)
    assert rows[0].information == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(
    ("codes", "word", "said"),
    [
        (collapsed_codes(), "collapsed", "has collapsed"),
        (constant_codes(), "off-prior collapse", "64.0 nats"),
        (gaussian_codes(3.0), "healthy", "has not collapsed"),
    ],
    ids=["collapsed", "constant", "healthy"],
)
def test_the_verdict_in_a_sentence(subject_of, codes, word, said):
    subject = subject_of(codes)
    evidence, _ = gather(subject)
    assert evidence.verdict.word == word
    assert said in sentence(subject, evidence, evidence.verdict)


def test_contradictions_of_a_constant_encoder(subject_of):
    subject = subject_of(constant_codes(latent=32))
    evidence, _ = gather(subject)
    said = " ".join(contradictions(subject, evidence))
    assert "32 of 32 units look active on samples" in said
    assert "all of it is distance from the prior" in said
    healthy = subject_of(gaussian_codes(3.0))
    evidence, _ = gather(healthy)
    assert contradictions(healthy, evidence) == []


def test_what_is_close_to_a_limit_is_called_borderline(subject_of):
    subject = subject_of(gaussian_codes(0.1, n=300))
    evidence, _ = gather(subject)
    assert "limit" in str(borderline(subject, evidence))
    subject = subject_of(gaussian_codes(6.0))
    evidence, _ = gather(subject)
    assert borderline(subject, evidence) is None


def test_the_middle_of_a_model_that_says_little_of_every_input_is_not_empty(asked):
    """Information 0.24 nats in one latent: the KL of an input at the centre is 0.05, and no input is given up."""
    g = torch.Generator().manual_seed(0)
    mean = 0.38**0.5 * torch.randn(2000, 1, generator=g)
    found = asked(local, Codes.from_gaussian(mean, torch.full((2000, 1), 0.62**0.5)))
    assert (found.state, found.numbers["share"]) == ("clear", 0)


def test_clusters_are_seen_beside_many_empty_latents(asked):
    tight = cluster_codes(10, each=100)
    empty = torch.zeros(1000, 400)
    wide = Codes.from_gaussian(torch.cat([tight.mean, empty], 1), torch.cat([tight.scale, empty + 1], 1))
    found = asked(clusters, wide)
    assert (found.state, found.numbers["clusters"]) == ("found", 10)
