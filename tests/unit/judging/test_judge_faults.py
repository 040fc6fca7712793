"""The judge of a run after crashes and faults, beside a person who chooses, and in a run of an older version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.support.failpoint_run import arm
from tests.support.judged_run import MODEL, JudgedRun, actions, fed, judged_without, planted, turned
from tests.support.kept_run import copy_of
from tidemill import schemas
from tidemill.errors import PromotionRefused
from tidemill.judging.promotion import promote
from tidemill.judging.verdict import VerdictReader
from tidemill.run.catalog import FILE_NAME, Catalog, GateDecision, GenerationRef
from tidemill.run.failpoints import FAILPOINTS, Crash
from tidemill.run.progress.status import judged
from tidemill.run.stage import Stopped

JUDGING_FAILPOINTS = [name for name in FAILPOINTS if name.startswith("judging.")]


@pytest.fixture(autouse=True)
def no_failpoints() -> Iterator[None]:
    yield
    arm("")


@pytest.mark.parametrize(("failpoint", "champion"), [("champion.choosing", 2), ("champion.chosen", 1)])
def test_a_crash_while_a_person_chooses(tmp_path: Path, failpoint: str, champion: int) -> None:
    """A choice is made whole or not at all."""
    run = fed(tmp_path, batches=2)
    arm(f"{failpoint}=error")
    with pytest.raises(Crash):
        promote(run.run, MODEL, GenerationRef(1), "why", "ada")
    assert run.champion() == champion
    assert [decision.action for decision in run.run.catalog.decisions()].count("chosen") == 2 - champion


def content(run: JudgedRun) -> dict[str, Any]:
    """All that judging recorded, but for times, and the sha256 of its files."""
    catalog = run.run.catalog

    def plain(record: object, *without: str) -> dict[str, Any]:
        return {key: value for key, value in asdict(record).items() if key not in without}  # type: ignore[call-overload]  # a dataclass

    return {
        "judgings": [plain(judging, "seconds") for judging in catalog.judgings()],
        "cells": catalog.cells(MODEL),
        "comparisons": catalog.comparisons(),
        "drifts": catalog.drifts(),
        "decisions": [plain(decision, "decided_at") for decision in catalog.decisions()],
        "champions": catalog.champions(),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return content(spoiled(JudgedRun(tmp_path_factory.mktemp("undisturbed"), *GATED)))


GATED = ("gate.policy=not-worse", "gate.margin=5%", "gate.evidence=provisional")


def spoiled(run: JudgedRun, first: int = 1) -> JudgedRun:
    """A run with a rollback and promotions, from batch ``first`` on."""
    for batch in range(first, 6):
        run.step(planted(1500, batch, weight_b=1.0 if batch == 3 else -1.0))
    return run


@pytest.mark.parametrize("evidence", ["settled", "provisional"])
@pytest.mark.parametrize("failpoint", JUDGING_FAILPOINTS)
def test_a_crash_leaves_the_same_verdicts(
    tmp_path: Path, undisturbed: dict[str, Any], failpoint: str, evidence: str
) -> None:
    """A trainer that dies at any step of judging leaves what the next one completes: the same matrix, decisions,
    champion and files."""
    run = JudgedRun(tmp_path, *GATED)
    for batch in range(1, 4):
        run.step(planted(1500, batch, weight_b=1.0 if batch == 3 else -1.0))
    sealed = run.seal(planted(1500, 4))
    if evidence == "provisional":
        run.judge.settle(sealed)

    def judge() -> None:
        run.judge.settle(sealed)
        run.publish(sealed)
        run.judge.provide(sealed)

    arm(f"{failpoint}=error")
    with pytest.raises(Crash):
        judge()
    run.new_judge().catch_up(run.run.catalog.generation_numbers("published"))
    run.judge.settle(sealed)
    if sealed not in run.run.catalog.generation_numbers("published"):
        run.publish(sealed)
    run.judge.provide(sealed)
    run.step(planted(1500, 5))
    assert content(run) == undisturbed
    assert not list(run.run.judgings.glob(".*"))


def test_a_generation_that_can_not_be_read(tmp_path: Path) -> None:
    """A scorer file that is gone is noted, and the other generations are judged; the next trainer repeats the look."""
    run, put_back = judged_without(tmp_path)
    looks = {(look.batch, look.evidence): look.error or "" for look in run.run.catalog.judgings()}
    assert looks[3, "provisional"] == ""
    for evidence in ("settled", "provisional"):
        assert looks[4, evidence].startswith(f"{MODEL}, generation 1: ")
        assert "can't be read" in looks[4, evidence]
    assert run.words()[4, "provisional"] == "paid"
    assert (4, "provisional") not in run.words("first")
    put_back()
    run.new_judge().catch_up([1, 2, 3, 4])
    assert all(look.error is None for look in run.run.catalog.judgings())
    assert run.words("first")[4, "provisional"] == "paid"


def test_no_error_names_the_run_folder(tmp_path: Path) -> None:
    """What clients of the API are told of a fault does not say where the run is on this machine."""
    run = fed(tmp_path, batches=2)
    (run.run.generations / "00001" / "scorers" / f"{MODEL}.npz").unlink()
    run.new_judge()
    run.judge.settle(run.seal(turned(3, 0)))
    run.run.catalog.begin_generation(3, [3], 10)
    run.run.catalog.fail_generation(3, f"can't write {run.run.folder}/generations/00003")
    told = VerdictReader(run.run).errors()
    for generation in (1, 3):
        with pytest.raises(PromotionRefused) as refused:
            promote(run.run, MODEL, GenerationRef(generation), "why", "ada")
        told.append(refused.value.message)
    assert len(told) == 3
    assert all("generations/0000" in text and str(tmp_path) not in text for text in told)


def test_a_batch_that_can_not_be_read(tmp_path: Path) -> None:
    """Where the file of a batch is damaged, the looks at it fail and are tried again; they stop nothing."""
    run = JudgedRun(tmp_path)
    for batch in range(1, 4):
        run.seal(turned(batch, 0))
        run.publish(batch)
    sealed = run.run.catalog.batch(2)
    assert sealed is not None
    path = run.run.folder / sealed.path
    content = path.read_bytes()
    path.write_bytes(b"damaged")
    run.new_judge().catch_up([1, 2, 3])
    looks = {(look.batch, look.evidence): look.error for look in run.run.catalog.judgings()}
    failed = {key for key, error in looks.items() if error}
    assert failed == {(2, "settled"), (2, "provisional"), (3, "settled")}  # generation 2 was trained on these rows
    assert "batch 2" in VerdictReader(run.run).errors()[0]
    path.write_bytes(content)
    run.new_judge().catch_up([1, 2, 3])
    assert all(look.error is None for look in run.run.catalog.judgings())


def test_a_request_to_stop_is_no_error_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a library raises an error of its own when it is interrupted, the look is left for the next trainer."""
    run = fed(tmp_path, batches=2)

    def interrupted(*_: object) -> None:
        try:
            raise Stopped
        finally:
            raise ValueError("closed while it was in use")

    monkeypatch.setattr("tidemill.judging.look.cell_of", interrupted)
    batch = run.seal(turned(3, 0))
    with pytest.raises(ValueError, match="closed"):
        run.judge.settle(batch)
    assert all(judging.batch < batch for judging in run.run.catalog.judgings())


