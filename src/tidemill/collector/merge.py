"""Merges several partitions into one stream, in the order of the messages' timestamps. Pure.

The order is (timestamp, partition, position in the partition). A timestamp that is older than the one before it in the
same partition counts as equal to that one, so a clock that steps back can't reorder a partition.

A message is released once no other partition can still deliver an earlier one. The merge never stalls: consider the
open partition with the least (newest timestamp, number). Every waiting message up to that timestamp precedes all that
the other partitions can deliver, so :meth:`Merge.take` releases it, and no message of that partition keeps waiting.
That partition is never crowded, and more can be read from it.

A partition that was read to its end delays the others by at most ``GRACE_SECONDS``. The rows of a transaction become
visible in all partitions at once, so that is enough time to fetch them. A log that is complete gives the same order
every time.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import Generic, Protocol, TypeVar

from tidemill.collector.reader import stamp_fault

GRACE_SECONDS = 0.5
CROWDED = 50_000
CROWDED_BYTES = 2**25

Bound = tuple[float, int]  # a timestamp, then a partition
NO_BOUND: Bound = (math.inf, 0)


class Stamped(Protocol):
    """The part of a Kafka message that the merge needs."""

    def partition(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def value(self) -> bytes | None: ...


M = TypeVar("M", bound=Stamped)


class Merge(Generic[M]):
    """Merges the messages of ``partitions`` into one stream in the order of time."""

    def __init__(self, partitions: Iterable[int], newest: Mapping[int, int] | None = None) -> None:
        """``newest``: the newest timestamp of each partition among the messages of an earlier merge."""
        self._open = set(partitions)
        self._newest: dict[int, float] = {
            partition: (newest or {}).get(partition, -math.inf) for partition in self._open
        }
        # by timestamp, then partition, then the order in its partition
        self._waiting: list[tuple[float, int, int, float, M]] = []
        self._count: Counter[int] = Counter()
        self._bytes: Counter[int] = Counter()
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def waits(self, partition: int) -> bool:
        """Whether messages of this partition wait."""
        return self._count[partition] > 0

    @property
    def crowded(self) -> set[int]:
        """The partitions with so many waiting messages, or such large ones, that they should be paused."""
        many = {partition for partition, count in self._count.items() if count > CROWDED}
        return many | {partition for partition, size in self._bytes.items() if size > CROWDED_BYTES}

    def add(self, messages: Iterable[M], now: float) -> None:
        """Add messages, those of one partition in order.

        A message that is older than the one before it, or whose timestamp is impossible, gets that one's timestamp.
        """
        for message in messages:
            partition, (kind, stamp) = message.partition(), message.timestamp()
            newest = self._newest[partition]
            if stamp > newest and stamp_fault(kind, stamp) is None:
                self._newest[partition] = newest = stamp
            self._number += 1
            self._count[partition] += 1
            self._bytes[partition] += len(message.value() or b"")
            heapq.heappush(self._waiting, (newest, partition, self._number, now, message))

    def open(self, partition: int) -> None:
        """Merge this partition too, from now on."""
        self._open.add(partition)
        self._newest.setdefault(partition, -math.inf)

    def end(self, partition: int) -> None:
        """Record that this partition delivers no more messages."""
        self._open.discard(partition)

    def take(self, drained: Set[int], now: float) -> list[M]:
        """The messages that can be released, in order.

        Args:
            drained: the partitions that were read to their end.
            now: in seconds, on the clock of :meth:`add`.
        """
        surely, in_time = self._bounds(self._open), self._bounds(self._open - drained)
        taken = []
        while self._waiting:
            stamp, partition, _, arrived, message = self._waiting[0]
            position = (stamp, partition)
            if not precedes(position, surely) and (not precedes(position, in_time) or now - arrived < GRACE_SECONDS):
                break
            heapq.heappop(self._waiting)
            self._count[partition] -= 1
            self._bytes[partition] -= len(message.value() or b"")
            taken.append(message)
        return taken

    def _bounds(self, partitions: Set[int]) -> tuple[Bound, Bound]:
        """The two least positions that these partitions can still deliver. The second bounds messages of the first."""
        least = heapq.nsmallest(2, ((self._newest[partition], partition) for partition in partitions))
        first, second, *_ = [*least, NO_BOUND, NO_BOUND]
        return first, second


def precedes(position: Bound, bounds: tuple[Bound, Bound]) -> bool:
    """Whether a message at ``position`` precedes all that other partitions can still deliver."""
    first, second = bounds
    return position < (second if position[1] == first[1] and first is not NO_BOUND else first)
