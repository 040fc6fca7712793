"""The trainer: generations from sealed batches, published once, whatever happens in between."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

from tests.support import SMART_HOME, wait_for
from tests.support.commands import Killed, raise_killed
from tests.support.training_run import (
    quiet_stage,
    real_rows,
    run_of,
    seal_table,
    seal_tables,
    smart_home,
    states,
    table_of,
    thirds,
)
from tidemill import scoring
from tidemill.errors import CatalogError, ParityFailed
from tidemill.judging.holdout import held_out
from tidemill.run.catalog import TrainedModel, wall_clock
from tidemill.run.folder import Run
from tidemill.training import generation as generations
from tidemill.training import trainer
from tidemill.training.registry import registry, spec_of
from tidemill.training.trainer import work

COLUMNS = {"x": "float?", "word": "string?", "y": "float", "kind": "int?", "name": "string?", "ok": "bool?"}
KMEANS = {"estimator": "KMeans", "features": ["x", "y"], "params": {"k": 2, "seed": 1}}
LINEAR = {"estimator": "LinearRegression", "features": ["x"], "label": "y"}


def rows_of(count: int, start: int = 0, **fixed: Any) -> list[dict[str, Any]]:
    """Rows with a plain structure, all different."""
    return [
        {
            "x": float(place),
            "word": ("even", "odd")[place % 2],
            "y": 2.0 * place + (place % 7) / 7,
            "kind": place % 3,
            "name": ("ash", "birch", "cedar")[place % 3],
            "ok": place % 5 > 1,
        }
        | fixed
        for place in range(start, start + count)
    ]


def tried(folder: Path, models: dict[str, Any], columns: dict[str, str] = COLUMNS, **changes: Any) -> Run:
    return run_of(folder, source={"path": "x.csv", "columns": columns}, models=models, **changes)


def train_all(run: Run, spark: SparkSession) -> None:
    work(quiet_stage(run), spark)


def model_of(run: Run, name: str, generation: int = 1) -> TrainedModel:
    return run.catalog.generations()[generation - 1].models[name]


def scorer_of(run: Run, name: str, generation: int = 1) -> scoring.RowScorer:
    model = model_of(run, name, generation)
    return scoring.row_scorer(scoring.load(run.folder / model.scorer_path, model.sha256))


@pytest.mark.parametrize(
    ("generations", "expected"),
    [
        pytest.param({"scheme": "windowed"}, [(1,), (2,), (3,), (4,)], marks=pytest.mark.nightly),
        pytest.param({"scheme": "cumulative"}, [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], marks=pytest.mark.nightly),
        ({"scheme": "sliding", "window": 2}, [(1,), (1, 2), (2, 3), (3, 4)]),
    ],
)
def test_every_generation_has_the_rows_of_its_batches(
    spark: SparkSession, tmp_path: Path, generations: dict[str, Any], expected: list[tuple[int, ...]]
) -> None:
    """Under each scheme generation k is trained on its scheme's batches, and on no other row."""
    run = tried(tmp_path, {"line": LINEAR}, generations={**generations, "holdout": {"share": 0}})
    sizes = [20, 30, 40, 50]
    seal_tables(run, [table_of(run, rows_of(size, start=1000 * place)) for place, size in enumerate(sizes)])
    train_all(run, spark)
    found = run.catalog.generations()
    assert [one.batches for one in found] == expected
    assert [one.rows for one in found] == [sum(sizes[number - 1] for number in numbers) for numbers in expected]
    assert [one.models["line"].rows["train"] for one in found] == [one.rows for one in found]
    for generation, numbers in zip(found, expected, strict=True):
        [feature] = scorer_of(run, "line", generation.generation).features
        last = numbers[-1] - 1
        assert (feature.minimum, feature.maximum) == (1000.0 * (numbers[0] - 1), 1000.0 * last + sizes[last] - 1)


