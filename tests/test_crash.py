"""Files of a run cut at every length, with flipped bytes, on full and on read-only disks, killed at every call."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from torch import nn

import uncollapse
from uncollapse import drafts
from uncollapse.drafts import drafted_file, drafted_folder, recovered, sweep
from uncollapse.errors import Damaged, Outdated, RunConflict, UncollapseError, WorkFailed
from uncollapse.store import load_tensors, read_sealed, save_tensors, sealed, write_json

DATA = torch.rand(32, 6, generator=torch.Generator().manual_seed(0)).round()
SETTINGS = {"batches": 12, "batch_size": 8, "validate_every": 4, "checkpoint_every": 3, "seed": 3}


class Killed(BaseException):
    """Stands for a kill: no handler of the package may catch it."""


def train(folder, die=0, **more):
    """The run that all tests share, from fixed weights; dies at a step."""
    torch.manual_seed(0)
    model = uncollapse.VAE(nn.Linear(6, 4), nn.Linear(2, 6), latent=2)

    def watch(step, total, record):
        if step == die:
            raise Killed

    return uncollapse.fit(model, (DATA, DATA), folder=folder, progress=watch, **SETTINGS, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    found = train(folder)
    return folder, found


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A run that died at step 10, with checkpoints of steps 9 and 6."""
    folder = tmp_path_factory.mktemp("broken") / "run"
    with pytest.raises(Killed):
        train(folder, die=10)
    return folder


def copied(folder, to):
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(folder, to))


def same_run(found, folder, whole):
    """The same weights in memory and on disk, and the same history."""
    expected = whole[1]
    assert all(torch.equal(v, expected.model.state_dict()[k]) for k, v in found.model.state_dict().items())
    assert found.history == expected.history
    assert (folder / "weights.safetensors").read_bytes() == (whole[0] / "weights.safetensors").read_bytes()
    texts = [(place / "log.jsonl").read_text().splitlines() for place in (folder, whole[0])]
    lines = [[(r["event"], r["step"]) for r in map(json.loads, text)] for text in texts]
    assert lines[0] == lines[1]


# Tensors


def test_tensors_cut_at_every_length_are_damaged(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.arange(5.0), "b": torch.tensor([True, False])}, {"step": 3})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(Damaged, match="damaged"):
            load_tensors(path)
    path.write_bytes(content + b"x")
    with pytest.raises(Damaged):
        load_tensors(path)


def test_every_flipped_bit_of_tensors_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.arange(5.0), "b": torch.tensor([True, False])}
    save_tensors(path, tensors, {"step": 3, "lr": 0.5})
    content, unnoticed = path.read_bytes(), 0
    for place in range(len(content)):
        for bit in (0, 3, 5, 7):
            path.write_bytes(content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :])
            try:
                found, state = load_tensors(path)
            except WorkFailed:
                continue
            unnoticed += 1  # white space of the header
            assert state == {"step": 3, "lr": 0.5}
            assert found.keys() == tensors.keys()
            assert all(torch.equal(value, tensors[name]) for name, value in found.items())
    assert unnoticed < 12


