"""Long lists, a page of them at a time, the newest first. Pure but for :func:`chosen_page`."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from tidemill.console.formatting import number

PAGE = 25


class Page(NamedTuple):
    """What to ask the API for: so many numbers above ``after``; and which page of how many it is."""

    after: int
    limit: int
    page: int
    pages: int


def newest_first(newest: int, page: int, length: int = PAGE) -> Page:
    """Page ``page`` (1: the newest) of the numbers 1 to ``newest``; of a page beyond the last, the last."""
    pages = max(1, -(-newest // length))
    page = min(max(1, page), pages)
    last = newest - (page - 1) * length
    first = max(1, last - length + 1)
    return Page(first - 1, max(1, last - first + 1), page, pages)


def chosen_page(newest: int, key: str) -> Page:
    """The page that the visitor has chosen; the choice stands in the address under ``key``."""
    pages = newest_first(newest, 1).pages
    chosen = st.number_input(
        f"Page, of {number(pages)}; the newest are on page 1",
        min_value=1,
        max_value=pages,
        value=1,
        key=key,
        bind="query-params",
        width=280,
        disabled=pages == 1,
    )
    return newest_first(newest, int(chosen))
