"""The pictures of the report, as SVG that is part of the page. Pure.

Texts and lines have the page's own colour (``currentColor``), so the pictures suit paper and a dark screen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from io import StringIO
from typing import Any, NamedTuple

import altair as alt

from tidemill.judging.gain_scale import SHARE_LABELS, Gain, GainScale

INK = "currentColor"
WORDS = {  # each with a colour that shows on white and on dark, and a shape for those who see no colours
    "paid": ("#2e9e5b", "triangle-up"),
    "no difference": ("#7d8b94", "square"),
    "can't tell": ("#c58a00", "circle"),
    "cost": ("#d1495b", "triangle-down"),
}
NEEDLESS = re.compile(r' xmlns(:xlink)?="[^"]*"| (class|role|aria-roledescription)="[^"]*"| pointer-events="none"')
ID = re.compile(r' id="([^"]*)"')
WIDTHS, HEIGHT = (240, 640), 260
GAIN_WIDTH = 60  # of one generation, where there is room
SPARSE: dict[str, Any] = {"labelOverlap": "greedy", "labelSeparation": 8}  # fonts differ in width
LABELLED_BATCHES = 10  # the figures are written into the cells of this many batches at most


class JudgedGain(NamedTuple):
    """The gain of a generation over the one before, with its word."""

    generation: int
    gain: Gain
    word: str


class Loss(NamedTuple):
    """The mean loss of a generation on the rows of a batch; ``held_out``: only on its held-out rows."""

    generation: int
    batch: int
    mean: float
    held_out: bool


def gain_picture(gains: Sequence[JudgedGain], scale: GainScale, loss_name: str, key: str) -> str:
    """The gain of each generation as a point, its interval as a line, and the margin as a band around zero.

    A gain beyond the axis stands at its end with its figure; an interval that goes on beyond it is dashed.

    Args:
        scale: of these gains.
        key: what the picture's ids begin with: a name that no other picture of the page has.
    """
    rows = [
        place._asdict() | {"least": -place.margin, "generation": judged.generation, "word": judged.word}
        for judged, place in zip(gains, scale.drawn, strict=True)
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("generation:O", title="generation", axis=alt.Axis(labelAngle=0, **SPARSE))
    )
    band = base.mark_bar(color=INK, opacity=0.12).encode(y=alt.Y("least:Q"), y2=alt.Y2("margin:Q"))
    zero = alt.Chart(alt.InlineData(values=[{}])).mark_rule(color=INK, opacity=0.6).encode(y=alt.datum(0))
    words = [word for word in WORDS if word in {gain.word for gain in gains}]
    colours = alt.Color(
        "word:N",
        title=None,
        scale=alt.Scale(domain=words, range=[WORDS[word][0] for word in words]),
        legend=alt.Legend(orient="top", columnPadding=28),
    )
    shapes = alt.Shape("word:N", title=None, scale=alt.Scale(domain=words, range=[WORDS[word][1] for word in words]))
    axis = alt.Axis(labelExpr=SHARE_LABELS) if scale.shares else alt.Axis()
    title = f"less {loss_name}{' (%)' if scale.shares else ''}"
    y = alt.Y("low:Q", title=title, axis=axis, scale=alt.Scale(domain=list(scale.ends), nice=False))
    dashes = alt.condition("datum.cut", alt.value([4, 4]), alt.value([]))
    interval = base.mark_rule(strokeWidth=2).encode(y=y, y2=alt.Y2("high:Q"), color=colours, strokeDash=dashes)
    point = base.mark_point(filled=True, size=70, opacity=1).encode(y=alt.Y("gain:Q"), color=colours, shape=shapes)
    figures = [
        base.transform_filter(f"datum.outside && datum.gain {side} 0")
        .mark_text(fontSize=10, fontWeight="bold", dy=shift)
        .encode(y=alt.Y("gain:Q"), color=colours, text="text:N")
        for side, shift in ((">", 16), ("<", -16))
    ]
    width = min(max(GAIN_WIDTH * len(gains), WIDTHS[0]), WIDTHS[1])
    chart = alt.layer(band, zero, interval, point, *figures).properties(width=width, height=HEIGHT)
    label = f"Gain in {loss_name} over the generation before, by generation, with 95 % intervals"
    return svg(chart, label, key)


def loss_picture(losses: Sequence[Loss], loss_name: str, key: str) -> str:
    """The losses as a heat map: a row for each generation, a column for each batch. A dashed edge marks a cell whose
    rows are the held-out ones. The colours start at 0, so that noise has no colour of its own.

    Args:
        key: as for :func:`gain_picture`.
    """
    batches, means = len({loss.batch for loss in losses}), [loss.mean for loss in losses]
    domain = [min(0.0, *means), max(0.0, *means)]
    labelled = batches <= LABELLED_BATCHES
    base = alt.Chart(alt.InlineData(values=[loss._asdict() for loss in losses])).encode(
        x=alt.X("batch:O", title="batch", axis=alt.Axis(labelAngle=0, **SPARSE)),
        y=alt.Y("generation:O", title="generation"),
    )
    colours = alt.Color(
        "mean:Q",
        title="loss",
        scale=alt.Scale(scheme="cividis", reverse=True, domain=domain),
        legend=alt.Legend(orient="right", gradientLength=120, format=".3~g"),
    )
    cells = base.mark_rect(strokeWidth=1.5, strokeDash=[3, 2]).encode(
        color=colours,
        stroke=alt.condition(alt.datum.held_out, alt.value(INK), alt.value(None)),
    )
    layers: list[alt.Chart] = [cells]
    if labelled:
        middle = sum(domain) / 2
        light = alt.condition(alt.datum.mean > middle, alt.value("#ffffff"), alt.value("#000000"))
        layers.append(base.mark_text(fontSize=10).encode(text=alt.Text("mean:Q", format=".4~g"), color=light))
    step = alt.Step(56 if labelled else 20)
    label = f"{loss_name} of each generation on each batch"
    chart = alt.layer(*layers).properties(width=step, height=alt.Step(22))
    return svg(chart, label, key)


def svg(chart: alt.LayerChart | alt.FacetChart, label: str, key: str) -> str:
    """The chart as an ``svg`` element that refers to nothing outside itself."""
    colours: dict[str, Any] = {"labelColor": INK, "titleColor": INK}
    lines: dict[str, Any] = {"domainColor": INK, "tickColor": INK, "gridColor": INK}
    faint = {"gridOpacity": 0.15, "domainOpacity": 0.4, "tickOpacity": 0.4}
    styled = (
        chart.configure(background="transparent", font="sans-serif", aria=False)
        .configure_view(stroke=None)
        .configure_axis(**colours, **lines, **faint, titlePadding=10)
        .configure_legend(**colours)
    )
    file = StringIO()
    styled.save(file, format="svg")
    text = NEEDLESS.sub("", file.getvalue())
    for index, name in enumerate(dict.fromkeys(ID.findall(text))):  # Vega numbers ids on from picture to picture
        text = text.replace(f'id="{name}"', f'id="{key}-{index}"').replace(f"url(#{name})", f"url(#{key}-{index})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
