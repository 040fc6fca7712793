"""A CSV file: how it is laid out, and whether that is as declared; ``csv_chunks.py`` reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tidemill.errors import Fault, SourceError
from tidemill.pipeline import BLANKS, DEFAULT_DELIMITER, Data
from tidemill.sources.chunk import (
    Beginning,
    Chunk,
    absent_notes,
    refuse_missing,
)
from tidemill.sources.cleaning import strip_notes, trim_notes
from tidemill.sources.readers.csv_chunks import CsvChunks, CsvText, Layout, fields_text
from tidemill.sources.readers.csv_header import (
    composed,
    encoding_meant,
    has_names,
    header_note,
    may_be_header,
    nfc,
    refuse_unlike,
)
from tidemill.sources.readers.csv_records import Dialect, RecordBlock, Records, TextLines
from tidemill.sources.readers.decoding import BYTE_ORDER_MARK, guessed_encoding, is_text, open_pages
from tidemill.sources.readers.opening import SourceFile
from tidemill.sources.readers.pages import PIECE
from tidemill.texts import shorten

DELIMITERS = {";": '";"', "\t": r'"\t"', "|": '"|"', ",": '","'}
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's own first line
LOOKED_AT = 200


class CsvFile:
    """A CSV file, with or without a header. Without the setting ``header``, the first record decides."""

    def __init__(self, file: SourceFile, data: Data, key: str) -> None:
        """A file of ``data``; ``key`` is the path of these data in the pipeline file."""
        self.file = file
        self.key = key
        self.data = data
        self.columns = composed(data.schema_)

    def check(self) -> Beginning:
        with self._open() as text:
            first = text.records.take(1)
            if not first:
                return Beginning(False)
            layout = self._layout(first)
            later = text.records.take(LOOKED_AT)
        notes = list(self._layout_notes(first, later, layout))
        rows = later.fields if layout.header else [*first.fields, *later.fields]
        texts = {
            column: [row[index] for row in rows if len(row) > index]
            for column, index in zip(self.columns, layout.indices, strict=True)
            if index is not None
        }
        notes += [*strip_notes(texts, self.key), *(() if self.data.trim else trim_notes(texts, self.key))]
        return Beginning(not layout.header or bool(later), notes)

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        with self._open() as text:
            first = text.records.take(1)
            if not first:
                return
            layout = self._layout(first)
            if not layout.header:
                text.records.put_back(first)
            yield from CsvChunks(self.file, self.columns, text, layout).read(size, limit)

    @contextmanager
    def _open(self) -> Iterator[CsvText]:
        with open_pages(self.file) as pages:
            lines = TextLines(pages, PIECE)
            delimiter = self._delimiter(lines)
            lines.skip(self.data.skip)
            data = self.data
            dialect = Dialect(delimiter, data.quote, data.escape, data.trim, data.comment)
            yield CsvText(pages, lines, Records(lines, dialect), dialect)

    def _delimiter(self, lines: TextLines) -> str:
        """The delimiter; a first line that names it is skipped.

        Raises:
            SourceError: the file names another delimiter than the pipeline.
        """
        declared = self.data.delimiter
        for line in lines.take(1):
            match = SEPARATOR_LINE.fullmatch(line.removeprefix(BYTE_ORDER_MARK))
            if match is None or self.data.skip:
                lines.repeat([line.removeprefix(BYTE_ORDER_MARK)])
            elif declared not in (None, match[1]):
                raise SourceError(
                    f"line 1 of {self.file.label} says {line.strip()}, while {self.key}.delimiter is {declared!r}",
                    f"leave {self.key}.delimiter out, or set {self.key}.skip = 1 to ignore that line",
                )
            else:
                return match[1]
        return declared or DEFAULT_DELIMITER

    def _layout(self, first: RecordBlock) -> Layout:
        """The layout of the file.

        Raises:
            SourceError: the first record is neither a header with the declared columns nor a row of them.
        """
        label = self.file.label
        for line, reason in first.broken.items():
            hint = f'check that it is a CSV file; {self.key}.quote = "" takes quotes as part of the values'
            raise SourceError(f"{label}, line {line}: {reason}", hint)
        names = [nfc(name.strip()) for name in first.fields[0]]
        trailing = len(names) > 1 and not names[-1]
        header = self.data.header
        if header is None and not has_names(names, self.columns, self.file.encoding):
            self._refuse_undecodable(first)
            header = False
        if header is not False:
            return self._by_name(names, trailing, first)
        trailing = trailing and len(names) == len(self.columns) + 1
        if len(names) - trailing != len(self.columns):
            declared = [column.name for column in self.columns]
            raise SourceError(
                f"the first row of {label} has {fields_text(len(names))} {shorten(names)} "
                f"where {len(declared)} columns are declared {shorten(declared)}",
                self._delimiter_hint(names)
                or "declare every column, in the file's order; header = true where it names them",
            )
        return Layout(False, len(self.columns), tuple(range(len(self.columns))), trailing)

    def _by_name(self, names: list[str], trailing: bool, first: RecordBlock) -> Layout:
        label = self.file.label
        if any(column.name_in_data not in names for column in self.columns):
            self._refuse_undecodable(first)
        meant = encoding_meant(names, self.columns, self.file.encoding)
        hint = f'its names are as declared in another encoding: set {self.key}.encoding = "{meant}"' if meant else ""
        refuse_missing(label, names, self.columns, self._delimiter_hint(names) or hint)
        if meant:
            raise SourceError(f"{label} has a declared column under a name in another encoding", hint)
        counts = Counter(names)
        for column in self.columns:
            name = column.name_in_data
            if counts[name] > 1:
                positions = [number for number, other in enumerate(names, start=1) if other == name]
                raise SourceError(
                    f"{label} has more than one column {name}: fields {', '.join(map(str, positions))}",
                    f"rename all but one; or set {self.key}.header = false and {self.key}.skip = {first.starts[0]}, "
                    "and declare every column, in the file's order",
                )
        indices = {name: index for index, name in enumerate(names)}
        columns = tuple(indices.get(column.name_in_data) for column in self.columns)
        return Layout(True, len(names) - trailing, columns, trailing)

    def _refuse_undecodable(self, first: RecordBlock) -> None:
        """Refuse a first record that may be a header, and whose bytes do not fit the encoding."""
        line, fields = first.starts[0], first.fields[0]
        if not all(map(is_text, fields)):
            guess = guessed_encoding(self.file)
            raise SourceError(
                f"the bytes of {self.file.label}, line {line}, are not valid {self.file.encoding.upper()}",
                f"say in which encoding it is: {self.key}.encoding = " + (guess or '"windows-1252", for example'),
            )

    def _layout_notes(self, first: RecordBlock, later: RecordBlock, layout: Layout) -> Iterator[Fault]:
        """What the pipeline file does not say about the layout, and may be meant otherwise.

        Raises:
            SourceError: the first record is a header rather than a row.
        """
        label, line, fields = self.file.label, first.starts[0], first.fields[0]
        if layout.header:
            yield from absent_notes(label, [nfc(name.strip()) for name in fields], self.columns, self.key)
        elif self.data.header is None and later.fields:
            second = later.fields[0]
            if len(second) >= layout.width:
                refuse_unlike(fields, second, self.columns, label, line)
            if may_be_header(fields, later.fields, self.columns):
                yield header_note(fields, label, self.key, line)
        if layout.trailing:
            found = f"the last field of each record of {label} has no name and is ignored"
            yield Fault(f"{self.key}.columns", found, "")

    def _delimiter_hint(self, names: list[str]) -> str:
        """A hint where the first record has a single field; empty otherwise."""
        if len(names) != 1:
            return ""
        notations = [shown for delimiter, shown in DELIMITERS.items() if delimiter in names[0]]
        if not notations and len(names[0].split()) == len(self.columns):
            notations = [f'"{BLANKS}"']
        if not notations:
            return ""
        return f"are its fields separated by {notations[0]}? then set {self.key}.delimiter = {notations[0]}"
