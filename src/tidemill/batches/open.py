"""The open batch: rows and rejects go in until it is cut, and then it is sealed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from tidemill.account import Account, total_digest
from tidemill.batches.files import Draft
from tidemill.batches.reader import LAST_MILLISECOND, Message, stamp_fault
from tidemill.catalog import Decision, Span
from tidemill.failpoints import failpoint
from tidemill.rows import arrow_schema, decode
from tidemill.run import Run
from tidemill.spec import Column

SHOWN_BYTES = 500
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Stamps = np.ndarray[tuple[int], np.dtype[np.int64]]


class Decoded:
    """Messages, those of one partition in their order, with the rows that are in them.

    Row ``i`` of ``table`` came in message ``places[i]``, at ``stamps[i]`` (milliseconds); ``reasons`` says for each
    other message why it is no row. ``fitting`` are those that are none only because of their timestamp.
    """

    def __init__(self, messages: Sequence[Message], columns: Sequence[Column]) -> None:
        self.messages = messages
        self.values = [message.value() for message in messages]
        self.timestamps = [message.timestamp() for message in messages]
        table, bad = decode(self.values, columns)
        self.reasons = {one.place: one.reason for one in bad}
        fitting = [place for place in range(len(messages)) if place not in self.reasons]
        faults = {place: fault for place in fitting if (fault := stamp_fault(*self.timestamps[place]))}
        self.fitting = set(faults)
        self.reasons |= faults
        self.table: pa.Table = table
        if faults:
            self.table = table.filter(pa.array([place not in faults for place in fitting], pa.bool_()))
            fitting = [place for place in fitting if place not in faults]
        self.places = np.array(fitting, dtype=np.int64)
        self.stamps: Stamps = np.array([self.timestamps[place][1] for place in fitting], dtype=np.int64)

    def rows_by_partition(self, messages: slice) -> dict[int, list[bytes]]:
        """The values of these messages that fit the declared columns, whatever their timestamps, in order."""
        values: dict[int, list[bytes]] = {}
        for place in range(messages.start, messages.stop):
            value = self.values[place]
            if value is not None and (place not in self.reasons or place in self.fitting):
                values.setdefault(self.messages[place].partition(), []).append(value)
        return values

    def newest_by_partition(self, messages: slice) -> dict[int, int]:
        """The newest possible timestamp among these messages, in milliseconds."""
        newest: dict[int, int] = {}
        for place in range(messages.start, messages.stop):
            kind, stamp = self.timestamps[place]
            partition = self.messages[place].partition()
            if stamp > newest.get(partition, -1) and stamp_fault(kind, stamp) is None:
                newest[partition] = stamp
        return newest


class OpenBatch:
    """A batch that is not cut yet: its draft, the offsets it spans, when its first and last row came.

    ``accounts`` are those of the partitions up to its last message; None in a run whose first batches were sealed
    before accounts were kept.
    """

    def __init__(self, run: Run, batch: int, accounts: Mapping[int, Account] | None) -> None:
        self.batch = batch
        self.columns = run.pipeline.source.schema_
        self.draft = Draft(run, batch, arrow_schema(self.columns))
        self.rejected: Counter[int] = Counter()
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
        return iso(self._first)

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(Span(partition, *ends) for partition, ends in sorted(self._spans.items()))

    @property
    def digest(self) -> str | None:
        """The one over its accounts."""
        return None if self.accounts is None else total_digest(self.accounts)

    def put(self, decoded: Decoded, rows: slice, messages: slice) -> None:
        """Take these rows, and the messages they came in with any rejects among them."""
        self.draft.add(decoded.table.slice(rows.start, rows.stop - rows.start))
        self._stamp(decoded.stamps[rows])
        self._cover(decoded.messages[messages])
        self._account(decoded, messages)
        for place in range(messages.start, messages.stop):
            if place in decoded.reasons:
                self._reject(decoded.messages[place], decoded.reasons[place])

    def put_all(self, decoded: Decoded) -> None:
        self.put(decoded, slice(0, len(decoded.table)), slice(0, len(decoded.messages)))

    def seal(self) -> None:
        """Publish the closed draft, then commit it: the batch is sealed when this returns."""
        sealed = self.draft.publish(iso(self._first), iso(self._last))
        self._run.catalog.seal(self.batch, sealed, self.accounts)

    def cut(self, cut: str) -> None:
        """Close the batch, record why it was cut and what it holds, and seal it."""
        failpoint("batch.cut")
        self.draft.close()
        failpoint("batch.written")
        self._run.catalog.decide(Decision(self.batch, cut, self.spans, self.digest))
        self.seal()

    def _cover(self, messages: Sequence[Message]) -> None:
        for message in messages:
            partition, offset = message.partition(), message.offset()
            first = self._spans[partition][0] if partition in self._spans else offset
            self._spans[partition] = (first, offset)

    def _account(self, decoded: Decoded, messages: slice) -> None:
        """Add these messages' rows to the accounts, and their timestamps that are possible."""
        if self.accounts is None:
            return
        values, newest = decoded.rows_by_partition(messages), decoded.newest_by_partition(messages)
        for partition in values.keys() | newest.keys():
            account = self.accounts.get(partition, Account()).add(values.get(partition, ()))
            stamps = [stamp for stamp in (account.newest, newest.get(partition)) if stamp is not None]
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


def iso(milliseconds: int | None) -> str | None:
    """A Kafka timestamp as ISO 8601 in UTC. One that the calendar doesn't have is given as the nearest that it has."""
    if milliseconds is None:
        return None
    moment = EPOCH + timedelta(milliseconds=min(max(milliseconds, 0), LAST_MILLISECOND))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
