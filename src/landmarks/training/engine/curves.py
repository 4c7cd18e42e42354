"""Curves for TensorBoard beside `metrics.csv`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from landmarks.training.runs.folder import EpochRow, RunFolder


class Curves:
    """Writes the curves of a run; none without a run or where TensorBoard is not installed.

    Args:
        run: The run, or None.
        first_epoch: Where the curves go on; later points of an earlier try are hidden.
    """

    def __init__(self, run: RunFolder | None, first_epoch: int) -> None:
        self._writer: Any = None
        if run is None:
            return
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional and slow to import

            self._writer = SummaryWriter(str(run.tensorboard), purge_step=first_epoch)

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, row: EpochRow) -> None:
        """Add the points of one epoch."""
        if self._writer is None:
            return
        for split in ("train", "valid"):
            for name in ("loss", "accuracy"):
                self._writer.add_scalar(f"{name}/{split}", getattr(row, f"{split}_{name}"), row.epoch)
        self._writer.add_scalar("learning_rate", row.learning_rate, row.epoch)
