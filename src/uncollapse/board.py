"""Scalars for TensorBoard, where it is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Board"]


class Board:
    """Writes scalars below `folder / "tensorboard"`; does nothing without a folder or without TensorBoard.

    Arguments:
        folder: of the run, or None.
        step: where a resumed run goes on; what an earlier attempt wrote after it is hidden.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self.writer: Any = None
        if folder is not None and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(self, prefix: str, values: dict[str, Any], step: int) -> None:
        """Write the numbers among `values` as `prefix/name`, nested ones as `prefix/outer/name`."""
        if self.writer is None:
            return
        for name, value in values.items():
            if isinstance(value, dict):
                self.add(f"{prefix}/{name}", value, step)
            elif isinstance(value, int | float):
                self.writer.add_scalar(f"{prefix}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()
