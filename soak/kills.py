"""SIGKILL at random moments of everything that writes files: no result lost, none half read, the same bits at the end.

A process that has loaded everything forks a child a job, so a kill costs milliseconds. A child is killed after a random
share of the time that an undisturbed one takes, or at the n-th call of `os.replace`, `os.fsync` and their like for a
random n. Training and whole runs are killed several times in a row, at times with a file of the folder cut or changed
in between as a failing disk would, and then left alone: weights, metrics and history must have the SHA-256 of an
undisturbed run. Whoever replaces a file is killed while an old one lies there: the old or the new one must be there,
whole, and the next attempt must end with the bytes of an undisturbed one and leave no other file.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import lightning_fabric  # noqa: F401  (loaded once, before the forks)
import sklearn.linear_model  # noqa: F401
import torch
import torch.utils.tensorboard

from uncollapse import codes, report
from uncollapse.data.mapped import prepared
from uncollapse.errors import WorkFailed
from uncollapse.report import page
from uncollapse.report.document import write_page
from uncollapse.store import read_sealed
from uncollapse.study import Study
from uncollapse.study.build import load_data
from uncollapse.study.config import dump_study, parse
from uncollapse.study.work import execute

KILLS = {"training": 70, "whole run": 70, "page": 30, "export": 10, "prepared data": 30, "codes": 30}
ROW = 5  #: kills in a row before a run is left alone
CALLS = ("mkdir", "open", "fsync", "replace", "rename", "link", "unlink", "rmdir", "chmod")
MEMORY = Path("/dev/shm")  #: a kill is the same on every disk, and this one waits for none
TEXT = """
name: kills
data: digits
model: {encoder: {name: mlp, hidden: [12]}, decoder: {name: mlp, hidden: [12]}, latent: 3}
fit: {batches: 40, batch_size: 64, validate_every: 8, checkpoint_every: 3, log_every: 2}
measure: {nll_samples: 2, nll_examples: 40, samples: 40, images: 2}
arms:
  - {name: plain}
  - {name: memory, remedies: [{SelfCritic: {memory: 128}}]}
  - {name: beta, remedies: [{Beta: {beta: 2}}]}
