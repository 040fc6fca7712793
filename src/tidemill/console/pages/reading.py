"""Of the page Your data: how the data are read and why, as the pipeline file says and `tidemill init` writes it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from tidemill.console import shell
from tidemill.console.formatting import NONE, plain
from tidemill.console.paging import PAGE, select_oldest_first
from tidemill.schemas import ColumnBody, Home


def section() -> None:
    """Nothing where the pipeline file gives no reasons."""
    home = shell.api().get("/pipeline", Home)
    if not has_reasons(home):
        return
    st.subheader("How the data are read", anchor=False)
    layout(home)
    st.markdown("The columns, how their values are read, and why:")
    columns(home.columns)
    left_out(home)


def has_reasons(home: Home) -> bool:
    noted = any(column.note for column in home.columns)
    return noted or home.source_note is not None or any(model.left_out for model in home.models.values())


def layout(home: Home) -> None:
    st.markdown("\n\n".join(plain(line) for line in (home.source_note or "").splitlines()))
    if home.source_settings:
        st.code(home.source_settings, language="toml", wrap_lines=True)


def columns(every: Sequence[ColumnBody]) -> None:
    wanted = ""
    if len(every) > PAGE:
        wanted = st.text_input(
            "Columns with", key="columns with", placeholder="a part of a name or a reason", width=280
        )
    found = matching(every, wanted)
    page = select_oldest_first(len(found), PAGE, "Page of columns", "columns page")
    st.table([column_row(column) for column in found[page.after : page.after + page.limit]], hide_index=True)
    if not found:
        st.caption("No column has this in its name, its type or its reason.")


def matching(every: Sequence[ColumnBody], wanted: str) -> list[ColumnBody]:
    """The columns with ``wanted`` in what is shown of them, in upper or lower case."""
    part = wanted.strip().casefold()
    return [column for column in every if part in " ".join(shown(column).values()).casefold()]


def column_row(column: ColumnBody) -> dict[str, str]:
    return {name: plain(text) if text else NONE for name, text in shown(column).items()}


def shown(column: ColumnBody) -> dict[str, str]:
    kind = f"{column.kind}{'?' if column.optional else ''}"
    return {"column": column.name, "type": kind, "settings": column.settings or "", "why": column.note or ""}


def left_out(home: Home) -> None:
    """The columns that are not among the features of a model, with the reasons."""
    rows = [
        {"model": plain(name), "left out": plain(column), "why": plain(why)}
        for name, model in home.models.items()
        for column, why in (model.left_out or {}).items()
    ]
    if rows:
        st.markdown("Columns that a model does not use:")
        page = select_oldest_first(len(rows), PAGE, "Page of columns that are left out", "left out page")
        st.table(rows[page.after : page.after + page.limit], hide_index=True)
