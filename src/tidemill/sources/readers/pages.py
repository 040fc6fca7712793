"""Pages of a text file: blocks of UTF-8 that end with a line, to be read as a whole or line by line."""

from __future__ import annotations

import codecs
from collections.abc import Callable

import numpy as np

from tidemill.sources.chunk import RECORD_CHARACTERS

BLOCK = 2**21  # bytes that are read as a whole: some thousands of records, and little enough for the processor's cache
PIECE = 2**16  # a block that can't be read as a whole is cut into pieces of so many bytes
MOST_RECORDS = 10_000  # that are read one by one for a chunk
LINE_FEED = ord("\n")
WINDOW = RECORD_CHARACTERS // 2
ESCAPES = "tidemill.escapes"  # the name of the handler of bytes that do not fit


def escape_bytes(error: UnicodeError) -> tuple[str, int]:
    """Bytes that do not fit, as lone surrogates; as Python's ``surrogateescape``, but for any byte of any encoding."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + (byte | 0x80)) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(ESCAPES, escape_bytes)


class Pages:
    """A file's text in blocks of UTF-8 that end with a line.

    Bytes that don't fit the file's encoding make a block invalid as UTF-8; its text has lone surrogates for them.

    ``ended``: whether the file was read to its end. Before, a block without a line end is a part of a line.

    An error of reading is raised once the whole lines before it are taken.
    """

    def __init__(
        self, read: Callable[[int], bytes], decode_errors: str = ESCAPES, encode_errors: str = "surrogateescape"
    ) -> None:
        """``read`` gives at least one of the next bytes, about as many as asked for; none at the end. It splits a
        character only where ``decode_errors`` allows it."""
        self._read = read
        self._decode_errors = decode_errors
        self._encode_errors = encode_errors
        self._decoder = codecs.getincrementaldecoder("utf-8")(decode_errors)
        self._data = b""  # what was read and not yet taken
        self._error: Exception | None = None
        self.ended = False

    def take(self, size: int) -> bytes:
        """The next lines, about ``size`` bytes; part of a line where it is longer than that; nothing at the end."""
        while len(self._data) < size and not self.ended:
            if self._error is not None:
                return self._before_error(self._error)
            try:
                more = self._read(size - len(self._data))
            except Exception as error:  # noqa: BLE001  # raised once the lines before it are taken
                self._error = error
                continue
            self.ended = not more
            if len(self._data) + len(more) >= size and (end := more.rfind(b"\n") + 1):
                block = b"".join((self._data, memoryview(more)[:end]))
                self._data = more[end:]
                return block
            self._data += more
        if self.ended and len(self._data) <= size:
            block, self._data = self._data, b""
            return block
        end = self._data.rfind(b"\n", 0, size) + 1 or self._data.find(b"\n") + 1 or len(self._data)
        block, self._data = self._data[:end], self._data[end:]
        return block

    def _before_error(self, error: Exception) -> bytes:
        """The whole lines that were read before an error. Raises it where there are none."""
        end = self._data.rfind(b"\n") + 1
        if not end:
            raise error
        block, self._data = self._data[:end], self._data[end:]
        return block

    def put_back(self, block: bytes) -> None:
        """Have ``block``, the last bytes taken, taken again."""
        self._data = block + self._data

    def unread(self, text: str) -> None:
        """Have ``text``, the end of what was read, taken again."""
        cut_off, _ = self._decoder.getstate()
        self._decoder.reset()
        self._data = text.encode("utf-8", self._encode_errors) + cut_off + self._data

    def text_of(self, lines: bytes) -> str:
        """Some lines as text."""
        return lines.decode("utf-8", self._decode_errors)

    def read(self, size: int) -> str:
        """As :meth:`take`, as text."""
        text = ""
        while not text and (block := self.take(size)):
            text = self._decoder.decode(block)
        return text or self._decoder.decode(b"", final=True)

    def decode(self, block: bytes) -> str:
        """The text of the last bytes taken; characters that are cut at its end are in the next text."""
        return self._decoder.decode(block)


def lines_in(data: bytes, beginning: str | None = None) -> int:
    """The number of lines, or of those that begin with a character of ASCII. Far faster than ``bytes.count``."""
    signs = np.frombuffer(data, np.uint8)
    if beginning is None:
        return int(np.count_nonzero(signs == LINE_FEED)) + (not data.endswith(b"\n"))
    begins = signs == ord(beginning)
    return int(np.count_nonzero(begins[1:] & (signs[:-1] == LINE_FEED))) + int(begins[0])


def may_have_long_line(data: bytes) -> bool:
    """Whether a line may be longer than ``RECORD_CHARACTERS``, which would have a whole window without a line end."""
    starts = range(0, len(data) - WINDOW + 1, WINDOW)
    return any(data.find(b"\n", start, start + WINDOW) < 0 for start in starts)
