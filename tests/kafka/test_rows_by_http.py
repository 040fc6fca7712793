"""Rows by HTTP through a real Kafka: each request whole or not at all, each row in one batch, whatever dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaError, Producer

from tests.support import wait_for
from tests.support.open_stream import IN_TIME, open_stream, row_request, row_writer, sealed_numbers
from tests.support.posting import Client, PostingRun, assert_each_once, posting_run
from tests.support.source_run import topic_of, topic_with
from tests.support.stage_run import collecting
from tidemill.errors import KeyReused, RowsRefused, StreamFailed
from tidemill.kafka.client import KafkaConnection
from tidemill.kafka.intake import Outcome, RowMessage
from tidemill.producer import row_log
from tidemill.producer.log_reader import committed
from tidemill.producer.producer import run_producer
from tidemill.producer.row_writer import RowWriter
from tidemill.run.folder import Run
from tidemill.run.stage import Stage


def ready(writer: RowWriter) -> None:
    """Wait until the writer takes rows."""
    wait_for(lambda: writer.hindrance is None, "the writer")


def write(writer: RowWriter, run: Run, *numbers: int, key: str | None = None) -> Outcome:
    return writer.accept(row_request(run, *numbers, key=key)).result(IN_TIME)


def in_log(run: Run, kafka: str) -> list[int]:
    """The numbers of the rows in the topic, those of committed transactions alone."""
    topic = topic_of(run, kafka)
    with closing(committed(KafkaConnection(kafka), topic, dict.fromkeys(range(topic.partitions), 0))) as messages:
        return sorted(int(message.key() or b"") for message in messages if message.value() is not None)


def test_rows_of_file_and_requests_get_into_batches(kafka: str, tmp_path: Path) -> None:
    """The file's rows and those of requests are in batches, each once; a stranger's row is a reject; and a producer
    that starts again sends nothing, whether or not all was sealed."""
    (tmp_path / "data.csv").write_text("n,note\n" + "".join(f"{n},x\n" for n in range(5)), encoding="utf-8")
    run = open_stream(tmp_path / "run", kafka, tmp_path / "data.csv", partitions=2)
    stranger = Producer(KafkaConnection(kafka).settings())
    stranger.produce(run.pipeline.stream.topic, value=b'{"n": 99}', key=b"99", partition=0)
    assert stranger.flush(20) == 0
    with row_writer(run, kafka) as writer:
        ready(writer)
        assert write(writer, run, 5, 6, key="a").accepted == 2
        outcome = write(writer, run, 7, 8, 9)
        run_producer(Stage(run, "producer"), kafka)  # it counts the rows in the log, and none by HTTP
        with collecting(run, kafka):
            wait_for(run.catalog.batches, "a batch")
        run_producer(Stage(run, "producer"), kafka)
    assert sum(last - first for first, last in outcome.offsets.values()) <= 2
    assert sorted(sealed_numbers(run)) == list(range(10))
    assert in_log(run, kafka) == [*range(10), 99]
    accounts = run.catalog.accounts() or {}
    assert sum(account.rows for account in accounts.values()) == 5
    assert sum(account.posted_rows for account in accounts.values()) == 5


def test_a_key_makes_a_repeated_request_harmless(kafka: str, tmp_path: Path) -> None:
    """The same key and body give the same answer, at once, later, and from another writer; another body is refused."""
    run = open_stream(tmp_path / "run", kafka)
    with row_writer(run, kafka) as writer:
        ready(writer)
        futures = [writer.accept(row_request(run, 1, 2, key="a")) for _ in range(3)]
        (outcome, *others) = [future.result(IN_TIME) for future in futures]
        assert others == [outcome, outcome]
        again = write(writer, run, 1, 2, key="a")
        assert (again.repeated, again.offsets) == (True, outcome.offsets)
        with pytest.raises(KeyReused):
            write(writer, run, 3, key="a")
    with row_writer(run, kafka) as writer:
        ready(writer)
        assert write(writer, run, 1, 2, key="a").offsets == outcome.offsets
    assert in_log(run, kafka) == [1, 2]


def test_a_key_that_another_api_used_meanwhile_is_known(kafka: str, tmp_path: Path) -> None:
    """Where two APIs of a run take turns, a request that one has answered is not written by the other, which was shut
    out meanwhile; another body is refused there too."""
    run = open_stream(tmp_path / "run", kafka)
    with row_writer(run, kafka) as first:
        ready(first)
        with row_writer(run, kafka) as second:
            ready(second)
            outcome = write(second, run, 1, 2, key="a")
            write(second, run, 3, key="b")
            futures = [first.accept(row_request(run, *rows, key=key)) for key, rows in (("a", (1, 2)), ("b", (4,)))]
            again = futures[0].result(IN_TIME)
            assert (again.repeated, again.offsets) == (True, outcome.offsets)
            with pytest.raises(KeyReused):
                futures[1].result(IN_TIME)
            assert write(first, run, 5).accepted == write(second, run, 6).accepted == 1
    assert in_log(run, kafka) == [1, 2, 3, 5, 6]


def test_a_topic_with_a_small_limit_takes_many_rows(kafka: str, tmp_path: Path) -> None:
    """Rows that each fit into a message of the user's topic are taken, however many a request has."""
    run = open_stream(tmp_path / "run", kafka, topic=topic_with(kafka, max_message_bytes="10000"))
    with row_writer(run, kafka) as writer:
        ready(writer)
        assert write(writer, run, *range(3000)).accepted == 3000


