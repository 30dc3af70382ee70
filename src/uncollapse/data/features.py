"""Which columns of a Hugging Face data set hold the examples and the labels, by their types and names."""

from collections.abc import Mapping
from typing import Any

from uncollapse.data.batch import INPUTS, LABELS
from uncollapse.errors import BadInput

__all__ = ["columns_in", "kind_of", "label_in"]

NUMBERS = ("int", "uint", "float", "bool")


def kind_of(feature: Any) -> str:
    """The name of a feature's type."""
    return type(feature).__name__


def label_in(features: Mapping[str, Any], label: str | None) -> str | None:
    """The column of labels, if there is one."""
    if label is not None and label not in features:
        raise BadInput(f"there is no column {label!r}; known: {', '.join(features)}")
    usual = [key for key in LABELS if key in features]
    return label or next((key for key in usual if kind_of(features[key]) in {"ClassLabel", "Value"}), None)


def columns_in(features: Mapping[str, Any], column: str | None, label: str | None) -> list[str]:
    """The columns that are the examples."""
    if column is not None:
        if column not in features:
            raise BadInput(f"there is no column {column!r}; known: {', '.join(features)}")
        return [column]
    rest = {key: feature for key, feature in features.items() if key != label}
    usual = [key for key in INPUTS if key in rest and not is_text(rest[key])]
    wide = [key for key, feature in rest.items() if kind_of(feature) not in {"Value", "ClassLabel"}]
    numbers = [key for key, feature in rest.items() if kind_of(feature) == "Value" and not is_text(feature)]
    found = usual[:1] or (wide if len(wide) == 1 else []) or ([] if wide else numbers)
    if not found:
        raise BadInput(f"it is not clear which column holds the examples; name one as column=: {', '.join(rest)}")
    return found


def is_text(feature: Any) -> bool:
    """Whether a column holds something else than numbers."""
    return kind_of(feature) == "Value" and not str(feature.dtype).startswith(NUMBERS)
