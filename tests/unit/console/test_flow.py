"""The picture of the data's way on the page Overview."""

from __future__ import annotations

from tests.support.console_answers import STATUS, changed, home, model_verdict, stage
from tidemill import schemas
from tidemill.console import flow
from tidemill.console.formatting import NONE

NO_ROWS = schemas.RowCounts(source=None, produced=0, collected=0, sealed=0, rejected=0)


def test_each_step_has_its_count() -> None:
    """From the source to the requests, each box has its number, its meaning and whether it is at work."""
    stages = {"producer": stage("running", "sends rows", "2026-01-02T03:04:00Z")}
    steps = flow.steps(changed(STATUS, stages=stages), {"size": model_verdict()}, 41)
    assert [(step.name, step.value) for step in steps] == [
        ("Source", "2,000"),
        ("Kafka", "2,000"),
        ("Open batch", "189"),
        ("Sealed batches", "1"),
        ("Generations", "0"),
        ("Champion", "2"),
        ("Requests", "41"),
    ]
    assert (steps[0].note, steps[0].state, steps[0].filled) == ("of 5,403 rows read", "at work", 2000 / 5403)
    assert (steps[2].note, steps[2].filled) == ("of 1,801 rows in batch 2", 189 / 1801)
    assert steps[4].note == "generation 1 in training"


def test_the_way_of_other_streams() -> None:
    """A topic of others has one box in place of the source's and Kafka's; rows by HTTP are told beside the source's."""
    rows = schemas.RowCounts(source=None, produced=5, collected=8, sealed=8, rejected=1, posted=3)
    steps = flow.steps(changed(STATUS, rows=rows, partition_lag={"0": 4}, lag=4), {}, None)
    assert [step.name for step in steps][:2] == ["Topic of others", "Open batch"]
    assert (steps[0].value, steps[0].note) == ("9", "messages read, 1 rejected; 4 to be read")
    gap = schemas.GapBody(partition=0, first_offset=5, last_offset=1804, batch=2, found_at="2026-01-02T03:04:05Z")
    gapped = flow.topic_of_others(changed(STATUS, rows=rows, partition_lag={}, gaps=[gap]))
    assert gapped.note.endswith("to be read; 1,800 removed unread")
    steps = flow.steps(changed(STATUS, rows=rows), {}, None)
    assert [(step.name, step.value) for step in steps][:2] == [("Source", "6"), ("Kafka", "8")]
    assert steps[1].note.startswith("rows, 3 by HTTP; ")


def test_predictions_have_a_step() -> None:
    """A run that writes predictions to topics has a box for them, with the lag of the topic that is furthest behind."""
    outputs = [output("a", 5, 0), output("b", 3, 2), output("c", 0, None)]
    step = flow.steps(changed(STATUS, outputs=outputs), {}, None)[-2]
    assert (step.name, step.value, step.note) == ("Predictions", "8", "rows in 3 topics; 2 to be read")


def output(topic: str, rows: int, lag: int | None) -> schemas.OutputBody:
    return schemas.OutputBody(model="m", topic=topic, rows=rows, lag=lag, ended=False, missed=0)


def test_one_champion_of_all_models() -> None:
    """A generation that serves every model says how many these are."""
    notes = [flow.champion({name: model_verdict(champion=2) for name in "abc"[:count]}).note for count in (1, 2, 3)]
    assert [note.removeprefix("is the generation that serves ") for note in notes] == [
        "the only model",
        "both models",
        "all 3 models",
    ]


def test_before_anything_is_known() -> None:
    """The same boxes stand there, waiting."""
    nothing = changed(STATUS, rows=NO_ROWS, open_batch=None, batches=0, training=None, stages={}, generations=counts(0))
    steps = flow.steps(nothing, {"size": model_verdict(champion=None)}, None)
    assert {step.state for step in steps} == {"waiting"}
    assert [step.value for step in steps] == ["0", "0", NONE, "0", "0", NONE, NONE]


def counts(failed: int) -> schemas.GenerationCounts:
    return schemas.GenerationCounts(published=0, training=0, failed=failed)


def test_a_failed_generation_is_seen() -> None:
    """A failure has its colour and its number."""
    step = flow.steps(changed(STATUS, generations=counts(2), training=None), {}, 0)[4]
    assert (step.state, step.note) == ("failed", "none is trained yet; 2 failed")


def test_models_may_have_different_champions() -> None:
    """Where the gate holds a generation of one model alone, each model has its own number."""
    models = {"size": model_verdict(champion=2), "good": model_verdict(champion=3)}
    step = flow.champion(models)
    assert (step.name, step.value, step.note) == ("Champions", "2, 3", "size 2, good 3")


def test_a_replay_that_serves_is_named_below() -> None:
    """Where a replay's generation serves beside others, the large print says so in short."""
    models = {"size": model_verdict(champion=2, line="windowed"), "good": model_verdict(champion=3)}
    step = flow.champion(models)
    assert (step.value, step.note) == ("by model", "size 2 of the replay windowed, good 3")


def test_the_picture_is_only_text_and_boxes() -> None:
    """What the texts contain is no HTML."""
    picture = flow.picture([flow.Step("<b>", "1 & 2", "<img src=x>", "failed", 0.5)])
    assert "<b>" not in picture
    assert "<img" not in picture
    assert "1 &amp; 2" in picture
    assert "width: 50.0%" in picture


METRICS = """# TYPE tidemill_http_requests_total counter
tidemill_http_requests_total{method="POST",route="/models/size/predict",status="200"} 40.0
tidemill_http_requests_total{method="POST",route="/models/size/predict",status="422"} 2.0
tidemill_http_requests_total{method="GET",route="/models/size/generations/{generation}/predict",status="200"} 1.0
tidemill_http_requests_total{method="GET",route="/models/size/matrix",status="200"} 500.0
tidemill_http_requests_total{method="GET",route="/status",status="200"} 1000.0
tidemill_http_requests_total{method="POST",route="/is_good",status="200"} 3.0
tidemill_http_request_seconds_count{route="/is_good"} 3.0
"""


def test_requests_are_those_for_answers() -> None:
    """Requests to models and to the pipeline's own routes count; those that the console's pages send do not."""
    route = schemas.HomeRoute(method="POST", path="/is_good", model="size", description="")
    model = schemas.HomeModel(estimator="LinearRegression", kind="regression")
    assert flow.answered_requests(METRICS, changed(home(), models={"size": model}, routes=[route])) == 46
    assert flow.answered_requests("", home()) == 0
