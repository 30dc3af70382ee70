"""Names of metrics for people."""

from uncollapse.report.columns import COLUMNS

__all__ = ["ALONG", "label"]

LABELS = {column.key: column.label for column in COLUMNS} | {
    "nll_token": "NLL per token", "perplexity": "Perplexity", "kl_information": "KL: information",
    "kl_mismatch": "KL: mismatch", "active_share": "AU share", "shuffle_gap": "Shuffle gap", "probe": "Probe",
    "knn": "kNN", "local_smallest": "smallest singular value", "local_largest": "largest singular value",
    "seconds.fit": "seconds of training", "seconds.measure": "seconds of measuring",
}  # fmt: skip
#: what is written down along the way
ALONG = {"mi_legacy": "MI, their formula", "kl": "KL", "bound": "critic's bound", "active_units": "AU"}


def label(metric: str) -> str:
    """The name of a metric for people.

    Example:
        >>> label("mi_lower"), label("noise.1"), label("legacy.mi")
        ('MI ≥', 'rise under noise of variance 1', 'MI by their formula')
    """
    if metric.startswith("legacy."):
        key = metric.removeprefix("legacy.")
        return f"{key.upper() if len(key) < 4 else key} by their formula"
    if metric.startswith("noise."):
        return f"rise under noise of variance {metric.removeprefix('noise.')}"
    if metric.startswith("history."):
        key, _, which = metric.removeprefix("history.").rpartition(".")
        return f"{ALONG.get(key) or label(key)}, {which} of training"
    return LABELS.get(metric, metric.replace("_", " "))
