"""Try a model that has an answer for a row: a class, a value or a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from tidemill.console import answer_charts, answers
from tidemill.console.formatting import plain
from tidemill.console.forms import widgets
from tidemill.console.forms.fields import fields as fields_of
from tidemill.console.forms.fields import row as row_of
from tidemill.console.forms.request import asked, asked_text, column_titles, example, show_curl, title, units
from tidemill.console.shell import api, told

PAGE = 50  # generations at a time
Document = Mapping[str, Any]


def show(pipeline: Document, model: Document) -> None:
    name = model["model"]
    fields = fields_of(model)
    with st.form(f"row of {name}"):
        values = widgets.draw(fields, name)
        pressed = st.form_submit_button("Predict", type="primary")
    row = asked(name, pressed, row_of(fields, values), at_first=row_of(fields, values))
    with told():
        newest(pipeline, model, row)
    with told():
        every_generation(pipeline, model, row)
    if pipeline["key"] is not None:
        with told():
            by_key(pipeline, model)


def newest(pipeline: Document, model: Document, row: dict[str, Any]) -> None:
    path = f"/models/{model['model']}/predict"
    answer = api().post(path, row)
    headline = answers.headline(answer, units(pipeline["columns"], model["label"]))
    st.metric(plain(target(pipeline, model)), plain(headline))
    st.caption(f"The answer of generation {answer['generation']}, the newest. " + plain(answers.unseen(answer) or ""))
    rows = answers.probabilities(answer, model["labels"])
    if rows:
        st.altair_chart(answer_charts.bars(rows, target(pipeline, model)), width="stretch", key="probabilities")
    show_curl("POST", path, document=row)


def target(pipeline: Document, model: Document) -> str:
    return title(pipeline["columns"], model["label"]) if model["label"] else "cluster"


def every_generation(pipeline: Document, model: Document, row: dict[str, Any]) -> None:
    """What each generation says of the same row, a page of generations at a time."""
    st.subheader("The same row, asked of every generation", anchor=False)
    name = model["model"]
    before = pager(name)
    found = api().post(f"/models/{name}/generations/predict", row, before=before, limit=PAGE)
    labels = model["labels"]
    points = answers.series(found["answers"], labels)
    share = any("probability" in one for one in found["answers"])
    unit = units(pipeline["columns"], model["label"])
    told_of = target(pipeline, model) + (f" ({unit})" if unit else "")
    named = not share and not all(isinstance(one["value"], float) for one in points)
    chart = answer_charts.over_generations(points, "probability (%)" if share else told_of, share, named)
    st.altair_chart(chart, width="stretch", key="over generations")
    titles = widgets.figures({"answer": told_of, "distance": "distance"})
    titles |= widgets.shares(answers.classes(found["answers"], labels))
    widgets.table(answers.by_generation(found["answers"], labels), titles, key="answers of generations")
    older_and_newer(name, before, found)


def pager(name: str) -> int | None:
    """The generation below which the page that is shown begins; None: the newest page."""
    pages: list[int] = st.session_state.setdefault(f"pages of {name}", [])
    return pages[-1] if pages else None


def older_and_newer(name: str, before: int | None, found: Document) -> None:
    pages: list[int] = st.session_state[f"pages of {name}"]
    older, newer, _ = st.columns([1, 1, 3])
    last = found["answers"][-1]["generation"] if found["answers"] else None
    older.button(
        "Older generations", disabled=not found["more"], on_click=pages.append, args=(last,), key=f"older of {name}"
    )
    newer.button(
        "Newer generations", disabled=before is None, on_click=forget_last, args=(pages,), key=f"newer of {name}"
    )


def forget_last(pages: list[int]) -> None:
    del pages[-1]


def by_key(pipeline: Document, model: Document) -> None:
    """The prediction for a row that was streamed."""
    called, name = title(pipeline["columns"], pipeline["key"]), model["model"]
    st.subheader(f"A row of the stream, by its {plain(called)}", anchor=False)
    wanted = asked_text(f"{name} key", called, example(model, "key"), "Look up")
    if not wanted:
        return
    path = f"/models/{name}/rows/{quote(wanted, safe='')}"
    with told():
        found = api().get(path, limit=20)
        rows = [
            {"batch": one["batch"], "answer": answers.headline(one) if one["prediction"] is not None else one["reason"]}
            | one["row"]
            for one in found["rows"]
        ]
        widgets.table(rows, column_titles(pipeline["columns"]), key=f"rows of {name}")
    show_curl("GET", path, query={"limit": 20})
