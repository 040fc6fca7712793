"""How a model did from generation to generation, in no more points than a chart has room for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tidemill.run.catalog import Generation


def history(generations: Sequence[Generation], model: str, points: int) -> dict[str, Any]:
    """The model in at most ``points`` points, each for as many generations in a row as it takes.

    Points are counted from the first generation on, so that as long as each stands for as many as before, a new
    generation changes the last one only.
    """
    having = [one for one in generations if model in one.models]
    per_point = max(1, -(-len(having) // points))
    parts = [having[start : start + per_point] for start in range(0, len(having), per_point)]
    return {"generations": len(having), "per_point": per_point, "points": [point(part, model) for part in parts]}


def point(generations: Sequence[Generation], model: str) -> dict[str, Any]:
    """These generations as one."""
    trained = [one.models[model] for one in generations]
    names = dict.fromkeys(name for one in trained for name in one.metrics)
    return {
        "first": generations[0].generation,
        "last": generations[-1].generation,
        "rows": fmean(one.rows for one in generations),
        "fit_seconds": fmean(one.fit_seconds for one in trained),
        "metrics": {name: spread([one.metrics.get(name) for one in trained]) for name in names},
    }


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """The mean of the values that there are, the least and the greatest; None where there is none."""
    known = [value for value in values if value is not None]
    return {"mean": fmean(known), "min": min(known), "max": max(known)} if known else None
