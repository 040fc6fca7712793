"""The messages of an output, without Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from tests.support.serving_run import ROW, chance_of_good, choose, new_run, publish, scorer_parts
from tests.support.serving_run import TEXT as COMMON
from tidemill.errors import CatalogError, PipelineInvalid, StageFailed
from tidemill.outputs.champions import Champion, Champions
from tidemill.outputs.checks import kind_faults
from tidemill.outputs.predictions import OutputRows, predictions
from tidemill.outputs.stage import await_champions
from tidemill.pipeline import Output, arrow_schema, load
from tidemill.run.catalog import GenerationRef
from tidemill.run.folder import Run
from tidemill.run.stage import Stage
from tidemill.scoring import make_scorer, row_scorer
from tidemill.scoring.storage import Stored


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path, 'source.columns.hours="float?"', 'source.columns.kind="string?"')


def champion(model: str, number: int = 1, line: str = "") -> Champion:
    ref = GenerationRef(number, line)
    text, arrays = scorer_parts(model, float(ref.number))
    stored = Stored({**COMMON, **text}, {key: np.array(values) for key, values in arrays.items()})
    return Champion(ref, row_scorer(make_scorer(stored)))


def written(run: Run, by: Champion, model: str, *rows: dict[str, Any], columns: tuple[str, ...] = ()) -> list[Any]:
    """The messages of these rows, each ``ROW`` with changes."""
    schema = arrow_schema(run.pipeline.source.schema_)
    texts = pa.schema([field.with_type(pa.string()) if field.name == "seen" else field for field in schema])
    table = pa.Table.from_pylist([ROW | changes for changes in rows], schema=texts).cast(schema)
    offsets = np.arange(7, 7 + len(rows))
    found = OutputRows(table, np.ones(len(rows), dtype=np.int64), offsets)
    output = Output(model=model, topic="scored", columns=columns)
    return [orjson.loads(value) for value in predictions(output, by, found, run.pipeline.stream.key)]


def test_a_classifier_says_class_label_and_probabilities(run: Run) -> None:
    """Each row has the answer of POST /predict, its key and offset, and the columns that were asked for."""
    rows = [{"hours": 2.0}, {"hours": 0.5, "id": 9}]
    first, second = written(run, champion("good"), "good", *rows, columns=("seen", "on"))
    chance = chance_of_good(1, ROW | rows[0])
    assert first["probability"] == pytest.approx({"0": 1 - chance, "1": chance})
    assert {key: value for key, value in first.items() if key != "probability"} == {
        "key": 1, "model": "good", "generation": 1, "prediction": 1, "label": "good", "partition": 1, "offset": 7,
        "seen": "2026-01-02T03:04:05.000000Z", "on": True,
    }  # fmt: skip
    assert (second["key"], second["prediction"], second["label"], second["offset"]) == (9, 0, "bad", 8)


def test_a_row_without_a_feature_has_the_reason(run: Run) -> None:
    """It is written too, with neither class nor probability; the rows around it are not touched."""
    before, lacking, after = written(run, champion("good"), "good", {}, {"hours": None}, {"hours": 0.5})
    assert (lacking["prediction"], lacking["probability"], lacking["label"]) == (None, None, None)
    assert lacking["reason"] == "hours is missing"
    assert (before["prediction"], after["prediction"]) == (1, 0)
    assert "reason" not in before | after


def test_a_category_that_training_did_not_see_is_named(run: Run) -> None:
    """As in an answer of the API."""
    seen, unseen = written(run, champion("good"), "good", {}, {"kind": "kettle"})
    assert unseen["unseen"] == {"kind": "kettle"}
    assert unseen["prediction"] in (0, 1)
    assert "unseen" not in seen


def test_a_value_that_json_does_not_have_is_none(run: Run) -> None:
    """A regression without a finite value says so."""
    (infinite,) = written(run, champion("size"), "size", {"hours": 1.7e308, "count": 2**62})
    assert infinite["prediction"] == pytest.approx(1.7e308)
    text, arrays = scorer_parts("size", 1.0)
    arrays["coefficients"] = [[10.0], [0.5]]
    stored = Stored({**COMMON, **text}, {key: np.array(values) for key, values in arrays.items()})
    huge = Champion(GenerationRef(1), row_scorer(make_scorer(stored)))
    (infinite,) = written(run, huge, "size", {"hours": 1.7e308})
    assert (infinite["prediction"], infinite["reason"]) == (None, "the model has no answer for these features")


def test_a_replay_that_serves_is_named(run: Run) -> None:
    """Beside the number there is the line; a clustering has its cluster alone."""
    (scored,) = written(run, champion("group", 2, "sliding-2"), "group", {"hours": 19.0})
    assert (scored["generation"], scored["line"], scored["prediction"]) == (2, "sliding-2", 1)
    assert not {"probability", "label"} & set(scored)


# --- the champions ----------------------------------------------------------------------------------------------------


def test_the_champions_are_followed(run: Run) -> None:
    """There is none before the first generation; then the decided one, and a promoted replay too."""
    champions = Champions(run, ["size"], Stage(run, "outputs").log)
    assert not champions.look()
    publish(run, 1, champion_of=["size"])
    publish(run, 2)
    assert looked(champions)["size"].ref == GenerationRef(1)
    choose(run, "size", 2)
    assert looked(champions)["size"].ref == GenerationRef(2)


def looked(champions: Champions) -> Champions:
    champions._look_at = 0.0  # at once, not a tenth of a second later
    assert champions.look()
    return champions


def spoil(path: Path) -> None:
    path.write_bytes(b"x")


def test_a_damaged_champion_is_named_or_waited_for(run: Run) -> None:
    """While the new champion can't be loaded, the one before it goes on; without one before, the file is named."""
    publish(run, 1, damage=spoil)
    with pytest.raises(CatalogError, match=r"size\.npz"):
        Champions(run, ["size"], Stage(run, "outputs").log).look()
    publish(run, 2)
    champions = Champions(run, ["size"], Stage(run, "outputs").log)
    assert looked(champions)["size"].ref == GenerationRef(2)
    publish(run, 3, damage=spoil)
    assert looked(champions)["size"].ref == GenerationRef(2)