def test_the_parts_of_training_are_in_the_freshness(spark: SparkSession, tmp_path: Path) -> None:
    """Of models that are trained side by side the fits count as one part: as long as the longest, no longer than all.
    The generations before are judged on the batch's rows before its generation is published."""
    run = tried(tmp_path, {"line": LINEAR, "groups": KMEANS}, generations={"holdout": {"share": 0}})
    seal_tables(run, [table_of(run, rows_of(40, start=number * 40)) for number in (1, 2)])
    train_all(run, spark)
    for generation in run.catalog.generations():
        freshness = run.catalog.note_answered(generation.generation, wall_clock())
        assert freshness is not None
        assert min(freshness.parts.values()) >= 0.0
        fits = [model.fit_seconds for model in generation.models.values()]
        assert max(fits) - 0.001 <= freshness.parts["fit"] <= sum(fits) + 0.001
    with closing(sqlite3.connect(run.catalog.path)) as catalog:
        (settled,) = catalog.execute(
            "SELECT judged_at FROM judgings WHERE batch = 2 AND evidence = 'settled'"
        ).fetchone()
    assert settled <= str(run.catalog.published_at(2))


def test_a_generation_is_trained_as_soon_as_its_batch_is_sealed(spark: SparkSession, tmp_path: Path) -> None:
    """The trainer waits for batches, publishes each generation while the stream goes on, and ends with the stream."""
    run = tried(tmp_path, {"line": LINEAR})
    thread = threading.Thread(target=train_all, args=(run, spark))
    thread.start()
    for number in (1, 2):
        seal_table(run, number, table_of(run, rows_of(60, start=number * 60)))
        wait_for(lambda: run.catalog.newest_generation() == number, f"generation {number}")  # noqa: B023  # called at once
        assert thread.is_alive()
    run.catalog.end_stream({0: 200}, {})
    thread.join(30)
    assert not thread.is_alive()
    assert states(run) == [(1, "published"), (2, "published")]


def test_a_row_that_lacks_a_value_is_left_out_and_counted(spark: SparkSession, tmp_path: Path) -> None:
    """A missing feature or label costs a model that row, and only a model that uses the column."""
    rows = rows_of(90)
    for place in range(10):
        rows[place] |= {"word": None}
    for place in range(5, 20):
        rows[place] |= {"kind": None}
    models = {
        "line": LINEAR,
        "sort": {"estimator": "LogisticRegression", "features": ["x", "word"], "label": "kind"},
        "group": {"estimator": "KMeans", "features": ["word", "y"], "params": {"k": 2, "seed": 1}},
    }
    run = tried(tmp_path, models)
    seal_tables(run, [table_of(run, rows)])
    train_all(run, spark)
    counts = {name: model_of(run, name).rows for name in models}
    assert {name: one["skipped"] for name, one in counts.items()} == {"line": 0, "sort": 20, "group": 10}
    assert all(sum(one.values()) == 90 for one in counts.values())
    clusters = (model_of(run, "group").profile or {})["clusters"]
    assert sum(one["size"] for one in clusters) == counts["group"]["train"]
    for cluster in clusters:
        assert sum(cluster["shares"]["word"].values()) == pytest.approx(1)


def test_labels_and_features_of_every_kind(spark: SparkSession, tmp_path: Path) -> None:
    """Strings, booleans and whole numbers serve as labels, and models come back in the labels' own types."""
    models = {
        "by_name": {"estimator": "LogisticRegression", "features": ["word", "x"], "label": "name"},
        "by_ok": {"estimator": "LogisticRegression", "features": ["x", "kind"], "label": "ok", "scale": "minmax"},
        "by_kind": {"estimator": "LogisticRegression", "features": ["ok", "word"], "label": "kind"},
        "ok_value": {"estimator": "LinearRegression", "features": ["y", "name"], "label": "ok", "scale": "standard"},
        "angle": {
            "estimator": "KMeans",
            "features": ["x", "y", "name"],
            "params": {"k": 3, "seed": 1, "distanceMeasure": "cosine"},
        },
    }
    run = tried(tmp_path, models)
    seal_tables(run, [table_of(run, rows_of(120, start=1))])
    train_all(run, spark)
    assert states(run) == [(1, "published")]
    assert {name: scorer_of(run, name).classes for name in models} == {
        "by_name": ("ash", "birch", "cedar"),
        "by_ok": (False, True),
        "by_kind": (0, 1, 2),
        "ok_value": None,
        "angle": None,
    }
    assert set(model_of(run, "by_ok").metrics) == {"accuracy", "f1", "auc"}
    assert set(model_of(run, "by_kind").metrics) == {"accuracy", "f1"}
    assert set(model_of(run, "angle").metrics) == {"silhouette", "cost", "training_cost"}


