"""Fixtures of the API's tests; a module with more to seal or publish has a ``run`` or an ``api`` of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.serving_run import api_of, new_run
from tidemill.run.folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run of the test pipeline with nothing sealed or published."""
    run = new_run(tmp_path)
    yield run
    run.close()


@pytest.fixture
def api(run: Run) -> Iterator[httpx.Client]:
    """The API of the run."""
    with api_of(run) as client:
        yield client
