"""The limit of a console's page: Streamlit with one line of text."""

from __future__ import annotations

import streamlit as st

st.title("A small page")