def test_an_older_generation_that_was_trained_again_is_judged(tmp_path: Path) -> None:
    """The run needs a trainer until a generation that failed first was judged too, though newer ones were."""
    run = fed(tmp_path, batches=1)
    run.seal(turned(2, 0))
    run.judge.settle(2)
    run.step(turned(3, 0))
    assert judged(run.run)
    run.publish(2)
    assert not judged(run.run)
    run.new_judge().catch_up([1, 2, 3])
    assert judged(run.run)


def test_a_repeated_look_is_seen_by_a_reader_that_was_there_before(tmp_path: Path) -> None:
    """What a reader keeps of a schedule is computed again when a look that failed was repeated."""
    run = fed(tmp_path, batches=3)
    scorer = run.run.generations / "00001" / "scorers" / f"{MODEL}.npz"
    saved = scorer.read_bytes()
    scorer.unlink()
    run.new_judge()
    run.step(turned(4, 0))
    reader = VerdictReader(run.run)
    before = reader.schedule(MODEL)
    scorer.write_bytes(saved)
    run.new_judge().catch_up([1, 2, 3, 4])
    after = reader.schedule(MODEL)
    assert (before and before.best) is not None
    assert after == VerdictReader(run.run).schedule(MODEL) != before


def test_a_failed_generation_is_left_out(tmp_path: Path) -> None:
    """The generation after one that failed is compared with the newest that there is."""
    run = fed(tmp_path, batches=2)
    batch = run.seal(turned(3, 0))
    run.judge.settle(batch)
    run.run.catalog.begin_generation(batch, [batch], 10)
    run.run.catalog.fail_generation(batch, "no rows")
    run.step(turned(4, 0))
    record = next(record for record in run.run.catalog.comparisons(MODEL, range(4, 5)) if record.against == "previous")
    assert record.reference == 2
    assert run.champion() == 4


