"""The HTML page that all of the console's pages share."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from tidemill.console.server import ELEMENTS, element_scripts, page_html

STATIC = Path(st.__file__).parent / "static"


def test_the_scripts_of_the_elements_come_with_the_page() -> None:
    """Each element's script and all that it imports are linked once, so that no chart waits for its script."""
    names = re.findall(r'js/([\w\-.]+\.js)"', page_html())
    assert len(names) == len(set(names))
    assert set(element_scripts(STATIC)) <= set(names)
    assert all((STATIC / "static" / "js" / name).is_file() for name in names)
    for element in ELEMENTS:
        assert any(name.startswith(f"{element}.") for name in names), element
