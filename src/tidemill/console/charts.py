"""The console's charts, each made from plain rows. The theme gives the colours, in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

HEIGHT = 320


def whole(title: str) -> alt.Axis:
    """An axis of whole numbers, no tick between them."""
    return alt.Axis(title=title, tickMinStep=1, format=",d", labelOverlap=True)


def curve_rows(points: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """The points of a model's history that have this metric, for :func:`curve`."""
    found = []
    for point in points:
        value = point["metrics"].get(metric)
        if value is not None:
            span = str(point["first"]) if point["first"] == point["last"] else f"{point['first']}-{point['last']}"
            found.append({"generation": point["last"], "generations": span, **value})
    return found


def curve(rows: Sequence[Mapping[str, Any]], title: str) -> alt.LayerChart:
    """A metric from generation to generation; where a point stands for several, the band is from their least value
    to their greatest."""
    across = alt.X("generation:Q", axis=whole("generation"), scale=alt.Scale(zero=False, nice=False, padding=12))
    value = alt.Axis(title=title, format="~g")
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(x=across)
    band = base.mark_area(opacity=0.25).encode(
        y=alt.Y("min:Q", axis=value, scale=alt.Scale(zero=False)), y2=alt.Y2("max:Q")
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=40)).encode(
        y=alt.Y("mean:Q", axis=value, scale=alt.Scale(zero=False)),
        tooltip=[
            alt.Tooltip("generations:N", title="generation"),
            alt.Tooltip("mean:Q", title="value", format=".4~g"),
            alt.Tooltip("min:Q", title="least", format=".4~g"),
            alt.Tooltip("max:Q", title="greatest", format=".4~g"),
        ],
    )
    chart: alt.LayerChart = (band + line).properties(height=HEIGHT)
    return chart
