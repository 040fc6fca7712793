"""The page Generations: each model's metrics over the generations, and any two generations side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from tidemill.console import charts, shell
from tidemill.console.formatting import NONE, batch_ranges, counted, files, moment, number, plain, seconds
from tidemill.console.forms import widgets
from tidemill.console.metrics import described, metric_title, parity, short_parity
from tidemill.console.pages import verdict
from tidemill.console.paging import select_newest_first
from tidemill.schemas import FreshnessBody, GenerationBody, History, HistoryPoint, Home, StatusBody, Trained

KEPT = r"What is kept, \[keep\] in the pipeline file says."
LEAST_PART = 0.01  # seconds, that is named
OTHER_ROWS = "Each generation was measured on rows of its own, so these figures do not say which one is better."


def page() -> None:
    api = shell.api()
    status = api.get("/status", StatusBody)
    started = sum(status.generations.model_dump().values())
    if not started:
        st.info(
            "There is no generation yet. This page shows the first one as soon as its training starts.",
            icon=":material/hourglass_top:",
        )
        return
    model = st.selectbox("Model", list(api.get("/pipeline", Home).models), key="model", bind="query-params")
    history = api.get(f"/models/{model}/history", History, points=200)
    curve(history)
    st.subheader("Table", anchor=False)
    table(started, model, metrics_of(history.points))
    if status.freshness:
        st.caption(freshness_sentence(status.freshness))
    if status.newest and status.newest > 1:
        st.subheader("Two generations side by side", anchor=False)
        side_by_side(status.newest)


def curve(history: History) -> None:
    metrics = metrics_of(history.points)
    if not metrics:
        st.info("This model has no metric yet.", icon=":material/hourglass_top:")
        return
    chosen = st.selectbox("Metric", metrics, format_func=metric_title, key="metric", bind="query-params")
    rows = charts.curve_rows(history.points, chosen)
    st.altair_chart(charts.curve(rows, chosen), width="stretch", alt=curve_summary(chosen, rows))
    of_several = f" Each point is the mean of {history.per_point} generations." if history.per_point > 1 else ""
    st.caption(f"{plain(curve_summary(chosen, rows))}{of_several}")
    st.caption(OTHER_ROWS)
    verdict.link("Verdict: the generations on the same rows")


def metrics_of(points: Sequence[HistoryPoint]) -> list[str]:
    """The metrics that the model has in any of these points, in their order."""
    return list(dict.fromkeys(name for point in points for name in point.metrics))


def curve_summary(metric: str, rows: Sequence[dict[str, Any]]) -> str:
    """A metric's curve in a sentence, for those who can't see the chart."""
    title = metric_title(metric)
    if not rows:
        return f"{title}: no generation has it."
    first, last = rows[0], rows[-1]
    if first is last:
        return f"{title}: {number(last['mean'])} in generation {last['generations']}."
    return (
        f"{title}: {number(first['mean'])} in generation {first['generations']}, "
        f"{number(last['mean'])} in generation {last['generations']}."
    )


# --- the table of generations ---------------------------------------------------------------------------------------


def table(started: int, model: str, metrics: Sequence[str]) -> None:
    page = select_newest_first(started, "page")
    generations = shell.api().get("/generations", list[GenerationBody], after=page.after, limit=page.limit)
    rows = [generation_row(generation, model, metrics) for generation in reversed(generations)]
    titles = {name: name for name in ("generation", "rows", "fitted in (s)")}
    columns = widgets.number_columns(rows, titles | {name: described(name).short for name in metrics})
    widgets.table(rows, columns, key=f"generations of {model}", height="content")
    if any(generation.removed_at for generation in generations):
        st.caption(f"Generations whose files were removed answer no requests. {KEPT}")


def freshness_sentence(freshness: FreshnessBody) -> str:
    """How soon the newest generation answered, with the parts that took a hundredth of a second or more."""
    named = {part: took for part, took in freshness.parts.document().items() if took >= LEAST_PART}
    parts = [f"{part} {took:.2f} s" for part, took in named.items()]
    return (
        f"Generation {freshness.generation} answered {freshness.seconds:.2f} s after Kafka had the last row of its "
        f"batch: {', '.join(parts)}."
    )


def generation_row(generation: GenerationBody, model: str, metrics: Sequence[str]) -> dict[str, Any]:
    """A generation in the table of a model. Figures stay numbers; a generation that is not published says so."""
    trained = generation.models.get(model)
    row: dict[str, Any] = {
        "generation": generation.generation,
        "published": published(generation),
        "batches": batch_ranges(generation.batches),
        "rows": generation.rows,
    }
    row |= {name: trained.metrics.get(name) if trained else None for name in metrics}
    row["fitted in (s)"] = trained.fit_seconds if trained else None
    return row | {"parity with Spark": short_parity(trained.parity if trained else None)}


def published(generation: GenerationBody) -> str:
    if generation.state == "published":
        removed = f"; files {files(generation.removed_at)}" if generation.removed_at else ""
        return f"{moment(generation.published_at)}{removed}"
    return f"{generation.state}: {generation.error}" if generation.error else generation.state


# --- two generations ------------------------------------------------------------------------------------------------


def side_by_side(newest: int) -> None:
    left, right = st.columns(2)
    first = left.number_input(
        "One generation",
        min_value=1,
        max_value=newest,
        value=None,
        placeholder="the one before the newest",
        key="one",
        bind="query-params",
    )
    second = right.number_input(
        "The other generation",
        min_value=1,
        max_value=newest,
        value=None,
        placeholder="the newest",
        key="other",
        bind="query-params",
    )
    before = shell.api().get(f"/generations/{first or newest - 1}", GenerationBody)
    after = shell.api().get(f"/generations/{second or newest}", GenerationBody)
    st.table(compared(before, after), hide_index=True)
    st.caption(OTHER_ROWS)


def compared(before: GenerationBody, after: GenerationBody) -> list[dict[str, str]]:
    """Two generations, figure by figure."""
    titles = [f"generation {number(generation.generation)}" for generation in (before, after)]
    if titles[0] == titles[1]:
        titles[1] += " again"

    def row(model: str, figure: str, first: str, second: str) -> dict[str, str]:
        return {"model": plain(model), "figure": plain(figure), titles[0]: first, titles[1]: second}

    rows = [
        row("all models", "rows", *(counted(generation.rows, "row") for generation in (before, after))),
        row("all models", "batches", *(batch_ranges(generation.batches) for generation in (before, after))),
        row("all models", "published", *(moment(generation.published_at) for generation in (before, after))),
    ]
    for model in dict.fromkeys([*before.models, *after.models]):
        first, second = before.models.get(model), after.models.get(model)
        metrics = [trained.metrics if trained else {} for trained in (first, second)]
        for name in dict.fromkeys([*metrics[0], *metrics[1]]):
            values = metrics[0].get(name), metrics[1].get(name)
            rows.append(row(model, metric_title(name), number(values[0]), number(values[1])))
        rows.append(row(model, "fitted in", fit_time(first), fit_time(second)))
        rows.append(row(model, "parity with Spark", parity_of(first), parity_of(second)))
    return rows


def fit_time(trained: Trained | None) -> str:
    return seconds(trained.fit_seconds) if trained else NONE


def parity_of(trained: Trained | None) -> str:
    return parity(trained.parity if trained else None)
