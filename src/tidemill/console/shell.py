"""The frame of every page: the line that says how the run is, the key, and what is shown while the API is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from tidemill.console.client import Api, ApiAway, KeyWanted, Refused

EVERY = 1.0  # seconds between two looks
KEY = "api key"
SEEN = "seen"  # what the page that is shown was made from
AWAY = "The API is not answering just now: it is down, or starting. This page goes on by itself when it is back."


def api() -> Api:
    """The API, asked with the key that this visitor gave."""
    return Api(st.session_state.get(KEY))


@contextmanager
def told() -> Iterator[None]:
    """What keeps a page, or a part of one, from being shown is told in its place."""
    try:
        yield
    except ApiAway:
        st.warning(AWAY, icon=":material/cloud_off:")
    except KeyWanted:
        ask_for_key()
    except Refused as refused:
        st.error(f"{refused.message}\n\n{refused.hint}", icon=":material/error:")


def ask_for_key() -> None:
    """The key is kept in this visitor's session only."""
    if st.session_state.get(KEY):
        st.error("That is not this API's key.", icon=":material/key:")
    with st.form("key"):
        given = st.text_input("API key", type="password", help="The one in the file given with --api-key-file.")
        if st.form_submit_button("Go on"):
            st.session_state[KEY] = given.strip()
            st.rerun()


@st.fragment(run_every=EVERY)
def head() -> None:
    """How the run is, each second anew. The page is made anew when a generation has come, or the API is back."""
    try:
        status = api().get("/status")
    except (ApiAway, KeyWanted, Refused) as error:
        st.subheader("Tidemill", anchor=False)
        st.caption("…")
        remake_if_other(type(error).__name__)
        return
    st.subheader(status["title"] or status["pipeline"], anchor=False)
    st.caption(status["waiting"])
    remake_if_other(status["newest"])


def remake_if_other(found: Any) -> None:
    """Make the whole page anew where it was made from something else."""
    before = st.session_state.get(SEEN, found)
    st.session_state[SEEN] = found
    if before != found:
        st.rerun()
