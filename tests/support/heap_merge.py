"""The merge of partitions message by message, on a heap: the reference for the merge of whole arrays."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import Generic

from tidemill.collector.merge import CROWDED, CROWDED_BYTES, GRACE_SECONDS, NO_BOUND, Bound, M
from tidemill.collector.reader import stamp_fault


class HeapMerge(Generic[M]):
    """What :class:`tidemill.collector.merge.Merge` promises, in the plainest way."""

    def __init__(self, partitions: Iterable[int], newest: Mapping[int, int] | None = None) -> None:
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
        return self._count[partition] > 0

    @property
    def crowded(self) -> set[int]:
        many = {partition for partition, count in self._count.items() if count > CROWDED}
        return many | {partition for partition, size in self._bytes.items() if size > CROWDED_BYTES}

    def add(self, messages: Iterable[M], now: float) -> None:
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
        self._open.add(partition)
        self._newest.setdefault(partition, -math.inf)

    def end(self, partition: int) -> None:
        self._open.discard(partition)

    def take(self, drained: Set[int], now: float) -> list[M]:
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
        least = heapq.nsmallest(2, ((self._newest[partition], partition) for partition in partitions))
        first, second, *_ = [*least, NO_BOUND, NO_BOUND]
        return first, second


def precedes(position: Bound, bounds: tuple[Bound, Bound]) -> bool:
    """Whether a message at ``position`` precedes all that other partitions can still deliver."""
    first, second = bounds
    return position < (second if position[1] == first[1] and first is not NO_BOUND else first)
