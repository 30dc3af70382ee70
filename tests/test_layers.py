"""Imports go one way (docs/design.md): a file may import only from lower floors."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "uncollapse"

FLOORS = [
    {"caches", "drafts", "errors", "functional", "log", "once", "plain", "processes"},
    {"claim", "limits"},
    {"augment", "distributions", "hdf5", "families", "likelihoods", "schedules", "vonmises"},
    {"draw", "data", "sides"},
    {"codes", "nets", "passes", "remedies", "tables", "wrappers"},
    {"metrics", "objective", "verdict"},
    {"testing", "store", "plan", "optimisers", "compiling", "progress", "precision", "board", "adapters", "monitor"},
    {"fitted", "inner", "team"},
    {"joining", "sharding", "storage"},
    {"fabric", "resume", "validation", "diagnosis"},
    {"launching"},
    {"fit", "preflight"},
    {"launched", "rescuing", "seeds"},
    {"study"},
    {"report"},
    {"diagnose", "protocols"},
    {"cli"},
]
NEVER = [
    ("remedies", "metrics"),
    ("metrics", "remedies"),
    ("metrics", "objective"),
    ("nets", "remedies"),
    ("remedies", "wrappers"),
    ("wrappers", "remedies"),
]
ENGINES = {
    "lightning_fabric": {"joining"},
    "pebble": {"study/engines/local"},
    "ray": {"study/engines/ray"},
    "distributed": {"study/engines/dask"},
    "submitit": {"study/engines/slurm"},
    "fsspec": {"storage/bucket"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "typer": {"cli"},
    "zuko": {"wrappers"},
}


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "uncollapse":
                yield from (f"uncollapse.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def floor(name):
    return next((level for level, rooms in enumerate(FLOORS) if name in rooms), None)


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if room(path) not in {"__init__", "__main__", "contrib"}]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    here = room(path)
    assert floor(here) is not None, f"give the room {here!r} a floor in this test"
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "uncollapse" and len(parts) > 1 and floor(parts[1]) is not None:
            there = parts[1]
            assert there == here or floor(there) <= floor(here), f"{here} imports {there}, which is above it"
            assert (here, there) not in NEVER
        if parts[0] in ENGINES:
            allowed = {here, path.relative_to(SOURCE).with_suffix("").as_posix()} & ENGINES[parts[0]]
            assert allowed, f"only {ENGINES[parts[0]]} may import {parts[0]}"
