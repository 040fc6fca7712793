"""Try it: ask a model, or a route of the pipeline's own, and see how the same is asked from a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from tidemill.console.pages import try_recommender, try_routes, try_rows, try_similar
from tidemill.console.shell import api, told

MODELS, ROUTES = "Models", "The pipeline's own routes"
Document = dict[str, Any]
KINDS: dict[str, Callable[[Document, Document], None]] = {
    "recommendation": try_recommender.show,
    "neighbours": try_similar.show,
    "text": try_similar.show,
}


def page() -> None:
    pipeline = api().get("/pipeline")
    if pipeline["generation"] is None:
        st.info("There is nothing to ask yet: no generation is published.", icon=":material/hourglass_top:")
        return
    if not pipeline["routes"]:
        models(pipeline)
        return
    part = st.segmented_control("Ask", [MODELS, ROUTES], default=MODELS, required=True, key="ask", bind="query-params")
    with told():
        if part == ROUTES:
            try_routes.show(pipeline)
        else:
            models(pipeline)


def models(pipeline: Document) -> None:
    name = st.selectbox("Model", list(pipeline["models"]), key="model", bind="query-params")
    model = api().get(f"/models/{name}", limit=1)
    st.caption(f"{model['estimator']}, generation {pipeline['generation']} is the newest")
    KINDS.get(pipeline["models"][name]["kind"], try_rows.show)(pipeline, model)
