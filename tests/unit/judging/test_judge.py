"""The judge of a run: what it says of planted data, what it decides, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.failpoint_run import arm
from tests.support.judged_run import DOCUMENT, MODEL, JudgedRun, planted
from tidemill.errors import NotFound, ParameterError, PromotionRefused
from tidemill.judging import gate
from tidemill.judging.comparisons import Comparison, Margin
from tidemill.judging.holdout import held_out
from tidemill.judging.kept import kept
from tidemill.judging.promotion import promote
from tidemill.judging.schemes import scheme_bodies
from tidemill.judging.verdict import VerdictReader
from tidemill.pipeline import Gate
from tidemill.run.catalog import GateDecision, Judging
from tidemill.run.failpoints import FAILPOINTS, Crash
from tidemill.run.progress.status import judged
from tidemill.run.stage import Stopped

NOTHING = ("no difference", "can't tell")
JUDGING_FAILPOINTS = [name for name in FAILPOINTS if name.startswith("judging.")]


@pytest.fixture(autouse=True)
def no_failpoints() -> Iterator[None]:
    yield
    arm("")


def turned(batch: int, seed: int, rows: int = 2000) -> pa.Table:
    """Rows of a relation that turns round after batch 3."""
    return planted(rows, 100 * seed + batch, weight_b=-1.0 if batch <= 3 else 1.0, noise=0.3)


def fed(folder: Path, *assignments: str, batches: int = 6, seed: int = 0) -> JudgedRun:
    """A judged run of the relation that turns round."""
    run = JudgedRun(folder, *assignments)
    for batch in range(1, batches + 1):
        run.step(turned(batch, seed))
    return run


def actions(run: JudgedRun) -> list[tuple[str, int, int]]:
    """The decisions: the action, the generation that it is about, the champion from then on."""
    return [(decision.action, decision.generation, decision.champion) for decision in run.run.catalog.decisions()]


# --- what it says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_relation_that_turns_round(tmp_path: Path, seed: int) -> None:
    """The first generation after the turn paid, against the one before and the champion; those before it did not."""
    run = fed(tmp_path, seed=seed)
    for against in ("previous", "champion"):
        words = run.words(against)
        assert words[4, "provisional"] == words[4, "settled"] == "paid"
        assert all(words[number, evidence] in NOTHING for number in (2, 3) for evidence in ("provisional", "settled"))
        assert words[5, "provisional"] in NOTHING
    schedule = VerdictReader(run.run).schedule(MODEL)
    assert schedule is not None
    assert (schedule.paid, schedule.retrainings, schedule.best) == (1, 5, [1, 4])


def test_a_label_that_has_nothing_to_learn(tmp_path: Path) -> None:
    """A model of noise is not better than the mean, and the sentence says so."""
    run = JudgedRun(tmp_path)
    for batch in range(1, 4):
        run.step(planted(3000, batch, weight_a=0.0, weight_b=0.0))
    words = run.words("trivial")
    assert all(word in NOTHING for word in words.values())
    assert "nothing to learn" in VerdictReader(run.run).whole().models[MODEL].sentence


def test_nothing_to_judge_on_yet(tmp_path: Path) -> None:
    """Without a holdout and before the next batch there is no verdict, and the sentence says what it waits for."""
    run = JudgedRun(tmp_path, "generations.holdout.share=0")
    assert VerdictReader(run.run).whole().models[MODEL].sentence == "Nothing to judge on until batch 1 is sealed."
    run.step(turned(1, 0))
    assert VerdictReader(run.run).whole().models[MODEL].sentence == "Nothing to judge on until batch 2 is sealed."
    run.step(turned(2, 0))
    verdict = VerdictReader(run.run).whole().models[MODEL]
    assert verdict.generation == 1
    assert set(run.words("trivial")) == {(1, "settled")}


def test_the_matrix_has_the_losses_of_the_rows(tmp_path: Path) -> None:
    """A settled cell is the mean over all rows of the batch, a provisional one over those held out, and the file beside
    has each row's loss."""
    run = fed(tmp_path, batches=3)
    cells = {
        (cell.generation, cell.batch, cell.evidence): cell for cell in run.run.catalog.cells(MODEL) if not cell.trivial
    }
    assert set(cells) == {
        (1, 1, "provisional"),
        *((number, 2, "provisional") for number in (1, 2)),
        *((number, 3, "provisional") for number in (1, 2, 3)),
        (1, 2, "settled"),
        *((number, 3, "settled") for number in (1, 2)),
    }
    judging = next(look for look in run.run.catalog.judgings() if (look.batch, look.evidence) == (3, "provisional"))
    assert judging.path is not None
    losses = pa.parquet.read_table(run.run.folder / judging.path).to_pandas()
    own = losses[(losses.generation == 3) & ~losses.trivial]
    assert own.loss.mean() == pytest.approx(cells[3, 3, "provisional"].mean)
    rows = run.judge.rows.of(3)
    assert own.unit.tolist() == rows.held_rows.tolist()
    weights = run.judge._models[MODEL].scorer(3)
    table = rows.table.take(pa.array(rows.held_rows))
    errors = np.abs(weights.column(table).to_numpy() - table["y"].to_numpy())  # type: ignore[attr-defined]  # a RowScorer
    np.testing.assert_allclose(own.loss, errors)


