"""Freshness: from a batch's last row to the first answer of its generation."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.commands import call_command
from tests.support.memory_log import HandClock, Mark, MemoryLog, MemoryReader, one_column, own_stream
from tests.support.serving_run import api_of, new_run, publish, seal
from tidemill.api.models.registry import ModelRegistry
from tidemill.collector import timing
from tidemill.collector.collector import take_up
from tidemill.collector.cutter import Rules
from tidemill.collector.timing import LastRow, Readings, SealTimer
from tidemill.errors import CatalogError
from tidemill.pipeline import load
from tidemill.run.catalog import (
    FILE_NAME,
    BatchTimes,
    Catalog,
    Decision,
    Sealed,
    Span,
    TrainedModel,
    TrainingTimes,
    wall_clock,
)
from tidemill.run.catalog.freshness import PARTS
from tidemill.run.catalog.freshness_store import moment
from tidemill.run.catalog.watch import CatalogWatch
from tidemill.run.folder import Run, open_run
from tidemill.run.progress.sentences import describe_freshness
from tidemill.run.progress.status import status
from tidemill.run.stage import Stage
from tidemill.schemas import FreshnessParts
from tidemill.schemas.run import CommandStatus
from tidemill.training.laps import LAPS, Lap, Laps, TrainingClock

MODEL = TrainedModel("m", "KMeans", {}, 0.5, {}, {}, "m.npz", "cd" * 32, "m")
BATCH = BatchTimes(acknowledged_at=1000.0, wait=0.5, cut=0.25, seal=0.25, sealed_at=1001.0)
TRAINING = TrainingTimes(
    began_at=1002.0,
    prepare=1.0,
    fit=2.0,
    export=0.5,
    parity=0.5,
    measure=0.5,
    save=0.5,
    publish=1.0,
    published_at=1008.0,
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / FILE_NAME)
    yield catalog
    catalog.close()


def sealed_batch(catalog: Catalog, number: int, times: BatchTimes | None = BATCH) -> None:
    catalog.decide(Decision(number, "rows", (Span(0, number, number),)))
    catalog.seal(number, Sealed(f"{number}.parquet", 1, 1, "ab"), times=times)


def published_generation(catalog: Catalog, number: int, times: TrainingTimes | None = TRAINING) -> None:
    catalog.begin_generation(number, [number], 1)
    catalog.publish_generation(number, [MODEL], times=times)


# --- the catalog ----------------------------------------------------------------------------------------------------


def test_the_parts_add_up_to_the_whole(catalog: Catalog) -> None:
    """From the last row's acknowledgement to the first answer nothing is left out and nothing counted twice."""
    sealed_batch(catalog, 1)
    published_generation(catalog, 1)
    freshness = catalog.note_answered(1, at=1008.75)
    assert freshness is not None
    assert tuple(freshness.parts) == PARTS
    assert (freshness.parts["queue"], freshness.parts["load"]) == (1.0, 0.75)
    assert freshness.seconds == sum(freshness.parts.values()) == 1008.75 - 1000.0
    assert (freshness.acknowledged_at, freshness.answered_at) == (
        "1970-01-01T00:16:40.000Z",
        "1970-01-01T00:16:48.750Z",
    )
    assert catalog.newest_freshness() == freshness
    generation = catalog.generation(1)
    assert generation is not None
    assert generation.freshness == freshness


def test_the_first_api_that_answers_counts(catalog: Catalog) -> None:
    """Another API, and one that starts again, changes nothing."""
    sealed_batch(catalog, 1)
    published_generation(catalog, 1)
    assert catalog.note_answered(1, at=1009.0) == catalog.note_answered(1, at=2000.0)


def test_clocks_of_several_machines_make_no_part_negative(catalog: Catalog) -> None:
    """A trainer's or an API's clock that is behind gives 0."""
    sealed_batch(catalog, 1, BatchTimes(1000.0, 0.0, 0.0, 0.0, sealed_at=5000.0))
    published_generation(catalog, 1)
    freshness = catalog.note_answered(1, at=900.0)
    assert freshness is not None
    assert (freshness.parts["queue"], freshness.parts["load"]) == (0.0, 0.0)


@pytest.mark.parametrize(("batch", "training"), [(None, None), (None, TRAINING), (BATCH, None)])
def test_what_an_older_version_began_has_none(
    catalog: Catalog, batch: BatchTimes | None, training: TrainingTimes | None
) -> None:
    """A generation of which a part is not known has no freshness, and the one before keeps its own."""
    sealed_batch(catalog, 1)
    published_generation(catalog, 1)
    before = catalog.note_answered(1, at=1009.0)
    sealed_batch(catalog, 2, batch)
    published_generation(catalog, 2, training)
    assert catalog.note_answered(2, at=1010.0) is None
    assert catalog.newest_freshness() == before
    assert [generation.freshness for generation in catalog.generations()] == [before, None]


