"""A cut that was recorded, but not sealed, before a power cut took the end of Kafka's log: it is made anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from tests.support.failpoint_run import arm
from tests.support.memory_log import HandClock, MemoryLog, MemoryReader, one_column, own_stream
from tidemill.collector.collector import recover, take_up
from tidemill.collector.cutter import Rules
from tidemill.run.catalog.account import Account
from tidemill.run.catalog.batches import save_accounts
from tidemill.run.failpoints import Crash
from tidemill.run.folder import Run, open_run
from tidemill.run.inventory import take_inventory
from tidemill.run.stage import Stage

ROWS = 3
BROKEN = b"no row"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = open_run(one_column(), tmp_path)
    yield made
    arm("")
    made.close()


def send(log: MemoryLog, numbers: Sequence[int], partition: int = 0) -> None:
    for number in numbers:
        log.append(partition, BROKEN if number < 0 else orjson.dumps({"n": number}), abs(number))


def end(log: MemoryLog) -> None:
    for partition in range(len(log.logs)):
        log.append(partition, None, 100, "end")


def collect(run: Run, log: MemoryLog, faults: str = "") -> None:
    """A collector's whole life; with faults it dies on the way."""
    clock = HandClock()
    arm(faults)
    recover(run)
    collector = take_up(
        Stage(run, "collector"), own_stream(run, MemoryReader(log, clock)), Rules(rows=ROWS), clock=clock
    )
    if not faults:
        collector.collect()
        return
    with pytest.raises(Crash):
        collector.collect()


def sealed(run: Run) -> list[list[int]]:
    return [pq.read_table(run.folder / batch.path)["n"].to_pylist() for batch in run.catalog.batches()]


def aside(run: Run) -> list[str]:
    return sorted(path.name for path in run.aside.iterdir()) if run.aside.exists() else []


def assert_nothing_left(run: Run) -> None:
    names = {path.name for folder in (run.batches, run.rejects) for path in folder.iterdir()}
    known = {Path(path).name for batch in run.catalog.batches() for path in (batch.path, batch.rejects_path) if path}
    assert names == known
    assert take_inventory(run.folder, run.catalog).batch_leftovers == ()


@pytest.mark.parametrize("died", ["batch.decided", "batch.renamed", "batch.sealing"])
@pytest.mark.parametrize("left", [3, 4, 5])
def test_rows_that_were_sent_again_are_cut_anew(run: Run, died: str, left: int) -> None:
    """The log lost rows of the batch that was cut, and bears them again at other offsets, with a row less before the
    old end of the batch: each row is in one batch, and each batch has its rows."""
    log = MemoryLog(1)
    send(log, range(7))
    collect(run, log, f"{died}=error:2")
    assert sealed(run) == [[0, 1, 2]]
    log.logs[0] = log.logs[0][:left]
    log.skip(0)
    send(log, range(left, 7))
    end(log)
    collect(run, log)
    assert sealed(run) == [[0, 1, 2], [3, 4, 5], [6]]
    assert_nothing_left(run)


def test_a_log_that_ends_before_the_cut_is_read_from_what_is_sealed(run: Run) -> None:
    """The rows are sent again only later: the cut is not waited for, and the collector goes on with what there is."""
    log, clock = MemoryLog(1), HandClock()
    send(log, range(7))
    collect(run, log, "batch.decided=error:2")
    log.logs[0] = log.logs[0][:4]
    arm("")
    collector = take_up(
        Stage(run, "collector"), own_stream(run, MemoryReader(log, clock)), Rules(rows=ROWS), clock=clock
    )
    assert run.catalog.undecided() is None
    send(log, range(4, 7))
    end(log)
    collector.collect()
    assert sealed(run) == [[0, 1, 2], [3, 4, 5], [6]]


def test_rows_whose_transaction_was_aborted_are_cut_anew(run: Run) -> None:
    """The power cut took the end of the transaction alone: its rows are passed over, and stand behind it again."""
    log = MemoryLog(1)
    send(log, range(6))
    collect(run, log, "batch.decided=error:2")
    log.logs[0][3:] = [None] * 4
    send(log, range(3, 6))
    end(log)
    collect(run, log)
    assert sealed(run) == [[0, 1, 2], [3, 4, 5]]