def no_decisions(generation: int) -> list[GateDecision]:
    return []


def test_a_run_of_an_older_version_is_judged_when_it_is_continued(tmp_path: Path) -> None:
    """Generations that were published without a decision are judged, and the next one is the champion."""
    run = JudgedRun(tmp_path)
    for batch in range(1, 4):
        run.seal(turned(batch, 0))
        run.judge.at_publication = no_decisions  # type: ignore[method-assign]  # as before there was a gate
        run.publish(batch)
    assert run.run.catalog.champions() == {}
    run.new_judge().catch_up([1, 2, 3])
    assert (3, "provisional") in run.words()
    assert VerdictReader(run.run).champion(MODEL) == GenerationRef(3)
    run.step(turned(4, 0))
    assert actions(run) == [("newest", 4, 4)]


def test_drifts_of_an_older_version(tmp_path: Path) -> None:
    """Of a look that an older version recorded it is not known what a column was and is; the rest is read."""
    catalog = Catalog(copy_of(4, tmp_path / "run") / FILE_NAME)
    drifts = catalog.drifts()
    assert {drift.batch for drift in drifts} == {2, 3}
    assert all(drift.before is None and drift.after is None for drift in drifts)
    assert all(schemas.DriftBody.of(drift).change == "" for drift in drifts)
    catalog.close()


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (0.3, 82.0, "mean 0.3 -> 82"),
        (-104.974, -104.962, "mean -104.97 -> -104.96"),
        (1234.2, 1234.6, "mean 1,234 -> 1,235"),
        (1234.1, 1234.2, "mean 1,234.1 -> 1,234.2"),
        (7.0, 7.0, "mean 7 -> 7"),
    ],
)
def test_what_changed_shows(before: float, after: float, change: str) -> None:
    """A mean that changed in a later digit is shown with that digit."""
    body = schemas.DriftBody(
        batch=2,
        column="x",
        test="ks",
        effect=0.2,
        p=0.01,
        flagged=True,
        reference=1,
        details={"measure": "mean"},
        before=before,
        after=after,
    )
    assert body.change == change


def test_settled_rows_were_seen_by_no_side(tmp_path: Path) -> None:
    """On all rows of a batch no generation is compared with a champion that was trained on them, as one that a person
    chose before the earlier ones were judged."""
    run = JudgedRun(tmp_path, "generations.scheme=cumulative")
    for batch in range(1, 5):
        run.seal(turned(batch, 0))
        run.judge.at_publication = no_decisions  # type: ignore[method-assign]  # as before there was a gate
        run.publish(batch)
    promote(run.run, MODEL, GenerationRef(3), "why", "ada")
    run.new_judge().catch_up([1, 2, 3, 4])
    settled = [record for record in run.run.catalog.comparisons() if record.evidence == "settled"]
    assert {record.generation for record in settled} == {1, 2, 3}
    assert all(record.reference < record.batch for record in settled if record.reference)


