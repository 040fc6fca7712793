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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, cast

from confluent_kafka.admin import AdminClient

from tidemill.collector.cutter import Cut, Cutter, Rules
from tidemill.collector.decoding import THREADS, DecodingQueue, portions
from tidemill.collector.feed import Feed, balance, own_stream
from tidemill.collector.kafka_reader import KafkaReader
from tidemill.collector.log_cut import LogCutter
from tidemill.collector.merge import Merge
from tidemill.collector.open_batch import Decoded, OpenBatch, stamp_text
from tidemill.collector.origins import ended_by
from tidemill.collector.own_marks import End
from tidemill.collector.reader import POLL_SECONDS, Columns, M
from tidemill.collector.timing import Clock, LastRow, Readings, SealTimer
from tidemill.collector.topic_feed import RegistryPatience, TopicFeed, rows_of_parts, take_topic
from tidemill.errors import KafkaAway, StreamFailed
from tidemill.kafka.client import ANSWER_SECONDS, KafkaConnection, broker_moved, connect_cluster, verify_topic
from tidemill.run.catalog import CollectorProgress, Decision, SourceState
from tidemill.run.catalog.account import Account, posted_rows
from tidemill.run.failpoints import failpoint
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch
from tidemill.run.inventory import take_inventory
from tidemill.run.stage import Stage, Stopped
from tidemill.sources.source import open_tables
from tidemill.sources.tables import read_tables
from tidemill.sources.topic import decoder_of

REPLAY_SECONDS = 60.0
GONE_SECONDS = 5.0  # how long a log that was read to its end may still hide messages
MOVED_SECONDS = 1.0
CONFIRM_SECONDS = 5.0
CONFIRM_WITHIN = 2.0  # then the topic is verified again, unless the stage stops

log = logging.getLogger(__name__)


def run_collector(stage: Stage, bootstrap: str | None) -> None:
    """Run the stage: recover, then seal batch after batch until the stream ends."""
    run = stage.run
    recover(run)
    if run.catalog.ended():
        return
    connection, admin = connect_cluster(run, bootstrap, stage.stop)
    if run.pipeline.source.topic:
        collect_topic(stage, connection, admin)
    else:
        embedded = None if bootstrap or run.pipeline.stream.bootstrap_servers else connection.address
        collect_own(stage, connection, admin, embedded)


def collect_own(stage: Stage, connection: KafkaConnection, admin: AdminClient, embedded: str | None) -> None:
    """Collect the run's own topic, once the producer has claimed it."""
    run, source = stage.run, await_source(stage)
    if source is None or source.topic_id is None:
        return
    topic = verify_topic(admin, run.pipeline.topic, source.topic_id)
    with KafkaReader(connection, topic, group_of(run)) as reader:
        feed = own_stream(run, reader, ended_by(run.catalog.accounts()))
        collector = take_up(stage, feed, Rules.of(run.pipeline.batches, source.rows), embedded)
        if embedded and not run.pipeline.keep.all:
            collector.upkeep = LogCutter(run, admin, topic).cut
        collector.collect()


def collect_topic(stage: Stage, connection: KafkaConnection, admin: AdminClient) -> None:
    """Collect a topic that others write. There is no producer, so the side tables are read here."""
    run = stage.run
    read_tables(stage, open_tables(run.pipeline, run.base))
    topic = take_topic(run, admin)
    with KafkaReader(connection, topic, group_of(run)) as reader:
        decoder = decoder_of(run.pipeline.source, run.base, RegistryPatience(stage))
        rows = rows_of_parts(stage, reader, decoder)
        if stage.stop.is_set():
            return
        feed = TopicFeed(run, reader, decoder, run.catalog.save_gap)
        feed.grow(topic.partitions, run.catalog.totals()["batches"] + 1)
        take_up(stage, feed, Rules.of(run.pipeline.batches, rows)).collect()


