"""Protocols from YAML: what is wrong is told with its line and the nearest right name."""

import pytest

from uncollapse.errors import BadInput
from uncollapse.protocols import load, names
from uncollapse.protocols.reading import parse_protocol


def test_a_protocol_is_read_whole(tiny):
    assert tiny.paper.where == "Table 1"
    assert list(tiny.published.columns) == ["mi", "au"]
    assert tiny.claims[0].parts[0].minus == "plain"


def test_the_paper_scale_is_the_study_as_it_stands(tiny):
    study = tiny.study_at("paper")
    assert (study.name, study.fit["epochs"], study.seeds, len(study.arms)) == ("tiny-paper", 30, [0, 1, 2], 3)


def test_a_smaller_scale_changes_section_by_section(tiny):
    study = tiny.study_at("small")
    assert study.fit == {"batch_size": 50, "batches": 20}
    assert ([arm.name for arm in study.arms], study.seeds) == (["plain", "critic"], [0, 1])
    assert study.model.latent == 8


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title:", "titel:", "tiny.yaml:3: titel: unknown key; did you mean title?"),
        ("latent: 8", "latnet: 8", "did you mean latent?"),
        (
            "plain: {mi",
            "plian: {mi",
            "tiny.yaml:11: published.rows.plian: there is no arm 'plian'; did you mean plain?",
        ),
        ("right: [active_units]", "right: [active_unit]", "did you mean active_units?"),
        ("legacy: mi,", "legacy: mmi,", "did you mean mi?"),
        ("formula: batch_mutual", "formula: batch_mutal", "did you mean batch_mutual_information?"),
        ("au: 8}", "ua: 8}", "there is no column 'ua'"),
        ("mi: [0.03, 0.01]", "mi: [0.03, 0.01, 2]", "expected a mean or [mean, standard deviation]"),
        (
            "metric: mi_lower, arm",
            "metric: mi_lowr, arm",
            "tiny.yaml:29: claims.0.parts.0: there is no metric 'mi_lowr'",
        ),
        ("minus: plain", "minus: plan", "there is no arm 'plan'"),
        ("at_least: 1}", "atleast: 1}", "did you mean at_least?"),
        ("arms: [plain, critic]", "arms: [plain, critics]", "did you mean critic?"),
        ("fit: {batches: 20}", "fit: {batchs: 20}", "batchs"),
        ("kind: history", "kind: histroy", "did you mean history?"),
        ("  small: {note", "  smal: {note", "small"),
        ("  paper: {note: as published}", "  paper: {nota: as published}", "did you mean note?"),
    ],
)
def test_mistakes_have_a_line_and_the_nearest_name(text, old, new, said):
    assert old in text
    with pytest.raises(BadInput) as caught:
        parse_protocol(text.replace(old, new, 1), "tiny.yaml")
    assert said in str(caught.value)


def test_several_mistakes_are_told_at_once(text):
    with pytest.raises(BadInput, match="several mistakes") as caught:
        parse_protocol(text.replace("title:", "titel:").replace("claims:", "clams:"), "tiny.yaml")
    assert "titel" in str(caught.value)
    assert "clams" in str(caught.value)


def test_either_a_study_or_a_computation(text):
    with pytest.raises(BadInput, match="either a study or compute"):
        parse_protocol(text + "compute: a:b\n")


@pytest.mark.parametrize("name", names())
def test_every_protocol_of_the_package_is_sound(name):
    """Reading checks arms, columns, metrics, formulas and the studies of all scales."""
    protocol = load(name)
    assert protocol.name == name
    assert protocol.claims
    assert all(protocol.changes(scale).get("note") for scale in protocol.scales)
    for scale in () if protocol.compute else protocol.scales:
        assert protocol.study_at(scale).runs()


def test_no_protocol_hides_a_study_of_the_package():
    from importlib.resources import files

    studies = {path.name.removesuffix(".yaml") for path in (files("uncollapse") / "studies").iterdir()}
    assert not studies & set(names())


@pytest.mark.parametrize("name", [name for name in names() if load(name).compute])
def test_computations_exist(name):
    from importlib import import_module

    module, function = load(name).compute.split(":")
    assert callable(getattr(import_module(module), function))


def test_networks_and_remedies_of_the_protocols_are_known():
    from uncollapse.nets import decoders, encoders
    from uncollapse.study.build import known

    for name in names():
        protocol = load(name)
        for scale in () if protocol.compute else protocol.scales:
            for run in protocol.study_at(scale).runs():
                for part, rooms in ((run.model.encoder, encoders()), (run.model.decoder, decoders())):
                    assert (part if isinstance(part, str) else part["name"]) in rooms
                for kind, used in (("remedy", run.remedies), ("wrapper", run.model.wrap)):
                    assert all((one if isinstance(one, str) else next(iter(one))) in known(kind) for one in used)


def test_data_of_the_protocols_are_known():
    from uncollapse import data

    for name in names():
        protocol = load(name)
        for scale in () if protocol.compute else protocol.scales:
            known = {*data.names(), "emnist"}
            assert {run.data_name for run in protocol.study_at(scale).runs()} <= known


def test_the_page_of_protocols_names_every_one():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()
    assert [name for name in names() if f"`{name}`" not in page] == []
