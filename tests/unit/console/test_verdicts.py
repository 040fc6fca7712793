"""How verdicts, losses, drift and decisions become tables and charts."""

from __future__ import annotations

from typing import Any

import altair as alt
import pytest

from tests.support.console_answers import cell, changed, comparison, decision, drift, judged, model_verdict
from tidemill.console.formatting import NONE
from tidemill.console.pages.verdict import no_longer_kept
from tidemill.console.verdicts import plots, tables
from tidemill.console.verdicts.decisions import decision_rows, serving
from tidemill.schemas import ModelVerdictBody

JUDGED = [
    judged(
        3,
        previous=comparison(0.001, "can't tell", reference=2, evidence="provisional", rows=352),
        first=comparison(0.05, "paid"),
        trivial=comparison(0.3, "paid", reference=None),
    ),
    judged(2, previous=comparison(-0.02, "cost"), trivial=comparison(None, None, reference=None)),
    judged(1, trivial=comparison(0.25, "paid", reference=None)),
]
CELLS = [
    cell(1, 1, 0.41),
    cell(1, 1, 0.69, trivial=True),
    cell(1, 2, 0.4),
    cell(1, 2, 0.68, trivial=True),
    cell(2, 2, 0.37, shown={"accuracy": 0.91, "f1": 0.9, "by_class": {"0": 1}}),
    cell(1, 2, 0.5, evidence="provisional"),
    cell(2, 2, 0.7, trivial=True),
    cell(1, 2, 0.9, loss_name="0/1 error"),
    cell(1, 3, 0.42),
    cell(2, 3, 0.39),
    cell(2, 3, 0.67, trivial=True),
    cell(3, 3, None),
]


def test_a_gain_is_shown_only_with_its_verdict() -> None:
    """Generations are in their order, with the figures behind the word; a comparison without a word has no point."""
    rows = tables.gains(JUDGED, "previous", "log loss").rows
    assert [(row["generation"], row["word"], row["reference"]) for row in rows] == [
        (2, "cost", "generation 1"),
        (3, "can't tell", "generation 2"),
    ]
    assert rows[1]["evidence"] == "provisional: held-out rows of batch 3"
    assert (rows[1]["rows"], rows[1]["needed"]) == (352, "about 9,600")
    assert (rows[0]["low"], rows[0]["high"], rows[0]["margin"]) == pytest.approx((-0.03, -0.01, 0.004))
    assert [row["generation"] for row in tables.gains(JUDGED, "trivial", "log loss").rows] == [1, 3]
    assert tables.gains(JUDGED, "champion", "log loss").rows == []
    assert tables.word_counts(rows) == "can't tell for 1 generation, cost for 1 generation"


def test_a_gain_has_the_colour_of_its_word_and_the_margin_around_0() -> None:
    """The legend has the words that occur, in fixed colours; the band goes from minus to plus the margin."""
    chart = plots.gain(tables.gains(JUDGED, "previous", "log loss"))
    band, _, interval, point = chart["layer"]
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("drawn_margin", "least")
    assert [row["least"] for row in chart["data"]["values"]] == pytest.approx([-0.01, -0.01])
    assert (interval["encoding"]["y"]["field"], interval["encoding"]["y2"]["field"]) == ("drawn_low", "drawn_high")
    scale = point["encoding"]["color"]["scale"]
    assert scale["domain"] == ["can't tell", "cost"]
    assert scale["range"] == list(plots.WORD_COLOURS[2:])
    assert {"rows", "evidence"} <= {tooltip["field"] for tooltip in point["encoding"]["tooltip"]}


def test_a_huge_gain_is_said_beside_the_axis() -> None:
    """Gains are shares of the reference's loss. One beyond the axis, which fits the others, has its figure on the chart
    and in words."""
    many = [judged(number, previous=comparison(0.002 * number, "can't tell")) for number in range(2, 8)]
    huge = judged(8, previous=comparison(-40.0, "cost"))
    points = tables.gains([*many, huge], "previous", "log loss")
    assert points.outside.startswith("Beyond the axis: generation 8, -10,000 % (-10,002 % to -9,998 %).")
    chart = plots.gain(points)
    assert chart["layer"][3]["encoding"]["y"]["axis"]["title"] == "gain in % of the reference's log loss"
    assert chart["layer"][4]["encoding"]["text"]["field"] == "text"
    assert [row["text"] for row in points.rows if row["outside"]] == ["-10,000 %"]
    assert len(plots.gain(tables.gains(many, "previous", "log loss"))["layer"]) == 4


