"""Plots of clusters: their sizes, two features of their rows, and a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from tidemill.console.clusters import geo
from tidemill.console.palette import PALETTE

HEIGHT, MAP_HEIGHT, BAR_HEIGHT, AXIS_HEIGHT = 420, 520, 26, 100

Points = Mapping[str, Any]  # as the API tells them


def colours(numbers: Sequence[int]) -> alt.Scale:
    """A colour for each cluster; with more than there are colours, these begin anew."""
    return alt.Scale(domain=list(numbers), range=[PALETTE[number % len(PALETTE)] for number in numbers])


def sizes(clusters: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """How many training rows are in each cluster."""
    numbers = [one["cluster"] for one in clusters]
    total = sum(one["size"] for one in clusters) or 1
    rows = [{"cluster": one["cluster"], "size": one["size"], "share": one["size"] / total} for one in clusters]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("cluster:O", title="cluster", axis=alt.Axis(labelOverlap=False)),
        x=alt.X(
            "size:Q",
            title="size (training rows)",
            axis=alt.Axis(format=",d", tickCount=4, tickMinStep=1),
            scale=alt.Scale(domain=[0, 1.12 * max(1, *(one["size"] for one in rows))], nice=False),
        ),
        tooltip=[
            alt.Tooltip("cluster:O"),
            alt.Tooltip("size:Q", format=","),
            alt.Tooltip("share:Q", format=".1%"),
        ],
    )
    bars = base.mark_bar().encode(color=alt.Color("cluster:O", scale=colours(numbers), legend=None))
    figures = base.mark_text(align="left", dx=4, color="gray").encode(text=alt.Text("share:Q", format=".1%"))
    chart: alt.LayerChart = (bars + figures).properties(height=AXIS_HEIGHT + BAR_HEIGHT * len(rows))
    return chart


def scatter(points: Points, numbers: Sequence[int], titles: tuple[str, str]) -> alt.LayerChart:
    """Two features of the rows, each in its cluster's colour, with the centres by their numbers."""
    across = alt.X("x:Q", title=titles[0], scale=alt.Scale(zero=False))
    up = alt.Y("y:Q", title=titles[1], scale=alt.Scale(zero=False))
    return layers(points, numbers, titles, across, up).properties(height=HEIGHT)


def earth(points: Points, numbers: Sequence[int]) -> alt.LayerChart:
    """The rows on a map: x is longitude, y latitude, a kilometre as long one way as the other, whatever the width."""
    titles = ("longitude (°)", "latitude (°)")
    found = geo.view(points["columns"]["y"], points["columns"]["x"])
    per_degree = f"min(height / {2 * found.up:.9g}, width / {2 * found.across * found.narrowing:.9g})"  # of latitude
    half_up = f"(height / 2 / ({per_degree}))"
    half_across = f"(width / 2 / ({per_degree}) / {found.narrowing:.9g})"
    across = alt.X("x:Q", title=titles[0], scale=around(found.longitude, half_across), axis=alt.Axis(tickCount=5))
    up = alt.Y("y:Q", title=titles[1], scale=around(found.latitude, half_up))
    return layers(points, numbers, titles, across, up).properties(height=MAP_HEIGHT)


def around(middle: float, half: str) -> alt.Scale:
    """A scale as far to either side of its middle as a Vega expression says."""
    return alt.Scale(
        domainMin=alt.ExprRef(f"{middle:.9g} - {half}"),
        domainMax=alt.ExprRef(f"{middle:.9g} + {half}"),
        zero=False,
        nice=False,
    )


def layers(points: Points, numbers: Sequence[int], titles: tuple[str, str], across: alt.X, up: alt.Y) -> alt.LayerChart:
    """The rows, and over them the centres by their numbers."""
    columns = points["columns"]
    rows = [
        {"x": x, "y": y, "cluster": cluster}
        for x, y, cluster in zip(columns["x"], columns["y"], points["cluster"], strict=True)
    ]
    tooltip = [
        alt.Tooltip("cluster:O"),
        alt.Tooltip("x:Q", title=titles[0], format=",.6~g"),
        alt.Tooltip("y:Q", title=titles[1], format=",.6~g"),
    ]
    colour = alt.Color(
        "cluster:O",
        title="cluster",
        scale=colours(numbers),
        legend=alt.Legend(orient="top", symbolLimit=len(PALETTE), columns=5, symbolOpacity=1),
    )
    dots = alt.Chart(alt.InlineData(values=rows)).mark_circle(size=22, opacity=0.55)
    centres = alt.Chart(alt.InlineData(values=list(points["centres"])))
    rings = centres.mark_circle(size=420, color="white", stroke="black", strokeWidth=1.5, opacity=0.95)
    names = centres.mark_text(color="black", baseline="middle", fontSize=14, fontWeight="bold")
    return alt.LayerChart(
        layer=[
            dots.encode(x=across, y=up, color=colour, tooltip=tooltip),
            rings.encode(x=across, y=up, tooltip=tooltip),
            names.encode(x=across, y=up, text="cluster:O", tooltip=tooltip),
        ]
    )
