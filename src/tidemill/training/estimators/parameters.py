"""What Spark demands of the parameters of its estimators, so that a pipeline file's faults are found before Spark runs.

The rules are those of the parameters' own validators and of the estimators' ``validateParams`` and ``train``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tidemill.errors import Fault, shorten
from tidemill.pipeline import Model


class Rule(NamedTuple):
    """What Spark demands of a parameter's value beyond its type."""

    fits: Callable[[Any], bool]
    expected: str


def least(bound: float) -> Rule:
    return Rule(lambda value: value >= bound, f"{bound:g} or more")


def one_of(*names: str) -> Rule:
    return Rule(lambda value: value in names, f"one of {', '.join(names)}")


def folded(*names: str) -> Rule:
    """One of these in capitals or not."""
    return Rule(lambda value: value.lower() in names, f"one of {', '.join(names)}")


def subset(value: str) -> bool:
    """Whether Spark takes it for how many features a node of a forest may choose from."""
    if value.lower() in SUBSETS:
        return True
    try:
        return int(value) > 0 if value.isdecimal() else 0 < float(value) <= 1
    except ValueError:
        return False


def none(reason: str) -> Rule:
    return Rule(lambda value: False, f"no such key: {reason}")


SUBSETS = ("auto", "all", "onethird", "sqrt", "log2")
UNIT = Rule(lambda value: 0 <= value <= 1, "from 0 to 1")
SHARE = Rule(lambda value: 0 < value <= 1, "above 0, at most 1")
RULES: dict[str, Rule] = {
    "aggregationDepth": least(2),
    "checkpointInterval": Rule(lambda value: value == -1 or value >= 1, "1 or more, or -1 for none"),
    "distanceMeasure": one_of("euclidean", "cosine"),
    "elasticNetParam": UNIT,
    "epsilon": Rule(lambda value: value > 1, "above 1"),
    "featureSubsetStrategy": Rule(subset, f"one of {', '.join(SUBSETS)}, a share up to 1 or a number, as a string"),
    "initMode": one_of("k-means||", "random"),
    "initSteps": least(1),
    "k": least(2),
    "loss": one_of("squaredError", "huber"),
    "maxBins": least(2),
    "maxBlockSizeInMB": least(0),
    "maxDepth": Rule(lambda value: 0 <= value <= 30, "from 0 to 30"),
    "maxIter": least(0),
    "maxMemoryInMB": least(0),
    "minInfoGain": least(0),
    "minInstancesPerNode": least(1),
    "minWeightFractionPerNode": Rule(lambda value: 0 <= value < 0.5, "from 0 to below 0.5"),
    "numTrees": least(1),
    "regParam": least(0),
    "smoothing": least(0),
    "stepSize": SHARE,
    "subsamplingRate": SHARE,
    "threshold": UNIT,
    "thresholds": Rule(
        lambda value: min(value, default=-1) >= 0 and len(value) > 1 and value.count(0) < 2,
        "one number for each class, all above 0 but for at most one that is 0",
    ),
    "tol": least(0),
    "validationTol": least(0),
}
CLASS_TREES: dict[str, Rule] = {"impurity": folded("gini", "entropy")}
VALUE_TREES: dict[str, Rule] = {"impurity": folded("variance")}
STORAGE = one_of("MEMORY_AND_DISK", "MEMORY_ONLY", "DISK_ONLY")
# The links of each family of GeneralizedLinearRegression; its own comes first.
LINKS = {
    "gaussian": ("identity", "log", "inverse"),
    "binomial": ("logit", "probit", "cloglog"),
    "poisson": ("log", "identity", "sqrt"),
    "gamma": ("inverse", "identity", "log"),
}
RULES_OF: dict[str, dict[str, Rule]] = {
    "ALS": {
        "alpha": least(0),
        "blockSize": least(1),
        "checkpointInterval": Rule(lambda value: 1 <= value <= 10, "from 1 to 10"),  # longer plans may kill the JVM
        "coldStartStrategy": none("rows of users and items that were not trained are counted as cold_rows"),
        "finalStorageLevel": STORAGE,
        "intermediateStorageLevel": STORAGE,
        "maxIter": least(1),  # Spark takes 0 and gives random factors, which no ratings lead back to
        "numItemBlocks": least(1),
        "numUserBlocks": least(1),
        "rank": least(1),
    },
    "BucketedRandomProjectionLSH": {
        "bucketLength": Rule(lambda value: value > 0, "above 0"),
        "numHashTables": least(1),
    },
    "BisectingKMeans": {
        "maxIter": least(1),
        "minDivisibleClusterSize": Rule(lambda value: value > 0, "above 0"),
    },
    "IDF": {"minDocFreq": least(0)},
    "LogisticRegression": {"family": one_of("auto", "binomial", "multinomial")},
    "LinearRegression": {"solver": one_of("auto", "normal", "l-bfgs")},
    "LinearSVC": {"threshold": Rule(lambda value: value == value, "a number: it is compared with the margin")},
    "NaiveBayes": {"modelType": one_of("multinomial", "complement", "bernoulli", "gaussian")},
    "DecisionTreeClassifier": CLASS_TREES,
    "RandomForestClassifier": CLASS_TREES,
    "GBTClassifier": VALUE_TREES | {"lossType": folded("logistic"), "maxIter": least(1)},
    "DecisionTreeRegressor": VALUE_TREES,
    "RandomForestRegressor": VALUE_TREES,
    "GBTRegressor": VALUE_TREES | {"lossType": folded("squared", "absolute"), "maxIter": least(1)},
    "GeneralizedLinearRegression": {
        "family": folded(*LINKS, "tweedie"),
        "link": folded(*dict.fromkeys(link for links in LINKS.values() for link in links)),
        "solver": one_of("irls"),
        "variancePower": Rule(lambda value: value == 0 or value >= 1, "0, or 1 or more"),
    },
    "KMeans": {"solver": one_of("auto", "row", "block")},
}
# Parameters that Spark has no default for, and what they are.
NEEDED = {"BucketedRandomProjectionLSH": {"bucketLength": "how wide a bucket is, in the unit of the scaled features"}}


