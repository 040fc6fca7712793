"""Who wrote the rows of a stream that stays open: the source's producer, clients over HTTP, or somebody else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Generic

from tidemill.collector.own_marks import End, StreamMarks
from tidemill.collector.reader import M
from tidemill.pipeline import Source
from tidemill.run.catalog.account import Account

BEFORE_ALL = -1  # the source of a partition ended before the first offset that is read


class Origin(IntEnum):
    SOURCE = 0
    POSTED = 1
    FOREIGN = 2


def ended_by(accounts: Mapping[int, Account] | None) -> set[int]:
    """The partitions of which these accounts have all rows of an open stream's source."""
    return {partition for partition, account in (accounts or {}).items() if account.sent == account.rows}


class Origins(Generic[M]):
    """Tells the rows of an open stream apart. In a stream that ends, all of them count as the source's, and the end
    markers show others.

    A row by HTTP carries a mark. Any other one is the source's up to the marker of the source's end in its partition;
    behind it, and where there is no source, it is somebody else's.
    """

    def __init__(
        self,
        marks: StreamMarks[M],
        partitions: Collection[int],
        source: Source,
        ended: Iterable[int],
    ) -> None:
        """``ended``: the partitions in which the source ended before the first offset that is read."""
        self._marks = marks
        self._open = source.open
        self._source_ends = dict.fromkeys(ended if source.has_data else partitions, BEFORE_ALL)

    def source_end(self, message: M) -> End | None:
        """The content of the marker of the source's end in a partition, which is noted; None for another message."""
        end = self._marks.source_end_of(message) if self._open else None
        if end is not None:
            self._source_ends.setdefault(message.partition(), message.offset())
        return end

    def of(self, messages: Sequence[M]) -> list[Origin] | None:
        """The origin of each row; None where all are the source's. Call it after :meth:`source_end` for all of them."""
        return [self._of(message) for message in messages] if self._open else None

    def _of(self, message: M) -> Origin:
        if self._marks.is_posted(message):
            return Origin.POSTED
        end = self._source_ends.get(message.partition())
        return Origin.SOURCE if end is None or message.offset() < end else Origin.FOREIGN
