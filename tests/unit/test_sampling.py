"""What each process sees of an epoch: together what one process sees, without repeats or gaps."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from landmarks.training.config.settings import Sampler
from landmarks.training.data.folders import Sample
from landmarks.training.data.sampling import (
    FREQUENCY_POWERS,
    DistributedBatchSampler,
    DistributedEvalSampler,
    sampling_weights,
    set_epoch,
)
from landmarks.training.models.features import embedding_loader

processes = st.integers(1, 5)


@given(processes=processes, part=st.integers(1, 6), more=st.integers(0, 40), seed=st.integers(0, 2**31))
def test_parts_of_all_processes_make_the_batches_of_one(processes: int, part: int, more: int, seed: int) -> None:
    size = processes * part
    count = size + more

    def batches(rank: int, world_size: int) -> list[list[int]]:
        sampler = DistributedBatchSampler(count, size, rank=rank, world_size=world_size, seed=seed)
        sampler.set_epoch(0)
        torch.manual_seed(rank)  # augmentation draws from here, in each process other numbers
        return list(sampler)

    alone = batches(0, 1)
    parts = [batches(rank, processes) for rank in range(processes)]
    assert [list(chain(*together)) for together in zip(*parts, strict=True)] == alone
    seen = Counter(position for batch in alone for position in batch)
    assert set(seen.values()) == {1}
    assert len(seen) == count - count % size
    assert set(seen) <= set(range(count))


@given(processes=processes, count=st.integers(0, 60))
def test_every_validation_picture_is_measured_by_one_process(processes: int, count: int) -> None:
    parts = [DistributedEvalSampler(count, rank=rank, world_size=processes) for rank in range(processes)]
    assert sorted(position for part in parts for position in part) == list(range(count))
    assert [len(part) for part in parts] == [len(list(part)) for part in parts]


def test_epochs_differ_and_can_be_repeated() -> None:
    sampler = DistributedBatchSampler(40, 8)
    loader = DataLoader(TensorDataset(torch.arange(40)), batch_sampler=sampler)
    orders = []
    for epoch in (1, 2, 1):
        set_epoch(loader, epoch)
        orders.append(torch.cat([batch[0] for batch in loader]).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == list(range(40))


def test_weights_decide_how_often_a_picture_comes_in_any_process() -> None:
    weights = [3.0] * 10 + [1.0] * 30
    drawn: Counter[int] = Counter()
    for rank in range(2):
        sampler = DistributedBatchSampler(40, 8, rank=rank, world_size=2, weights=weights)
        for epoch in range(200):
            sampler.set_epoch(epoch)
            drawn.update(position for batch in sampler for position in batch)
    rare = sum(drawn[position] for position in range(10)) / drawn.total()
    assert 0.47 < rare < 0.53


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=8), power=st.sampled_from([*FREQUENCY_POWERS]))
def test_a_sampler_draws_a_class_by_a_power_of_its_size(counts: list[int], power: Sampler) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    weights = sampling_weights(labels, power) or [1.0] * len(labels)
    totals = np.bincount(labels, weights=weights)
    np.testing.assert_allclose(totals / totals[0], (np.array(counts) / counts[0]) ** FREQUENCY_POWERS[power])


def test_every_sampler_is_defined() -> None:
    assert set(FREQUENCY_POWERS) == set(get_args(Sampler))


@pytest.mark.parametrize(
    ("sampler", "low", "high"), [("plain", 0.05, 0.15), ("sqrt", 0.2, 0.3), ("balanced", 0.4, 0.6)]
)
def test_a_head_on_embeddings_is_trained_with_the_sampler_too(sampler: Sampler, low: float, high: float) -> None:
    samples = [Sample(Path(f"{number}.jpg"), int(number >= 180)) for number in range(200)]
    torch.manual_seed(0)
    loader = embedding_loader(np.zeros((200, 1, 4), np.float32), samples, 50, sampler=sampler)
    labels = torch.cat([targets for _ in range(5) for _, targets in loader])
    assert len(labels) == 1000
    assert low < float((labels == 1).double().mean()) < high
