"""Values as JSON takes them: numbers that are finite, and pictures as text."""

import base64
import math
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["finite_only", "packed"]


def finite_only(value: Any) -> Any:
    """The value with every number in it that is not finite as None.

    Example:
        >>> finite_only({"a": (1.0, float("nan")), "b": "text"})
        {'a': [1.0, None], 'b': 'text'}
    """
    if isinstance(value, dict):
        return {key: finite_only(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_only(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def packed(images: "Tensor") -> dict[str, Any]:
    """Images (n, C, H, W) in [0, 1] as base64 of compressed bytes.

    Example:
        >>> packed(torch.zeros(1, 1, 2, 2))["shape"]
        [1, 1, 2, 2]
    """
    import torch

    values = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().contiguous()
    data = base64.b64encode(zlib.compress(values.numpy().tobytes(), 9)).decode()
    return {"shape": list(values.shape), "data": data}