def test_a_constant_column_scales_as_in_spark(spark: SparkSession, tmp_path: Path) -> None:
    """A column with one value breaks neither scaling; its parity is proved like any other's."""
    models = {scale: {**LINEAR, "features": ["x", "kind"], "scale": scale} for scale in ("none", "standard", "minmax")}
    run = tried(tmp_path, models)
    seal_tables(run, [table_of(run, rows_of(80, kind=4))])
    train_all(run, spark)
    assert states(run) == [(1, "published")]
    [published] = run.catalog.generations()
    rows = published.models["none"].rows
    assert {model.parity["equal"] for model in published.models.values()} == {rows["train"] + rows["holdout"]}


def test_a_label_first_met_in_the_holdout_counts_as_wrong(spark: SparkSession, tmp_path: Path) -> None:
    """A class that training never saw costs accuracy, and stops nothing."""
    run = tried(tmp_path, {"sort": {"estimator": "LogisticRegression", "features": ["x"], "label": "name"}})
    table = table_of(run, rows_of(100, name="ash")[:50] + rows_of(100, start=50, name="birch"))
    seal_tables(run, [table])
    train_all(run, spark)
    held = held_out(table, run.pipeline.source.schema_, run.pipeline.generations.holdout)
    strange = set(table.filter(pa.array(held))["x"].to_pylist())
    again = tried(tmp_path / "again", {"sort": {"estimator": "LogisticRegression", "features": ["x"], "label": "name"}})
    rows = [row | ({"name": "zelkova"} if row["x"] in strange else {}) for row in table.to_pylist()]
    seal_tables(again, [table_of(again, rows)])
    train_all(again, spark)
    assert states(again) == [(1, "published")]
    assert model_of(again, "sort").metrics["accuracy"] is not None


@pytest.mark.nightly
def test_batches_in_csv_train_the_same(spark: SparkSession, tmp_path: Path) -> None:
    """The same rows in CSV files, with quotes, newlines and gaps, give the very same model as in Parquet."""
    rows = rows_of(90)
    for place, word in enumerate(['a "quoted" one', "two\nlines", "comma, here", "", None, " spaces ", "naïve", "\\"]):
        rows[place] |= {"word": word}
    models = {"line": {**LINEAR, "features": ["x", "word"]}, "sort": {**LINEAR, "features": ["ok"], "label": "kind"}}
    scorers = {}
    for kind in ("parquet", "csv"):
        run = tried(tmp_path / kind, models, batches={"parts": 3, "format": kind})
        seal_tables(run, thirds(table_of(run, rows)))
        train_all(run, spark)
        assert states(run) == [(number, "published") for number in (1, 2, 3)]
        scorers[kind] = [
            model.sha256 for generation in run.catalog.generations() for model in generation.models.values()
        ]
    assert scorers["csv"] == scorers["parquet"]


def test_without_a_holdout_metrics_are_of_the_training_rows_and_say_so(spark: SparkSession, tmp_path: Path) -> None:
    """With a share of 0 every row is trained on, and each metric's name begins with training."""
    run = tried(tmp_path, {"line": LINEAR, "group": KMEANS}, generations={"holdout": {"share": 0}})
    seal_tables(run, [table_of(run, rows_of(50))])
    train_all(run, spark)
    line, group = model_of(run, "line"), model_of(run, "group")
    assert line.rows == {"train": 50, "holdout": 0, "skipped": 0}
    assert set(line.metrics) == {"training_rmse", "training_mae", "training_r2"}
    assert set(group.metrics) == {"training_silhouette", "training_cost"}
    assert line.parity == {
        "rows": 50,
        "equal": 50,
        "max_difference": pytest.approx(0, abs=1e-9),
        "probes": 4,
        "probes_equal": 4,
        "probed": {"numbers": [4, 4]},
    }


