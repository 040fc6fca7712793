"""The open batch: it takes rows and rejects until it is cut, and then it is sealed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from tidemill.collector.batch_file import Draft
from tidemill.collector.origins import Origin
from tidemill.collector.reader import (
    FIRST_MILLISECOND,
    LAST_MILLISECOND,
    Message,
    partitions_of,
    possible_stamps,
    stamp_fault,
    timestamps_of,
)
from tidemill.collector.timing import LastRow, SealTimer
from tidemill.kafka.codec import ValueDecoder
from tidemill.pipeline import arrow_schema
from tidemill.run.catalog import Decision, Span, TopicPartition
from tidemill.run.catalog.account import Account, whole_digest
from tidemill.run.failpoints import failpoint
from tidemill.run.folder import Run
from tidemill.types import iso

SHOWN_BYTES = 500
FOREIGN = "it was not sent by this run"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Stamps = np.ndarray[tuple[int], np.dtype[np.int64]]
Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


class Decoded:
    """Messages, those of one partition in order, and the rows decoded from them.

    Row ``i`` of ``table`` is that of message ``indices[i]``, with the timestamp ``stamps[i]`` (milliseconds): Kafka's,
    or that of the decoder's column; ``reasons`` says for every other message why it is not a row.
    """

    def __init__(
        self, messages: Sequence[Message], decoder: ValueDecoder, origins: Sequence[Origin] | None = None
    ) -> None:
        """``origins``: who wrote each message; None where all are the source's."""
        count = len(messages)
        self.messages = messages
        self._origins = origins
        self.values = [message.value() for message in messages]
        self.partitions = partitions_of(messages)
        self._timestamps = timestamps_of(messages)
        foreign = {index for index, origin in enumerate(origins or ()) if origin is Origin.FOREIGN}
        own = [index for index in range(count) if index not in foreign] if foreign else range(count)
        if foreign:
            table, bad = decoder.decode([messages[index] for index in own], [self.values[index] for index in own])
        else:
            table, bad = decoder.decode(messages, self.values)
        self.reasons = {own[message.position]: message.reason for message in bad} | dict.fromkeys(foreign, FOREIGN)
        self._no_rows = set(self.reasons)
        fitting = np.delete(np.arange(count), np.fromiter(self.reasons, np.int64, len(self.reasons)))
        self._possible = possible_stamps(self._timestamps)
        in_time = self._possible[fitting] if decoder.timestamp is None else np.ones(len(fitting), dtype=np.bool_)
        for index in fitting[~in_time].tolist():
            fault = stamp_fault(*self._timestamps[index].tolist())
            assert fault
            self.reasons[index] = fault
        self.table: pa.Table = table if in_time.all() else table.filter(pa.array(in_time))
        self.indices = fitting[in_time]
        column = decoder.timestamp
        self.stamps: Stamps = self._timestamps[self.indices, 1] if column is None else milliseconds(table[column])

    def by_partition(self, messages: slice) -> Iterator[tuple[int, Indices]]:
        """For each partition of these messages, their indices in order."""
        partitions = self.partitions[messages]
        different = np.flatnonzero(np.bincount(partitions)) if len(partitions) else partitions
        for partition in different.tolist():
            yield partition, np.flatnonzero(partitions == partition) + messages.start

    def row_values(self, indices: Indices, origin: Origin = Origin.SOURCE) -> list[bytes]:
        """The values of those messages of this origin that fit the declared columns, whether or not their timestamps
        are possible."""
        if self._origins is None and origin is not Origin.SOURCE:
            return []
        chosen = indices.tolist()
        if self._no_rows:
            chosen = [index for index in chosen if index not in self._no_rows]
        if self._origins is not None:
            chosen = [index for index in chosen if self._origins[index] is origin]
        return [value for value in self._values_at(chosen) if value is not None]

    def _values_at(self, indices: list[int]) -> list[bytes | None]:
        """The values at these ascending indices."""
        if indices and indices[-1] - indices[0] == len(indices) - 1:
            return self.values[indices[0] : indices[-1] + 1]
        return [self.values[index] for index in indices]

    def rejected(self, messages: slice) -> list[int]:
        """The indices of those of these messages that are not rows, in order."""
        return sorted(index for index in self.reasons if messages.start <= index < messages.stop)

    def newest(self, indices: Indices) -> int | None:
        """The newest possible timestamp among these messages, in milliseconds."""
        stamps = self._timestamps[indices, 1][self._possible[indices]]
        return int(stamps.max()) if len(stamps) else None