def test_few_generations_are_kept() -> None:
    """A batch is judged by O(log) of the generations before it, the first, the two newest and those serving among
    them."""
    published = list(range(1, 1001))
    assert kept(published, 1, []) == []
    assert kept(published, 3, []) == [1, 2]
    assert kept(published, 20, [7]) == [1, 4, 7, 12, 16, 18, 19]
    assert len(kept(published, 1001, [500, 600])) <= 15
    assert kept([1, 3, 9], 11, []) == [1, 3, 9]


# --- the gate -----------------------------------------------------------------------------------------------------


def test_the_newest_serves_by_default(tmp_path: Path) -> None:
    """Under ``report`` each generation serves from its publication on, whatever the verdict."""
    run = fed(tmp_path, batches=5)
    assert actions(run) == [("first", 1, 1), *(("newest", number, number) for number in range(2, 6))]


def test_better_promotes_what_paid(tmp_path: Path) -> None:
    """Under ``better`` a generation serves once the verdict is ``paid``; the others are held, with the reason."""
    run = fed(tmp_path, "gate.policy=better")
    assert run.champion() == 4
    assert [action for action in actions(run) if action[0] != "held"] == [("first", 1, 1), ("promoted", 4, 4)]
    held = {decision.generation: decision for decision in run.run.catalog.decisions() if decision.action == "held"}
    assert set(held) == {2, 3, 5, 6}
    assert "the policy is better" in held[2].because
    assert held[2].figures is not None
    assert held[2].figures["word"] in NOTHING


def test_not_worse_promotes_what_does_not_cost(tmp_path: Path) -> None:
    """Under ``not-worse`` a generation that is as good as the champion serves."""
    run = fed(tmp_path, "gate.policy=not-worse", "gate.margin=5%")
    assert run.champion() == 6
    assert ("promoted", 2, 2) in actions(run)


def test_not_worse_promotes_what_is_perfect_too(tmp_path: Path) -> None:
    """Where the champion has no loss, 1 % of it is nothing; a generation without any loss is no worse."""
    same = Comparison(500, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "no difference", None, 0.0, 20, {})
    worse = Comparison(500, 0.1, 0.0, -0.1, -0.1, -0.1, 0.0, "cost", None, 0.0, 20, {})
    for comparison, serves in ((same, True), (worse, False)):
        candidate = gate.Candidate(MODEL, Gate(policy="not-worse"), 2, 1, comparison)
        (test,) = gate.at_level([candidate], 1, taking_back=False)
        assert gate.may_serve(test) is serves


