"""The interface of a log that the collector reads: Kafka's topic, or a list in memory in tests."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Protocol, TypeVar

POLL_SECONDS = 0.1

NO_STAMP = 0  # Kafka's kind of timestamp where a message has none
LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999, the calendar's last


def stamp_fault(kind: int, stamp: int) -> str | None:
    """Why a row can't have this timestamp, in milliseconds since 1970; None where it can."""
    if 0 <= stamp <= LAST_MILLISECOND and kind != NO_STAMP:
        return None
    if kind == NO_STAMP:
        return "its message has no Kafka timestamp"
    return f"its message's Kafka timestamp is {stamp}, {'before 1970' if stamp < 0 else 'after the year 9999'}"


@dataclass(frozen=True)
class End:
    """The end-of-stream marker of a partition: how many rows were sent to it, and their account's digest.

    Both are None in a run that started before markers had them.
    """

    sent: int | None = None
    digest: str | None = None


class Message(Protocol):
    """The part of a message that the collector needs. Its timestamp is a kind and milliseconds since 1970."""

    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
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

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on, and no others.

        Raises:
            LogLost: the log does not have an offset, or has lost it.
        """

    def read(self) -> list[M]:
        """The messages that arrive within ``POLL_SECONDS``. Returns sooner once there are many.

        Raises:
            StreamFailed: the log can't be read.
        """

    def hold(self, partitions: set[int]) -> None:
        """Pause these partitions, and resume all others."""

    def silent(self) -> bool:
        """Ask the log whether every message was read."""

    def confirm(self, seconds: float) -> None:
        """Check that everything read so far came from the run's own log, not from another in its place.

        Raises:
            TopicError: the log was deleted, or deleted and created again.
            KafkaAway: there is no answer within ``seconds``; a retry may get one.
            StreamFailed: there is no answer.
        """

    def end_of(self, message: M) -> End | None:
        """The content of this run's end-of-stream marker; None where the message is no such marker."""

    def source_end_of(self, message: M) -> End | None:
        """The content of this run's marker after the source's last row in a partition of a stream that stays open; None
        where the message is no such marker."""

    def is_posted(self, message: M) -> bool:
        """Whether the message is a row that came by HTTP."""

    def is_claim(self, message: M) -> bool:
        """Whether this message is this run's claim of the topic."""

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        """Publish the next offset of each partition, for monitoring."""
