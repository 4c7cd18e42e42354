"""Validation accuracy of each class by epoch: counted, stored, and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from landmarks.errors import RunError
from landmarks.training.engine.class_hits import CountingLoss
from landmarks.training.reports.class_plots import class_curves
from landmarks.training.runs.class_history import add_class_row, read_class_history

CLASSES = ("a", 'b, "c"', "ü\rö")


def test_a_loss_counts_each_class_and_stays_the_loss() -> None:
    loss = CountingLoss(3, Fabric(accelerator="cpu", devices=1))
    logits = torch.tensor([[2.0, 1, 0], [0, 1, 0], [0, 3, 0], [0, 0, 1]])
    labels = torch.tensor([0, 0, 1, 1])
    plain = torch.nn.functional.cross_entropy(logits[:3], labels[:3])
    torch.testing.assert_close(loss(logits[:3], labels[:3]), plain)
    loss(logits[3:], labels[3:])
    assert loss.accuracies() == [0.5, 0.5, None]


def test_rows_are_read_as_written_and_a_repeated_epoch_replaces_what_followed(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    for epoch, first in enumerate((0.1, 0.2, 0.3)):
        add_class_row(path, CLASSES, epoch, [first, 0.5, None])
    # A class without images is left out.
    assert read_class_history(path) == {"a": [0.1, 0.2, 0.3], 'b, "c"': [0.5, 0.5, 0.5]}
    add_class_row(path, CLASSES, 1, [0.9, 0.5, None])
    assert read_class_history(path)["a"] == [0.1, 0.9]
    add_class_row(path, CLASSES, 0, [0.4, 0.5, None])
    assert read_class_history(path)["a"] == [0.4]


def test_a_run_without_the_file_has_no_history_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    assert read_class_history(path) == {}
    for content in ("epoch,a\n0,x\n", "epoch,a\n0\n", ""):
        path.write_text(content)
        with pytest.raises(RunError, match="damaged"):
            read_class_history(path)
    path.write_bytes(b"epoch,\xff\n")
    with pytest.raises(RunError, match=r"classes.csv: damaged .*: remove it"):
        add_class_row(path, CLASSES, 1, [0.9, 0.5, None])


def test_the_classes_that_gained_and_fell_most_are_drawn() -> None:
    history = {"01.Rising_Tower": [0.1, 0.5, 0.9], "02.Falling_Arch": [0.9, 0.9, 0.1], "flat": [0.5, 0.5, 0.5]}
    figure = class_curves(history)
    assert figure is not None
    left, right = ([text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes)
    assert left == ["mean of all classes", "Rising Tower  +40 points"]
    assert right == ["mean of all classes", "Falling Arch  -27 points"]
    assert class_curves({"a": [0.5]}) is None
    assert class_curves({}) is None
