"""What an API finds when it opens the log of rows by HTTP: the requests that were answered, and whether their rows are
there.

Kafka 4.3 may lose a transaction whose commit it has confirmed (KAFKA-20734): where a broker dies before it has written
the marks of the commit, and a partition has no leader for a moment after that, it leaves the transaction open there and
believes it ended. So after each lost connection, nothing is written before the last transaction is seen to be complete,
or the log is opened again; that transaction is ended then, and its rows are written again where a later one that was
aborted has taken them with it. A record is written once all rows of its transaction are in the log, so whatever may
have been answered has one.
"""

from __future__ import annotations

import logging
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import KafkaError, Message

from tidemill.errors import LogLost
from tidemill.kafka.client import Topic, end_offsets, first_offsets
from tidemill.kafka.intake import RowMessage
from tidemill.kafka.transactions import OPEN_SECONDS, open_before, open_offsets
from tidemill.producer.answered import AnsweredRequests, Extents, Moves, Record
from tidemill.producer.log_reader import committed, written
from tidemill.producer.row_log import Delivery, RowLog
from tidemill.run.marks import REQUESTS, ROW

logger = logging.getLogger(__name__)


class Recovered(NamedTuple):
    """What the log holds: the ids of its committed transactions, and of those whose rows were written again, where
    these are now."""

    transactions: set[str]
    moves: dict[str, Moves]


class Rewriting(Delivery):
    """What Kafka said of rows that were written again; ``all``: by partition, their new offsets in order."""

    def __init__(self) -> None:
        super().__init__()
        self.all: dict[int, list[int]] = {}

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        super().__call__(error, message)
        if error is None:
            self.all.setdefault(message.partition(), []).append(message.offset())


