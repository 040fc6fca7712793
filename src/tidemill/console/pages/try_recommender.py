"""Try a recommender: for ratings given here, for a user it knows, and items like another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from tidemill.console import answers
from tidemill.console.formatting import plain
from tidemill.console.forms import widgets
from tidemill.console.forms.request import asked, asked_text, example, show_curl
from tidemill.console.shell import api, told

TOP = 10
FOUND = 20  # titles of a search
STARS = (0.5, 5.0, 0.5)  # from, to, step
FIRST = 4.0
Document = Mapping[str, Any]
Rated = dict[str, dict[str, Any]]  # by item: its title


def show(pipeline: Document, model: Document) -> None:
    name = model["model"]
    chosen = search(name)
    rated = rated_items(name)
    if chosen is not None:
        add, alike = st.columns([1, 3])
        add.button("Add to my ratings", on_click=rate, args=(rated, chosen), key=f"{name} add")
        similar = alike.button("Show similar items", key=f"{name} similar")
        like = asked(f"{name} like", similar, chosen)
    else:
        like = asked(f"{name} like", False, None)
    with told():
        for_ratings(model, rated)
    with told():
        like_item(name, like)
    with told():
        for_user(model)


def search(name: str) -> dict[str, Any] | None:
    """An item found by words of its title."""
    st.subheader("Find a title", anchor=False)
    words = st.text_input(
        "Search titles",
        key=f"{name} search",
        persist_state="session",
        placeholder="words of a title; empty: the most rated",
    )
    items = api().get(f"/models/{name}/items", q=words, limit=FOUND)["items"]
    by_id: dict[str, dict[str, Any]] = {str(one["item"]): one for one in items}
    chosen: str | None = st.selectbox(
        "Title", list(by_id), format_func=lambda item: answers.item_title(by_id[item]), key=f"{name} title"
    )
    if chosen is None:
        st.caption("No title has these words.")
        return None
    return by_id[chosen]


def rated_items(name: str) -> Rated:
    rated: Rated = st.session_state.setdefault(f"{name} rated", {})
    return rated


def rate(rated: Rated, item: dict[str, Any]) -> None:
    rated[str(item["item"])] = item


def take_away(rated: Rated, item: str) -> None:
    del rated[item]


def for_ratings(model: Document, rated: Rated) -> None:
    """What goes with the ratings given here."""
    name = model["model"]
    st.subheader("Recommend from my ratings", anchor=False)
    if not rated:
        st.caption("Nothing is rated yet: find a title, and add it.")
    ratings = {item: rating_of(model, item, one, rated) for item, one in list(rated.items())}
    pressed = st.button("Recommend", type="primary", disabled=not ratings, key=f"{name} recommend")
    document = asked(f"{name} ratings", pressed, {"ratings": ratings, "top": TOP})
    if document is None:
        return
    path = f"/models/{name}/recommend"
    with told():
        answer = api().post(path, document)
        table(answer, "score", f"{name} recommended")
        titles = {item: answers.item_title(one) for item, one in rated.items()}
        for remark in answers.remarks(answer, titles):
            st.caption(plain(remark))
    show_curl("POST", path, document=document)


def rating_of(model: Document, item: str, one: dict[str, Any], rated: Rated) -> float:
    """A line of the list: the title with its rating, and a button that takes it away."""
    name, title = model["model"], answers.item_title(one)
    line, away = st.columns([4, 1], vertical_alignment="bottom")
    away.button(
        "Remove", on_click=take_away, args=(rated, item), key=f"{name} remove {item}", help=f"Remove {plain(title)}"
    )
    if model["rating"] is None:
        line.markdown(plain(title))
        return 1.0
    least, most, step = STARS
    stars = line.slider(
        plain(title), least, most, FIRST, step, format="%.1f stars", key=f"{name} stars {item}", persist_state="session"
    )
    return float(stars)


def like_item(name: str, item: dict[str, Any] | None) -> None:
    st.subheader("Similar items", anchor=False)
    if item is None:
        st.caption("Find a title, and choose “Show similar items”.")
        return
    st.caption(f"Like {plain(answers.item_title(item))}:")
    path = f"/models/{name}/similar/{quote(str(item['item']), safe='')}"
    with told():
        table(api().get(path, top=TOP), "similarity", f"{name} alike")
    show_curl("GET", path, query={"top": TOP})


def for_user(model: Document) -> None:
    """What goes with a user of the stream."""
    name = model["model"]
    st.subheader("Recommend to a known user", anchor=False)
    wanted = asked_text(f"{name} user", model["user"], example(model, "user"), "Recommend to this user")
    if not wanted:
        return
    path = f"/models/{name}/recommend/{quote(wanted, safe='')}"
    with told():
        table(api().get(path, top=TOP), "score", f"{name} for user")
    show_curl("GET", path, query={"top": TOP})


def table(answer: Document, measure: str, key: str) -> None:
    rows = answers.items(answer["items"], measure)
    widgets.table(rows, {measure: st.column_config.NumberColumn(measure, format="%.3f")}, key=key)
    st.caption(f"The answer of generation {answer['generation']}, the best first.")
