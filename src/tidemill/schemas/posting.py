"""The answer to ``POST /rows``."""

from __future__ import annotations

from pydantic import Field

from tidemill.schemas.base import Shape, omitted_if_none


class RejectedRow(Shape):
    """A row that does not fit. ``row``: its number in the request, from 1; of NDJSON its line."""

    row: int
    reason: str


class PostedRows(Shape):
    """What became of the rows of a request. The accepted ones are in the stream, committed.

    ``more_rejected``: how many further rows do not fit, where they are too many to be listed. ``offsets``: by
    partition, the first and the last offset of the accepted rows; those of other writers may lie between.
    """

    accepted: int
    rejected: list[RejectedRow]
    more_rejected: int | None = omitted_if_none()
    offsets: dict[str, list[int]] = Field(examples=[{"0": [17, 18]}])