class RowRecovery:
    """Completes what an earlier API has left in a log that was just opened."""

    def __init__(self, log: RowLog) -> None:
        self._log = log
        self._ends = end_offsets(log.admin, log.topic)  # before anything is written behind what a power cut took

    def recover(self, answered: AnsweredRequests, now: float) -> Recovered:
        """Add the answers of all committed transactions to ``answered``, as given ``now``: their age is not known by a
        clock that can't step. Before, end the last transaction where Kafka has not done so, and write its rows again
        where Kafka has lost them.

        Raises:
            StreamFailed: the end of the topic can't be read, or the log is to be opened again.
            LogLost: a transaction does not end.
        """
        recovered = Recovered(set(), {})
        open_from, requests_from = self._open_from(self._log.topic), self._open_from(self._log.requests).get(0)
        forgotten = [] if requests_from is None else self._records_from(requests_from)
        recent, newest = list(forgotten), dict[int, Record]()
        for record in self._committed_records():
            answered.add(record.answers, now)
            recovered.transactions.add(record.transaction)
            newest |= dict.fromkeys(record.rows, record)
            if any(last >= open_from.get(partition, last + 1) for partition, (_, last) in record.rows.items()):
                recent.append(record)
        proven = [record for record in forgotten if self._rows_of(record) is not None]
        self._end_open(open_from, requests_from is not None, proven == forgotten, recent)
        last = {record.transaction: record for record in newest.values()}
        for record in [*last.values(), *proven]:
            is_committed = record.transaction in last or proven == forgotten
            kept, moves = self._restored(record, is_committed)
            if kept is not None:
                answered.add(kept.answers, now)
                recovered.transactions.add(kept.transaction)
                recovered.moves[kept.transaction] = moves
        return recovered

    def _open_from(self, topic: Topic) -> dict[int, int]:
        """For each partition that has an open transaction, its last stable offset."""
        return {partition: offsets.start for partition, offsets in open_offsets(self._log.admin, topic).items()}

    def _committed_records(self) -> Iterator[Record]:
        """The records of all committed transactions, in order."""
        log = self._log
        until = end_offsets(log.admin, log.requests, stable=True)
        return self._records(committed(log.connection, log.requests, {0: 0}, until))

    def _records_from(self, offset: int) -> list[Record]:
        """The records from an offset on, committed or not."""
        log = self._log
        end = end_offsets(log.admin, log.requests)[0]
        with closing(written(log.connection, log.requests, 0, offset, end - 1)) as messages:
            return list(self._records(messages))

    def _records(self, messages: Iterable[Message]) -> Iterator[Record]:
        """The genuine records among messages of the topic of requests."""
        for message in messages:
            value = message.value()
            if value is not None and self._log.request_marks.signs_value(message, REQUESTS, value):
                yield Record.decode(value)

    def _rows_of(self, record: Record) -> dict[int, list[Message]] | None:
        """The rows of a record by partition, committed or not. None where the log does not have all of them: a power
        cut may have taken some, and a record of an older version does not say where they are."""
        rows = {partition: self._rows(partition, *extent) for partition, extent in record.rows.items()}
        accepted = any(answer.outcome.accepted for answer in record.answers.values())
        if not all(rows.values()) or (accepted and not rows):
            logger.warning("Kafka has lost rows of requests that may have been answered; they can't be restored")
            return None
        return rows

    def _end_open(self, open_from: Mapping[int, int], requests: bool, proven: bool, records: Sequence[Record]) -> None:
        """End an earlier transaction that is still open.

        It is committed where its record is there and proves it. In partitions that have other rows of an API, which
        belong to a transaction that was never answered, all are aborted, before the record is committed: by that, the
        next recovery finds out what is lost.

        Args:
            requests: whether the topic of requests has an open transaction.
            proven: whether each record in it is whole.
            records: those whose rows may be in an open transaction.
        """
        if not proven:
            self._log.end_open(open_from, requests, commit=False)
        elif self._holds_no_more(open_from, [record.rows for record in records]):
            self._log.end_open(open_from, requests, commit=True)
        else:
            self._log.end_open(open_from, requests=False, commit=False)
            self._log.end_open([], requests, commit=True)

    def _holds_no_more(self, open_from: Mapping[int, int], extents: Sequence[Extents]) -> bool:
        """Whether each row of an API that may be in an open transaction is within one of the ``extents``."""
        for partition, offset in open_from.items():
            known = sorted(extent[partition] for extent in extents if partition in extent)
            for message in self._rows_within(partition, offset, self._ends[partition] - 1):
                at = bisect_right(known, (message.offset(), sys.maxsize)) - 1
                if at < 0 or message.offset() > known[at][1]:
                    return False
        return True

    def _restored(self, record: Record, is_committed: bool) -> tuple[Record | None, Moves]:
        """Write again the rows of the transaction of ``record`` that can't be read as committed, with the record.

        Returns the record as it is committed then, and where the rows went. It is None where the log has no longer all
        of the rows, and the record is not committed.
        """
        lost = [partition for partition, (_, last) in record.rows.items() if not self._is_readable(partition, last)]
        if is_committed and not lost:
            return record, {}
        rows = self._rows_of(record)
        if rows is None:
            return record if is_committed else None, {}
        self._log.begin()
        rewriting = Rewriting()
        for partition in lost:
            self._log.send((RowMessage(partition, each.key(), each.value()) for each in rows[partition]), rewriting)
        self._log.flush([rewriting])
        moves = {
            partition: dict(zip((message.offset() for message in rows[partition]), offsets, strict=True))
            for partition, offsets in rewriting.all.items()
        }
        whole = record.moved(moves)
        self._log.commit(whole)
        count = sum(map(len, moves.values()))
        logger.warning("Kafka had lost a transaction that it may have confirmed: %d rows were written again", count)
        return whole, moves

    def _is_readable(self, partition: int, last: int) -> bool:
        """Whether the rows of a transaction in a partition, whose last one is at the offset ``last``, can be read as
        committed, or could be before the start of the log was removed. Waits for transactions of others before them.

        Raises:
            LogLost: one of these does not end.
        """
        log = self._log
        if self._ends[partition] <= last:
            return False
        if open_before(log.admin, log.topic, {partition: last + 1}, OPEN_SECONDS, log.refuse_moved):
            hint = "end it with Kafka's kafka-transactions.sh"
            raise LogLost(f"a transaction in partition {partition} of {log.topic.name} does not end", hint)
        if first_offsets(log.admin, log.topic)[partition] > last:
            return True
        with closing(committed(log.connection, log.topic, {partition: last}, {partition: last + 1})) as messages:
            return any(message.offset() == last and self._is_row(message) for message in messages)

    def _rows(self, partition: int, first: int, last: int) -> list[Message]:
        """The rows of a transaction that an API wrote to these offsets, whether or not it was committed; none where the
        log does not have both the first and the last one."""
        rows = self._rows_within(partition, first, last) if self._ends[partition] > last else []
        return rows if rows and (rows[0].offset(), rows[-1].offset()) == (first, last) else []

    def _rows_within(self, partition: int, first: int, last: int) -> list[Message]:
        """The rows by HTTP at these offsets."""
        log = self._log
        with closing(written(log.connection, log.topic, partition, first, last)) as messages:
            return [message for message in messages if self._is_row(message)]

    def _is_row(self, message: Message) -> bool:
        """Whether it is a row by HTTP."""
        return self._log.marks.signs_value(message, ROW, message.value())