def test_rejects_of_a_cut_that_is_void_are_gone(run: Run) -> None:
    """Another writer's message that the power cut took is in no file of rejects."""
    log = MemoryLog(1)
    send(log, [0, 1, 2, 3, -1, 4, 5])
    collect(run, log, "batch.sealing=error:2")
    assert [path.name for path in run.rejects.iterdir()] == ["batch-00002.jsonl"]
    log.logs[0] = log.logs[0][:4]
    send(log, [4, 5])
    end(log)
    collect(run, log)
    assert sealed(run) == [[0, 1, 2], [3, 4, 5]]
    assert_nothing_left(run)
    assert aside(run) == ["batch-00002.jsonl.1", "batch-00002.parquet.1"]


def test_a_sealed_file_that_an_older_catalog_does_not_know_is_kept(run: Run) -> None:
    """A catalog of the moment of the cut is put back, and the log has lost the rows: the file that was sealed since,
    which may be the last copy, is put aside, each time anew."""
    log, clock = MemoryLog(1), HandClock()
    send(log, range(7))
    collect(run, log, "batch.decided=error:2")
    pending = run.catalog.undecided()
    assert pending
    for number in (1, 2):
        arm("")
        take_up(Stage(run, "collector"), own_stream(run, MemoryReader(log, clock)), Rules(rows=ROWS), clock=clock)
        content = (run.folder / run.catalog.batches()[1].path).read_bytes()
        unseal(run, 2)
        cut_off = MemoryLog(1)
        send(cut_off, range(4))
        take_up(Stage(run, "collector"), own_stream(run, MemoryReader(cut_off, clock)), Rules(rows=ROWS), clock=clock)
        assert sealed(run) == [[0, 1, 2]]
        assert (run.aside / f"batch-00002.parquet.{number}").read_bytes() == content
        run.catalog.decide(pending)


def test_other_rejects_of_the_same_batch_are_kept(run: Run) -> None:
    """Rejects that an older catalog does not know, beside a batch that is made again, are put aside too."""
    log = MemoryLog(1)
    send(log, [0, 1, 2, 3, -1, 4, 5])
    end(log)
    collect(run, log, "batch.decided=error:2")
    (run.rejects / "batch-00002.jsonl").write_text("others\n")
    collect(run, log)
    assert sealed(run) == [[0, 1, 2], [3, 4, 5]]
    assert_nothing_left(run)
    assert aside(run) == ["batch-00002.jsonl.1"]
    assert (run.aside / "batch-00002.jsonl.1").read_text() == "others\n"


def unseal(run: Run, batch: int) -> None:
    """The catalog as it was before the batch was sealed."""
    with closing(sqlite3.connect(run.catalog.path)) as connection:
        connection.execute("UPDATE batches SET sealed_at = NULL, path = NULL WHERE batch = ?", [batch])
        connection.execute("DELETE FROM freshness WHERE batch = ?", [batch])
        connection.execute("DELETE FROM accounts")
        connection.commit()
    accounts = {0: Account().add([orjson.dumps({"n": number}) for number in range(3 * (batch - 1))])}
    with run.catalog.engine.begin() as transaction:
        save_accounts(transaction, accounts)


def test_one_of_two_partitions_lost_its_end(run: Run) -> None:
    """What the other one holds stays in its place in the order of time."""
    log = MemoryLog(2)
    send(log, [0, 2, 4], 0)
    send(log, [1, 3, 5], 1)
    end(log)
    collect(run, log, "batch.decided=error:2")
    rewritten = MemoryLog(2)
    send(rewritten, [0, 2, 4], 0)
    send(rewritten, [1], 1)
    rewritten.skip(1)
    send(rewritten, [3, 5], 1)
    end(rewritten)
    collect(run, rewritten)
    assert sealed(run) == [[0, 1, 2], [3, 4, 5]]
    assert_nothing_left(run)


def test_a_batch_that_is_there_as_it_was_cut_is_made_again(run: Run) -> None:
    """A mere crash changes nothing: the cut holds, an idle one too, which no rule would find again."""
    log, clock = MemoryLog(1), HandClock()
    send(log, range(2))
    arm("batch.decided=error:1")
    idle = Rules(rows=ROWS, idle_seconds=1.0)
    with pytest.raises(Crash):
        take_up(Stage(run, "collector"), own_stream(run, MemoryReader(log, clock)), idle, clock=clock).collect()
    send(log, range(2, 4))
    end(log)
    collect(run, log)
    assert sealed(run) == [[0, 1], [2, 3]]
    assert [batch.cut for batch in run.catalog.batches()] == ["idle", "end"]
