"""The interface of a log that the collector reads: Kafka's topic, or a list in memory in tests."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Protocol, TypeVar

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
        """The messages that arrive within ``POLL_SECONDS``. Returns sooner once there are many.

        Raises:
            LogLost: the next ones were removed. All messages before were given by earlier calls.
            StreamFailed: the log can't be read.
        """

    def hold(self, partitions: set[int]) -> None:
        """Pause these partitions, and resume all others."""

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
