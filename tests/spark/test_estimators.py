"""Faults of a pipeline's models, found by pyspark's own classes without a JVM."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.support import ROOT
from tidemill.errors import Fault
from tidemill.pipeline import Raw, parse
from tidemill.scoring import ROW_KINDS, SCORERS
from tidemill.training.estimators.checks import model_faults, pyspark_estimators, value_faults
from tidemill.training.registry import EstimatorSpec, registry

COLUMNS = {
    "size": "float",
    "count": "int",
    "colour": "string",
    "good": "bool",
    "kind": "int",
    "price": "float",
    "at": "timestamp",
    "a.b": "float",
    "prediction": "float",
}


def faults(**model: Any) -> dict[str, Fault]:
    """The faults of a pipeline with that one model, by their path below ``models.m``."""
    raw = {
        "name": "tried",
        "source": {"path": "x.csv", "columns": COLUMNS},
        "stream": {"topic": "t"},
        "batches": {"rows": 10},
        "models": {"m": {"features": ["size", "colour"], **model}},
    }
    parse(Raw("tried", ROOT, raw))
    found = model_faults(raw)
    return {fault.path.removeprefix("models.m."): fault for fault in found}


@pytest.mark.parametrize(
    "model",
    [
        {"estimator": "LogisticRegression", "label": "good", "labels": {"true": "fine"}, "params": {"maxIter": 5}},
        {
            "estimator": "LogisticRegression",
            "label": "colour",
            "features": ["size"],
            "params": {"thresholds": [1, 0.5]},
        },
        {"estimator": "LinearRegression", "label": "price", "params": {"loss": "huber", "epsilon": 1.5, "regParam": 1}},
        {"estimator": "KMeans", "params": {"k": 2, "seed": 1, "distanceMeasure": "cosine"}},
        {
            "estimator": "RandomForestClassifier",
            "label": "kind",
            "params": {"numTrees": 1, "maxDepth": 30, "impurity": "Entropy", "featureSubsetStrategy": "0.3"},
        },
        {"estimator": "GBTRegressor", "label": "price", "params": {"lossType": "Absolute", "stepSize": 1}},
        {"estimator": "LinearSVC", "label": "good", "params": {"threshold": -3.5}},
        {"estimator": "NaiveBayes", "label": "kind", "params": {"modelType": "gaussian"}, "scale": "standard"},
        {"estimator": "NaiveBayes", "label": "kind", "params": {"smoothing": 0}},
        {
            "estimator": "GeneralizedLinearRegression",
            "label": "price",
            "params": {"family": "tweedie", "variancePower": 1.5, "linkPower": -0.3},
        },
        {"estimator": "GeneralizedLinearRegression", "label": "price", "params": {"family": "Gamma", "link": "LOG"}},
    ],
)
def test_a_good_model_has_no_fault(model: dict[str, Any]) -> None:
    """What Spark takes is no fault."""
    assert faults(**model) == {}


LOGISTIC = {"estimator": "LogisticRegression", "label": "kind"}
LINEAR = {"estimator": "LinearRegression", "label": "price"}
KMEANS = {"estimator": "KMeans"}
FOREST = {"estimator": "RandomForestClassifier", "label": "kind"}
BOOSTED = {"estimator": "GBTClassifier", "label": "kind"}
BAYES = {"estimator": "NaiveBayes", "label": "kind"}
LINKED = {"estimator": "GeneralizedLinearRegression", "label": "price"}


@pytest.mark.parametrize(
    ("model", "path", "words"),
    [
        ({"estimator": "LogisticRegresion"}, "estimator", 'did you mean "LogisticRegression"?'),
        (
            {"estimator": "FMClassifier", "label": "kind"},
            "estimator",
            "cannot export yet; expected one of DecisionTree",
        ),
        ({"estimator": "Pipeline"}, "estimator", "an estimator of pyspark.ml"),
        ({**LOGISTIC, "params": {"regParm": 1}}, "params.regParm", 'did you mean "regParam"?'),
        ({**LOGISTIC, "params": {"regParam": "high"}}, "params.regParam", "found 'high'; expected a number"),
        ({**LOGISTIC, "params": {"maxIter": 1.5}}, "params.maxIter", "expected a whole number"),
        ({**LOGISTIC, "params": {"regParam": True}}, "params.regParam", "expected a number"),
        ({**LOGISTIC, "params": {"fitIntercept": 1}}, "params.fitIntercept", "expected true or false"),
        ({**LOGISTIC, "params": {"family": 3}}, "params.family", "expected a string"),
        ({**LOGISTIC, "params": {"featuresCol": "x"}}, "params.featuresCol", "Tidemill sets the columns"),
        ({**LOGISTIC, "params": {"weightCol": "size"}}, "params.weightCol", "Tidemill sets the columns"),
        ({**LOGISTIC, "params": {"regParam": -1}}, "params.regParam", "0 or more"),
        ({**LOGISTIC, "params": {"elasticNetParam": 1.01}}, "params.elasticNetParam", "from 0 to 1"),
        ({**LOGISTIC, "params": {"family": "gaussian"}}, "params.family", "auto, binomial, multinomial"),
        ({**LOGISTIC, "params": {"thresholds": [0, 0]}}, "params.thresholds", "at most one that is 0"),
        ({**LOGISTIC, "params": {"threshold": 0.5, "thresholds": [1, 1]}}, "params.threshold", "one of them"),
        ({**LOGISTIC, "params": {"lowerBoundsOnIntercepts": [[1.0]]}}, "params.lowerBoundsOnIntercepts", "vector"),
        ({**LINEAR, "params": {"solver": "sgd"}}, "params.solver", "auto, normal, l-bfgs"),
        ({**LINEAR, "params": {"loss": "huber", "elasticNetParam": 0.5}}, "params.elasticNetParam", "huber"),
        ({**LINEAR, "params": {"loss": "huber", "solver": "normal"}}, "params.solver", "huber"),
        ({**FOREST, "params": {"maxDepth": 31}}, "params.maxDepth", "from 0 to 30"),
        ({**FOREST, "params": {"maxBins": 1}}, "params.maxBins", "2 or more"),
        ({**FOREST, "params": {"numTrees": 0}}, "params.numTrees", "1 or more"),
        ({**FOREST, "params": {"impurity": "variance"}}, "params.impurity", "gini, entropy"),
        ({**FOREST, "params": {"subsamplingRate": 0}}, "params.subsamplingRate", "above 0, at most 1"),
        ({**FOREST, "params": {"featureSubsetStrategy": "half"}}, "params.featureSubsetStrategy", "onethird, sqrt"),
        ({**FOREST, "params": {"featureSubsetStrategy": "1.5"}}, "params.featureSubsetStrategy", "a share up to 1"),
        ({**FOREST, "params": {"minInstancesPerNode": 0}}, "params.minInstancesPerNode", "1 or more"),
        ({**FOREST, "params": {"minWeightFractionPerNode": 0.5}}, "params.minWeightFractionPerNode", "below 0.5"),
        ({**FOREST, "params": {"leafCol": "leaf"}}, "params.leafCol", "Tidemill sets the columns"),
        ({**BOOSTED, "params": {"stepSize": 1.5}}, "params.stepSize", "above 0, at most 1"),
        ({**BOOSTED, "params": {"lossType": "squared"}}, "params.lossType", "one of logistic"),
        ({**BOOSTED, "params": {"maxIter": 0}}, "params.maxIter", "1 or more"),
        ({**BAYES, "params": {"modelType": "Gaussian"}}, "params.modelType", "multinomial, complement, bernoulli"),
        ({**BAYES, "params": {"smoothing": -1}}, "params.smoothing", "0 or more"),
        ({**BAYES, "scale": "standard"}, "scale", "none: a multinomial NaiveBayes takes only numbers from 0 on"),
        ({**BAYES, "params": {"modelType": "bernoulli"}, "scale": "minmax"}, "scale", "takes only 0 and 1"),
        ({**LINKED, "params": {"family": "binary"}}, "params.family", "gaussian, binomial, poisson, gamma, tweedie"),
        ({**LINKED, "params": {"family": "poisson", "link": "logit"}}, "params.link", "log, identity, sqrt"),
        ({**LINKED, "params": {"link": "sqrt"}}, "params.link", "identity, log, inverse with gaussian"),
        ({**LINKED, "params": {"family": "tweedie", "link": "log"}}, "params.link", "linkPower"),
        ({**LINKED, "params": {"linkPower": 0.5}}, "params.linkPower", "it has no effect with gaussian"),
        ({**LINKED, "params": {"family": "tweedie", "variancePower": 0.5}}, "params.variancePower", "0, or 1 or more"),
        ({**LINKED, "params": {"offsetCol": "size"}}, "params.offsetCol", "Tidemill sets the columns"),
        ({**KMEANS, "params": {"k": 1}}, "params.k", "2 or more"),
        ({**KMEANS, "params": {"distanceMeasure": "manhattan"}}, "params.distanceMeasure", "euclidean, cosine"),
        ({"estimator": "LogisticRegression"}, "label", "the column of the labels of LogisticRegression"),
        ({**KMEANS, "label": "kind"}, "label", "no label"),
        ({**LINEAR, "labels": {"0": "no"}}, "labels", "none: LinearRegression is regression"),
        ({"estimator": "LinearRegression", "label": "colour", "features": ["size"]}, "label", "numbers or booleans"),
        ({"estimator": "LogisticRegression", "label": "at"}, "label", "a timestamp"),
        ({**LOGISTIC, "labels": {"yes": "Yes"}}, "labels.yes", "the classes of an int label"),
        ({"estimator": "LogisticRegression", "label": "good", "labels": {"1": "Yes"}}, "labels.1", "true or false"),
    ],
)
def test_a_fault_is_named_with_its_path_and_a_way_out(model: dict[str, Any], path: str, words: str) -> None:
    """Every fault says where it is, and what was expected or meant."""
    found = faults(**model)
    assert list(found) == [path]
    assert words in str(found[path])


def test_all_faults_come_at_once() -> None:
    """One look finds every fault of every model."""
    found = faults(estimator="KMeans", label="kind", labels={"1": "a"}, params={"k": 0, "kk": 1, "maxIter": "x"})
    assert set(found) == {"label", "labels", "params.k", "params.kk", "params.maxIter"}


# Values that our own rules refuse though Spark's validators take them: what Spark then does is no good.
STRICTER = {("GBTClassifier", "maxIter"), ("GBTRegressor", "maxIter")}
PROBES: dict[str, list[Any]] = {
    "int": [-2, -1, 0, 1, 2, 30, 31],
    "float": [-1.0, 0.0, 1e-9, 0.49, 0.5, 1.0, 1.5, 2.0],
    "str": [
        *("gini", "Entropy", "variance", "auto", "sqrt", "half", "7", "0", "0.5", "1.0", "1.1", "-1", "logistic"),
        *("squared", "Absolute", "huber", "multinomial", "Gaussian", "gaussian", "tweedie", "binomial", "log", "Power"),
        *("logit", "cloglog", "irls", "normal", "l-bfgs"),
    ],
}


@pytest.mark.parametrize(
    "spec", [spec for spec in registry().values() if spec.is_supervised], ids=lambda spec: spec.name
)
def test_the_rules_are_sparks_own(spark: SparkSession, spec: EstimatorSpec) -> None:
    """Each supervised estimator's parameters are judged as Spark's own validators judge them."""
    estimator = spec.spark_class()
    for param in estimator.params:
        java = estimator._java_obj.getParam(param.name).isValid()
        converted = {"toInt": "int", "toFloat": "float", "toString": "str"}.get(param.typeConverter.__name__, "")
        if param.name.endswith("Col") or (spec.name, param.name) in STRICTER:
            continue
        for value in PROBES.get(converted, []):
            ours = not list(value_faults("here", spec, param, value))
            assert ours == java.apply(value), f"{param.name} = {value!r}"


def test_every_exportable_estimator_has_an_export_and_a_scorer() -> None:
    """The registry, the exports and the scorers name the same estimators, all of them pyspark's."""
    assert set(registry()) == set(SCORERS)
    assert len(registry()) == 17
    assert all(spec.export is not None for spec in registry().values() if spec.kind in ROW_KINDS)
    assert set(registry()) <= set(pyspark_estimators())


def test_the_kinds_are_those_of_pysparks_own_modules() -> None:
    """Estimators of every family are known by their class's name."""
    known = pyspark_estimators()
    expected = {
        "RandomForestClassifier": "classification",
        "GBTRegressor": "regression",
        "BisectingKMeans": "clustering",
        "ALS": "recommendation",
        "FPGrowth": "frequent patterns",
        "Word2Vec": "feature transformation",
    }
    assert {name: known[name] for name in expected} == expected
    assert not {"Classifier", "Predictor", "JavaEstimator"} & set(known)


def test_no_jvm_is_started() -> None:
    """Checking models needs no Java: it works where none can be found."""
    code = (
        "from tidemill.pipeline import prepare; from tidemill.training.estimators.checks import model_faults;"
        "import pyspark; assert model_faults(prepare('smart-home').values) == [];"
        "assert pyspark.SparkContext._gateway is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "/nonexistent"}, cwd=ROOT, timeout=60)
