"""The files of row losses, and looks that are repeated: what the catalog names is there, whatever happens."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import structlog

from tests.support.failpoint_run import arm
from tests.support.judged_run import MODEL, JudgedRun, fed, judged_without, turned
from tests.support.training_run import quiet_stage
from tidemill.errors import DiskError
from tidemill.judging.loss_file import LossFile, sweep
from tidemill.run import files
from tidemill.run.catalog import Judging
from tidemill.run.failpoints import Crash
from tidemill.run.files import sha256
from tidemill.run.progress.status import judged
from tidemill.training import session, trainer


@pytest.fixture(autouse=True)
def no_failpoints() -> Iterator[None]:
    yield
    arm("")


def look_of(run: JudgedRun, batch: int, evidence: str) -> Judging:
    return next(look for look in run.run.catalog.judgings() if (look.batch, look.evidence) == (batch, evidence))


def names_in(run: JudgedRun) -> set[str]:
    return {path.name for path in run.run.judgings.iterdir()}


def named(run: JudgedRun) -> set[str]:
    return {Path(look.path).name for look in run.run.catalog.judgings() if look.path}


def assert_named_files_are_there(run: JudgedRun) -> None:
    for look in run.run.catalog.judgings():
        assert look.path is None or sha256(run.run.folder / look.path) == look.sha256


@pytest.mark.parametrize("failpoint", ["synced", "renamed", "placed", "recording", "recorded", None])
def test_the_record_of_a_repeated_look_names_a_file_that_is_there(tmp_path: Path, failpoint: str | None) -> None:
    """A look that is repeated writes another file and leaves the recorded one, wherever it is interrupted; the next
    judge removes what no record names, and nothing else."""
    run, put_back = judged_without(tmp_path)
    put_back()
    before = look_of(run, 4, "provisional")
    run.new_judge().settle(4)
    arm(f"judging.{failpoint}=error" if failpoint else "")
    if failpoint:
        with pytest.raises(Crash):
            run.judge.provide(4)
    else:
        run.judge.provide(4)
    assert_named_files_are_there(run)
    assert before.path is not None
    assert (run.run.folder / before.path).exists()
    run.new_judge().catch_up([1, 2, 3, 4])
    assert_named_files_are_there(run)
    run.new_judge().catch_up([1, 2, 3, 4])
    assert names_in(run) == named(run)
    assert look_of(run, 4, "provisional").path != before.path


def test_only_files_of_losses_that_no_record_names_are_swept(tmp_path: Path) -> None:
    """A judge that starts leaves named files, under the names of older versions too, those of replays, and whatever is
    not a file of losses."""
    run = fed(tmp_path, batches=2)
    look = look_of(run, 2, "settled")
    older = run.run.judgings / "00002-settled.parquet"
    (run.run.folder / str(look.path)).rename(older)
    with run.run.catalog.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE judgings SET path = ? WHERE path = ?", (run.run.relative(older), look.path))
    (run.run.judgings / "windowed").mkdir()
    kept = {"notes.txt", "windowed/00002-settled-ab12.parquet", "00003.parquet"}
    swept = {"00002-provisional.parquet", "00009-settled-ab12.parquet", ".00003-settled.parquet.tmp"}
    for name in kept | swept:
        (run.run.judgings / name).write_text("x")
    assert sweep(run.run) == sorted(swept)
    assert names_in(run) == named(run) | {"notes.txt", "windowed", "00003.parquet"}
    assert older.name in named(run)
    assert sweep(run.run, "windowed") == ["00002-settled-ab12.parquet"]
    assert sweep(run.run, "sliding-2") == []


def full(*_: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("where", "name"), [(LossFile, "_open"), (files, "publish")])
def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """Where the losses can't be written, it is no model's fault: the look is not recorded, so it is repeated."""
    run = fed(tmp_path, batches=2)
    batch = run.seal(turned(3, 0))
    with monkeypatch.context() as patched:
        patched.setattr(where, name, full)
        with pytest.raises(
            DiskError, match=r"can't write the losses .*00003-settled.*: No space left on device"
        ) as told:
            run.judge.settle(batch)
    assert "free some space" in told.value.hint
    assert all(look.batch < batch for look in run.run.catalog.judgings())
    assert names_in(run) == named(run)
    run.judge.settle(batch)
    assert look_of(run, 3, "settled").error is None


def test_a_look_that_is_interrupted_leaves_no_file(tmp_path: Path) -> None:
    """What was written of the losses is removed where the look does not end."""
    run = fed(tmp_path, batches=1)
    batch = run.seal(turned(2, 0))
    arm("judging.computed=error")
    with pytest.raises(Crash):
        run.judge.settle(batch)
    assert names_in(run) == named(run)


# --- repeated looks -------------------------------------------------------------------------------------------------


def test_a_look_with_an_error_is_repeated_by_each_trainer_once(tmp_path: Path) -> None:
    """A run that is done needs a trainer again while a look ended with an error; it repeats that look once."""
    run, put_back = judged_without(tmp_path)
    assert not judged(run.run)
    run.new_judge().catch_up([1, 2, 3, 4])
    seconds = look_of(run, 4, "settled")
    assert not judged(run.run)
    put_back()
    run.judge.catch_up([1, 2, 3, 4])
    assert look_of(run, 4, "settled") == seconds  # not again by the same trainer
    run.new_judge().catch_up([1, 2, 3, 4])
    assert judged(run.run)
    assert look_of(run, 4, "settled").error is None


def test_an_error_of_settled_evidence_alone_is_repeated(tmp_path: Path) -> None:
    """An error of either look calls for another trainer."""
    run, put_back = judged_without(tmp_path)
    put_back()
    run.new_judge().provide(4)
    assert look_of(run, 4, "provisional").error is None
    assert not judged(run.run)


def test_a_repeated_look_compares_with_the_champion_of_then(tmp_path: Path) -> None:
    """Where the gate has decided nothing about a generation, as its look ended with an error, it is compared with the
    one that served when it was published, not with a champion of later."""
    run = fed(tmp_path, "gate.policy=better", batches=2)
    run.judge.settle(run.seal(turned(3, 0)))
    run.publish(3)
    scorer = run.run.generations / "00003" / "scorers" / f"{MODEL}.npz"
    saved = scorer.read_bytes()
    scorer.unlink()
    run.judge.provide(3)
    scorer.write_bytes(saved)
    run.new_judge()
    for batch in (4, 5):
        run.step(turned(batch, 0))
    assert run.champion() == 4
    run.new_judge().catch_up(range(1, 6))
    assert look_of(run, 3, "provisional").error is None
    compared = {
        (record.against, record.evidence): record.reference
        for record in run.run.catalog.comparisons(MODEL, range(3, 4))
        if record.decides
    }
    assert compared["champion", "provisional"] == compared["champion", "settled"] == 1
    assert compared["serving", "provisional"] == 4


def test_a_trainer_that_only_judges_starts_no_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer of a run that is done repeats the looks that ended with an error, without Spark."""
    run, put_back = judged_without(tmp_path)
    put_back()
    run.run.catalog.end_stream({0: 10**9}, {0: 0})
    monkeypatch.setattr(session, "session", full)
    trainer.run_trainer(quiet_stage(run.run), None)
    assert judged(run.run)


def test_a_loss_file_is_read_under_its_name(tmp_path: Path) -> None:
    """The name has the batch, the evidence and the start of the sha256; equal losses have equal names."""
    run = fed(tmp_path, batches=2)
    look = look_of(run, 2, "settled")
    assert look.sha256 is not None
    assert look.path == f"judgings/00002-settled-{look.sha256[:12]}.parquet"
    assert pq.read_table(run.run.folder / look.path).num_rows > 0
    again = fed(tmp_path / "again", batches=2)
    assert names_in(again) == names_in(run)


def test_the_log_says_what_was_swept(tmp_path: Path) -> None:
    """Files that are removed are in the trainer's log."""
    run = fed(tmp_path, batches=1)
    (run.run.judgings / "00007-settled-ab12.parquet").write_text("x")
    with structlog.testing.capture_logs() as logs:
        run.new_judge().catch_up([1])
    assert [log["names"] for log in logs if "names" in log] == [["00007-settled-ab12.parquet"]]
