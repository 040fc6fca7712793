"""Plots of answers: the probability of each class, and what each generation says of the same row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from tidemill.console.palette import BLUE, PALETTE

BAR_HEIGHT, AXIS_HEIGHT, HEIGHT = 28, 105, 260


def bars(rows: Sequence[dict[str, Any]], label: str) -> alt.LayerChart:
    """The probability of each class as a bar with its figure, the likeliest on top."""
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        y=alt.Y("class:N", sort=None, title=label, axis=alt.Axis(labelLimit=160, labelOverlap=False)),
        x=alt.X(
            "probability:Q",
            title="probability (%)",
            scale=alt.Scale(domain=[0, 1.12]),
            axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
        ),
        tooltip=[alt.Tooltip("class:N"), alt.Tooltip("probability:Q", format=".2%")],
    )
    figures = base.mark_text(align="left", dx=4, color="gray").encode(text=alt.Text("probability:Q", format=".1%"))
    chart: alt.LayerChart = (base.mark_bar(color=BLUE) + figures).properties(
        height=AXIS_HEIGHT + BAR_HEIGHT * len(rows)
    )
    return chart


def over_generations(points: Sequence[dict[str, Any]], title: str, share: bool, named: bool) -> alt.Chart:
    """What each generation answers to the same row.

    Args:
        points: ``{"generation", "line", "value"}``.
        title: of the vertical axis, with the unit.
        share: the values are probabilities.
        named: the values are names (classes, or clusters' numbers), not amounts.
    """
    lines = list(dict.fromkeys(one["line"] for one in points))
    y = (
        alt.Y("value:O", title=title)
        if named
        else alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(format="%" if share else ",~r"))
    )
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=list(points)))
        .mark_line(point=alt.OverlayMarkDef(size=60), strokeWidth=0 if named else 2)
        .encode(
            x=alt.X(
                "generation:Q",
                title="generation",
                axis=alt.Axis(format="d", tickMinStep=1),
                scale=alt.Scale(zero=False, padding=12),
            ),
            y=y,
            color=alt.Color(
                "line:N",
                title=None,
                scale=alt.Scale(domain=lines, range=[PALETTE[place % len(PALETTE)] for place in range(len(lines))]),
                legend=alt.Legend(orient="top", symbolLimit=10, columns=2) if len(lines) > 1 else None,
            ),
            tooltip=[
                alt.Tooltip("generation:Q", format="d"),
                alt.Tooltip("line:N", title="of"),
                alt.Tooltip("value:N", title=title)
                if named
                else alt.Tooltip("value:Q", title=title, format=".2%" if share else ",.6~r"),
            ],
        )
        .properties(height=HEIGHT)
    )
    return chart
