"""A stream that stays open: the source's rows, those by HTTP and those of strangers are told apart, across crashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.support.failpoint_run import arm
from tests.support.memory_log import HandClock, Mark, MemoryLog, MemoryReader, own_stream
from tests.support.open_stream import open_pipeline, sealed_numbers
from tidemill.collector.collector import recover, take_up
from tidemill.collector.cutter import Rules
from tidemill.collector.own_marks import End
from tidemill.errors import AccountError
from tidemill.run.catalog.account import Account, total_digest, whole_digest
from tidemill.run.failpoints import Crash
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage

Make = Callable[[Path | None], Run]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    runs: list[Run] = []

    def made(path: Path | None) -> Run:
        runs.append(open_run(open_pipeline(path, rows=2), tmp_path))
        return runs[-1]

    yield made
    arm("")
    for run in runs:
        run.close()


def value(number: int) -> bytes:
    return orjson.dumps({"n": number, "note": None})


def send(log: MemoryLog, *numbers: int, mark: Mark | None = None) -> None:
    for number in numbers:
        log.append(0, value(number), 1000 + number, mark)


def end_source(log: MemoryLog, *numbers: int) -> None:
    """The marker after the source's rows, which are these."""
    account = Account().add([value(number) for number in numbers])
    log.append(0, None, 2000, "source-end", end=End(account.rows, account.digest))


def collect(run: Run, log: MemoryLog) -> None:
    """A collector's whole life, until it has read everything."""
    clock = HandClock()
    reader = MemoryReader(log, clock)
    recover(run)
    collector = take_up(Stage(run, "collector"), own_stream(run, reader), Rules(rows=2), clock=clock)
    collector.begin()
    while reader.unread:
        collector.step()
    assert not collector.over
    collector._open.draft.discard()


def test_rows_by_http_and_of_strangers(make: Make) -> None:
    """The source's rows and those by HTTP are in batches, whatever their order; behind the source's end a row without
    a mark is a reject, also after a restart."""
    run, log = make(Path("data.csv")), MemoryLog(1)
    send(log, 1)
    send(log, 10, 11, mark="row")
    send(log, 2)
    end_source(log, 1, 2)
    send(log, 90)
    send(log, 12, 13, mark="row")
    collect(run, log)
    send(log, 91)
    send(log, 14, 15, mark="row")
    collect(run, log)
    assert sealed_numbers(run) == [1, 10, 11, 2, 12, 13, 14, 15]
    account = (run.catalog.accounts() or {})[0]
    assert (account.rows, account.posted_rows, account.sent) == (2, 6, 2)
    assert run.catalog.totals()["rejected"] == 2


def test_without_a_source_every_row_has_a_mark(make: Make) -> None:
    """In a stream without data a row without a mark is a reject."""
    run, log = make(None), MemoryLog(1)
    send(log, 90)
    send(log, 1, 2, mark="row")
    collect(run, log)
    assert sealed_numbers(run) == [1, 2]
    assert run.catalog.totals()["rejected"] == 1


def test_the_source_is_balanced_at_its_end(make: Make) -> None:
    """A stranger's row among the source's stops the collector at the source's end."""
    run, log = make(Path("data.csv")), MemoryLog(1)
    send(log, 1, 90)
    end_source(log, 1)
    with pytest.raises(AccountError, match="1 rows were sent to partition 0"):
        collect(run, log)


def test_a_cut_with_rows_by_http_is_made_again(make: Make) -> None:
    """After a crash between cut and seal, where the log has another row by HTTP by then, the batch is cut again."""
    run, log = make(Path("data.csv")), MemoryLog(1)
    end_source(log)
    send(log, 1, 2, mark="row")
    arm("batch.decided=error")
    with pytest.raises(Crash):
        collect(run, log)
    arm("")
    other = MemoryLog(1)
    end_source(other)
    send(other, 1, 3, mark="row")
    collect(run, other)
    assert sealed_numbers(run) == [1, 3]


def test_digests_cover_rows_by_http_only_where_there_are_some() -> None:
    """The digest of the source's rows is as ever; the whole one differs where rows by HTTP do."""
    account = Account().add([b"a"])
    assert whole_digest({0: account}) == total_digest({0: account})
    one, other = account.add_posted([b"b"]), account.add_posted([b"c"])
    assert total_digest({0: one}) == total_digest({0: other}) == total_digest({0: account})
    assert len({whole_digest({0: kept}) for kept in (account, one, other)}) == 3