def test_without_a_loss_of_the_reference_gains_have_its_unit() -> None:
    """Of a reference without a loss, or with a loss of 0, a gain is no share."""
    perfect = judged(2, previous=changed(comparison(-0.1, "cost"), reference_loss=0.0))
    chart = plots.gain(tables.gains([perfect], "previous", "log loss"))
    assert chart["layer"][3]["encoding"]["y"]["axis"]["title"] == "gain in log loss"


@pytest.mark.parametrize(
    "spec",
    [
        plots.gain(tables.gains([*JUDGED, judged(4, previous=comparison(9.0, "paid"))], "previous", "log loss")),
        plots.heat_map(tables.matrix(CELLS, "log loss"), champion=2),
        plots.curves(tables.curves(CELLS, "log loss", champion=2)),
        plots.overlap([{"generation": 2, "reference": "generation 1", "overlap": 0.9, "rows": 50, "evidence": ""}]),
    ],
    ids=["gain", "heat map", "curves", "overlap"],
)
def test_the_charts_are_vega_lite(spec: plots.Spec) -> None:
    """Each specification is valid by the schema of Vega-Lite."""
    alt.Chart.from_dict(spec)


def test_the_matrix_has_one_cell_for_a_generation_and_a_batch() -> None:
    """Settled evidence comes before provisional, the trivial models are one line, and other losses are left out."""
    rows = tables.matrix(CELLS, "log loss")
    assert {(row["line"], row["batch"]): row["mean"] for row in rows} == {
        ("1", 1): 0.41,
        ("trivial", 1): 0.69,
        ("1", 2): 0.4,
        ("2", 2): 0.37,
        ("trivial", 2): 0.68,
        ("1", 3): 0.42,
        ("2", 3): 0.39,
        ("trivial", 3): 0.67,
    }
    own = next(row for row in rows if row["line"] == "2" and row["batch"] == 2)
    assert (own["mark"], own["figures"]) == ("provisional", "accuracy 0.91, F1 0.9")
    assert tables.matrix(list(reversed(CELLS)), "log loss") == rows


def test_another_loss_has_its_own_gains() -> None:
    """The loss that decides is the first; of one that does not, the gains are its own."""
    other = comparison(-0.1, "cost", loss_name="0/1 error")
    both = changed(JUDGED[0], beside={"previous": other})
    assert tables.loss_names(JUDGED, CELLS) == ["log loss", "0/1 error"]
    assert tables.loss_names([], CELLS) == ["0/1 error", "log loss"]
    assert tables.loss_names(JUDGED, []) == []
    assert [row["gain"] for row in tables.gains([both], "previous", "0/1 error").rows] == [-0.1]
    assert [row["gain"] for row in tables.gains([both], "previous", "log loss").rows] == [0.001]


def test_a_recommender_may_know_nobody_of_a_later_batch() -> None:
    """That is told, as waiting for the next batch would not help."""
    cold = [cell(1, 1, 0.5), cell(1, 2, None, n=0), cell(1, 2, None, n=0, trivial=True, evidence="settled")]
    assert tables.answers_nothing(cold, "log loss")
    assert not tables.answers_nothing(CELLS, "log loss")
    assert not tables.answers_nothing(CELLS[:2], "log loss")


def test_a_long_matrix_keeps_the_first_and_the_newest() -> None:
    """The heat map has at most so many lines, however long the run is."""
    cells = [cell(number, 900, 0.4) for number in range(1, 901)]
    rows = tables.matrix(cells, "log loss")
    lines = [row["line"] for row in rows]
    assert len(lines) == tables.MOST_GENERATIONS
    assert (lines[0], lines[1], lines[-1]) == ("1", "872", "900")
    assert tables.left_out(cells, rows, "log loss") == 900 - tables.MOST_GENERATIONS
    assert tables.left_out(CELLS, tables.matrix(CELLS, "log loss"), "log loss") == 0


