"""Files that are never half written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from uncollapse.errors import Unsupported, WorkFailed
from uncollapse.store import Log, load_tensors, read_json, save_tensors, write_json, write_text


def test_tensors_and_state_come_back_exactly(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.tensor(7), "c": torch.ones(2, dtype=torch.float64) / 3}
    tensors["tied"] = tensors["a"]
    save_tensors(tmp_path / "x.safetensors", tensors, {"step": 3, "lr": 0.1})
    again, state = load_tensors(tmp_path / "x.safetensors")
    assert state == {"step": 3, "lr": 0.1}
    assert all(torch.equal(value, again[name]) and value.dtype == again[name].dtype for name, value in tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_what_is_not_a_tensor_is_refused(tmp_path):
    with pytest.raises(Unsupported, match="b is not one"):
        save_tensors(tmp_path / "x", {"b": 3}, {})
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100, b"\x08\0\0\0\0\0\0\0{}"])
def test_damaged_files_are_one_sentence(tmp_path, content):
    for name, read in (("x.safetensors", load_tensors), ("x.json", read_json)):
        (tmp_path / name).write_bytes(content)
        if name == "x.safetensors" and content.startswith(b"\x08"):
            continue
        with pytest.raises(WorkFailed, match=name):
            read(tmp_path / name)
    with pytest.raises(WorkFailed):
        read_json(tmp_path / "missing.json")


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(WorkFailed, match="nothing there was changed"):
        write_text(tmp_path / "x", "text")
    (tmp_path / "file").write_text("old")
    with pytest.raises(WorkFailed):
        write_text(tmp_path / "file" / "below", "text")
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence():
    with pytest.raises(WorkFailed, match="No space left"):
        Log(Path("/dev/full")).append(step=1)


def test_a_log_forgets_what_came_after_a_step_and_a_line_cut_short(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    for step in range(5):
        log.append(step=step)
    with log.path.open("a") as file:
        file.write('{"step": 9, "cut')
    assert [record["step"] for record in log.records()] == [0, 1, 2, 3, 4]
    log.rewind(2)
    assert [record["step"] for record in log.records()] == [0, 1, 2]


FULL = """
import json, resource, signal, sys
from pathlib import Path
import torch
from uncollapse.errors import WorkFailed
from uncollapse.store import save_tensors, write_text
folder = Path(sys.argv[1])
save_tensors(folder / "a.safetensors", {"x": torch.zeros(10)}, {})
write_text(folder / "b.txt", "old")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
said = []
for write in (lambda: save_tensors(folder / "a.safetensors", {"x": torch.ones(100_000)}, {}),
              lambda: write_text(folder / "b.txt", "new" * 100_000)):
    try:
        write()
    except WorkFailed as error:
        said.append(str(error))
print(json.dumps(said))
"""


def test_a_disk_that_fills_up_leaves_the_old_files(tmp_path):
    """A limit on the size of files stands for the full disk: writes fail in the middle."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert len(said) == 2
    assert all("nothing there was changed" in sentence for sentence in said)
    assert torch.equal(load_tensors(tmp_path / "a.safetensors")[0]["x"], torch.zeros(10))
    assert (tmp_path / "b.txt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.txt"]
