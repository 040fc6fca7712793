"""The interface of a log that the collector reads: Kafka's topic, or a list in memory in tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import chain
from operator import methodcaller
from typing import Any, Protocol, TypeVar, overload

import numpy as np

POLL_SECONDS = 0.1

NO_STAMP = 0  # Kafka's kind of timestamp where a message has none
FIRST_MILLISECOND = -62_135_596_800_000  # of the year 1, the calendar's first
LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999, the calendar's last


def stamp_fault(kind: int, stamp: int) -> str | None:
    """Why a row can't have this timestamp, in milliseconds since 1970; None where it can."""
    if 0 <= stamp <= LAST_MILLISECOND and kind != NO_STAMP:
        return None
    if kind == NO_STAMP:
        return "its message has no Kafka timestamp"
    return f"its message's Kafka timestamp is {stamp}, {'before 1970' if stamp < 0 else 'after the year 9999'}"


def stamp_of(message: Timed) -> int | None:
    """A message's timestamp in milliseconds since 1970; None where it has none that is possible."""
    kind, stamp = message.timestamp()
    return None if stamp_fault(kind, stamp) else stamp


def possible_stamps(timestamps: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of these timestamps, each a kind and milliseconds, are possible: :func:`stamp_fault` for whole arrays."""
    kinds, stamps = timestamps[:, 0], timestamps[:, 1]
    possible: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        (kinds != NO_STAMP) & (stamps >= 0) & (stamps <= LAST_MILLISECOND)
    )
    return possible


class Placed(Protocol):
    """The part of a message that has its partition."""

    def partition(self) -> int: ...


class Timed(Protocol):
    """The part of a message that has its timestamp, a kind and milliseconds since 1970."""

    def timestamp(self) -> tuple[int, int]: ...


def partitions_of(messages: Sequence[Placed]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if isinstance(messages, Columns):
        return messages.partitions
    return np.fromiter(map(methodcaller("partition"), messages), np.int64, len(messages))


def timestamps_of(messages: Sequence[Timed]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The timestamps of messages, (n, 2): each a kind and milliseconds since 1970."""
    if isinstance(messages, Columns):
        return messages.timestamps
    kinds_and_stamps = chain.from_iterable(map(methodcaller("timestamp"), messages))
    return np.fromiter(kinds_and_stamps, np.int64, 2 * len(messages)).reshape(-1, 2)


Item = TypeVar("Item")


class Columns(Sequence[Item]):
    """Messages of which the partitions and the timestamps are there as columns, so that they need not be asked of each
    again: position i of each belongs to message i."""

    def __init__(
        self,
        messages: Sequence[Item],
        partitions: np.ndarray[tuple[int], np.dtype[np.int64]],
        timestamps: np.ndarray[Any, np.dtype[np.int64]],
    ) -> None:
        """``timestamps`` as of :func:`timestamps_of`."""
        self.messages = messages
        self.partitions = partitions
        self.timestamps = timestamps

    def __len__(self) -> int:
        return len(self.messages)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Columns[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Columns[Item]:
        if isinstance(index, slice):
            return Columns(self.messages[index], self.partitions[index], self.timestamps[index])
        return self.messages[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.messages)


class Message(Protocol):
    """The part of a message that the collector needs. Its timestamp is a kind and milliseconds since 1970."""

    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...


M = TypeVar("M", bound=Message)


class Reader(Protocol[M]):
    """The committed messages of a log, those of one partition in the order of their offsets, which may have gaps."""

    @property
    def partitions(self) -> int:
        """How many partitions there are, numbered from 0."""

    @property
    def drained(self) -> Set[int]:
        """The partitions that were read to their end."""

    @property
    def positions(self) -> Mapping[int, int]:
        """For each partition that is read, the offset before which everything was given by :meth:`read`."""

    @property
    def more(self) -> bool:
        """Whether the last :meth:`read` gave as many messages as it may, so that others are probably there already, and
        the next one raises no error of an earlier one."""

    @property
    def behind(self) -> Mapping[int, int]:
        """For each partition that is read, how many offsets are known to follow its position."""

    def first_offset(self, partition: int) -> int:
        """The first offset that the partition still holds.

        Raises:
            StreamFailed: the log does not answer.
        """

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on, and no others.

        Raises:
            LogLost: a partition ends before its offset.
        """

    def read(self) -> list[M]:
        """The next messages; none where none arrives within ``POLL_SECONDS``.

        An error is raised by a later call than the one that met it, which gave the messages before it.

        Raises:
            LogLost: the next ones were removed. All messages before were given by earlier calls.
            StreamFailed: the log can't be read.
        """

    def hold(self, partitions: set[int]) -> None:
        """Pause these partitions, and resume all others. One that is paused does not count as read to its end, as rows
        may come meanwhile, until it is resumed and read to its end again."""

    def silent(self) -> bool:
        """Ask the log whether every message was read."""

    def confirm(self, seconds: float) -> int:
        """Check that everything read so far came from the run's own log, not from another in its place.

        Returns:
            how many partitions the log has now.

        Raises:
            TopicError: the log was deleted, or deleted and created again.
            KafkaAway: there is no answer within ``seconds``; a retry may get one.
            StreamFailed: there is no answer.
        """

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        """Publish the next offset of each partition, for monitoring."""
