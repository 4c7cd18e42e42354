"""Training on a GPU: its speed against the limits of the device, what it learns, and whether every path runs.

Run `python benchmarks/gpu.py`; the pictures are drawn by `tests/drawn.py`. Without a GPU `--small` runs the same
rows on the CPU at a size that tells nothing of speed. A row that fails tells why and stops no other.

- loaders: our loaders without a network, by loader processes;
- throughput: the network alone (forward, backward and step on one batch in memory, the limit of the device), our
  loop with clipping and averaging on the same batch, and `landmarks train` with its loaders; the plain loop of
  `training_speed.py` on the same device;
- DDP of one process against none;
- what is learned: the last validation loss and accuracy of the same seed on the CPU and on the device;
- whole runs: training, evaluation and report, also interrupted and resumed;
- how often the steps of an epoch wait for the device.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import torch
from gpu_rows import ddp, learned, loading_speed, plain_speed, throughput, waits, whole_run
from gpu_setup import BACKBONE, Configuration, Setup, random_weights
from record import RESULTS, record, table

from landmarks.training.config.settings import Precision
from landmarks.training.runs.folder import EpochRow

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from drawn import draw_dataset

CONFIGURATIONS = (
    Configuration("32-true", channels_last=False),
    Configuration("32-true"),
    Configuration("bf16-mixed"),
    Configuration("bf16-mixed", channels_last=False),
    Configuration("bf16-mixed", tuned=True),
    Configuration("16-mixed"),
)
COMPILED = Configuration("bf16-mixed", compiled=True)


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        scratch: Crop in pixels and images per step from scratch.
        tuning: The same of fine-tuning.
        backbone: Of fine-tuning.
        workers: Loader processes of the rows of the loaders; the last number is used elsewhere.
        drawn: Side, classes and training pictures per class of the set that is trained on for speed.
        tiny: The same of the set that is learned.
        epochs: Epochs of learning.
        thorough: Whether to measure what tells nothing, and takes long, at a small size: `torch.compile`, cuDNN's
            choice of algorithms, the speed in bf16 and whole runs of transfer learning.
    """

    scratch: tuple[int, int] = (128, 256)
    tuning: tuple[int, int] = (192, 256)
    backbone: str = BACKBONE
    workers: tuple[int, ...] = (0, 4, 8, 16)
    drawn: tuple[int, int, int] = (256, 8, 10)
    tiny: tuple[int, int, int] = (96, 4, 36)
    epochs: int = 6
    thorough: bool = True


SMALL = Size((32, 8), (32, 4), "test_efficientnet", (0,), (64, 2, 10), (64, 2, 10), 1, thorough=False)


@dataclass
class Report:
    """Tables whose rows are measured one after another, as long as there is time.

    Attributes:
        deadline: Time of the monotonic clock after which no row begins.
        limited: Whether a row is ended at the deadline, and its memory taken back: on a GPU.
        failures: How many rows failed.
    """

    deadline: float
    limited: bool
    failures: int = 0
    parts: list[str] = field(default_factory=list)
    _header: tuple[str, ...] = ()
    _rows: list[list[str]] = field(default_factory=list)

    def section(self, title: str, header: Sequence[str]) -> None:
        """Begin a table."""
        self.close()
        self.parts.append(f"## {title}")
        self._header, self._rows = tuple(header), []

    def row(self, names: Sequence[str], measure: Callable[[], Sequence[str]]) -> None:
        """Measure a row, or say in one line why there is none."""
        started = time.monotonic()
        if started >= self.deadline:
            cells = ["not measured: the time was up"]
        else:
            try:
                with ended_after(self.deadline - started if self.limited else None):
                    cells = list(measure())
            except Exception as error:  # noqa: BLE001 - a row that fails stops no other
                self.failures += 1
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                cells = [f"failed: {type(error).__name__}: {lines[0][:160] if lines else 'no reason given'}"]
        if self.limited:
            gc.collect()  # what one row leaves on the GPU is not there for the next
        self._rows.append([*names, *cells, *["-"] * (len(self._header) - len(names) - len(cells))])
        print(*self._rows[-1], f"[{time.monotonic() - started:.1f} s]", sep=" | ", file=sys.stderr, flush=True)

    def close(self, note: str = "") -> None:
        """End the table that was begun, with a sentence below it."""
        if self._rows:
            self.parts.append(table(self._header, self._rows))
            self._rows = []
        if note:
            self.parts.append(note)


