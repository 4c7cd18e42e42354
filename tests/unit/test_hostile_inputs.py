"""Hostile inputs are refused or read, and never anything else; `tests/fuzz.py` searches for more of them."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress

import pytest
from hostile_inputs import CORPUS, READERS, REFUSALS, mutations

SECONDS = 5.0
"""No single input of the corpus may take longer, on a busy machine too."""

MUTATIONS = {"picture": 150, "form": 100, "packet": 300, "archive": 400}


@pytest.mark.parametrize("reader", sorted(READERS))
def test_each_hostile_input_is_read_or_refused_quickly(reader: str) -> None:
    for name, content in CORPUS[reader]().items():
        started = time.process_time()
        try:
            with suppress(*REFUSALS):
                READERS[reader](content)
        except Exception as error:  # noqa: BLE001 - whatever it is, the input belongs into the report
            pytest.fail(f"{name}: {error!r}")
        assert time.process_time() - started < SECONDS, name


@pytest.mark.parametrize("reader", sorted(READERS))
def test_what_is_like_a_hostile_input_is_read_or_refused(reader: str) -> None:
    seeds = [content for content in CORPUS[reader]().values() if 0 < len(content) < 5000]
    for content in mutations(seeds, MUTATIONS[reader], seed=1):
        try:
            with suppress(*REFUSALS), warnings.catch_warnings():
                READERS[reader](content)
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{content!r}: {error!r}")
