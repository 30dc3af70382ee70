"""The live view, with and without a terminal."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from uncollapse.study.display import live
from uncollapse.study.runner import Job


def jobs_in(folder, tiny):
    jobs = [Job(run, folder / str(index)) for index, run in enumerate(tiny.runs())]
    jobs[0].state, jobs[1].state, jobs[2].state, jobs[2].note = "done", "running", "failed", "no space left"
    jobs[0].tries = 1
    jobs[1].folder.mkdir()
    lines = [{"step": 10, "total": 30, "kl": 2.0, "mi_lower": 1.5}, {"step": 20, "total": 30}]
    (jobs[1].folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"cut')
    return jobs


def shown(folder, tiny, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with live(console) as show:
        show(jobs_in(folder, tiny))
    return console.file.getvalue()


def test_a_terminal_shows_bars_and_numbers(tmp_path, tiny):
    text = shown(tmp_path, tiny, terminal=True)
    assert "2 of 4 done" in text
    assert "step 20 of 30" in text
    assert "KL 2.0" in text
    assert "MI ≥ 1.50" in text


def test_a_file_gets_a_line_a_finished_run(tmp_path, tiny):
    text = shown(tmp_path, tiny, terminal=False)
    assert "done: plain, seed 0" in text
    assert "failed: plain, seed 1: no space left" in text


def test_what_was_done_before_is_counted_in_one_line(tmp_path, tiny):
    jobs = jobs_in(tmp_path, tiny)
    jobs[0].tries = 0
    console = Console(file=io.StringIO(), width=120)
    with live(console) as show:
        show(jobs)
        jobs[1].state, jobs[1].tries = "done", 1
        show(jobs)
    text = console.file.getvalue()
    assert text.count("done before: 1 run\n") == 1
    assert "done: plain, seed 0" not in text
    assert text.count(f"done: {jobs[1].label}") == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_names_of_strangers(tmp_path, tiny, terminal):
    """Brackets are no markup, and nothing commands the terminal."""
    jobs = jobs_in(tmp_path, tiny)
    evil = "[/red][link=http://x]a\x1b]0;pwned\x07\u202e"
    for job in jobs:
        job.run, job.note = replace(job.run, arm=evil), evil
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    with live(console) as show:
        show(jobs)
    text = console.file.getvalue()
    assert "[/red]" in text
    assert "]0;pwned\x07" not in text
    assert "\u202e" not in text
