"""The script that Streamlit runs for each visitor: the frame of all pages, then the chosen page."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from tidemill.console import shell
from tidemill.console.pages import clusters, data, generations, overview, stream, try_it, verdict

PAGES = [
    st.Page(overview.page, title="Overview", icon=":material/home:", default=True),
    st.Page(stream.page, title="Stream", icon=":material/water:", url_path="stream"),
    st.Page(verdict.page, title="Verdict", icon=verdict.ICON, url_path=verdict.URL_PATH),
    st.Page(generations.page, title="Generations", icon=":material/timeline:", url_path="generations"),
    st.Page(try_it.page, title="Try it", icon=":material/play_circle:", url_path="try"),
    st.Page(clusters.page, title="Clusters", icon=":material/bubble_chart:", url_path="clusters"),
    st.Page(data.page, title="Your data", icon=":material/table_rows:", url_path="data"),
]

ICON = Path(__file__).parents[1] / "icon.svg"  # the browser would fetch a named icon from another host

st.set_page_config(page_title="Tidemill", page_icon=ICON, layout="wide")
chosen = st.navigation(PAGES, position="hidden")
st.html(shell.STYLE)
shell.menu(PAGES)
shell.head()
with shell.render_api_errors():
    chosen.run()
