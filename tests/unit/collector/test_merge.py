"""Several partitions are one stream in the order of time, and none holds the others back for good."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tests.support.heap_merge import HeapMerge
from tidemill.collector.merge import CROWDED, CROWDED_BYTES, GRACE_SECONDS, Merge
from tidemill.collector.reader import LAST_MILLISECOND, NO_STAMP


@dataclass(frozen=True)
class TimedMessage:
    where: int
    stamp: int
    number: int = 0
    text: bytes | None = None
    kind: int = 1

    def partition(self) -> int:
        return self.where

    def timestamp(self) -> tuple[int, int]:
        return self.kind, self.stamp

    def value(self) -> bytes | None:
        return self.text


def take(merge: Merge[TimedMessage], drained: Set[int], now: float) -> list[TimedMessage]:
    """What the merge releases, after a look at its columns."""
    taken = merge.take(drained, now)
    assert taken.partitions.tolist() == [message.where for message in taken]
    assert taken.timestamps.tolist() == [list(message.timestamp()) for message in taken]
    return list(taken)


def test_what_may_still_come_earlier_is_waited_for() -> None:
    """A message is held while another partition that has more to read may bring an earlier one."""
    merge: Merge[TimedMessage] = Merge([0, 1])
    merge.add([TimedMessage(0, 10), TimedMessage(0, 20)], now=0)
    assert take(merge, set(), now=100) == []
    merge.add([TimedMessage(1, 15)], now=0)
    assert take(merge, set(), now=100) == [TimedMessage(0, 10), TimedMessage(1, 15)]
    merge.add([TimedMessage(0, 20)], now=0)
    assert take(merge, set(), now=100) == []
    merge.end(1)
    assert take(merge, set(), now=100) == [TimedMessage(0, 20), TimedMessage(0, 20)]


def test_a_partition_that_was_read_to_its_end_holds_back_for_a_moment_only() -> None:
    """A silent partition delays the others by the time of grace, not for good."""
    merge: Merge[TimedMessage] = Merge([0, 1])
    merge.add([TimedMessage(0, 10)], now=5)
    assert take(merge, {0, 1}, now=5) == []
    assert take(merge, {0, 1}, now=5 + GRACE_SECONDS) == [TimedMessage(0, 10)]
    assert take(merge, {1}, now=100) == []


def test_rows_of_one_transaction_come_in_order_though_they_are_fetched_one_partition_after_the_other() -> None:
    """Rows that are fetched a little later, but are earlier, still come first."""
    merge: Merge[TimedMessage] = Merge([0, 1])
    merge.add([TimedMessage(0, 10), TimedMessage(0, 30)], now=0)
    assert take(merge, {0, 1}, now=0.1) == []
    merge.add([TimedMessage(1, 20), TimedMessage(1, 40)], now=0.1)
    taken = take(merge, {0, 1}, now=0.1) + take(merge, {0, 1}, now=1)
    assert [message.stamp for message in taken] == [10, 20, 30, 40]


def test_crowding_is_told() -> None:
    """A partition that runs far ahead of the others is named, until it is taken from."""
    merge: Merge[TimedMessage] = Merge([0, 1])
    merge.add((TimedMessage(0, number) for number in range(CROWDED + 1)), now=0)
    assert merge.crowded == {0}
    merge.end(1)
    take(merge, set(), now=0)
    assert merge.crowded == set()


def test_large_messages_crowd_a_partition_sooner() -> None:
    """A partition is crowded by the bytes that wait too, so that large messages do not fill the memory."""
    merge: Merge[TimedMessage] = Merge([0, 1])
    merge.add((TimedMessage(0, number, text=bytes(CROWDED_BYTES // 10)) for number in range(11)), now=0)
    assert merge.crowded == {0}
    merge.end(1)
    take(merge, set(), now=0)
    assert merge.crowded == set()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=60),
    st.lists(st.integers(1, 7), min_size=1, max_size=20),
)
def test_a_log_that_is_there_gives_one_order(sent: list[tuple[int, int]], steps: list[int]) -> None:
    """However a log is fetched, its messages come in one order, each once, each partition's as they are."""
    logs: dict[int, list[TimedMessage]] = {0: [], 1: [], 2: []}
    for number, (partition, stamp) in enumerate(sorted(sent, key=lambda one: one[1])):
        logs[partition].append(TimedMessage(partition, stamp, number))
    expected = sorted((message for log in logs.values() for message in log), key=lambda one: (one.stamp, one.where))
    assert fetched(logs, steps) == fetched(logs, [1]) == expected


def fetched(logs: dict[int, list[TimedMessage]], steps: list[int]) -> list[TimedMessage]:
    """The merged order when each fetch brings so many messages of one partition after the other."""
    merge: Merge[TimedMessage] = Merge(logs)
    left = {partition: list(log) for partition, log in logs.items()}
    taken: list[TimedMessage] = []
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
            taken += take(merge, set(), now=0)
    return taken


