"""What the API and the writer of its rows say to each other: the rows of a request, and what became of them. Pure."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple, Protocol

IN_MEMORY_BYTES = 1 << 20  # of a request's rows; more of them wait in a file without a name
LENGTHS = struct.Struct("<iii")  # of a message: partition, bytes of the key (-1: none), bytes of the value


class RowMessage(NamedTuple):
    """A row as it is sent."""

    partition: int
    key: bytes | None
    value: bytes


class MessageSpool:
    """The messages of a request, in order: written once, then read as often as needed. Its memory is bounded."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder``: where the file is, if one is needed; None for the system's folder of temporary files."""
        self._file: IO[bytes]
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=None if folder is None else str(folder))  # noqa: SIM115  # closed by close()
        self.count = 0
        self.bytes = 0

    def add(self, message: RowMessage) -> None:
        partition, key, value = message
        lengths = LENGTHS.pack(partition, -1 if key is None else len(key), len(value))
        self._file.write(b"".join((lengths, key or b"", value)))
        self.count += 1
        self.bytes += LENGTHS.size + len(key or b"") + len(value)

    def __iter__(self) -> Iterator[RowMessage]:
        self._file.seek(0)
        for _ in range(self.count):
            partition, key_bytes, value_bytes = LENGTHS.unpack(self._file.read(LENGTHS.size))
            key = self._file.read(key_bytes) if key_bytes >= 0 else None
            yield RowMessage(partition, key, self._file.read(value_bytes))

    def content(self) -> bytes | int:
        """All messages as bytes where they are in memory; otherwise the descriptor of their file. For :meth:`received`
        in another process; a descriptor is valid until this spool is closed."""
        if self.bytes > IN_MEMORY_BYTES:
            self._file.flush()
            return self._file.fileno()
        self._file.seek(0)
        return self._file.read()

    @classmethod
    def received(cls, content: bytes | int, count: int, size: int) -> MessageSpool:
        """The messages of another process's spool, by its :meth:`content`, ``count`` and ``bytes``. A descriptor is
        this process's own, and is closed with the spool; the other process no longer reads its own."""
        spool = cls.__new__(cls)
        spool._file = io.BytesIO(content) if isinstance(content, bytes) else os.fdopen(content, "rb")
        spool.count, spool.bytes = count, size
        return spool

    def close(self) -> None:
        self._file.close()


class MessageLimit(NamedTuple):
    """``most_bytes``: of a batch of messages that the topic accepts; ``overhead``: how many bytes that of one row has
    beside its key and value."""

    most_bytes: int
    overhead: int

    def objection(self, message: RowMessage) -> str | None:
        """Why the topic does not take the row; None where it does. What compression would save does not count, so that
        it is the same for each row of a size."""
        size = self.overhead + len(message.key or b"") + len(message.value)
        if size <= self.most_bytes:
            return None
        way_out = "raise max.message.bytes on the topic, or shorten the row"
        return f"its message has {size:,} bytes, and the topic takes {self.most_bytes:,}: {way_out}"


class Rejected(NamedTuple):
    """A row that does not fit: its number in the request, from 1, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class RowRequest:
    """The checked rows of one request.

    Attributes:
        messages: the rows that fit.
        rejected: how many do not fit; ``examples`` are the first of them.
        key: the request's Idempotency-Key; None where it has none.
        digest: of the request's body, in hexadecimal.
    """

    messages: MessageSpool
    rejected: int = 0
    examples: tuple[Rejected, ...] = ()
    key: str | None = None
    digest: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a request: all its fitting rows are in the log, committed, or there is an error instead.

    ``offsets``: by partition, the first and the last offset of the request's rows. ``repeated``: whether an earlier
    request with the same key had written them.
    """

    accepted: int
    rejected: int = 0
    examples: tuple[Rejected, ...] = ()
    offsets: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    repeated: bool = False


class IntakeCounts(NamedTuple):
    """``rows`` were written in ``transactions``; ``waiting`` requests are not written yet; ``rejected`` rows of those
    that were answered did not fit."""

    rows: int = 0
    transactions: int = 0
    waiting: int = 0
    rejected: int = 0


class RowIntake(Protocol):
    """Takes rows into the run's topic. Each request's rows are in one transaction: readers see all of them or none."""

    @property
    def counts(self) -> IntakeCounts:
        """The writer's counts since it started. It may wait for another process: the event loop must not ask."""

    @property
    def limit(self) -> MessageLimit | None:
        """The limit of a message's size that :meth:`objection` knows; None where it knows none yet."""

    def objection(self, message: RowMessage) -> str | None:
        """Why the topic does not take this message; None where nothing is known against it."""

    def count_rejected(self, rows: int) -> None:
        """Count rows that do not fit, of a request of which nothing is written. The writer counts those of others."""

    def accept(self, request: RowRequest) -> Future[Outcome]:
        """Write the request's rows. The future ends once Kafka has committed them in all replicas.

        The request belongs to the writer from here on, which closes it. Two requests with the same key and digest get
        one answer. The future raises RowsRefused where the request was withdrawn, or the API stops before writing it.
        Where the writer is in another process, the future raises the errors below too.

        Raises:
            KeyReused: the key was used with another body.
            RowsBusy: too many requests wait.
            RowsRefused: the writer can't write now.
        """

    def withdraw(self, future: Future[Outcome]) -> bool:
        """Give up a request whose writing has not begun; false if it has, so that its rows may be written yet. It may
        wait for another process: the event loop must not call it."""
