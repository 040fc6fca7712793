"""Which batches a generation is trained on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.training.schemes import Scheme, batches_of


@pytest.mark.parametrize(
    ("scheme", "window", "expected"),
    [
        ("windowed", None, [[1], [2], [3], [4]]),
        ("cumulative", None, [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]),
        ("sliding", 2, [[1], [1, 2], [2, 3], [3, 4]]),
        ("sliding", 1, [[1], [2], [3], [4]]),
    ],
)
def test_each_scheme_takes_its_batches(scheme: Scheme, window: int | None, expected: list[list[int]]) -> None:
    """Windowed takes one batch, cumulative all so far, sliding the last few."""
    assert [list(batches_of(scheme, generation, window)) for generation in range(1, 5)] == expected


@given(
    st.sampled_from(["windowed", "cumulative", "sliding"]),
    st.integers(1, 10_000),
    st.integers(1, 50),
)
def test_batches_are_consecutive_and_end_with_the_generation(scheme: Scheme, generation: int, window: int) -> None:
    """Whatever the scheme, the batches are a gapless row of existing ones that ends with the generation's own."""
    batches = list(batches_of(scheme, generation, window))
    assert batches == list(range(batches[0], generation + 1))
    assert batches[0] >= 1
    assert len(batches) <= {"windowed": 1, "cumulative": generation, "sliding": window}[scheme]