@contextmanager
def ended_after(seconds: float | None) -> Iterator[None]:
    """End what takes longer with a `TimeoutError`."""
    if seconds is None:
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("the time was up")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure_speed(report: Report, size: Size, setups: dict[str, Setup]) -> None:
    """Add the tables of loaders and throughput."""
    report.section("Loaders", ["crop", "loader processes", "first batch after, s", "images/s afterwards"])
    speeds: dict[str, float] = {}

    def loading(setup: Setup, name: str) -> list[str]:
        first, speeds[name] = loading_speed(setup)
        return [f"{first:.2f}", f"{speeds[name]:.0f}"]

    for name, setup in setups.items():
        for workers in size.workers:
            part = replace(setup, workers=workers, batch=min(64, setup.batch))
            report.row([str(setup.size), str(workers)], partial(loading, part, name))
    head = ["network", "precision", "layout", "also", "batch", "network alone, images/s"]
    head += ["our loop on a batch in memory", "our training, images/s", "of the lower limit"]
    report.section("Throughput", head)
    for name, setup in setups.items():
        usual = replace(setup, batch=64 if setup.kind == "scratch" else 32)  # the defaults of the project
        parts = [(setup, how) for how in configurations(size, setup.device)]
        for part, how in [*parts, (usual, Configuration("bf16-mixed"))] if size.thorough else parts:
            measured = partial(throughput, part, how, speeds.get(name, 1000.0))
            report.row([name, *how.cells(), str(part.batch)], measured)
        plain = ["32-true", "contiguous", "plain loop of torchvision", str(setup.batch), "-", "-"]
        report.row([name, *plain], partial(plain_speed, setup, speeds.get(name, 1000.0)))
    report.close(
        "The last column divides our training by the network alone or by the loaders, whichever is slower. "
        "`32-true` computes convolutions in TF32 on an NVIDIA GPU, which is PyTorch's default."
    )


def configurations(size: Size, device: str) -> tuple[Configuration, ...]:
    """Return what is worth measuring at this size: a CPU does not train in 16 bits."""
    possible = [how for how in CONFIGURATIONS if device == "cuda" or how.precision != "16-mixed"]
    return tuple(possible) if size.thorough else tuple(possible[:2])


def compare_learning(report: Report, tiny: Setup, epochs: int) -> None:
    """Add the table of what the devices learn from one seed."""
    header = ["device", "precision", "training loss", "validation loss", "validation accuracy", "as on the CPU"]
    report.section("What is learned", header)
    reference: list[EpochRow] = []

    def compare(device: str, precision: Precision, tf32: bool, tolerance: float) -> list[str]:
        row = learned(tiny, device, precision, epochs=epochs, tf32=tf32)
        reference.append(row)
        cells = [f"{row.train_loss:.4f}", f"{row.valid_loss:.4f}", f"{row.valid_accuracy:.3f}"]
        loss = row.valid_loss - reference[0].valid_loss
        accuracy = row.valid_accuracy - reference[0].valid_accuracy
        near = abs(loss) <= tolerance and abs(accuracy) <= 0.1
        if not near:
            report.failures += 1
        return [*cells, f"{'yes' if near else 'NO'} (loss {loss:+.4f}, accuracy {accuracy:+.3f})"]

    rows: list[tuple[str, str, Precision, bool, float]] = [
        ("cpu", "32 bits", "32-true", True, 0.0),
        (tiny.device, "32 bits without TF32", "32-true", False, 0.02),
        (tiny.device, "32 bits", "32-true", True, 0.05),
        (tiny.device, "bf16", "bf16-mixed", True, 0.05),
    ]
    if tiny.device == "cuda":
        rows.append((tiny.device, "16 bits", "16-mixed", True, 0.05))
    for device, name, precision, tf32, tolerance in rows:
        report.row([device, name], partial(compare, device, precision, tf32, tolerance))
    report.close(
        "Tolerances of the validation loss: 0.02 for 32 bits without TF32 and 0.05 for the others; of the "
        f"accuracy: 0.1. {epochs} epochs of {tiny.size} pixels, batches of {tiny.batch}, one seed."
    )


