"""What is said of verdicts and of the gate's decisions."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.judged_run import DOCUMENT, MODEL, JudgedRun, fed, turned
from tidemill.judging import gate
from tidemill.judging.comparisons import Comparison, p_value
from tidemill.judging.sentences import brief, by_word, figures, sentence
from tidemill.judging.verdict import VerdictReader
from tidemill.pipeline import Gate
from tidemill.run.catalog import ComparisonRecord, GateDecision, GenerationRef, Judging

RECORD = ComparisonRecord(
    model="a",
    generation=3,
    against="previous",
    evidence="provisional",
    loss_name="log loss",
    decides=True,
    reference=2,
    batch=3,
    rows=1374,
    loss=0.2,
    reference_loss=0.25,
    gain=0.05,
    low=0.04,
    high=0.06,
    margin=0.01,
    word="paid",
)
TRIVIAL = replace(RECORD, against="trivial", reference=None)


def newest(run: JudgedRun) -> GateDecision:
    return run.run.catalog.decisions()[-1]


def test_a_decision_says_the_gain_as_the_verdict_does(tmp_path: Path) -> None:
    """A decision has the verdict's gain and margin, and the level of its own test beside its own interval."""
    run = fed(tmp_path, "gate.policy=better", batches=2)
    held, verdict = newest(run), VerdictReader(run.run).model(MODEL, 1)
    body = verdict.generations[0].against["champion"]
    assert held.figures is not None
    low, high = held.figures["interval"]
    assert held.because == (
        f"against generation 1: gain {body.gain:+.4g}, interval {low:+.4g} to {high:+.4g} (one-sided test at level "
        f"0.0051), margin {body.margin:.4g}, on {body.rows} rows: {held.figures['word']}; the policy is better"
    )
    assert held.because.split("gain ")[1].split(",")[0] in verdict.figures


def test_the_level_is_that_of_a_one_sided_test(tmp_path: Path) -> None:
    """A generation is promoted exactly where the one-sided p-value is at most the level that the decision names."""
    for error, serves in ((0.38, True), (0.4, False)):
        comparison = Comparison(1000, 1.0, 2.0, 1.0, 0.1, 1.9, 0.02, "paid", None, error, 1000, {})
        candidate = gate.Candidate(MODEL, Gate(policy="better"), 2, GenerationRef(1), comparison)
        (test,) = gate.at_level([candidate], 1, taking_back=False)
        assert "(one-sided test at level 0.0051)" in gate.reason(test)
        assert (p_value(comparison) <= test.level / 2) is serves is gate.may_serve(test)


def test_a_handful_of_rows_has_no_interval() -> None:
    """Below 20 rows there is no interval, and the reason does not print an infinite one."""
    comparison = Comparison(5, 1.0, 2.0, 1.0, 0.1, 1.9, 0.02, "can't tell", None, 0.1, 5, {})
    candidate = gate.Candidate(MODEL, Gate(policy="better", min_rows=1), 2, GenerationRef(1), comparison)
    (test,) = gate.at_level([candidate], 1, taking_back=False)
    assert "no interval of fewer than 20 rows" in gate.why_held(candidate, test, "provisional", 2)


@pytest.mark.parametrize("evidence", ["provisional", "settled"])
def test_a_champion_that_can_not_be_read_is_the_reason(tmp_path: Path, evidence: str) -> None:
    """Where the champion's file is gone, the decision says so, and not that later rows will tell."""
    run = fed(tmp_path, "gate.policy=better", f"gate.evidence={evidence}", batches=2)
    (run.run.generations / "00001" / "scorers" / f"{MODEL}.npz").unlink()
    run.new_judge()
    run.step(turned(3, 0))
    assert newest(run).because.startswith("the champion, generation 1, can't be read")
    assert "tidemill promote" in newest(run).because


def test_of_similar_rows_the_newest_generations_are_told(tmp_path: Path) -> None:
    """The sentence on a model without truth is about its newest judged generation and the one before."""
    document = deepcopy(DOCUMENT)
    near = {"estimator": "BucketedRandomProjectionLSH", "features": ["a"], "params": {"bucketLength": 1.0}}
    document["models"]["near"] = near
    run = JudgedRun(tmp_path, document=document)
    for number, share in ((2, 0.5), (3, 0.83)):
        record = ComparisonRecord("near", number, "previous", "provisional", "none", False, number - 1, number, 9)
        compared = [replace(record, checks={"overlap_at_10": share})]
        run.run.catalog.save_judging(Judging("", number, "provisional", 0.0), compared=compared)
    verdict = VerdictReader(run.run).model("near", 1)
    assert verdict.generation == 3
    assert verdict.sentence.endswith("of the 10 most similar rows 8.3 stay the same from generation 2 to 3.")


