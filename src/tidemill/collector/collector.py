"""The collector: cuts the stream into batches and seals each exactly once.

A batch is sealed in this order: its file is written beside, its cut and its offsets are recorded, the file is synced
and renamed, and one catalog transaction commits its sha256 and its counts. After a crash at any point the next
collector finds a sealed batch, or a cut whose batch it makes again from the same offsets, or neither. It then reads on
from the last sealed offset. Kafka's group offsets are only written, for monitoring.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Generic

from tidemill.collector.cutter import Cut, Cutter, Rules
from tidemill.collector.kafka_reader import KafkaReader
from tidemill.collector.log_cut import LogCutter
from tidemill.collector.merge import Merge
from tidemill.collector.open_batch import Decoded, OpenBatch, iso
from tidemill.collector.origins import Origins
from tidemill.collector.reader import POLL_SECONDS, End, M, Reader
from tidemill.errors import AccountError, KafkaAway, StreamFailed
from tidemill.kafka.client import ANSWER_SECONDS, broker_moved, connect_cluster, verify_topic
from tidemill.run.catalog import CollectorProgress, Decision, SourceState
from tidemill.run.catalog.account import Account
from tidemill.run.failpoints import failpoint
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch
from tidemill.run.inventory import take_inventory
from tidemill.run.stage import Stage, Stopped

REPLAY_SECONDS = 60.0
GONE_SECONDS = 5.0  # how long a log that was read to its end may still hide messages
MOVED_SECONDS = 1.0
CONFIRM_SECONDS = 5.0
CONFIRM_WITHIN = 2.0  # then the topic is verified again, unless the stage stops

Clock = Callable[[], float]

log = logging.getLogger(__name__)


def run_collector(stage: Stage, bootstrap: str | None) -> None:
    """Run the stage: recover, then seal batch after batch until the stream ends."""
    run = stage.run
    recover(run)
    if run.catalog.ended():
        return
    connection, admin = connect_cluster(run, bootstrap, stage.stop)
    source = await_source(stage)
    if source is None or source.topic_id is None:
        return
    topic = verify_topic(admin, run.pipeline.stream.topic, source.topic_id)
    embedded = None if bootstrap or run.pipeline.stream.bootstrap_servers else connection.address
    with KafkaReader(connection, topic, run.marks(topic.id)) as reader:
        collector = take_up(stage, reader, Rules.of(run.pipeline.batches, source.rows), embedded)
        if embedded and not run.pipeline.keep.all:
            collector.upkeep = LogCutter(run, admin, topic).cut
        collector.collect()


def recover(run: Run) -> None:
    """Remove the temporary files that a crash left, and refuse a run whose sealed files differ from the catalog.

    A file with a batch's final name is never removed: making the batch again gives the same file, and a file with other
    rows is put aside.

    Raises:
        CatalogError: files and catalog do not belong together, or a sealed batch's file has another size.
    """
    inventory = take_inventory(run.folder, run.catalog)
    for batch in run.catalog.batches():
        if batch.removed_at:
            continue
        check_batch(run, batch, content=False)  # readers check the content
        if batch.rejects_path and not (run.folder / batch.rejects_path).exists():
            log.warning("%s of batch %d is missing; the batch's rows are complete", batch.rejects_path, batch.batch)
    with disk_errors("the run folder"):
        for name in inventory.batch_leftovers:
            log.info("removed files that a crash left: %s", name)
            (run.folder / name).unlink()


def await_source(stage: Stage) -> SourceState | None:
    """The source's state once the producer has claimed the topic; None when asked to stop first."""
    while not stage.stop.is_set():
        source = stage.run.catalog.source()
        if source and source.topic_id:
            return source
        stage.stop.wait(0.05)
    return None


def nothing() -> None:
    """No upkeep."""


