"""Several partitions as one stream, in the order of the messages' timestamps. Pure: messages and time in and out.

The order is that of (timestamp, partition, place in the partition). A timestamp that is older than its forerunner's in
the same partition counts as being as new, so a clock that steps back can't bring a partition out of its own order.

A message is let go once no other partition can still bring an earlier one. So there is always progress: of the open
partitions take the one with the least (newest timestamp, number). Each message that waits and is not later than that
partition's newest is before all that the others can bring, so :meth:`Merge.take` lets it go, and nothing of that
partition is left waiting. It is never crowded, and more can be read from it.

A partition that was read to its end holds nothing back for longer than ``GRACE_SECONDS``: the rows of one transaction
become visible in all partitions at once, so that is ample for them to be fetched. From a log that is there already the
order is always the same.
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

Bound = tuple[float, int]  # a timestamp, then a partition
NO_BOUND: Bound = (math.inf, 0)


class Stamped(Protocol):
    """What is needed of a Kafka message."""

    def partition(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...


M = TypeVar("M", bound=Stamped)


class Merge(Generic[M]):
    """Messages of ``partitions``, each in its own order, as one stream in the order of time."""

    def __init__(self, partitions: Iterable[int], newest: Mapping[int, int] | None = None) -> None:
        """``newest`` is the newest timestamp of each partition among the messages that were taken before."""
        self._open = set(partitions)
        self._newest: dict[int, float] = {
            partition: (newest or {}).get(partition, -math.inf) for partition in self._open
        }
        # by timestamp, then partition, then the order in its partition
        self._waiting: list[tuple[float, int, int, float, M]] = []
        self._count: Counter[int] = Counter()
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def crowded(self) -> set[int]:
        """The partitions of which so much is waiting that no more should be read for now."""
        return {partition for partition, count in self._count.items() if count > CROWDED}

    def add(self, messages: Iterable[M], now: float) -> None:
        """Take messages in, those of one partition in their order. One that is older than its forerunner, or has no
        possible timestamp, counts as being as new."""
        for message in messages:
            partition, (kind, stamp) = message.partition(), message.timestamp()
            newest = self._newest[partition]
            if stamp > newest and stamp_fault(kind, stamp) is None:
                self._newest[partition] = newest = stamp
            self._number += 1
            self._count[partition] += 1
            heapq.heappush(self._waiting, (newest, partition, self._number, now, message))

    def end(self, partition: int) -> None:
        """Nothing more will come from this partition."""
        self._open.discard(partition)

    def take(self, drained: Set[int], now: float) -> list[M]:
        """The messages that can be let go.

        Args:
            drained: the partitions that were read to the end of what they hold.
            now: in seconds, on the clock of :meth:`add`.
        """
        surely, in_time = self._bounds(self._open), self._bounds(self._open - drained)
        taken = []
        while self._waiting:
            stamp, partition, _, arrived, message = self._waiting[0]
            place = (stamp, partition)
            if not precedes(place, surely) and (not precedes(place, in_time) or now - arrived < GRACE_SECONDS):
                break
            heapq.heappop(self._waiting)
            self._count[partition] -= 1
            taken.append(message)
        return taken

    def _bounds(self, partitions: Set[int]) -> tuple[Bound, Bound]:
        """The least two of what these partitions can still bring: the second counts for messages of the first."""
        least = heapq.nsmallest(2, ((self._newest[partition], partition) for partition in partitions))
        first, second, *_ = [*least, NO_BOUND, NO_BOUND]
        return first, second


def precedes(place: Bound, bounds: tuple[Bound, Bound]) -> bool:
    """Whether a message at ``place`` is before all that other partitions can still bring."""
    first, second = bounds
    return place < (second if place[1] == first[1] and first is not NO_BOUND else first)
