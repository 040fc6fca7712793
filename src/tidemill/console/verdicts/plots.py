"""The charts of verdicts. Pure: rows of :mod:`tidemill.console.verdicts.tables` in, Altair charts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from tidemill.console.charts import PALETTE
from tidemill.console.verdicts.tables import TRIVIAL, WORDS, Row

HEIGHT = 300
CELL_HEIGHT, NARROW, FEW, AXES_HEIGHT = 24, 16, 12, 190
# Colour and shape say the same, for those who can't tell the colours apart.
WORD_COLOURS = (PALETTE[6], "#888888", PALETTE[7], PALETTE[8])
WORD_SHAPES = ("triangle-up", "circle", "square", "triangle-down")
LINE_COLOURS = (PALETTE[0], PALETTE[7], PALETTE[8], "#888888")
LINE_SHAPES = ("circle", "square", "triangle-up", "diamond")
LEGEND = alt.Legend(
    orient="top",
    title=None,
    columns=alt.ExprRef("width < 500 ? 2 : 4"),
    symbolOpacity=1,
    labelLimit=300,
)
FIGURES = ".4~g"
AMOUNTS = ",.4~r"  # on an axis


def numbered(field: str, title: str, gap: float = 0) -> alt.X:
    """An axis with a place for each number; ``gap``: the share of it that stays free."""
    axis = alt.Axis(title=title, labelOverlap=True, labelAngle=0, format=",d")
    return alt.X(f"{field}:O", axis=axis, scale=alt.Scale(paddingInner=gap, paddingOuter=gap / 2))


def inline(rows: Sequence[Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def gain(rows: Sequence[Row]) -> alt.LayerChart:
    """The gain of each generation with its interval, in the colour and shape of its word, above the band from minus to
    plus the margin in which a gain does not matter."""
    x = numbered("generation", "generation")
    title = f"gain in {rows[0]['loss_name']}" if rows else "gain"
    y: dict[str, Any] = {"axis": alt.Axis(title=title, format=AMOUNTS), "scale": alt.Scale(zero=True)}
    base = inline(rows)
    words = [word for word in WORDS if any(row["word"] == word for row in rows)]
    places = [WORDS.index(word) for word in words]
    color = alt.Color(
        "word:N", legend=LEGEND, scale=alt.Scale(domain=words, range=[WORD_COLOURS[place] for place in places])
    )
    shape = alt.Shape(
        "word:N", legend=LEGEND, scale=alt.Scale(domain=words, range=[WORD_SHAPES[place] for place in places])
    )
    tooltip = [
        alt.Tooltip("generation:O"),
        alt.Tooltip("reference:N", title="against"),
        alt.Tooltip("word:N"),
        alt.Tooltip("gain:Q", format=f"+{FIGURES}"),
        alt.Tooltip("low:Q", title="95 % from", format=f"+{FIGURES}"),
        alt.Tooltip("high:Q", title="95 % to", format=f"+{FIGURES}"),
        alt.Tooltip("margin:Q", format=FIGURES),
        alt.Tooltip("loss:Q", format=FIGURES),
        alt.Tooltip("reference_loss:Q", title="loss of the reference", format=FIGURES),
        alt.Tooltip("rows:Q", format=","),
        alt.Tooltip("needed:N", title="rows needed"),
        alt.Tooltip("evidence:N"),
        alt.Tooltip("checks:N"),
    ]
    band = (
        base.transform_calculate(least="-datum.margin")
        .mark_rect(color="gray", opacity=0.22)
        .encode(x=x, y=alt.Y("margin:Q", **y), y2="least:Q", tooltip=tooltip)
    )
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color="gray").encode(y="zero:Q")
    intervals = base.mark_rule(strokeWidth=2).encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q", color=color)
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=x, y=alt.Y("gain:Q", **y), color=color, shape=shape, tooltip=tooltip
    )
    chart: alt.LayerChart = (band + zero + intervals + points).properties(height=HEIGHT)
    return chart


def heat_map(rows: Sequence[Row], champion: int | None) -> alt.LayerChart:
    """The mean loss of each generation on each batch, on one colour scale from 0. Provisional cells have a ring, the
    champion a star; the trivial models are the last line."""
    numbers = sorted({int(row["line"]) for row in rows if row["line"] != TRIVIAL}, reverse=True)
    lines = [str(value) for value in numbers] + [TRIVIAL] * any(row["line"] == TRIVIAL for row in rows)
    x = alt.X(
        "batch:O",
        axis=alt.Axis(title="batch", labelOverlap=True, labelAngle=0, format=",d"),
        scale=alt.Scale(paddingInner=0.04, paddingOuter=0),
    )
    y = alt.Y(
        "line:N",
        sort=lines,
        axis=alt.Axis(
            title="generation",
            labelOverlap=True,
            labelExpr=f"datum.label == '{champion}' ? '\\u2605 ' + datum.label : datum.label",
        ),
        scale=alt.Scale(domain=lines, paddingInner=0.06, paddingOuter=0),
    )
    means = [row["mean"] for row in rows] or [0.0]
    domain = [min(0.0, *means), max(0.0, *means) or 1.0]
    color = alt.Color(
        "mean:Q",
        scale=alt.Scale(scheme="viridis", domain=domain, reverse=True),
        legend=alt.Legend(title="mean loss", orient="top", gradientLength=180, format=AMOUNTS, titleLimit=300),
    )
    tooltip = [
        alt.Tooltip("line:N", title="generation"),
        alt.Tooltip("batch:O"),
        alt.Tooltip("mean:Q", title="mean loss", format=FIGURES),
        alt.Tooltip("low:Q", title="95 % from", format=FIGURES),
        alt.Tooltip("high:Q", title="95 % to", format=FIGURES),
        alt.Tooltip("n:Q", title="rows", format=","),
        alt.Tooltip("evidence:N"),
        alt.Tooltip("figures:N", title="beside"),
    ]
    base = inline(rows).encode(x=x, y=y, tooltip=tooltip)
    layers = [base.mark_rect().encode(color=color), *marks(base, len({row["batch"] for row in rows}), domain)]
    return alt.LayerChart(layer=layers).properties(
        height=AXES_HEIGHT + (CELL_HEIGHT if len(lines) <= FEW else NARROW) * len(lines)
    )


def marks(base: alt.Chart, batches: int, domain: Sequence[float]) -> list[alt.Chart]:
    """The mean loss written into each cell, with a ring behind a provisional one; the ring alone in narrow cells."""
    wide = f"width / {max(1, batches)} > 60"
    dark = f"datum.mean > {domain[0] + 0.5 * (domain[1] - domain[0]):.9g}"
    color = alt.condition(dark, alt.value("white"), alt.value("black"))
    figure = "format(datum.mean, '.3~g') + (datum.mark == 'provisional' ? ' \\u25cb' : '')"
    figures = (
        base.transform_calculate(figure=figure)
        .mark_text(fontSize=11, opacity=alt.ExprRef(f"{wide} ? 1 : 0"))
        .encode(text="figure:N", color=color)
    )
    rings = (
        base.transform_filter("datum.mark == 'provisional'")
        .mark_point(shape="circle", size=40, strokeWidth=1.5, opacity=alt.ExprRef(f"{wide} ? 0 : 1"), filled=False)
        .encode(color=color)
    )
    return [figures, rings]


def curves(rows: Sequence[Row]) -> alt.LayerChart:
    """The mean losses by batch with their intervals, side by side within each batch. The axis fits the values, as the
    intervals show what is noise."""
    lines = sorted({row["line"] for row in rows}, key=line_place)
    places = [line_place(line) for line in lines]
    x = numbered("batch", "batch", gap=0.5)
    y: dict[str, Any] = {"axis": alt.Axis(title="mean loss", format=AMOUNTS), "scale": alt.Scale(zero=False)}
    offset = alt.XOffset("line:N", scale=alt.Scale(domain=lines, paddingOuter=1))
    color = alt.Color(
        "line:N", legend=LEGEND, scale=alt.Scale(domain=lines, range=[LINE_COLOURS[place] for place in places])
    )
    shape = alt.Shape(
        "line:N", legend=LEGEND, scale=alt.Scale(domain=lines, range=[LINE_SHAPES[place] for place in places])
    )
    tooltip = [
        alt.Tooltip("batch:O"),
        alt.Tooltip("line:N"),
        alt.Tooltip("of:N", title="loss of"),
        alt.Tooltip("mean:Q", title="mean loss", format=FIGURES),
        alt.Tooltip("low:Q", title="95 % from", format=FIGURES),
        alt.Tooltip("high:Q", title="95 % to", format=FIGURES),
        alt.Tooltip("n:Q", title="rows", format=","),
        alt.Tooltip("figures:N", title="beside"),
    ]
    base = inline(rows).encode(x=x, xOffset=offset, color=color)
    joined = base.mark_line(opacity=0.5).encode(y=alt.Y("mean:Q", **y))
    intervals = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    points = base.mark_point(filled=True, size=45, opacity=1).encode(
        y=alt.Y("mean:Q", **y), shape=shape, tooltip=tooltip
    )
    chart: alt.LayerChart = (joined + intervals + points).properties(height=HEIGHT)
    return chart


def line_place(line: str) -> int:
    """Where the colour and shape of a line are."""
    return next(
        place for place, start in enumerate(("newest", "first", "champion", "trivial")) if line.startswith(start)
    )


def overlap(rows: Sequence[Row]) -> alt.Chart:
    """The share of the ten most similar rows that stayed, by generation, on its whole scale."""
    chart: alt.Chart = (
        inline(rows)
        .mark_line(point=alt.OverlayMarkDef(size=60), color=PALETTE[0])
        .encode(
            x=numbered("generation", "generation"),
            y=alt.Y(
                "overlap:Q",
                axis=alt.Axis(title="share that stayed (%)", format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            tooltip=[
                alt.Tooltip("generation:O"),
                alt.Tooltip("reference:N", title="against"),
                alt.Tooltip("overlap:Q", format=".1%"),
                alt.Tooltip("rows:Q", format=","),
                alt.Tooltip("evidence:N"),
            ],
        )
        .properties(height=HEIGHT)
    )
    return chart