def test_manual_waits_for_a_person(tmp_path: Path) -> None:
    """Under ``manual`` the first generation serves until a person chooses another; then that one stays."""
    run = fed(tmp_path, "gate.policy=manual", batches=4)
    assert run.champion() == 1
    decision = promote(run.run, MODEL, 4, "it knows the turn", "ada")
    assert (decision.action, decision.former, decision.by) == ("chosen", 1, "ada")
    run.step(turned(5, 0))
    assert run.champion() == 4


def test_settled_evidence_decides_one_batch_later(tmp_path: Path) -> None:
    """With ``evidence = "settled"`` a generation is held until the next batch is sealed, and promoted then."""
    run = fed(tmp_path, "gate.policy=better", "gate.evidence=settled", batches=4)
    assert run.champion() == 1
    run.judge.settle(run.seal(turned(5, 0)))
    assert run.champion() == 4
    promoted = run.run.catalog.decisions(generations=range(4, 5))[-1]
    assert (promoted.action, promoted.evidence, promoted.batch) == ("promoted", "settled", 5)


def test_too_few_rows_hold_a_generation(tmp_path: Path) -> None:
    """The gate decides on no fewer rows than ``min_rows``, and says so."""
    run = fed(tmp_path, "gate.policy=better", "gate.min_rows=5000", batches=4)
    assert run.champion() == 1
    assert "min_rows is 5,000" in run.run.catalog.decisions(generations=range(4, 5))[-1].because


def test_each_model_may_have_its_own_gate(tmp_path: Path) -> None:
    """``[models.NAME.gate]`` overrides single settings of ``[gate]``."""
    run = JudgedRun(tmp_path, "gate.margin=2%", f"models.{MODEL}.gate.policy=manual")
    own = run.run.pipeline.gate_of(MODEL)
    assert (own.policy, own.margin, own.min_rows) == ("manual", "2%", 300)


@pytest.mark.parametrize("seed", range(3))
def test_spoiled_labels_cost_and_are_taken_back_once(tmp_path: Path, seed: int) -> None:
    """A generation that was trained on spoiled labels costs; the champion before it serves again from the next batch
    on, and the gate does not change that again."""
    run = JudgedRun(tmp_path)
    for batch in range(1, 3):
        run.step(planted(2000, 10 * seed + batch))
    run.step(planted(2000, 10 * seed + 3), spoil=1.0)
    assert run.champion() == 3
    run.judge.settle(run.seal(planted(2000, 10 * seed + 4)))
    assert run.words()[3, "settled"] == "cost"
    assert run.champion() == 2
    run.judge.settle(run.seal(planted(2000, 10 * seed + 5)))  # generation 4 failed: the same two are compared again
    assert [action[0] for action in actions(run)].count("rolled back") == 1
    assert run.champion() == 2


def test_without_rollback_the_verdict_only_says_so(tmp_path: Path) -> None:
    """Without ``rollback`` a generation that costs goes on serving."""
    run = JudgedRun(tmp_path, "gate.rollback=false")
    for batch in range(1, 3):
        run.step(planted(2000, batch), spoil=float(batch == 2))
    run.judge.settle(run.seal(planted(2000, 3)))
    assert (run.words()[2, "settled"], run.champion()) == ("cost", 2)


@pytest.mark.parametrize("seed", range(3))
def test_spoiled_labels_never_serve_behind_the_gate(tmp_path: Path, seed: int) -> None:
    """Under ``not-worse`` a generation that was trained on spoiled labels never serves: the held-out rows tell."""
    run = JudgedRun(tmp_path, "gate.policy=not-worse", "gate.margin=5%")
    for batch in range(1, 5):
        run.step(planted(2000, 10 * seed + batch), spoil=float(batch == 3))
    assert ("promoted", 2, 2) in actions(run)
    assert all(champion != 3 for _, _, champion in actions(run))
    assert run.champion() == 4


