"""A source that stays open: what a pipeline file may say of it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.open_stream import open_pipeline
from tests.support.posting import PIPELINE
from tidemill.cli.main import app
from tidemill.errors import PipelineInvalid
from tidemill.pipeline import Raw, parse


def test_a_source_needs_no_data_if_it_stays_open() -> None:
    """With open = true path and sample may be left out; otherwise the fault names the way out."""
    assert not open_pipeline().pipeline.source.has_data
    with pytest.raises(PipelineInvalid, match=r"neither sample nor path.*or open = true for rows by HTTP"):
        open_pipeline(open=False)


def test_an_open_stream_has_no_parts() -> None:
    """Parts need an end, also where there is a file."""
    document = open_pipeline(Path("data.csv")).pipeline.given() | {"batches": {"parts": 3}}
    with pytest.raises(PipelineInvalid, match=r"batches\.parts: found a source without an end"):
        parse(Raw("open.toml", Path(), document))


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "open.toml"
    path.write_text(PIPELINE.format(topic="t", rows=10, partitions=1, workers=1), encoding="utf-8")
    return path


def test_a_pipeline_without_data_is_checked(pipeline: Path) -> None:
    """There is nothing to try, and no fault."""
    result = CliRunner().invoke(app, ["check", str(pipeline)])
    assert (result.exit_code, result.output) == (0, "posting: no fault found; source: rows by HTTP\n")


def test_a_stream_that_stays_open_has_no_last_generation(pipeline: Path, tmp_path: Path) -> None:
    """``up --exit-when-trained`` is refused before anything starts."""
    result = CliRunner().invoke(app, ["up", str(pipeline), "--exit-when-trained", "--run-dir", str(tmp_path / "run")])
    assert "the stream stays open" in f"{result.output}{result.exception}"
    assert not (tmp_path / "run").exists()
