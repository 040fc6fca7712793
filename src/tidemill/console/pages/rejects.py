"""Of the page Your data: the rejected rows, by reason with the settings that would read them, and by place."""

from __future__ import annotations

import streamlit as st

from tidemill.console import shell
from tidemill.console.formatting import NONE, counted, number, plain
from tidemill.console.paging import PAGE, select_oldest_first
from tidemill.schemas import RejectBody, RejectKind, RejectKinds, RejectPlaces, RejectsBody, RejectSetting, StreamBody

REJECTS = 25
MOST_TEXT = 120  # characters of a rejected record in the table of reasons


def section() -> None:
    st.subheader("Rejects", anchor=False)
    places = shell.api().get("/rejects", RejectPlaces)
    if shell.api().get("/stream", StreamBody).posted is not None:
        st.caption(
            "A row of a request that does not fit is no reject: it is in the answer to the request, and not kept."
        )
    if not places.places:
        st.success("No row was rejected.", icon=":material/check:")
        return
    with shell.render_api_errors():
        by_reason(shell.api().get("/rejects/reasons", RejectKinds))
    by_place(places)


# --- by reason ----------------------------------------------------------------------------------------------------


def by_reason(rejects: RejectKinds) -> None:
    st.markdown(counted_text(rejects))
    page = select_oldest_first(len(rejects.kinds), PAGE, "Page of reasons", "reasons page")
    kinds = rejects.kinds[page.after : page.after + page.limit]
    st.table([kind_row(kind) for kind in kinds], hide_index=True)
    if rejects.more:
        st.caption(f"And {counted(rejects.more, 'further reason')}.")
    remedied = [kind for kind in kinds if kind.settings]
    if remedied:
        with st.expander("Settings that would read them, as lines for the pipeline file", expanded=True):
            st.caption("A line takes the place of the column's own; where a column has several, join their keys.")
            for kind in remedied:
                remedies(kind)


def counted_text(rejects: RejectKinds) -> str:
    """How many rows were rejected, and which of them are counted by reason."""
    rows = f"{counted(rejects.rejected, 'row was', 'rows were')} rejected."
    if rejects.counted < rejects.rejected:
        rows += f" The reasons are those of the newest {number(rejects.counted)}."
    return f"{rows} A row with several faults is counted at each."


def kind_row(kind: RejectKind) -> dict[str, str]:
    text = kind.example.text
    return {
        "rows": number(kind.count),
        "reason": plain(kind.reason),
        "newest": f"{kind.place}, {reject_position(kind.example)}",
        "message": plain(text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"),
        "setting that would read it": " or ".join(plain(setting.setting) for setting in kind.settings) or NONE,
    }


def remedies(kind: RejectKind) -> None:
    st.markdown(f"{plain(kind.reason)}: {counted(kind.count, 'row')}")
    for setting in kind.settings:
        st.code(setting.toml, language="toml", wrap_lines=True)
        if text := effect(setting, kind):
            st.caption(text)


def effect(setting: RejectSetting, kind: RejectKind) -> str:
    """What the setting reads, where that is not all, or where another setting reads it otherwise."""
    parts = []
    if setting.reads < kind.examined:
        parts.append(f"reads {number(setting.reads)} of {number(kind.examined)} values that were tried")
    if setting.becomes is not None and len(kind.settings) > 1:
        parts.append(f"a value becomes {plain(setting.becomes)}")
    return "; ".join(parts)


# --- by place -----------------------------------------------------------------------------------------------------


def by_place(places: RejectPlaces) -> None:
    counts = {place.place: place.rejected for place in places.places}
    left, right = st.columns(2)
    chosen = left.selectbox(
        "Where",
        list(counts),
        format_func=lambda place: f"{place}: {counted(counts[place], 'row')}",
        key="rejects",
        bind="query-params",
    )
    with right:
        page = select_oldest_first(counts[chosen], REJECTS, "Page of rejects", "rejects page")
    rejected = shell.api().get(f"/rejects/{chosen}", RejectsBody, offset=page.after, limit=REJECTS)
    st.table([reject_row(reject) for reject in rejected.items], hide_index=True)


def reject_row(reject: RejectBody) -> dict[str, str]:
    return {"where": reject_position(reject), "reason": plain(reject.reason), "message": plain(reject.text)}


def reject_position(reject: RejectBody) -> str:
    """The line or element of a file, or the partition and offset of the stream."""
    if reject.element is not None:
        return f"element {number(reject.element)}"
    if reject.line is not None:
        return f"line {number(reject.line)}"
    if reject.offset is not None:
        return f"partition {reject.partition}, offset {number(reject.offset)}"
    return NONE
