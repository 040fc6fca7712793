"""The collector against a plain list: whatever happens in whatever order, its batches are the list, cut by the rules.

To search for longer: ``TIDEMILL_MODEL_EXAMPLES=5000 pytest -o timeout=0 -m nightly tests/unit/collector``. That draws
other examples each time, and reduces one that fails to its smallest form, which takes minutes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support import assert_account_closed
from tests.support.failpoint_run import arm
from tests.support.memory_log import (
    CREATE_TIME,
    HandClock,
    MemoryLog,
    MemoryMessage,
    MemoryReader,
    one_column,
    own_stream,
)
from tidemill.collector import batch_file, merge
from tidemill.collector.collector import Collector, recover, take_up
from tidemill.collector.cutter import Rules, part_boundaries
from tidemill.collector.own_marks import End
from tidemill.collector.reader import NO_STAMP
from tidemill.run.catalog import Batch
from tidemill.run.catalog.account import Account
from tidemill.run.failpoints import FAILPOINTS, Crash
from tidemill.run.files import sha256
from tidemill.run.folder import open_run
from tidemill.run.stage import Stage

IMPOSSIBLE = [(CREATE_TIME, -5), (CREATE_TIME, 2**62), (NO_STAMP, -1)]
JUNK = [b"no json", None, b"[]", b'{"n": "x"}', b"{}"]
POINTS = [name for name in FAILPOINTS if name.split(".")[0] in ("batch", "rejects", "stream")]
IN_TIME = 100  # reads after which a collector that is let work must have come to the end

few = st.integers(1, 6)


@dataclass(frozen=True)
class Row:
    """A row of the model: the number in it, and where and when it stands in the log. ``turn`` is its time in the merge:
    that of the newest message of its partition so far."""

    number: int
    partition: int
    stamp: int
    turn: int


def cut_up(
    rows: Sequence[Row], rules: Rules, idle_after: set[int], before: int = 0
) -> tuple[list[tuple[int, str]], int]:
    """The batches that the rules make of ``rows``, row by row: the size and the reason of each, and how many rows are
    left in the open one. ``idle_after`` are the numbers of rows after which the stream was idle; ``before`` so many
    rows are in earlier batches."""
    batches: list[tuple[int, str]] = []
    held: list[Row] = []
    for total, row in enumerate(rows, start=before + 1):
        if held and rules.every_ms and row.stamp >= held[0].stamp + rules.every_ms:
            batches.append((len(held), "every"))
            held = []
        held.append(row)
        cut = "parts" if total in rules.boundaries else "rows" if len(held) == rules.rows else ""
        if cut or total in idle_after:
            batches.append((len(held), cut or "idle"))
            held = []
    return batches, len(held)


class CollectorMachine(RuleBasedStateMachine):
    """Producers, a log, and a collector that may die and be started again at any moment."""

    @initialize(
        partitions=st.sampled_from([1, 3, 8]),
        total=st.integers(4, 30),
        rows=st.none() | st.integers(1, 9),
        every=st.none() | st.integers(1, 200),
        idle=st.none() | st.sampled_from([0.1, 0.35, 1.0]),
        parts=st.none() | st.integers(1, 4),
    )
    def begin(
        self, partitions: int, total: int, rows: int | None, every: int | None, idle: float | None, parts: int | None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tidemill-model-"))
        self.run = open_run(one_column(), self.folder)
        self.cutting = Rules(rows, every, idle, part_boundaries(total, parts) if parts else ())
        self.total = total
        self.clock = HandClock()
        self.log = MemoryLog(partitions)
        self.log.append(0, None, 0, "claim")
        self.log.skip(0)
        self.stamp, self.stamped_at = 0, self.clock()
        self.model: list[Row] = []
        self.junk: set[tuple[int, int]] = set()
        self.newest = dict.fromkeys(range(partitions), 0)
        self.accounts = dict.fromkeys(range(partitions), Account())
        self.ended = False
        self.in_order = True
        self.made_again: set[int] = set()
        self.quiet = 0.0
        self.decided = 0
        self.seen: list[tuple[str, list[int]]] = []
        self.start()

    # --- what others do -----------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.ended)
    @rule(where=st.lists(st.tuples(st.integers(0, 7), st.integers(-90, 60)), min_size=1, max_size=6), aborted=few)
    def produce(self, where: list[tuple[int, int]], aborted: int) -> None:
        """A transaction of some rows, visible at once; perhaps after one that was aborted. Clocks may step back."""
        if aborted == 1:
            self.log.skip(where[0][0] % len(self.log.logs))
        self.send(where[: self.total - len(self.model)])

    def send(self, where: Sequence[tuple[int, int]]) -> None:
        for partition, gap in where:
            passed = self.clock() > self.stamped_at
            self.stamp = max(0, self.stamp + (gap if gap < 0 else max(gap, passed)))  # time that went by shows in it
            self.stamped_at = self.clock()
            where_to = partition % len(self.log.logs)
            row = Row(len(self.model), where_to, self.stamp, self.turn_of(where_to))
            self.account(row.partition, self.log.append(row.partition, orjson.dumps({"n": row.number}), row.stamp))
            self.in_order = self.in_order and (row.turn, row.partition) >= self.let_go()
            self.model.append(row)
        for partition in {partition % len(self.log.logs) for partition, _ in where}:
            self.log.skip(partition)

    def let_go(self) -> tuple[int, int]:
        """The time and partition of the last row, in the order of time, that went into a batch, or that cut the last
        one. A row that is written only now, by a clock that stepped back, can't come before it any more."""
        assert self.collector is not None
        by_next_row = [batch.cut for batch in self.run.catalog.batches()][-1:] == ["every"]
        ahead = sum(len(portion.result().table) for portion in self.collector._decoding._portions)
        count = self.collector._sealed_rows + max(self.collector._open.rows + ahead, by_next_row)
        return max(((row.turn, row.partition) for row in self.in_time()[:count]), default=(0, 0))

    def in_time(self) -> list[Row]:
        """All rows in the order of time."""
        return sorted(self.model, key=lambda row: (row.turn, row.partition, row.number))

    def turn_of(self, partition: int) -> int:
        """The time in the merge of a message that is written to this partition now."""
        self.newest[partition] = max(self.newest[partition], self.stamp)
        return self.newest[partition]

    def account(self, partition: int, message: MemoryMessage) -> None:
        self.accounts[partition] = self.accounts[partition].add([message.content or b""])

    @precondition(lambda self: not self.ended)
    @rule(partition=st.integers(0, 7), value=st.sampled_from(JUNK))
    def write_junk(self, partition: int, value: bytes | None) -> None:
        """Another writer's message that is no row."""
        partition %= len(self.log.logs)
        self.turn_of(partition)
        self.junk.add(self.log.append(partition, value, self.stamp).place)

    @precondition(lambda self: not self.ended)
    @rule(partition=st.integers(0, 7), when=st.sampled_from(IMPOSSIBLE))
    def send_at_an_impossible_time(self, partition: int, when: tuple[int, int]) -> None:
        """The producer's own row, which fits, at a time that no calendar has."""
        partition %= len(self.log.logs)
        message = self.log.append(partition, b'{"n": -2}', when[1], kind=when[0])
        self.account(partition, message)
        self.junk.add(message.place)

    @precondition(lambda self: not self.ended and len(self.model) > self.total // 2)
    @rule()
    def end(self) -> None:
        """The producer sends what is left of its source, and closes the stream."""
        self.send([(number, 1) for number in range(len(self.model), self.total)])
        for partition in range(len(self.log.logs)):
            account = self.accounts[partition]
            self.log.append(partition, None, self.stamp, "end", end=End(account.rows, account.digest))
            self.log.skip(partition)
        self.ended = True

    @precondition(lambda self: self.ended)
    @rule(partition=st.integers(0, 7))
    def write_late(self, partition: int) -> None:
        """Another writer's row after the stream's end, which is no part of it."""
        self.log.append(partition % len(self.log.logs), b'{"n": -1}', self.stamp)

    # --- what the collector does --------------------------------------------------------------------------------------

    @rule(times=few, most=st.sampled_from([1, 2, 3, 5, 10_000]), away=st.frozensets(st.integers(0, 7), max_size=3))
    def consume(self, times: int, most: int, away: frozenset[int]) -> None:
        """It is given few or many messages at a time, while some partitions' brokers may be away."""
        self.reader.most = most
        self.reader.answering = set(range(len(self.log.logs))) - away
        for _ in range(times):
            self.guarded(self.step)

    @rule(times=st.integers(1, 15))
    def rest(self, times: int) -> None:
        """It reads what there is, and then there is nothing for a while."""
        self.reader.most, self.reader.answering = 10_000, set(range(len(self.log.logs)))
        for _ in range(times):
            self.guarded(self.step)

    @rule(seconds=st.sampled_from([0.2, 0.6, 5.0, 86_400.0]))
    def jump(self, seconds: float) -> None:
        """The process stands still for a while, or the machine sleeps."""
        self.move(lambda: self.clock.advance(seconds))

    @rule()
    def hand_over(self) -> None:
        """It is gone without a word, and another one takes its place."""
        self.crashed()

    @rule(faults=st.dictionaries(st.sampled_from(POINTS), st.integers(1, 2), min_size=1, max_size=3))
    def will_crash(self, faults: dict[str, int]) -> None:
        """It is going to die at these steps of sealing, once each."""
        arm(",".join(f"{name}=error:{passing}" for name, passing in faults.items()))

    def start(self) -> None:
        """What the stage's process does when it starts."""
        self.collector: Collector[MemoryMessage] | None = None
        self.quiet = 0.0
        self.reader = MemoryReader(self.log, self.clock)
        recover(self.run)
        if pending := self.run.catalog.undecided():
            self.made_again.add(pending.batch)
        if not self.run.catalog.ended():
            self.collector = take_up(
                Stage(self.run, "collector"), own_stream(self.run, self.reader), self.cutting, clock=self.clock
            )
            self.collector.begin()

    def step(self) -> None:
        """One round of the collector's loop."""
        if self.collector is None:
            return
        if self.collector.over:
            self.collector.finish()
            self.collector = None
            return
        before, unread = self.clock(), self.reader.unread
        try:
            self.move(self.collector.step)
        finally:
            waited = self.clock() - before
            self.quiet = self.quiet + waited if waited and not unread else 0.0
            self.look_at_decisions()

    def move(self, act: Callable[[], None]) -> None:
        """Do something that may let time pass. If it does while a partition that was read to its end has got more, what
        is in there may be late: only then may rows come in another order than that of time."""
        late, before = self.reader.drained & self.reader.unread, self.clock()
        try:
            act()
        finally:
            if late and self.clock() > before:
                self.in_order = False

    def guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Crash:
            self.crashed()

    def crashed(self) -> None:
        """The process is gone; the next one may die as well while it takes up the work."""
        self.assert_decided_first()
        with suppress(Crash):
            self.start()
            return
        self.crashed()

    # --- what must hold -----------------------------------------------------------------------------------------------

    def look_at_decisions(self) -> None:
        """A stream is called idle only after so much time in which nothing came and nothing was left to read."""
        pending = self.run.catalog.undecided()
        cuts = [batch.cut for batch in self.run.catalog.batches()] + ([pending.cut] if pending else [])
        for cut in cuts[self.decided :]:
            if cut == "idle":
                assert self.cutting.idle_seconds is not None
                assert self.quiet >= self.cutting.idle_seconds - 1e-9
                assert not self.reader.unread
        self.decided = len(cuts)

    def assert_decided_first(self) -> None:
        """No batch has its file before its cut is recorded."""
        pending = self.run.catalog.undecided()
        known = {batch.batch for batch in self.run.catalog.batches()} | ({pending.batch} if pending else set())
        assert {int(path.stem.split("-")[1]) for path in self.run.batches.glob("batch-*")} <= known

    @invariant()
    def batches_are_the_list(self) -> None:
        """What is sealed never changes; its rows are the list's in its order, cut by the rules."""
        batches = self.run.catalog.batches()
        assert [batch.batch for batch in batches] == list(range(1, len(batches) + 1))
        for batch in batches[len(self.seen) :]:
            self.seen.append((batch.sha256, self.rows_of(batch)))
        assert [sha256(self.run.folder / batch.path) for batch in batches] == [digest for digest, _ in self.seen]
        assert [batch.sha256 for batch in batches] == [digest for digest, _ in self.seen]
        rows = [self.model[number] for _, numbers in self.seen for number in numbers]
        self.assert_order(rows)
        self.assert_cuts(rows, batches)

    def rows_of(self, batch: Batch) -> list[int]:
        """The numbers in a batch's file, which are those that stand at its offsets."""
        numbers: list[int] = pq.read_table(self.run.folder / batch.path)["n"].to_pylist()
        messages = [
            message
            for span in batch.partitions
            for message in self.log.messages(span.partition, span.first_offset)
            if message.offset() <= span.last_offset and message.place not in self.junk and message.mark is None
        ]
        assert sorted(numbers) == sorted(orjson.loads(message.content or b"")["n"] for message in messages)
        assert len(numbers) == batch.rows
        return numbers

    def assert_order(self, rows: list[Row]) -> None:
        """The rows are the first ones of the list: of each partition's, and of all in the order of time."""
        for partition in range(len(self.log.logs)):
            ours = [row for row in rows if row.partition == partition]
            assert ours == [row for row in self.model if row.partition == partition][: len(ours)]
        if self.in_order:
            assert rows == self.in_time()[: len(rows)]

    def assert_cuts(self, rows: list[Row], batches: list[Batch]) -> None:
        """The batches are the list, cut by the rules.

        Where rows came late, each batch is looked at by itself: a collector that starts anew reads what came late in
        its place in the order of time, so the row that cut a batch need not be the next any more.
        """
        cuts = [(batch.rows, batch.cut) for batch in batches]
        assert all(cut != "end" for _, cut in cuts[:-1])
        totals = [sum(size for size, _ in cuts[:count]) for count in range(len(cuts) + 1)]
        idle_after = {total for total, (_, cut) in zip(totals[1:], cuts, strict=True) if cut == "idle"}
        if self.in_order:
            expected, left = cut_up(rows, self.cutting, idle_after)
            if cuts and cuts[-1][1] in ("every", "end"):  # by the row, or the end, that came next
                expected.append((left, cuts[-1][1]))
                left = 0
            assert (cuts, left) == (expected, 0)
            return
        for batch, start in zip(batches, totals, strict=False):
            self.assert_cut(batch, rows[start : start + batch.rows], start, {row.number for row in rows[:start]})

    def assert_cut(self, batch: Batch, rows: list[Row], start: int, before: set[int]) -> None:
        """One batch is cut where its rule says, and no rule cuts it earlier. A cut by time has a later row in the log
        that is old enough. A batch made again is in the order of time, which it was not cut in: of it only the size is
        known."""
        rules = self.cutting
        if batch.batch in self.made_again:
            rules = replace(rules, every_ms=None)
        cut, left = cut_up(rows, rules, {start + batch.rows} if batch.cut == "idle" else set(), start)
        assert (cut, left) in [([(batch.rows, batch.cut)], 0), ([], batch.rows)]
        if left:
            assert batch.cut in ("every", "end")
        if batch.cut == "every":
            assert self.cutting.every_ms is not None
            since = min(row.stamp for row in rows) if batch.batch in self.made_again else rows[0].stamp
            inside = {row.number for row in rows}
            later = [row for row in self.model if row.number not in before | inside]
            assert any(row.stamp >= since + self.cutting.every_ms for row in later)

    def teardown(self) -> None:
        """At last all is sent and read: every row is in one batch, and every other message in the rejects."""
        if not hasattr(self, "run"):
            return
        try:
            arm("")
            if not self.ended:
                self.end()
            self.rest(IN_TIME)
            self.batches_are_the_list()
            self.assert_complete()
        finally:
            self.run.close()
            shutil.rmtree(self.folder)

    def assert_complete(self) -> None:
        run = self.run
        assert self.collector is None, "the end was not reached"
        assert sorted(number for _, numbers in self.seen for number in numbers) == list(range(self.total))
        assert len(run.catalog.ended()) == len(self.log.logs)
        assert_account_closed(run.catalog)
        assert {path.name for path in run.batches.iterdir()} == {
            Path(batch.path).name for batch in run.catalog.batches()
        }
        lines = [orjson.loads(line) for path in run.rejects.iterdir() for line in path.read_bytes().splitlines()]
        assert sorted((line["partition"], line["offset"]) for line in lines) == sorted(self.junk)
        assert run.catalog.totals()["rejected"] == len(self.junk)


@pytest.mark.parametrize("most", [1, 10_000])
def test_what_others_write_after_the_end_is_no_part_of_the_stream(tmp_path: Path, most: int) -> None:
    """A row behind the end marker is in no batch, whether or not it is fetched together with the marker."""
    run = open_run(one_column(), tmp_path)
    log, clock = MemoryLog(1), HandClock()
    log.append(0, b'{"n": 1}', 1)
    log.append(0, None, 2, "end")
    log.append(0, b'{"n": 2}', 3)
    reader = MemoryReader(log, clock)
    reader.most = most
    take_up(Stage(run, "collector"), own_stream(run, reader), Rules(rows=10), clock=clock).collect()
    assert [(batch.rows, batch.cut) for batch in run.catalog.batches()] == [(1, "end")]
    run.close()


def test_a_partition_that_was_paused_is_not_taken_as_read_to_its_end(tmp_path: Path) -> None:
    """A transaction's rows keep their place in time where one of its partitions is paused as they become visible."""
    run = open_run(one_column(partitions=3), tmp_path)
    log, clock = MemoryLog(3), HandClock()
    collector = take_up(Stage(run, "collector"), own_stream(run, MemoryReader(log, clock)), Rules(rows=10), clock=clock)
    collector.begin()

    def send(*rows: tuple[int, int]) -> None:
        for partition, stamp in rows:
            log.append(partition, orjson.dumps({"n": stamp}), stamp)
        collector.step()

    send((1, 55))
    clock.advance(0.4)
    send(*[(0, 50)] * (merge.CROWDED + 1))
    clock.advance(0.2)
    send((0, 52), (2, 60))
    for partition in range(3):
        log.append(partition, None, 61, "end")
    while not collector.over:
        collector.step()
    collector.finish()
    [batch] = run.catalog.batches()
    assert pq.read_table(run.folder / batch.path)["n"].to_pylist() == [50, 50, 50, 50, 52, 55, 60]
    run.close()


@pytest.fixture(autouse=True)
def _disarmed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """No failpoint outlives its test; limits are so small that a few messages reach them."""
    monkeypatch.setattr(merge, "CROWDED", 3)
    monkeypatch.setattr(batch_file, "ROW_GROUP", 2)
    yield
    arm("")


EXAMPLES = os.environ.get("TIDEMILL_MODEL_EXAMPLES")


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("examples", [30, pytest.param(int(EXAMPLES or 400), marks=pytest.mark.nightly)])
def test_the_collector_does_what_the_plain_list_does(examples: int) -> None:
    """Whatever happens in whatever order, the batches are those that are cut from the plain list of rows."""
    run_state_machine_as_test(
        CollectorMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            derandomize=EXAMPLES is None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
