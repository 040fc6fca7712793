"""The records of a CSV file in blocks, each with its line number and raw text, in bounded memory.

Quotes follow RFC 4180 strictly: a record in which a quote leaves the end of a field unclear is broken. Without a quote,
and with blanks as delimiter, each line is a record.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import compress
from typing import NamedTuple, Protocol

from tidemill.pipeline import BLANKS
from tidemill.sources.chunk import CHUNK_CHARACTERS, MOST_TEXT, RECORD_CHARACTERS, TOO_LONG

LINE_CHARACTERS = 16 * 2**20  # quotes and delimiters included
PAGE_CHARACTERS = 2**20
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "0": "\0"}  # as MySQL's LOAD DATA reads them
LINE_END = re.compile(r"\r\n?|\n")
UNQUOTED_FIELD = re.compile(r"[^ \t\r\n]+")
BLANK_FIELD = (
    r"[ \t\r\n]*(?:{quote}((?:[^{quote}]|{quote}{quote})*){quote}(?=[ \t\r\n]|$)|([^ \t\r\n{quote}][^ \t\r\n]*))"
)


class Dialect(NamedTuple):
    """How a line is split into fields; the settings of the pipeline file of the same names."""

    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    trim: bool = False
    comment: str | None = None


@dataclass
class RecordBlock:
    """Some records in order.

    Attributes:
        first: the number of the first physical line.
        fields: the fields of each record.
        starts: the first line of each record.
        broken: the reason for each record that can't be split into fields, by its first line.
        lines: the physical lines of all these records.
        skipped: the lines between them: blank ones and comments.
    """

    first: int
    fields: list[list[str]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.fields) + len(self.broken)

    def texts(self, wanted: Collection[int]) -> dict[int, str]:
        """The raw text of the records that start at the lines ``wanted``. All other records are still in the block."""
        starts = sorted({*self.starts, *self.skipped, *wanted})
        ends = [*starts[1:], self.first + len(self.lines)]
        spans = [(start, end) for start, end in zip(starts, ends, strict=True) if start in wanted]
        return {
            start: "".join(self.lines[start - self.first : end - self.first]).rstrip("\r\n") for start, end in spans
        }

    def keep(self, kept: Sequence[bool]) -> None:
        """Drop the records for which ``kept`` is false."""
        self.fields = list(compress(self.fields, kept))
        self.starts = list(compress(self.starts, kept))


class Text(Protocol):
    """A text that is read in order."""

    def read(self, size: int, /) -> str:
        """The next characters, about ``size``; none at the end."""


class TextLines:
    """The physical lines of a text, bounded in length. ``number`` is that of the last line given, from 1."""

    def __init__(self, text: Text, page: int = PAGE_CHARACTERS) -> None:
        """``page``: about how many characters are read at once."""
        self.number = 0
        self._text = text
        self._page = page
        self._ready: deque[str] = deque()
        self._part = ""  # the start of a line whose end has not been read yet
        self._held = ""  # a carriage return, which the text's next character may make one line end with

    def take(self, most: int) -> list[str]:
        """The next lines, at most ``most``; none at the end."""
        characters = 0
        while len(self._ready) < most and characters < CHUNK_CHARACTERS and (read := self._read_page()):
            characters += read
        lines = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        self.number += len(lines)
        return lines

    def skip(self, count: int) -> None:
        """Skip the next ``count`` lines, or as many as there are."""
        while count and (lines := self.take(count)):
            count -= len(lines)

    def each(self, given: list[str]) -> Iterator[str]:
        """The next lines one by one; each is also added to ``given``."""
        while self._ready or self._read_page():
            line = self._ready.popleft()
            self.number += 1
            given.append(line)
            yield line

    def repeat(self, lines: Sequence[str]) -> None:
        """Give ``lines``, the last ones given, again."""
        self._ready.extendleft(reversed(lines))
        self.number -= len(lines)

    def fill(self) -> int:
        """Read ahead. Returns how many lines are ready then; 0 at the end."""
        if not self._ready:
            self._read_page()
        return len(self._ready)

    def without_unread(self) -> str:
        """The rest of what was read of the text, which is not given then."""
        rest = "".join(self._ready) + self._part + self._held
        self._ready.clear()
        self._part = self._held = ""
        return rest

    def _next_page(self) -> str:
        page, self._held = self._held, ""
        while page in ("", "\r") and (more := self._text.read(self._page)):
            page += more
        self._held = "\r" if page.endswith("\r") and len(page) > 1 else ""
        return page.removesuffix(self._held)

    def _read_page(self) -> int:
        """Read until there is another line. Returns the number of characters read; 0 at the end of the text."""
        total = 0
        while page := self._next_page():
            total += len(page)
            lines = io.StringIO(self._part + page, newline="").readlines()
            self._part = "" if lines[-1].endswith(("\n", "\r")) else lines.pop()
            if len(self._part) >= LINE_CHARACTERS:
                lines.append(self._without_rest())
            if lines:
                self._ready.extend(lines)
                return total
        if self._part:
            self._ready.extend(io.StringIO(self._part, newline="").readlines())
            self._part = ""
            return max(total, 1)
        return 0

    def _without_rest(self) -> str:
        """The current line, which is too long, as a single field that every reader rejects; its rest is skipped."""
        head, self._part = self._part[:MOST_TEXT], ""
        while page := self._next_page():
            if end := LINE_END.search(page):
                self._part = page[end.end() :]
                break
        return head.replace('"', "'").ljust(RECORD_CHARACTERS + MOST_TEXT, "…") + "\n"


class Records:
    """The records of a CSV file."""

    def __init__(self, lines: TextLines, dialect: Dialect) -> None:
        csv.field_size_limit(RECORD_CHARACTERS)  # a global setting of the csv module; it has no other
        self._lines = lines
        self._dialect = dialect
        self._start = 1  # the first line of the record that is read
        self._escape = re.compile(f"{re.escape(dialect.escape)}(.)", re.DOTALL) if dialect.escape else None

    def take(self, most: int) -> RecordBlock:
        """The next records, at most ``most``; none at the end. Blank lines and comments are skipped."""
        while lines := self._lines.take(most):
            fields = self._one_a_line(lines)
            if fields is None:
                self._lines.repeat(lines)
                return self._one_by_one(most)
            first = self._lines.number - len(lines) + 1
            block = RecordBlock(first, fields, list(range(first, first + len(lines))), lines=lines)
            if not all(fields):
                block.skipped = [start for start, values in zip(block.starts, fields, strict=True) if not values]
                block.keep([bool(values) for values in fields])
            if block:
                return block
        return RecordBlock(self._lines.number + 1)

    def put_back(self, block: RecordBlock) -> None:
        """Undo the last ``take``."""
        self._lines.repeat(block.lines)

    def _reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        dialect = self._dialect
        if dialect.delimiter == BLANKS:
            return map(partial(blank_fields, quote=dialect.quote), lines)
        if self._escape:
            lines = map(partial(self._escape.sub, escaped), lines)
        return csv.reader(
            lines,
            delimiter=dialect.delimiter,
            quotechar=dialect.quote or None,
            quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
            escapechar=dialect.escape,
            skipinitialspace=dialect.trim,
            strict=True,
        )

    def _is_skipped(self, line: str) -> bool:
        """Whether a line between two records is a comment, or blank where blanks around fields go."""
        comment = self._dialect.comment is not None and line.startswith(self._dialect.comment)
        return comment or (self._dialect.trim and line.isspace())

    def _one_a_line(self, lines: list[str]) -> list[list[str]] | None:
        """The fields of each line, none of blank lines and comments; None where a record is broken or has several
        lines."""
        if self._dialect.comment is not None or self._dialect.trim:
            lines = ["\n" if self._is_skipped(line) else line for line in lines]
        try:
            fields = list(self._reader(iter(lines)))
        except csv.Error:
            return None
        return fields if len(fields) == len(lines) else None

    def _one_by_one(self, most: int) -> RecordBlock:
        """The next records, where some are broken or have several lines."""
        block = RecordBlock(self._lines.number + 1)
        reader = self._reader(self._records_of(block))
        characters = 0
        while len(block) < most and characters < CHUNK_CHARACTERS:
            self._start = start = self._lines.number + 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                reader = self._reader(self._records_of(block))
                fields = self._without_blanks_after_quotes(start, block)
                if not fields:
                    block.broken[start] = broken_reason(str(error))
                    self._lose_only(start, block)
                    continue
            if fields is None:
                break
            if not fields:
                block.skipped.append(start)
                continue
            block.fields.append(fields)
            block.starts.append(start)
            characters += sum(map(len, fields))
        return block

    def _records_of(self, block: RecordBlock) -> Iterator[str]:
        """The next lines, each added to ``block``; one that is skipped between two records is given as a blank one."""
        for line in self._lines.each(block.lines):
            between = self._lines.number == self._start
            yield "\n" if between and self._is_skipped(line) else line

    def _without_blanks_after_quotes(self, start: int, block: RecordBlock) -> list[str]:
        """The fields of a record that is broken but for blanks between its quotes and delimiters; else none.

        Only a record on one line is looked at; blanks within quotes stay, as the record is no CSV without this.
        """
        dialect = self._dialect
        if not (dialect.trim and dialect.quote) or dialect.delimiter == BLANKS or self._lines.number != start:
            return []
        delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
        quoted = rf"((?:^|{delimiter}) *{quote}(?:[^{quote}]|{quote}{quote})*{quote})[ \t]+(?={delimiter}|[\r\n]|$)"
        try:
            return next(self._reader(iter([re.sub(quoted, r"\1", block.lines[-1])])), [])
        except csv.Error:
            return []

    def _lose_only(self, line: int, block: RecordBlock) -> None:
        """Continue after ``line``: a quote that is never closed must not swallow the records after it."""
        count = self._lines.number - line
        if count:
            self._lines.repeat(block.lines[-count:])
            del block.lines[-count:]


def escaped(match: re.Match[str]) -> str:
    """An escaped character for the standard library's reader, which takes it as it is; ``\\N`` stays ``\\N``."""
    escape, name = match[0][0], match[1]
    return f"{escape}{escape}N" if name == "N" else escape + ESCAPED.get(name, name)


@lru_cache
def blank_field(quote: str) -> re.Pattern[str]:
    """The pattern of a field between blanks, quoted (its first group) or not (its second)."""
    return re.compile(BLANK_FIELD.format(quote=re.escape(quote)))


def blank_fields(line: str, quote: str) -> list[str]:
    """The fields of a line between blanks or tabs.

    Raises:
        csv.Error: a quote is not closed on the line, or not followed by a blank.
    """
    if not quote or quote not in line:
        return UNQUOTED_FIELD.findall(line)
    line, fields, position = line.rstrip(), [], 0
    while position < len(line):
        match = blank_field(quote).match(line, position)
        if match is None:
            raise csv.Error("unexpected end of data")
        fields.append(match[2] if match[1] is None else match[1].replace(2 * quote, quote))
        position = match.end()
    return fields


def broken_reason(error: str) -> str:
    if error.startswith("field larger"):
        return TOO_LONG
    if error.startswith("unexpected end"):
        return "a quote is opened and never closed"
    if "expected after" in error:
        return "text follows a closing quote"
    return f"not valid CSV: {error}"
