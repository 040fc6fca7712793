"""What every way of training has in common."""

from __future__ import annotations

from typing import Any, NamedTuple

from tidemill.training import evaluate

SEED = 42  # where the pipeline gives none: pyspark's own default differs from process to process


class Outcome(NamedTuple):
    """What training a model came to."""

    metrics: evaluate.Metrics
    fit_seconds: float
    parity: dict[str, Any]
