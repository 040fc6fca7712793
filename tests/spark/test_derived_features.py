"""Features made of columns, parts of timestamps and terms of texts: scored as in Spark, served by their columns."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.support.fitting import Row, fit_all, frame
from tests.support.serving_run import api_of
from tests.support.training_run import quiet_stage, run_of, seal_tables, table_of
from tidemill import scoring
from tidemill.training.trainer import work

PARTS = ["hour(at)", "weekday(at)", "month(at)", "year(at)", "day(at)", "dayofyear(at)"]
COLUMNS = {
    "at": "timestamp",
    "text": "string",
    "note": "string",
    "x": "float",
    "late": "string",
    "two": "bool",
    "y": "float",
}
WORDS = ["red", "green", "blue", "cars", "car", "naïve", "東京都", "batteries", "battery", "glass", "of", "the", "a"]
MODELS: dict[str, dict[str, Any]] = {
    "logistic": {"estimator": "LogisticRegression", "label": "late", "scale": "standard"},
    "margin": {"estimator": "LinearSVC", "label": "two"},
    "bayes": {"estimator": "NaiveBayes", "label": "late"},
    "tree": {"estimator": "RandomForestClassifier", "label": "late", "params": {"numTrees": 4}},
    "boosted": {"estimator": "GBTRegressor", "label": "y", "params": {"maxIter": 3}},
    "linear": {"estimator": "LinearRegression", "label": "y"},
    "group": {"estimator": "KMeans", "params": {"k": 3}, "scale": "minmax"},
    "angle": {"estimator": "BisectingKMeans", "params": {"k": 3, "distanceMeasure": "cosine"}},
}
FEATURES = [*PARTS, "x", "tfidf(text)", "tfidf(note)"]
MODELS = {name: {"features": FEATURES, "tfidf": {"terms": 9, "min_rows": 2}} | model for name, model in MODELS.items()}


QUICK = ("logistic", "tree")  # a matrix and a forest; the others at night


def rows_of(count: int, seed: int = 1) -> list[Row]:
    """Rows whose labels depend on the hour and on words; some texts are empty."""
    dice = random.Random(seed)
    rows = []
    for _ in range(count):
        at = datetime(1969, 6, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(60 * 366 * 86400), microseconds=7)
        text, note = (" ".join(dice.choices(WORDS, k=dice.randrange(5))) for _ in range(2))
        late = at.hour >= 18 or "red" in text
        y = at.hour + 3.0 * at.isoweekday() + len(text)
        rows.append({"at": at, "text": text, "note": note, "x": dice.random(), "late": str(late), "two": late, "y": y})
    return rows


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in MODELS]
)
def test_parts_of_timestamps_and_terms_of_texts_are_as_in_spark(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """Every kind of model scores rows, and probes at midnights, ends of years, before 1970, of single terms, of unseen
    and of no words, as Spark does."""
    rows = rows_of(60)
    table = frame(spark, COLUMNS, rows)
    model = fit_all(tmp_path, COLUMNS, table, {name: MODELS[name]})[name]
    report = model.whole_parity(table)
    assert report["equal"] == report["rows"] == len(rows)
    assert report["probes_equal"] == report["probes"]
    assert report["probed"]["moments"][0] > 100
    assert report["probed"]["terms"][1] == 18
    others = rows_of(100, seed=2)
    assert model.parity(frame(spark, COLUMNS, others))["equal"] == len(others)


def test_a_model_of_derived_features_is_served_by_its_columns(spark: SparkSession, tmp_path: Path) -> None:
    """A request has the timestamp and the text; the API's documents say what is made of them; a run is trained
    and answers a streamed row by its key."""
    run = run_of(
        tmp_path,
        source={"path": "data.csv", "columns": {**COLUMNS, "hour(x)": "float"}},
        stream={"topic": "t", "key": "x"},
        batches={"parts": 1},
        models={name: {**MODELS[name], "features": [*FEATURES, "hour(x)"]} for name in ("logistic", "group")},
    )
    rows = [row | {"hour(x)": row["y"]} for row in rows_of(60)]
    seal_tables(run, [table_of(run, rows)])
    work(quiet_stage(run), spark)
    assert [(one.state, one.error) for one in run.catalog.generations()] == [("published", None)]
    scorer = scoring.row_scorer(scoring.load(run.folder / run.catalog.generations()[0].models["logistic"].scorer_path))
    with api_of(run) as client:
        body = {"at": "2026-11-29T19:30:00+01:00", "text": "red cars", "note": "", "x": 0.5, "hour(x)": 2.0}
        answer = client.post("/models/logistic/predict", json=body)
        assert answer.status_code == 200, answer.text
        moment = datetime(2026, 11, 29, 18, 30, tzinfo=UTC)
        assert answer.json()["probability"] == scorer.predict([{**body, "at": moment}])[0].probability
        wrong = client.post("/models/logistic/predict", json=body | {"at": "yesterday"})
        assert wrong.json()["error"]["message"] == 'at is "yesterday", not a timestamp (ISO 8601)'
        assert client.get(f"/models/logistic/rows/{rows[50]['x']!r}").status_code == 200
        inputs = {column["name"]: column for column in client.get("/models/logistic").json()["inputs"]}
        assert list(inputs) == ["at", "x", "text", "note", "hour(x)"]
        assert (inputs["at"]["kind"], inputs["at"]["features"]) == ("timestamp", PARTS)
        assert inputs["text"]["features"] == ["tfidf(text)"]
        assert "features" not in inputs["hour(x)"]
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
        [schema] = [body for name, body in schemas.items() if "at" in body.get("properties", {}) and "logistic" in name]
        assert schema["properties"]["at"]["format"] == "date-time"
        assert client.post("/models/logistic/predict", json=schema["examples"][0]).status_code == 200
        clusters = client.get("/models/group/profile").json()["clusters"]
        assert all(set(cluster["terms"]) == {"tfidf(text)", "tfidf(note)"} for cluster in clusters)
        assert {"hour(at)", "weekday(at)", "month(at)"} == set(clusters[0]["shares"])
