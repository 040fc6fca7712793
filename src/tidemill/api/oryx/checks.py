"""Checks the models that ``[serve] oryx`` names. Reads nothing but the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.errors import Fault
from tidemill.pipeline import table
from tidemill.scoring import SCORERS, Kind
from tidemill.texts import did_you_mean

Family = str
FAMILIES: dict[Kind, Family] = {
    "recommendation": "recommender",
    "clustering": "clustering",
    "classification": "classifier or regression",
    "regression": "classifier or regression",
}


def oryx_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Names that are no model, models that Oryx has no paths for, and two whose paths are the same."""
    models, named = table(raw, "models"), table(raw, "serve").get("oryx", ())
    taken: dict[Family, str] = {}
    for name in [named] if isinstance(named, str) else named if isinstance(named, list | tuple) else ():
        estimator = str(table(models, str(name)).get("estimator"))
        if name not in models:
            yield Fault("serve.oryx", f'"{name}"', "a model", did_you_mean(str(name), list(models)))
        elif estimator in SCORERS:
            yield from family_faults(str(name), estimator, taken)


def family_faults(name: str, estimator: str, taken: dict[Family, str]) -> Iterator[Fault]:
    """``taken``: the model of each family so far; this one is added."""
    kind = SCORERS[estimator].kind
    family = FAMILIES.get(kind)
    if family is None:
        expected = f"a {', a '.join(dict.fromkeys(FAMILIES.values()))}"
        yield Fault("serve.oryx", f'"{name}", a {estimator}', expected, f"Oryx has no paths for {kind}")
    elif taken.setdefault(family, name) != name:
        yield Fault("serve.oryx", f'"{taken[family]}" and "{name}"', f"one {family}", "their paths are the same")
