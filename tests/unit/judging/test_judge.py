"""The judge of a run: what it says of planted data, and what it decides."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.support.judged_run import DOCUMENT, MODEL, JudgedRun, actions, fed, planted, turned
from tests.support.serving_run import numbers
from tidemill.errors import NotFound, ParameterError, PromotionRefused
from tidemill.judging import gate
from tidemill.judging.comparisons import Comparison, Margin
from tidemill.judging.holdout import held_out
from tidemill.judging.kept import kept
from tidemill.judging.promotion import promote
from tidemill.judging.schemes import scheme_bodies
from tidemill.judging.verdict import VerdictReader
from tidemill.pipeline import Gate
from tidemill.run.catalog import GenerationRef, Judging

NOTHING = ("no difference", "can't tell")


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
    weights = run.judge._models[MODEL].scorer(GenerationRef(3))
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
        candidate = gate.Candidate(MODEL, Gate(policy="not-worse"), 2, GenerationRef(1), comparison)
        (test,) = gate.at_level([candidate], 1, taking_back=False)
        assert gate.may_serve(test) is serves


def test_manual_waits_for_a_person(tmp_path: Path) -> None:
    """Under ``manual`` the first generation serves until a person chooses another; then that one stays."""
    run = fed(tmp_path, "gate.policy=manual", batches=4)
    assert run.champion() == 1
    decision = promote(run.run, MODEL, GenerationRef(4), "it knows the turn", "ada").decision
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
    promote(run.run, MODEL, GenerationRef(2), "to see what it does", "ada")
    run.judge.settle(run.seal(planted(2000, 4)))
    assert run.champion() == 2


def test_what_a_person_replaced_by_an_older_one_stays_replaced(tmp_path: Path) -> None:
    """The gate does not promote again a generation in whose place a person chose an older one."""
    run = JudgedRun(tmp_path, "gate.policy=not-worse", "gate.margin=20%", "gate.evidence=settled")
    for batch in range(1, 4):
        run.step(planted(2000, batch))
    run.judge.settle(run.seal(planted(2000, 4)))
    assert run.champion() == 3
    promote(run.run, MODEL, GenerationRef(2), "3 answers nonsense for one house", "ada")
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
        promote(run.run, model, GenerationRef(generation), because, by)
    assert catalog.decisions() == before


def test_models_with_different_champions_share_columns(tmp_path: Path) -> None:
    """Where the champions of two models differ, a column of both is compared once, and each one's prediction is."""
    document = deepcopy(DOCUMENT)
    document["models"]["kept"] = {**DOCUMENT["models"][MODEL], "gate": {"policy": "manual"}}
    run = JudgedRun(tmp_path, document=document)
    for batch in range(1, 4):
        run.step(turned(batch, 0))
    assert numbers(run.run.catalog.champions()) == {MODEL: 3, "kept": 1}
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
    subtracted from each other at random, or not at all. Then the sentence says so."""
    run = fed(tmp_path, batches=3)
    own = run.run.catalog.newest_cells(MODEL, "absolute error", "")[3]
    blocks = np.frombuffer(own.counts)
    others = {"same": blocks, "other": np.concatenate([blocks[:2].sum(keepdims=True), blocks[2:]])}
    for line, counts in others.items():
        run.run.catalog.begin_line(line, "sliding", 2)
        cell = replace(own, line=line, counts=counts.tobytes(), sums=(0.5 * counts).tobytes())
        run.run.catalog.save_judging(Judging(line, 3, "settled", 0.0), [cell])
    same, other = scheme_bodies(run.run)
    assert (same.scheme, same.rows, same.answerable) == ("same", own.n, own.n)
    assert (other.scheme, other.rows, other.word, other.batches) == ("other", 0, None, [])
    assert "the same replay again pairs the rows" in other.sentence


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


def test_held_out_rows_are_in_no_training(tmp_path: Path) -> None:
    """The rows that judging holds to be held out are those that training leaves out."""
    run = fed(tmp_path, batches=1)
    rows = run.judge.rows.of(1)
    mask = held_out(rows.table, run.run.pipeline.source.schema_, run.run.pipeline.generations.holdout)
    assert len(rows.held_rows) == mask.sum()
    assert len(rows.training) + len(rows.held_rows) == len(rows.table)
