"""Who chose a champion, where the system has no name for the user."""

from __future__ import annotations

import getpass
import os

import pytest

from tidemill.cli.verdict_commands import user_name


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 12345"), OSError("No username set")])
def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A container's user often has a number alone; a promotion names that instead of failing."""

    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert user_name() == f"user {os.getuid()}"
