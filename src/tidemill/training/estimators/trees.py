"""Decision trees, random forests and gradient-boosted trees.

A tree's nodes are fetched in bulk: Spark turns them into the records that it would save (``NodeData``) and its JSON
library writes them, in one call for each tree. Asking for each node costs a call for each of its parts: minutes for a
big forest. Reading the saved model back needs access to its folder, which may be on a cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from pyspark import SparkContext
from pyspark.ml.classification import DecisionTreeClassifier, GBTClassifier, RandomForestClassifier
from pyspark.ml.regression import DecisionTreeRegressor, GBTRegressor, RandomForestRegressor

from tidemill.errors import TrainingFailed
from tidemill.scoring.storage import Array
from tidemill.scoring.trees import LEAF
from tidemill.training.estimators.rules import least, one_of_any_case
from tidemill.training.export import thresholds, vector_values
from tidemill.training.fitting import train_row_model
from tidemill.training.registry import EstimatorSpec, Exported, Rule

Node = dict[str, Any]  # NodeData of Spark's treeModels.scala
LeafValues = Callable[[Node], list[float]]

SUBSETS = ("auto", "all", "onethird", "sqrt", "log2")


def is_subset(value: str) -> bool:
    """Whether Spark takes the value as the number of features that a node of a forest may choose from."""
    if value.lower() in SUBSETS:
        return True
    try:
        return int(value) > 0 if value.isdecimal() else 0 < float(value) <= 1
    except ValueError:
        return False


TREE_RULES = {
    "featureSubsetStrategy": Rule(is_subset, f"one of {', '.join(SUBSETS)}, a share up to 1 or a number, as a string"),
    "maxBins": least(2),
    "maxDepth": Rule(lambda value: 0 <= value <= 30, "from 0 to 30"),
    "maxMemoryInMB": least(0),
    "minInfoGain": least(0),
    "minInstancesPerNode": least(1),
    "minWeightFractionPerNode": Rule(lambda value: 0 <= value < 0.5, "from 0 to below 0.5"),
    "numTrees": least(1),
}
CLASS_RULES = TREE_RULES | {"impurity": one_of_any_case("gini", "entropy")}
VALUE_RULES = TREE_RULES | {"impurity": one_of_any_case("variance")}


def export_classifier(model: Any) -> Exported:
    return {}, flat(nodes_of(model), class_counts) | thresholds(model) | importances(model)


def export_boosted_classifier(model: Any) -> Exported:
    weights = np.array(model.treeWeights, dtype=np.float64)
    return {}, flat(nodes_of(model), value) | {"weights": weights} | thresholds(model) | importances(model)


def export_regressor(model: Any) -> Exported:
    return {}, flat(nodes_of(model), value) | importances(model)


def export_boosted_regressor(model: Any) -> Exported:
    weights = np.array(model.treeWeights, dtype=np.float64)
    return {}, flat(nodes_of(model), value) | {"weights": weights} | importances(model)


def importances(model: Any) -> dict[str, Array]:
    """Spark's importance of each position of the feature vector."""
    return {"importances": vector_values(model.featureImportances)}


def class_counts(leaf: Node) -> list[float]:
    counts: list[float] = leaf["impurityStats"]
    return counts


def value(leaf: Node) -> list[float]:
    return [leaf["prediction"]]


def nodes_of(model: Any) -> list[list[Node]]:
    """The nodes of each tree. A node comes before its children, and its index in the list is its id."""
    java = model._java_obj
    jvm = SparkContext._active_spark_context._jvm
    builder = getattr(getattr(jvm.org.apache.spark.ml.tree, "DecisionTreeModelReadWrite$NodeData$"), "MODULE$")
    formats = getattr(getattr(jvm.org.json4s, "DefaultFormats$"), "MODULE$")
    write = jvm.org.json4s.jackson.Serialization.write
    trees = java.trees() if hasattr(type(model), "trees") else [java]
    return [json.loads(write(builder.build(tree.rootNode(), 0)._1(), formats)) for tree in trees]


def flat(trees: list[list[Node]], leaf_values: LeafValues) -> dict[str, Array]:
    """The arrays of :class:`tidemill.scoring.trees.Forest`."""
    roots = np.cumsum([0, *(len(tree) for tree in trees[:-1])])
    splits = [split(node, int(root)) for tree, root in zip(trees, roots, strict=True) for node in tree]
    place, threshold, left, right = zip(*splits, strict=True)
    leaves = [leaf_values(node) for tree in trees for node in tree if node["leftChild"] == LEAF]
    return {
        "place": np.array(place, dtype=np.int32),
        "threshold": np.array(threshold, dtype=np.float64),
        "left": np.array(left, dtype=np.int32),
        "right": np.array(right, dtype=np.int32),
        "roots": roots.astype(np.int32),
        "leaves": np.array(leaves, dtype=np.float64),
    }


def split(node: Node, root: int) -> tuple[int, float, int, int]:
    """A node's position in the feature vector, its threshold and its children.

    A split of two categories, 0 and 1, becomes one by threshold: 0 goes left.
    """
    if node["leftChild"] == LEAF:
        return LEAF, 0.0, LEAF, LEAF
    test = node["split"]
    left, right = node["leftChild"] + root, node["rightChild"] + root
    if test["numCategories"] == -1:
        return test["featureIndex"], test["leftCategoriesOrThreshold"][0], left, right
    if test["numCategories"] != 2:
        raise TrainingFailed(f"a tree splits {test['numCategories']} categories at once; only one-hot places are known")
    if test["leftCategoriesOrThreshold"] != [0.0]:
        left, right = right, left
    return test["featureIndex"], 0.0, left, right


ESTIMATORS = (
    EstimatorSpec(DecisionTreeClassifier, train=train_row_model, export=export_classifier, rules=CLASS_RULES),
    EstimatorSpec(RandomForestClassifier, train=train_row_model, export=export_classifier, rules=CLASS_RULES),
    EstimatorSpec(
        GBTClassifier,
        train=train_row_model,
        export=export_boosted_classifier,
        rules=VALUE_RULES | {"lossType": one_of_any_case("logistic"), "maxIter": least(1)},
        two_classes_only=True,
    ),
    EstimatorSpec(DecisionTreeRegressor, train=train_row_model, export=export_regressor, rules=VALUE_RULES),
    EstimatorSpec(RandomForestRegressor, train=train_row_model, export=export_regressor, rules=VALUE_RULES),
    EstimatorSpec(
        GBTRegressor,
        train=train_row_model,
        export=export_boosted_regressor,
        rules=VALUE_RULES | {"lossType": one_of_any_case("squared", "absolute"), "maxIter": least(1)},
    ),
)
