"""Reading ahead: a thread reads and encodes the source's next rows while the ones before them are sent."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from tidemill.kafka.messages import Messages, messages
from tidemill.pipeline import Stream
from tidemill.sources.source import Reject, SourceReader

Item = TypeVar("Item")

MOST_ITEMS = 4
MOST_BYTES = 64 * 2**20
GROUP_ROWS = 5_000  # large enough to be worth a call, small enough to stay in the processor's cache


@dataclass(frozen=True)
class EncodedChunk:
    """A chunk of the source, its rows as messages in groups, in order. ``first_reason`` as of the chunk."""

    rejects: Sequence[Reject]
    first_reason: str
    groups: Sequence[Messages]

    def __len__(self) -> int:
        """The number of rows; rejects do not count."""
        return sum(map(len, self.groups))

    @property
    def value_bytes(self) -> int:
        return sum(group.value_bytes for group in self.groups)

    def part(self, first: int, last: int) -> Iterator[Messages]:
        """The rows from ``first`` to ``last``, which is not included, in groups that are not empty."""
        start = 0
        for group in self.groups:
            least, most = max(first - start, 0), min(last - start, len(group))
            if least < most:
                yield group if most - least == len(group) else group[least:most]
            start += len(group)


def encoded_chunks(reader: SourceReader, spec: Stream) -> Generator[EncodedChunk, None, None]:
    """The chunks of the source, encoded for the stream."""
    for chunk in reader.chunks():
        starts = range(0, len(chunk.rows), GROUP_ROWS)
        groups = [messages(chunk.rows.slice(start, GROUP_ROWS), spec.key, spec.partitions) for start in starts]
        yield EncodedChunk(chunk.rejects, chunk.first_reason(), groups)


class ReadAhead(Generic[Item]):
    """Iterates over items that a thread makes ahead of their use. Use it in a ``with`` block, which ends the thread.

    At most ``most_items`` items and ``most_bytes`` wait, or one larger item; the thread makes one more meanwhile. An
    exception of the iterator is raised in its place, after the items before it.

    Args:
        make: makes the iterator. It is called, used and closed in the thread.
        size: of an item, in bytes.
    """

    def __init__(
        self,
        make: Callable[[], Generator[Item, None, None]],
        size: Callable[[Item], int],
        most_items: int = MOST_ITEMS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._make = make
        self._size = size
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._waiting.clear()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    break
                item, size = self._waiting.popleft()
                self._bytes -= size
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with closing(self._make()) as items:
                for item in items:
                    if not self._put(item):
                        break
        except BaseException as error:  # noqa: BLE001  # raised where the items are used
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        """Add the item once there is room for it. False where nobody takes it any more."""
        size = self._size(item)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(size))
            if not self._closed:
                self._waiting.append((item, size))
                self._bytes += size
                self._changed.notify_all()
            return not self._closed

    def _has_room(self, size: int) -> bool:
        few = len(self._waiting) < self._most_items and self._bytes + size <= self._most_bytes
        return few or not self._waiting
