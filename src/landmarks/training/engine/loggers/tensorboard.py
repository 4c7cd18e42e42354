"""Learning curves for TensorBoard, next to `metrics.csv`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from landmarks.training.engine.loggers.base import Logger
from landmarks.training.runs.folder import EpochRow


class TensorBoardLogger(Logger):
    """Writes an event file, from the first epoch on; nothing where TensorBoard is not installed.

    Args:
        folder: Folder of the event files. Points of an earlier attempt that the new ones replace are hidden.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def epoch(self, row: EpochRow) -> None:
        """Add the points of one epoch."""
        if self._writer is None:
            with suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional and slow to import

                self._writer = SummaryWriter(str(self._folder), purge_step=row.epoch)
        if self._writer is None:
            return
        for split in ("train", "valid"):
            for name in ("loss", "accuracy"):
                self._writer.add_scalar(f"{name}/{split}", getattr(row, f"{split}_{name}"), row.epoch)
        self._writer.add_scalar("learning_rate", row.learning_rate, row.epoch)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