@pytest.mark.parametrize(
    ("records", "kind", "text"),
    [
        ([RECORD, TRIVIAL], "classification", "3 against 2: paid (+20 %, 1,374 held-out rows)"),
        ([replace(RECORD, word="cost", gain=-0.05)], "regression", "3 against 2: cost (-20 %, 1,374 held-out rows)"),
        ([TRIVIAL], "classification", "generation 3: better than guessing (+20 %, 1,374 held-out rows)"),
        (
            [replace(TRIVIAL, word="cost")],
            "classification",
            "generation 3: worse than guessing (+20 %, 1,374 held-out rows)",
        ),
        ([replace(RECORD, reference_loss=0.0)], "regression", "3 against 2: paid (+0.05, 1,374 held-out rows)"),
        ([], "regression", "nothing to judge on yet"),
        ([], "text", "no verdict: there is no truth to judge it by"),
    ],
)
def test_a_verdict_in_a_few_words(records: list[ComparisonRecord], kind: str, text: str) -> None:
    """The pair, the word, the gain as a share of the reference's loss, and the rows."""
    assert brief({record.against: record for record in records}, kind) == text


def test_many_models_in_one_line() -> None:
    """Models are named by their words, the first few of each; where there is nothing to learn that is said beside."""
    many = [replace(RECORD, model=f"m{number}", word="can't tell") for number in range(9)]
    nothing = [replace(RECORD, model="b", word="cost"), replace(TRIVIAL, model="b", word="no difference")]
    beside = replace(RECORD, model="c", decides=False)
    assert by_word([TRIVIAL, *nothing, *many, beside, replace(RECORD, model="d", word=None)]) == (
        "cost for b; can't tell for m0, m1, m2, m3, m4 and 4 more; better than guessing for a; nothing to learn for b"
    )
    assert by_word([]) == ""


def test_what_paid_without_anything_to_learn_is_said_with_a_but() -> None:
    """Retraining that paid and still is no better than the trivial model does not read as a success."""
    same = replace(RECORD, word="no difference")
    compared = {
        "previous": same,
        "first": replace(RECORD, against="first", reference=1),
        "trivial": replace(TRIVIAL, word="no difference"),
    }
    text = sentence(GenerationRef(3), 3, compared, None, "regression")
    assert text.endswith("; but there is nothing to learn: generation 3 is not better than always saying the mean.")
    compared["first"] = replace(same, against="first", reference=1)
    assert "; nothing to learn: " in sentence(GenerationRef(3), 3, compared, None, "regression")


def test_a_champion_that_is_the_generation_before_is_compared_once() -> None:
    """Where the generation before serves by a person's choice, the sentence compares with it once."""
    compared = {"previous": RECORD, "trivial": TRIVIAL, "serving": replace(RECORD, against="serving")}
    text = sentence(GenerationRef(2), 3, compared, None, "regression")
    assert text.startswith("Generation 2 serves. ")
    assert "which serves" not in text
    compared["serving"] = replace(RECORD, against="serving", reference_line="windowed")
    assert "than generation 2 of the replay windowed, which serves" in sentence(
        GenerationRef(2, "windowed"), 3, compared, None, "regression"
    )


def test_generations_that_share_no_row_are_the_reason() -> None:
    """Where the two generations can answer no row in common, as recommenders of different users, the sentence says so,
    and promises nothing of the next batch."""
    unshared = replace(RECORD, rows=0, word=None, gain=None, low=None, high=None)
    text = sentence(
        GenerationRef(3), 3, {"previous": unshared, "trivial": TRIVIAL}, "batch 4 is sealed", "recommendation"
    )
    assert text.endswith("can't be told: generations 2 and 3 can both answer no row of batch 3.")


def test_what_serves_is_compared_with_where_it_is_neither_before_nor_first() -> None:
    """Where a gate or a person keeps a generation in between, the sentence says what the newest one has against it."""
    compared = {
        "previous": replace(RECORD, generation=5, reference=4, word="no difference"),
        "first": replace(RECORD, generation=5, reference=1, against="first"),
        "champion": replace(RECORD, generation=5, reference=2, against="champion"),
        "trivial": replace(TRIVIAL, generation=5),
    }
    told = "generation 5 has 20 % less log loss than generation 2, which serves"
    assert told in sentence(GenerationRef(2), 5, compared, None, "regression")
    for serves in (1, 3, 4, 5):
        assert "which serves" not in sentence(GenerationRef(serves), 5, compared, None, "regression")


def test_a_loss_beside_gives_the_figures_where_none_decides() -> None:
    """Where the loss that decides has no word, the figures are those of the loss beside it, said to decide nothing, and
    those of a ranking count users."""
    ranking = replace(RECORD, loss_name="1 - NDCG@10", decides=False, rows=150, evidence="settled", word="cost")
    text = figures({"previous": replace(RECORD, rows=0, word=None)}, {"previous": ranking})
    assert text.startswith("Beside it, deciding nothing: 1 - NDCG@10 ")
    assert text.endswith(f"150 users of batch {RECORD.batch} (settled): cost")
    assert figures({"previous": RECORD}, {"previous": ranking}).startswith(RECORD.loss_name)
    assert figures({}, {}) == ""
