"""A protocol in words, before anything ran."""

from collections.abc import Mapping
from typing import Any

import yaml

from uncollapse.report.protocol.cells import published, sentence

__all__ = ["described"]


def described(protocol: Mapping[str, Any]) -> str:
    """Question, source, published table, definitions, claims, scales and settings, for a terminal or a file.

    Arguments:
        protocol: its fields as plain values.
    """
    paper = protocol["paper"]
    out = [protocol["title"], "", protocol["question"], "", f"{paper['citation']}, {paper['where']}", paper["url"]]
    out += [f"Data of the paper: {paper['data']}"] if paper["data"] else []
    out += [f"Read for this: {paper['read']}"] if paper["read"] else []
    out += ["", "Published", *(f"  {line}" for line in rows(protocol)), "", "Columns"]
    for column in protocol["published"]["columns"].values():
        out.append(f"  {column['label']}: {sentence(column['definition'])}")
        out += [f"    beside it: {', '.join(column['right'])}"] if column["right"] else []
        out += [f"    {column['note']}"] if column["note"] else []
    out += listed("Claims", [f"{one['say']}. {one['because']}".strip() for one in protocol["claims"]])
    out += listed("What differs from the paper", protocol["differs"]) + listed("Not seen", protocol["unseen"])
    out += ["", "Scales"]
    for scale, changes in protocol["scales"].items():
        out.append(f"  {scale}: {changes.get('note', '')}")
        settings = {key: value for key, value in changes.items() if key != "note"}
        out += [f"    {line}" for line in yaml_of(settings)] if settings else []
    if protocol["compute"]:
        return "\n".join([*out, "", f"Computed exactly by {protocol['compute']}"])
    return "\n".join([*out, "", "Study at the paper's scale", *(f"  {line}" for line in yaml_of(protocol["study"]))])


def rows(protocol: Mapping[str, Any]) -> list[str]:
    """The published table, a line a method."""
    columns = protocol["published"]["columns"]
    if not protocol["published"]["rows"]:
        return ["no number could be seen"]
    return [
        f"{arm}: "
        + ", ".join(f"{columns[key]['label']} {cell(value, columns[key]['digits'])}" for key, value in found.items())
        for arm, found in protocol["published"]["rows"].items()
    ]


def cell(value: Any, digits: int) -> str:
    """A published value as it stands in the file."""
    if value is None or isinstance(value, str):
        return value or "–"
    mean, std = value if isinstance(value, list) else (value, None)
    return published({"text": "", "mean": mean, "std": std}, digits)


def listed(title: str, lines: list[str]) -> list[str]:
    """A title and its lines, or nothing."""
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def yaml_of(value: Any) -> list[str]:
    """Settings as lines of YAML."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).rstrip().splitlines()
