"""Remedies that change the model: wrappers round a model that are themselves models."""

from uncollapse.wrappers.base import Wrapper

__all__ = ["Wrapper"]
