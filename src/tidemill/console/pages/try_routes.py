"""Try a route of the pipeline: its parameters as fields, the curl command, and the answer as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from httpx import codes

from tidemill.console.client import ApiError
from tidemill.console.formatting import plain
from tidemill.console.forms import route_fields, widgets
from tidemill.console.forms.route_fields import Operation, RouteRequest
from tidemill.console.shell import api
from tidemill.schemas import ErrorBody, Home, Problem


def show(pipeline: Home) -> None:
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