def test_a_generation_that_is_trained_again_has_the_last_times(catalog: Catalog) -> None:
    """What an attempt that failed took is in ``queue``."""
    sealed_batch(catalog, 1)
    catalog.begin_generation(1, [1], 1)
    catalog.fail_generation(1, "in vain")
    assert catalog.note_answered(1, at=1009.0) is None
    published_generation(catalog, 1)
    freshness = catalog.note_answered(1, at=1009.0)
    assert freshness is not None
    assert freshness.parts["queue"] == 1.0


def test_the_body_has_the_parts_in_their_order() -> None:
    assert tuple(FreshnessParts.model_fields) == PARTS


# --- the collector --------------------------------------------------------------------------------------------------


def collected(run: Run, log: MemoryLog, clock: HandClock, most: int = 10_000, rows: int = 2) -> BatchTimes:
    """The times of the first batch that is collected."""
    reader = MemoryReader(log, clock)
    reader.most = most
    collector = take_up(Stage(run, "collector"), own_stream(run, reader), Rules(rows=rows), clock=clock)
    collector.begin()
    while not run.catalog.batches():
        collector.step()
    with closing(sqlite3.connect(run.folder / FILE_NAME)) as catalog:
        names = ", ".join(asdict(BATCH))
        return BatchTimes(*catalog.execute(f"SELECT {names} FROM freshness").fetchone())  # our own names


@pytest.mark.parametrize(
    ("second", "last", "acknowledged"),
    [(None, "position", 1004.0), (None, None, 1002.0), (None, "row", 1002.0), ("row", "position", 1002.0)],
)
def test_the_commit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: Mark | None, last: Mark | None, acknowledged: float
) -> None:
    """The last row of a batch is acknowledged when its transaction's last row is sent; a row by HTTP by itself."""
    monkeypatch.setattr(timing, "wall_clock", lambda: 1005.0)
    run, log = open_run(one_column(), tmp_path), MemoryLog(1)
    marks: tuple[Mark | None, ...] = (None, second, None, last)
    for number, mark in enumerate(marks, start=1):
        log.append(0, b'{"n": 1}', 1_000_000 + 1000 * number, mark)
    times = collected(run, log, HandClock())
    assert (times.acknowledged_at, times.wait) == (acknowledged, 1005.0 - acknowledged)
    assert (times.cut, times.seal, times.sealed_at) == (0.0, 0.0, 1005.0)
    run.close()


def test_a_batch_that_is_made_again_has_its_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that a crash took is in ``wait``."""
    monkeypatch.setattr(timing, "wall_clock", lambda: 2000.0)
    run, log, clock = open_run(one_column(), tmp_path), MemoryLog(1), HandClock()
    log.append(0, b'{"n": 1}', 1_000_000)
    run.catalog.decide(Decision(1, "rows", (Span(0, 0, 0),)))
    assert collected(run, log, clock, rows=1).wait == 1000.0
    run.close()


def test_the_first_reading_beyond_a_row_counts() -> None:
    """Rows that wait for those of other partitions keep the moment in which they were read."""
    readings = Readings()
    readings.note({0: 5, 1: 9}, now=1.0)
    readings.note({0: 5, 1: 12}, now=2.0)
    readings.note({0: 8, 1: 12}, now=3.0)
    assert readings.read_at(LastRow(0, 4, None)) == 1.0
    assert readings.read_at(LastRow(0, 7, None)) == 3.0
    assert readings.read_at(LastRow(1, 11, None)) == 2.0
    assert readings.read_at(LastRow(0, 8, None)) is None
    assert readings.read_at(LastRow(2, 0, None)) is None


def test_rows_without_a_timestamp_did_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "wall_clock", lambda: 50.0)
    clock = HandClock()
    timer = SealTimer(LastRow(0, 1, None), clock.now - 2.0, clock)
    clock.advance(3.0)
    assert timer.times() == BatchTimes(48.0, 0.0, 2.0, 3.0, 53.0)


# --- the trainer ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(get_args(Lap)), st.integers(0, 30), st.integers(1, 10))))
def test_laps_side_by_side_count_each_moment_once(laps: list[tuple[Lap, int, int]]) -> None:
    """A moment counts for the first lap, in their order, that any model is in; so the laps add up to the time in which
    anything was done."""
    clock = HandClock()
    measured = Laps(clock)
    for lap, began, length in laps:
        clock.now = float(began)
        with measured.lap(lap) as interval:
            clock.advance(length)
        assert interval.seconds == length
    expected = dict.fromkeys(LAPS, 0)
    for second in range(50):
        at_work = {lap for lap, began, length in laps if began <= second < began + length}
        for lap in [lap for lap in LAPS if lap in at_work][:1]:
            expected[lap] += 1
    assert {lap: measured.seconds(lap) for lap in LAPS} == expected


def test_the_parts_of_training_add_up() -> None:
    """From the trainer's beginning to publication, whatever is between the laps."""
    hand = HandClock()
    clock = TrainingClock(hand)
    hand.advance(1.0)
    with clock.laps.lap("fit"):
        hand.advance(2.0)
    hand.advance(0.5)
    with clock.laps.lap("parity"):
        hand.advance(0.25)
    clock.trained()
    hand.advance(0.75)
    times = clock.times()
    assert (times.prepare, times.fit, times.export, times.parity, times.save, times.publish) == (
        1,
        2,
        0,
        0.25,
        0.5,
        0.75,
    )
    assert times.published_at - times.began_at == pytest.approx(4.5)