def together_faults(path: str, model: Model) -> Iterator[Fault]:
    """Parameters of the model at ``path`` that are good alone and refused, or without effect, together."""
    params, where = model.params, f"{path}.params"
    if "threshold" in params and "thresholds" in params:
        yield Fault(f"{where}.threshold", "both threshold and thresholds", "one of them")
    if params.get("loss") == "huber" and params.get("elasticNetParam", 0) != 0:
        yield Fault(f"{where}.elasticNetParam", shorten(params["elasticNetParam"]), 'none with loss = "huber"')
    if params.get("loss") == "huber" and params.get("solver") == "normal":
        yield Fault(f"{where}.solver", '"normal"', 'auto or l-bfgs with loss = "huber"')
    if model.estimator == "GeneralizedLinearRegression":
        yield from link_faults(where, params)
    if model.estimator == "NaiveBayes":
        yield from bayes_faults(path, model)


def link_faults(where: str, params: Mapping[str, Any]) -> Iterator[Fault]:
    """What doesn't go with the family of a GeneralizedLinearRegression: Spark refuses it, or ignores it and warns."""
    family, link = (str(params.get(name, first)).lower() for name, first in (("family", "gaussian"), ("link", "")))
    tweedie = family == "tweedie"
    for name in ("link",) if tweedie else ("linkPower", "variancePower"):
        if name in params:
            expected = "linkPower instead" if tweedie else 'link instead, or family = "tweedie"'
            yield Fault(f"{where}.{name}", shorten(params[name]), expected, f"it has no effect with {family}")
    if family in LINKS and "link" in params and link not in LINKS[family]:
        yield Fault(f"{where}.link", shorten(params["link"]), f"one of {', '.join(LINKS[family])} with {family}")


def bayes_faults(path: str, model: Model) -> Iterator[Fault]:
    """Scaled numbers are below 0, at least those of rows that come later: most NaiveBayes take none."""
    kind = model.params.get("modelType", "multinomial")
    if kind != "gaussian" and model.scale != "none":
        wanted = "0 and 1" if kind == "bernoulli" else "numbers from 0 on"
        yield Fault(f"{path}.scale", f'"{model.scale}"', f"none: a {kind} NaiveBayes takes only {wanted}")
