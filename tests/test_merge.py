"""Several partitions are one stream in the order of time, and none holds the others back for good."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tidemill.batches.merge import CROWDED, GRACE_SECONDS, Merge


@dataclass(frozen=True)
class Message:
    where: int
    stamp: int
    number: int = 0

    def partition(self) -> int:
        return self.where

    def timestamp(self) -> tuple[int, int]:
        return 1, self.stamp


def test_what_may_still_come_earlier_is_waited_for() -> None:
    """A message is held while another partition that has more to read may bring an earlier one."""
    merge: Merge[Message] = Merge([0, 1])
    merge.add([Message(0, 10), Message(0, 20)], now=0)
    assert merge.take(set(), now=100) == []
    merge.add([Message(1, 15)], now=0)
    assert merge.take(set(), now=100) == [Message(0, 10)]
    merge.end(1)
    assert merge.take(set(), now=100) == [Message(1, 15)]
    merge.end(0)
    assert merge.take(set(), now=100) == [Message(0, 20)]


def test_a_partition_that_was_read_to_its_end_holds_back_for_a_moment_only() -> None:
    """A silent partition delays the others by the time of grace, not for good."""
    merge: Merge[Message] = Merge([0, 1])
    merge.add([Message(0, 10)], now=5)
    assert merge.take({0, 1}, now=5) == []
    assert merge.take({0, 1}, now=5 + GRACE_SECONDS) == [Message(0, 10)]
    assert merge.take({1}, now=100) == []


def test_rows_of_one_transaction_come_in_order_though_they_are_fetched_one_partition_after_the_other() -> None:
    """Rows that are fetched a little later, but are earlier, still come first."""
    merge: Merge[Message] = Merge([0, 1])
    merge.add([Message(0, 10), Message(0, 30)], now=0)
    assert merge.take({0, 1}, now=0.1) == []
    merge.add([Message(1, 20), Message(1, 40)], now=0.1)
    taken = merge.take({0, 1}, now=0.1) + merge.take({0, 1}, now=1)
    assert [message.stamp for message in taken] == [10, 20, 30, 40]


def test_crowding_is_told() -> None:
    """A partition that runs far ahead of the others is named, until it is taken from."""
    merge: Merge[Message] = Merge([0, 1])
    merge.add((Message(0, number) for number in range(CROWDED + 1)), now=0)
    assert merge.crowded == {0}
    merge.end(1)
    merge.take(set(), now=0)
    assert merge.crowded == set()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=60),
    st.lists(st.integers(1, 7), min_size=1, max_size=20),
)
def test_a_log_that_is_there_gives_one_order(sent: list[tuple[int, int]], steps: list[int]) -> None:
    """However a log is fetched, its messages come in one order, each once, each partition's as they are."""
    logs: dict[int, list[Message]] = {0: [], 1: [], 2: []}
    for number, (partition, stamp) in enumerate(sorted(sent, key=lambda one: one[1])):
        logs[partition].append(Message(partition, stamp, number))
    expected = sorted((message for log in logs.values() for message in log), key=lambda one: (one.stamp, one.where))
    assert fetched(logs, steps) == fetched(logs, [1]) == expected


def fetched(logs: dict[int, list[Message]], steps: list[int]) -> list[Message]:
    """The merged order when each fetch brings so many messages of one partition after the other."""
    merge: Merge[Message] = Merge(logs)
    left = {partition: list(log) for partition, log in logs.items()}
    taken: list[Message] = []
    turn = 0
    while left:
        for partition in list(left):
            step = steps[turn % len(steps)]
            turn += 1
            merge.add(left[partition][:step], now=0)
            left[partition] = left[partition][step:]
            if not left[partition]:
                merge.end(partition)
                del left[partition]
            taken += merge.take(set(), now=0)
    return taken
