"""A topic of others in a log in memory: what is lost while it is read, and an end that compaction took."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.commands import Killed, raise_killed
from tests.support.memory_log import HandClock, MemoryLog, MemoryMessage, MemoryReader
from tidemill.collector.collector import Collector, take_up
from tidemill.collector.cutter import Rules
from tidemill.collector.open_batch import OpenBatch
from tidemill.collector.topic_feed import TopicFeed
from tidemill.errors import LogLost
from tidemill.pipeline import Raw, parse
from tidemill.run.catalog import SourceState, TopicPartition
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.sources.topic import decoder_of


class ExpiringReader(MemoryReader):
    """A reader of a log whose beginning retention removes."""

    first = 0

    def first_offset(self, partition: int) -> int:
        return self.first

    def read(self) -> list[MemoryMessage]:
        if self.positions[0] < self.first:
            raise LogLost("the next ones are gone")
        return super().read()


def run_of(folder: Path, on_gap: str, end: int | None = None) -> Run:
    document = {
        "name": "others",
        "source": {"topic": "t", "columns": {"n": "int"}, "on_gap": on_gap},
        "batches": {"rows": 10},
        "models": {"groups": {"estimator": "KMeans", "features": ["n"]}},
    }
    run = open_run(parse(Raw("others", Path(), document)), folder)
    run.catalog.begin_topic(SourceState("t", topic_id="id"), [TopicPartition(0, 0, end)])
    return run


def collector_of(run: Run, reader: MemoryReader, clock: HandClock) -> Collector[MemoryMessage]:
    feed = TopicFeed(run, reader, decoder_of(run.pipeline.source), run.catalog.save_gap)
    return take_up(Stage(run, "collector"), feed, Rules(rows=10), clock=clock)


def sealed(run: Run) -> list[int]:
    paths = [run.folder / batch.path for batch in run.catalog.batches()]
    return [n for path in paths for n in pq.read_table(path)["n"].to_pylist()]


def write(log: MemoryLog, numbers: range) -> None:
    for n in numbers:
        log.append(0, b'{"n": %d}' % n, stamp=n)


@pytest.mark.parametrize("on_gap", ["record", "stop"])
def test_messages_that_expire_while_they_are_read(tmp_path: Path, on_gap: str) -> None:
    """Rows that were read before those that expired stay in the open batch, which goes on behind the gap or is lost
    with the run that stops there."""
    log, clock = MemoryLog(1), HandClock()
    run, reader = run_of(tmp_path, on_gap), ExpiringReader(log, clock)
    collector = collector_of(run, reader, clock)
    write(log, range(5))
    collector.begin()
    collector.step()
    write(log, range(5, 30))
    reader.first = 20
    if on_gap == "stop":
        with pytest.raises(LogLost, match="offsets 5 to 19 of partition 0"):
            collector.step()
        return
    for _ in range(3):
        collector.step()
    assert sealed(run) == [*range(5), *range(20, 25)]
    assert [(gap.first_offset, gap.last_offset, gap.batch) for gap in run.catalog.gaps()] == [(5, 19, 1)]
    assert run.catalog.batches()[0].gaps == tuple(run.catalog.gaps())


def test_an_end_without_a_message(tmp_path: Path) -> None:
    """The stream ends at its recorded offset, though compaction left no message before it, and not behind it."""
    log, clock = MemoryLog(1), HandClock()
    write(log, range(15))
    for _ in range(3):
        log.skip(0)
    run, reader = run_of(tmp_path, "stop", end=18), MemoryReader(log, clock)
    reader.most = 4
    write(log, range(15, 40))
    collector_of(run, reader, clock).collect()
    assert sealed(run) == list(range(15))
    assert run.catalog.ended() == {0: 18}


def test_a_batch_of_which_compaction_took_rows_is_cut_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that was recorded, but not sealed, is dropped where the log no longer has its rows: none was seen."""
    log, clock = MemoryLog(1), HandClock()
    write(log, range(25))
    run = run_of(tmp_path, "stop", end=25)
    collector = collector_of(run, MemoryReader(log, clock), clock)
    monkeypatch.setattr(OpenBatch, "seal", raise_killed)
    with pytest.raises(Killed):
        collector.collect()
    monkeypatch.undo()
    assert run.catalog.undecided()
    log.logs[0][3] = log.logs[0][7] = None
    collector_of(run, MemoryReader(log, clock), clock).collect()
    assert sealed(run) == [n for n in range(25) if n not in (3, 7)]
    assert [batch.rows for batch in run.catalog.batches()] == [10, 10, 3]
