"""Plots of clusters: their sizes, two features of their rows, and a map. Pure: schemas in, Altair charts out."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from tidemill.console.charts import PALETTE, colour
from tidemill.console.clusters import geo
from tidemill.schemas import Cluster, Points

HEIGHT, MAP_HEIGHT, BAR_HEIGHT, AXIS_HEIGHT = 420, 520, 26, 100
SHAPES = ("circle", "square", "triangle-up", "diamond")


def colours(numbers: Sequence[int]) -> alt.Scale:
    """The colour of each cluster."""
    return alt.Scale(domain=list(numbers), range=[colour(number) for number in numbers])


def shapes(numbers: Sequence[int]) -> alt.Scale:
    """The shape of each cluster's points. It changes where the colours repeat, so that up to 80 clusters differ."""
    return alt.Scale(domain=list(numbers), range=[SHAPES[number // len(PALETTE) % len(SHAPES)] for number in numbers])


def sizes(clusters: Sequence[Cluster]) -> alt.LayerChart:
    """The number of training rows in each cluster, as bars from 0 with their share of all rows."""
    numbers = [cluster.cluster for cluster in clusters]
    total = sum(cluster.size for cluster in clusters) or 1
    rows = [{"cluster": cluster.cluster, "size": cluster.size, "share": cluster.size / total} for cluster in clusters]
    most = max((cluster.size for cluster in clusters), default=0)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("cluster:O", title="cluster", axis=alt.Axis(labelOverlap=False)),
        x=alt.X(
            "size:Q",
            title="size (training rows)",
            axis=alt.Axis(format=",d", tickCount=4, tickMinStep=1),
            scale=alt.Scale(domain=[0, 1.12 * max(1, most)], nice=False),  # room for the percentage
        ),
        tooltip=[
            alt.Tooltip("cluster:O"),
            alt.Tooltip("size:Q", format=","),
            alt.Tooltip("share:Q", format=".1%"),
        ],
    )
    bars = base.mark_bar().encode(color=alt.Color("cluster:O", scale=colours(numbers), legend=None))
    percentages = base.mark_text(align="left", dx=4, color="gray").encode(text=alt.Text("share:Q", format=".1%"))
    chart: alt.LayerChart = (bars + percentages).properties(height=AXIS_HEIGHT + BAR_HEIGHT * len(rows))
    return chart


def scatter(points: Points, numbers: Sequence[int], titles: tuple[str, str]) -> alt.LayerChart:
    """Rows by two of their columns, in their clusters' colours, with the numbered centres. The axes fit the rows, as
    only positions are read off them."""
    x = alt.X("x:Q", title=titles[0], scale=alt.Scale(zero=False))
    y = alt.Y("y:Q", title=titles[1], scale=alt.Scale(zero=False))
    return layers(points, numbers, titles, x, y).properties(height=HEIGHT)


def earth(points: Points, numbers: Sequence[int]) -> alt.LayerChart:
    """Rows on a map: x is longitude, y latitude. A kilometre is as long in both directions at any width of the page."""
    titles = ("longitude (°)", "latitude (°)")
    extent = geo.extent(points.columns.y, points.columns.x)
    width_degrees = 2 * extent.half_width * extent.narrowing
    per_degree = f"min(height / {2 * extent.half_height:.9g}, width / {width_degrees:.9g})"  # pixels, of latitude
    half_height = f"(height / 2 / ({per_degree}))"
    half_width = f"(width / 2 / ({per_degree}) / {extent.narrowing:.9g})"
    x = alt.X("x:Q", title=titles[0], scale=around(extent.longitude, half_width), axis=alt.Axis(tickCount=5))
    y = alt.Y("y:Q", title=titles[1], scale=around(extent.latitude, half_height))
    return layers(points, numbers, titles, x, y).properties(height=MAP_HEIGHT)


def around(middle: float, half: str) -> alt.Scale:
    """A scale that extends to both sides of its middle by the value of a Vega expression."""
    return alt.Scale(
        domainMin=alt.ExprRef(f"{middle:.9g} - {half}"),
        domainMax=alt.ExprRef(f"{middle:.9g} + {half}"),
        zero=False,
        nice=False,
    )


def layers(points: Points, numbers: Sequence[int], titles: tuple[str, str], x: alt.X, y: alt.Y) -> alt.LayerChart:
    """The rows, and above them the numbered centres."""
    rows = [
        {"x": across, "y": up, "cluster": cluster}
        for across, up, cluster in zip(points.columns.x, points.columns.y, points.cluster, strict=True)
    ]
    tooltip = [
        alt.Tooltip("cluster:O"),
        alt.Tooltip("x:Q", title=titles[0], format=",.6~g"),
        alt.Tooltip("y:Q", title=titles[1], format=",.6~g"),
    ]
    legend = alt.Legend(orient="top", symbolLimit=len(PALETTE), columns=5, symbolOpacity=1)
    color = alt.Color("cluster:O", title="cluster", scale=colours(numbers), legend=legend)
    shape = alt.Shape("cluster:O", title="cluster", scale=shapes(numbers), legend=legend)
    dots = alt.Chart(alt.InlineData(values=rows)).mark_point(filled=True, size=22, opacity=0.55)
    centres = alt.Chart(alt.InlineData(values=[centre.model_dump() for centre in points.centres]))
    rings = centres.mark_circle(size=420, color="white", stroke="black", strokeWidth=1.5, opacity=0.95)
    names = centres.mark_text(color="black", baseline="middle", fontSize=14, fontWeight="bold")
    return alt.LayerChart(
        layer=[
            dots.encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip),
            rings.encode(x=x, y=y, tooltip=tooltip),
            names.encode(x=x, y=y, text="cluster:O", tooltip=tooltip),
        ]
    )