def test_an_empty_holdout_has_no_metrics(spark: SparkSession, tmp_path: Path) -> None:
    """Where no row fell into the holdout there is nothing to score on: the metrics are None, and the model stands."""
    holdout = {"share": 0.000001, "seed": 1}
    run = tried(tmp_path, {"line": LINEAR, "group": KMEANS}, generations={"holdout": holdout})
    seal_tables(run, [table_of(run, rows_of(20))])
    train_all(run, spark)
    assert model_of(run, "line").metrics == {"rmse": None, "mae": None, "r2": None}
    assert model_of(run, "line").parity["rows"] == 20
    metrics = model_of(run, "group").metrics
    assert (metrics["silhouette"], metrics["cost"]) == (None, None)
    assert metrics["training_cost"] is not None


def test_a_generation_that_fails_says_why_and_later_ones_go_on(spark: SparkSession, tmp_path: Path) -> None:
    """A model that can't be trained fails its generation with the reason, publishes nothing of it, stops no other."""
    bad = {
        "sort: the label kind holds -1": rows_of(40, kind=-1),
        "sort: the label kind holds 100; at most 100 classes": rows_of(40, kind=100),
        "sort: no row to train on (40 lack a value)": rows_of(40, kind=None),
    }
    sort = {"estimator": "LogisticRegression", "features": ["x"], "label": "kind"}
    run = tried(tmp_path, {"line": LINEAR, "sort": sort})
    seal_tables(run, [table_of(run, rows) for rows in (rows_of(40), *bad.values(), rows_of(40, start=40))])
    train_all(run, spark)
    assert states(run) == [(1, "published"), (2, "failed"), (3, "failed"), (4, "failed"), (5, "published")]
    for failed, words in zip(run.catalog.generations()[1:4], bad, strict=True):
        assert words in (failed.error or "")
        assert failed.models == {}
    assert sorted(path.name for path in run.generations.iterdir()) == ["00001", "00005"]


def test_sparks_own_refusal_is_the_reason(spark: SparkSession, tmp_path: Path) -> None:
    """What Spark will not train on is told in its own words, on one line."""
    sort = {
        "estimator": "LogisticRegression",
        "features": ["x"],
        "label": "kind",
        "params": {"thresholds": [0.5, 0.5]},
    }
    run = tried(tmp_path, {"sort": sort})
    seal_tables(run, [table_of(run, rows_of(40))])
    train_all(run, spark)
    [failed] = run.catalog.generations()
    assert failed.state == "failed"
    assert "\n" not in (failed.error or "\n")
    assert "sort: " in (failed.error or "")
    assert "thresholds" in (failed.error or "")


