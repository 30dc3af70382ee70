import json
import math

import pytest

from uncollapse.errors import BadInput
from uncollapse.report import load_results


@pytest.fixture
def folder(study, tmp_path):
    header, results = study(images=False)
    for result in reversed(results):
        place = tmp_path / result["hash"]
        place.mkdir()
        (place / "result.json").write_text(json.dumps(result))
    return tmp_path, header, results


def tree(path):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in path.rglob("*")}


def test_reads_in_the_order_of_the_study_and_writes_nothing(folder):
    path, header, results = folder
    before = tree(path)
    found, loaded = load_results(path, header)
    assert loaded == results
    assert found == header | {"remarks": []}
    assert tree(path) == before


def test_header_is_filled_in_from_the_results(folder):
    path, header, _ = folder
    found, _ = load_results(path)
    assert set(found["arms"]) == set(header["arms"])
    assert (found["seeds"], found["name"], found["baseline"]) == ([0, 1], path.name, found["arms"][0])


def test_without_a_header_the_file_of_the_study_gives_it(folder):
    path, header, results = folder
    header |= {"title": "A title", "arms": header["arms"][::-1], "hashes": [r["hash"] for r in results[2:]]}
    (path / "study.json").write_text(json.dumps(header))
    assert load_results(path) == load_results(path, header)
    found, loaded = load_results(path)
    assert (found["title"], found["arms"], len(loaded)) == ("A title", header["arms"], len(results) - 2)
    assert len(load_results(path, {})[1]) == len(results)


@pytest.mark.parametrize("content", ["{", "[1]", '{"arms": 3}'])
def test_a_damaged_file_of_the_study_is_a_remark(folder, content):
    path, _, results = folder
    (path / "study.json").write_text(content)
    found, loaded = load_results(path)
    assert len(loaded) == len(results)
    assert "study.json" in found["remarks"][0]
    with pytest.raises(BadInput, match=r"study\.json"):
        load_results(path, strict=True)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"format": 1, "arm": "pl', "is damaged ("),
        ("", "is damaged ("),
        (b"\xff\xfe\x00", "is damaged ("),
        ("[1, 2]", "JSON object"),
        ('{"format": 2, "versions": {"uncollapse": "7.0"}}', "was written by uncollapse 7.0"),
        ('{"format": "1"}', "a number from 1 to 1"),
        ('{"format": 1, "seconds": 3, "sha256": "0"}', "was changed after it was written"),
        ('{"format": 1, "hash": "x", "arm": 3}', "'arm' to be str"),
        ('{"format": 1, "hash": "x", "arm": "a", "seed": 0, "metrics": {"nll": 3}, "verdict": {}}', "'nll'"),
        (
            '{"format": 1, "hash": "x", "arm": "a", "seed": 0, "metrics": {}, "verdict": {}, "reference": [1]}',
            "'reference'",
        ),
        ("[" * 100_000, "is damaged ("),
    ],
)
def test_a_bad_file_is_left_out_with_a_remark_that_names_it(folder, content, why):
    path, header, results = folder
    bad = path / results[0]["hash"] / "result.json"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    found, loaded = load_results(path, header)
    assert loaded == results[1:]
    assert str(bad) in found["remarks"][0]
    assert why in found["remarks"][0]
    with pytest.raises(BadInput, match=results[0]["hash"]):
        load_results(path, header, strict=True)


def test_results_of_other_settings_are_left_out(folder):
    path, header, results = folder
    found, loaded = load_results(path, header | {"arms": header["arms"][:2], "hashes": [results[0]["hash"]]})
    assert loaded == results[:1]
    assert len(found["remarks"]) == len(results) - 1


def test_a_file_in_the_wrong_folder_is_left_out(folder):
    path, header, results = folder
    (path / "elsewhere").mkdir()
    (path / results[0]["hash"] / "result.json").rename(path / "elsewhere" / "result.json")
    found, loaded = load_results(path, header)
    assert loaded == results[1:]
    assert results[0]["hash"] in found["remarks"][0]


def test_two_results_for_one_cell_are_refused(folder):
    path, header, results = folder
    twin = results[0] | {"hash": "f" * 14}
    (path / twin["hash"]).mkdir()
    (path / twin["hash"] / "result.json").write_text(json.dumps(twin))
    with pytest.raises(BadInput, match=f"plain VAE.*seed 0.*{results[0]['hash']}"):
        load_results(path, header)


def test_nothing_to_read_says_so(tmp_path):
    with pytest.raises(BadInput, match=r"no run of this study is finished yet.*`uncollapse study run`"):
        load_results(tmp_path)
    (tmp_path / "study.json").write_text('{"command": "uncollapse demo"}')
    with pytest.raises(BadInput, match=r"finished yet.*run `uncollapse demo`"):
        load_results(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text("[]")
    with pytest.raises(BadInput, match=r"expected a .*found none\. Left out: .*JSON object"):
        load_results(tmp_path)
    with pytest.raises(BadInput, match="expected a study folder"):
        load_results(tmp_path / "absent")


def test_not_a_number_in_a_file_counts_as_missing(folder):
    from uncollapse.report import rows

    path, header, results = folder
    results[0]["metrics"]["nll"]["value"] = math.nan
    (path / results[0]["hash"] / "result.json").write_text(json.dumps(results[0]))
    _, loaded = load_results(path, header)
    assert rows(loaded)[0].cells["nll"].n == 1
