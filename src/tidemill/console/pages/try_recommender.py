"""Try a recommender: for ratings given here, for a known user, and items similar to another."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import streamlit as st

from tidemill.console import answers
from tidemill.console.formatting import plain
from tidemill.console.forms import widgets
from tidemill.console.forms.fields import column_unit, example, rating_slider
from tidemill.console.shell import api, render_api_errors
from tidemill.schemas import (
    Home,
    Items,
    ModelBody,
    Recommendations,
    ScoredItem,
    SimilarItem,
    SimilarItems,
    TitledItem,
    UserRecommendations,
)

TOP = 10
FOUND = 20  # titles of a search
IMPLICIT = 1.0  # the rating of an item by a model without ratings
Rated = dict[str, TitledItem]  # by the item's id


def show(pipeline: Home, model: ModelBody) -> None:
    name = model.model
    chosen = search(name)
    rated = rated_items(name)
    if chosen is not None:
        add, similar = st.columns([1, 3])
        add.button("Add to my ratings", on_click=add_item, args=(rated, chosen), key=f"{name} add")
        pressed = similar.button("Show similar items", key=f"{name} similar")
        like = widgets.last_submitted(f"{name} like", pressed, chosen)
    else:
        like = widgets.last_submitted(f"{name} like", False, None)
    with render_api_errors():
        by_ratings(pipeline, model, rated)
    with render_api_errors():
        by_item(name, like)
    with render_api_errors():
        by_user(model)


def search(name: str) -> TitledItem | None:
    """The item that the visitor selects from those whose titles have the words."""
    st.subheader("Find a title", anchor=False)
    words = st.text_input(
        "Search titles",
        key=f"{name} search",
        persist_state="session",
        placeholder="words of a title; empty: the most rated",
    )
    items = api().get(f"/models/{name}/items", Items, q=words, limit=FOUND).items
    by_id = {str(item.item): item for item in items}
    chosen: str | None = st.selectbox(
        "Title", list(by_id), format_func=lambda item: answers.item_title(by_id[item]), key=f"{name} title"
    )
    if chosen is None:
        st.caption("No title has these words.")
        return None
    return by_id[chosen]


# --- by ratings -----------------------------------------------------------------------------------------------------


def rated_items(name: str) -> Rated:
    rated: Rated = st.session_state.setdefault(f"{name} rated", {})
    return rated


def add_item(rated: Rated, item: TitledItem) -> None:
    rated[str(item.item)] = item


def remove_item(rated: Rated, item: str) -> None:
    del rated[item]


def by_ratings(pipeline: Home, model: ModelBody, rated: Rated) -> None:
    """Recommendations for the ratings that the visitor gives."""
    name = model.model
    st.subheader("Recommend from my ratings", anchor=False)
    if not rated:
        st.caption("No title is rated yet. Find a title above and add it.")
    ratings = {item: rating_line(pipeline, model, item, rated) for item in list(rated)}
    pressed = st.button("Recommend", type="primary", disabled=not ratings, key=f"{name} recommend")
    document = widgets.last_submitted(f"{name} ratings", pressed, {"ratings": ratings, "top": TOP})
    if document is None:
        return
    path = f"/models/{name}/recommend"
    with render_api_errors():
        answer = api().post(path, document, Recommendations)
        table(answer.items, "score", answer.generation, f"{name} recommended")
        titles = {item: answers.item_title(titled) for item, titled in rated.items()}
        for remark in answers.remarks(answer, titles):
            st.caption(plain(remark))
    widgets.show_curl("POST", path, document=document)


def rating_line(pipeline: Home, model: ModelBody, item: str, rated: Rated) -> float:
    """A line of the list: the title, its rating, and a button that removes it. Returns the rating."""
    title = plain(answers.item_title(rated[item]))
    line, remove = st.columns([4, 1], vertical_alignment="bottom")
    remove.button(
        "Remove",
        on_click=remove_item,
        args=(rated, item),
        key=f"{model.model} remove {item}",
        help=f"Remove {title}",
    )
    with line:
        return rating(pipeline, model, title, f"{model.model} rating {item}")


def rating(pipeline: Home, model: ModelBody, title: str, key: str) -> float:
    """A slider on the scale of the model's own ratings; a number where the model has no scale, or only one value."""
    if model.rating is None:
        st.markdown(title)
        return IMPLICIT
    whole = any(column.name == model.rating and column.kind == "int" for column in pipeline.columns)
    slider = rating_slider(model.ratings, whole) if model.ratings else None
    if slider is None:
        start = model.ratings.maximum if model.ratings else IMPLICIT
        return float(st.number_input(title, value=start, key=key, persist_state="session"))
    unit = column_unit(pipeline.columns, model.rating)
    return float(
        st.slider(
            title,
            slider.minimum,
            slider.maximum,
            slider.start,
            slider.step,
            format=f"%g {unit}" if unit else "%g",
            key=key,
            persist_state="session",
        )
    )


# --- by item and by user --------------------------------------------------------------------------------------------


def by_item(name: str, item: TitledItem | None) -> None:
    st.subheader("Similar items", anchor=False)
    if item is None:
        st.caption("Find a title and choose “Show similar items”.")
        return
    st.caption(f"Similar to {plain(answers.item_title(item))}:")
    path = f"/models/{name}/similar/{quote(str(item.item), safe='')}"
    with render_api_errors():
        answer = api().get(path, SimilarItems, top=TOP)
        table(answer.items, "similarity", answer.generation, f"{name} alike")
    widgets.show_curl("GET", path, query={"top": TOP})


def by_user(model: ModelBody) -> None:
    """Recommendations for a user of the stream."""
    name = model.model
    st.subheader("Recommend to a known user", anchor=False)
    label = model.user or "user"
    user = widgets.text_form(f"{name} user", label, example(model, "user"), "Recommend to this user")
    if not user:
        return
    path = f"/models/{name}/recommend/{quote(user, safe='')}"
    with render_api_errors():
        answer = api().get(path, UserRecommendations, top=TOP)
        table(answer.items, "score", answer.generation, f"{name} for user")
    widgets.show_curl("GET", path, query={"top": TOP})


def table(items: Sequence[ScoredItem | SimilarItem], measure: str, generation: int, key: str) -> None:
    rows = answers.item_rows(items, measure)
    widgets.table(rows, {measure: st.column_config.NumberColumn(measure, format="%.3f")}, key=key)
    st.caption(f"The answer of generation {generation}, the best first.")