"""


def fork(job, deadly_call=0, after=None):
    """Do a job in a child; kill it at a call, or after so many seconds. Returns its exit status and its seconds."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 3
        try:
            arm(deadly_call)
            job()
            status = 0
        except BaseException as error:
            print(f"child: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    if after is not None:
        time.sleep(after)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - started


def arm(deadly):
    """Make this process kill itself at its n-th call."""
    count = [0]

    def fatal(genuine):
        def call(*given, **named):
            count[0] += 1
            if count[0] == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return genuine(*given, **named)

        return call

    if deadly:
        for name in CALLS:
            setattr(os, name, fatal(getattr(os, name)))


def calls_of(job, room):
    """How many calls a job makes."""
    note = room / "calls"

    def counted():
        total = [0]
        for name in CALLS:
            setattr(os, name, counting(getattr(os, name), total))
        job()
        note.write_text(str(total[0]))

    assert fork(counted)[0] == 0
    return int(note.read_text())


def counting(genuine, total):
    def call(*given, **named):
        total[0] += 1
        return genuine(*given, **named)

    return call


class Killer:
    """Kills children at random and counts."""

    def __init__(self, seed, count):
        self.random, self.count = random.Random(seed), count
        self.kills, self.finished = Counter(), 0

    def measure(self, first, job, room):
        """Seconds and calls of an undisturbed child, each after a child that prepares its ground."""
        self.seconds = min(self.timed(first, job) for _ in range(2))
        assert fork(first)[0] == 0
        self.calls = calls_of(job, room)

    def timed(self, first, job):
        assert fork(first)[0] == 0
        code, seconds = fork(job)
        assert code == 0, f"an undisturbed child ended with {code}"
        return seconds

    @property
    def left(self):
        return self.count - sum(self.kills.values())

    def strike(self, job):
        """One attempt; True when it was killed."""
        how = self.random.choice(("time", "call"))
        if how == "time":
            code, _ = fork(job, after=self.random.uniform(0, 1.1 * self.seconds))
        else:
            code, _ = fork(job, deadly_call=self.random.randint(1, self.calls))
        assert code in (0, -signal.SIGKILL), f"a child ended with {code}"
        self.kills[how] += code != 0
        self.finished += code == 0
        return code != 0


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder):
    """Every file below a folder with its digest."""
    return {str(path.relative_to(folder)): sha(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def damage(folder, generator):
    """Cut or change a file that a run reads again, as a failing disk would; its name."""
    names = ("checkpoint.safetensors", "checkpoint.previous.safetensors", "fit.json", "state.json", "log.jsonl")
    last = "result.json" if (folder / "result.json").exists() else "weights.safetensors"  # whose end is not looked at
    there = [folder / name for name in (*names, last) if (folder / name).exists()]
    if not there:
        return None
    path = generator.choice(there)
    content = bytearray(path.read_bytes())
    if generator.random() < 0.5 or not content:
        content = content[: generator.randrange(len(content) + 1)]
    else:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    return path.name


def survive(job, check, killer, room, folder, damaging):
    """Kill a run until the number is reached; every few kills let it end and look at it."""
    damaged = Counter()
    killer.measure(lambda: shutil.rmtree(folder, ignore_errors=True), job, room)
    while killer.left > 0:
        shutil.rmtree(folder, ignore_errors=True)
        for _ in range(killer.random.randint(1, ROW)):
            killer.strike(job)
            if damaging and killer.random.random() < 0.25:
                damaged[damage(folder, killer.random)] += 1
        assert fork(job)[0] == 0, "the run could not be resumed"
        check()
    del damaged[None]
    return {"kills": dict(killer.kills), "ended before the kill": killer.finished, "files damaged": dict(damaged)}


def replaced(old, new, check, final, killer, room):
    """Kill whoever replaces something: the old one, whole, or the new one."""
    killer.measure(old, new, room)
    while killer.left > 0:
        fork(old)
        killer.strike(new)
        check()
        if killer.random.random() < 0.2:
            assert fork(new)[0] == 0
            final()
    assert fork(new)[0] == 0
    final()
    return {"kills": dict(killer.kills), "ended before the kill": killer.finished}


def training(room, study, data, seed, count):
    """`fit` in a folder, by way of a run, up to its weights."""
    run_, folder = study.runs()[1], room / "training"

    def job():
        from uncollapse.fit import fit
        from uncollapse.study.build import build

        torch.set_num_threads(1)
        model, objective = build(run_, data)
        found = fit(model, data, objective, folder=folder, seed=run_.seed, **run_.fit)
        (room / "history").write_text(json.dumps(found.history))

    assert fork(job)[0] == 0
    expected = sha(folder / "weights.safetensors"), (room / "history").read_text()

    def check():
        assert (sha(folder / "weights.safetensors"), (room / "history").read_text()) == expected, "other bits"
        litter(folder)

    return survive(job, check, Killer(seed, count), room, folder, damaging=True)


def whole(room, study, data, seed, count):
    """A run of a study: training, checkpoints, measuring, result."""
    run_ = study.runs()[1]
    folder = room / run_.hash(data.fingerprint)

    def job():
        torch.set_num_threads(1)
        execute(run_, folder, data=data)

    assert fork(job)[0] == 0
    expected = sha(folder / "weights.safetensors"), bits(folder)

    def check():
        assert sha(folder / "weights.safetensors") == expected[0], "other weights"
        assert bits(folder) == expected[1], f"another result: {apart(bits(folder), expected[1])}"
        litter(folder)

    return survive(job, check, Killer(seed, count), room, folder, damaging=True)


def bits(folder):
    """The result without times, and without what it says of damaged files."""
    found = read_sealed(folder / "result.json")
    return json.dumps({k: v for k, v in found.items() if k not in {"seconds", "sha256", "remarks"}}, sort_keys=True)


def apart(one, other):
    """Where two results differ."""
    one, other = json.loads(one), json.loads(other)
    return [(key, one.get(key), other.get(key)) for key in {*one, *other} if one.get(key) != other.get(key)][:3]


def litter(folder):
    """No draft is left, and no checkpoint of a finished run of a study."""
    left = [path.name for path in folder.iterdir() if path.name.endswith((".part", ".old"))]
    left += [path.name for path in folder.glob("checkpoint*") if (folder / "result.json").exists()]
    assert not left, f"left over: {left}"


def results_of(room, study, data):
    """A finished study, for pages and exports."""
    folder = room / "study"

    def job():
        torch.set_num_threads(1)
        for one in study.runs():
            execute(one, folder / one.hash(data.fingerprint), data=data)

    assert fork(job)[0] == 0
    (folder / "study.yaml").write_text(dump_study(study))
    header = {**study.header(), "hashes": [one.hash(data.fingerprint) for one in study.runs()]}
    (folder / "study.json").write_text(json.dumps(header))
    return folder


def pages(room, folder, seed, count):
    """The page of a study over an older one."""
    header, found = report.load_results(folder)
    path, old = room / "pages" / "report.html", {**header, "title": "older"}

    def check():
        assert path.read_text() in texts, "half a page"

    def final():
        assert [one.name for one in path.parent.iterdir()] == ["report.html"], "litter beside the page"

    write = lambda text: lambda: write_page(text, path)  # noqa: E731
    older, newer = (page.build(one, found) for one in (old, header))
    texts = {older, newer}
    return replaced(write(older), write(newer), check, final, Killer(seed, count), room)


def exports(room, folder, seed, count):
    """An exported study, from nothing."""
    to, reference = room / "exported", room / "reference"
    report.export(folder, reference)
    expected = tree(reference)

    def check():
        for path in to.glob("*/result.json"):
            read_sealed(path)

    def final():
        assert tree(to) == expected, "the export differs"

    old = lambda: shutil.rmtree(to, ignore_errors=True)  # noqa: E731
    return replaced(old, lambda: report.export(folder, to), check, final, Killer(seed, count), room)


def data_copies(room, seed, count):
    """A prepared copy of data in the cache."""
    source, cache = room / "source", room / "cache"
    source.write_bytes(os.urandom(300_000))
    numbers = torch.frombuffer(bytearray(source.read_bytes()), dtype=torch.uint8).view(-1, 100).numpy()

    def make(store):
        store.write("x", numbers.shape, numbers.dtype, iter([numbers[:1000], numbers[1000:]]))

    def new():
        assert (prepared("some", [source], {}, make, cache).arrays["x"] == numbers).all()

    def check():
        for folder in (cache / "prepared").glob("some-*"):
            assert sha(folder / "x.npy") == whole_copy, "half a copy under its final name"

    def final():
        assert len(list((cache / "prepared").iterdir())) == 1, "litter in the cache"

    new()
    whole_copy = sha(next((cache / "prepared").glob("some-*")) / "x.npy")
    old = lambda: shutil.rmtree(cache / "prepared", ignore_errors=True)  # noqa: E731
    return replaced(old, new, check, final, Killer(seed, count), room)


def saved_codes(room, seed, count):
    """`Codes.save` over older codes."""
    place = room / "codes" / "kept"
    kept = {value: codes.Codes.from_gaussian(torch.full((2000, 8), value), torch.ones(2000, 8)) for value in (0.0, 1.0)}

    def check():
        found = codes.Codes.open(place)
        assert any(torch.equal(found.sample, one.sample) for one in kept.values()), "half of the codes"

    def final():
        assert [one.name for one in place.parent.iterdir()] == ["kept"], "litter beside the codes"
        assert torch.equal(codes.Codes.open(place).mean, kept[1.0].mean)

    save = lambda value: lambda: kept[value].save(place)  # noqa: E731
    return replaced(save(0.0), save(1.0), check, final, Killer(seed, count), room)


def run(quick: bool) -> dict:
    """Kill; raise AssertionError when something is lost, half there or other than undisturbed."""
    torch.set_num_threads(1)
    counts = {name: max(count // 15, 2) if quick else count for name, count in KILLS.items()}
    study = parse(Study, TEXT)
    data = load_data(study.runs()[0])
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as where:
        room, found = Path(where), {}
        folder = results_of(room, study, data)
        jobs = {
            "training": lambda n: training(room, study, data, 1, n),
            "whole run": lambda n: whole(room, study, data, 2, n),
            "page": lambda n: pages(room, folder, 3, n),
            "export": lambda n: exports(room, folder, 4, n),
            "prepared data": lambda n: data_copies(room, 5, n),
            "codes": lambda n: saved_codes(room, 6, n),
        }
        for name, job in jobs.items():
            started = time.monotonic()
            try:
                found[name] = job(counts[name])
            except WorkFailed as error:
                raise AssertionError(f"{name}: {error}") from error
            print(f"{name}: {found[name]} in {time.monotonic() - started:.0f} s", flush=True)
    kills = sum(sum(one["kills"].values()) for one in found.values())
    damaged = sum(sum(one.get("files damaged", {}).values()) for one in found.values())
    summary = f"{kills} kills and {damaged} damaged files: nothing lost, nothing half read, the same bits at the end"
    return {"kills": kills, "files damaged": damaged, "by what was killed": found, "summary": summary}
