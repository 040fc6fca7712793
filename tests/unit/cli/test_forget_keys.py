"""``tidemill forget-keys``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.posting import posting_run
from tidemill.cli.run_commands import forget_keys
from tidemill.errors import InputError
from tidemill.pipeline import load
from tidemill.run.folder import open_run


def test_the_topic_of_keys_is_forgotten(tmp_path: Path) -> None:
    """It is no longer on record, but still that the run made it; a run that takes no rows has no such topic."""
    with posting_run(tmp_path) as posting:
        posting.run.catalog.save_requests_topic("gone", created=True)
        posting.run.catalog.add_posted_rejects(2)
        forget_keys(str(tmp_path / "posting.toml"), posting.run.folder)
        state = posting.run.catalog.posting()
        assert (state.topic_id, state.topic_created, state.rejected) == (None, True, 2)
    closed = open_run(load("smart-home"), tmp_path / "closed")
    with pytest.raises(InputError, match="takes no rows by HTTP"):
        forget_keys("smart-home", closed.folder)
    closed.close()
