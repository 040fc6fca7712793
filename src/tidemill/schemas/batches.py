"""The bodies about batches, their rows, and the rows that were rejected."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tidemill.schemas.base import Shape, omitted_if_none
from tidemill.schemas.run import ColumnBody, GapBody


class SpanBody(Shape):
    """The offsets of one partition that a batch holds, both ends included."""

    partition: int
    first_offset: int
    last_offset: int


class BatchBody(Shape):
    """A sealed batch. ``cut``: why it was cut; the paths are relative to the run folder. ``removed_at``: when its files
    were removed, if they were; ``gaps``: what retention removed of a topic that others write while the batch was open.
    """

    batch: int
    path: str
    rows: int
    bytes: int
    sha256: str
    cut: Literal["rows", "every", "parts", "idle", "end"]
    rejected: int
    rejects_path: str | None
    first_timestamp: str | None
    last_timestamp: str | None
    sealed_at: str
    removed_at: str | None = omitted_if_none()
    partitions: list[SpanBody]
    gaps: list[GapBody] = Field(default=[], exclude_if=lambda value: not value)


class BatchRows(Shape):
    """Some of the ``rows`` of a batch, from number ``offset`` on, counted from 0."""

    batch: int
    rows: int
    offset: int
    columns: list[ColumnBody]
    items: list[dict[str, Any]]


class RejectPlace(Shape):
    place: str
    rejected: int


class RejectPlaces(Shape):
    """Where rows were rejected: the source, a side table, a batch, or the stream's tail after its last batch."""

    rejected: int
    places: list[RejectPlace]


class RejectBody(Shape):
    """A rejected row: of a file its line, of the stream its partition and offset. ``element`` is its number among the
    values of a JSON file that is not read line by line. ``text`` is its beginning."""

    reason: str
    file: str | None = omitted_if_none()
    line: int | None = omitted_if_none()
    element: int | None = omitted_if_none()
    partition: int | None = omitted_if_none()
    offset: int | None = omitted_if_none()
    text: str


class RejectSetting(Shape):
    """A setting that would read rejects, and the lines with it for the pipeline file (``toml``). It reads ``reads`` of
    those examined; ``becomes``: the value that it makes of the first of them, where it has one."""

    setting: str
    toml: str
    reads: int
    becomes: str | None


class RejectKind(Shape):
    """The rejects with one kind of fault: the fault without its value (``reason``), how many they are, the newest one
    and its place. ``settings``: those that would read some of them, found by looking at ``examined`` different ones. A
    row with several faults is of several kinds."""

    reason: str
    count: int
    place: str
    example: RejectBody
    examined: int
    settings: list[RejectSetting]


class RejectKinds(Shape):
    """The kinds of the newest rejects. ``counted``: over how many of the ``rejected`` rows; ``more``: further kinds."""

    rejected: int
    counted: int
    kinds: list[RejectKind]
    more: int


class ReasonCount(Shape):
    reason: str
    count: int


class RejectsBody(Shape):
    """Some of the rejects of one place. ``reasons``: the most frequent ones among the first ``counted``."""

    place: str
    rejected: int
    offset: int
    items: list[RejectBody]
    reasons: list[ReasonCount]
    counted: int
