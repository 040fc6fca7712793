"""The page Try it: ask a model, or a route of the pipeline, and see the equivalent curl command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st
from httpx import codes

from tidemill.console.client import ApiError
from tidemill.console.formatting import generation_name, plain
from tidemill.console.forms import route_fields, widgets
from tidemill.console.forms.route_fields import Operation, RouteRequest
from tidemill.console.pages import try_recommender, try_rows, try_similar
from tidemill.console.shell import api, render_api_errors
from tidemill.schemas import ErrorBody, Home, ModelBody, Problem

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
        try_model(pipeline)
        return
    part = st.segmented_control("Ask", [MODELS, ROUTES], default=MODELS, required=True, key="ask", bind="query-params")
    with render_api_errors():
        if part == ROUTES:
            try_route(pipeline)
        else:
            try_model(pipeline)


def try_model(pipeline: Home) -> None:
    name = st.selectbox("Model", list(pipeline.models), key="model", bind="query-params")
    model = api().get(f"/models/{name}", ModelBody, limit=1)
    st.caption(f"{model.estimator}, generation {generation_name(model.champion, model.line)} serves")
    BY_KIND.get(pipeline.models[name].kind, try_rows.show)(pipeline, model)


# --- routes ---------------------------------------------------------------------------------------------------------


def try_route(pipeline: Home) -> None:
    """A route's parameters as fields, the curl command, and the answer as JSON."""
    openapi = api().send("GET", "/openapi.json")
    operations = {operation.name: operation for operation in route_fields.operations(pipeline.routes, openapi)}
    name = st.selectbox("Route", list(operations), key="route", bind="query-params")
    operation = operations[name]
    st.caption(plain(operation.description))
    with st.form(f"route {name}"):
        values = widgets.draw([parameter.field for parameter in operation.parameters], name)
        pressed = st.form_submit_button("Send", type="primary")
    request = request_or_error(operation, values)
    if request is None:
        return
    widgets.show_curl(request.method, request.path, query=request.query, document=request.document, form=request.form)
    answer = widgets.last_submitted(name, pressed, answer_to(request) if pressed else None)
    if answer is not None:
        status, content = answer
        st.markdown(f"**{status}**")
        st.json(content)


def request_or_error(operation: Operation, values: Mapping[str, Any]) -> RouteRequest | None:
    """The request; None after showing why a value can't be sent."""
    try:
        return route_fields.route_request(operation, values)
    except ValueError as error:
        st.error(plain(error), icon=":material/error:")
        return None


def answer_to(request: RouteRequest) -> tuple[str, Any]:
    """The route's status and JSON. An error that the API answers with is shown the same way."""
    body: dict[str, Any] = {"json": request.document} if request.document is not None else {}
    body |= {"data": request.form} if request.form is not None else {}
    try:
        return "200 OK", api().send(request.method, request.path, params=request.query, **body)
    except ApiError as error:
        problem = Problem(code=error.code, message=error.message, hint=error.hint)
        return f"{error.status} {codes.get_reason_phrase(error.status)}", ErrorBody(error=problem).model_dump()
