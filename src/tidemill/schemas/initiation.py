"""The body of ``tidemill init --json``: what was guessed of a data file, and why."""

from __future__ import annotations

from typing import Any

from tidemill.schemas.base import Shape


class GuessedColumn(Shape):
    """A column: its type, the other keys of its table, and why. ``unclear``: what was not decided, and the setting that
    decides it."""

    name: str
    type: str
    settings: dict[str, Any]
    why: str
    unclear: str


class ProposedModel(Shape):
    """A model: the keys of its table, the reasons for some of them, and the columns that it leaves out, with the
    reasons."""

    name: str
    estimator: str
    settings: dict[str, Any]
    why: dict[str, str]
    left_out: dict[str, str]


class InitBody(Shape):
    """A pipeline file that was written. ``looked_at``: how many rows were; ``rows``: about how many there are, null
    where that is unknown; ``source``: the settings of the source, with ``why``; ``undeclared``: what the file has that
    no column holds; ``refused``: models that a check refused; ``label``: a column that looks like one to predict."""

    pipeline: str
    file: str
    looked_at: int
    rows: int | None
    source: dict[str, Any]
    why: list[str]
    columns: list[GuessedColumn]
    undeclared: dict[str, str]
    models: list[ProposedModel]
    refused: dict[str, str]
    label: str | None
    notes: list[str]
