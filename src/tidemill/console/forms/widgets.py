"""A form's fields as Streamlit's widgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from tidemill.console.formatting import plain
from tidemill.console.forms.fields import Field

NUMBER_FORMAT = "%.12g"
COLUMNS = 3


def draw(fields: Sequence[Field], place: str) -> dict[str, Any]:
    """Draw the fields side by side, and give the values that they hold by the fields' names.

    ``place`` names the form among all of the console: what is filled in there is kept while it is not to be seen.
    """
    across = min(COLUMNS, max(1, len(fields)))
    values = {}
    for number, field in enumerate(fields):
        if number % across == 0:
            columns = st.columns(across)  # anew for each line: on a phone, where they stack, the order stays
        with columns[number % across]:
            values[field.name] = widget(field, f"{place}: {field.name}")
    return values


def widget(field: Field, key: str) -> Any:
    kept: dict[str, Any] = {"key": key, "persist_state": "session", "help": plain(field.help) or None}
    label = plain(field.label)
    if field.choices is not None:
        options = choices(field)
        place = options.index(field.default) if field.default in options else None
        return st.selectbox(label, options, index=place, accept_new_options=True, **kept)
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


def choices(field: Field) -> list[str]:
    return list(field.choices or ())


def figures(titles: Mapping[str, str]) -> dict[str, Any]:
    """Columns of figures that are written out already, by their titles: on the right, as figures are."""
    return {name: st.column_config.TextColumn(title, alignment="right") for name, title in titles.items()}


def shares(names: Iterable[str]) -> dict[str, Any]:
    """Columns of shares of 1, in percent."""
    return {name: st.column_config.NumberColumn(name, format="percent") for name in names}


def table(rows: Iterable[dict[str, Any]], titles: dict[str, Any], key: str) -> None:
    """A table that scrolls in itself; ``titles``: how a column is called, or Streamlit's own description of it."""
    st.dataframe(list(rows), column_config=titles, hide_index=True, width="stretch", key=key)