@pytest.mark.nightly
def test_a_request_may_take_longer_than_a_usual_transaction(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that get into the log more slowly than Kafka lets a transaction last by default are written, at once."""
    run = open_stream(tmp_path / "run", kafka)
    flush = row_log.RowLog.flush

    def late(self: row_log.RowLog, deliveries: Iterable[row_log.Delivery]) -> None:
        flush(self, deliveries)
        threading.Event().wait(75)  # a default of 60 s, and up to 10 s until Kafka looks

    monkeypatch.setattr(row_log.RowLog, "flush", late)
    with row_writer(run, kafka) as writer:
        ready(writer)
        assert writer.accept(row_request(run, 1)).result(120).accepted == 1
    assert in_log(run, kafka) == [1]


@pytest.mark.parametrize("committed_first", [True, False])
def test_a_commit_in_doubt_is_settled(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed_first: bool
) -> None:
    """Where the answer to a commit is lost, the request is answered once it is known; its rows are written once."""
    run = open_stream(tmp_path / "run", kafka)
    original, doubts = row_log.RowLog._until_done, [1]

    def in_doubt(self: row_log.RowLog, call: Callable[[float], object], action: str) -> None:
        doubtful = action == "commit rows" and doubts
        if not doubtful or committed_first:
            original(self, call, action)
        if doubtful and doubts.pop():
            raise StreamFailed("the answer is lost")

    monkeypatch.setattr(row_log.RowLog, "_until_done", in_doubt)
    with row_writer(run, kafka) as writer:
        ready(writer)
        with_key, without = writer.accept(row_request(run, 1, key="a")), writer.accept(row_request(run, 2))
        assert with_key.result(IN_TIME).accepted == without.result(IN_TIME).accepted == 1
    assert in_log(run, kafka) == [1, 2]


def test_a_request_that_kafka_does_not_take_holds_up_no_other(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with an error after some attempts; those that were in its transaction are written without it."""
    run = open_stream(tmp_path / "run", kafka)
    original = row_log.RowLog.send

    def too_large(self: row_log.RowLog, messages: Iterable[RowMessage]) -> row_log.Delivery:
        delivery = original(self, messages)
        if any(message.key == b"13" for message in messages):
            delivery.error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
        return delivery

    monkeypatch.setattr(row_log.RowLog, "send", too_large)
    with row_writer(run, kafka) as writer:
        ready(writer)
        futures = [writer.accept(row_request(run, number)) for number in (12, 13, 14)]
        with pytest.raises(RowsRefused):
            futures[1].result(IN_TIME)
        assert [futures[place].result(IN_TIME).accepted for place in (0, 2)] == [1, 1]
    assert in_log(run, kafka) == [12, 14]


def test_a_request_that_waits_for_kafka_can_be_withdrawn(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its writing has begun it ends with an error that says that nothing was written; afterwards it can't."""
    run = open_stream(tmp_path / "run", kafka)
    held, release = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "posts.committing":
            held.set()
            assert release.wait(IN_TIME)

    monkeypatch.setattr(row_log, "failpoint", hold)
    with row_writer(run, kafka) as writer:
        ready(writer)
        first = writer.accept(row_request(run, 1))
        assert held.wait(IN_TIME)
        second = writer.accept(row_request(run, 2))
        assert (writer.withdraw(first), writer.withdraw(second)) == (False, True)
        release.set()
        assert first.result(IN_TIME).accepted == 1
        with pytest.raises(RowsRefused):
            second.result(IN_TIME)
    assert in_log(run, kafka) == [1]


def test_an_api_that_dies_at_any_boundary_answers_a_repeated_request_rightly(kafka: str, tmp_path: Path) -> None:
    """Killed before the rows are in the log, before the commit, and before the answer: the next API writes the rows
    that were not committed, and gives the answer for those that were."""
    with posting_run(tmp_path, kafka) as posting:
        posting.claim()
        posting.start("api", "posts.sent=kill")
        dying = threading.Thread(target=posting.post, args=("a", [{"n": 1}, {"n": 2}]))
        dying.start()  # it repeats its request until it is answered
        posting.died("api")
        posting.start("api", "posts.committing=kill:2")
        dying.join(IN_TIME)
        dying = threading.Thread(target=posting.post, args=("b", [{"n": 3}, {"n": 4}]))
        dying.start()
        posting.died("api")
        posting.start("api", "posts.committed=kill:2")
        dying.join(IN_TIME)
        dying = threading.Thread(target=posting.post, args=("c", [{"n": 5}, {"n": 6}]))
        dying.start()
        posting.died("api")
        posting.start("api")
        dying.join(IN_TIME)
        replayed = posting.post("c", [{"n": 5}, {"n": 6}])
        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert in_log(posting.run, kafka) == [1, 2, 3, 4, 5, 6]


@pytest.mark.nightly  # by day, the workers' own tests bring rows to the one writer
def test_rows_through_workers_are_written_once(kafka: str, tmp_path: Path) -> None:
    """Clients post through two workers while one of these is killed, then the process that writes: what was answered as
    accepted is in the log once, the rows of one request are there together or not at all, and no worker is left."""
    with posting_run(tmp_path, kafka, workers=2) as posting:
        posting.claim()
        posting.start("api")
        clients = [Client(posting, number) for number in range(1, 5)]
        for client in clients:
            client.start()
        await_rows(posting, clients)
        _, first, second = posting.pids("api")
        os.kill(first, signal.SIGKILL)
        await_rows(posting, clients)
        posting.kill("api")
        await_rows(posting, clients)
        assert not psutil.pid_exists(second)
        for client in clients:
            client.stop()
        for client in clients:
            client.join(IN_TIME)
        assert [fault for client in clients for fault in client.faults] == []
        there = in_log(posting.run, kafka)
        assert len(set(there)) == len(there)
        accepted = {number for client in clients for number in client.accepted}
        assert accepted <= set(there)
        for client in clients:
            assert set(client.last) & set(there) in (set(), set(client.last))


@pytest.mark.nightly  # by day, the test above kills the API at each boundary
@pytest.mark.parametrize(
    ("rounds", "workers"),
    [pytest.param(1, 1, id="once"), pytest.param(5, 1, id="often"), pytest.param(2, 2, id="workers")],
)
@pytest.mark.timeout(600)
def test_accepted_rows_are_in_batches_once_whatever_is_killed(tmp_path: Path, rounds: int, workers: int) -> None:
    """Under load with keys, while API, collector and broker are killed in turn: what was answered as accepted is in a
    sealed batch, once, and no row is there twice."""
    with posting_run(tmp_path, rows=200, partitions=2, workers=workers) as posting:
        posting.start("broker")
        posting.claim()
        posting.start("collector")
        posting.start("api")
        clients = [Client(posting, number) for number in range(1, 9)]
        for client in clients:
            client.start()
        for stage in ("api", "collector", "broker") * rounds:
            await_rows(posting, clients)
            posting.kill(stage)
        await_rows(posting, clients)
        for client in clients:
            client.stop()
        for client in clients:
            client.join(IN_TIME)
        assert_each_once(posting, clients)


def await_rows(posting: PostingRun, clients: list[Client]) -> None:
    """Wait until each client had another request accepted."""
    before = [len(client.accepted) for client in clients]

    def advanced() -> bool:
        posting.supervise()
        return all(len(client.accepted) > count for client, count in zip(clients, before, strict=True))

    wait_for(advanced, "rows of each client", 120)
