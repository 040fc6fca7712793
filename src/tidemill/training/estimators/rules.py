"""Spark's rules for its estimators' parameters, so that faults of a pipeline file are found before Spark runs.

The rules are those of the parameters' own validators and of the estimators' ``validateParams`` and ``train``. Those
here hold for the parameter in every estimator; each family adds its own.
"""

from __future__ import annotations

from tidemill.training.registry import Rule


def least(bound: float) -> Rule:
    return Rule(lambda value: value >= bound, f"{bound:g} or more")


def above(bound: float) -> Rule:
    return Rule(lambda value: value > bound, f"above {bound:g}")


def one_of(*names: str) -> Rule:
    return Rule(lambda value: value in names, f"one of {', '.join(names)}")


def one_of_any_case(*names: str) -> Rule:
    """One of these, in upper or lower case."""
    return Rule(lambda value: value.lower() in names, f"one of {', '.join(names)}")


def no_such_key(reason: str) -> Rule:
    return Rule(lambda value: False, f"no such key: {reason}")


UNIT = Rule(lambda value: 0 <= value <= 1, "from 0 to 1")
SHARE = Rule(lambda value: 0 < value <= 1, "above 0, at most 1")

SHARED_RULES: dict[str, Rule] = {
    "aggregationDepth": least(2),
    "checkpointInterval": Rule(lambda value: value == -1 or value >= 1, "1 or more, or -1 for none"),
    "elasticNetParam": UNIT,
    "maxBlockSizeInMB": least(0),
    "maxIter": least(0),
    "regParam": least(0),
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
