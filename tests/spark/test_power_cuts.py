"""After a power cut at any step, with all gone that was not synced, a run goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pyspark.sql import SparkSession

from tests.support.commands import digests
from tests.support.failpoint_run import described
from tests.support.memory_log import HandClock, MemoryLog, MemoryReader, one_column, own_stream
from tests.support.power import MODES, Cuts, PowerDisk, at_failpoints, watched
from tests.support.training_run import SMALL, quiet_stage, seal_tables, table_of
from tidemill.collector.collector import recover, take_up
from tidemill.collector.cutter import Rules
from tidemill.pipeline import load
from tidemill.run import files
from tidemill.run.failpoints import FAILPOINTS
from tidemill.run.folder import Run, join_run, open_run
from tidemill.run.integrity import check_batch, side_table
from tidemill.run.stage import Stage
from tidemill.sources.source import open_tables
from tidemill.sources.tables import read_tables
from tidemill.training.trainer import Trainer, work

TWO_PARTITIONS = one_column(rows=5, partitions=2)
WHERE = Path("runs", "cut")
ROWS = 13
SEALING = {name for name in FAILPOINTS if name.startswith(("batch.", "rejects.", "stream."))}


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="tidemill-power-") as name:
        yield Path(name)


# --- the disk itself --------------------------------------------------------------------------------------------------


def left(disk: PowerDisk, into: Path) -> dict[str, dict[str, str]]:
    """For each way of losing power the files that are left, with their content."""
    found: dict[str, dict[str, str]] = {}
    for names in MODES:
        disk.after_cut(into / names, names)
        paths = [path for path in sorted((into / names).rglob("*")) if path.is_file()]
        found[names] = {path.relative_to(into / names).as_posix(): path.read_text() for path in paths}
    return found


def test_what_a_disk_forgets(folder: Path) -> None:
    """A file that is not synced loses its content, one whose folder is not synced its name, and a removal is undone."""
    with watched(folder / "disk") as disk:
        old, new = disk.root / "old", disk.root / "new"
        old.write_text("old")
        files.sync(old)
        files.sync(disk.root)
        new.write_text("new")
        files.sync(new)
        new.write_text("newer")
        old.unlink()
        for number in range(20):  # none of which is given the number of the one that is gone
            (disk.root / f"more-{number}").write_text("more")
            files.sync(disk.root / f"more-{number}")
        (folder / "first").mkdir()
        contents = left(disk, folder / "first")
        assert contents["lost"] == {"old": "old"}
        assert contents["kept"] == {"new": "new"} | {f"more-{number}": "more" for number in range(20)}
        files.sync(new)
        new.rename(disk.root / "renamed")
        files.sync(disk.root)
        (folder / "second").mkdir()
        contents = left(disk, folder / "second")
        assert contents["lost"] == contents["kept"]
        assert contents["lost"]["renamed"] == "newer"


# --- a run's beginning ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", MODES)
def test_a_run_that_was_begun_is_still_there(folder: Path, names: Any) -> None:
    """What a run is known by, which its topic's marks name, is not lost once it is begun: its folder and those above it
    are on the disk."""
    with watched(folder / "disk") as disk:
        run = open_run(TWO_PARTITIONS, disk.root / WHERE)
        disk.after_cut(folder / "after", names)
        assert join_run(TWO_PARTITIONS, folder / "after" / WHERE).id == run.id
        run.close()


def test_a_commit_is_synced(folder: Path) -> None:
    """The catalog is in the mode in which SQLite syncs each commit, on which all of this stands."""
    run = open_run(TWO_PARTITIONS, folder / "run")
    with run.catalog.engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
    run.close()


# --- sealing ----------------------------------------------------------------------------------------------------------


def written_log() -> MemoryLog:
    """Rows over two partitions with junk in each, and behind the last row too."""
    log = MemoryLog(2)
    log.append(0, None, 0, "claim")
    for number in range(ROWS):
        log.append(number % 2, orjson.dumps({"n": number}), number)
        if number % 4 == 0:
            log.append(number % 2, b"no json", number)
            log.skip(number % 2)
    for partition in (0, 1):
        log.append(partition, b"behind the last", ROWS)
        log.append(partition, None, ROWS, "end")
    return log


def collect(run: Run, log: MemoryLog) -> None:
    recover(run)
    clock = HandClock()
    take_up(Stage(run, "collector"), own_stream(run, MemoryReader(log, clock)), Rules(rows=5), clock=clock).collect()


def rows_of(run: Run) -> list[int]:
    paths = [run.folder / batch.path for batch in run.catalog.batches()]
    return [number for path in paths for number in pq.read_table(path)["n"].to_pylist()]


def test_a_power_cut_at_each_step_of_sealing_loses_no_row(folder: Path) -> None:
    """Wherever the power goes while batches are sealed, what the catalog calls sealed is whole, and the next collector
    makes the batches and rejects of an undisturbed run, to the byte, and nothing besides."""
    log = written_log()
    with watched(folder / "disk") as disk:
        run = open_run(TWO_PARTITIONS, disk.root / WHERE)
        cuts = Cuts(disk, folder / "cuts")
        with at_failpoints(cuts.take):
            collect(run, log)
        run.close()
    assert cuts.passed == SEALING
    assert sorted(rows_of(run)) == list(range(ROWS))
    for after in cuts.folders:
        again = open_run(TWO_PARTITIONS, after / WHERE)
        before = again.catalog.batches()
        for batch in before:
            check_batch(again, batch)
        if not again.catalog.ended():
            collect(again, log)
        assert described(again.catalog.batches()) == described(run.catalog.batches()), after.name
        assert again.catalog.batches()[: len(before)] == before
        assert again.catalog.ended() == run.catalog.ended()
        for part in ("batches", "rejects"):
            assert digests(again.folder / part) == digests(run.folder / part), after.name
        again.close()


# --- side tables ------------------------------------------------------------------------------------------------------


def test_a_power_cut_while_a_side_table_is_read_loses_none_of_it(folder: Path) -> None:
    """A table that the catalog names is there with its rejects, whenever the power goes; one that it does not is read
    again."""
    (folder / "data").mkdir()
    (folder / "data" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")
    (folder / "data" / "movies.csv").write_text("movieId,title,genres\n1,one,a\nx,none,b\n2,two,c\n")
    loaded = load("movie-ratings", data=str(folder / "data" / "ratings.csv"))
    with watched(folder / "disk") as disk:
        run = open_run(loaded, disk.root / WHERE)
        cuts = Cuts(disk, folder / "cuts")
        disk.before_sync = cuts.take
        read_tables(Stage(run, "producer"), open_tables(run.pipeline, run.base))
        cuts.take("done")
        run.close()
    recorded = 0
    for after in cuts.folders:
        again = open_run(loaded, after / WHERE)
        recorded += len(again.catalog.side_tables())
        read_tables(Stage(again, "producer"), open_tables(again.pipeline, again.base))
        assert side_table(again, "movies").to_pylist() == side_table(run, "movies").to_pylist()
        assert digests(again.rejects) == digests(run.rejects)
        again.close()
    assert 0 < recorded < len(cuts.folders)


# --- generations ------------------------------------------------------------------------------------------------------

PUBLISHING = {name for name in FAILPOINTS if name.startswith(("generation.", "judging."))}


def assert_generations_whole(run: Run, wanted: dict[int, dict[str, str]]) -> None:
    """The generations that are published have all of their files, and nothing stands beside them."""
    published = run.catalog.generations(state="published")
    for generation in published:
        assert digests(run.generations / f"{generation.generation:05d}") == wanted[generation.generation]
        for model in generation.models.values():
            assert files.sha256(run.folder / model.scorer_path) == model.sha256
    assert {path.name for path in run.generations.iterdir()} == {
        f"{generation.generation:05d}" for generation in published
    }
    for judging in run.catalog.judgings():
        assert judging.path is None or files.sha256(run.folder / judging.path) == judging.sha256


def test_a_power_cut_at_each_step_of_publishing_leaves_generations_whole(spark: SparkSession, folder: Path) -> None:
    """Wherever the power goes while generations are published, each that the catalog calls published has all of its
    files, the trainer that comes next throws away what is not, and trains it again."""
    (folder / "small.toml").write_text(SMALL)
    loaded = load(str(folder / "small.toml"))
    with watched(folder / "disk") as disk:
        run = open_run(loaded, disk.root / WHERE)
        rows = [{"x": float(x), "y": 2.0 * x + x % 7} for x in range(80)]
        seal_tables(run, [table_of(run, rows[:40]), table_of(run, rows[40:])])
        files.sync_tree(run.batches)
        cuts = Cuts(disk, folder / "cuts")
        with at_failpoints(cuts.take):
            work(quiet_stage(run), spark)
        run.close()
    assert cuts.passed == PUBLISHING
    wanted = {number: digests(run.generations / f"{number:05d}") for number in (1, 2)}
    judged = [(judging.batch, judging.evidence, judging.sha256) for judging in run.catalog.judgings()]
    for after in cuts.folders:
        again = open_run(loaded, after / WHERE)
        Trainer(quiet_stage(again), spark).take_up()
        assert_generations_whole(again, wanted)
        if again.catalog.newest_generation() == 1 and "generation.renamed" in after.name:
            work(quiet_stage(again), spark)
            assert [(look.batch, look.evidence, look.sha256) for look in again.catalog.judgings()] == judged
            assert [generation.generation for generation in again.catalog.generations(state="published")] == [1, 2]
            assert digests(again.generations / "00001") == wanted[1]
        again.close()
