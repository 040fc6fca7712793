"""The messages that a run writes into its own topic beside its rows, and the marks of rows by HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from tidemill.run.marks import CLAIM, END, POSITION, ROW, SOURCE_END, Kind, Marked, Marks


@dataclass(frozen=True)
class End:
    """The end of a partition's stream: how many rows were sent to it, and their account's digest.

    Both are None in a run that started before end markers had them, and in a topic that others write.
    """

    sent: int | None = None
    digest: str | None = None


Marking = TypeVar("Marking", contravariant=True)


class StreamMarks(Protocol[Marking]):
    """Recognizes the messages of a log that the run wrote beside its rows, none of which has a value; and rows by
    HTTP."""

    def is_claim(self, message: Marking) -> bool:
        """Whether this message is this run's claim of the topic."""

    def end_of(self, message: Marking) -> End | None:
        """The content of this run's end-of-stream marker; None where the message is no such marker."""

    def source_end_of(self, message: Marking) -> End | None:
        """The content of this run's marker after the source's last row in a partition of a stream that stays open; None
        where the message is no such marker."""

    def is_posted(self, message: Marking) -> bool:
        """Whether the message is a row that came by HTTP."""

    def ends_transaction(self, message: Marking) -> bool:
        """Whether the message is the producer's last in a partition before a commit."""


class Valued(Marked, Protocol):
    def value(self) -> bytes | None: ...


@dataclass(frozen=True)
class KafkaMarks:
    """The marks in Kafka's messages: all but that of a row by HTTP stand in messages without a value."""

    marks: Marks

    def is_claim(self, message: Valued) -> bool:
        return message.value() is None and self.marks.read(message, CLAIM) is not None

    def end_of(self, message: Valued) -> End | None:
        return self._marker(message, END)

    def source_end_of(self, message: Valued) -> End | None:
        return self._marker(message, SOURCE_END)

    def _marker(self, message: Valued, kind: Kind) -> End | None:
        content = self.marks.read(message, kind) if message.value() is None else None
        return None if content is None else End(content.get("sent"), content.get("digest"))

    def is_posted(self, message: Valued) -> bool:
        return self.marks.signs_value(message, ROW, message.value())

    def ends_transaction(self, message: Valued) -> bool:
        return self.marks.read(message, POSITION) is not None
