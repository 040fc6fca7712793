"""Models of parts of timestamps and of terms of texts are judged by the columns that these are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.judged_run import MODEL, JudgedRun
from tidemill.run.catalog import TrainedModel
from tidemill.run.files import sha256
from tidemill.scoring.storage import write
from tidemill.scoring.terms import TOKENS, packed

FEATURES = ["hour(at)", "year(at)", "tfidf(text)"]
AMSTERDAM = {"type": "timestamp?", "timezone": "Europe/Amsterdam"}
DOCUMENT: dict[str, Any] = {
    "name": "derived",
    "source": {"path": "rows.csv", "columns": {"id": "int", "at": AMSTERDAM, "text": "string?", "y": "float"}},
    "stream": {"topic": "derived"},
    "batches": {"rows": 1000},
    "models": {MODEL: {"estimator": "LinearRegression", "features": FEATURES, "label": "y"}},
}
KINDS: list[dict[str, Any]] = [
    {"name": "hour(at)", "kind": "string", "categories": ["0", "23"], "function": "hour", "of": "at"},
    {"name": "year(at)", "kind": "int", "function": "year", "of": "at"},
    {"name": "tfidf(text)", "kind": "text", "function": "tfidf", "of": "text"},
]


class DerivedRun(JudgedRun):
    """Its generation k says ``k + year + 10 (at midnight) + 20 (at 23 h) + 3 (for each car) + 2 * 5 (for each red)``,
    by the clock of Amsterdam."""

    def trained(self, model: str, folder: Path, rows: pa.Table, spoil: float) -> TrainedModel:
        path = folder / "scorers" / f"{model}.npz"
        path.parent.mkdir(parents=True)
        kinds = [{**kind, "zone": "Europe/Amsterdam"} for kind in KINDS]
        text: dict[str, Any] = {
            "model": model,
            "estimator": "LinearRegression",
            "labels": {},
            "classes": None,
            "features": kinds,
        }
        terms, ends = packed(["car", "red"])
        coefficients = np.array([[1.0], [10.0], [20.0], [3.0], [5.0]])
        words: dict[str, Any] = {"terms_0": terms, "term_ends_0": ends, "idf_0": np.array([1.0, 2.0])}
        made = {"coefficients": coefficients, "intercept": np.array([float(folder.name)]), **words}
        write(path, {**text, "tokens": TOKENS}, made)
        files: dict[str, Any] = {"scorer_path": self.run.relative(path), "sha256": sha256(path), "spark_path": "none"}
        return TrainedModel(model, "LinearRegression", {}, 0.5, {"rows": 3}, {"train": len(rows)}, **files)


ROWS = [
    (datetime(2025, 12, 31, 23, 30, tzinfo=UTC), "Cars, red cars", 2026 + 10 + 6 + 10.0),  # midnight of the next year
    (datetime(2026, 7, 1, 21, 30, tzinfo=UTC), "", 2026 + 20.0),  # in summer time
    (datetime(2026, 7, 1, 23, 30, tzinfo=UTC), "blue", 2026.0),  # an hour that training has not seen
    (None, "red", 1.0),  # not judged
    (datetime(2026, 7, 1, 23, 30, tzinfo=UTC), None, 1.0),  # likewise
]


def test_a_model_of_derived_features_is_judged(tmp_path: Path) -> None:
    """Each generation's loss is that of the right answers; a row without a timestamp or text has none. The columns
    themselves are looked at for drift."""
    run = DerivedRun(tmp_path, document=DOCUMENT)
    many = ROWS * 4
    rows = {
        "id": np.arange(len(many)),
        "at": pa.array([at for at, _, _ in many], pa.timestamp("us", "UTC")),
        "text": [text for _, text, _ in many],
        "y": [y for _, _, y in many],
    }
    for _ in range(3):
        run.step(pa.table(rows))
    assert [judging.error for judging in run.run.catalog.judgings()] == [None] * 6
    cells = run.run.catalog.cells(MODEL, evidence="settled")
    losses = [(cell.generation, cell.batch, cell.n, cell.mean) for cell in cells if not cell.trivial]
    assert losses == [(1, 2, 12, 1.0), (1, 3, 12, 1.0), (2, 3, 12, 2.0)]
    values = [answer for _, _, answer in ROWS[:3]]
    trivial = next(cell.mean for cell in cells if cell.trivial)
    assert trivial == pytest.approx(np.abs(np.array(values) - np.mean(values)).mean(), rel=0.05)  # some are held out
    assert {drift.column for drift in run.run.catalog.drifts()} >= {"text", "text: missing"}
