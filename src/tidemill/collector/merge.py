"""Merges several partitions into one stream, in the order of the messages' timestamps. Pure.

The order is (timestamp, partition, position in the partition). A timestamp that is older than the one before it in the
same partition counts as equal to that one, so a clock that steps back can't reorder a partition.

A message is released once no other partition can still deliver an earlier one. The merge never stalls: consider the
open partition with the least (newest timestamp, number). Every waiting message up to that timestamp precedes all that
the other partitions can deliver, so :meth:`Merge.take` releases it, and no message of that partition keeps waiting.
That partition is never crowded, and more can be read from it.

A partition that was read to its end delays the others by at most ``GRACE_SECONDS``. The rows of a transaction become
visible in all partitions at once, so that is enough time to fetch them. A crowded partition is paused; it delays the
others until it was read to its end again. A log that is complete gives the same order every time.

The messages of a partition wait in the order of their timestamps. So those of it that can be released are its first
ones, and whole arrays are searched and sorted instead of single messages.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tidemill.collector.reader import Columns, partitions_of, possible_stamps, timestamps_of

GRACE_SECONDS = 0.5
CROWDED = 50_000
CROWDED_BYTES = 2**25

Bound = tuple[float, int]  # a timestamp, then a partition
NO_BOUND: Bound = (math.inf, 0)
NO_TIMESTAMPS: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)


class Stamped(Protocol):
    """The part of a Kafka message that the merge needs."""

    def partition(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def value(self) -> bytes | None: ...


M = TypeVar("M", bound=Stamped)


class Waiting(Generic[M]):
    """The messages of one partition that wait, in order.

    ``timestamps`` are their own, ``stamps`` those in the merge, which never fall; ``arrivals`` and ``sizes`` when they
    came and how many bytes their values have. ``newest`` is the timestamp of the last message that ever came.
    """

    def __init__(self, newest: float) -> None:
        self.newest = newest
        self.messages: list[M] = []
        self.timestamps = NO_TIMESTAMPS
        self.stamps = np.empty(0)
        self.arrivals = np.empty(0)
        self.sizes = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def bytes(self) -> int:
        return int(self.sizes.sum())

    def add(self, messages: Sequence[M], timestamps: NDArray[np.int64], sizes: NDArray[np.int64], now: float) -> None:
        """Add messages with these timestamps and sizes."""
        stamps = np.where(possible_stamps(timestamps), timestamps[:, 1], -np.inf)
        rising = np.maximum.accumulate(np.maximum(stamps, self.newest))
        self.newest = float(rising[-1])
        self.messages += messages
        self.timestamps = np.concatenate([self.timestamps, timestamps])
        self.stamps = np.concatenate([self.stamps, rising])
        self.arrivals = np.concatenate([self.arrivals, np.full(len(rising), now)])
        self.sizes = np.concatenate([self.sizes, sizes])

    def drop(self, count: int) -> None:
        """Remove the first messages."""
        del self.messages[:count]
        self.timestamps, self.stamps = self.timestamps[count:], self.stamps[count:]
        self.arrivals, self.sizes = self.arrivals[count:], self.sizes[count:]

    def before(self, partition: int, bounds: tuple[Bound, Bound]) -> int:
        """How many of these messages, which are those of ``partition``, precede all that others can still deliver."""
        first, second = bounds
        stamp, limit = second if partition == first[1] and first is not NO_BOUND else first
        return int(np.searchsorted(self.stamps, stamp, "right" if partition < limit else "left"))


class Merge(Generic[M]):
    """Merges the messages of ``partitions`` into one stream in the order of time."""

    def __init__(self, partitions: Iterable[int], newest: Mapping[int, int] | None = None) -> None:
        """``newest``: the newest timestamp of each partition among the messages of an earlier merge."""
        self._open = set(partitions)
        self._waiting: dict[int, Waiting[M]] = {
            partition: Waiting((newest or {}).get(partition, -math.inf)) for partition in sorted(self._open)
        }

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def waits(self, partition: int) -> bool:
        """Whether messages of this partition wait."""
        return partition in self._waiting and len(self._waiting[partition]) > 0

    @property
    def crowded(self) -> set[int]:
        """The partitions with so many waiting messages, or such large ones, that they should be paused."""
        return {
            partition
            for partition, waiting in self._waiting.items()
            if len(waiting) > CROWDED or waiting.bytes > CROWDED_BYTES
        }

    def add(self, messages: Iterable[M], now: float) -> None:
        """Add messages, those of one partition in order.

        A message that is older than the one before it, or whose timestamp is impossible, gets that one's timestamp.
        """
        messages = list(messages)
        if not messages:
            return
        partitions = partitions_of(messages)
        timestamps = timestamps_of(messages)
        values = [message.value() or b"" for message in messages]
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        for partition in np.unique(partitions).tolist():
            indices = np.flatnonzero(partitions == partition)
            own = messages if len(indices) == len(messages) else [messages[index] for index in indices.tolist()]
            self._waiting[partition].add(own, timestamps[indices], sizes[indices], now)

    def open(self, partition: int) -> None:
        """Merge this partition too, from now on."""
        self._open.add(partition)
        self._waiting.setdefault(partition, Waiting(-math.inf))
        self._waiting = dict(sorted(self._waiting.items()))

    def end(self, partition: int) -> None:
        """Record that this partition delivers no more messages."""
        self._open.discard(partition)

    def take(self, drained: Set[int], now: float) -> Columns[M]:
        """The messages that can be released, in order.

        Args:
            drained: the partitions that were read to their end.
            now: in seconds, on the clock of :meth:`add`.
        """
        surely, in_time = self._bounds(self._open), self._bounds(self._open - drained)
        parts = []
        for partition, waiting in self._waiting.items():
            sure, possible = waiting.before(partition, surely), waiting.before(partition, in_time)
            old_enough = now - waiting.arrivals[: max(sure, possible)] >= GRACE_SECONDS
            old_enough[:sure] = True
            if len(old_enough):
                parts.append((partition, waiting, old_enough))
        return self._released(parts)

    def _released(self, parts: list[tuple[int, Waiting[M], NDArray[np.bool_]]]) -> Columns[M]:
        """The first of the messages of these partitions, in order, up to one that may not be released yet.

        Args:
            parts: in the order of their partitions, each with whether its first messages may be released.
        """
        if not parts:
            return Columns([], np.empty(0, dtype=np.int64), NO_TIMESTAMPS)
        if len(parts) == 1:
            partition, waiting, may = parts[0]
            count = len(may) if may.all() else int(may.argmin())
            taken = Columns(waiting.messages[:count], np.full(count, partition), waiting.timestamps[:count])
            waiting.drop(count)
            return taken
        order = np.concatenate([waiting.stamps[: len(may)] for _, waiting, may in parts]).argsort(kind="stable")
        may = np.concatenate([may for *_, may in parts])[order]
        order = order if may.all() else order[: int(may.argmin())]
        candidates = list(chain.from_iterable(waiting.messages[: len(may)] for _, waiting, may in parts))
        timestamps = np.concatenate([waiting.timestamps[: len(may)] for _, waiting, may in parts])[order]
        place = np.repeat(np.arange(len(parts)), [len(may) for *_, may in parts])[order]
        for (_, waiting, _), count in zip(parts, np.bincount(place, minlength=len(parts)).tolist(), strict=True):
            waiting.drop(count)
        partitions = np.array([partition for partition, *_ in parts])[place]
        return Columns([candidates[index] for index in order.tolist()], partitions, timestamps)

    def _bounds(self, partitions: Set[int]) -> tuple[Bound, Bound]:
        """The two least positions that these partitions can still deliver. The second bounds messages of the first."""
        least = heapq.nsmallest(2, ((self._waiting[partition].newest, partition) for partition in partitions))
        first, second, *_ = [*least, NO_BOUND, NO_BOUND]
        return first, second