def test_without_any_generation_to_come_the_stage_ends(run: Run) -> None:
    """A stream that has ended without a generation leaves nothing to score with."""
    stage = Stage(run, "outputs")
    run.catalog.end_stream({0: 0}, {})
    with pytest.raises(StageFailed, match="no generation to score rows with"):
        await_champions(stage, Champions(run, ["size"], stage.log))


# --- the pipeline file ------------------------------------------------------------------------------------------------

OUTPUT = 'outputs=[{model="efficiency", topic="scored", columns=["UserID"]}'
FAULTS = {
    "model": ('{model="eficiency", topic="a"}', "outputs[1].model", 'did you mean "efficiency"?'),
    "own topic": ('{model="segment", topic="smart_home_stream"}', "outputs[1].topic", "which the rows are read from"),
    "topic twice": ('{model="segment", topic="scored"}', "outputs[1].topic", '"scored" again'),
    "column": ('{model="segment", topic="a", columns=["UserId"]}', "outputs[1].columns[0]", 'did you mean "UserID"?'),
    "column twice": ('{model="segment", topic="a", columns=["UserID", "UserID"]}', "outputs[1].columns[1]", "again"),
    "key": ('{model="segment", topic="a", colums=[]}', "outputs[1].colums", 'did you mean "columns"?'),
    "no topic": ('{model="segment"}', "outputs[1].topic", "found nothing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_output_is_told(fault: str) -> None:
    """Each fault has its path, what was found, and the way out."""
    text, path, words = FAULTS[fault]
    with pytest.raises(PipelineInvalid) as caught:
        load("smart-home", [f"{OUTPUT}, {text}]"])
    (found,) = caught.value.faults
    assert found.path == path
    assert words in str(found)


def test_a_column_with_the_name_of_a_key_is_refused() -> None:
    """No column of a row may take the place of a part of the message."""
    columns = 'source.columns.offset={type="int", from="UserID"}'
    with pytest.raises(PipelineInvalid, match="a key of every message"):
        load("smart-home", [columns, 'outputs=[{model="segment", topic="a", columns=["offset"]}]'])


def test_a_model_without_predictions_for_rows_is_refused() -> None:
    """A recommender, neighbours and texts answer no row; a clustering does."""
    models = {"a": {"estimator": "ALS"}, "b": {"estimator": "KMeans"}, "c": {"estimator": "IDF"}}
    raw = {"models": models, "outputs": [{"model": name, "topic": name} for name in "abcx"]}
    assert [(fault.path, fault.found) for fault in kind_faults(raw)] == [
        ("outputs[0].model", '"a", whose estimator ALS has no prediction for a row'),
        ("outputs[2].model", '"c", whose estimator IDF has no prediction for a row'),
    ]
