"""Long lists, one page at a time. A list that fits on one page has no page selector."""

from __future__ import annotations

from typing import Literal, NamedTuple

import streamlit as st

from tidemill.console.formatting import number

PAGE = 25


class Page(NamedTuple):
    """Page ``page`` of the ``pages`` of a list numbered from 1: the ``limit`` numbers above ``after``."""

    after: int
    limit: int
    page: int
    pages: int


def page_count(length: int, limit: int) -> int:
    return max(1, -(-length // limit))


def newest_first(newest: int, page: int, limit: int = PAGE) -> Page:
    """Page ``page`` of the numbers 1 to ``newest``, page 1 holding the newest. Beyond the last page it is the last."""
    pages = page_count(newest, limit)
    page = min(max(1, page), pages)
    last = newest - (page - 1) * limit
    first = max(1, last - limit + 1)
    return Page(first - 1, max(1, last - first + 1), page, pages)


def oldest_first(length: int, page: int, limit: int) -> Page:
    """Page ``page`` of a list of ``length`` entries, page 1 holding the first. Beyond the last page it is the last."""
    pages = page_count(length, limit)
    page = min(max(1, page), pages)
    after = (page - 1) * limit
    return Page(after, max(1, min(limit, length - after)), page, pages)


def select_newest_first(newest: int, key: str) -> Page:
    """The page that the visitor selects, the newest first. The address keeps the choice under ``key``."""
    pages = page_count(newest, PAGE)
    return newest_first(newest, selected("Page", pages, key, "; page 1 is the newest", bind="query-params"))


def select_oldest_first(length: int, limit: int, label: str, key: str) -> Page:
    """The page that the visitor selects, from the list's beginning."""
    return oldest_first(length, selected(label, page_count(length, limit), key), limit)


def selected(label: str, pages: int, key: str, note: str = "", bind: Literal["query-params"] | None = None) -> int:
    """The selected page; 1, without a selector, where there is only one."""
    if pages == 1:
        return 1
    title = f"{label} (of {number(pages)}{note})"
    return int(st.number_input(title, min_value=1, max_value=pages, value=1, key=key, bind=bind, width=280))
