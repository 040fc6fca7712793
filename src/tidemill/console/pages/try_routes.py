"""Try a route of the pipeline's own: its parameters as fields, the request, and its answer as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from httpx import codes

from tidemill.console.client import Refused
from tidemill.console.formatting import plain
from tidemill.console.forms import route_fields, widgets
from tidemill.console.forms.request import asked, show_curl
from tidemill.console.forms.route_fields import Operation, Request
from tidemill.console.shell import api


def show(pipeline: Mapping[str, Any]) -> None:
    found = {one.name: one for one in route_fields.operations(pipeline["routes"], api().get("/openapi.json"))}
    name = st.selectbox("Route", list(found), key="route", bind="query-params")
    operation = found[name]
    st.caption(plain(operation.description))
    with st.form(f"route {name}"):
        values = widgets.draw([one.field for one in operation.asked], name)
        pressed = st.form_submit_button("Send", type="primary")
    request = made(operation, values)
    if request is None:
        return
    show_curl(request.method, request.path, query=request.query, document=request.document, form=request.form)
    answer = asked(name, pressed, answer_of(request) if pressed else None)
    if answer is not None:
        status, content = answer
        st.markdown(f"**{status}**")
        st.json(content)


def made(operation: Operation, values: Mapping[str, Any]) -> Request | None:
    """The request; where a value can't be sent, what is wrong with it is told instead."""
    try:
        return route_fields.request(operation, values)
    except ValueError as error:
        st.error(plain(error), icon=":material/error:")
        return None


def answer_of(request: Request) -> tuple[str, Any]:
    """The status and the JSON that the route answers with; an error of the route's is an answer too."""
    body: dict[str, Any] = {"json": request.document} if request.document is not None else {}
    body |= {"data": request.form} if request.form is not None else {}
    try:
        return "200 OK", api().send(request.method, request.path, params=request.query, **body)
    except Refused as refused:
        error = {"code": refused.code, "message": refused.message, "hint": refused.hint}
        return f"{refused.status} {codes.get_reason_phrase(refused.status)}", {"error": error}
