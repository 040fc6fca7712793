"""A stage's progress is one typed record, stored as the JSON that every version of a run has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tidemill.run.catalog import (
    FILE_NAME,
    BrokerProgress,
    Catalog,
    CollectorProgress,
    ProducerProgress,
    StageProgress,
    StageStatus,
    TrainerProgress,
    progress_in,
    schema,
)
from tidemill.run.catalog.stages import progress_of

STORED: tuple[tuple[StageProgress, dict[str, Any]], ...] = (
    (BrokerProgress(3, 46), {"jars_done": 3, "jars_steps": 46}),
    (ProducerProgress(None, 8, 1), {"rows": None, "produced": 8, "rejected": 1}),
    (
        CollectorProgress(5, 3, 2, 3, "2026-01-01T00:00:00.000Z"),
        {
            "collected": 5,
            "open_batch": 3,
            "open_rows": 2,
            "open_target": 3,
            "open_since": "2026-01-01T00:00:00.000Z",
            "open_until": None,
            "counted": None,
            "lag": None,
            "waiting": None,
            "posted": None,
        },
    ),
    (TrainerProgress(2, 3, 30, 2), {"generation": 2, "training": 3, "training_rows": 30, "published": 2}),
    (StageProgress(), {}),
)


@pytest.mark.parametrize(("progress", "counters"), STORED)
def test_a_record_is_stored_as_the_same_json(tmp_path: Path, progress: StageProgress, counters: dict[str, Any]) -> None:
    """The catalog's JSON has the keys that it always had, and gives the same record back."""
    catalog = Catalog(tmp_path / FILE_NAME)
    name = progress.stage or "api"
    catalog.save_stage(StageStatus(name, "running", 1, progress=progress))
    with catalog.engine.connect() as connection:
        assert connection.execute(sa.select(schema.stages.c.counters)).scalar_one() == counters
    assert catalog.stages()[name].progress == progress
    catalog.close()


def test_an_older_runs_object_is_read() -> None:
    """Missing keys get their defaults, unknown ones are ignored, and so is all that an unknown stage says."""
    assert progress_of("collector", {}) == CollectorProgress()
    assert progress_of("collector", {"collected": 7, "speed": "full"}) == CollectorProgress(collected=7)
    assert progress_of("helper", {"done": 1}) == StageProgress()


def test_a_stage_that_said_nothing_has_an_empty_record() -> None:
    """Neither a stage that never started nor one that has not reported yet needs a case of its own."""
    assert progress_in({}, ProducerProgress) == ProducerProgress()
    started = StageStatus("producer", "starting", 1)
    assert progress_in({"producer": started}, ProducerProgress) == ProducerProgress()
    assert started.progress.document() == {}
