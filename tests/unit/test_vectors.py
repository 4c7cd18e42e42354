"""Items drawn evenly."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from landmarks.model.vectors import evenly


@given(count=st.integers(0, 300), most=st.integers(1, 60))
def test_no_more_than_asked_are_drawn_and_they_are_evenly_spaced(count: int, most: int) -> None:
    drawn = evenly(range(count), most)
    assert len(drawn) == min(count, most)
    gaps = {after - before for before, after in pairwise(drawn)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert not drawn or drawn[0] == 0
