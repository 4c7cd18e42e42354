"""The one protocol of everything that follows a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from landmarks.training.engine.trained import TrainedRun
    from landmarks.training.runs.folder import EpochRow


class Logger(Protocol):
    """What a run reports; subclass it and override what you need, the rest does nothing.

    Example:
        >>> class Losses(Logger):
        ...     def epoch(self, row):
        ...         print(row.epoch, row.valid_loss)

    An exception raised here ends the run.
    """

    def stage(self, name: str) -> None:
        """A part of the run begins: `reading images`, `training`, `evaluating`."""
        return

    def remark(self, text: str) -> None:
        """Something about the data that the reader should know, in one sentence."""
        return

    def detail(self, text: str) -> None:
        """Something about the data that only a verbose reader asks for, such as each file that is skipped."""
        return

    def progress(self, done: int, total: int) -> None:
        """Images were decoded or embedded."""
        return

    def step(self, epoch: int, done: int, total: int) -> None:
        """`done` of the `total` steps of an epoch (from 0) are finished."""
        return

    def epoch(self, row: EpochRow) -> None:
        """An epoch is finished, validated and saved."""
        return

    def finish(self, run: TrainedRun) -> None:
        """The run is trained and evaluated."""
        return


class Loggers(Logger):
    """Several loggers as one; each event goes to all of them in order."""

    def __init__(self, *loggers: Logger) -> None:
        self._loggers = loggers

    def stage(self, name: str) -> None:
        """Forward the event."""
        for logger in self._loggers:
            logger.stage(name)

    def remark(self, text: str) -> None:
        """Forward the event."""
        for logger in self._loggers:
            logger.remark(text)

    def detail(self, text: str) -> None:
        """Forward the event."""
        for logger in self._loggers:
            logger.detail(text)

    def progress(self, done: int, total: int) -> None:
        """Forward the event."""
        for logger in self._loggers:
            logger.progress(done, total)

    def step(self, epoch: int, done: int, total: int) -> None:
        """Forward the event."""
        for logger in self._loggers:
            logger.step(epoch, done, total)

    def epoch(self, row: EpochRow) -> None:
        """Forward the event."""
        for logger in self._loggers:
            logger.epoch(row)

    def finish(self, run: TrainedRun) -> None:
        """Forward the event."""
        for logger in self._loggers:
            logger.finish(run)