def test_labels_spoiled_at_the_source_are_seen_when_the_evidence_is_settled(tmp_path: Path) -> None:
    """Held-out rows share a fault of their batch's labels, so provisional evidence can't see it; the next batch can."""
    run = JudgedRun(tmp_path, "gate.policy=better", "gate.evidence=settled")
    for batch in range(1, 5):
        run.step(planted(2000, batch, weight_b=1.0 if batch == 3 else -1.0))
    assert run.words()[3, "provisional"] == "paid"
    assert run.words()[3, "settled"] == "cost"
    assert run.champion() == 1


def test_a_choice_of_a_person_is_not_taken_back(tmp_path: Path) -> None:
    """The gate takes back only what it promoted."""
    run = JudgedRun(tmp_path)
    for batch in range(1, 4):
        run.step(planted(2000, batch), spoil=float(batch == 2))
    promote(run.run, MODEL, 2, "to see what it does", "ada")
    run.judge.settle(run.seal(planted(2000, 4)))
    assert run.champion() == 2


def test_what_a_person_replaced_by_an_older_one_stays_replaced(tmp_path: Path) -> None:
    """The gate does not promote again a generation in whose place a person chose an older one."""
    run = JudgedRun(tmp_path, "gate.policy=not-worse", "gate.margin=20%", "gate.evidence=settled")
    for batch in range(1, 4):
        run.step(planted(2000, batch))
    run.judge.settle(run.seal(planted(2000, 4)))
    assert run.champion() == 3
    promote(run.run, MODEL, 2, "3 answers nonsense for one house", "ada")
    run.judge.settle(run.seal(planted(2000, 5)))  # generation 4 failed
    assert run.champion() == 2
    run.step(planted(2000, 6))
    run.judge.settle(run.seal(planted(2000, 7)))
    assert run.champion() == 6


@pytest.mark.parametrize("margin", ["0.00001%", "99.99999%", "1 %", "2.50%"])
def test_every_margin_of_a_pipeline_file_is_understood(tmp_path: Path, margin: str) -> None:
    """What a pipeline file may say is what the judge can read, however small or large the share."""
    run = JudgedRun(tmp_path, f'gate.margin="{margin}"')
    assert Margin.parse(run.run.pipeline.gate.margin).relative == pytest.approx(float(margin.rstrip("% ")) / 100)


@pytest.mark.parametrize(
    ("model", "generation", "because", "by", "error", "text"),
    [
        ("valeu", 1, "why", "ada", NotFound, "there is no model"),
        (MODEL, 9, "why", "ada", NotFound, "there is no generation 9"),
        (MODEL, 1, " ", "ada", ParameterError, "because is empty"),
        (MODEL, 1, "why", "a" * 501, ParameterError, "501 characters"),
        (MODEL, 2, "why", "ada", PromotionRefused, "serves already"),
        (MODEL, 3, "why", "ada", PromotionRefused, "generation 3 failed: no rows"),
        (MODEL, 4, "why", "ada", PromotionRefused, "still being trained"),
        (MODEL, 1, "why", "ada", PromotionRefused, "can't be served"),
    ],
)
def test_a_choice_that_is_refused(
    tmp_path: Path, model: str, generation: int, because: str, by: str, error: type[Exception], text: str
) -> None:
    """A generation that failed, is missing, in training or damaged can't be chosen; nothing changes."""
    run = fed(tmp_path, batches=2)
    catalog = run.run.catalog
    catalog.begin_generation(3, [3], 10)
    catalog.fail_generation(3, "no rows")
    catalog.begin_generation(4, [4], 10)
    if text == "can't be served":
        (run.run.generations / "00001" / "scorers" / f"{MODEL}.npz").unlink()
    before = catalog.decisions()
    with pytest.raises(error, match=text):
        promote(run.run, model, generation, because, by)
    assert catalog.decisions() == before