class Collector(Generic[M]):
    """Reads on from the last sealed offset and seals batches.

    :meth:`collect` does everything: :meth:`begin`, :meth:`step` until it is :attr:`over`, :meth:`finish`.
    """

    def __init__(
        self,
        stage: Stage,
        reader: Reader[M],
        rules: Rules,
        embedded: str | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """``embedded``: the address of the embedded Kafka, if that is the one that is read. ``clock``: seconds from any
        origin. ``upkeep`` is called every :data:`CONFIRM_SECONDS`."""
        self.upkeep: Callable[[], None] = nothing
        self._stage = stage
        self._run = stage.run
        self._reader = reader
        self._clock = clock
        totals = self._run.catalog.totals()
        self._sealed_rows = totals["rows"]
        self._cutter = Cutter(rules, self._sealed_rows)
        accounts = self._run.catalog.accounts()
        self._open = OpenBatch(self._run, totals["batches"] + 1, accounts)
        self._origins = Origins(reader, self._run.pipeline.source, accounts)
        self._unbalanced: dict[int, End] = {}  # the source's ends whose partition's rows are not all counted yet
        self._ends: dict[int, int] = {}
        self._endings: dict[int, End] = {}
        self._silent = 0.0
        self._idle_after = rules.idle_seconds
        self._embedded = embedded
        several = reader.partitions > 1
        self._merge: Merge[M] | None = Merge(range(reader.partitions), newest_of(accounts)) if several else None
        self._asked_at = clock()
        self._confirmed_at = clock()

    def collect(self) -> None:
        """Collect until the stream has ended or the stage is asked to stop."""
        self.begin()
        try:
            while not self._stage.stop.is_set() and not self.over:
                self.step()
            if self.over:
                self.finish()
        finally:
            self._show()
            self._open.draft.discard()

    def begin(self) -> None:
        """Seek to the first offset that no sealed batch has."""
        done = self._run.catalog.next_offsets()
        self._reader.seek({partition: done.get(partition, 0) for partition in range(self._reader.partitions)})
        self._stage.ready()

    def step(self) -> None:
        """Read the next messages, if any arrive soon, and seal the batches that end with them or with silence."""
        self._show()
        self._refuse_moved()
        self._refuse_gone()
        began = self._clock()
        messages = self._reader.read()
        self._take(messages)
        self._listen(bool(messages), self._clock() - began)

    @property
    def over(self) -> bool:
        """Whether every partition was read to its end marker."""
        return len(self._ends) == self._reader.partitions and not self._merge

    def finish(self) -> None:
        """Compare the rows read with the rows sent, seal the last batch, and record the end of the stream.

        Raises:
            AccountError: they differ. The last batch is not sealed then.
        """
        balance(self._run.pipeline.stream.topic, self._endings, self._open.accounts)
        cut = self._cutter.end()
        if cut:
            self._seal(cut)
        self._confirm()
        self._open.draft.rejects.publish(self._run.rejects / "tail.jsonl")
        self._run.catalog.end_stream(self._ends, self._open.rejected, self._endings, self._open.accounts)

    def _refuse_moved(self) -> None:
        """Fail, to be restarted, if the embedded Kafka is now at another address."""
        if self._clock() - self._asked_at > MOVED_SECONDS:
            self._asked_at = self._clock()
            if self._embedded and broker_moved(self._run, self._embedded):
                raise StreamFailed("Kafka is at another address now")

    def _refuse_gone(self) -> None:
        """Refuse a deleted topic. Consumers get no error when a topic is deleted, so ask for its id.

        If Kafka does not answer now, the next check asks again.
        """
        if self._clock() - self._confirmed_at > CONFIRM_SECONDS:
            with suppress(KafkaAway):
                self._reader.confirm(CONFIRM_WITHIN)
            self.upkeep()
            self._confirmed_at = self._clock()

    def _confirm(self) -> None:
        """Check that all messages read came from the run's own topic. Wait for a Kafka that does not answer.

        Raises:
            TopicError: the topic was deleted, or deleted and created again.
            StreamFailed: Kafka refuses to answer, or is at another address.
            Stopped: the stage was asked to stop meanwhile.
        """
        warned = False
        while True:
            try:
                self._reader.confirm(CONFIRM_WITHIN)
                return
            except KafkaAway as error:
                if not warned:
                    self._stage.log.warning("waiting for Kafka before the batch is sealed", reason=error.message)
                warned = True
            self._refuse_moved()
            if self._stage.stop.wait(MOVED_SECONDS):
                raise Stopped

    def _show(self) -> None:
        self._stage.report(
            CollectorProgress(
                collected=self._sealed_rows + self._open.rows,
                open_batch=self._open.batch,
                open_rows=self._open.rows,
                open_target=self._cutter.target,
                open_since=self._open.since,
                open_until=iso(self._cutter.until),
            )
        )

    def _take(self, messages: list[M]) -> None:
        rows = []
        for message in messages:
            if message.partition() in self._ends:
                continue  # messages of others after the end marker are not part of the stream
            if end := self._reader.end_of(message):
                self._endings[message.partition()] = end
                self._ends[message.partition()] = message.offset()
            elif source_end := self._origins.source_end(message):
                self._open.note_source_end(message.partition(), source_end.sent)
                self._unbalanced[message.partition()] = source_end
            elif not self._reader.is_claim(message):
                rows.append(message)
        if self._merge is not None:
            rows = self._merged(self._merge, rows)
        self._take_rows(Decoded(rows, self._open.columns, self._origins.of(rows)))
        self._balance_source()

    def _balance_source(self) -> None:
        """Compare the rows of an open stream's source, where all of a partition were read, with those sent to it.

        Raises:
            AccountError: they differ.
        """
        counted = {p: end for p, end in self._unbalanced.items() if self._merge is None or not self._merge.waits(p)}
        if counted:
            balance(self._run.pipeline.stream.topic, counted, self._open.accounts)
            self._unbalanced = {p: end for p, end in self._unbalanced.items() if p not in counted}

    def _merged(self, merge: Merge[M], rows: list[M]) -> list[M]:
        """The next messages in time order, out of these and those that wait."""
        now = self._clock()
        merge.add(rows, now)
        for partition in self._ends:
            merge.end(partition)
        taken = merge.take(self._reader.drained, now)
        self._reader.hold(merge.crowded)
        return taken

    def _take_rows(self, decoded: Decoded) -> None:
        """Add rows, in order, to the open batch and the batches after it."""
        row, message = 0, 0
        while row < len(decoded.table):
            taken = self._cutter.take(decoded.stamps[row:])
            last = row + taken.rows
            until = int(decoded.indices[last - 1]) + 1 if taken.rows else message
            self._open.put(decoded, slice(row, last), slice(message, until))
            row, message = last, until
            if taken.cut:
                self._seal(taken.cut)
        self._open.put(decoded, slice(row, row), slice(message, len(decoded.messages)))

    def _listen(self, heard: bool, seconds: float) -> None:
        """Add up silence, and cut an idle stream.

        Only time in which the log is known to be drained counts, so neither an unreachable Kafka nor a suspended
        process makes a stream idle.
        """
        quiet = len(self._reader.drained) == self._reader.partitions and not heard and not self._merge
        self._silent = self._silent + min(seconds, 2 * POLL_SECONDS) if quiet else 0.0
        if self._idle_after is None or self._silent < self._idle_after:
            return
        cut = self._cutter.idle(self._silent) if self._reader.silent() else None
        if cut:
            self._seal(cut)
        self._silent = 0.0

    def _seal(self, cut: Cut) -> None:
        batch = self._open
        self._confirm()
        batch.cut(cut)
        self._stage.log.info("sealed", batch=batch.batch, rows=batch.rows, cut=cut)
        self._sealed_rows += batch.rows
        self._reader.show_progress({span.partition: span.last_offset + 1 for span in batch.spans})
        failpoint("batch.shown")
        self._open = OpenBatch(self._run, batch.batch + 1, batch.accounts)
        self._silent = 0.0


def newest_of(accounts: Mapping[int, Account] | None) -> dict[int, int]:
    """The newest timestamp of each partition that has one."""
    known = {partition: account.newest for partition, account in (accounts or {}).items()}
    return {partition: newest for partition, newest in known.items() if newest is not None}


def balance(topic: str, endings: Mapping[int, End], accounts: Mapping[int, Account] | None) -> None:
    """Compare the rows that were read with those that were sent, by the end markers.

    Runs that started before accounts were kept have nothing to compare.

    Raises:
        AccountError: a partition has more, fewer or other rows.
    """
    if accounts is None:
        return
    for partition, end in sorted(endings.items()):
        account = accounts.get(partition, Account())
        if end.sent is not None and (end.sent, end.digest) != (account.rows, account.digest):
            counted = f"{account.rows:,} were read" if account.rows != end.sent else "as many different rows were read"
            raise AccountError(
                f"the stream is not closed: {end.sent:,} rows were sent to partition {partition} of {topic}, "
                f"but {counted}",
                "rows of another writer are among them, or rows were lost; the sealed batches are unchanged; "
                "start over with --fresh, on a topic that only this run writes to (--set stream.topic=NAME)",
            )


def take_up(
    stage: Stage, reader: Reader[M], rules: Rules, embedded: str | None = None, clock: Clock = time.monotonic
) -> Collector[M]:
    """A collector that continues where an earlier one stopped. A batch that was cut but not sealed is made and sealed.

    Where the log no longer holds that batch as it was cut, the cut is dropped: nobody has seen the batch. A power cut
    may take the end of Kafka's log, whose rows are then sent again.

    Raises:
        StreamFailed: that batch's offsets can't be read.
    """
    run = stage.run
    pending = run.catalog.undecided()
    if pending:
        batch = remade(run, reader, pending, clock)
        if batch is None:
            log.warning("the log no longer holds batch %d as it was cut; it is cut again", pending.batch)
            run.catalog.forget(pending.batch)
        else:
            batch.seal()
    return Collector(stage, reader, rules, embedded, clock)


def remade(run: Run, reader: Reader[M], decision: Decision, clock: Clock) -> OpenBatch | None:
    """The batch of a recorded cut, made again from the same offsets, and closed.

    None where the log has other rows there, or ends before. Files already published for the batch are then put aside.

    Raises:
        StreamFailed: the offsets can't be read.
        TopicError: the topic was deleted, or deleted and created again.
    """
    accounts, done = run.catalog.accounts(), run.catalog.next_offsets()
    batch = OpenBatch(run, decision.batch, accounts)
    origins = Origins(reader, run.pipeline.source, accounts)
    last = {span.partition: span.last_offset for span in decision.spans}
    merge: Merge[M] = Merge(last, newest_of(accounts))
    reader.seek({partition: done.get(partition, 0) for partition in last})
    end, at_end_since, other = clock() + REPLAY_SECONDS, math.inf, False
    while last and not other:
        if clock() > end:
            raise StreamFailed(f"the rows of batch {decision.batch} can't be read again", "see Kafka's log")
        messages = reader.read()
        within = [message for message in messages if message.offset() <= last.get(message.partition(), -1)]
        rows = []
        for message in within:
            if source_end := origins.source_end(message):
                batch.note_source_end(message.partition(), source_end.sent)
            elif not reader.is_claim(message):
                rows.append(message)
        merge.add(rows, 0)
        for message in messages:
            end = clock() + REPLAY_SECONDS
            partition, offset = message.partition(), message.offset()
            other |= offset > last.get(partition, offset) or bool(partition in last and reader.end_of(message))
            if offset == last.get(partition):
                merge.end(partition)
                del last[partition]
        taken = merge.take(set(), 0)
        batch.put_all(Decoded(taken, batch.columns, origins.of(taken)))
        waiting = not messages and last.keys() <= reader.drained
        at_end_since = min(at_end_since, clock()) if waiting else math.inf
        other |= clock() - at_end_since >= GONE_SECONDS
    reader.confirm(ANSWER_SECONDS)
    if other or decision.digest not in (None, batch.digest):
        batch.draft.withdraw()
        return None
    batch.draft.close()
    return batch