def test_the_colours_of_the_matrix_start_at_0() -> None:
    """A difference in the third digit is no other colour; the champion has a star, the trivial line is the last."""
    chart = plots.heat_map(tables.matrix(CELLS, "log loss"), champion=2)
    encoding = chart["encoding"] | chart["layer"][0]["encoding"]
    assert encoding["color"]["scale"]["domain"] == [0.0, 0.69]
    assert encoding["y"]["sort"] == ["2", "1", "trivial"]
    assert "'2'" in encoding["y"]["axis"]["labelExpr"]


def test_the_curve_is_of_the_same_rows() -> None:
    """Within a batch every point has all its rows: settled cells alone, of the newest generation before the batch, the
    first, the champion where it has one, and the trivial model."""
    rows = tables.curves(CELLS, "log loss", champion=2)
    assert [(row["batch"], row["line"], row["mean"]) for row in rows] == [
        (2, "newest before", 0.4),
        (2, "first generation", 0.4),
        (2, "trivial model", 0.68),
        (3, "newest before", 0.39),
        (3, "first generation", 0.42),
        (3, "champion (2)", 0.39),
        (3, "trivial model", 0.67),
    ]
    assert not tables.on_other_rows(rows)
    assert tables.on_other_rows([*rows, rows[0] | {"n": 1800}])
    chart = plots.curves(rows)
    assert chart["encoding"]["color"]["scale"]["domain"] == [
        "newest before",
        "first generation",
        "champion (2)",
        "trivial model",
    ]
    assert tables.curves(CELLS[:2], "log loss", champion=1) == []


def test_a_batch_that_was_not_judged_is_named() -> None:
    """A batch between judged ones without a settled cell is one whose judging failed, unless its losses are no longer
    kept."""
    assert tables.unjudged(CELLS) == []
    assert tables.unjudged([body for body in CELLS if body.batch != 2]) == [2]
    assert tables.unjudged([body for body in CELLS if (body.batch, body.evidence) != (3, "settled")]) == [3]
    assert tables.unjudged([cell(2, 2, 0.4), cell(2, 3, 0.4)]) == []  # generation 1 failed
    assert tables.unjudged([]) == []
    assert tables.unjudged([body for body in CELLS if body.batch != 2], removed=[2]) == []
    assert no_longer_kept([2, 3, 4]).startswith("The losses of generations 2-4, and on the batches with")


def test_drift_is_told_with_its_effect() -> None:
    """Flagged columns alone, the newest batch and the greatest effect first; no predictions of other models."""
    bodies = [
        drift(2, "hours", 0.12),
        drift(3, "count", 0.2),
        drift(3, "hours", 0.34, flagged=False),
        drift(3, "good: prediction", 0.5),
        changed(
            drift(3, "kind", 0.3),
            details={"distance": 0.5, "new": ["lamp"], "missing": [0.0, 0.25], "measure": "share of 'lamp'"},
            test="chi-square",
            before=0.0,
            after=0.123,
        ),
        changed(drift(1, "old", 0.2), before=None, after=None, details={}),
    ]
    rows = tables.flagged(bodies, "size", ["size", "good"])
    assert [(row["batch"], row["column"]) for row in rows] == [
        (3, "kind"),
        (3, "count"),
        (2, "hours"),
        (1, "old"),
    ]
    assert [row["change"] for row in rows[:3]] == ["share of 'lamp' 0 % -> 12.3 %", "mean 0.3 -> 82", "mean 0.3 -> 82"]
    assert rows[3]["change"] == NONE
    assert rows[0]["details"] == "moved by 0.5 standard deviations; new: lamp; missing: 0.0 %, now 25.0 %"
    assert (rows[1]["p"], rows[1]["training rows of"], rows[1]["details"]) == ("1e-09", "generation 1", NONE)
    assert tables.flagged(bodies, "good", ["size", "good"])[0]["column"] == "good: prediction"
    assert tables.drift_lines(bodies)[-2:] == [
        "hours in batch 2: mean 0.3 -> 82 (KS, D = 0.12), against the training rows of generation 1",
        "old in batch 1 (KS, D = 0.20), against the training rows of generation 1",
    ]
    assert tables.drift_caption(bodies[:-1]) == (
        "Batch 3: 4 columns tested, 3 drifted. Batch 2: 1 column tested, 1 drifted."
    )
    assert tables.drift_caption([drift(1, "hours", flagged=False)]) == "Batch 1: 1 column tested, none drifted."


