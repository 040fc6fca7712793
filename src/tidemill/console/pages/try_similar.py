"""Try a model that finds similar rows of the stream: the nearest to a row, or the most similar to a text."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import streamlit as st

from tidemill.console import answers
from tidemill.console.formatting import counted, plain
from tidemill.console.forms import widgets
from tidemill.console.forms.fields import column_labels, column_title, example, model_fields
from tidemill.console.forms.fields import row as row_of
from tidemill.console.shell import api, render_api_errors
from tidemill.schemas import AlikeRows, Home, ModelBody, NearRows

TOP = 10


def show(pipeline: Home, model: ModelBody) -> None:
    name = model.model
    by_text = pipeline.models[name].kind == "text"
    schema: type[NearRows | AlikeRows] = AlikeRows if by_text else NearRows
    with st.form(f"like {name}"):
        query = {"text": text_input(model)} if by_text else {"row": row_input(model)}
        top = st.number_input("Most rows", 1, 100, TOP, key=f"{name} top", persist_state="session")
        pressed = st.form_submit_button("Find similar rows", type="primary")
    filled = {**query, "top": int(top)}
    document = widgets.last_submitted(name, pressed, filled, initial=filled)
    path = f"/models/{name}/similar"
    with render_api_errors():
        table(pipeline, api().post(path, document, schema), f"similar of {name}")
    widgets.show_curl("POST", path, document=document)
    if pipeline.key is not None:
        by_key(pipeline, pipeline.key, model, schema)


def text_input(model: ModelBody) -> str:
    text: str = st.text_input("Words", value=example(model, "text"), key=f"{model.model} text", persist_state="session")
    return text


def row_input(model: ModelBody) -> dict[str, Any]:
    fields = model_fields(model.inputs)
    return row_of(fields, widgets.draw(fields, model.model))


def table(pipeline: Home, answer: NearRows | AlikeRows, key: str) -> None:
    if isinstance(answer, NearRows):
        measure, order = "distance", "the nearest first"
    else:
        measure, order = "similarity", "the most similar first"
    rows = answers.similar_rows(answer.items, measure)
    columns = column_labels(pipeline.columns, answers.similar_keys(measure)) | widgets.number_columns(
        rows, {measure: measure}
    )
    widgets.table(rows, columns, key=key)
    unknown = f" Not seen in training: {plain(', '.join(answer.unknown))}." if answer.unknown else ""
    st.caption(f"{counted(len(rows), 'row')} of generation {answer.generation}, {order}.{unknown}")


def by_key(pipeline: Home, key: str, model: ModelBody, schema: type[NearRows | AlikeRows]) -> None:
    """Rows similar to a row of the stream."""
    title, name = column_title(pipeline.columns, key), model.model
    st.subheader(f"Rows similar to a row of the stream, by its {plain(title)}", anchor=False)
    value = widgets.text_form(f"{name} key", title, example(model, "key"), "Find rows similar to it")
    if not value:
        return
    path = f"/models/{name}/similar/{quote(value, safe='')}"
    with render_api_errors():
        table(pipeline, api().get(path, schema, top=TOP), f"like key of {name}")
    widgets.show_curl("GET", path, query={"top": TOP})
