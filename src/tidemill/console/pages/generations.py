"""The page Generations: how each model's metrics went, and any two generations side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from tidemill.console import charts, shell
from tidemill.console.formatting import NONE, batches, change, counted, metric, moment, number, parity, plain, seconds
from tidemill.console.paging import chosen_page


def page() -> None:
    api = shell.api()
    status = api.get("/status")
    begun = sum(status["generations"].values())
    if not begun:
        st.info("There is no generation yet. The first one comes here by itself.", icon=":material/hourglass_top:")
        return
    models = [one["model"] for one in api.get("/models")]
    model = st.selectbox("Model", models, key="model", bind="query-params")
    history = api.get(f"/models/{model}/history", points=200)
    curve(history)
    st.subheader("Table", anchor=False)
    table(begun, model, metrics_of(history["points"]))
    if status["newest"] and status["newest"] > 1:
        st.subheader("Two generations side by side", anchor=False)
        side_by_side(status["newest"])


def curve(history: Mapping[str, Any]) -> None:
    metrics = metrics_of(history["points"])
    if not metrics:
        st.info("This model has no metric yet.", icon=":material/hourglass_top:")
        return
    chosen = st.selectbox("Metric", metrics, format_func=metric, key="metric", bind="query-params")
    rows = charts.curve_rows(history["points"], chosen)
    st.altair_chart(charts.curve(rows, metric(chosen)), width="stretch", alt=story(chosen, rows))
    of_several = f" Each point is the mean of {history['per_point']} generations." if history["per_point"] > 1 else ""
    st.caption(f"{plain(story(chosen, rows))}{of_several}")


def metrics_of(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that a model had in any of these points, in their own order."""
    return list(dict.fromkeys(name for point in points for name in point["metrics"]))


def story(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A metric's curve in a sentence."""
    if not rows:
        return f"{metric(name)}: no generation has it."
    first, last = rows[0], rows[-1]
    if first is last:
        return f"{metric(name)}: {number(last['mean'])} in generation {last['generations']}."
    moved = change(name, first["mean"], last["mean"])
    return (
        f"{metric(name)}: {number(first['mean'])} in generation {first['generations']}, "
        f"{number(last['mean'])} in generation {last['generations']} ({moved})."
    )


def table(begun: int, model: str, metrics: Sequence[str]) -> None:
    shown = chosen_page(begun, "page")
    found = shell.api().get("/generations", after=shown.after, limit=shown.limit)
    st.table([generation_row(one, model, metrics) for one in reversed(found)], hide_index=True)


def generation_row(generation: Mapping[str, Any], model: str, metrics: Sequence[str]) -> dict[str, str]:
    """A generation in the table of a model; one that is in training or has failed says so."""
    trained = generation["models"].get(model, {})
    values = trained.get("metrics", {})
    row = {
        "generation": number(generation["generation"]),
        "published": moment(generation["published_at"]) if generation["state"] == "published" else said(generation),
        "batches": batches(generation["batches"]),
        "rows": number(generation["rows"]),
    }
    row |= {plain(metric(name)): number(values.get(name)) for name in metrics}
    return row | {"fitted in": seconds(trained.get("fit_seconds")), "parity with Spark": parity(trained.get("parity"))}


def said(generation: Mapping[str, Any]) -> str:
    error = generation.get("error")
    return plain(f"{generation['state']}: {error}" if error else generation["state"])


def side_by_side(newest: int) -> None:
    left, right = st.columns(2)
    one = left.number_input(
        "One generation",
        min_value=1,
        max_value=newest,
        value=None,
        placeholder="the one before the newest",
        key="one",
        bind="query-params",
    )
    other = right.number_input(
        "The other generation",
        min_value=1,
        max_value=newest,
        value=None,
        placeholder="the newest",
        key="other",
        bind="query-params",
    )
    first = shell.api().get(f"/generations/{one or newest - 1}")
    second = shell.api().get(f"/generations/{other or newest}")
    st.table(compared(first, second), hide_index=True)


def compared(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, str]]:
    """Two generations, figure by figure, and how each metric moved from the first to the second."""
    names = [f"generation {number(one['generation'])}" for one in (first, second)]
    if names[0] == names[1]:
        names[1] += " again"

    def row(model: str, what: str, one: str, other: str, moved: str = NONE) -> dict[str, str]:
        return {"model": plain(model), "what": plain(what), names[0]: one, names[1]: other, "change": moved}

    rows = [
        row(NONE, "rows", *(counted(one["rows"], "row") for one in (first, second))),
        row(NONE, "batches", *(batches(one["batches"]) for one in (first, second))),
        row(NONE, "published", *(moment(one["published_at"]) for one in (first, second))),
    ]
    for model in dict.fromkeys([*first["models"], *second["models"]]):
        one, other = (generation["models"].get(model, {}) for generation in (first, second))
        before, after = one.get("metrics", {}), other.get("metrics", {})
        rows += [
            row(
                model,
                metric(name),
                number(before.get(name)),
                number(after.get(name)),
                change(name, before.get(name), after.get(name)),
            )
            for name in dict.fromkeys([*before, *after])
        ]
        rows.append(row(model, "fitted in", seconds(one.get("fit_seconds")), seconds(other.get("fit_seconds"))))
        rows.append(row(model, "parity with Spark", parity(one.get("parity")), parity(other.get("parity"))))
    return rows
