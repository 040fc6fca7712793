"""A log in memory that stands where Kafka's does, and a clock that is moved by hand: what reads a log can be tested
with them step by step, whatever the order of events, without a broker and without waiting."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tidemill.collector.feed import OwnStream
from tidemill.collector.origins import Origins, ended_by
from tidemill.collector.own_marks import End
from tidemill.collector.reader import POLL_SECONDS
from tidemill.errors import LogLost
from tidemill.kafka.codec import OwnRows
from tidemill.pipeline import Loaded, Raw, parse
from tidemill.run.folder import Run

Mark = Literal["claim", "end", "source-end", "row", "position"]
CREATE_TIME = 1  # Kafka's kind of timestamp: the producer's


def one_column(rows: int = 1, partitions: int = 1) -> Loaded:
    """A pipeline whose rows have one number each, ``n``, in batches of so many rows."""
    document = {
        "name": "modelled",
        "source": {"path": "data.csv", "columns": {"n": "int"}},
        "stream": {"topic": "t", "partitions": partitions},
        "batches": {"rows": rows},
        "models": {"groups": {"estimator": "KMeans", "features": ["n"]}},
    }
    return parse(Raw("modelled", Path(), document))


class HandClock:
    """Seconds that pass only when :meth:`advance` is called."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class MemoryMessage:
    """A message as :class:`tidemill.collector.reader.Message` has it; ``mark`` says that it is the run's own."""

    place: tuple[int, int]
    stamp: int
    content: bytes | None
    mark: Mark | None = None
    kind: int = CREATE_TIME
    end: End = field(default_factory=End)

    def partition(self) -> int:
        return self.place[0]

    def offset(self) -> int:
        return self.place[1]

    def timestamp(self) -> tuple[int, int]:
        return self.kind, self.stamp

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self.content


class MemoryLog:
    """Partitions of committed messages, and of offsets that bear none, as transactions leave them."""

    def __init__(self, partitions: int) -> None:
        self.logs: list[list[MemoryMessage | None]] = [[] for _ in range(partitions)]

    def append(
        self,
        partition: int,
        value: bytes | None,
        stamp: int,
        mark: Mark | None = None,
        *,
        kind: int = CREATE_TIME,
        end: End | None = None,
    ) -> MemoryMessage:
        """Add a message; ``stamp`` is in milliseconds, ``kind`` is Kafka's kind of it, ``end`` what an end marker
        says."""
        message = MemoryMessage((partition, len(self.logs[partition])), stamp, value, mark, kind, end or End())
        self.logs[partition].append(message)
        return message

    def skip(self, partition: int) -> None:
        """Use an offset up for something that no reader sees: a transaction's marker, or a row that was aborted."""
        self.logs[partition].append(None)

    def messages(self, partition: int, offset: int) -> list[MemoryMessage]:
        """The messages from ``offset`` on."""
        return [message for message in self.logs[partition][offset:] if message is not None]


class MemoryReader:
    """A :class:`tidemill.collector.reader.Reader` of a :class:`MemoryLog`.

    ``most`` is how many messages a read gives at the most, and ``answering`` the partitions whose broker answers just
    now: set them to be given much or little, of all partitions or some. ``more``: whether the last read gave as many
    messages as it may. A read that finds nothing lets the time pass that a real one would wait. ``shown`` is what
    others were told of the progress.
    """

    def __init__(self, log: MemoryLog, clock: HandClock) -> None:
        self.log = log
        self.most = 10_000
        self.more = False
        self.answering: Set[int] = set(range(self.partitions))
        self.shown: dict[int, int] = {}
        self._clock = clock
        self._next: dict[int, int] = {}
        self._drained: set[int] = set()
        self._held: set[int] = set()
        self._turn = 0

    @property
    def partitions(self) -> int:
        return len(self.log.logs)

    @property
    def drained(self) -> Set[int]:
        return self._drained

    @property
    def positions(self) -> Mapping[int, int]:
        return self._next

    @property
    def behind(self) -> Mapping[int, int]:
        return {partition: len(self.log.logs[partition]) - offset for partition, offset in self._next.items()}

    def first_offset(self, partition: int) -> int:
        return 0

    @property
    def unread(self) -> set[int]:
        """The partitions that hold messages which were not read."""
        return {partition for partition, offset in self._next.items() if self.log.messages(partition, offset)}

    def seek(self, offsets: Mapping[int, int]) -> None:
        for partition, offset in offsets.items():
            if offset > len(self.log.logs[partition]):
                raise LogLost(f"partition {partition} ends before {offset}")
        self._next = dict(offsets)
        self._drained, self._held = set(), set()

    def read(self) -> list[MemoryMessage]:
        messages: list[MemoryMessage] = []
        order = sorted(self._next)
        self._turn = (self._turn + 1) % max(len(order), 1)
        for partition in order[self._turn :] + order[: self._turn]:
            if partition in self.answering and partition not in self._held:
                messages += self._fetch(partition, self.most - len(messages))
        self.more = len(messages) == self.most
        if not messages:
            self._clock.advance(POLL_SECONDS)
        return messages

    def _fetch(self, partition: int, most: int) -> list[MemoryMessage]:
        left = self.log.messages(partition, self._next[partition])
        messages = left[:most]
        if messages:
            self._next[partition] = messages[-1].offset() + 1
            self._drained.discard(partition)
        if len(messages) == len(left):
            self._drained.add(partition)
        return messages

    def hold(self, partitions: set[int]) -> None:
        self._drained -= partitions - self._held
        self._held = set(partitions)

    def silent(self) -> bool:
        return not self.unread

    def confirm(self, seconds: float) -> int:
        """The log in memory is always the run's own."""
        return self.partitions

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        self.shown |= offsets


class MemoryMarks:
    """The marks of a :class:`MemoryMessage`."""

    def end_of(self, message: MemoryMessage) -> End | None:
        return message.end if message.mark == "end" else None

    def source_end_of(self, message: MemoryMessage) -> End | None:
        return message.end if message.mark == "source-end" else None

    def is_posted(self, message: MemoryMessage) -> bool:
        return message.mark == "row"

    def ends_transaction(self, message: MemoryMessage) -> bool:
        return message.mark == "position"

    def is_claim(self, message: MemoryMessage) -> bool:
        return message.mark == "claim"


def own_stream(run: Run, reader: MemoryReader) -> OwnStream[MemoryMessage]:
    """The run's own stream in a log in memory."""
    source, marks = run.pipeline.source, MemoryMarks()
    writers = Origins(marks, range(reader.partitions), source, ended_by(run.catalog.accounts()))
    return OwnStream(run.pipeline.topic, reader, OwnRows(source.schema_), marks, writers)