@given(st.data())
def test_there_is_always_progress(data: st.DataObject) -> None:
    """Whatever the clocks do, some open partition has nothing waiting, so it is read on; and the order is that of each
    partition's newest time so far."""
    count = data.draw(st.integers(2, 5))
    logs = [
        [TimedMessage(partition, stamp, number) for number, stamp in enumerate(stamps)]
        for partition in range(count)
        for stamps in [data.draw(st.lists(st.integers(0, 30), max_size=12))]
    ]
    merge: Merge[TimedMessage] = Merge(range(count))
    left, taken = [list(log) for log in logs], list[TimedMessage]()
    while any(left):
        for partition in range(count):
            if not left[partition]:
                merge.end(partition)
        taken += take(merge, set(), now=0)
        still = [partition for partition in range(count) if left[partition] and partition not in waiting(merge)]
        assert still, "every partition that has more is held back"
        partition = data.draw(st.sampled_from(still))
        merge.add([left[partition].pop(0) for _ in range(data.draw(st.integers(1, len(left[partition]))))], now=0)
    for partition in range(count):
        merge.end(partition)
    taken += take(merge, set(), now=0)
    assert taken == sorted(
        (message for log in logs for message in log),
        key=lambda message: (max(one.stamp for one in logs[message.where][: message.number + 1]), *place(message)),
    )


def waiting(merge: Merge[TimedMessage]) -> set[int]:
    """The partitions of which messages wait."""
    return {partition for partition in range(5) if merge.waits(partition)}


def place(message: TimedMessage) -> tuple[int, int]:
    return message.where, message.number


def test_a_clock_that_steps_back_stops_nothing() -> None:
    """Two partitions whose clock steps back by 3 s, with more rows in those 3 s than may wait, are read to the end."""
    stamps = [*range(0, 5_000, 5), *range(2_000, 12_000)]
    logs = {partition: [TimedMessage(partition, stamp, n) for n, stamp in enumerate(stamps)] for partition in (0, 1)}
    merge: Merge[TimedMessage] = Merge([0, 1])
    crowded, taken = 100, 0
    for _ in range(1_000):
        for partition in (0, 1):
            if len(merge._waiting[partition]) <= crowded:
                merge.add(logs[partition][:100], now=0)
                del logs[partition][:100]
        taken += len(take(merge, set(), now=0))
        if not any(logs.values()):
            break
    for partition in (0, 1):
        merge.end(partition)
    assert taken + len(take(merge, set(), now=0)) == 2 * len(stamps)


def test_the_order_is_carried_over_a_restart() -> None:
    """A merge that starts in the middle, told the newest time before, gives the order of one that was never stopped."""
    first, later = (
        [TimedMessage(0, 50), TimedMessage(1, 10)],
        [TimedMessage(0, 20), TimedMessage(1, 30), TimedMessage(1, 60)],
    )

    def order(newest: dict[int, int], messages: list[TimedMessage]) -> list[TimedMessage]:
        merge: Merge[TimedMessage] = Merge([0, 1], newest)
        merge.add(messages, now=0)
        merge.end(0)
        merge.end(1)
        return take(merge, set(), now=0)

    assert order({}, first) == [TimedMessage(1, 10), TimedMessage(0, 50)]
    assert order({0: 50, 1: 10}, later) == [TimedMessage(1, 30), TimedMessage(0, 20), TimedMessage(1, 60)]
    assert order({}, later) != order({0: 50, 1: 10}, later)


def test_an_impossible_time_moves_nothing() -> None:
    """A message whose time no calendar has counts as new as its forerunner; its followers keep their order."""
    merge: Merge[TimedMessage] = Merge([0, 1])
    merge.add(
        [
            TimedMessage(0, 10),
            TimedMessage(0, 2**62),
            TimedMessage(0, 20),
            TimedMessage(1, 15),
            TimedMessage(1, -7),
            TimedMessage(1, 30),
        ],
        now=0,
    )
    merge.end(0)
    merge.end(1)
    assert [message.stamp for message in take(merge, set(), now=0)] == [10, 2**62, 15, -7, 20, 30]


STAMPS = st.integers(0, 12) | st.sampled_from([-5, LAST_MILLISECOND, LAST_MILLISECOND + 1, 2**62])


@given(st.data())
def test_the_merge_does_what_the_heap_does(data: st.DataObject) -> None:
    """Whatever comes in whatever order, at whatever time, each step releases what the merge message by message
    releases, and keeps the same waiting."""
    count = data.draw(st.integers(1, 4))
    newest = data.draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, 12)))
    merge: Merge[TimedMessage] = Merge(range(count), newest)
    heap: HeapMerge[TimedMessage] = HeapMerge(range(count), newest)
    opened, now = set(range(count)), 0.0
    for number in range(data.draw(st.integers(1, 12))):
        sent = data.draw(
            st.lists(st.tuples(st.sampled_from(sorted(opened)), STAMPS, st.sampled_from([NO_STAMP, 1])), max_size=8)
        )
        messages = [TimedMessage(where, stamp, number, b"text", kind) for where, stamp, kind in sent]
        ended = data.draw(st.frozensets(st.integers(0, count - 1), max_size=1))
        added = data.draw(st.frozensets(st.integers(0, count + 1), max_size=1))
        drained = data.draw(st.frozensets(st.integers(0, count + 1)))
        now += data.draw(st.sampled_from([0.0, GRACE_SECONDS / 2, GRACE_SECONDS]))
        opened |= added
        for either in (merge, heap):
            for partition in added:
                either.open(partition)
            either.add(messages, now)
            for partition in ended:
                either.end(partition)
        assert take(merge, drained, now) == heap.take(drained, now)
        assert len(merge) == len(heap)
        assert bool(merge) == bool(heap)
        assert [merge.waits(partition) for partition in range(6)] == [heap.waits(partition) for partition in range(6)]
        assert merge.crowded == heap.crowded