def test_tensors_of_every_kind_come_back_and_the_same_content_is_the_same_bytes(tmp_path):
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool]
    tensors = {str(kind): torch.ones(3, 2).to(kind) for kind in kinds} | {"scalar": torch.tensor(7), "none": DATA[:0]}
    tensors["turned"] = torch.arange(6.0).view(2, 3).T
    for name in ("a", "b"):
        save_tensors(tmp_path / name, tensors, {"step": 1, "history": [1.5, None], "ä": "ß"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found, state = load_tensors(tmp_path / "a")
    assert state == {"step": 1, "history": [1.5, None], "ä": "ß"}
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def test_a_file_of_tensors_of_the_first_format_is_read(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": DATA}, tmp_path / "x", metadata={"state": '{"step": 4}'})
    tensors, state = load_tensors(tmp_path / "x")
    assert torch.equal(tensors["a"], DATA)
    assert state == {"step": 4}


# Checkpoints


@pytest.mark.parametrize(
    ("damage", "resumed", "says"),
    [
        (["checkpoint.safetensors"], 6, ["checkpoint.safetensors was damaged"]),
        (["checkpoint.previous.safetensors"], 9, []),
        (
            ["checkpoint.safetensors", "checkpoint.previous.safetensors"],
            0,
            ["checkpoint.safetensors was", "checkpoint.previous.safetensors was", "trained from its beginning"],
        ),
        (["state.json"], 9, []),
        (["fit.json"], 9, ["fit.json was damaged"]),
        (["log.jsonl"], 9, []),
        (["fit.json", "checkpoint.safetensors", "state.json"], 6, ["fit.json", "checkpoint.safetensors"]),
    ],
)
def test_a_damaged_file_costs_no_run(broken, whole, tmp_path, damage, resumed, says):
    folder = copied(broken, tmp_path / "run")
    for name in damage:
        content = (folder / name).read_bytes()
        middle = len(content) // 2
        (folder / name).write_bytes(content[:middle] + bytes([content[middle] ^ 255]) * 3 + content[middle + 3 :])
    steps = []
    torch.manual_seed(0)
    model = uncollapse.VAE(nn.Linear(6, 4), nn.Linear(2, 6), latent=2)
    note = lambda step, total, record: steps.append(step)  # noqa: E731
    found = uncollapse.fit(model, (DATA, DATA), folder=folder, progress=note, **SETTINGS)
    assert steps[0] == resumed + 1
    assert len(found.remarks) == len(says)
    assert all(words in remark for words, remark in zip(says, found.remarks, strict=True))
    assert (folder / "weights.safetensors").read_bytes() == (whole[0] / "weights.safetensors").read_bytes()
    assert found.history == whole[1].history
    if "log.jsonl" not in damage:
        same_run(found, folder, whole)
    asides = {path.name for path in folder.glob("*.damaged*")}
    assert asides == {f"{words.split()[0]}.damaged" for words in says if "beginning" not in words}


def test_the_remark_of_a_damaged_checkpoint_outlives_another_kill(broken, whole, tmp_path):
    folder = copied(broken, tmp_path / "run")
    (folder / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(Killed):
        train(folder, die=11)
    found = train(folder)
    assert len(found.remarks) == 1
    assert "checkpoint.safetensors was damaged and is kept as" in found.remarks[0]
    same_run(found, folder, whole)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "fit.json", "state.json", "log.jsonl"])
def test_a_file_of_a_run_cut_at_any_length_ends_with_the_same_bits(broken, whole, tmp_path, name):
    size = (broken / name).stat().st_size
    for length in sorted({0, 1, 7, 8, 9, size - 1, *random.Random(name).sample(range(size), 3)}):
        folder = copied(broken, tmp_path / "run")
        (folder / name).write_bytes((folder / name).read_bytes()[:length])
        found = train(folder)
        assert (folder / "weights.safetensors").read_bytes() == (whole[0] / "weights.safetensors").read_bytes()
        assert found.history == whole[1].history


@pytest.mark.parametrize("content", [b"", b"x", None])
def test_damaged_weights_of_a_finished_run_are_written_anew(whole, tmp_path, content):
    folder = copied(whole[0], tmp_path / "run")
    kept = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(kept[:-1] if content is None else content)
    same_run(train(folder), folder, whole)
    assert (folder / "weights.safetensors.damaged").exists()


def test_a_checkpoint_of_another_run_is_not_taken_for_a_damaged_one(broken, tmp_path):
    folder = copied(broken, tmp_path / "run")
    (folder / "fit.json").write_text("{")
    torch.manual_seed(0)
    with pytest.raises(RunConflict, match="unknown run"):
        uncollapse.fit(
            uncollapse.VAE(nn.Linear(6, 4), nn.Linear(2, 6), latent=2), (DATA, DATA), folder=folder,
            **{**SETTINGS, "seed": 4},
        )  # fmt: skip
    assert (folder / "checkpoint.safetensors").exists()


def test_an_attempt_that_died_before_its_first_checkpoint_leaves_no_lines(whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        train(folder, die=2, log_every=1)
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    same_run(train(folder), folder, whole)


def test_files_of_a_newer_version_are_refused_with_the_way_out(broken, tmp_path):
    folder = copied(broken, tmp_path / "run")
    mark = json.loads((folder / "fit.json").read_text())
    (folder / "fit.json").write_text(json.dumps({**mark, "format": 2, "version": "9.1"}))
    with pytest.raises(Outdated, match=r"format 2 and was written by uncollapse 9\.1.*update it"):
        train(folder)
    (folder / "fit.json").write_text(json.dumps(mark))
    from safetensors.torch import save_file

    head = {"format": 3, "version": "9.1", "state": {}, "sha256": "of another kind"}
    save_file({"a": DATA}, folder / "checkpoint.safetensors", metadata={"uncollapse": json.dumps(head)})
    with pytest.raises(Outdated, match=r"checkpoint.safetensors has format 3"):
        train(folder)
    assert not list(folder.glob("*.damaged*"))


def test_a_mark_of_the_version_before_is_read(broken, whole, tmp_path):
    folder = copied(broken, tmp_path / "run")
    mark = json.loads((folder / "fit.json").read_text())
    (folder / "fit.json").write_text(json.dumps({key: mark[key] for key in ("owner", "run")}))
    same_run(train(folder), folder, whole)


# The log


def test_a_log_cut_at_every_length_or_full_of_rubbish_is_read_and_goes_on(tmp_path):
    from uncollapse.log import Log, progress_of

    whole = Log(tmp_path / "log.jsonl")
    for step in range(3):
        whole.append(step=step, words="ä\u2028b")
    content = whole.path.read_bytes()
    for length in range(len(content)):
        whole.path.write_bytes(content[:length])
        log = Log(whole.path)
        before = log.records()
        log.append(step=9)
        assert log.records() == [*before, {"step": 9}]
        assert progress_of(tmp_path)["step"] == 9
    rubbish = b'\xff\xfe\n3\nnull\n[1]\n{"step": "x"}\n' + b"[" * 100_000 + b"\n" + b"9" * 5000 + b"\n\0\0\0\n"
    whole.path.write_bytes(rubbish + b'{"step": 1}\n{"step": 2}')
    log = Log(whole.path)
    assert log.records() == [{"step": "x"}, {"step": 1}, {"step": 2}]
    log.rewind(1)
    assert log.path.read_text() == '{"step": 1}\n'


# Results


def test_a_result_cut_or_changed_anywhere_is_found(tmp_path):
    path = tmp_path / "result.json"
    value = {"format": 1, "seconds": {"fit": 1.5}, "metrics": {"nll": {"value": 90.25, "se": None}}, "words": "ä"}
    write_json(path, sealed(value))
    content, generator = path.read_bytes(), random.Random(0)
    assert read_sealed(path) == sealed(value)
    for length in range(len(content) - 1):  # the last character is a line's end
        path.write_bytes(content[:length])
        with pytest.raises(Damaged):
            read_sealed(path)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        try:
            found = read_sealed(path)
        except Damaged:
            continue
        times = {"seconds", "sha256"}
        assert {k: v for k, v in found.items() if k not in times} == {k: v for k, v in value.items() if k not in times}


def test_a_sealed_file_may_be_written_anew_in_another_layout(tmp_path):
    value = sealed({"b": [1, 2.5e-7, "x"], "a": {"c": None}, "seconds": 3})
    (tmp_path / "x").write_text(json.dumps(value))
    assert read_sealed(tmp_path / "x") == value
    (tmp_path / "x").write_text(json.dumps({**value, "b": [1, 2.6e-7, "x"]}))
    with pytest.raises(Damaged, match="was changed after it was written"):
        read_sealed(tmp_path / "x")


def test_a_study_file_cut_at_every_length_is_no_smaller_study():
    from uncollapse.study import Arm, Study
    from uncollapse.study.config import dump_study, parse

    study = Study("s", [Arm("a"), Arm("b", remedies=[{"Beta": {"beta": 2.0}}])], fit={"batches": 1000}, seeds=[0, 10])
    text = dump_study(study)
    assert parse(Study, text) == study
    for length in range(len(text) - 1):
        cut = text[:length]
        if len(cut) < text.index("\n") + 1:
            continue  # nothing but a comment, or less
        with pytest.raises(UncollapseError):
            parse(Study, cut)
    with pytest.raises(Outdated, match="format 2"):
        parse(Study, text.replace("format 1", "format 2"))


# Kills at every system call: the parent counts the calls of an undisturbed child, then kills one child at each


KILLS = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from torch import nn
import uncollapse, uncollapse.tables
from uncollapse import drafts
from uncollapse.store import save_tensors, write_json, load_tensors, read_json

CALLS = ("mkdir", "open", "fsync", "replace", "rename", "unlink", "rmdir", "chmod")
place = Path(sys.argv[1])

def armed(deadly):
    count = [0]
    def deadly_one(genuine):
        def call(*given, **named):
            count[0] += 1
            if count[0] == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return genuine(*given, **named)
        return call
    for name in CALLS:
        setattr(os, name, deadly_one(getattr(os, name)))
    return count

def in_child(job, deadly):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        count = armed(deadly)
        job()
        os.write(writer, str(count[0]).encode())
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(writer)
    said = os.read(reader, 99)
    os.close(reader)
    assert code == (-signal.SIGKILL if deadly else 0), (code, deadly)
    return int(said or 0)

def swept(job, check, clean):
    total = in_child(job, 0)
    clean()
    for deadly in range(1, total + 1):
        in_child(job, deadly)
        check()
    return total

def old_or_new_tensors():
    value = load_tensors(place / "x.safetensors")[0]["a"]
    assert torch.equal(value, torch.zeros(9)) or torch.equal(value, torch.ones(9))

def old_or_new_json():
    assert read_json(place / "x.json") in ("old" * 99, "new" * 99)

def codes(value):
    return uncollapse.Codes.from_gaussian(torch.full((5, 2), value), torch.ones(5, 2))

def old_or_new_codes():
    assert uncollapse.Codes.open(place / "codes").mean.unique().tolist() in ([0.0], [1.0])

save_tensors(place / "x.safetensors", {"a": torch.zeros(9)}, {})
write_json(place / "x.json", "old" * 99)
codes(0.0).save(place / "codes")
none = lambda: None
print(json.dumps({
    "tensors": swept(lambda: save_tensors(place / "x.safetensors", {"a": torch.ones(9)}, {}), old_or_new_tensors, none),
    "json": swept(lambda: write_json(place / "x.json", "new" * 99), old_or_new_json, none),
    "codes": swept(lambda: codes(1.0).save(place / "codes"), old_or_new_codes, none),
}))
save_tensors(place / "x.safetensors", {"a": torch.ones(9)}, {})
write_json(place / "x.json", "new" * 99)
codes(1.0).save(place / "codes")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_call_leaves_the_old_file_or_the_new_one_and_no_litter(tmp_path):
    """`os.replace`, `os.fsync` and the like kill the process the n-th time, for every n."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLS, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(count >= 8 for count in json.loads(done.stdout).values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes", "x.json", "x.safetensors"]


def test_a_draft_is_swept_when_its_writer_is_gone_and_not_before(tmp_path):
    code = "import sys, time; from pathlib import Path; from uncollapse.drafts import drafted_file\n"
    code += "with drafted_file(Path(sys.argv[1])) as path: path.write_text('x'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x")], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        drafts_there = list(tmp_path.glob(".x.*.part"))
        assert len(drafts_there) == 1
        ahead = time.time() + 1e7  # what a clock that jumps makes of it
        os.utime(drafts_there[0], (ahead, ahead))
        sweep(tmp_path)
        assert drafts_there[0].exists()
        writer.kill()
        writer.wait()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_both_end_well(tmp_path):
    with drafted_file(tmp_path / "x") as a, drafted_file(tmp_path / "x") as b:
        a.write_text("a")
        b.write_text("b")
    assert (tmp_path / "x").read_text() == "a"
    with drafted_folder(tmp_path / "y") as a, drafted_folder(tmp_path / "y") as b:
        (a / "z").write_text("a")
        (b / "z").write_text("b")
    assert (tmp_path / "y" / "z").read_text() == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "y"]


def test_a_folder_whose_writer_died_between_two_names_comes_back(tmp_path):
    with drafted_folder(tmp_path / "y") as folder:
        (folder / "z").write_text("old")
    (tmp_path / "y").rename(tmp_path / ".y.old")
    assert (recovered(tmp_path / "y") / "z").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["y"]


def test_files_and_folders_are_brought_to_disk_before_and_after_they_get_their_names(tmp_path, monkeypatch):
    order = []
    genuine = drafts.sync
    monkeypatch.setattr(drafts, "sync", lambda path: (order.append(("sync", path.name)), genuine(path)))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append(("name", b.name)), replace(a, b))[1])
    with drafted_file(tmp_path / "new" / "x") as path:
        path.write_text("x")
    assert order == [("sync", tmp_path.name), ("sync", "x"), ("name", "x"), ("sync", "new")]
    order.clear()
    with drafted_folder(tmp_path / "y") as folder:
        (folder / "z").write_text("z")
    assert order == [("sync", "z"), ("sync", "y"), ("name", "y"), ("sync", tmp_path.name)]


# Full and read-only disks


@contextmanager
def mounted(place, *options):
    """A small disk of its own, or the test is skipped where nothing can be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_full_at_any_size_leaves_what_was_there(tmp_path):
    """A real disk of 200 kB, with less and less room; nothing is half written, and with room the run ends well."""
    with mounted(tmp_path / "disk", "-o", "size=200k") as disk:
        with pytest.raises(Killed):
            train(disk / "run", die=10)
        for free in (0, 4096, 8192, 16384, 24576, 32768):
            fill(disk / "ballast", free)
            with pytest.raises((Killed, WorkFailed)) as caught:
                train(disk / "run", die=11)
            assert caught.type is Killed or "No space left" in str(caught.value)
            assert load_tensors(disk / "run" / "checkpoint.safetensors")[1]["step"] == 9
            (disk / "ballast").unlink()
        found = train(disk / "run")
        assert found.steps == 12
        assert found.remarks == []
        assert not list((disk / "run").glob(".*.part"))


def fill(path, free):
    """Leave so many bytes of a disk."""
    with path.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        file.truncate(max(file.tell() - free, 0))


def test_a_disk_with_room_for_two_checkpoints_is_enough(tmp_path):
    with mounted(tmp_path / "disk", "-o", "size=400k") as disk:
        big = torch.zeros(30_000)  # 120 kB: three do not fit
        from uncollapse.resume import RunFolder

        files = RunFolder(disk / "run")
        state = dict.fromkeys(("step", "total", "seconds", "stopped", "precision", "layout"), 0)
        (disk / "run").mkdir()
        for step in range(5):
            files.checkpoint({"a": big + step}, state | {"step": step})
        assert files.load()[1]["step"] == 4


def test_a_finished_run_is_taken_from_a_read_only_folder_and_another_says_so(whole, broken, tmp_path):
    with mounted(tmp_path / "disk", "-o", "size=900k") as disk:
        copied(whole[0], disk / "whole")
        copied(broken, disk / "broken")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        found = train(disk / "whole")
        assert found.history == whole[1].history
        for name in ("broken", "new"):
            with pytest.raises(WorkFailed, match="Read-only file system"):
                train(disk / name)


# Real kills


RUN = """
import sys, time, torch
torch.set_num_threads(1)
from torch import nn
import uncollapse
data = torch.rand(32, 6, generator=torch.Generator().manual_seed(0)).round()
torch.manual_seed(0)
model = uncollapse.VAE(nn.Linear(6, 4), nn.Linear(2, 6), latent=2)
print("ready", flush=True)
uncollapse.fit(model, (data, data), folder=sys.argv[1], batches=12, batch_size=8, validate_every=4, checkpoint_every=3,
               seed=3, progress=lambda *a: time.sleep(0.02))
"""


def test_real_kills_at_random_moments_end_with_the_same_bits(whole, tmp_path):
    generator = random.Random(7)
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path / "run")], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            time.sleep(generator.uniform(0.05, 0.4))
            child.send_signal(signal.SIGKILL)
    same_run(train(tmp_path / "run"), tmp_path / "run", whole)
    assert not list((tmp_path / "run").glob(".*.part"))
