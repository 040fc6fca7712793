"""Clusters: how large each is, what sets it apart, where its rows lie, and how it has moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from tidemill.console.clusters import describe, geo, movement, plots, tables
from tidemill.console.formatting import plain
from tidemill.console.forms import fields, widgets
from tidemill.console.shell import api, told

POINTS = 1500
Document = Mapping[str, Any]


def page() -> None:
    pipeline = api().get("/pipeline")
    names = [name for name, one in pipeline["models"].items() if one["kind"] == "clustering"]
    if not names:
        st.info("No model of this pipeline makes clusters.", icon=":material/info:")
    elif pipeline["generation"] is None:
        st.info("There are no clusters yet: no generation is published.", icon=":material/hourglass_top:")
    else:
        show(pipeline, names)


def show(pipeline: Document, names: list[str]) -> None:
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    name = left.selectbox("Model", names, key="clusters of", bind="query-params")
    newest = right.toggle("Follow the newest", value=True, key="follow", bind="query-params")
    chosen = middle.number_input(
        "Generation",
        1,
        pipeline["generation"],
        pipeline["generation"],
        disabled=newest,
        key="generation",
        bind="query-params",
    )
    number = pipeline["generation"] if newest else int(chosen)
    model = api().get(f"/models/{name}", limit=1)
    columns = {one["name"]: one for one in model["inputs"]}
    with told():
        profile = api().get(f"/models/{name}/profile", generation=number)
        st.caption(f"{model['estimator']}, generation {number}")
        sentences(profile, columns)
        sizes(profile, columns)
        with told():
            plot(pipeline, profile, columns)
        with told():
            changes(profile, columns)


def sentences(profile: Document, columns: describe.Columns) -> None:
    """What sets each cluster apart."""
    found = describe.sentences(profile["clusters"], columns)
    shares = tables.shares(profile["clusters"])
    lines = [
        f"- **Cluster {one['cluster']}**, {one['size']:,} rows ({shares[one['cluster']]}): "
        f"{plain(found[one['cluster']])}"
        for one in profile["clusters"]
    ]
    st.markdown("\n".join(lines))


def sizes(profile: Document, columns: describe.Columns) -> None:
    clusters = profile["clusters"]
    st.subheader("Sizes and centres", anchor=False)
    st.altair_chart(plots.sizes(clusters), width="stretch", key="sizes")
    rows = tables.written(tables.centres(clusters))
    widgets.table(rows, widgets.figures(titles_of(rows[0], columns)), key="centres")
    st.caption("The middle of each cluster, in the features' own units; sizes and shares are of training rows.")
    categories = tables.categories(clusters)
    if categories:
        with st.expander("Categories in each cluster"):
            widgets.table(categories, {}, key="categories")


def titles_of(row: Mapping[str, Any], columns: describe.Columns) -> dict[str, str]:
    return {name: fields.label(columns[name]) if name in columns else name for name in row}


def plot(pipeline: Document, profile: Document, columns: describe.Columns) -> None:
    """The rows of the generation, on a map where there are places."""
    name, number = profile["model"], profile["generation"]
    numeric = {one["name"]: one for one in pipeline["columns"] if one["kind"] in ("int", "float")}
    place = geo.place(columns)
    st.subheader("Map" if place else "Two features", anchor=False)
    if not place and len(numeric) < 2:
        st.caption("The pipeline has no two columns of numbers to plot.")
        return
    pair = (place.longitude, place.latitude) if place else axes(name, numeric, list(profile["clusters"][0]["centre"]))
    points = api().get(f"/models/{name}/points", generation=number, x=pair[0], y=pair[1], limit=POINTS)
    numbers = [one["cluster"] for one in profile["clusters"]]
    if not points["sampled"]:
        st.caption("No row of this generation has both.")
        return
    if place:
        chart = plots.earth(points, numbers)
    else:
        chart = plots.scatter(points, numbers, (fields.label(numeric[pair[0]]), fields.label(numeric[pair[1]])))
    st.altair_chart(chart, width="stretch", key="points")
    centres = "" if points["centres"] else " The model does not look at both, so no centres are shown."
    st.caption(f"{points['sampled']:,} of the {points['rows']:,} rows of generation {number}, evenly chosen.{centres}")


def axes(name: str, numeric: Mapping[str, Document], features: list[str]) -> tuple[str, str]:
    """The two columns that the user chose; at first two features of the model."""
    found = list(numeric)
    first = sorted(found, key=lambda one: one not in features)
    titles = {one: fields.label(numeric[one]) for one in found}.__getitem__
    left, right = st.columns(2)
    x = left.selectbox("Across", found, found.index(first[0]), titles, key=f"x of {name}", persist_state="session")
    y = right.selectbox("Up", found, found.index(first[1]), titles, key=f"y of {name}", persist_state="session")
    return x, y


def changes(profile: Document, columns: describe.Columns) -> None:
    """How far each cluster is from where it was a generation before."""
    before = profile["matched_to"]
    if before is None:
        return
    st.subheader(f"Moved since generation {before}", anchor=False)
    earlier = api().get(f"/models/{profile['model']}/profile", generation=before)["clusters"]
    clusters, place = profile["clusters"], geo.place(columns)
    if place:
        far, title, form = movement.moved_km(clusters, earlier, place), "moved (km)", "%.2f"
    else:
        far, title, form = movement.moved(clusters, earlier, columns), "moved (share of the range)", "percent"
    moved = st.column_config.NumberColumn(title, format=form)
    rows = tables.written(tables.moves(clusters, earlier, far), but="moved")
    widgets.table(rows, {**widgets.figures(titles_of(rows[0], columns)), "moved": moved}, key="moves")
    st.caption(
        "The change of each centre, in the features' own units, and of the size in rows. A cluster keeps its number."
    )