class OpenBatch:
    """A batch that is not cut yet: its draft, its offsets, and the timestamps of its first and last rows.

    ``accounts`` cover the partitions up to its last message; None in a run whose first batches were sealed before
    accounts were kept.
    """

    def __init__(self, run: Run, batch: int, accounts: Mapping[int, Account] | None) -> None:
        self.batch = batch
        self.draft = Draft(run, batch, arrow_schema(run.pipeline.source.schema_))
        self.rejected: Counter[int] = Counter()
        self.last_row: LastRow | None = None
        self.accounts = None if accounts is None else dict(accounts)
        self._run = run
        self._first: int | None = None
        self._last: int | None = None
        self._spans: dict[int, tuple[int, int]] = {}

    @property
    def rows(self) -> int:
        return self.draft.rows

    @property
    def since(self) -> str | None:
        """The timestamp of its first row; None while it has none."""
        return stamp_text(self._first)

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(Span(partition, *ends) for partition, ends in sorted(self._spans.items()))

    @property
    def digest(self) -> str | None:
        """The digest over its accounts; None where none are kept."""
        return None if self.accounts is None else whole_digest(self.accounts)

    def put(self, decoded: Decoded, rows: slice, messages: slice) -> None:
        """Add these rows, and the messages that they came from, with the rejects among them."""
        self.draft.add(decoded.table.slice(rows.start, rows.stop - rows.start))
        self._stamp(decoded.stamps[rows])
        for partition, indices in decoded.by_partition(messages):
            self._cover(partition, decoded.messages[indices[0]].offset(), decoded.messages[indices[-1]].offset())
            self._account(partition, decoded, indices)
        for index in decoded.rejected(messages):
            self._reject(decoded.messages[index], decoded.reasons[index])

    def note_source_end(self, partition: int, sent: int | None) -> None:
        """Record in the partition's account that its source has ended, after so many rows."""
        if self.accounts is not None:
            self.accounts[partition] = replace(self.accounts.get(partition, Account()), sent=sent)

    def put_all(self, decoded: Decoded) -> None:
        self.put(decoded, slice(0, len(decoded.table)), slice(0, len(decoded.messages)))

    def seal(self, partitions: Iterable[TopicPartition], timer: SealTimer) -> None:
        """Publish the closed draft and commit it to the catalog. The batch is sealed when this returns.

        Args:
            partitions: those of a topic of others.
        """
        sealed = self.draft.publish(stamp_text(self._first), stamp_text(self._last))
        self._run.catalog.seal(self.batch, sealed, self.accounts, partitions, timer.times())

    def cut(self, cut: str, partitions: Iterable[TopicPartition], timer: SealTimer) -> None:
        """Close the batch, record the cut and its offsets, and seal it."""
        failpoint("batch.cut")
        self.draft.close()
        failpoint("batch.written")
        self._run.catalog.decide(Decision(self.batch, cut, self.spans, self.digest))
        self.seal(partitions, timer)

    def _cover(self, partition: int, first: int, last: int) -> None:
        self._spans[partition] = (self._spans.get(partition, (first, last))[0], last)

    def _account(self, partition: int, decoded: Decoded, indices: Indices) -> None:
        """Add the rows and the possible timestamps of these messages to the partition's account."""
        if self.accounts is None:
            return
        account = self.accounts.get(partition, Account()).add(decoded.row_values(indices))
        account = account.add_posted(decoded.row_values(indices, Origin.POSTED))
        stamps = [stamp for stamp in (account.newest, decoded.newest(indices)) if stamp is not None]
        self.accounts[partition] = replace(account, newest=max(stamps, default=None))

    def _stamp(self, stamps: Stamps) -> None:
        if len(stamps):
            low, high = int(stamps.min()), int(stamps.max())
            self._first = low if self._first is None else min(self._first, low)
            self._last = high if self._last is None else max(self._last, high)

    def _reject(self, message: Message, reason: str) -> None:
        value = message.value() or b""
        self.rejected[message.partition()] += 1
        self.draft.rejects.add(
            partition=message.partition(),
            offset=message.offset(),
            reason=reason,
            text=value[:SHOWN_BYTES].decode(errors="replace"),
        )


def milliseconds(moments: pa.ChunkedArray) -> Stamps:
    """Timestamps in microseconds as milliseconds, rounded down."""
    microseconds: Stamps = moments.cast(pa.int64()).to_numpy()
    return microseconds // 1000


def stamp_text(milliseconds: int | None) -> str | None:
    """A timestamp as ISO 8601 in UTC; one outside the calendar becomes the nearest one within it."""
    if milliseconds is None:
        return None
    moment = EPOCH + timedelta(milliseconds=min(max(milliseconds, FIRST_MILLISECOND), LAST_MILLISECOND))
    return iso(moment, "milliseconds")
