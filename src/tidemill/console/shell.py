"""The frame of every page: the menu, the run's state in its head, and API errors in place of content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import streamlit as st
from httpx import codes

from tidemill import schemas
from tidemill.console.client import Api, ApiError, ApiKeyRequired, ApiUnavailable
from tidemill.console.formatting import plain
from tidemill.web.api_key import key_in

EVERY = 1.0  # seconds between two refreshes
SHOWN_STATE = "shown state"  # the session's key for the state of the run that the page was rendered from
UNAVAILABLE = "The API is not answering: it is down or starting. This page continues by itself when the API is back."
KEY_REQUIRED = (
    "The API requires a key that this console does not have. Start the console with the API's `--api-key-file`."
)
# The head has a fixed height, so that the page below does not jump as its text changes. Tables scroll sideways rather
# than break a number or a sha256 over two lines. The note below a figure is never cut off. Streamlit's running icon is
# hidden, as it would blink each second.
STYLE = """<style>
.st-key-head { min-height: 4.5rem; }
.st-key-head h3 { padding: 0; overflow-wrap: anywhere; }
[data-testid="stTable"] :is(td, th) > * {
  width: max-content !important; overflow-wrap: anywhere;
}
[data-testid="stTable"] td > :has(code) { max-width: none !important; }
[data-testid="stMetricDelta"] * { white-space: normal !important; }
[data-testid="stStatusWidget"] { display: none; }
.st-key-sentence p { font-size: 1.4rem; font-weight: 600; line-height: 1.35; overflow-wrap: anywhere; }
.stMainBlockContainer { padding-top: 1.5rem; }
[data-testid="stHeader"] { display: none; }
@media (max-width: 640px) {
  .st-key-head { min-height: 6rem; }
  .st-key-counts [data-testid="stColumn"] { min-width: calc(50% - 1rem); }
  .stMainBlockContainer { padding-left: 1rem; padding-right: 1rem; }
}
</style>"""


def api() -> Api:
    """The API, with the key that this visitor's browser sent when it opened the page's socket."""
    return Api(key_in(st.context.headers))


def address() -> str:
    """The API's base URL for this visitor, who may be on another machine.

    Raises:
        ApiUnavailable: no API runs for this run.
    """
    return seen_from(api().address, st.context.url or "")


def seen_from(address: str, page: str) -> str:
    """An address of this machine as a visitor of ``page``, an address of the console, can reach it: the console's host
    replaces a loopback host."""
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
def render_api_errors() -> Iterator[None]:
    """Render API errors in place of the content that needs the answer; what is no longer kept is no error."""
    try:
        yield
    except ApiUnavailable as error:
        rerender_later(error)
        st.warning(UNAVAILABLE, icon=":material/cloud_off:")
    except ApiKeyRequired as error:
        rerender_later(error)
        st.error(KEY_REQUIRED, icon=":material/key:")
    except ApiError as error:
        text = f"{plain(error.message)}\n\n{plain(error.hint)}"
        if error.status == codes.GONE:
            st.info(text, icon=":material/delete:")
        else:
            st.error(text, icon=":material/error:")


def rerender_later(error: Exception) -> None:
    """Rerender the page once the API answers, even if the head never saw it down."""
    st.session_state[SHOWN_STATE] = type(error).__name__


def menu(pages: Sequence[Any]) -> None:
    """Links to all pages, visible on every screen: on a phone Streamlit hides its own menu behind a button."""
    with st.container(horizontal=True, gap="small", key="menu"):
        for page in pages:
            st.page_link(page, width="content")


@st.fragment(run_every=EVERY)
def head() -> None:
    """The run's title and state, refreshed each second. The page is rerendered when a generation is started, published
    or fails, and when the API is back.
    """
    title, waiting = "Tidemill", "…"
    state: Any
    try:
        status = api().get("/status", schemas.StatusBody)
        title = plain(status.title or status.pipeline)
        waiting = f"{plain(status.waiting)} [API documentation]({address()}/docs)"
        state = (status.newest, status.generations.model_dump())
    except (ApiUnavailable, ApiKeyRequired, ApiError) as error:
        state = type(error).__name__
    with st.container(key="head"):
        st.subheader(title, anchor=False)
        st.markdown(waiting)
    rerender_if_changed(state)


def rerender_if_changed(state: Any, key: str = SHOWN_STATE) -> None:
    """Rerender the whole page if it shows another state, which the session keeps under the ``key``."""
    before = st.session_state.get(key, state)
    st.session_state[key] = state
    if before != state:
        st.rerun()
