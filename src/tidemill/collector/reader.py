"""What the collector needs of a log: Kafka's topic has it, and so has a list in memory."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Protocol, TypeVar

POLL_SECONDS = 0.1

NO_STAMP = 0  # Kafka's kind of timestamp where a message has none
LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999, after which the calendar ends


def stamp_fault(kind: int, stamp: int) -> str | None:
    """Why a message's timestamp, in milliseconds since 1970, is none that a row can have; None where it is one."""
    if 0 <= stamp <= LAST_MILLISECOND and kind != NO_STAMP:
        return None
    if kind == NO_STAMP:
        return "its message has no Kafka timestamp"
    return f"its message's Kafka timestamp is {stamp}, {'before 1970' if stamp < 0 else 'after the year 9999'}"


@dataclass(frozen=True)
class End:
    """What the end-of-stream marker of a partition says was sent to it: the rows, and their account's digest.

    Each is None where the run began before markers said so.
    """

    sent: int | None = None
    digest: str | None = None


class Message(Protocol):
    """What is needed of a message; its timestamp is a kind and milliseconds since 1970."""

    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def value(self) -> bytes | None: ...


M = TypeVar("M", bound=Message)


class Reader(Protocol[M]):
    """The committed messages of a log, each partition's in the order of their offsets, which may have gaps."""

    @property
    def partitions(self) -> int:
        """How many there are, numbered from 0."""

    @property
    def drained(self) -> Set[int]:
        """The partitions that were read to the end of what they hold."""

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions, each from this offset, and no others.

        Raises:
            LogLost: an offset is not, or no longer, in the log.
        """

    def read(self) -> list[M]:
        """The next messages, as soon as there are any; none after ``POLL_SECONDS``.

        Raises:
            StreamFailed: the log can't be read.
        """

    def hold(self, partitions: set[int]) -> None:
        """Read nothing from these partitions for now, and from all others."""

    def silent(self) -> bool:
        """Whether the log, asked just now, has nothing that was not read."""

    def confirm(self, seconds: float) -> None:
        """See that all that was read by now came from the run's own log, and not from another in its place.

        Raises:
            TopicError: that log is gone.
            KafkaAway: it can't be told within so many seconds; asked again, it may be.
            StreamFailed: it can't be told.
        """

    def end_of(self, message: M) -> End | None:
        """What this run's end-of-stream marker says; None where the message is no such marker."""

    def is_claim(self, message: M) -> bool:
        """Whether it is the message by which this run claimed the topic."""

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        """Tell others, who may want to see it, which offset of each partition comes next."""