def test_models_with_different_champions_share_columns(tmp_path: Path) -> None:
    """Where the champions of two models differ, a column of both is compared once, and each one's prediction is."""
    document = deepcopy(DOCUMENT)
    document["models"]["kept"] = {**DOCUMENT["models"][MODEL], "gate": {"policy": "manual"}}
    run = JudgedRun(tmp_path, document=document)
    for batch in range(1, 4):
        run.step(turned(batch, 0))
    assert run.run.catalog.champions() == {MODEL: 3, "kept": 1}
    drifts = run.run.catalog.drifts(range(3, 4))
    assert [(drift.column, drift.reference) for drift in drifts] == [
        ("a", 2),
        ("b", 2),
        ("kept: prediction", 1),
        (f"{MODEL}: prediction", 2),
        ("y", 2),
    ]
    assert all(judging.error is None for judging in run.run.catalog.judgings())


def test_rows_of_a_key_depend_on_each_other(tmp_path: Path) -> None:
    """Where a ``stream.key`` repeats, the interval rests on keys: a gain that differs from key to key is wider then."""
    document = deepcopy(DOCUMENT)
    document["source"]["columns"] = {"home": "int?", **DOCUMENT["source"]["columns"]}
    widths = {}
    for name, assignments in {"rows": (), "keys": ('stream.key="home"',)}.items():
        run = JudgedRun(tmp_path / name, *assignments, document=document)
        for batch in range(1, 4):
            homes = np.arange(3000) % 30
            rows = planted(3000, batch, noise=0.1)
            spread = np.random.default_rng(7).normal(size=30)[homes]
            label = rows["y"].to_numpy() + spread * (batch - 2) * rows["a"].to_numpy()
            rows = rows.set_column(rows.schema.get_field_index("y"), "y", pa.array(label))
            run.step(rows.append_column("home", pa.array(homes, mask=homes == 0)))
        record = next(
            record
            for record in run.run.catalog.comparisons(MODEL, range(2, 3))
            if (record.against, record.evidence) == ("previous", "settled")
        )
        assert record.low is not None
        assert record.high is not None
        widths[name] = record.high - record.low
        cell = run.run.catalog.cells(MODEL, range(3, 4), evidence="settled")[0]
        assert len(np.frombuffer(cell.counts)) == {"rows": 60, "keys": 30}[name]
    assert widths["keys"] > 1.5 * widths["rows"]


def test_schemes_are_compared_on_the_same_blocks_of_rows(tmp_path: Path) -> None:
    """A batch counts only where both schemes have the same blocks, not merely as many rows: else they would be
    subtracted from each other at random, or not at all."""
    run = fed(tmp_path, batches=3)
    own = run.run.catalog.newest_cells(MODEL, "absolute error", "")[3]
    blocks = np.frombuffer(own.counts)
    others = {"same": blocks, "other": np.concatenate([blocks[:2].sum(keepdims=True), blocks[2:]])}
    for line, counts in others.items():
        run.run.catalog.begin_line(line, "sliding", 2)
        cell = replace(own, line=line, counts=counts.tobytes(), sums=(0.5 * counts).tobytes())
        run.run.catalog.save_judging(Judging(line, 3, "settled", 0.0), [cell])
    assert [(body.scheme, body.rows) for body in scheme_bodies(run.run)] == [("same", own.n)]


def test_columns_with_the_names_of_drifts(tmp_path: Path) -> None:
    """A column may have the name under which the missing values of another, or predictions, are compared."""
    document = deepcopy(DOCUMENT)
    odd = {"a: missing": "float", f"{MODEL}: prediction": "float"}
    document["source"]["columns"] = {**DOCUMENT["source"]["columns"], "a": "float?", **odd}
    run = JudgedRun(tmp_path, document=document)
    for batch in range(1, 4):
        rows = planted(500, batch)
        for name in odd:
            rows = rows.append_column(name, rows["b"])
        if batch == 3:
            a = pa.array(rows["a"].to_numpy(), mask=np.arange(500) % 5 == 0)
            rows = rows.set_column(rows.schema.get_field_index("a"), "a", a)
        run.seal(rows)
        run.judge.settle(batch)
        if batch < 3:
            run.publish(batch)
    assert all(judging.error is None for judging in run.run.catalog.judgings())
    assert {"a", "a: missing", f"{MODEL}: prediction"} <= {drift.column for drift in run.run.catalog.drifts()}


