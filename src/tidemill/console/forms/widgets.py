"""The Streamlit widgets of forms and tables, shared by the pages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from tidemill.console.formatting import plain
from tidemill.console.forms.curl import curl
from tidemill.console.forms.fields import Field
from tidemill.console.shell import api

NUMBER_FORMAT = "%.12g"
COLUMNS = 3

# --- forms ----------------------------------------------------------------------------------------------------------


def draw(fields: Sequence[Field], form: str) -> dict[str, Any]:
    """Draw the fields side by side and return their values by the fields' names.

    ``form`` is unique in the console: under this name the values are kept while another page is shown.
    """
    across = min(COLUMNS, max(1, len(fields)))
    values = {}
    for index, field in enumerate(fields):
        if index % across == 0:
            columns = st.columns(across)  # new ones for each line, so that a phone, which stacks them, keeps the order
        with columns[index % across]:
            values[field.name] = widget(field, f"{form}: {field.name}")
    return values


def widget(field: Field, key: str) -> Any:
    kept: dict[str, Any] = {"key": key, "persist_state": "session", "help": plain(field.help) or None}
    label = plain(field.label)
    if field.choices is not None:
        options = list(field.choices)
        index = options.index(field.default) if field.default in options else None
        return st.selectbox(label, options, index=index, accept_new_options=True, **kept)
    if field.kind == "bool":
        options = ["true", "false"]
        index = None if field.default is None else options.index("true" if field.default else "false")
        chosen = st.selectbox(label, options, index=index, **kept)
        return None if chosen is None else chosen == "true"
    if field.kind == "int":
        return st.number_input(label, value=field.default, step=1, format="%d", **kept)
    if field.kind == "float":
        step = float(field.step or 0.1)
        return st.number_input(label, value=field.default, step=step, format=NUMBER_FORMAT, **kept)
    if field.kind == "json":
        return st.text_area(label, value=field.default, height=140, **kept)
    return st.text_input(label, value=field.default, **kept)


def last_submitted(key: str, pressed: bool, value: Any, initial: Any = None) -> Any:
    """The value of the last submission: ``value`` if the button was ``pressed``, ``initial`` before the first press.

    The session keeps it while the page is rerendered and while another page is shown.
    """
    kept = f"submitted {key}"
    if pressed:
        st.session_state[kept] = value
    return st.session_state.get(kept, initial)


def text_form(key: str, label: str, default: str, button: str) -> str:
    """A form of one text field and a button: the text last submitted, empty before the first time."""
    with st.form(key):
        text = st.text_input(plain(label), value=default, key=f"text of {key}", persist_state="session")
        pressed = st.form_submit_button(button)
    return str(last_submitted(key, pressed, text, ""))


def show_curl(method: str, path: str, caption: str = "The same from a terminal:", **parts: Any) -> None:
    """The curl command that sends the same request, ready to copy."""
    st.caption(caption)
    command = curl(method, api().address + path, keyed=api().keyed, **parts)
    st.code(command, language="bash", wrap_lines=True)


# --- tables ---------------------------------------------------------------------------------------------------------

MOST_DECIMALS = 10


def table(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, Any],
    key: str,
    height: Literal["auto", "content"] = "auto",
) -> None:
    """A sortable table that scrolls sideways.

    Args:
        columns: a column's title, or Streamlit's configuration of it.
        height: "auto" scrolls more than ten rows, "content" shows them all.
    """
    st.dataframe(
        [dict(row) for row in rows],
        column_config=dict(columns),
        hide_index=True,
        width="stretch",
        height=height,
        key=key,
    )


def number_columns(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str], digits: int = 4) -> dict[str, Any]:
    """The configuration of columns of numbers by their titles. They stay numbers, so the table sorts by value."""
    values = {name: [row.get(name) for row in rows] for name in titles}
    return {
        name: st.column_config.NumberColumn(title, format=number_format(values[name], digits))
        if any(map(is_number, values[name]))
        else title
        for name, title in titles.items()
    }


def share_columns(names: Iterable[str]) -> dict[str, Any]:
    """The configuration of columns of shares of 1, shown in percent."""
    return {name: st.column_config.NumberColumn(name, format="percent") for name in names}


def number_format(values: Sequence[Any], digits: int = 4) -> str:
    """The printf format of a column of numbers: commas between thousands, at least ``digits`` significant digits, and
    enough to tell its values apart, as for longitudes within one town."""
    numbers = [value for value in values if is_number(value)]
    if all(float(value).is_integer() and abs(value) < 1e15 for value in numbers):
        return "%,d"
    largest = max(map(abs, numbers))
    if not 1e-4 <= largest < 1e15:
        return f"%.{digits}g"
    spread = max(numbers) - min(numbers)
    digits = max(digits, 3 + math.ceil(math.log10(largest / spread))) if spread else digits
    return f"%,.{max(0, min(MOST_DECIMALS, digits - 1 - math.floor(math.log10(largest))))}f"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
