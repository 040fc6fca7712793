"""A broker that dies right after it has confirmed a commit may lose it (KAFKA-20734): nothing of the run is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kafka.test_outputs import Stream, assert_each_row_once, sized
from tests.kafka.test_rows_by_http import in_log, ready, write
from tests.support import wait_for
from tests.support.open_stream import open_stream, row_writer
from tests.support.source_run import collect, produce, smart_home_run
from tests.support.stage_run import score_to_end
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.outputs import writer as output_writer
from tidemill.producer import log, row_log
from tidemill.run.failpoints import Crash

pytestmark = pytest.mark.kafka


class Killing:
    """A failpoint's function that kills the broker at the second passage of one name, and starts it again."""

    def __init__(self, broker: EmbeddedBroker, moment: str, passages: int) -> None:
        self._broker = broker
        self._moment = moment
        self._left = passages

    @property
    def done(self) -> bool:
        return self._left <= 0

    def __call__(self, name: str) -> None:
        self._left -= name == self._moment
        if name == self._moment and self._left == 0:
            os.kill(self._broker.pid, signal.SIGKILL)
            wait_for(lambda: not self._broker.alive(), "the broker's death")
            self._broker.start()


@pytest.mark.parametrize("moment", [pytest.param("posts.committing", marks=pytest.mark.nightly), "posts.committed"])
def test_rows_by_http_that_were_accepted_are_there_once(
    own_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Requests that were under way are answered once Kafka is back; rows that were answered, and those that follow, are
    in the log once."""
    run = open_stream(tmp_path / "run", own_broker.bootstrap)
    killing = Killing(own_broker, moment, passages=2)
    monkeypatch.setattr(row_log, "failpoint", killing)
    with row_writer(run, own_broker.bootstrap) as writer:
        ready(writer)
        write(writer, run, 1, key="a")
        assert write(writer, run, 2, 3, key="b").accepted == 2
        assert write(writer, run, 4).accepted == 1
    assert killing.done
    assert in_log(run, own_broker.bootstrap) == [1, 2, 3, 4]
    run.close()


def test_a_stream_ends_for_its_readers(
    own_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer is done only once its end can be read: nobody would complete it later."""
    run = smart_home_run(tmp_path / "run", "source.rows=500", "batches={rows=200}", "stream.partitions=2")
    killing = Killing(own_broker, "end.committed", passages=1)
    monkeypatch.setattr(log, "failpoint", killing)
    produce(run, own_broker.bootstrap)
    assert killing.done
    collect(run, own_broker.bootstrap)
    assert sum(batch.rows for batch in run.catalog.batches()) == 500
    assert sorted(run.catalog.ended()) == [0, 1]
    run.close()


def test_each_prediction_is_there_once(
    own_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer of predictions that starts after that writes those again that were lost, and no other."""
    stream, output = Stream(tmp_path, own_broker.bootstrap), sized()
    monkeypatch.setattr(output_writer, "COMMIT_ROWS", 500)
    monkeypatch.setattr(output_writer, "ROWS_AT_ONCE", 500)
    killing = Killing(own_broker, "output.committed", passages=3)

    def dying(name: str) -> None:
        killing(name)
        if killing.done:
            raise Crash(name)

    run = stream.run(output)
    with monkeypatch.context() as dies:
        dies.setattr(output_writer, "failpoint", dying)
        with pytest.raises(Crash):
            score_to_end(run, own_broker.bootstrap)
    run.close()
    run = stream.run(output)
    score_to_end(run, own_broker.bootstrap)
    assert_each_row_once(stream, output["topic"], {1})
    run.close()
