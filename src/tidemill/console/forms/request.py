"""What the parts of the page Try it share: the request, its curl line, and what was asked last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from tidemill.console.formatting import plain
from tidemill.console.forms.curl import curl
from tidemill.console.forms.fields import label
from tidemill.console.shell import api


def show_curl(method: str, path: str, **parts: Any) -> None:
    """The line that asks the same from a terminal, to be copied."""
    st.caption("The same from a terminal:")
    line = curl(method, api().address + path, keyed=api().keyed, **parts)
    st.code(line, language="bash", wrap_lines=True)


def asked(key: str, pressed: bool, now: Any, at_first: Any = None) -> Any:
    """What was asked last: ``now`` where the button was ``pressed``, before any press ``at_first``.

    It is kept while the page is made anew, and while another page is looked at.
    """
    kept = f"asked {key}"
    if pressed:
        st.session_state[kept] = now
    return st.session_state.get(kept, at_first)


def asked_text(key: str, called: str, first: str, button: str) -> str:
    """A form of one text field, ``first`` filled in: what was asked last by its button; nothing before any press."""
    with st.form(key):
        text = st.text_input(plain(called), value=first, key=f"text of {key}", persist_state="session")
        pressed = st.form_submit_button(button)
    return str(asked(key, pressed, text, ""))


def example(model: Mapping[str, Any], of: str) -> str:
    """An example that the API gives of what a model is asked with; nothing where it gives none."""
    found = (model.get("examples") or {}).get(of)
    return "" if found is None else str(found)


def units(columns: list[Mapping[str, Any]], name: str | None) -> str | None:
    """The unit of a column of the pipeline, if it has one."""
    return next((one.get("unit") for one in columns if one["name"] == name), None)


def title(columns: list[Mapping[str, Any]], name: str) -> str:
    """What a column of the pipeline is called, without its unit."""
    return next((one["title"] for one in columns if one["name"] == name and one["title"]), name)


def column_titles(columns: list[Mapping[str, Any]]) -> dict[str, str]:
    """How the pipeline's columns are called at the head of a table."""
    return {one["name"]: label(one) for one in columns}
