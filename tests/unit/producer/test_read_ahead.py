"""Reading ahead gives the same items in the same order, within bounds, and leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import wait_for
from tidemill.kafka.messages import messages
from tidemill.producer import read_ahead as module
from tidemill.producer.read_ahead import EncodedChunk, ReadAhead


class Numbers:
    """Numbers from 0 on. ``made`` counts them, ``closed`` is whether their iterator was closed."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.made = 0
        self.closed = False
        self._count = count
        self._error = error

    def __call__(self) -> Generator[int, None, None]:
        try:
            for number in range(self._count):
                self.made += 1
                yield number
            if self._error:
                raise self._error
        finally:
            self.closed = True


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "read ahead"]


def test_every_item_in_order() -> None:
    """Every item comes once, in order, and the thread ends."""
    numbers = Numbers(1000)
    with ReadAhead(numbers, lambda _: 1) as items:
        assert list(items) == list(range(1000))
    assert numbers.closed
    assert not threads()


@pytest.mark.parametrize("error", [ValueError("damaged"), KeyboardInterrupt()])
def test_an_error_comes_in_its_place(error: BaseException) -> None:
    """An error is raised after all items before it, however far ahead they were made."""
    used: list[int] = []
    with ReadAhead(Numbers(3, error), lambda _: 1) as items:
        wait_for(lambda: not threads(), "the thread")
        with pytest.raises(type(error)) as caught:
            used.extend(items)
    assert used == [0, 1, 2]
    assert caught.value is error


@pytest.mark.parametrize(("size", "most", "made"), [(1, 4, 5), (40, 2, 3), (1000, 1, 2)])
def test_what_waits_is_bounded(size: int, most: int, made: int) -> None:
    """No more items wait than the bounds of number and bytes allow, or one that is larger; one more is made."""
    numbers = Numbers(1000)
    with ReadAhead(numbers, lambda _: size, most_items=4, most_bytes=100) as items:
        wait_for(lambda: numbers.made == made, "the items ahead")
        for number, _ in enumerate(items, 1):
            wait_for(lambda seen=number: numbers.made == made + seen, "one item more")  # type: ignore[misc]  # bound now
            assert len(items._waiting) == most
            if number == 5:
                break
    assert numbers.made == made + 5
    assert numbers.closed
    assert not threads()


def fail_after_one(numbers: Numbers) -> None:
    with ReadAhead(numbers, lambda _: 1) as items:
        assert next(iter(items)) == 0
        raise RuntimeError("Kafka is gone")


def test_an_error_of_the_user_ends_the_thread() -> None:
    """Whatever ends the block ends the thread, which may be waiting for room."""
    numbers = Numbers(1000)
    with pytest.raises(RuntimeError, match="Kafka is gone"):
        fail_after_one(numbers)
    assert numbers.closed
    assert not threads()


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_parts_of_a_chunk_are_those_of_its_rows(rows: int, first: int, last: int) -> None:
    """However the rows are grouped, a part has exactly the rows from its first to its last, in order."""
    table = pa.table({"n": range(rows)})
    groups = [messages(table.slice(start, 5), None, 1) for start in range(0, rows, 5)]
    chunk = EncodedChunk((), "", groups)
    assert len(chunk) == rows
    parts = list(chunk.part(first, last))
    assert all(len(part) for part in parts)
    values = [value for part in parts for value in part.values]
    assert values == [b'{"n":%d}' % number for number in range(rows)][first:last]


def test_the_bounds_hold_a_few_chunks() -> None:
    """The bounds are far below the gigabyte that a stage may take."""
    assert module.MOST_BYTES <= 128 * 2**20
    assert module.MOST_ITEMS <= 8
