"""The charts of verdicts, as Vega-Lite. Pure: rows of :mod:`tidemill.console.verdicts.tables` in, specifications out.

Plain specifications, as building and checking the same charts with Altair takes 40 ms each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.console.charts import PALETTE
from tidemill.console.verdicts.tables import TRIVIAL, WORDS, GainRows, Row
from tidemill.judging.gain_scale import SHARE_LABELS

Spec = dict[str, Any]

HEIGHT = 300
CELL_HEIGHT, NARROW, FEW, AXES_HEIGHT = 24, 16, 12, 190
WIDE_CELL = 60  # pixels from which a cell has room for its figure
# Colour and shape say the same, for those who can't tell the colours apart.
WORD_COLOURS = (PALETTE[6], "#888888", PALETTE[7], PALETTE[8])
WORD_SHAPES = ("triangle-up", "circle", "square", "triangle-down")
LINES = ("newest", "first", "champion", "trivial")  # what the names of the lines start with
LINE_COLOURS = (PALETTE[0], PALETTE[7], PALETTE[8], "#888888")
LINE_SHAPES = ("circle", "square", "triangle-up", "diamond")
LEGEND: Spec = {
    "orient": "top",
    "title": None,
    "columns": {"expr": "width < 500 ? 2 : 4"},
    "symbolOpacity": 1,
    "labelLimit": 300,
}
UNREAD: Spec = {"aria": False}  # a screen reader reads each value once, from the points or cells
FIGURES = ".4~g"
AMOUNTS = ",.4~r"  # on an axis


def layered(rows: Sequence[Row], *layers: Spec, **parts: Any) -> Spec:
    return {"data": {"values": list(rows)}, "layer": list(layers), **parts}


def layer(mark: str, encoding: Spec, *transforms: Spec, **style: Any) -> Spec:
    return {"mark": {"type": mark, **style}, "encoding": encoding} | (
        {"transform": list(transforms)} if transforms else {}
    )


def numbered(field: str, title: str, gap: float = 0) -> Spec:
    """An axis with a place for each number; ``gap``: the share of it that stays free."""
    axis = {"title": title, "labelOverlap": True, "labelAngle": 0, "format": ",d"}
    return {
        "field": field,
        "type": "ordinal",
        "axis": axis,
        "scale": {"paddingInner": gap, "paddingOuter": gap / 2},
    }


def quantity(field: str, **parts: Any) -> Spec:
    return {"field": field, "type": "quantitative", **parts}


def category(field: str, names: Sequence[str], values: Sequence[str]) -> Spec:
    """A channel that shows each of the names by a value of its own, with a legend."""
    return {
        "field": field,
        "type": "nominal",
        "legend": LEGEND,
        "scale": {"domain": list(names), "range": list(values)},
    }


def tooltip(**fields: str | tuple[str, str]) -> list[Spec]:
    """The lines of a tooltip: by the field, its title, and the format where it is a number."""
    return [
        {"field": field, "type": "nominal", "title": told}
        if isinstance(told, str)
        else {"field": field, "type": "quantitative", "title": told[0], "format": told[1]}
        for field, told in fields.items()
    ]


# --- gains ----------------------------------------------------------------------------------------------------------


def gain(gains: GainRows) -> Spec:
    """The gain of each generation with its interval, in the colour and shape of its word, above the band from minus to
    plus the margin in which a gain does not matter.

    A gain beyond the axis stands at its end with its figure; an interval that goes on beyond it is dashed.
    """
    rows = [row | {"least": -row["drawn_margin"]} for row in gains.rows]
    x = numbered("generation", "generation")
    y = {"axis": gain_axis(gains), "scale": {"domain": list(gains.ends), "nice": False}}
    words = [word for word in WORDS if any(row["word"] == word for row in rows)]
    places = [WORDS.index(word) for word in words]
    color = category("word", words, [WORD_COLOURS[place] for place in places])
    shape = category("word", words, [WORD_SHAPES[place] for place in places])
    tips = gain_tooltip()
    point = quantity("drawn_gain", **y)
    interval = {"x": x, "y": quantity("drawn_low", **y), "y2": {"field": "drawn_high"}, "color": color}
    dashes = {"condition": {"test": "datum.cut", "value": [4, 4]}, "value": []}
    band = {"x": x, "y": quantity("drawn_margin", **y), "y2": {"field": "least"}, "tooltip": tips}
    return layered(
        rows,
        layer("rect", band, color="gray", opacity=0.22, clip=True, **UNREAD),
        {"data": {"values": [{}]}} | layer("rule", {"y": {"datum": 0}}, color="gray", **UNREAD),
        layer("rule", interval | {"strokeDash": dashes}, strokeWidth=2, **UNREAD),
        layer(
            "point",
            {"x": x, "y": point, "color": color, "shape": shape, "tooltip": tips},
            filled=True,
            size=90,
            opacity=1,
        ),
        *outside(gains, {"x": x, "y": point, "color": color, "tooltip": tips}),
        height=HEIGHT,
    )


def gain_axis(gains: GainRows) -> Spec:
    if gains.shares:
        return {"title": f"gain in % of the reference's {gains.loss_name}", "labelExpr": SHARE_LABELS}
    return {"title": f"gain in {gains.loss_name}", "format": AMOUNTS}


def gain_tooltip() -> list[Spec]:
    signed = f"+{FIGURES}"
    return tooltip(
        generation="generation",
        reference="against",
        word="word",
        whole="gain (95 % interval)",
        gain=("gain in loss", signed),
        low=("95 % from", signed),
        high=("95 % to", signed),
        margin=("margin", FIGURES),
        loss=("loss", FIGURES),
        reference_loss=("loss of the reference", FIGURES),
        rows=("rows", ","),
        needed="rows needed",
        evidence="evidence",
        checks="checks",
    )


def outside(gains: GainRows, encoding: Spec) -> list[Spec]:
    """The figures of the gains beyond the axis, below its upper or above its lower end."""
    sides = [("datum.outside && datum.drawn_gain > 0", 18), ("datum.outside && datum.drawn_gain < 0", -18)]
    text = {"text": {"field": "text", "type": "nominal"}}
    return [
        layer("text", encoding | text, {"filter": side}, fontSize=11, fontWeight="bold", dy=shift, **UNREAD)
        for side, shift in sides
        if any(row["outside"] and (row["drawn_gain"] > 0) == (shift > 0) for row in gains.rows)
    ]


# --- losses ---------------------------------------------------------------------------------------------------------


def heat_map(rows: Sequence[Row], champion: int | None) -> Spec:
    """The mean loss of each generation on each batch, on one colour scale from 0. Provisional cells have a ring, the
    champion a star; the trivial models are the last line."""
    numbers = sorted({int(row["line"]) for row in rows if row["line"] != TRIVIAL}, reverse=True)
    lines = [str(value) for value in numbers] + [TRIVIAL] * any(row["line"] == TRIVIAL for row in rows)
    means = [row["mean"] for row in rows] or [0.0]
    domain = [min(0.0, *means), max(0.0, *means) or 1.0]
    x = numbered("batch", "batch") | {"scale": {"paddingInner": 0.04, "paddingOuter": 0}}
    star = f"datum.label == '{champion}' ? '\\u2605 ' + datum.label : datum.label"
    y = {
        "field": "line",
        "type": "nominal",
        "sort": lines,
        "axis": {"title": "generation", "labelOverlap": True, "labelExpr": star},
        "scale": {"domain": lines, "paddingInner": 0.06, "paddingOuter": 0},
    }
    colours = {"scheme": "viridis", "domain": domain, "reverse": True}
    legend = {"title": "mean loss", "orient": "top", "gradientLength": 180, "format": AMOUNTS, "titleLimit": 300}
    color = {"color": quantity("mean", scale=colours, legend=legend)}
    return layered(
        rows,
        layer("rect", color),
        *marks(len({row["batch"] for row in rows}), domain),
        encoding={"x": x, "y": y, "tooltip": cell_tooltip("generation")},
        height=AXES_HEIGHT + (CELL_HEIGHT if len(lines) <= FEW else NARROW) * len(lines),
    )


def cell_tooltip(line: str, **others: str) -> list[Spec]:
    return tooltip(
        line=line,
        **others,
        batch="batch",
        mean=("mean loss", FIGURES),
        low=("95 % from", FIGURES),
        high=("95 % to", FIGURES),
        n=("rows", ","),
        figures="beside",
    )


def marks(batches: int, domain: Sequence[float]) -> list[Spec]:
    """The mean loss written into each cell, with a ring behind a provisional one; the ring alone in narrow cells."""
    wide = f"width / {max(1, batches)} > {WIDE_CELL}"
    dark = f"datum.mean > {domain[0] + 0.5 * (domain[1] - domain[0]):.9g}"
    color = {"color": {"condition": {"test": dark, "value": "white"}, "value": "black"}}
    figure = "format(datum.mean, '.3~g') + (datum.mark == 'provisional' ? ' \\u25cb' : '')"
    text = color | {"text": {"field": "figure", "type": "nominal"}}
    return [
        layer("text", text, {"filter": wide}, {"calculate": figure, "as": "figure"}, fontSize=11, **UNREAD),
        layer(
            "point",
            color,
            {"filter": f"datum.mark == 'provisional' && !({wide})"},
            shape="circle",
            size=40,
            strokeWidth=1.5,
            filled=False,
            **UNREAD,
        ),
    ]


def curves(rows: Sequence[Row]) -> Spec:
    """The mean losses by batch with their intervals, side by side within each batch. The axis fits the values, as the
    intervals show what is noise."""
    lines = sorted({row["line"] for row in rows}, key=line_place)
    places = [line_place(line) for line in lines]
    y = {"axis": {"title": "mean loss", "format": AMOUNTS}, "scale": {"zero": False}}
    mean = {"y": quantity("mean", **y)}
    shape = {"shape": category("line", lines, [LINE_SHAPES[place] for place in places])}
    shared = {
        "x": numbered("batch", "batch", gap=0.5),
        "xOffset": {"field": "line", "type": "nominal", "scale": {"domain": lines, "paddingOuter": 1}},
        "color": category("line", lines, [LINE_COLOURS[place] for place in places]),
    }
    return layered(
        rows,
        layer("line", mean, opacity=0.5, **UNREAD),
        layer("rule", {"y": quantity("low", **y), "y2": {"field": "high"}}, strokeWidth=2, **UNREAD),
        layer("point", mean | shape | {"tooltip": cell_tooltip("line", of="loss of")}, filled=True, size=45, opacity=1),
        encoding=shared,
        height=HEIGHT,
    )


def line_place(line: str) -> int:
    """Where the colour and shape of a line are."""
    return next(place for place, start in enumerate(LINES) if line.startswith(start))


def overlap(rows: Sequence[Row]) -> Spec:
    """The share of the ten most similar rows that stayed, by generation, on its whole scale."""
    share = {"axis": {"title": "share that stayed (%)", "format": "%"}, "scale": {"domain": [0, 1]}}
    tips = tooltip(
        generation="generation",
        reference="against",
        overlap=("overlap", ".1%"),
        rows=("rows", ","),
        evidence="evidence",
    )
    encoding = {"x": numbered("generation", "generation"), "y": quantity("overlap", **share), "tooltip": tips}
    line = layer("line", encoding, point={"size": 60}, color=PALETTE[0])
    return {"data": {"values": list(rows)}, "height": HEIGHT, **line}
