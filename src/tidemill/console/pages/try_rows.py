"""Try a model that predicts for a row: a class, a value or a cluster."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import streamlit as st

from tidemill.console import answers, charts
from tidemill.console.formatting import numbered, plain
from tidemill.console.forms import widgets
from tidemill.console.forms.fields import column_labels, column_title, column_unit, example, model_fields
from tidemill.console.forms.fields import row as row_of
from tidemill.console.shell import api, render_api_errors
from tidemill.schemas import Across, Answered, FoundRows, Home, ModelBody

PAGE = 50  # generations
FOUND = 20  # rows with the same key


def show(pipeline: Home, model: ModelBody) -> None:
    name = model.model
    fields = model_fields(model.inputs)
    with st.form(f"row of {name}"):
        values = widgets.draw(fields, name)
        pressed = st.form_submit_button("Predict", type="primary")
    filled = row_of(fields, values)
    row = widgets.last_submitted(name, pressed, filled, initial=filled)
    with render_api_errors():
        newest_generation(pipeline, model, row)
    with render_api_errors():
        every_generation(pipeline, model, row)
    if pipeline.key is not None:
        with render_api_errors():
            by_key(pipeline, pipeline.key, model)


def newest_generation(pipeline: Home, model: ModelBody, row: dict[str, Any]) -> None:
    path = f"/models/{model.model}/predict"
    answer = api().post(path, row, Answered)
    headline = answers.headline(answer, column_unit(pipeline.columns, model.label))
    st.metric(plain(target(pipeline, model)), plain(headline))
    st.caption(f"The answer of generation {answer.generation}, which serves. " + plain(answers.unseen(answer) or ""))
    rows = answers.probabilities(answer, model.labels)
    if rows:
        chart = charts.probability_bars(rows, target(pipeline, model))
        st.altair_chart(chart, width="stretch", key="probabilities")
    widgets.show_curl("POST", path, document=row)


def target(pipeline: Home, model: ModelBody) -> str:
    """The target of the model's prediction: its label's title, or a cluster."""
    return column_title(pipeline.columns, model.label) if model.label else "cluster"


def every_generation(pipeline: Home, model: ModelBody, row: dict[str, Any]) -> None:
    """Every generation's answer to the same row, a page of generations at a time."""
    st.subheader("The same row, asked of every generation", anchor=False)
    name, labels = model.model, model.labels
    before = first_excluded(name)
    page = api().post(f"/models/{name}/generations/predict", row, Across, before=before, limit=PAGE)
    points = answers.series(page.answers, labels)
    share = any(answer.probability for answer in page.answers)
    unit = column_unit(pipeline.columns, model.label)
    title = target(pipeline, model) + (f" ({unit})" if unit else "")
    named = not share and not all(isinstance(point["value"], float) for point in points)
    chart = charts.over_generations(points, "probability (%)" if share else title, share, named)
    st.altair_chart(chart, width="stretch", key="over generations")
    rows = answers.by_generation(page.answers, labels)
    columns = widgets.number_columns(rows, {"answer": title, "distance": "distance"}, digits=6)
    columns |= widgets.share_columns(answers.classes(page.answers, labels))
    widgets.table(rows, columns, key="answers of generations")
    missing = answers.missing_generations(page.answers)
    if missing:
        st.caption(f"Without {numbered('generation', missing)}, which failed or whose files were removed.")
    older_and_newer(name, before, page)


def first_excluded(name: str) -> int | None:
    """The page shows the generations below this one; None for the newest page."""
    pages: list[int] = st.session_state.setdefault(f"pages of {name}", [])
    return pages[-1] if pages else None


def older_and_newer(name: str, before: int | None, page: Across) -> None:
    """The buttons to the next pages; none where there is only one page."""
    if before is None and not page.more:
        return
    pages: list[int] = st.session_state[f"pages of {name}"]
    older, newer, _ = st.columns([1, 1, 3])
    last = page.answers[-1].generation if page.answers else None
    older.button(
        "Older generations", disabled=not page.more, on_click=pages.append, args=(last,), key=f"older of {name}"
    )
    newer.button("Newer generations", disabled=before is None, on_click=go_back, args=(pages,), key=f"newer of {name}")


def go_back(pages: list[int]) -> None:
    del pages[-1]


def by_key(pipeline: Home, key: str, model: ModelBody) -> None:
    """The predictions for the rows of the stream with a key."""
    title, name = column_title(pipeline.columns, key), model.model
    st.subheader(f"A row of the stream, by its {plain(title)}", anchor=False)
    value = widgets.text_form(f"{name} key", title, example(model, "key"), "Look up")
    if not value:
        return
    path = f"/models/{name}/rows/{quote(value, safe='')}"
    with render_api_errors():
        rows = answers.found_rows(api().get(path, FoundRows, limit=FOUND).rows, model.labels)
        columns = column_labels(pipeline.columns, answers.FOUND) | widgets.number_columns(
            rows, {"answer": "answer"}, digits=6
        )
        widgets.table(rows, columns, key=f"rows of {name}")
    widgets.show_curl("GET", path, query={"limit": FOUND})