def group_of(run: Run) -> str:
    return f"tidemill-{run.id}"


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
        feed: Feed[M],
        rules: Rules,
        embedded: str | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """``embedded``: the address of the embedded Kafka, if that is the one that is read. ``clock``: seconds from any
        origin. ``upkeep`` is called every :data:`CONFIRM_SECONDS`."""
        self.upkeep: Callable[[], None] = nothing
        self._stage = stage
        self._run = stage.run
        self._feed = feed
        self._reader = feed.reader
        self._clock = clock
        totals = self._run.catalog.totals()
        self._sealed_rows = totals["rows"]
        self._cutter = Cutter(rules, self._sealed_rows)
        accounts = self._run.catalog.accounts()
        self._open = OpenBatch(self._run, totals["batches"] + 1, accounts)
        self._decoding = DecodingQueue(feed.decoder)
        self._readings = Readings()
        self._unbalanced: dict[int, End] = {}  # the source's ends whose partition's rows are not all counted yet
        self._silent = 0.0
        self._idle_after = rules.idle_seconds
        self._embedded = embedded
        several = len(feed.partitions) > 1
        self._merge: Merge[M] | None = Merge(feed.partitions, newest_of(accounts)) if several else None
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
            self._decoding.close()
            self._show()
            self._open.draft.discard()

    def begin(self) -> None:
        """Seek to the first offset that no sealed batch has."""
        self._reader.seek(self._feed.begin(self._run.catalog.next_offsets(), self._open.batch))
        self._stage.ready()

    def step(self) -> None:
        """Read the next messages, if any arrive soon, and seal the batches that end with them or with silence.

        Where more messages are there already, the last ones are decoded while the next ones are read.
        """
        self._show()
        self._refuse_moved()
        self._refuse_gone()
        began = self._clock()
        messages = self._feed.read(self._open.batch)
        self._readings.note(self._reader.positions, self._clock())
        self._take(messages)
        self._listen(bool(messages), self._clock() - began)

    @property
    def over(self) -> bool:
        """Whether every partition was read to its end."""
        return len(self._feed.ends) == len(self._feed.partitions) and not self._merge and not self._decoding

    def finish(self) -> None:
        """Compare the rows read with the rows sent, seal the last batch, and record the end of the stream.

        Raises:
            AccountError: they differ. The last batch is not sealed then.
        """
        balance(self._run.pipeline.topic, self._feed.endings, self._open.accounts)
        cut = self._cutter.end()
        if cut:
            self._seal(cut)
        self._confirm()
        self._open.draft.rejects.publish(self._run.rejects / "tail.jsonl")
        ends, endings = self._feed.ends, self._feed.endings
        self._run.catalog.end_stream(ends, self._open.rejected, endings, self._open.accounts)

    def _refuse_moved(self) -> None:
        """Fail, to be restarted, if the embedded Kafka is now at another address."""
        if self._clock() - self._asked_at > MOVED_SECONDS:
            self._asked_at = self._clock()
            if self._embedded and broker_moved(self._run, self._embedded):
                raise StreamFailed("Kafka is at another address now")

    def _refuse_gone(self) -> None:
        """Refuse a deleted topic, and read partitions that were added. Consumers get no error when a topic is deleted,
        so ask for its id.

        If Kafka does not answer now, the next check asks again.
        """
        if self._clock() - self._confirmed_at > CONFIRM_SECONDS:
            self._take_decoded()
            with suppress(KafkaAway):
                self._grow(self._reader.confirm(CONFIRM_WITHIN))
                self._note_read()
            self.upkeep()
            self._confirmed_at = self._clock()

    def _grow(self, partitions: int) -> None:
        """Read the partitions that were added to the log, which has so many now, from their beginning."""
        new = self._feed.grow(partitions, self._open.batch)
        if not new:
            return
        if self._merge is None:
            self._merge = Merge(self._reader.positions, newest_of(self._open.accounts))
        for partition in new:
            self._merge.open(partition)
        self._reader.seek({**self._reader.positions, **new})

    def _note_read(self) -> None:
        """Note how far the log was read, where no message of it is missing in the sealed batches."""
        if not self._open.spans and not self._merge:
            self._feed.note_read(self._reader.positions)

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
                self._grow(self._reader.confirm(CONFIRM_WITHIN))
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
                posted=posted_rows(self._open.accounts) if self._run.pipeline.source.open else None,
                open_batch=self._open.batch,
                open_rows=self._open.rows,
                open_target=self._cutter.target,
                open_since=self._open.since,
                open_until=stamp_text(self._cutter.until),
                lag=self._feed.lag,
                waiting=self._feed.waiting,
            )
        )

    def _take(self, messages: list[M]) -> None:
        rows: Sequence[M]
        rows, source_ends = self._feed.sift(messages)
        if source_ends:
            self._take_decoded()
        for partition, source_end in source_ends.items():
            self._open.note_source_end(partition, source_end.sent)
        self._unbalanced |= source_ends
        if self._merge is not None:
            rows = self._merged(self._merge, rows)
        ahead = self._reader.more and self._feed.decoder.native
        if not ahead:
            self._take_decoded()
        for portion, origins in portions(rows, self._feed.origins(rows)):
            if ahead:
                self._decoding.put(portion, origins)
                self._take_decoded(but=THREADS)
            else:
                self._take_rows(Decoded(portion, self._feed.decoder, origins))
        if not self._decoding:
            self._balance_source()

    def _take_decoded(self, but: int = 0) -> None:
        """Add the rows that are being decoded to the open batch and the batches after it, but for the last portions."""
        while len(self._decoding) > but:
            self._take_rows(self._decoding.take())

    def _balance_source(self) -> None:
        """Compare the rows of an open stream's source, where all of a partition were read, with those sent to it.

        Raises:
            AccountError: they differ.
        """
        counted = {p: end for p, end in self._unbalanced.items() if self._merge is None or not self._merge.waits(p)}
        if counted:
            balance(self._run.pipeline.topic, counted, self._open.accounts)
            self._unbalanced = {p: end for p, end in self._unbalanced.items() if p not in counted}

    def _merged(self, merge: Merge[M], rows: Sequence[M]) -> Columns[M]:
        """The next messages in time order, out of these and those that wait."""
        now = self._clock()
        merge.add(rows, now)
        for partition in self._feed.ends:
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
            if taken.rows:
                self._open.last_row = last_row(self._feed, decoded, until - 1)
            row, message = last, until
            if taken.cut:
                self._seal(taken.cut)
        self._open.put(decoded, slice(row, row), slice(message, len(decoded.messages)))

    def _listen(self, heard: bool, seconds: float) -> None:
        """Add up silence, and cut an idle stream.

        Only time in which the log is known to be drained counts, so neither an unreachable Kafka nor a suspended
        process makes a stream idle.
        """
        drained = self._reader.drained >= self._reader.positions.keys()
        quiet = drained and not heard and not self._merge
        self._silent = self._silent + min(seconds, 2 * POLL_SECONDS) if quiet else 0.0
        if self._idle_after is None or self._silent < self._idle_after:
            return
        cut = self._cutter.idle(self._silent) if self._reader.silent() else None
        if cut:
            self._seal(cut)
        self._silent = 0.0

    def _seal(self, cut: Cut) -> None:
        batch = self._open
        read_at = self._readings.read_at(batch.last_row) if batch.last_row else None
        timer = SealTimer(batch.last_row, read_at, self._clock)
        self._confirm()
        batch.cut(cut, self._feed.records, timer)
        self._stage.log.info("sealed", batch=batch.batch, rows=batch.rows, cut=cut)
        self._sealed_rows += batch.rows
        self._feed.show_progress({span.partition: span.last_offset + 1 for span in batch.spans})
        failpoint("batch.shown")
        self._open = OpenBatch(self._run, batch.batch + 1, batch.accounts)
        self._silent = 0.0