@pytest.mark.parametrize(("policy", "champion"), [("manual", 3), ("better", 4)])
def test_a_run_of_an_older_version_gets_a_gate(tmp_path: Path, policy: str, champion: int) -> None:
    """Where nothing was decided yet, the generation that served becomes the champion, which later ones have to beat."""
    run = JudgedRun(tmp_path, f"gate.policy={policy}")
    for batch in range(1, 4):
        run.seal(turned(batch, 0))
        run.judge.at_publication = no_decisions  # type: ignore[method-assign]  # as before there was a gate
        run.publish(batch)
    run.new_judge().catch_up([1, 2, 3])
    for batch in (4, 5):
        run.step(turned(batch, 0))
    assert actions(run)[0] == ("first", 3, 3)
    assert run.champion() == champion


def test_a_failed_generation_of_an_older_version_is_trained_again(tmp_path: Path) -> None:
    """A generation older than the one that serves does not take over by its publication."""
    run = JudgedRun(tmp_path)
    for batch in range(1, 4):
        run.seal(turned(batch, 0))
        run.judge.at_publication = no_decisions  # type: ignore[method-assign]  # as before there was a gate
        if batch != 2:
            run.publish(batch)
    run.new_judge().catch_up([1, 3])
    run.publish(2)
    run.judge.provide(2)
    assert actions(run) == []
    assert VerdictReader(run.run).champion(MODEL) == GenerationRef(3)


def test_decisions_of_two_writers_are_in_order(tmp_path: Path) -> None:
    """What a person chose while a generation was published is replaced by it, and both are recorded."""
    run = fed(tmp_path, batches=2)
    run.run.catalog.decide_champion(GateDecision(MODEL, "chosen", 1, 1, 2, "ada", "why"))
    run.step(turned(3, 0))
    assert actions(run)[-2:] == [("chosen", 1, 1), ("newest", 3, 3)]
    assert run.run.catalog.decisions()[-1].former == 1


@pytest.mark.parametrize("policy", ["manual", "not-worse"])
def test_a_choice_while_a_generation_is_judged_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """What a person chooses while the gate computes is not replaced by what the gate found about the champion before:
    that is recorded, but changes nothing."""
    run = fed(tmp_path, f"gate.policy={policy}", "gate.margin=5%", batches=4)
    batch = run.seal(turned(5, 0))
    run.judge.settle(batch)
    run.publish(batch)
    record = run.run.catalog.save_judging

    def after_a_choice(*judging: Any) -> list[GateDecision]:
        promote(run.run, MODEL, GenerationRef(3), "why not", "ada")
        return record(*judging)

    monkeypatch.setattr(run.run.catalog, "save_judging", after_a_choice)
    run.judge.provide(batch)
    assert run.champion() == 3
    assert actions(run)[-2:] == [("chosen", 3, 3), ("held", 5, 3)]
    assert "generation 3 was chosen in the meantime" in run.run.catalog.decisions()[-1].because
    monkeypatch.undo()
    run.judge.settle(run.seal(turned(6, 0)))
    assert run.champion() == 3


def test_a_choice_before_a_generation_was_judged_stands(tmp_path: Path) -> None:
    """A trainer that starts again judges what a crash left unjudged, and leaves it where a person passed it over."""
    run = fed(tmp_path, "gate.policy=not-worse", "gate.margin=20%", batches=3)
    run.judge.settle(run.seal(turned(4, 0)))
    run.publish(4)
    promote(run.run, MODEL, GenerationRef(2), "why not", "ada")
    run.new_judge().catch_up([1, 2, 3, 4])
    assert (4, "provisional") in run.words()
    run.judge.settle(run.seal(turned(5, 0)))
    assert run.champion() == 2
    run.publish(5)
    run.judge.provide(5)
    assert run.champion() == 5
