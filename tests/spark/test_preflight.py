"""What training would refuse is said before anything runs: the report on the rows tried is what Spark makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from tests.support.fitting import fit_one, frame
from tidemill.errors import TrainingFailed
from tidemill.pipeline import Model, Source, arrow_schema
from tidemill.training.preflight import PreflightReport, SampleScope, check_sample

FEATURES = ["x", "z"]


class SampleCase(NamedTuple):
    """A model, what its label is in row i, and where the fault is: ``faults`` whichever part of the rows is trained on,
    ``together`` if all of them are."""

    estimator: str
    label: Callable[[int], Any] | None
    kind: str = "int"
    faults: str = ""
    together: str = ""
    params: dict[str, Any] = {}  # noqa: RUF012  # never changed
    below: float = 0.0  # what is taken from x


CASES = [
    SampleCase("LogisticRegression", lambda i: i % 3),
    SampleCase("LogisticRegression", lambda i: 1),
    SampleCase("LogisticRegression", lambda i: i % 2 + 0.5 * (i == 7), "float", together="label"),
    SampleCase("DecisionTreeClassifier", lambda i: -(i % 2), together="label"),
    SampleCase("RandomForestClassifier", lambda i: 100 * (i % 2), together="label"),
    SampleCase("RandomForestClassifier", lambda i: "a", "string"),
    SampleCase("LogisticRegression", lambda i: i % 3, together="params.family", params={"family": "binomial"}),
    SampleCase("LogisticRegression", lambda i: i % 3, together="params.thresholds", params={"thresholds": [0.5, 0.5]}),
    SampleCase(
        "DecisionTreeClassifier", lambda i: i % 2, faults="params.thresholds", params={"thresholds": [0.3, 0.3, 0.4]}
    ),
    SampleCase("LinearSVC", lambda i: 0, faults="label"),
    SampleCase("LinearSVC", lambda i: i % 3, together="label"),
    SampleCase("LinearSVC", lambda i: 1),
    SampleCase("GBTClassifier", lambda i: "a", "string", faults="label"),
    SampleCase("GBTClassifier", lambda i: "abc"[i % 3], "string", together="label"),
    SampleCase("GBTClassifier", lambda i: True, "bool"),
    SampleCase("NaiveBayes", lambda i: 1 + i % 2, faults="label"),
    SampleCase("NaiveBayes", lambda i: "abc"[i % 3], "string"),
    SampleCase("NaiveBayes", lambda i: i % 2, together="features[0]", below=3),
    SampleCase("NaiveBayes", lambda i: i % 2, together="features[0]", params={"modelType": "complement"}, below=3),
    SampleCase("NaiveBayes", lambda i: i % 2, together="features[0] features[1]", params={"modelType": "bernoulli"}),
    SampleCase("NaiveBayes", lambda i: i % 2, params={"modelType": "gaussian"}, below=3),
    SampleCase("GeneralizedLinearRegression", lambda i: i % 3 - 1, together="label", params={"family": "poisson"}),
    SampleCase("GeneralizedLinearRegression", lambda i: i % 3, together="label", params={"family": "Gamma"}),
    SampleCase("GeneralizedLinearRegression", lambda i: i % 3, together="label", params={"family": "binomial"}),
    SampleCase("GeneralizedLinearRegression", lambda i: i % 2, params={"family": "binomial"}),
    SampleCase(
        "GeneralizedLinearRegression",
        lambda i: i % 3 - 1,
        together="label",
        params={"family": "tweedie", "variancePower": 1.5},
    ),
    SampleCase(
        "GeneralizedLinearRegression",
        lambda i: i % 3,
        together="label",
        params={"family": "tweedie", "variancePower": 2.0},
    ),
    SampleCase("GeneralizedLinearRegression", lambda i: i % 3 - 1, params={"family": "tweedie"}),
    SampleCase("LinearRegression", lambda i: i / 7 - 3, "float"),
    SampleCase("KMeans", None, together="features", params={"k": 2, "distanceMeasure": "cosine"}),
    SampleCase("BisectingKMeans", None, params={"k": 2, "distanceMeasure": "cosine"}, below=0.5),
    SampleCase("LogisticRegression", lambda i: i + 0.5, "float", faults="label"),
    SampleCase("DecisionTreeClassifier", lambda i: -1 - i % 2, faults="label"),
    SampleCase("GBTClassifier", lambda i: 2 + i % 2, faults="label"),
    SampleCase("LogisticRegression", lambda i: 2 + i % 2, faults="params.family", params={"family": "binomial"}),
    SampleCase("LogisticRegression", lambda i: 2, faults="params.thresholds", params={"thresholds": [0.5, 0.5]}),
    SampleCase("NaiveBayes", lambda i: i % 2, faults="features[0]", below=7),
    SampleCase("GeneralizedLinearRegression", lambda i: -1 - i % 2, faults="label", params={"family": "poisson"}),
]


def columns_of(case: SampleCase) -> dict[str, str]:
    return {"x": "float", "z": "float", "y": case.kind}


def rows_of(case: SampleCase) -> list[dict[str, Any]]:
    label = case.label or (lambda i: 0)
    return [{"x": float(i % 7 - case.below), "z": float(i * 3 % 5), "y": label(i)} for i in range(60)]


def model_of(case: SampleCase) -> dict[str, Any]:
    label = {"label": "y"} if case.label else {}
    return {"estimator": case.estimator, "features": FEATURES, "params": case.params} | label


def foreseen(
    columns: dict[str, str],
    rows: list[dict[str, Any]],
    scope: SampleScope = SampleScope.FIRST,
    **models: dict[str, Any],
) -> PreflightReport:
    schema = Source.model_validate({"path": "x.csv", "columns": columns}).schema_
    table = pa.Table.from_pylist(rows, schema=arrow_schema(schema))
    return check_sample({name: Model.model_validate(one) for name, one in models.items()}, schema, table, scope)


def id_of(case: SampleCase) -> str:
    return f"{case.estimator}-{case.faults or case.together or 'fits'}"


@pytest.mark.parametrize("case", CASES, ids=id_of)
def test_what_spark_refuses_is_said_before(spark: SparkSession, tmp_path: Path, case: SampleCase) -> None:
    """Of all rows together the report has a fault if and only if training on them is refused; while there may be
    others, or only a part may be trained on, it is a note unless no part is better."""
    columns, rows, model = columns_of(case), rows_of(case), model_of(case)
    first, whole, together = (foreseen(columns, rows, scope, tried=model) for scope in SampleScope)
    wanted = [f"models.tried.{path}" for path in (case.faults or case.together).split()]
    assert [fault.path for fault in together.faults] == wanted
    assert [fault.path for fault in whole.faults] == (wanted if case.faults else [])
    assert first.faults == []
    if wanted:
        assert first.notes == together.faults
        assert whole.notes == (first.notes if case.together else [])
    try:
        fit_one(tmp_path, columns, frame(spark, columns, rows), model)
        refused = False
    except TrainingFailed:
        refused = True
    assert refused == bool(together.faults)


@pytest.mark.parametrize("case", [one for one in CASES if one.faults or one.together], ids=id_of)
def test_a_fault_is_one_of_any_part_of_the_rows(case: SampleCase) -> None:
    """Each row, and each two that follow one another, are refused by themselves if the whole is; where the whole is
    not, some of them are good."""
    columns, rows, model = columns_of(case), rows_of(case), model_of(case)
    parts = [rows[place : place + many] for many in (1, 2) for place in range(len(rows) - 1)]
    good = [part for part in parts if not foreseen(columns, part, SampleScope.TOGETHER, tried=model).faults]
    assert bool(good) == bool(case.together)


def test_how_a_fault_reads() -> None:
    """With the column, what it holds and a way out."""
    rows = [{"x": 1.0, "z": -2.0, "y": 0.5}, {"x": 1.0, "z": 2.0, "y": 1.0}]
    columns = {"x": "float", "z": "float", "y": "float"}
    model = {"estimator": "NaiveBayes", "features": FEATURES, "label": "y"}
    assert [str(fault) for fault in foreseen(columns, rows, SampleScope.TOGETHER, tried=model).faults] == [
        "models.tried.label: the label y holds 1 fractional values; a class is a whole number from 0 on; check that "
        "the column holds classes; a quantity is for a regression, such as LinearRegression",
        "models.tried.features[1]: found z with -2; expected only numbers from 0 on with a multinomial NaiveBayes; "
        'params = { modelType = "gaussian" } takes any numbers',
    ]


def test_one_class_is_worth_a_note() -> None:
    """Spark trains on a label that is always the same; that there is nothing to learn is said all the same."""
    rows = [{"x": float(i), "z": 0.0, "y": 1} for i in range(5)]
    model = {"estimator": "LogisticRegression", "features": FEATURES, "label": "y"}
    for scope in SampleScope:
        report = foreseen({"x": "float", "z": "float", "y": "int"}, rows, scope, tried=model)
        assert report.faults == []
        assert [str(note) for note in report.notes] == [
            'models.tried.label: found "y", which is 1 in every row that was tried; expected two classes or more to '
            "tell apart"
        ]


def test_rows_that_a_model_cannot_use_are_not_judged() -> None:
    """A row that lacks what a model uses is not trained on, so its label does not count; where all do, that is told."""
    columns = {"x": "float?", "z": "float", "y": "float?"}
    model = {"estimator": "LogisticRegression", "features": FEATURES, "label": "y"}
    rows: list[dict[str, Any]] = [
        {"x": None, "z": 1.0, "y": 0.5},
        {"x": 1.0, "z": 1.0, "y": 0.0},
        {"x": 1.0, "z": 1.0, "y": 1.0},
    ]
    assert foreseen(columns, rows, tried=model) == PreflightReport([], [])
    lacking = foreseen(columns, rows[:1], tried=model)
    assert [str(note) for note in lacking.notes] == [
        "models.tried: found no row that has all of x, y; expected rows to train on"
    ]
    assert [fault.path for fault in foreseen(columns, rows[:1], SampleScope.WHOLE, tried=model).faults] == [
        "models.tried"
    ]


@pytest.mark.parametrize("estimator", ["GBTClassifier", "LogisticRegression"])
def test_a_generation_may_have_fewer_classes_than_the_source(estimator: str) -> None:
    """With eight classes over all and two in each batch, a model of two classes is no fault of a windowed run's."""
    rows = [{"x": float(i), "z": 0.0, "y": f"class {i // 10}"} for i in range(80)]
    params = {} if estimator == "GBTClassifier" else {"family": "binomial"}
    model = {"estimator": estimator, "features": FEATURES, "label": "y", "params": params}
    report = foreseen({"x": "float", "z": "float", "y": "string"}, rows, SampleScope.WHOLE, tried=model)
    assert (report.faults, len(report.notes)) == ([], 1)
    assert "8 classes" in str(report.notes[0])