def measure(report: Report, size: Size, seconds: float, device: str, root: Path) -> str:
    """Draw the sets, measure every table, and return which weights were used."""
    sets = {"speed": size.drawn, "tiny": size.tiny}
    for name, (side, classes, pictures) in sets.items():
        draw_dataset(root / name, classes=classes, train_per_class=pictures, test_per_class=3, side=side)
    weights = random_weights(root, size.backbone)
    common = {"cache": root / "cache", "seconds": seconds, "device": device, "backbone": size.backbone}
    setups = {
        name: Setup(
            root / "speed", kind=kind, size=side, batch=batch, workers=size.workers[-1], weights=given, **common
        )
        for name, kind, (side, batch), given in (
            ("scratch", "scratch", size.scratch, None),
            ("fine-tuning", "transfer", size.tuning, weights),
        )
    }
    measure_speed(report, size, setups)
    tiny = replace(setups["scratch"], data=root / "tiny", size=min(64, size.scratch[0]), batch=8, workers=0)
    compare_learning(report, tiny, size.epochs)
    tuned = replace(setups["fine-tuning"], data=root / "tiny", size=tiny.size, batch=8, workers=0)
    report.section("Whole runs", ["training", "s", "test accuracy"])
    report.row(["scratch, interrupted and resumed"], partial(whole_run, tiny, interrupted=True))
    if size.thorough:
        report.row(["scratch"], partial(whole_run, tiny))
        report.row(["transfer, frozen"], partial(whole_run, tuned, frozen=True))
        report.row(["transfer, fine-tuned"], partial(whole_run, tuned))
    report.section("Waiting for the device", ["network", "steps", "waits"])
    for name, setup in (("scratch", tiny), ("fine-tuning", tuned)):
        report.row([name], partial(waits, setup))
    report.section("DDP of one process", ["precision", "without, images/s", "with", "ratio", "validation loss"])
    precision: Precision = "bf16-mixed" if size.thorough else "32-true"
    report.row([precision], partial(ddp, setups["scratch"], precision))
    if size.thorough:
        header = ["network", "precision", "layout", "also", "batch", "network alone, images/s"]
        header += ["our loop on a batch in memory", "our training, images/s", "of the network alone"]
        report.section("`torch.compile`", header)
        for name, setup in setups.items():
            names = [name, *COMPILED.cells(), str(setup.batch)]
            report.row(names, partial(throughput, setup, COMPILED, 1e9))
    report.close()
    return "pretrained" if weights is None else "random"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write gpu.md; return how many rows failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few and tiny pictures; writes to --out alone")
    parser.add_argument("--out", type=Path, help="folder for a copy of gpu.md")
    parser.add_argument("--seconds-per-row", type=float, default=0.8, help="length of each measurement")
    parser.add_argument("--seconds", type=float, default=140.0, help="no row begins later than this")
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.monotonic()
    report = Report(started + given.seconds, limited=device == "cuda")
    seconds = 0.01 if given.small else given.seconds_per_row
    with TemporaryDirectory() as root:
        weights = measure(report, SMALL if given.small else Size(), seconds, device, Path(root))
    computed = torch.cuda.get_device_name() if device == "cuda" else "no GPU: the CPU"
    body = [
        f"Device: {computed}. The backbone of fine-tuning has {weights} weights. {report.failures} rows failed; "
        f"{time.monotonic() - started:.0f} s in all. The pictures are drawn, so few that memory holds them all.",
        *report.parts,
    ]
    folders = [*([] if given.small else [RESULTS]), *([given.out] if given.out else [])]
    command = "python benchmarks/gpu.py" + (" --small" if given.small else "")
    packages = ["torch", "torchvision", "timm"]
    record("gpu", "Training on a GPU", command, "\n\n".join(body), packages, folders=folders)
    return report.failures


if __name__ == "__main__":
    main()