# --- the API and the commands ---------------------------------------------------------------------------------------


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Run]:
    """A run whose first generation is published, with its times."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 1}], times=BATCH)
    publish(run, 1, [1], times=replace(TRAINING, published_at=wall_clock()))
    yield run
    run.close()


def test_the_api_records_its_first_answer_and_says_it(answering: Run) -> None:
    """`/status`, `/generations` and `/metrics` have the newest generation's freshness; so has the command."""
    with api_of(answering) as client:
        status_body = client.get("/status").json()
        (generation,) = client.get("/generations").json()
        metrics = client.get("/metrics").text
    freshness = answering.catalog.newest_freshness()
    assert freshness is not None
    assert freshness.generation == 1
    assert status_body["freshness"]["parts"] == dict(freshness.parts)
    assert status_body["freshness"]["seconds"] == freshness.seconds == pytest.approx(sum(freshness.parts.values()))
    assert generation["freshness"] == status_body["freshness"]
    for part, seconds in freshness.parts.items():
        assert f'tidemill_freshness_seconds{{part="{part}"}} {seconds}' in metrics
    assert CommandStatus.of(status(answering)).document()["freshness"] == status_body["freshness"]
    assert describe_freshness(freshness).startswith("generation 1 answered ")


def test_a_run_that_has_not_answered_has_none(answering: Run) -> None:
    assert CommandStatus.of(status(answering)).document()["freshness"] is None
    assert "freshness" not in json.dumps([asdict(record)["freshness"] for record in answering.catalog.generations()])


def test_a_new_generation_has_its_own(answering: Run) -> None:
    """Until its freshness is known, that of the one before is shown."""
    registry = ModelRegistry(answering)
    registry.refresh()
    seal(answering, 2, [{"id": 2}])
    publish(answering, 2, [2])
    registry.refresh()
    assert registry.snapshot.freshness is not None
    assert registry.snapshot.freshness.generation == 1
    seal(answering, 3, [{"id": 3}], times=BATCH)
    publish(answering, 3, [3], times=TRAINING)
    registry.refresh()
    assert registry.snapshot.freshness is not None
    assert registry.snapshot.freshness.generation == 3
    first, second, third = registry.snapshot.generations.of([1, 2, 3])
    assert (first.freshness is None, second.freshness is None, third.freshness is None) == (False, True, False)


def test_a_catalog_that_cant_be_written_stops_no_answer(answering: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API serves the generation, and records later since when."""
    registry, times = ModelRegistry(answering), list[float]()

    def refuse(generation: int, at: float) -> None:
        times.append(at)
        raise CatalogError("the disk is full", "free some space")

    with monkeypatch.context() as full:
        full.setattr(answering.catalog, "note_answered", refuse)
        registry.refresh()
        registry.refresh()
    assert registry.snapshot.newest is not None
    assert (registry.snapshot.unreadable, registry.snapshot.freshness) == (None, None)
    registry.refresh()
    freshness = registry.snapshot.freshness
    assert freshness is not None
    assert times[0] == times[1]
    assert freshness.answered_at == moment(times[0])


def test_a_commit_wakes_who_waits(catalog: Catalog) -> None:
    """Long before the time is over."""
    watch = CatalogWatch(catalog.path)
    waiting = Thread(target=watch.wait, args=(60.0, lambda: False), daemon=True)
    waiting.start()
    sealed_batch(catalog, 1)
    waiting.join(30.0)
    assert not waiting.is_alive()


def test_status_says_it_in_a_line(tmp_path: Path) -> None:
    """With the parts that took longest."""
    run = open_run(load("smart-home"), tmp_path / "run")
    sealed_batch(run.catalog, 1)
    published_generation(run.catalog, 1)
    run.catalog.note_answered(1, at=1008.75)
    run.close()
    said = call_command("status", "smart-home", "--run-dir", str(tmp_path / "run")).stdout
    line = (
        "freshness: generation 1 answered 8.75 s after its last row (fit 2.00, queue 1.00, prepare 1.00, publish 1.00)"
    )
    assert line in said.splitlines()
