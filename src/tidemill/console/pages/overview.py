"""The page Overview: the data's way with its live counts, the verdict on each model, and what was decided."""

from __future__ import annotations

import streamlit as st

from tidemill.console import flow, shell
from tidemill.console.formatting import plain
from tidemill.console.verdicts import tables
from tidemill.console.verdicts.decisions import decision_rows
from tidemill.schemas import Home, StatusBody, VerdictBody

SHOWN_DECISIONS = 5
SHOWN_DRIFT = 10


def page() -> None:
    live()


@st.fragment(run_every=shell.EVERY)
def live() -> None:
    """The same elements in the same order at each refresh, also where values are unknown."""
    with shell.render_api_errors():
        api = shell.api()
        status, verdict = api.get("/status", StatusBody), api.get("/verdict", VerdictBody)
        answered = flow.answered_requests(api.text("/metrics"), api.get("/pipeline", Home))
        st.html(flow.picture(flow.steps(status, verdict.models, answered)))
        st.subheader("Did retraining pay?", anchor=False)
        st.markdown(
            "\n".join(
                [tables.sentences(verdict.models), *(f"- Not judged: {plain(error)}" for error in verdict.errors)]
            )
        )
        st.subheader("Newest decisions", anchor=False)
        decisions(verdict)
        st.subheader("What drifted", anchor=False)
        drift(verdict)


def decisions(verdict: VerdictBody) -> None:
    rows = decision_rows(verdict.decisions, verdict.models)[:SHOWN_DECISIONS]
    if rows:
        st.table(rows, hide_index=True)
    else:
        st.caption("Nothing was decided yet.")


def drift(verdict: VerdictBody) -> None:
    lines = tables.drift_lines(verdict.drift)
    shown = [f"- {plain(line)}" for line in lines[:SHOWN_DRIFT]]
    more = [f"- and {len(lines) - SHOWN_DRIFT} more"] if len(lines) > SHOWN_DRIFT else []
    st.markdown("\n".join(shown + more) if lines else "No column drifted in the newest batches.")
