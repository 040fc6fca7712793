"""The options that a command line gives and those that a run recorded at its start; the run that a command looks at."""

from __future__ import annotations

from pathlib import Path

from tidemill.errors import PipelineInvalid
from tidemill.pipeline import Options, load, prepare
from tidemill.run.folder import Run, default_folder, existing_run, recorded_options
from tidemill.run.settings import merge_options


def given_options(
    assignments: list[str] | None = None,
    data: str | None = None,
    rows: int | None = None,
    bootstrap: str | None = None,
) -> Options:
    """The options of this command line that a run records at its start."""
    return Options(tuple(assignments or ()), data, rows, bootstrap)


def options_of_run(name: str, given: Options, run_dir: Path | None) -> Options:
    """The options that the run in the folder was started with, with the ``given`` ones taking precedence.

    Those of the start need not be repeated. One that contradicts them is refused when the run is opened.
    """
    pipeline = prepare(name, *given).values.get("name")
    if not isinstance(pipeline, str):
        return given  # a fault that reading the pipeline reports
    return merge_options(recorded_options(run_dir or default_folder(pipeline), pipeline), given)


def look_at(name: str, run_dir: Path | None, assignments: list[str] | None) -> Run:
    """The run in the folder, with its own settings.

    The pipeline file may have changed since, so that the options of the start no longer fit it.
    """
    given = given_options(assignments)
    try:
        loaded = load(name, *options_of_run(name, given, run_dir))
    except PipelineInvalid:
        loaded = load(name, *given)
    return existing_run(loaded, run_dir)
