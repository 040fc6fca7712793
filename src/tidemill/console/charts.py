"""The console's charts of metrics and answers, and the colours of all its charts. Pure: rows in, Altair charts out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from tidemill.console.metrics import axis_range, metric_title
from tidemill.schemas import HistoryPoint

# Twenty colours with a contrast of at least 2.5 on Streamlit's white and dark backgrounds, chosen by a search for the
# greatest minimum difference of two colours: 15 by CIEDE2000, and 7 as seen with deuteranopia or protanopia (simulated
# by Machado et al. 2009). Each is the farthest from those before it, so the first few differ the most.
PALETTE = (
    "#5588ff",
    "#00bb00",
    "#aa2200",
    "#ff6699",
    "#006655",
    "#5500ff",
    "#22aa99",
    "#aa6600",
    "#cc1199",
    "#448844",
    "#888877",
    "#33aadd",
    "#cc9966",
    "#007799",
    "#665533",
    "#dd5555",
    "#555577",
    "#7766cc",
    "#bb99bb",
    "#996677",
)
BLUE = PALETTE[0]
CURVE_HEIGHT, ANSWERS_HEIGHT = 320, 260
BAR_HEIGHT, AXIS_HEIGHT = 28, 105


def colour(index: int) -> str:
    """The colour of the series or cluster ``index``; the colours repeat after the last one."""
    return PALETTE[index % len(PALETTE)]


def whole_numbers(title: str) -> alt.Axis:
    """An axis of whole numbers, without ticks between them."""
    return alt.Axis(title=title, tickMinStep=1, format=",d", labelOverlap=True)


# --- metrics --------------------------------------------------------------------------------------------------------


def curve_rows(points: Iterable[HistoryPoint], metric: str) -> list[dict[str, Any]]:
    """The points of a model's history that have this metric, for :func:`curve`."""
    rows = []
    for point in points:
        value = point.metrics.get(metric)
        if value is not None:
            span = str(point.first) if point.first == point.last else f"{point.first}-{point.last}"
            rows.append({"generation": point.last, "generations": span, **value.model_dump()})
    return rows


def curve(rows: Sequence[dict[str, Any]], metric: str) -> alt.LayerChart:
    """A metric from generation to generation, on its whole scale (:func:`axis_range`). Where a point stands for several
    generations, a band shows their range."""
    domain = axis_range(metric, [row[end] for row in rows for end in ("min", "max")])
    scale = alt.Scale(domain=list(domain), nice=True)
    axis = alt.Axis(title=metric_title(metric), format="~g")
    generation = alt.X(
        "generation:Q", axis=whole_numbers("generation"), scale=alt.Scale(zero=False, nice=False, padding=12)
    )
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(x=generation)
    band = base.mark_area(opacity=0.25).encode(y=alt.Y("min:Q", axis=axis, scale=scale), y2=alt.Y2("max:Q"))
    line = base.mark_line(point=alt.OverlayMarkDef(size=40)).encode(
        y=alt.Y("mean:Q", axis=axis, scale=scale),
        tooltip=[
            alt.Tooltip("generations:N", title="generation"),
            alt.Tooltip("mean:Q", title="value", format=".4~g"),
            alt.Tooltip("min:Q", title="least", format=".4~g"),
            alt.Tooltip("max:Q", title="greatest", format=".4~g"),
        ],
    )
    chart: alt.LayerChart = (band + line).properties(height=CURVE_HEIGHT)
    return chart


# --- answers --------------------------------------------------------------------------------------------------------


def probability_bars(rows: Sequence[dict[str, Any]], label: str) -> alt.LayerChart:
    """The probability of each class as a bar from 0, with its percentage beside it, in the order of ``rows``."""
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        y=alt.Y("class:N", sort=None, title=label, axis=alt.Axis(labelLimit=160, labelOverlap=False)),
        x=alt.X(
            "probability:Q",
            title="probability (%)",
            scale=alt.Scale(domain=[0, 1.12]),  # room for the percentage
            axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
        ),
        tooltip=[alt.Tooltip("class:N"), alt.Tooltip("probability:Q", format=".2%")],
    )
    percentages = base.mark_text(align="left", dx=4, color="gray").encode(text=alt.Text("probability:Q", format=".1%"))
    chart: alt.LayerChart = (base.mark_bar(color=BLUE) + percentages).properties(
        height=AXIS_HEIGHT + BAR_HEIGHT * len(rows)
    )
    return chart


def over_generations(points: Sequence[dict[str, Any]], title: str, share: bool, named: bool) -> alt.Chart:
    """Every generation's answer to the same row.

    Args:
        points: ``{"generation", "line", "value"}``.
        title: of the vertical axis, with the unit.
        share: the values are probabilities; the axis goes from 0 to 1.
        named: the values are names (classes, or clusters' numbers); no line joins them. Amounts have an axis with 0.
    """
    lines = list(dict.fromkeys(point["line"] for point in points))
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=list(points)))
        .mark_line(point=alt.OverlayMarkDef(size=60), strokeWidth=0 if named else 2)
        .encode(
            x=alt.X(
                "generation:Q",
                axis=whole_numbers("generation"),
                scale=alt.Scale(zero=False, nice=False, padding=12),
            ),
            y=answer_axis(title, share, named),
            color=alt.Color(
                "line:N",
                title=None,
                scale=alt.Scale(domain=lines, range=[colour(index) for index in range(len(lines))]),
                legend=alt.Legend(orient="top", symbolLimit=len(PALETTE), columns=2) if len(lines) > 1 else None,
            ),
            tooltip=[
                alt.Tooltip("generation:Q", format="d"),
                alt.Tooltip("line:N", title="of"),
                alt.Tooltip("value:N", title=title)
                if named
                else alt.Tooltip("value:Q", title=title, format=".2%" if share else ",.6~r"),
            ],
        )
        .properties(height=ANSWERS_HEIGHT)
    )
    return chart


def answer_axis(title: str, share: bool, named: bool) -> alt.Y:
    if named:
        return alt.Y("value:O", title=title)
    if share:
        return alt.Y("value:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    return alt.Y("value:Q", title=title, scale=alt.Scale(zero=True), axis=alt.Axis(format=",~r"))
