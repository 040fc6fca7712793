"""What the tests of the server before the API share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.serving_run import write_key


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that holds ``KEY``."""
    return write_key(tmp_path_factory.mktemp("key"))
