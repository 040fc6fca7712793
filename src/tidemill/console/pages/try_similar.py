"""Try a model that finds rows of the stream: the nearest to a row, or the most alike to a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from tidemill.console import answers
from tidemill.console.formatting import plain
from tidemill.console.forms import widgets
from tidemill.console.forms.fields import fields as fields_of
from tidemill.console.forms.fields import row as row_of
from tidemill.console.forms.request import asked, asked_text, column_titles, example, show_curl, title
from tidemill.console.shell import api, told

TOP = 10
Document = Mapping[str, Any]


def show(pipeline: Document, model: Document) -> None:
    name, words = model["model"], pipeline["models"][model["model"]]["kind"] == "text"
    with st.form(f"like {name}"):
        given = {"text": text_like(model)} if words else {"row": row_like(model)}
        top = st.number_input("Rows at most", 1, 100, TOP, key=f"{name} top", persist_state="session")
        pressed = st.form_submit_button("Find similar rows", type="primary")
    question = {**given, "top": int(top)}
    document = asked(name, pressed, question, at_first=question)
    path = f"/models/{name}/similar"
    with told():
        found(pipeline, api().post(path, document), words, f"similar of {name}")
    show_curl("POST", path, document=document)
    if pipeline["key"] is not None:
        by_key(pipeline, model, words)


def text_like(model: Document) -> str:
    first = example(model, "text")
    text: str = st.text_input("Words", value=first, key=f"{model['model']} text", persist_state="session")
    return text


def row_like(model: Document) -> dict[str, Any]:
    fields = fields_of(model)
    return row_of(fields, widgets.draw(fields, model["model"]))


def found(pipeline: Document, answer: Document, words: bool, key: str) -> None:
    measure = "similarity" if words else "distance"
    rows = answers.items(answer["items"], measure)
    widgets.table(rows, column_titles(pipeline["columns"]), key=key)
    told_of = (
        f"{len(rows)} rows of generation {answer['generation']}, the {'most alike' if words else 'nearest'} first."
    )
    unknown = f" Not seen in training: {plain(', '.join(map(str, answer['unknown'])))}." if answer["unknown"] else ""
    st.caption(told_of + unknown)


def by_key(pipeline: Document, model: Document, words: bool) -> None:
    """Rows like one that was streamed."""
    called, name = title(pipeline["columns"], pipeline["key"]), model["model"]
    st.subheader(f"Rows like one of the stream, by its {plain(called)}", anchor=False)
    wanted = asked_text(f"{name} key", called, example(model, "key"), "Find rows like it")
    if not wanted:
        return
    path = f"/models/{name}/similar/{quote(wanted, safe='')}"
    with told():
        found(pipeline, api().get(path, top=TOP), words, f"like key of {name}")
    show_curl("GET", path, query={"top": TOP})
