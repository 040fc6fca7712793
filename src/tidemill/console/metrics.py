"""Formats a model's metrics and its parity report for the console. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.console.formatting import NONE, counted, number


@dataclass(frozen=True)
class Metric:
    """A metric's titles and scale.

    ``title``: spelled out. ``short``: for the head of a table. ``ceiling``: the greatest value possible, None if there
    is none. No direction is called the better one: that takes a verdict, on the same rows.
    """

    title: str
    short: str
    ceiling: float | None = None


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("accuracy", "accuracy", 1.0),
    "f1": Metric("F1, weighted by class", "F1", 1.0),
    "auc": Metric("area under the ROC curve", "ROC AUC", 1.0),
    "rmse": Metric("root mean squared error", "RMSE"),
    "mae": Metric("mean absolute error", "MAE"),
    "r2": Metric("R²", "R²", 1.0),
    "silhouette": Metric("silhouette", "silhouette", 1.0),
    "cost": Metric("cost: sum of squared distances to the centres", "cost"),  # grows with the number of rows
    "training_cost": Metric("cost on the training rows", "training cost"),
    "mean_log_likelihood": Metric("mean log-likelihood", "log-likelihood"),
    "training_log_likelihood": Metric("log-likelihood of the training rows", "training log-likelihood"),
    "ndcg_at_10": Metric("NDCG at 10", "NDCG at 10", 1.0),
    "precision_at_10": Metric("precision at 10", "precision at 10", 1.0),
    "cold_rows": Metric("held-out rows of users or items without a training row", "cold rows"),
    "candidate_share": Metric("share of the rows that a search compares", "candidates", 1.0),
    "known_words": Metric("share of the words that are known", "known words", 1.0),
}


def described(name: str) -> Metric:
    """The description of a metric; one that is not listed has its name as its title."""
    title = name.replace("_", " ")
    return METRICS.get(name) or Metric(title, title)


def metric_title(name: str) -> str:
    """A metric's title, spelled out."""
    return described(name).title


def axis_range(name: str, values: Iterable[float]) -> tuple[float, float]:
    """The ends of a metric's axis: from 0, or the least value below it, to the metric's ceiling, or the greatest value.

    An axis fitted to the values would show noise in the third digit as a steep slope.
    """
    shown = [0.0, *values]
    ceiling = described(name).ceiling
    least, greatest = min(shown), max(shown) if ceiling is None else max(ceiling, *shown)
    return (least, greatest) if least < greatest else (0.0, 1.0)


def parity(report: Mapping[str, Any] | None) -> str:
    """How the exported scorer compares with Spark: ``500 of 500 rows equal, off by at most 2e-15``."""
    if not report or "rows" not in report:
        return NONE
    text = f"{number(report.get('equal', report['rows']))} of {counted(report['rows'], 'row')} equal"
    greatest = report.get("max_difference")
    return text if greatest is None else f"{text}, off by at most {greatest:.1g}"


def short_parity(report: Mapping[str, Any] | None) -> str:
    """The rows on which the exported scorer and Spark agree, of those compared: ``500 of 500``."""
    if not report or "rows" not in report:
        return NONE
    return f"{number(report.get('equal', report['rows']))} of {number(report['rows'])}"
