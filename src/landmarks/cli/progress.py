"""Progress on standard error: what a run does, a bar for each part, a line for each epoch."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from landmarks.training.engine.loggers.base import Logger

if TYPE_CHECKING:
    from landmarks.training.runs.folder import EpochRow


class RunProgress(Logger):
    """Shows a run while it goes; use as a context manager."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, text: str) -> None:
        """Say what begins."""
        self.console.print(text)
        self._bar.update(self._task, description=text, visible=False)

    def progress(self, done: int, total: int) -> None:
        """Move the bar of the current part."""
        self._bar.update(self._task, completed=done, total=total, visible=True)

    def step(self, epoch: int, done: int, total: int) -> None:
        """Move the bar of an epoch."""
        self._bar.update(
            self._task, description=f"epoch {epoch + 1}", completed=done, total=total, visible=done < total
        )

    def epoch(self, row: EpochRow) -> None:
        """Say what an epoch brought."""
        self.console.print(
            f"epoch {row.epoch + 1:3d}  loss {row.train_loss:.3f} / {row.valid_loss:.3f}  accuracy "
            f"{row.train_accuracy:.3f} / {row.valid_accuracy:.3f}  {row.images_per_second:.0f} images/s"
            + ("  saved" if row.saved else ""),
            highlight=False,
        )