def last_row(feed: Feed[M], decoded: Decoded, index: int) -> LastRow:
    """The row of that message as the last one of its batch so far."""
    messages = cast("Sequence[M]", decoded.messages)  # those that the feed has read
    message = messages[index]
    return LastRow(message.partition(), message.offset(), feed.acknowledged(messages, index))


def newest_of(accounts: Mapping[int, Account] | None) -> dict[int, int]:
    """The newest timestamp of each partition that has one."""
    known = {partition: account.newest for partition, account in (accounts or {}).items()}
    return {partition: newest for partition, newest in known.items() if newest is not None}


def take_up(
    stage: Stage, feed: Feed[M], rules: Rules, embedded: str | None = None, clock: Clock = time.monotonic
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
        batch = remade(run, feed, pending, clock)
        if batch is None:
            log.warning("the log no longer holds batch %d as it was cut; it is cut again", pending.batch)
            run.catalog.forget(pending.batch)
        else:
            batch.seal(feed.records, SealTimer(batch.last_row, None, clock))
    return Collector(stage, feed, rules, embedded, clock)


def remade(run: Run, feed: Feed[M], decision: Decision, clock: Clock) -> OpenBatch | None:
    """The batch of a recorded cut, made again from the same offsets, and closed.

    None where the log has other rows there, or ends before. Files already published for the batch are then put aside.

    Raises:
        StreamFailed: the offsets can't be read.
        TopicError: the topic was deleted, or deleted and created again.
    """
    accounts, reader = run.catalog.accounts(), feed.reader
    batch = OpenBatch(run, decision.batch, accounts)
    last = {span.partition: span.last_offset for span in decision.spans}
    merge: Merge[M] = Merge(last, newest_of(accounts))
    offsets = feed.begin(run.catalog.next_offsets(), decision.batch)
    reader.seek({partition: offset for partition, offset in offsets.items() if partition in last})
    end, at_end_since, other = clock() + REPLAY_SECONDS, math.inf, False
    while last and not other:
        if clock() > end:
            raise StreamFailed(f"the rows of batch {decision.batch} can't be read again", "see Kafka's log")
        messages = feed.read(decision.batch)
        within = [message for message in messages if message.offset() <= last.get(message.partition(), -1)]
        rows = []
        for message in within:
            if source_end := feed.source_end(message):
                batch.note_source_end(message.partition(), source_end.sent)
            elif not feed.is_claim(message):
                rows.append(message)
        merge.add(rows, 0)
        for message in messages:
            partition, offset = message.partition(), message.offset()
            other |= offset > last.get(partition, offset) or bool(partition in last and feed.end_of(message))
            if offset == last.get(partition):
                merge.end(partition)
                del last[partition]
        taken = merge.take(set(), 0)
        decoded = Decoded(taken, feed.decoder, feed.origins(taken))
        batch.put_all(decoded)
        if len(decoded.indices):
            batch.last_row = last_row(feed, decoded, int(decoded.indices[-1]))
        end = clock() + REPLAY_SECONDS if messages else end  # after the decoder, which may wait for a registry
        waiting = not messages and last.keys() <= reader.drained
        at_end_since = min(at_end_since, clock()) if waiting else math.inf
        other |= clock() - at_end_since >= GONE_SECONDS
    reader.confirm(ANSWER_SECONDS)
    if other or decision.digest not in (None, batch.digest):
        batch.draft.withdraw()
        return None
    batch.draft.close()
    return batch
