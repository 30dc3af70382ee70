"""A Ray cluster of three nodes: a worker, a node and the driver are killed in mid-study, and started again."""

import json
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from soak._studies import QUIET, attempts_of, audit, finished_runs, kill, names, pause, start, study_file, undisturbed
from uncollapse.claim import dead, top
from uncollapse.storage import Place, at

LEASE = 5  #: seconds
STORE = 100 * 2**20  #: bytes of a node's object store


def run(quick: bool) -> dict[str, Any]:
    """24 runs (or 6) on two computing nodes and a head; kill -9 of everything; the results are the undisturbed ones."""
    os.environ.update({**QUIET, "RAY_USAGE_STATS_ENABLED": "0"})
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        study, runs = study_file(base, quick)
        expected = undisturbed(base, study, runs)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1, object_store_memory=STORE)
            return disturbed(cluster, base, study, runs, expected, quick)
        finally:
            cluster.shutdown()


def disturbed(
    cluster: Any, base: Path, study: Path, runs: int, expected: dict[str, tuple[str, str]], quick: bool
) -> dict[str, Any]:
    """The study with kills, and what is left of it."""
    chance, place, killed = random.Random(3), at(base / "cluster"), {"worker": 0, "node": 0, "driver": 0}
    began = time.monotonic()
    words = ("study", "run", study, "--out", base / "cluster", "--engine", "ray", "--address", cluster.address)
    driver = start(*words, "--lease", LEASE, log=base / "driver.log")
    try:
        for what in ["worker", "node", "driver"] * (1 if quick else 3):
            progress(place, driver, base / "driver.log")
            pause(chance, 0.2, 2.0)
            if len(finished_runs(place)) >= runs - 1:
                break
            if what == "worker":
                os.kill(running(place)[0], signal.SIGKILL)
            elif what == "node":
                lose_a_node(cluster)
            else:
                kill(driver)
                driver = start(*words, "--lease", LEASE, log=base / "driver.log")
            killed[what] += 1
            print(f"{len(finished_runs(place))} of {runs} done, killed {json.dumps(killed)}", flush=True)
        code = driver.wait(timeout=1800)
        assert code == 0, (base / "driver.log").read_text()[-3000:]
    finally:
        with suppress(ProcessLookupError):
            kill(driver)
    assert all(killed.values()), f"the study was over before everything was killed: {killed}"
    return {
        "nodes": "a head without cores and two of one core each", "SIGKILLs": killed, "lease, s": LEASE,
        "seconds": round(time.monotonic() - began, 1), **audit(place, expected),
    }  # fmt: skip


def running(place: Place) -> list[int]:
    """Processes that have a claim and live."""
    found = [top(place.shelf(name))[1] for name in names(place)]
    return [one["pid"] for one in found if one and not one["released"] and not dead(one)]


def progress(place: Place, driver: Any, log: Path) -> None:
    """Wait until a run is beyond its first checkpoint, and is being worked on."""
    end = time.monotonic() + 600
    before = sum(len(several) for several in attempts_of(place).values())
    while time.monotonic() < end:
        assert driver.poll() is None or driver.returncode == 0, log.read_text()[-3000:]
        half = [name for name in names(place) if (place.folder / name / "checkpoint.safetensors").exists()]
        after = sum(len(several) for several in attempts_of(place).values())
        if driver.poll() == 0 or (half and running(place) and after > before):
            return
        time.sleep(0.2)
    raise AssertionError(f"no run made progress: {log.read_text()[-3000:]}")


def lose_a_node(cluster: Any) -> None:
    """Kill -9 the raylet of a computing node that has a process at work, and give the cluster a new node."""
    node = next(one for one in cluster.worker_nodes)
    raylet = node.all_processes["raylet"][0].process
    os.kill(raylet.pid, signal.SIGKILL)
    raylet.wait()
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=STORE)
