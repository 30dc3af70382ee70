import math

import pytest
import torch
from torch import nn
from torch.distributions import Dirichlet, Independent, Normal
from torch.utils.data import DataLoader, TensorDataset

from uncollapse import VAE, Codes
from uncollapse.errors import BadInput, UncollapseError, Unsupported
from uncollapse.metrics import kl, mutual_information
from uncollapse.monitor import Monitor, heat_map
from uncollapse.testing.metric import collapsed_codes, constant_codes, gaussian_codes


def fed(codes, batch=64, **arguments):
    """A monitor that has seen codes in batches."""
    watch = Monitor(**{"tell": None, **arguments})
    feed(watch, codes, batch)
    return watch


def feed(watch, codes, batch=64):
    for mean, scale in zip(codes.mean.split(batch), codes.scale.split(batch), strict=True):
        watch(Independent(Normal(mean, scale), 1))


def test_an_epoch_measures_what_the_metrics_measure():
    codes = gaussian_codes(3.0, n=1024)
    record = fed(codes, every=1).epoch()
    bracket = mutual_information(codes)
    assert record.kl == pytest.approx(float(kl(codes)), rel=1e-5)
    assert record.upper == pytest.approx(float(bracket.upper), rel=1e-5)
    assert record.lower == pytest.approx(float(bracket.lower), abs=0.15)  # other samples
    assert (record.active_units, record.n, record.warnings) == (8, 1024, ())


def test_only_some_batches_count_for_the_kl():
    codes = gaussian_codes(3.0, n=1024)
    seen = codes.kl.sum(1).view(16, 64)[::4].mean()
    assert fed(codes, every=4).epoch().kl == pytest.approx(float(seen), rel=1e-5)


def test_the_bracket_is_of_the_latest_posteriors():
    early, late = constant_codes(n=512, mean=7.0), gaussian_codes(2.0, n=128)
    watch = fed(early, keep=128)
    feed(watch, late)
    record = watch.epoch()
    assert record.n == 128
    assert record.upper == pytest.approx(2.0, abs=0.1)


def test_a_collapsed_posterior_warns_and_says_since_when():
    watch = fed(collapsed_codes())
    assert "nothing about its input so far" in watch.epoch().warnings[0]
    watch = fed(gaussian_codes(3.0))
    assert watch.epoch().warnings == ()
    feed(watch, collapsed_codes())
    assert (
        "has collapsed: of 3." in watch.epoch().warnings[0] or "has collapsed: of 2." in watch.history[-1].warnings[0]
    )


def test_information_that_falls_and_latents_that_die_are_told():
    watch = fed(gaussian_codes(4.0))
    watch.epoch()
    half = gaussian_codes(4.0)
    mean, scale = half.mean.clone(), half.scale.clone()
    mean[:, 2:], scale[:, 2:] = 0.0, 1.0
    feed(watch, Codes.from_gaussian(mean, scale))
    said = " ".join(watch.epoch().warnings)
    assert "fallen from" in said
    assert "6 latents fell to the prior" in said


def test_kl_without_information_is_called_distance():
    assert "distance from the prior" in fed(constant_codes()).epoch().warnings[0]


def test_nan_is_told_and_does_not_stop_the_rest():
    watch = Monitor(tell=None)
    mean = torch.randn(128, 2)
    mean[:5] = math.nan
    watch(Independent(Normal(mean, torch.ones(128, 2), validate_args=False), 1, validate_args=False))
    record = watch.epoch()
    assert "5 of 128" in record.warnings[0]
    assert record.n == 123


def test_warnings_are_told_once_an_epoch():
    told = []
    fed(collapsed_codes(), tell=told.append).epoch()
    assert len(told) == 1
    assert "warning" in str(told[0])


def test_an_epoch_without_posteriors_and_other_families_are_refused():
    with pytest.raises(BadInput, match="call monitor"):
        Monitor().epoch()
    with pytest.raises(Unsupported, match="Dirichlet"):
        Monitor()(Dirichlet(torch.ones(4, 3)))
    with pytest.raises(BadInput, match="every"):
        Monitor(every=0)


def test_looking_at_held_out_batches_leaves_the_model_alone():
    torch.manual_seed(0)
    model = VAE(torch.nn.Linear(6, 4), torch.nn.Linear(2, 6), latent=2).train()
    x, state = torch.rand(256, 6), torch.get_rng_state()
    record = Monitor(tell=None).look(model, x.split(64))
    assert record.kl == pytest.approx(float(kl(Codes.of(model, x))), rel=1e-5)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())


def test_tensorboard_gets_scalars_and_a_heat_map(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        watch = fed(gaussian_codes(3.0), writer=writer)
        watch.epoch()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) >= {"uncollapse/kl", "uncollapse/mi_lower"}
    assert events.Tags()["images"] == ["uncollapse/kl_per_latent"]
    assert heat_map(watch.history).shape == (3, 64, 8)


def test_a_look_at_a_table_a_loader_or_a_tuple_of_batches_is_the_same():
    torch.manual_seed(0)
    model, x = VAE(nn.Linear(6, 4), nn.Linear(2, 6), latent=2), torch.rand(128, 6)
    loader = DataLoader(TensorDataset(x, torch.zeros(128)), 32)
    records = [Monitor(tell=None).look(model, data) for data in (x, x.split(64), loader, [x[:5], x[5:]])]
    assert {one.n for one in records} == {128}
    assert all(one.kl == pytest.approx(records[0].kl) for one in records)


@pytest.mark.parametrize(
    "call",
    [
        lambda watch: watch((torch.zeros(8, 2), torch.zeros(8, 2))),
        lambda watch: [watch(Normal(torch.zeros(8, d), torch.ones(8, d))) for d in (2, 3)],
        lambda watch: watch(Normal(torch.zeros(8, 2), torch.ones(8, 2)), Normal(torch.zeros(3), torch.ones(3))),
        lambda watch: watch.look(nn.Linear(6, 4), torch.rand(64, 6)),
    ],
    ids=["tensors", "sizes", "prior", "no posterior"],
)
def test_what_cannot_be_watched_is_said_in_one_sentence(call):
    with pytest.raises(UncollapseError):
        call(Monitor(tell=None))
