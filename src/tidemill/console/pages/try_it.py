"""The page Try it: ask a model, or a route of the pipeline, and see the curl command that does the same."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from tidemill.console.pages import try_recommender, try_routes, try_rows, try_similar
from tidemill.console.shell import api, render_api_errors
from tidemill.schemas import Home, ModelBody

MODELS, ROUTES = "Models", "The pipeline's own routes"
BY_KIND: dict[str, Callable[[Home, ModelBody], None]] = {
    "recommendation": try_recommender.show,
    "neighbours": try_similar.show,
    "text": try_similar.show,
}


def page() -> None:
    pipeline = api().get("/pipeline", Home)
    if pipeline.generation is None:
        st.info("There is nothing to ask yet: no generation is published.", icon=":material/hourglass_top:")
        return
    if not pipeline.routes:
        models(pipeline)
        return
    part = st.segmented_control("Ask", [MODELS, ROUTES], default=MODELS, required=True, key="ask", bind="query-params")
    with render_api_errors():
        if part == ROUTES:
            try_routes.show(pipeline)
        else:
            models(pipeline)


def models(pipeline: Home) -> None:
    name = st.selectbox("Model", list(pipeline.models), key="model", bind="query-params")
    model = api().get(f"/models/{name}", ModelBody, limit=1)
    st.caption(f"{model.estimator}, generation {pipeline.generation} is the newest")
    BY_KIND.get(pipeline.models[name].kind, try_rows.show)(pipeline, model)