CLUSTERS: dict[str, Any] = {"rows": 352, "rand": 0.28034, "kept": 0.5, "shift": 0.8213, "word": "reshuffled"}


def test_clusters_are_seen_against_chance() -> None:
    """The change of the clusters has its word, and beside it what a second seed alone changes."""
    against = {
        "previous": comparison(0.1, "paid", checks={"clusters": CLUSTERS}),
        "trivial": comparison(0.3, "paid", reference=None, checks={"noise": {"rand": 0.35, "shift": 0.6421}}),
    }
    assert tables.clusters([*JUDGED, judged(4, **against)]) == [
        {
            "generation": 4,
            "against": "generation 1",
            "clusters": "reshuffled",
            "ARI": 0.28,
            "rows with the same number": 0.5,
            "shift of the centres": 0.821,
            "ARI of a second seed": 0.35,
            "shift of a second seed": 0.642,
            "rows": 1801,
        }
    ]


def test_without_truth_there_is_only_an_overlap() -> None:
    """A model of similar rows has no word and no gain: only which share of the rows stayed."""
    alike = judged(2, previous=comparison(None, None, rows=50, checks={"overlap_at_10": 0.87}))
    assert tables.gains([alike], "previous", "none").rows == []
    rows = tables.overlaps([alike, judged(1)])
    assert [(row["generation"], row["overlap"], row["rows"]) for row in rows] == [(2, 0.87, 50)]
    assert plots.overlap(rows)["encoding"]["y"]["scale"]["domain"] == [0, 1]


def test_decisions_mark_the_one_in_force() -> None:
    """The newest is first; the decision that made the champion is marked, not one that held another; a reason that a
    person gave is shown to the letter."""
    bodies = [
        decision(1, "first", 1, 1),
        decision(3, "chosen", 2, 2, by="anna"),
        decision(4, "held", 3, 2, because="it may cost"),
        decision(5, "newest", 3, 3, model="good"),
    ]
    rows = decision_rows(bodies, {"size": model_verdict(champion=2), "good": model_verdict(champion=3)})
    assert [row["decision"] for row in rows] == [
        "generation 3 serves as the newest",
        "generation 3 held",
        "generation 2 chosen",
        "generation 1 serves as the first",
    ]
    assert [":material/trophy:" in row["champion"] for row in rows] == [True, False, True, False]
    assert (rows[2]["by"], rows[2]["why"]) == ("anna", r"it \*paid\*")


@pytest.mark.parametrize(
    ("policy", "action", "told"),
    [
        ("report", "newest", "Generation 2 serves. Policy report: the newest generation serves."),
        ("report", "chosen", r"Generation 2 serves: *anna\* chose it; the next published generation takes over."),
        ("better", "chosen", r"Generation 2 serves: *anna\* chose it; a later generation takes over once it passes"),
        ("report", "rolled back", "Generation 2 serves: generation 3 was taken back; the next published generation"),
    ],
)
def test_who_serves_is_told_with_the_decision_in_force(policy: Any, action: Any, told: str) -> None:
    """A choice of a person, or a rollback, is said in place of a policy that it goes against."""
    generation = 3 if action == "rolled back" else 2
    made = [decision(1, "newest", 3, 3), decision(2, action, generation, 2, by="*anna*"), decision(3, "held", 4, 2)]
    verdict = ModelVerdictBody(
        **model_verdict(policy=policy).model_dump(), model="size", drift=[], decisions=made[::-1]
    )
    assert serving(verdict).startswith(told.replace("*anna", r"\*anna"))


def test_before_a_generation_serves_the_policy_is_told() -> None:
    """Without a champion there is the policy alone."""
    verdict = ModelVerdictBody(**model_verdict(champion=None).model_dump(), model="size", drift=[], decisions=[])
    assert serving(verdict) == "Policy report: the newest generation serves."


def test_the_sentences_of_all_models() -> None:
    """Each model has its line."""
    models = {"size": model_verdict(), "good": model_verdict(sentence="Nothing to judge on until batch 2 is sealed.")}
    first, second = tables.sentences(models).split("\n")
    assert first.startswith("- **size**: Retraining paid")
    assert second == "- **good**: Nothing to judge on until batch 2 is sealed."
