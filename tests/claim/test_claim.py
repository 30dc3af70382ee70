"""One process at a time: real processes that race, are killed, stopped and woken."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from uncollapse import claim
from uncollapse.claim import Claim, Folder, Sightings, chain, dead, hold, holding, owner, shelves, top, try_claim
from uncollapse.errors import RunConflict, WorkFailed

CHILD = """
import sys, time
from pathlib import Path
from uncollapse.claim import Claim, Folder, Sightings, try_claim
folder, lease, seconds = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
found = try_claim(Folder(folder), Sightings(), lease)
print("got" if isinstance(found, Claim) else "not", flush=True)
end = time.monotonic() + seconds
while isinstance(found, Claim) and time.monotonic() < end:
    time.sleep(0.02)
    try:
        found.check()
    except Exception as error:
        print(type(error).__name__, error, flush=True)
        break
"""


@pytest.fixture
def child(tmp_path):
    """Starts a process that claims the folder; all are ended with the test."""
    started = []

    def start(lease=60.0, seconds=60.0, folder=tmp_path):
        words = [sys.executable, "-c", CHILD, str(folder), str(lease), str(seconds)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def says(process):
    return process.stdout.readline().split()


def elsewhere(folder, number=1, **changes):
    """The claim of a process of another machine."""
    record = {"token": "x", "host": "node7", "pid": 12, "started": "1", "place": "other boot", "lease": 0.4, "at": 1.0}
    (folder / chain.title(number)).write_text(json.dumps({**record, **changes}))


def try_it(folder, sightings=None, lease=60.0):
    return try_claim(Folder(folder), sightings or Sightings(), lease)


def test_the_second_is_told_who_has_it(tmp_path, child):
    first = child()
    assert says(first) == ["got"]
    found = try_it(tmp_path)
    assert owner(found) == f"process {first.pid} on {os.uname().nodename}"
    with pytest.raises(RunConflict, match=f"is being worked on by process {first.pid}"):
        hold(tmp_path)


def test_of_many_that_race_one_wins(tmp_path, child):
    several = [child(seconds=3) for _ in range(6)]
    assert sorted(said for process in several for said in says(process)) == ["got", *["not"] * 5]


def test_threads_that_race_for_a_free_a_released_and_a_dead_claim(tmp_path):
    for round_ in range(30):
        folder = tmp_path / str(round_)
        folder.mkdir()
        if round_ % 3 == 1:
            elsewhere(folder, 5, released=True)
        if round_ % 3 == 2:
            elsewhere(folder, 5, place=claim.owners.place(), pid=2**22 + 1)
        gate, found = threading.Barrier(5), []

        def racer(folder=folder, gate=gate, found=found):
            gate.wait()
            found.append(try_it(folder))

        threads = [threading.Thread(target=racer) for _ in range(5)]
        for one in [*threads]:
            one.start()
        for one in threads:
            one.join()
        won = [one for one in found if isinstance(one, Claim)]
        assert len(won) == 1
        won[0].release()


def test_a_killed_owner_of_this_machine_is_followed_at_once(tmp_path, child):
    first = child()
    assert says(first) == ["got"]
    first.send_signal(signal.SIGKILL)  # not waited for: a zombie is dead too
    deadline = time.monotonic() + 5
    while not isinstance(found := try_it(tmp_path), Claim):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found.release()


def test_a_stopped_owner_loses_it_after_its_lease_and_notices(tmp_path, child):
    first = child(lease=0.6)
    assert says(first) == ["got"]
    first.send_signal(signal.SIGSTOP)
    sightings, since = Sightings(), time.monotonic()
    while not isinstance(found := try_it(tmp_path, sightings), Claim):
        time.sleep(0.02)
    assert time.monotonic() - since > 0.55
    first.send_signal(signal.SIGCONT)
    words = says(first)
    assert words[0] == "RunConflict"
    assert f"taken over by process {os.getpid()}" in " ".join(words)
    found.check(now=True)
    found.release()


def test_a_running_owner_of_this_machine_keeps_it_however_silent(tmp_path):
    mine = {"place": claim.owners.place(), "pid": os.getpid(), "started": claim.owners.life(os.getpid())[1], "lease": 1}
    assert not dead(mine, unchanged=1e6)
    assert dead({**mine, "started": "7"})
    assert not dead({**mine, "place": "other"}, unchanged=0.9)
    assert dead({**mine, "place": "other"}, unchanged=1.1)
    assert not dead({}, unchanged=59)
    assert dead({}, unchanged=61)


def test_an_owner_elsewhere_is_judged_by_what_is_seen_and_by_no_clock(tmp_path):
    elsewhere(tmp_path, at=time.time() - 1e9)
    sightings = Sightings()
    assert owner(try_it(tmp_path, sightings)) == "process 12 on node7"
    time.sleep(0.25)
    elsewhere(tmp_path, 2, at=time.time() + 1e9)  # a sign of life starts the watch anew
    assert not isinstance(try_it(tmp_path, sightings), Claim)
    time.sleep(0.25)
    assert not isinstance(try_it(tmp_path, sightings), Claim)
    time.sleep(0.25)
    found = try_it(tmp_path, sightings)
    assert isinstance(found, Claim)
    found.release()


def test_hold_watches_a_silent_owner_and_believes_a_lively_one(tmp_path):
    elsewhere(tmp_path)
    started = time.monotonic()
    with holding(tmp_path):
        assert time.monotonic() - started > 0.4
    other = tmp_path / "other"
    other.mkdir()
    elsewhere(other, lease=30)
    threading.Timer(0.3, lambda: elsewhere(other, 2, lease=30, at=2.0)).start()
    with pytest.raises(RunConflict, match="process 12 on node7"):
        hold(other)


def test_a_claim_is_renewed_and_its_highest_file_stays(tmp_path):
    found = try_it(tmp_path, lease=0.3)
    seen = set()
    deadline = time.monotonic() + 5
    while len(seen) < 4 and time.monotonic() < deadline:
        seen.add(top(Folder(tmp_path))[0])
        time.sleep(0.01)
    assert len(seen) == 4
    found.release()
    assert top(Folder(tmp_path))[1]["released"] is True
    assert len([*tmp_path.glob("claim-*")]) == 1
    assert not [*tmp_path.glob(".*.part")]
    following = try_it(tmp_path)
    assert following.number == found.number + 1
    following.release()


def test_who_comes_late_below_a_higher_number_withdraws(tmp_path, monkeypatch):
    genuine = chain.top
    elsewhere(tmp_path, 5)

    def slow(shelf):
        seen = genuine(shelf)
        monkeypatch.setattr(chain, "top", genuine)
        (tmp_path / chain.title(5)).unlink()  # the owner goes on to 7 while the one who looked sleeps
        elsewhere(tmp_path, 7)
        return seen[0], {"released": True}

    monkeypatch.setattr(chain, "top", slow)
    assert owner(try_it(tmp_path)) == "process 12 on node7"
    assert [path.name for path in tmp_path.iterdir()] == [chain.title(7)]


def test_a_request_that_the_network_repeats_finds_itself(tmp_path, monkeypatch):
    genuine = Folder.create
    monkeypatch.setattr(Folder, "create", lambda self, name, text: genuine(self, name, text) and False)
    found = try_it(tmp_path)
    assert isinstance(found, Claim)
    assert found.renew()
    found.release()


def test_without_hard_links_the_same_holds(tmp_path, monkeypatch):
    def refuse(*names):
        raise OSError(95, "no links here")

    monkeypatch.setattr(shelves.os, "link", refuse)
    found = try_it(tmp_path)
    assert isinstance(found, Claim)
    assert not isinstance(try_it(tmp_path), Claim)
    found.release()


def test_the_same_thread_shares_and_another_does_not(tmp_path):
    with holding(tmp_path) as outer:
        with holding(tmp_path) as inner:
            assert inner is outer
        outer.check(now=True)
        said = []

        def other():
            try:
                hold(tmp_path)
            except RunConflict as error:
                said.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert "another thread of this process" in said[0]
    with holding(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs a place that takes no file")
def test_a_place_that_takes_no_file_is_one_sentence():
    with pytest.raises(WorkFailed, match=r"cannot write in /proc/uncollapse"):
        hold(Path("/proc/uncollapse"))


def test_a_claim_cut_short_is_nobody_s_and_waits_for_a_lease(tmp_path):
    (tmp_path / chain.title(3)).write_text('{"token": "x", "ho')
    assert try_it(tmp_path) == {}
    assert owner({}) == "an unknown process"
