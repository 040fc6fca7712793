"""Lists in errors and hints: bounded, and cut between items only."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import SourceError
from tidemill.sources.source import list_files
from tidemill.texts import MOST_NAMES, did_you_mean, listed, shorten

NAMES = [f"a-rather-long-name-{number}" for number in range(40)]


def test_a_list_ends_after_a_whole_name() -> None:
    """What is left out is counted, and no name is cut."""
    assert listed(["a", "b", "c", "d"], 3) == "a, b, c and 1 more"
    assert listed(["a", "b", "c"], 3) == "a, b, c"
    assert shorten(["one", "two", "three"], 13) == "['one'] and 2 more"
    assert shorten(NAMES, 50) == f"['{NAMES[0]}', '{NAMES[1]}'] and 38 more"
    assert shorten("x" * 200, 20) == "'xxxxxxxxxxxxxxxxx…'"


@given(st.lists(st.text("abc-_", min_size=1, max_size=60), min_size=1, max_size=60, unique=True))
def test_a_hint_shows_whole_names_only(known: list[str]) -> None:
    """The hint that lists what is known has each name whole, a bounded number of them, and counts the others."""
    hint = did_you_mean("ZZZZ", known)
    shown, _, more = hint.removeprefix("known: ").partition(" and ")
    names = shown.split(", ")
    assert names == known[: len(names)]
    assert 1 <= len(names) <= MOST_NAMES
    assert more == (f"{len(known) - len(names)} more" if len(names) < len(known) else "")
    assert len(hint) < 300


def missing(path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list_files(str(path), path.parent)
    return caught.value


def test_the_hint_for_a_missing_file_lists_files_only(tmp_path: Path) -> None:
    """A folder is never what was meant by a file's name, however near its name is."""
    (tmp_path / "sale").mkdir()
    (tmp_path / "other.csv").write_text("x\n1\n", encoding="utf-8")
    assert missing(tmp_path / "sales").hint == "known: other.csv"
    (tmp_path / "sales.csv").write_text("x\n1\n", encoding="utf-8")
    assert missing(tmp_path / "sale.csv").hint == 'did you mean "sales.csv"?'


def test_the_hint_for_a_missing_file_in_a_folder_without_files(tmp_path: Path) -> None:
    """Where nothing can have been meant, the hint says so."""
    (tmp_path / "sub").mkdir()
    assert "no file in its folder" in missing(tmp_path / "sales.csv").hint
    assert "check that its folder exists" in missing(tmp_path / "nowhere" / "sales.csv").hint
