"""A topic that others write, as a stream. Nothing is ever written to it, and no consumer group is joined or changed.

Where the run begins and ends in it is decided once, and recorded with the topic's id and partitions. Offsets without a
message (compaction, the marks of transactions, aborted rows) are no gaps. A gap is what retention removed before it was
sealed: there the log's first offset has moved past the next one to be read.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Generic

from confluent_kafka.admin import AdminClient

from tidemill.collector.open_batch import Decoded
from tidemill.collector.origins import Origin
from tidemill.collector.own_marks import End
from tidemill.collector.reader import M, Reader, stamp_of
from tidemill.errors import LogLost, RegistryAway, SourceError
from tidemill.kafka.client import (
    Topic,
    end_offsets,
    existing_topic,
    first_offsets,
    offsets_at,
    verify_topic,
)
from tidemill.kafka.codec import ValueDecoder
from tidemill.pipeline import Source
from tidemill.run.catalog import CollectorProgress, Gap, SourceState, TopicPartition
from tidemill.run.folder import Run
from tidemill.run.stage import Stage, Stopped
from tidemill.texts import listed
from tidemill.types import utc_moment

FINGERPRINT = "a topic that others write"
REGISTRY_SECONDS = 1.0  # between two questions to a registry that does not answer
TELL_SECONDS = 60.0  # between two lines of the log about it
OPEN_SECONDS = 5.0  # after this time an open transaction of others is told

log = logging.getLogger(__name__)


def take_topic(run: Run, admin: AdminClient) -> Topic:
    """The topic that the run reads, which is recorded at the first start.

    Raises:
        TopicError: there is no such topic, or it was deleted since, or deleted and created again.
        SourceError: nothing of it is in the part that the run is to read.
    """
    spec, state = run.pipeline.source, run.catalog.source()
    assert spec.topic is not None
    if state is not None and state.topic_id is not None:
        return verify_topic(admin, spec.topic, state.topic_id)
    topic = existing_topic(admin, spec.topic)
    run.catalog.begin_topic(SourceState(FINGERPRINT, topic_id=topic.id), bounds(admin, topic, spec))
    return topic


def bounds(admin: AdminClient, topic: Topic, spec: Source) -> list[TopicPartition]:
    """Where the run begins and ends in each partition.

    Raises:
        SourceError: the end is in the future, or no offset is between the two.
    """
    if spec.until not in (None, "now") and utc_moment(spec.until) > datetime.now(UTC):
        raise SourceError(
            f"source.until is {spec.until}, which is in the future: what will be in the topic then is not known",
            'set until = "now", or leave it out and stop the run with Ctrl-C',
        )
    firsts = first_offsets(admin, topic)
    starts = offsets_of(admin, topic, spec.from_) if spec.from_ != "earliest" else firsts
    ends = offsets_of(admin, topic, spec.until) if spec.until else {}
    partitions = [
        TopicPartition(partition, max(start, firsts[partition]), ends.get(partition))
        for partition, start in starts.items()
    ]
    if ends and all(one.end_offset is not None and one.end_offset <= one.first_offset for one in partitions):
        raise SourceError(
            f'the topic {topic.name} has no message from "{spec.from_}" until "{spec.until}"',
            "change source.from or source.until, or leave until out to wait for messages",
        )
    return sorted(partitions, key=lambda one: one.partition)


def offsets_of(admin: AdminClient, topic: Topic, when: str) -> dict[int, int]:
    """The offsets of ``"now"``, ``"latest"`` or a time. Those of now include transactions that are still open."""
    if when in ("now", "latest"):
        return end_offsets(admin, topic)
    return offsets_at(admin, topic, int(utc_moment(when).timestamp() * 1000))


@dataclass
class TopicFeed(Generic[M]):
    """The messages of a topic between recorded offsets, and those of partitions that are added to it.

    Attributes:
        keep_gap: notes what retention removed before it was read.
        task: what is done with the messages, for the texts about gaps.
    """

    run: Run
    reader: Reader[M]
    decoder: ValueDecoder
    keep_gap: Callable[[Gap], None]
    task: str = "sealed"
    ends: dict[int, int] = field(default_factory=dict)
    endings: dict[int, End] = field(default_factory=dict)
    _known: dict[int, TopicPartition] = field(default_factory=dict)
    _waiting_since: float | None = None

    def __post_init__(self) -> None:
        self._known = self.run.catalog.topic_partitions()

    @property
    def partitions(self) -> Collection[int]:
        return self._known.keys()

    @property
    def records(self) -> Iterable[TopicPartition]:
        return self._known.values()

    @property
    def lag(self) -> dict[str, int]:
        return {str(number): self._behind(number, count) for number, count in self.reader.behind.items()}

    def _behind(self, number: int, count: int) -> int:
        """How many of ``count`` offsets that follow are part of the stream."""
        end = self._known[number].end_offset
        return count if end is None else max(0, min(count, end - self.reader.positions[number]))

    @property
    def finite(self) -> bool:
        """Whether the stream has an end."""
        return any(partition.end_offset is not None for partition in self._known.values())

    def begin(self, done: Mapping[int, int], batch: int) -> dict[int, int]:
        """
        Raises:
            LogLost: retention removed messages before they were sealed, and ``on_gap`` says to stop.
        """
        offsets = {number: max(one.first_offset, done.get(number, 0)) for number, one in self._known.items()}
        return self._over_gaps(offsets, batch)

    def read(self, batch: int) -> list[M]:
        try:
            messages = self.reader.read()
        except LogLost:
            positions = dict(self.reader.positions)
            self.reader.seek(self._over_gaps(positions, batch))
            messages = []
        self._note_waiting(bool(messages))
        return messages

    def _over_gaps(self, offsets: Mapping[int, int], batch: int) -> dict[int, int]:
        """These offsets, moved to the first ones that the log still holds. What is missing before is recorded."""
        firsts = {number: self._within(number, self.reader.first_offset(number)) for number in offsets}
        lost = [
            Gap(number, offset, firsts[number] - 1, batch)
            for number, offset in offsets.items()
            if firsts[number] > offset
        ]
        if lost and self.run.pipeline.source.on_gap == "stop":
            raise LogLost(
                f"the topic {self.run.pipeline.topic} has lost messages before they were {self.task}: "
                f"{listed([str(gap) for gap in lost])}; its retention removed them",
                "start the run again with --set source.on_gap=record to go on after them, and keep the messages longer "
                "(retention.ms)",
            )
        for gap in lost:
            log.warning("retention removed %s before they were %s", gap, self.task)
            self.keep_gap(gap)
        return {number: max(offset, firsts[number]) for number, offset in offsets.items()}

    def _within(self, number: int, first: int) -> int:
        """The first offset that a partition holds, but not behind the end of the stream."""
        end = self._known[number].end_offset
        return first if end is None else min(first, end)

    def sift(self, messages: Sequence[M]) -> tuple[list[M], dict[int, End]]:
        self._note_ends()
        bounds = {number: one.end_offset for number, one in self._known.items() if one.end_offset is not None}
        positions = self.reader.positions
        if all(positions.get(number, 0) <= end for number, end in bounds.items()):
            return list(messages), {}
        rows = [
            message for message in messages if message.offset() < bounds.get(message.partition(), message.offset() + 1)
        ]
        return rows, {}

    def _note_ends(self) -> None:
        """Note the partitions that were read to the end of the stream, or have nothing of it."""
        for number, one in self._known.items():
            if one.end_offset is not None and self.reader.positions.get(number, one.first_offset) >= one.end_offset:
                self.ends.setdefault(number, one.end_offset)
                self.endings.setdefault(number, End())

    def source_end(self, message: M) -> End | None:
        return None

    def origins(self, rows: Sequence[M]) -> list[Origin] | None:
        return None

    def acknowledged(self, rows: Sequence[M], index: int) -> int | None:
        return stamp_of(rows[index])

    def is_claim(self, message: M) -> bool:
        return False

    def end_of(self, message: M) -> End | None:
        return None

    def grow(self, partitions: int, batch: int) -> dict[int, int]:
        """Partitions that are added belong to the stream from their first offset on, unless it ends at offsets that
        were recorded before."""
        if self.finite:
            return {}
        new = [number for number in range(partitions) if number not in self._known]
        self._known |= {number: TopicPartition(number, 0, since_batch=batch) for number in new}
        if new:
            log.info("the topic has %d partitions now; reading the new ones too", partitions)
        return dict.fromkeys(new, 0)

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        """Do nothing: others may see the offsets of consumer groups."""

    def note_read(self, offsets: Mapping[int, int]) -> None:
        recorded = self.run.catalog.topic_partitions()
        newer = {n: offset for n, offset in offsets.items() if n in recorded and offset > (recorded[n].read_to or 0)}
        if newer:
            self.run.catalog.save_read_to(newer)

    @property
    def waiting(self) -> str | None:
        since = self._waiting_since
        if since is None or time.monotonic() - since < OPEN_SECONDS:
            return None
        return f"waits for an open transaction of another writer, in partition {listed(self._held_back)}"

    @property
    def _held_back(self) -> list[str]:
        """The partitions of which nothing more can be read though messages of the stream follow."""
        lag = self.lag
        return [str(number) for number in sorted(self.reader.drained) if lag.get(str(number))]

    def _note_waiting(self, heard: bool) -> None:
        """Note since when nothing comes though messages follow: a transaction before them is open."""
        if heard or not self._held_back:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = time.monotonic()


@dataclass
class RegistryPatience:
    """Waits for a schema registry that does not answer, and tells so; messages are never rejected for that."""

    stage: Stage
    _told: float = -math.inf

    def __call__(self, error: RegistryAway) -> None:
        """
        Raises:
            Stopped: the stage was asked to stop meanwhile.
        """
        stage, now = self.stage, time.monotonic()
        if now - self._told > TELL_SECONDS:
            stage.log.warning("waiting for the schema registry", reason=error.message)
            self._told = now
        progress = stage.progress if isinstance(stage.progress, CollectorProgress) else CollectorProgress()
        stage.report(replace(progress, waiting=f"waits for its schemas: {error.message}"))
        if stage.stop.wait(REGISTRY_SECONDS):
            raise Stopped


def rows_of_parts(stage: Stage, reader: Reader[M], decoder: ValueDecoder) -> int | None:
    """How many rows fit of the topic between its recorded bounds, where they are to be cut into equal parts; otherwise
    None. They are counted once, for which the topic is read to its end.

    Raises:
        SourceError: there are fewer rows than parts.
    """
    run, parts = stage.run, stage.run.pipeline.batches.parts
    state = run.catalog.source()
    if parts is None or state is None or state.rows is not None:
        return state.rows if state else None
    rows = count_rows(stage, TopicFeed(run, reader, decoder, run.catalog.save_gap))
    if stage.stop.is_set():
        return None
    if rows < parts:
        raise SourceError(
            f"the topic {run.pipeline.topic} has {rows} rows, fewer than the {parts} parts it is to be cut into",
            f"lower batches.parts to {max(rows, 1)} or less, or cut by rows or every instead",
        )
    run.catalog.save_source(replace(state, rows=rows))
    return rows


def count_rows(stage: Stage, feed: TopicFeed[M]) -> int:
    """The rows that fit of a topic with an end; fewer where the stage is asked to stop.

    Raises:
        LogLost: retention removed messages.
    """
    rows = 0
    feed.reader.seek(feed.begin({}, batch=1))
    while len(feed.ends) < len(feed.partitions) and not stage.stop.is_set():
        found, _ = feed.sift(feed.read(batch=1))
        rows += len(Decoded(found, feed.decoder).table)
        stage.report(CollectorProgress(counted=rows))
    return rows
