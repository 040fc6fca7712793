"""The faults of outputs that need the registry of scorers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.errors import Fault
from tidemill.pipeline import table
from tidemill.scoring import ROW_KINDS, SCORERS, kind_of


def kind_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of outputs whose model has no prediction for a row."""
    outputs = raw.get("outputs")
    for index, output in enumerate(outputs if isinstance(outputs, list) else []):
        model = table(table(raw, "models"), str(table({"": output}, "").get("model")))
        estimator = model.get("estimator")
        if estimator in SCORERS and kind_of(estimator) not in ROW_KINDS:
            found = f'"{output["model"]}", whose estimator {estimator} has no prediction for a row'
            yield Fault(f"outputs[{index}].model", found, "a classifier, a regression or a clustering")