def test_a_scorer_that_differs_is_not_published(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fault planted in the export the generation fails by its parity report, and nothing is served of it."""

    def swapped(model: Any) -> Any:
        text, arrays = honest(model)
        return text, arrays | {"coefficients": arrays["coefficients"][::-1]}

    spec = spec_of("LinearRegression")
    honest: Any = spec.export
    monkeypatch.setitem(registry(), spec.name, replace(spec, export=swapped))
    run = tried(tmp_path, {"line": {**LINEAR, "features": ["x", "kind"]}})
    seal_tables(run, [table_of(run, rows_of(60))])
    train_all(run, spark)
    [failed] = run.catalog.generations()
    assert failed.state == "failed"
    assert "the scorer of line differs from Spark on" in (failed.error or "")
    assert ParityFailed.code == "parity-failed"
    assert list(run.generations.iterdir()) == []


# --- crashes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (generations, "collect_stats"),
        (trainer, "failpoint"),
        ("catalog", "publish_generation"),
    ],
    ids=["while training", "before the rename", "between rename and commit"],
)
def test_a_crash_leaves_an_orphan_that_is_trained_again(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """Wherever a trainer dies, the next one removes what is not in the catalog, and publishes that generation once."""
    run = tried(tmp_path, {"line": LINEAR})
    seal_tables(run, thirds(table_of(run, rows_of(90))))
    first = trainer.Trainer(quiet_stage(run), spark)
    first.take_up()
    first.look()
    assert first.step()
    with monkeypatch.context() as patch:
        patch.setattr(run.catalog if owner == "catalog" else owner, name, raise_killed)
        with pytest.raises(Killed):
            first.step()
    assert states(run) == [(1, "published"), (2, "training")]
    before = run.catalog.generations()[0]
    train_all(run, spark)
    assert states(run) == [(1, "published"), (2, "published"), (3, "published")]
    assert run.catalog.generations()[0] == before
    assert sorted(path.name for path in run.generations.iterdir()) == ["00001", "00002", "00003"]


def test_what_failed_is_tried_again_by_the_next_trainer(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generation that failed in an earlier process is trained again; those that stand are not."""
    run = tried(tmp_path, {"line": LINEAR})
    seal_tables(run, thirds(table_of(run, rows_of(90))))
    with monkeypatch.context() as patch:
        spec = replace(spec_of("LinearRegression"), export=lambda _: ({}, fitting_fails()))
        patch.setitem(registry(), spec.name, spec)
        train_all(run, spark)
    assert {state for _, state in states(run)} == {"failed"}
    train_all(run, spark)
    assert [state for _, state in states(run)] == ["published"] * 3


def fitting_fails() -> Any:
    from tidemill.errors import TrainingFailed

    raise TrainingFailed("not today")


# The judging beside a failed training is ended wherever it is, as by Ctrl-C: just opened, a file is left to Python.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
def test_a_batch_file_that_is_not_as_the_catalog_has_it_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    """A batch that is gone or of another size is named, and nothing is trained on it."""
    run = tried(tmp_path, {"line": LINEAR})
    seal_tables(run, thirds(table_of(run, rows_of(90))))
    path = run.batches / "batch-00002.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CatalogError, match=r"batch-00002\.parquet, has \d+ bytes, the catalog says \d+"):
        train_all(run, spark)
    path.unlink()
    with pytest.raises(CatalogError, match=r"batch-00002\.parquet, is missing"):
        train_all(run, spark)
    assert states(run) == [(1, "published")]


def test_a_saved_model_needs_nothing_but_pyspark(spark: SparkSession, tmp_path: Path) -> None:
    """A model with every kind of stage, empty strings among its categories, loads back and takes plain rows."""
    models = {
        "sort": {"estimator": "LogisticRegression", "features": ["word", "x"], "label": "name", "scale": "minmax"}
    }
    run = tried(tmp_path, models)
    rows = [row | ({"word": ""} if row["kind"] == 1 else {}) for row in rows_of(90)]
    seal_tables(run, [table_of(run, rows)])
    train_all(run, spark)
    scorer = scorer_of(run, "sort")
    loaded = PipelineModel.load(str(run.folder / model_of(run, "sort").spark_path))
    plain = [{"word": word, "x": x} for word in ("", "even", "never seen") for x in (1.0, 50.0)]
    table = spark.createDataFrame([(row["word"], row["x"]) for row in plain], "word string, x double")
    expected = [(scorer.classes or ())[int(row.prediction)] for row in loaded.transform(table).collect()]
    assert [prediction.prediction for prediction in scorer.predict(plain)] == expected
    assert "" in (scorer.features[0].categories or ())


@pytest.mark.nightly
def test_two_runs_of_the_ready_pipeline_give_the_same_models(
    spark: SparkSession, tmp_path: Path, trained_run: Callable[[str, str], Run]
) -> None:
    """Training is repeatable: the same rows give scorer files with the same sha256."""
    streamed, run = trained_run("smart-home", str(SMART_HOME)), smart_home(tmp_path)
    seal_tables(run, thirds(real_rows(run))[:1])
    train_all(run, spark)
    [again], first = run.catalog.generations(), streamed.catalog.generations()[0]
    assert {name: model.sha256 for name, model in again.models.items()} == {
        name: model.sha256 for name, model in first.models.items()
    }
