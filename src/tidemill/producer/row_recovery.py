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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import KafkaError, Message

from tidemill.errors import LogLost
from tidemill.kafka.client import Topic, end_offsets, first_offsets
from tidemill.kafka.intake import RowMessage
from tidemill.kafka.transactions import OPEN_SECONDS, behind, open_before
from tidemill.producer.answered import AnsweredRequests, Extents, Moves, Record
from tidemill.producer.log_reader import committed, written
from tidemill.producer.row_log import Delivery, RowLog
from tidemill.run.folder import Run
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

    def __init__(self, run: Run, log: RowLog) -> None:
        self._run = run
        self._log = log

    def recover(self, answered: AnsweredRequests, now: float) -> Recovered:
        """Add the answers of all committed transactions to ``answered``, as given ``now``: their age is not known by a
        clock that can't step. Before, end the last transaction where Kafka has not done so, and write its rows again
        where Kafka has lost them.

        Raises:
            StreamFailed: the end of the topic can't be read.
            LogLost: a transaction does not end.
        """
        recovered, last = Recovered(set(), {}), None
        open_from, requests_from = self._open_from(self._log.topic), self._open_from(self._log.requests).get(0)
        forgotten = [] if requests_from is None else self._records_from(requests_from)
        extents = [record.rows for record in forgotten]
        for record in self._committed_records():
            answered.add(record.answers, now)
            recovered.transactions.add(record.transaction)
            last = record
            extents += [record.rows] if open_from else []
        is_whole = self._holds_no_more(open_from, extents)
        self._log.end_open(open_from, requests_from is not None, commit=is_whole)
        for record in [*([last] if last is not None else []), *forgotten]:
            kept, moves = self._restored(record, is_committed=record is last or is_whole)
            if kept is not None:
                answered.add(kept.answers, now)
                recovered.transactions.add(kept.transaction)
                recovered.moves[kept.transaction] = moves
        return recovered

    def _open_from(self, topic: Topic) -> dict[int, int]:
        """For each partition that has an open transaction, its last stable offset."""
        stable = end_offsets(self._log.admin, topic, stable=True)
        return {partition: stable[partition] for partition in behind(end_offsets(self._log.admin, topic), stable)}

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

    def _holds_no_more(self, open_from: Mapping[int, int], extents: Sequence[Extents]) -> bool:
        """Whether each row of an API that may be in an open transaction is within one of the ``extents``. A row that is
        not belongs to a transaction that was never answered."""
        ends = end_offsets(self._log.admin, self._log.topic)
        for partition, offset in open_from.items():
            known = [extent[partition] for extent in extents if partition in extent]
            for message in self._rows(partition, offset, ends[partition] - 1):
                if not any(first <= message.offset() <= last for first, last in known):
                    return False
        return True

    def _restored(self, record: Record, is_committed: bool) -> tuple[Record | None, Moves]:
        """Write again the rows of the transaction of ``record`` that can't be read as committed, with the record.

        Returns the record as it is committed then, and where the rows went. It is None where the log ends before the
        rows, as after a power cut, which is logged.
        """
        lost = {where: extent for where, extent in record.rows.items() if not self._is_readable(where, *extent)}
        if is_committed and not lost:
            return record, {}
        rows = {partition: self._rows(partition, *extent) for partition, extent in lost.items()}
        accepted = any(answer.outcome.accepted for answer in record.answers.values())
        if not all(rows.values()) or (accepted and not record.rows):
            logger.warning("Kafka has lost rows of requests that may have been answered; they can't be restored")
            return record if is_committed else None, {}
        self._log.begin()
        rewriting = Rewriting()
        for partition, messages in rows.items():
            self._log.send((RowMessage(partition, each.key(), each.value()) for each in messages), rewriting)
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

    def _is_readable(self, partition: int, first: int, last: int) -> bool:
        """Whether the rows of a transaction in a partition can be read as committed, or are sealed. Waits for the
        transactions of others before them.

        Raises:
            LogLost: one of these does not end.
        """
        log = self._log
        if self._run.catalog.next_offsets().get(partition, 0) > first:
            return True
        if end_offsets(log.admin, log.topic)[partition] <= last:
            return False
        if open_before(log.admin, log.topic, {partition: last + 1}, OPEN_SECONDS):
            hint = "end it with Kafka's kafka-transactions.sh"
            raise LogLost(f"a transaction in partition {partition} of {log.topic.name} does not end", hint)
        if first_offsets(log.admin, log.topic)[partition] > first:
            return True
        with closing(committed(log.connection, log.topic, {partition: first}, {partition: first + 1})) as messages:
            return any(message.offset() == first for message in messages)

    def _rows(self, partition: int, first: int, last: int) -> list[Message]:
        """The rows that an API wrote to these offsets, whether or not they were committed; none where the log ends
        before."""
        log = self._log
        if end_offsets(log.admin, log.topic)[partition] <= last:
            return []
        with closing(written(log.connection, log.topic, partition, first, last)) as messages:
            return [message for message in messages if log.marks.signs_value(message, ROW, message.value())]
