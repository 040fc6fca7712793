"""The bodies of the API: each is one schema, and what is not built from it is checked against it here."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import orjson
import pytest
from pydantic import ValidationError

from tests.support.serving_run import new_run
from tidemill import schemas
from tidemill.errors import TidemillError
from tidemill.run.catalog import Batch, Generation, Span, StageStatus, TrainedModel
from tidemill.run.progress.status import status
from tidemill.scoring import Kind, Prediction

TRAINED = TrainedModel("size", "LinearRegression", {"rmse": 1.0}, 0.5, {}, {"train": 3}, "path", "sha", "spark")


def test_the_kinds_of_models_are_those_of_the_scorers() -> None:
    """The schemas know nothing of the scorers, so the kinds are written down twice."""
    assert get_args(schemas.Kind) == get_args(Kind)


@pytest.mark.parametrize(
    "prediction",
    [
        Prediction(1.5),
        Prediction(True, {"true": 0.75, "false": 0.25}, "good"),
        Prediction("cat", unseen={"kind": "ladder"}),
        Prediction(2, centre={"hours": 1.0}, distance=0.5),
    ],
)
def test_an_answer_is_as_its_schema_has_it(prediction: Prediction) -> None:
    """The plain values that predictions are answered with are what the schema would give."""
    answer = schemas.answer_document("size", 3, "", prediction)
    body = schemas.Answered.model_validate(answer)
    assert body.document() == answer
    assert type(body.prediction) is type(prediction.prediction)


def test_a_profile_is_as_its_schema_has_it() -> None:
    """A profile of today's training has the keys of the schema."""
    cluster = schemas.Cluster(
        cluster=0,
        size=1,
        centre={"hours": 1.0},
        shares={},
        distance=schemas.Spread(mean=None, max=None),
        to_centres={},
    )
    stored = {"clusters": [cluster.document()], "renumbered": {"0": 0}, "matched_to": None}
    document = schemas.profile_document("group", {"generation": 3}, stored)
    assert schemas.Profile.model_validate(document).document() == document


def test_a_body_of_a_record_has_the_records_values() -> None:
    """A body takes its keys from the catalog's record, and leaves out what it does not show."""
    batch = Batch("a.parquet", 3, 100, "sha", batch=1, cut="rows", sealed_at="2026", partitions=(Span(0, 0, 2),))
    assert schemas.BatchBody.of(batch).partitions == [schemas.SpanBody(partition=0, first_offset=0, last_offset=2)]
    generation = Generation(1, "published", (1,), 3, models={"size": TRAINED})
    document = schemas.GenerationBody.of(generation).document()
    assert document["models"]["size"] == schemas.Trained.of(TRAINED).document()
    assert "scorer_path" not in document["models"]["size"]


def test_an_optional_key_is_there_only_with_a_value() -> None:
    """A generation has an error only if it failed; what may be null stays."""
    document = schemas.GenerationBody.of(Generation(1, "training", (1,), 3)).document()
    assert "error" not in document
    assert document["published_at"] is None
    assert schemas.GenerationBody.of(Generation(1, "failed", (1,), 3, "no space")).document()["error"] == "no space"


def test_the_commands_status_is_as_its_schema_has_it(tmp_path: Path) -> None:
    """``tidemill status --json`` prints a stage's address only while it is at work, its error only if it failed."""
    run = new_run(tmp_path)
    run.catalog.save_stage(StageStatus("collector", "done", 1, endpoint="http://127.0.0.1:1"))
    error = TidemillError("the disk is full", "make room").document()["error"]
    run.catalog.save_stage(StageStatus("trainer", "failed", 1, error=error))
    assert schemas.CommandStatus.of(status(run)).document() == {
        "pipeline": "devices",
        "run_dir": str(run.folder),
        "api": None,
        "console": None,
        "stages": {
            "collector": {"state": "done", "pid": 1},
            "trainer": {"state": "failed", "pid": 1, "error": error},
        },
        "rows": {"source": None, "produced": 0, "collected": 0, "sealed": 0, "rejected": 0},
        "batches": 0,
        "generations": 0,
        "champions": {},
        "freshness": None,
        "outputs": [],
    }
    run.close()


def test_a_body_has_no_other_keys() -> None:
    """An answer that drifts from its schema is refused."""
    with pytest.raises(ValidationError, match="extra_forbidden"):
        schemas.SpanBody.model_validate({"partition": 0, "first_offset": 0, "last_offset": 2, "rows": 3})


def test_a_whole_number_stays_whole() -> None:
    """A count among the metrics and a value of an int column are written as they are, however large."""
    spread = schemas.MetricSpread(mean=12.5, min=12, max=2**53 + 1)
    points = schemas.PointColumns(x=[1, 2**53 + 1], y=[0.5, 3])
    assert orjson.dumps(spread.document()) == b'{"mean":12.5,"min":12,"max":9007199254740993}'
    assert orjson.dumps(points.document()) == b'{"x":[1,9007199254740993],"y":[0.5,3]}'
