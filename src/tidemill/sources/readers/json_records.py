"""The records of a JSON file in blocks, in bounded memory: JSON Lines, one array, or objects one after the other.

The end of a value in an array, or of one over several lines, is found by the standard library's JSON decoder.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Literal, Protocol

from tidemill.errors import SourceError
from tidemill.sources.chunk import CHUNK_CHARACTERS, MOST_TEXT, RECORD_CHARACTERS
from tidemill.sources.readers.decoding import open_utf_8
from tidemill.sources.readers.opening import SourceFile
from tidemill.sources.readers.pages import Pages

JsonLayout = Literal["lines", "array", "values"]

LINE_BYTES = RECORD_CHARACTERS + 1  # including the line end
PAGE_CHARACTERS = 2**20
VALUE_CHARACTERS = 16 * 2**20  # a value whose end does not come within so many is a fault of the file
BOM = b"\xef\xbb\xbf"
BLANK = re.compile(r"[ \t\r\n]*")
LINE_ENDS = str.maketrans("\r\n", "  ")
DECODER = json.JSONDecoder()
TOLERANT = json.JSONDecoder(strict=False)  # takes control characters within strings, which JSON forbids


@dataclass
class JsonBlock:
    """Some records in order.

    Attributes:
        texts: the JSON text of each record, on one line.
        lines: the number of the line on which it starts.
        elements: its number among the file's values; empty in JSON Lines.
        broken: the beginning of each record that is too long, by its place in the block.
    """

    texts: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    elements: list[int] = field(default_factory=list)
    broken: dict[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)


class JsonReader(Protocol):
    """The records of a file."""

    def take(self, most: int) -> JsonBlock:
        """The next records, at most ``most``; none at the end."""


class LineReader:
    """The lines of a file that are not blank."""

    def __init__(self, file: IO[bytes], before: int = 0) -> None:
        """``before``: how many lines precede those of ``file``."""
        self._file = file
        self._number = before

    def take(self, most: int) -> JsonBlock:
        block, characters = JsonBlock(), 0
        while len(block) < most and characters < CHUNK_CHARACTERS and (line := self._file.readline(LINE_BYTES)):
            self._number += 1
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                block.broken[len(block)] = line[: 4 * MOST_TEXT]
                characters += len(line)
                self._skip_rest()
                line = b""
            else:
                line = (line.removeprefix(BOM) if self._number == 1 else line).strip()
                if not line:  # blank lines are skipped: a block of them must not look like the end
                    continue
            characters += len(line)
            block.texts.append(line)
            block.lines.append(self._number)
        return block

    def _skip_rest(self) -> None:
        while (rest := self._file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
            pass


class ValueReader:
    """The elements of an array, or values one after the other.

    A value that is no JSON leaves it open where the next one starts, so it is an error, not a reject.
    """

    def __init__(self, file: IO[bytes], label: str, in_array: bool) -> None:
        self._file = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._label = label
        self._in_array = in_array
        self._text = ""
        self._at = 0  # where in the text the next value starts
        self._line = 1  # the line of that place
        self._number = 0  # of the last value given
        self._ended = self._over = False

    def take(self, most: int) -> JsonBlock:
        block, characters = JsonBlock(), 0
        while len(block) < most and characters < CHUNK_CHARACTERS and self._find_next():
            line, text = self._line, self._value()
            encoded = text.encode("utf-8", "surrogateescape")
            if len(encoded) > RECORD_CHARACTERS:
                block.broken[len(block)] = encoded[: 4 * MOST_TEXT]
                encoded = b""
            characters += len(text)
            self._number += 1
            block.texts.append(encoded)
            block.lines.append(line)
            block.elements.append(self._number)
        return block

    def _find_next(self) -> bool:
        """Go to the next value. Returns whether there is one.

        Raises:
            SourceError: the array is not closed, or something follows it.
        """
        mark = "" if self._over else self._peek()
        if self._over or not self._in_array:
            return bool(mark)
        if not self._number:
            mark = self._behind_mark()  # the array's bracket
        if mark == "]":
            self._end_array()
            return False
        if self._number and mark == ",":
            mark = self._behind_mark()
        elif self._number and mark:
            raise self._fault(f"{mark!r} where a comma or the end of the array is expected")
        if not mark:
            raise self._fault("the array is not closed")
        return True

    def _behind_mark(self) -> str:
        """Go behind the character at the place. Returns the next one."""
        self._go_on(1)
        return self._peek()

    def _end_array(self) -> None:
        if self._behind_mark():
            raise self._fault("something follows the array")
        self._over = True

    def _peek(self) -> str:
        """The next character that is not blank, which becomes the place; empty at the end of the file."""
        while True:
            blank = BLANK.match(self._text, self._at)
            assert blank is not None
            self._go_on(blank.end() - self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._read_page()

    def _go_on(self, characters: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + characters)
        self._at += characters

    def _read_page(self) -> None:
        page = self._file.read(PAGE_CHARACTERS)
        self._text, self._at = self._text[self._at :] + page, 0
        self._ended = not page

    def _value(self) -> str:
        """The text of the value that starts at the place, on one line; the place is then behind it.

        Raises:
            SourceError: no JSON value starts there.
        """
        while True:
            try:
                end, on_one_line = self._end_of_value()
                if end < len(self._text) or self._ended:  # the digits of a number may go on
                    break
            except (ValueError, RecursionError) as error:
                if self._ended or len(self._text) - self._at > VALUE_CHARACTERS:
                    raise self._fault(f"not JSON: {error}") from None
            self._read_page()
        text = self._text[self._at : end]
        self._go_on(end - self._at)
        return text.translate(LINE_ENDS) if on_one_line and "\n" in text else text

    def _end_of_value(self) -> tuple[int, bool]:
        """Where the value at the place ends, and whether its line ends are blanks, not parts of its strings."""
        try:
            return DECODER.raw_decode(self._text, self._at)[1], True
        except json.JSONDecodeError:
            return TOLERANT.raw_decode(self._text, self._at)[1], False

    def _fault(self, what: str) -> SourceError:
        which = f"{self._label}, element {self._number + 1}, from line {self._line}"
        return SourceError(
            f"{which}: {what}",
            "check that the file is complete; in JSON Lines, one object a line, only the bad lines are rejected",
        )


def layout_of(file: IO[bytes]) -> JsonLayout:
    """How the records of a file are laid out, by its beginning.

    Objects are read one after the other only where the first one is whole and has several lines: a line that was cut
    off never makes one object of itself and the next line.
    """
    text = file.read(RECORD_CHARACTERS).removeprefix(BOM).decode("utf-8", "replace").lstrip(" \t\r\n")
    if text.startswith("["):
        return "array"
    try:
        _, end = DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return "lines"
    return "values" if text.startswith("{") and "\n" in text[:end] else "lines"


@contextmanager
def open_records(file: SourceFile) -> Iterator[JsonReader | LineBlocks]:
    """The file's records, from the first.

    Raises:
        SourceError: it can't be read.
    """
    with open_utf_8(file) as beginning:
        layout = layout_of(beginning)
    with open_utf_8(file) as opened:
        yield LineBlocks(opened) if layout == "lines" else ValueReader(opened, file.label, layout == "array")


class LineBlocks:
    """The lines of a file in blocks of bytes, each of whole lines."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._pages = Pages(file.read1)

    def records(self) -> LineReader:
        """All lines of the file, none of which was taken before."""
        return LineReader(self._file)

    def take(self, size: int) -> bytes:
        """The next lines, about ``size`` bytes; the beginning of a line where it is too long; nothing at the end."""
        block = self._pages.take(size)
        if block.endswith(b"\n"):
            return block
        while more := self._pages.take(size):
            end = more.find(b"\n") + 1
            self._pages.put_back(more[end or len(more) :])
            block = (block + more[: end or len(more)])[:LINE_BYTES]
            if end:
                break
        return block

    def put_back(self, block: bytes) -> None:
        """Have ``block``, the last lines taken, taken again."""
        self._pages.put_back(block)
