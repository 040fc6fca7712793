"""The page Clusters: each cluster's size, how it differs, where its rows are, and how far it has moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from tidemill.console.clusters import describe, geo, plots, tables
from tidemill.console.formatting import counted, plain
from tidemill.console.forms import fields, widgets
from tidemill.console.shell import api, render_api_errors
from tidemill.schemas import ColumnBody, Home, InputBody, ModelBody, Points, Profile

POINTS = 1500


def page() -> None:
    pipeline = api().get("/pipeline", Home)
    names = [name for name, model in pipeline.models.items() if model.kind == "clustering"]
    if not names:
        st.info("No model of this pipeline makes clusters.", icon=":material/info:")
    elif pipeline.generation is None:
        st.info("There are no clusters yet: no generation is published.", icon=":material/hourglass_top:")
    else:
        show(pipeline, names, pipeline.generation)


def show(pipeline: Home, names: list[str], newest: int) -> None:
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    name = left.selectbox("Model", names, key="clusters of", bind="query-params")
    follow = right.toggle("Follow the newest", value=True, key="follow", bind="query-params")
    chosen = middle.number_input(
        "Generation", 1, newest, newest, disabled=follow, key="generation", bind="query-params"
    )
    number = newest if follow else int(chosen)
    model = api().get(f"/models/{name}", ModelBody, limit=1)
    inputs = {column.name: column for column in model.inputs}
    with render_api_errors():
        profile = api().get(f"/models/{name}/profile", Profile, generation=number)
        st.caption(f"{model.estimator}, generation {number}")
        sentences(profile, inputs)
        sizes(profile, inputs)
        with render_api_errors():
            plot(pipeline, profile, inputs)
        with render_api_errors():
            movement(profile, inputs)


def sentences(profile: Profile, inputs: describe.Columns) -> None:
    """How each cluster differs from the others."""
    texts = describe.sentences(profile.clusters, inputs)
    percentages = tables.percentages(profile.clusters)
    lines = [
        f"- **Cluster {cluster.cluster}**, {counted(cluster.size, 'row')} ({percentages[cluster.cluster]}): "
        f"{plain(texts[cluster.cluster])}"
        for cluster in profile.clusters
    ]
    st.markdown("\n".join(lines))


def sizes(profile: Profile, inputs: describe.Columns) -> None:
    clusters = profile.clusters
    st.subheader("Sizes and centres", anchor=False)
    st.altair_chart(plots.sizes(clusters), width="stretch", key="sizes")
    rows = tables.centres(clusters)
    columns = widgets.number_columns(rows, titles_of(rows[0], inputs)) | widgets.share_columns(["share"])
    widgets.table(rows, columns, key="centres")
    st.caption("The centre of each cluster, in the features' own units. Sizes and shares are of training rows.")
    categories = tables.categories(clusters)
    if categories:
        with st.expander("Categories in each cluster"):
            widgets.table(categories, widgets.share_columns(map(tables.cluster_title, clusters)), key="categories")
    terms = tables.terms(clusters)
    if terms:
        with st.expander("Terms of each cluster"):
            widgets.table(terms, {}, key="terms")


def titles_of(row: Mapping[str, Any], inputs: describe.Columns) -> dict[str, str]:
    """The titles of a table's columns, some of which are features."""
    features = {fields.column_key(name, tables.OWN): fields.label(column) for name, column in inputs.items()}
    return {key: features.get(key, key) for key in row}


def plot(pipeline: Home, profile: Profile, inputs: Mapping[str, InputBody]) -> None:
    """The rows of the generation: on a map if the model has coordinates, else by two columns."""
    name, number = profile.model, profile.generation
    numeric = {column.name: column for column in pipeline.columns if column.kind in ("int", "float")}
    coordinates = geo.coordinate_columns(inputs)
    st.subheader("Map" if coordinates else "Two features", anchor=False)
    if not coordinates and len(numeric) < 2:
        st.caption("A plot needs two columns of numbers, which the pipeline does not have.")
        return
    if coordinates:
        x, y = coordinates.longitude, coordinates.latitude
    else:
        x, y = axes(name, numeric, list(profile.clusters[0].centre))
    points = api().get(f"/models/{name}/points", Points, generation=number, x=x, y=y, limit=POINTS)
    numbers = [cluster.cluster for cluster in profile.clusters]
    if not points.sampled:
        st.caption("No row of this generation has a value in both columns.")
        return
    if coordinates:
        chart = plots.earth(points, numbers)
    else:
        chart = plots.scatter(points, numbers, (fields.label(numeric[x]), fields.label(numeric[y])))
    st.altair_chart(chart, width="stretch", key="points")
    centres = "" if points.centres else " Without centres, as the model does not use both columns."
    every = points.sampled == points.rows
    chosen = f"All {points.rows:,}" if every else f"{points.sampled:,} of the {points.rows:,}"
    st.caption(f"{chosen} rows of generation {number}{'' if every else ', evenly chosen'}.{centres}")


def axes(name: str, numeric: Mapping[str, ColumnBody], features: list[str]) -> tuple[str, str]:
    """The two columns that the visitor selects; two features of the model until then."""
    names = list(numeric)
    first = sorted(names, key=lambda column: column not in features)
    titles = {column: fields.label(numeric[column]) for column in names}.__getitem__
    left, right = st.columns(2)
    x = left.selectbox(
        "Horizontal axis", names, names.index(first[0]), titles, key=f"x of {name}", persist_state="session"
    )
    y = right.selectbox(
        "Vertical axis", names, names.index(first[1]), titles, key=f"y of {name}", persist_state="session"
    )
    return x, y


def movement(profile: Profile, inputs: describe.Columns) -> None:
    """How far each cluster has moved since the generation that its number was matched to."""
    before = profile.matched_to
    if before is None:
        return
    st.subheader(f"Moved since generation {before}", anchor=False)
    earlier = api().get(f"/models/{profile.model}/profile", Profile, generation=before).clusters
    clusters, coordinates = profile.clusters, geo.coordinate_columns(inputs)
    if coordinates:
        distances, title, form = tables.moved_km(clusters, earlier, coordinates), "moved (km)", "%.2f"
    else:
        distances, title, form = tables.moved(clusters, earlier, inputs), "moved (share of the range)", "percent"
    rows = tables.moves(clusters, earlier, distances)
    moved = st.column_config.NumberColumn(title, format=form)
    widgets.table(rows, widgets.number_columns(rows, titles_of(rows[0], inputs)) | {"moved": moved}, key="moves")
    st.caption(
        "The change of each centre, in the features' own units, and of the size in rows. A cluster keeps its number "
        "from generation to generation."
    )