@pytest.mark.parametrize(("failpoint", "champion"), [("champion.choosing", 2), ("champion.chosen", 1)])
def test_a_crash_while_a_person_chooses(tmp_path: Path, failpoint: str, champion: int) -> None:
    """A choice is made whole or not at all."""
    run = fed(tmp_path, batches=2)
    arm(f"{failpoint}=error")
    with pytest.raises(Crash):
        promote(run.run, MODEL, 1, "why", "ada")
    assert run.champion() == champion
    assert [decision.action for decision in run.run.catalog.decisions()].count("chosen") == 2 - champion


# --- crashes and faults -------------------------------------------------------------------------------------------


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


def test_a_model_that_can_not_be_judged(tmp_path: Path) -> None:
    """A scorer file that is gone is noted and stops nothing; the next trainer judges what it can."""
    run = fed(tmp_path, batches=2)
    scorer = run.run.generations / "00001" / "scorers" / f"{MODEL}.npz"
    saved = scorer.read_bytes()
    scorer.unlink()
    run.new_judge()
    run.step(turned(3, 0))
    looks = {(look.batch, look.evidence): look.error for look in run.run.catalog.judgings()}
    assert looks[3, "settled"] is not None
    assert "can't be read" in looks[3, "settled"]
    assert looks[2, "provisional"] is None
    scorer.write_bytes(saved)
    run.new_judge().catch_up([1, 2, 3])
    assert all(look.error is None for look in run.run.catalog.judgings())
    assert (3, "provisional") in run.words()


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
            promote(run.run, MODEL, generation, "why", "ada")
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
    assert VerdictReader(run.run).champion(MODEL) == 3
    run.step(turned(4, 0))
    assert actions(run) == [("newest", 4, 4)]


def test_settled_rows_were_seen_by_no_side(tmp_path: Path) -> None:
    """On all rows of a batch no generation is compared with a champion that was trained on them, as one that a person
    chose before the earlier ones were judged."""
    run = JudgedRun(tmp_path, "generations.scheme=cumulative")
    for batch in range(1, 5):
        run.seal(turned(batch, 0))
        run.judge.at_publication = no_decisions  # type: ignore[method-assign]  # as before there was a gate
        run.publish(batch)
    promote(run.run, MODEL, 3, "why", "ada")
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
    assert VerdictReader(run.run).champion(MODEL) == 3


def test_decisions_of_two_writers_are_in_order(tmp_path: Path) -> None:
    """What a person chose while a generation was published is replaced by it, and both are recorded."""
    run = fed(tmp_path, batches=2)
    run.run.catalog.decide_champion(GateDecision(MODEL, "chosen", 1, 1, 2, "ada", "why"))
    run.step(turned(3, 0))
    assert actions(run)[-2:] == [("chosen", 1, 1), ("newest", 3, 3)]
    assert run.run.catalog.decisions()[-1].former == 1


def test_held_out_rows_are_in_no_training(tmp_path: Path) -> None:
    """The rows that judging holds to be held out are those that training leaves out."""
    run = fed(tmp_path, batches=1)
    rows = run.judge.rows.of(1)
    mask = held_out(rows.table, run.run.pipeline.source.schema_, run.run.pipeline.generations.holdout)
    assert len(rows.held_rows) == mask.sum()
    assert len(rows.training) + len(rows.held_rows) == len(rows.table)


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
        promote(run.run, MODEL, 3, "why not", "ada")
        return record(*judging)

    monkeypatch.setattr(run.run.catalog, "save_judging", after_a_choice)
    run.judge.provide(batch)
    assert run.champion() == 3
    assert actions(run)[-2:] == [("chosen", 3, 3), ("held", 5, 3)]
    assert "generation 3 was chosen in the meantime" in run.run.catalog.decisions()[-1].because