def test_rows_of_nothing_but_zeros() -> None:
    """A cosine distance can do without a few of them, but not where there are no others."""
    model = {"estimator": "KMeans", "features": FEATURES, "params": {"distanceMeasure": "cosine"}}
    rows = [{"x": 0.0, "z": 0.0}, {"x": 1.0, "z": 0.0}]
    columns = {"x": "float", "z": "float"}
    assert foreseen(columns, rows, SampleScope.WHOLE, tried=model).faults == []
    assert [fault.path for fault in foreseen(columns, rows[:1], SampleScope.WHOLE, tried=model).faults] == [
        "models.tried.features"
    ]


def test_each_model_is_judged_by_itself() -> None:
    """A fault of one model hides none of another's; one with a column that is not declared is left to the parser."""
    columns = {"x": "float", "z": "float", "y": "float"}
    rows = [{"x": -1.0, "z": 1.0, "y": 0.5}]
    good = {"estimator": "LinearRegression", "features": FEATURES, "label": "y"}
    bad = {"estimator": "LogisticRegression", "features": FEATURES, "label": "y"}
    lost = {"estimator": "LogisticRegression", "features": ["nowhere"], "label": "y"}
    recommender = {"estimator": "ALS", "user": "x", "item": "z", "rating": "y"}
    report = foreseen(columns, rows, SampleScope.WHOLE, one=bad, two=good, three=bad, four=lost, five=recommender)
    assert [fault.path for fault in report.faults] == ["models.one.label", "models.three.label"]


