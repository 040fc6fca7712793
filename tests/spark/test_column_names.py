"""Columns may have any names: what means something to Spark, SQL or Tidemill means nothing in them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.support.serving_run import api_of
from tests.support.training_run import quiet_stage, run_of, seal_tables, table_of
from tidemill import scoring
from tidemill.judging.holdout import held_out
from tidemill.run.folder import Run
from tidemill.training.features import spark_name
from tidemill.training.trainer import work

NUMBERS = ["Id", "id", "ID", "a.b", "`q`", "prediction", "Prediction", "features", "rawPrediction", "__held", "c0"]
STRINGS = ["probability", "PROBABILITY", "größe/m² [x] \"y\" 'z'", " ", "*", "^a$", "user", "__item", "c_user", "text"]
COLUMNS = (
    dict.fromkeys(NUMBERS, "float")
    | dict.fromkeys(STRINGS, "string")
    | {"label": "int", "Label": "string", "Item": "int"}
)
MODELS: dict[str, dict[str, Any]] = {
    "sort": {"estimator": "LogisticRegression", "features": [*STRINGS, *NUMBERS], "label": "label", "scale": "minmax"},
    "named": {"estimator": "DecisionTreeClassifier", "features": [*NUMBERS, *STRINGS], "label": "Label"},
    "value": {"estimator": "LinearRegression", "features": NUMBERS[1:], "label": "Id"},
    "group": {"estimator": "KMeans", "features": [*NUMBERS, *STRINGS], "params": {"k": 3}},
    "near": {
        "estimator": "BucketedRandomProjectionLSH",
        "features": [*NUMBERS, *STRINGS],
        "params": {"bucketLength": 2.0},
    },
    "words": {"estimator": "IDF", "features": ["text"]},
    "taste": {
        "estimator": "ALS",
        "user": "c_user",
        "item": "Item",
        "rating": "prediction",
        "params": {"rank": 2, "maxIter": 2},
    },
}

FEWER = {
    "named": [*NUMBERS[:3], *STRINGS[:4]],
    "group": [*NUMBERS, *STRINGS[4:6]],
    "near": [*NUMBERS[3:6], *STRINGS[6:]],
}
BY_DAY = MODELS | {name: MODELS[name] | {"features": features} for name, features in FEWER.items()}
"""Each name is a feature of two models, not of four, as Spark takes its time for each."""


def rows_of(count: int) -> list[dict[str, Any]]:
    dice = random.Random(5)
    rows = []
    for _ in range(count):
        row: dict[str, Any] = {name: dice.gauss(index, 1) for index, name in enumerate(NUMBERS)}
        row |= {name: f"{name} {dice.randrange(3)}" for name in STRINGS}
        row |= {"label": int(row["Id"] > row["id"] - 1), "Item": dice.randrange(9)}
        rows.append(row | {"Label": f"l{row['label']}"})
    return rows


def run_of_names(folder: Path, batch_format: str, models: dict[str, dict[str, Any]]) -> Run:
    return run_of(
        folder,
        source={"path": "data.csv", "columns": COLUMNS},
        stream={"topic": "t", "key": "a.b"},
        batches={"parts": 1, "format": batch_format},
        models=models,
    )


@pytest.mark.parametrize(
    ("batch_format", "models"), [("parquet", BY_DAY), pytest.param("csv", MODELS, marks=pytest.mark.nightly)]
)
def test_every_model_trains_and_answers_under_any_names(
    spark: SparkSession, tmp_path: Path, batch_format: str, models: dict[str, dict[str, Any]]
) -> None:
    """Names that Spark, SQL or Tidemill use themselves, and names that differ in nothing but case: each model is
    trained, scores as in Spark, and answers under the declared names; the rows held out are those of the hash."""
    run = run_of_names(tmp_path, batch_format, models)
    rows = rows_of(90)
    table = table_of(run, rows)
    seal_tables(run, [table])
    work(quiet_stage(run), spark)
    [generation] = run.catalog.generations()
    assert (generation.state, generation.error) == ("published", None)
    held = held_out(table, run.pipeline.source.schema_, run.pipeline.generations.holdout)
    for name, model in generation.models.items():
        assert model.rows == {"train": int((~held).sum()), "holdout": int(held.sum()), "skipped": 0}, name
        assert model.parity["equal"] == model.parity["rows"] > 0, name
    means = {name: sum(row[name] for row, out in zip(rows, held, strict=True) if not out) for name in NUMBERS}
    profile = generation.models["group"].profile
    assert profile is not None
    for name, total in means.items():
        summed = sum(cluster["size"] * cluster["centre"][name] for cluster in profile["clusters"])
        assert summed == pytest.approx(total), name
    with api_of(run) as client:
        for name in ("sort", "named", "value", "group"):
            answer = client.post(f"/models/{name}/predict", json=rows[0])
            assert answer.status_code == 200, answer.text
            wanted = scoring.row_scorer(scoring.load(run.folder / generation.models[name].scorer_path)).predict(
                rows[:1]
            )
            assert answer.json()["prediction"] == wanted[0].prediction
        found = client.get(f"/models/value/rows/{rows[7]['a.b']!r}")
        assert found.status_code == 200, found.text
        inputs = client.get("/models/sort").json()["inputs"]
        assert [column["name"] for column in inputs] == [*STRINGS, *NUMBERS]
        schema = client.get("/openapi.json").json()["components"]["schemas"]
        assert any(list(body.get("properties", {})) == [*STRINGS, *NUMBERS] for body in schema.values())


def test_names_in_spark_are_told_apart_in_any_case() -> None:
    """Two names never become one inside Spark, not even where case is ignored, and none is one of pyspark.ml's."""
    names = [*COLUMNS, "Straße", "STRASSE", "İ", "i̇", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]
    made = [spark_name(name) for name in names]
    assert len({name.casefold() for name in made}) == len(names)
    assert all(name.startswith("c_") and name.isascii() and name.isidentifier() for name in made)
