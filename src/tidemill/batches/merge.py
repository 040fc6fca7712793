"""Several partitions as one stream, in the order of the messages' timestamps. Pure: messages and time in and out.

A message is let go once no other partition can still bring an earlier one. A partition that was read to its end holds
nothing back for longer than ``GRACE_SECONDS``: the rows of one transaction become visible in all partitions at once, so
that is ample for them to be fetched. From a log that is there already the order is always the same.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Set
from typing import Generic, Protocol, TypeVar

GRACE_SECONDS = 0.5
CROWDED = 50_000


class Stamped(Protocol):
    """What is needed of a Kafka message."""

    def partition(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...


M = TypeVar("M", bound=Stamped)


class Merge(Generic[M]):
    """Messages of ``partitions``, each in its own order, as one stream in the order of time."""

    def __init__(self, partitions: Iterable[int]) -> None:
        self._open = set(partitions)
        self._newest = dict.fromkeys(self._open, -math.inf)
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
        """Take messages in, those of one partition in their order. One that is older than its forerunner, as other
        writers' may be, counts as being as new."""
        for message in messages:
            partition = message.partition()
            stamp = max(self._newest[partition], message.timestamp()[1])
            self._newest[partition] = stamp
            self._number += 1
            self._count[partition] += 1
            heapq.heappush(self._waiting, (stamp, partition, self._number, now, message))

    def end(self, partition: int) -> None:
        """Nothing more will come from this partition."""
        self._open.discard(partition)

    def take(self, drained: Set[int], now: float) -> list[M]:
        """The messages that can be let go.

        Args:
            drained: the partitions that were read to the end of what they hold.
            now: in seconds, on the clock of :meth:`add`.
        """
        surely = min((self._newest[partition] for partition in self._open), default=math.inf)
        in_time = min((self._newest[partition] for partition in self._open - drained), default=math.inf)
        taken = []
        while self._waiting:
            stamp, partition, _, arrived, message = self._waiting[0]
            if stamp >= surely and (stamp >= in_time or now - arrived < GRACE_SECONDS):
                break
            heapq.heappop(self._waiting)
            self._count[partition] -= 1
            taken.append(message)
        return taken