def test_classes_that_do_not_count_from_zero_are_names() -> None:
    """Classes 1 and 2, which an estimator of two classes refuses, and classes with gaps, of which Spark trains unused
    ones, are told with the way out: the label as a string, with which there is no fault and no note."""
    columns = {"x": "float", "z": "float", "y": "int"}

    def report(estimator: str, classes: list[int], kind: str = "int") -> list[str]:
        values = [str(value) if kind == "string" else value for value in classes * 5]
        rows = [{"x": float(index), "z": 1.0, "y": value} for index, value in enumerate(values)]
        model = {"estimator": estimator, "features": FEATURES, "label": "y"}
        faults, notes = foreseen(columns | {"y": kind}, rows, SampleScope.TOGETHER, tried=model)
        return [f"fault {fault}" for fault in faults] + [f"note {note}" for note in notes]

    way_out = 'declare y = "string": its values are the names of classes then'
    path = "models.tried.label: found y with the classes"
    zero = "expected classes numbered from 0: 0, 1, ..."
    assert report("GBTClassifier", [1, 2]) == [f"fault {path} 1, 2; {zero}; {way_out}"]
    assert report("LinearSVC", [-1, 1]) == [f"fault {path} -1, 1; {zero}; {way_out}"]
    tried = "in the rows that were tried; " + zero
    assert report("LogisticRegression", [1, 2, 3]) == [
        f"note {path} 1, 2, 3 {tried}; Spark also trains a class that no row has; {way_out}"
    ]
    assert report("DecisionTreeClassifier", [0, 2, 9]) == [
        f"note {path} 0, 2, 9 {tried}; Spark also trains 7 classes that no row has; {way_out}"
    ]
    assert report("LogisticRegression", [0, 1, 2]) == []
    for estimator, classes in (("GBTClassifier", [1, 2]), ("LinearSVC", [-1, 1]), ("LogisticRegression", [0, 9])):
        assert report(estimator, classes, "string") == []
