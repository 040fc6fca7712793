"""The frame of every page: the line that says how the run is, and what is shown while the API is away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import streamlit as st

from tidemill.console.client import Api, ApiAway, KeyWanted, Refused
from tidemill.console.formatting import plain
from tidemill.web.api_key import key_in

EVERY = 1.0  # seconds between two looks
SEEN = "seen"  # what the page that is shown was made from
AWAY = "The API is not answering just now: it is down, or starting. This page goes on by itself when it is back."
KEY_WANTED = "The API wants a key that this console was not given: start it with the API's `--api-key-file`, too."
# What is made anew each second keeps its place, however long its words are. Tables scroll sideways rather than break a
# figure in two. That Streamlit is at work each second is not worth a moving icon.
STYLE = """<style>
.st-key-head { min-height: 4.5rem; }
.st-key-head h3 { padding: 0; overflow-wrap: anywhere; }
[data-testid="stTable"] :is(td, th) > * {
  width: max-content !important; max-width: 36rem; overflow-wrap: anywhere;
}
[data-testid="stStatusWidget"] { display: none; }
.stMainBlockContainer { padding-top: 1.5rem; }
[data-testid="stHeader"] { display: none; }
@media (max-width: 640px) {
  .st-key-head { min-height: 6rem; }
  .st-key-counts [data-testid="stColumn"] { min-width: calc(50% - 1rem); }
  .stMainBlockContainer { padding-left: 1rem; padding-right: 1rem; }
}
</style>"""


def api() -> Api:
    """The API, asked with the key that this visitor's browser sent with the page's socket."""
    return Api(key_in(st.context.headers))


def address() -> str:
    """The API's base URL for this visitor, who may be on another machine than it is.

    Raises:
        ApiAway: there is none.
    """
    return seen_from(api().address, st.context.url or "")


def seen_from(address: str, page: str) -> str:
    """An address of this machine as somebody sees it who reads ``page``, an address of the console: a loopback host is
    the console's own."""
    there, here = urlsplit(address), urlsplit(page)
    if here.hostname is None or not is_loopback(there.hostname) or is_loopback(here.hostname):
        return address
    host = f"[{here.hostname}]" if ":" in here.hostname else here.hostname
    return urlunsplit(there._replace(netloc=f"{host}:{there.port}"))


def is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def told() -> Iterator[None]:
    """What keeps a page, or a part of one, from being shown is told in its place."""
    try:
        yield
    except ApiAway as error:
        remember(error)
        st.warning(AWAY, icon=":material/cloud_off:")
    except KeyWanted as error:
        remember(error)
        st.error(KEY_WANTED, icon=":material/key:")
    except Refused as refused:
        st.error(f"{plain(refused.message)}\n\n{plain(refused.hint)}", icon=":material/error:")


def remember(error: Exception) -> None:
    """The page is to be made anew once the API answers again, even if the head never saw it away."""
    st.session_state[SEEN] = type(error).__name__


def menu(pages: Sequence[Any]) -> None:
    """Links to all pages, in view on any screen: Streamlit's own menu hides behind a button on a phone, and then covers
    the page that it leads to."""
    with st.container(horizontal=True, gap="small", key="menu"):
        for page in pages:
            st.page_link(page, width="content")


@st.fragment(run_every=EVERY)
def head() -> None:
    """How the run is, each second anew. The page is made anew when there is another generation, begun, published
    or failed, or the API is back."""
    title, waiting = "Tidemill", "…"
    found: Any
    try:
        status = api().get("/status")
        title = plain(status["title"] or status["pipeline"])
        waiting = f"{plain(status['waiting'])} [API documentation]({address()}/docs)"
        found = (status["newest"], status["generations"])
    except (ApiAway, KeyWanted, Refused) as error:
        found = type(error).__name__
    with st.container(key="head"):
        st.subheader(title, anchor=False)
        st.markdown(waiting)
    remake_if_other(found)


def remake_if_other(found: Any) -> None:
    """Make the whole page anew where it was made from something else."""
    before = st.session_state.get(SEEN, found)
    st.session_state[SEEN] = found
    if before != found:
        st.rerun()
