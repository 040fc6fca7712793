"""Decision trees and what is made of them.

A tree's nodes are fetched in bulk: Spark turns them into the records that it would save (``NodeData``) and its JSON
library writes them, one call a tree. To ask for each node costs a call for each of its parts, minutes for a big forest;
to read the saved model back would need its folder to be seen from here, which a cluster's need not be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from pyspark import SparkContext

from tidemill.errors import TrainingFailed
from tidemill.scoring.storage import Array
from tidemill.scoring.trees import LEAF
from tidemill.training.export.arrays import Exported, thresholds

Node = dict[str, Any]  # NodeData of Spark's treeModels.scala
Says = Callable[[Node], list[float]]


def tree_classifier(model: Any) -> Exported:
    return {}, flat(nodes_of(model), counts) | thresholds(model)


def boosted_classifier(model: Any) -> Exported:
    weights = np.array(model.treeWeights, dtype=np.float64)
    return {}, flat(nodes_of(model), value) | {"weights": weights} | thresholds(model)


def tree_regressor(model: Any) -> Exported:
    return {}, flat(nodes_of(model), value)


def boosted_regressor(model: Any) -> Exported:
    return {}, flat(nodes_of(model), value) | {"weights": np.array(model.treeWeights, dtype=np.float64)}


def counts(leaf: Node) -> list[float]:
    found: list[float] = leaf["impurityStats"]
    return found


def value(leaf: Node) -> list[float]:
    return [leaf["prediction"]]


def nodes_of(model: Any) -> list[list[Node]]:
    """Each tree's nodes, every node before its children: a node's place in its list is its id."""
    java = model._java_obj
    jvm = SparkContext._active_spark_context._jvm
    builder = getattr(getattr(jvm.org.apache.spark.ml.tree, "DecisionTreeModelReadWrite$NodeData$"), "MODULE$")
    formats = getattr(getattr(jvm.org.json4s, "DefaultFormats$"), "MODULE$")
    write = jvm.org.json4s.jackson.Serialization.write
    trees = java.trees() if hasattr(type(model), "trees") else [java]
    return [json.loads(write(builder.build(tree.rootNode(), 0)._1(), formats)) for tree in trees]


def flat(trees: list[list[Node]], says: Says) -> dict[str, Array]:
    """The arrays of ``scoring.trees.Forest``."""
    roots = np.cumsum([0, *(len(tree) for tree in trees[:-1])])
    splits = [split(node, int(root)) for tree, root in zip(trees, roots, strict=True) for node in tree]
    place, threshold, left, right = zip(*splits, strict=True)
    leaves = [says(node) for tree in trees for node in tree if node["leftChild"] == LEAF]
    return {
        "place": np.array(place, dtype=np.int32),
        "threshold": np.array(threshold, dtype=np.float64),
        "left": np.array(left, dtype=np.int32),
        "right": np.array(right, dtype=np.int32),
        "roots": roots.astype(np.int32),
        "leaves": np.array(leaves, dtype=np.float64),
    }


def split(node: Node, root: int) -> tuple[int, float, int, int]:
    """Place, threshold and children of a node; of two categories, 0 and 1, the 0 always goes left."""
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
