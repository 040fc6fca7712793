"""Cuts are exact and depend on nothing but rows and the time they are shown."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.collector.cutter import Cut, Cutter, Rules, part_boundaries
from tidemill.pipeline import Batches


def cut_up(cutter: Cutter, chunks: list[list[int]]) -> list[tuple[int, Cut]]:
    """The rows and reason of every batch, the last by the end of the stream."""
    batches: list[tuple[int, Cut]] = []
    rows = 0
    for chunk in chunks:
        left = chunk
        while left:
            taken = cutter.take(left)
            rows += taken.rows
            left = left[taken.rows :]
            if taken.cut:
                batches.append((rows, taken.cut))
                rows = 0
    end = cutter.end()
    return [*batches, (rows, end)] if end else batches


@pytest.mark.parametrize(
    ("rows", "parts", "sizes"),
    [(5403, 3, [1801, 1801, 1801]), (10, 3, [3, 3, 4]), (3, 3, [1, 1, 1]), (100, 1, [100]), (11, 4, [2, 2, 2, 5])],
)
def test_parts_are_equal_and_the_last_takes_the_remainder(rows: int, parts: int, sizes: list[int]) -> None:
    """Parts of a finite source are exact, and the last one takes what is left over."""
    cutter = Cutter(Rules.of(Batches(parts=parts), rows))
    assert cut_up(cutter, [[0] * rows]) == [(size, "parts") for size in sizes]


def test_rows_cut_every_n_and_the_end_closes_the_rest() -> None:
    """Every n rows make a batch; the end of the stream makes one of what is left."""
    assert cut_up(Cutter(Rules(rows=4)), [[0] * 10]) == [(4, "rows"), (4, "rows"), (2, "end")]


def test_nothing_left_is_no_batch() -> None:
    """A stream that ends on a cut has no empty batch after it."""
    assert cut_up(Cutter(Rules(rows=5)), [[0] * 10]) == [(5, "rows"), (5, "rows")]


def test_a_window_starts_at_its_first_row_and_a_trickle_closes_it() -> None:
    """A row a second closes a window of three seconds: the deadline is set by the first row, not by the latest."""
    stamps = [second * 1000 for second in range(8)]
    assert cut_up(Cutter(Rules(every_ms=3000)), [[stamp] for stamp in stamps]) == [
        (3, "every"),
        (3, "every"),
        (2, "end"),
    ]


def test_a_row_on_the_deadline_opens_the_next_window() -> None:
    """A window holds the rows before its deadline, not the one at it."""
    assert cut_up(Cutter(Rules(every_ms=1000)), [[0, 999, 1000, 1999, 2000]]) == [
        (2, "every"),
        (2, "every"),
        (1, "end"),
    ]


def test_a_late_row_goes_into_the_open_window() -> None:
    """A record that bears an earlier timestamp than the window's first is not lost and does not move the deadline."""
    assert cut_up(Cutter(Rules(every_ms=1000)), [[5000, 100, 5500, 6000]]) == [(3, "every"), (1, "end")]


def test_a_clock_that_steps_back_keeps_a_window_open_no_longer_than_its_deadline_is_away() -> None:
    """A window closes at the first row that is past its deadline, which its first row set. After a step back the rows
    that bear earlier timestamps go into the open window, until the clock has caught up; with none open, a window of the
    earlier time begins."""
    stepped = [5000, 5500, 2500, 3000, 4000, 5000, 5900, 6000, 6500]
    assert cut_up(Cutter(Rules(every_ms=1000)), [stepped]) == [(7, "every"), (2, "end")]
    assert cut_up(Cutter(Rules(rows=2, every_ms=1000)), [[5000, 5500, 2500, 3600, 4700]]) == [
        (2, "rows"),
        (1, "every"),
        (1, "every"),
        (1, "end"),
    ]


def test_whichever_comes_first_cuts() -> None:
    """With a count and a window, the first one that is reached cuts."""
    stamps = [0, 10, 20, 30, 2000, 2010, 2020]
    assert cut_up(Cutter(Rules(rows=3, every_ms=1000)), [stamps]) == [(3, "rows"), (1, "every"), (3, "rows")]


def test_parts_stand_at_fixed_counts_whatever_else_cuts() -> None:
    """Cuts by count in between don't move the parts' boundaries."""
    rules = Rules(rows=4, boundaries=part_boundaries(15, 3))
    assert cut_up(Cutter(rules), [[0] * 15]) == [(4, "rows"), (1, "parts")] * 3


def test_idle_cuts_only_rows_and_only_after_its_limit() -> None:
    """Silence cuts once it is long enough, and never an empty batch."""
    cutter = Cutter(Rules(rows=10, idle_seconds=30))
    assert cutter.idle(1000) is None
    cutter.take([0, 0])
    assert cutter.idle(29.9) is None
    assert cutter.idle(30) == "idle"
    assert cutter.idle(1000) is None


def test_a_cutter_goes_on_where_an_earlier_one_stopped() -> None:
    """Told how many rows are sealed, it cuts the remaining parts where they belong."""
    cutter = Cutter(Rules(boundaries=part_boundaries(10, 3)), rows_before=6)
    assert cutter.target == 4
    assert cut_up(cutter, [[0] * 4]) == [(4, "parts")]


def test_a_window_says_when_it_ends() -> None:
    """The open batch's window ends so long after its first row; without a row, or a window, there is no end."""
    cutter = Cutter(Rules(every_ms=1000))
    ends = [cutter.until]
    for stamps in ([5000, 5400], [6000], [6000]):
        cutter.take(stamps)
        ends.append(cutter.until)
    assert ends == [None, 6000, None, 7000]
    rows = Cutter(Rules(rows=5))
    rows.take([5000])
    assert rows.until is None


@given(
    stamps=st.lists(st.integers(0, 20_000), max_size=60).flatmap(lambda some: st.sampled_from([some, sorted(some)])),
    rows=st.one_of(st.none(), st.integers(1, 9)),
    every=st.one_of(st.none(), st.integers(1, 5000)),
    parts=st.one_of(st.none(), st.integers(1, 4)),
    breaks=st.lists(st.integers(0, 60), max_size=6),
)
def test_cuts_do_not_depend_on_how_the_rows_come_in(
    stamps: list[int], rows: int | None, every: int | None, parts: int | None, breaks: list[int]
) -> None:
    """The same rows give the same batches in whatever chunks they arrive, and no row is lost or taken twice."""
    rules = Rules(rows, every, None, part_boundaries(len(stamps), parts) if parts and len(stamps) >= parts else ())
    edges = sorted({0, len(stamps), *(place for place in breaks if place < len(stamps))})
    chunks = [stamps[start:end] for start, end in pairwise(edges)]
    whole = cut_up(Cutter(rules), [stamps])
    assert cut_up(Cutter(rules), chunks) == whole
    assert cut_up(Cutter(rules), [[stamp] for stamp in stamps]) == whole
    assert sum(size for size, _ in whole) == len(stamps)
    assert all(size > 0 for size, _ in whole)
