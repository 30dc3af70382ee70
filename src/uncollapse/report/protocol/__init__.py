"""The three-column table of a protocol: published, the paper's formula on our run, the right metric on our run."""

from uncollapse.report.protocol.text import to_json, to_markdown, to_rich

__all__ = ["to_json", "to_markdown", "to_rich"]
