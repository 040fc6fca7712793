"""Messages that are decoded while others are read keep their order, and so do errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from tests.support.memory_log import HandClock, MemoryLog, MemoryReader, one_column, own_stream
from tidemill.collector import decoding
from tidemill.collector.collector import Collector, take_up
from tidemill.collector.cutter import Rules
from tidemill.errors import StreamFailed
from tidemill.kafka.codec import BadMessage, Keyed, OwnRows
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage

ROWS = 40


@dataclass
class Watched:
    """A decoder that notes in which threads it works, and fails at one value."""

    rows: OwnRows
    threads: set[str]
    native: bool = True
    timestamp: None = None
    broken: bytes | None = None

    def decode(self, messages: Sequence[Keyed], values: Sequence[bytes | None]) -> tuple[pa.Table, list[BadMessage]]:
        self.threads.add(threading.current_thread().name)
        if self.broken in values:
            raise StreamFailed("the decoder can't go on")
        return self.rows.decode(messages, values)


def collector_of(run: Run, decoder: Watched, most: int, rows: int = 10) -> Collector:  # type: ignore[type-arg]  # of any
    """The collector of a log of :data:`ROWS` rows that is given ``most`` messages at a time."""
    log, clock = MemoryLog(1), HandClock()
    for number in range(ROWS):
        log.append(0, b'{"n": %d}' % number, number)
    log.append(0, None, ROWS, "end")
    reader = MemoryReader(log, clock)
    reader.most = most
    stream = own_stream(run, reader)
    stream.decoder = decoder
    return take_up(Stage(run, "collector"), stream, Rules(rows=rows), clock=clock)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("portion", [3, 20_000])
def test_batches_do_not_depend_on_what_is_decoded_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool, portion: int
) -> None:
    """Decoded ahead in a thread or not, in small portions or large ones, the same rows are sealed in the same
    batches."""
    monkeypatch.setattr(decoding, "PORTION", portion)
    run = open_run(one_column(), tmp_path)
    decoder = Watched(OwnRows(run.pipeline.source.schema_), set(), native)
    collector_of(run, decoder, most=7).collect()
    spans = [(batch.rows, batch.cut, batch.partitions[0].last_offset) for batch in run.catalog.batches()]
    assert spans == [(10, "rows", 9), (10, "rows", 19), (10, "rows", 29), (10, "rows", 39)]
    assert ("decode_0" in decoder.threads) == native
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode_", "write_"))]
    run.close()


@pytest.mark.parametrize("most", [4, 100])
def test_an_error_of_the_decoder_keeps_its_place(tmp_path: Path, most: int) -> None:
    """What comes before the messages at which the decoder fails is taken, and nothing behind them."""
    run = open_run(one_column(), tmp_path)
    decoder = Watched(OwnRows(run.pipeline.source.schema_), set(), broken=b'{"n": 21}')
    with pytest.raises(StreamFailed):
        collector_of(run, decoder, most).collect()
    assert [batch.rows for batch in run.catalog.batches()] == ([10, 10] if most == 4 else [])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode_", "write_"))]
    run.close()
