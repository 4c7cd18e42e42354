"""The benchmark of training on a GPU runs on the CPU at a small size, every row of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from blank_plots import blank_plots
from tiny_backbone import small_networks

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import gpu
from gpu import Report, Size, main


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def rows_of(text: str) -> dict[str, list[list[str]]]:
    """The rows of each table by its title, without the header."""
    found: dict[str, list[list[str]]] = {}
    for section in text.split("\n## ")[1:]:
        title, *lines = section.splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        found[title] = cells[2:]
    return found


def test_every_row_is_measured_at_a_small_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_networks(monkeypatch)
    blank_plots(monkeypatch)
    results = {path: path.read_bytes() for path in gpu.RESULTS.iterdir()}
    assert main(["--small", "--seconds", "250", "--out", str(tmp_path / "copy")]) == 0
    text = (tmp_path / "copy" / "gpu.md").read_text()
    assert text in capsys.readouterr().out
    assert "no GPU: the CPU" in text
    assert "failed:" not in text
    assert "not measured" not in text
    rows = rows_of(text)
    assert {title: len(found) for title, found in rows.items()} == {
        "Loaders": 2,
        "Throughput": 6,
        "DDP of one process": 1,
        "What is learned": 4,
        "Whole runs": 1,
        "Waiting for the device": 2,
    }
    assert [row[0] for row in rows["Throughput"]] == ["scratch"] * 3 + ["fine-tuning"] * 3
    for row in rows["Throughput"]:
        assert any(cell.split(" ")[0].isdigit() and int(cell.split(" ")[0]) > 0 for cell in row[5:]), row
    assert rows["What is learned"][1][-1] == "yes (loss +0.0000, accuracy +0.000)"
    assert {path: path.read_bytes() for path in gpu.RESULTS.iterdir()} == results, "a small run is no result"


def test_a_row_that_fails_says_why_and_stops_no_other() -> None:
    def failing() -> list[str]:
        raise RuntimeError("CUDA error: no kernel image\nCompile with `TORCH_USE_CUDA_DSA`")

    report = Report(deadline=float("inf"), limited=False)
    report.section("Speed", ["what", "images/s", "of the limit"])
    report.row(["first"], failing)
    report.row(["second"], lambda: ["7", "0.9"])
    report.close()
    assert report.failures == 1
    assert rows_of("\n" + "\n\n".join(report.parts))["Speed"] == [
        ["first", "failed: RuntimeError: CUDA error: no kernel image", "-"],
        ["second", "7", "0.9"],
    ]


def test_no_row_begins_when_the_time_is_up() -> None:
    report = Report(deadline=0.0, limited=False)
    report.section("Speed", ["what", "images/s"])
    report.row(["late"], lambda: ["7"])
    report.close()
    assert report.failures == 0
    assert rows_of("\n" + "\n\n".join(report.parts))["Speed"] == [["late", "not measured: the time was up"]]


def test_a_gpu_is_measured_in_16_bits_too() -> None:
    on_gpu, on_cpu = (gpu.configurations(Size(), device) for device in ("cuda", "cpu"))
    assert {how.precision for how in on_gpu} == {"32-true", "bf16-mixed", "16-mixed"}
    assert {how.precision for how in on_cpu} == {"32-true", "bf16-mixed"}
