"""Decodes messages while the next ones are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tidemill.collector.open_batch import Decoded
from tidemill.collector.origins import Origin
from tidemill.collector.reader import Message
from tidemill.kafka.codec import ValueDecoder

PORTION = 20_000  # messages that are decoded at once: more of them leave the processor's cache
THREADS = 2  # a part of decoding holds Python's lock, for which a single one would wait


class DecodingQueue:
    """Portions of messages that are decoded in threads, and taken in the order in which they came.

    An error of the decoder is raised in the portion's place.
    """

    def __init__(self, decoder: ValueDecoder) -> None:
        self._decoder = decoder
        self._portions: deque[Future[Decoded]] = deque()
        self._threads = ThreadPoolExecutor(THREADS, "decode")  # each starts with a portion

    def __len__(self) -> int:
        return len(self._portions)

    def put(self, messages: Sequence[Message], origins: Sequence[Origin] | None) -> None:
        self._portions.append(self._threads.submit(Decoded, messages, self._decoder, origins))

    def take(self) -> Decoded:
        """The first portion, once it is decoded."""
        return self._portions.popleft().result()

    def close(self) -> None:
        """Drop what is not decoded yet, and end the threads."""
        self._threads.shutdown(cancel_futures=True)


def portions(
    messages: Sequence[Message], origins: Sequence[Origin] | None
) -> Iterator[tuple[Sequence[Message], Sequence[Origin] | None]]:
    """The messages in portions, with their origins."""
    for start in range(0, len(messages), PORTION):
        part = slice(start, start + PORTION)
        yield messages[part], None if origins is None else origins[part]
