"""Reads the first rows of a source or table before anything runs, to see whether they fit the declared columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.errors import Fault, SourceError
from tidemill.sources.chunk import NOT_VALID, Reject
from tidemill.sources.readers.decoding import guessed_encoding, open_utf_8
from tidemill.sources.readers.json_records import layout_of
from tidemill.sources.readers.opening import BUFFER, SourceFile, read_errors
from tidemill.sources.remedies import hint_of, reason_kind, remedies, remedies_beside_rows
from tidemill.sources.source import SourceReader
from tidemill.texts import MOST_EXAMPLES

PREVIEW_ROWS = 1_000
PREVIEW_BYTES = 2**24  # fewer rows are tried where they are long, so that the preview stays quick
MOST_COUNTED = 2**30  # bytes of text in which lines are counted
MOST_REASON = 200


class Untried(NamedTuple):
    """How many rows follow the first ones; None where counting them would take long. Lines of text give no ``exact``
    count, as a record may have several."""

    rows: int | None
    exact: bool

    def __str__(self) -> str:
        if self.rows is None:
            return "any later rows were not tried"
        if self.exact:
            return f"{self.rows:,} more were not tried"
        return f"about {round(self.rows, 2 - len(str(self.rows))):,} more were not tried"


@dataclass(frozen=True)
class Preview:
    """The first records of what ``title`` names: ``rows`` fit, ``rejects`` don't. ``untried`` is None if there are no
    more records."""

    title: str
    rows: pa.Table
    rejects: tuple[Reject, ...]
    untried: Untried | None
    several_files: bool

    def __len__(self) -> int:
        return len(self.rows) + len(self.rejects)

    @property
    def whole(self) -> bool:
        """Whether these are all records."""
        return self.untried is None

    @property
    def which(self) -> str:
        return f"{'all' if self.whole else 'first'} {len(self):,} rows"

    def examples(self) -> list[str]:
        """The first rejects, each with its line and its reason."""
        return [
            f"{f'{reject.file}, ' if self.several_files else ''}{reject.place}: {reason_of(reject)}"
            for reject in self.rejects[:MOST_EXAMPLES]
        ]

    def sentence(self) -> str:
        """The result: ``first 1,000 rows: 998 fit, 2 rejected: line 17: id is 'abc', not a whole number; ...``."""
        if not self.rejects:
            return f"{self.which}: all fit"
        more = len(self.rejects) - MOST_EXAMPLES
        examples = "; ".join([*self.examples(), *([f"and {more:,} more"] if more > 0 else [])])
        return f"{self.which}: {len(self.rows):,} fit, {len(self.rejects):,} rejected: {examples}"

    def document(self) -> dict[str, Any]:
        examples = [
            {name: value for name, value in reject.document().items() if name != "text"} | {"reason": reason_of(reject)}
            for reject in self.rejects[:MOST_EXAMPLES]
        ]
        return {"rows": len(self), "fit": len(self.rows), "rejected": len(self.rejects), "examples": examples}

    def kinds(self) -> list[tuple[Reject, int]]:
        """The first reject of each kind, and how many are of it; the most frequent kind first."""
        counts = Counter(reason_kind(reject.reason) for reject in self.rejects)
        first = {reason_kind(reject.reason): reject for reject in reversed(self.rejects)}
        return [(first[kind], count) for kind, count in counts.most_common()]

    def commonest(self) -> str:
        """The most frequent reason of the rejects, with its first example."""
        example, count = self.kinds()[0]
        which = "all" if count == len(self.rejects) else f"{count:,} of them"
        return f"{which} as {example.place}: {reason_of(example)}"


def reason_of(reject: Reject) -> str:
    text = reject.reason
    return text if len(text) <= MOST_REASON else f"{text[: MOST_REASON - 1]}…"


def read_preview(reader: SourceReader, count_untried: bool = True) -> Preview:
    """Read the first ``PREVIEW_ROWS`` records, or fewer where they are long.

    Args:
        count_untried: whether to count the records after them, for which a text file is read to its end.

    Raises:
        SourceError: they can't be read.
    """
    chunks, seen, size = [], 0, 0
    for chunk in replace(reader, limit=min(reader.limit, PREVIEW_ROWS)).chunks(PREVIEW_ROWS):
        chunks.append(chunk)
        seen += len(chunk)
        size += chunk.rows.nbytes + sum(len(reject.text) for reject in chunk.rejects)
        if size > PREVIEW_BYTES:
            break
    whole = size <= PREVIEW_BYTES and (seen < PREVIEW_ROWS or reader.limit <= PREVIEW_ROWS)
    rows = pa.concat_tables([chunk.rows for chunk in chunks])
    rejects = tuple(reject for chunk in chunks for reject in chunk.rejects)
    untried = None if whole else rows_after(reader, seen) if count_untried else Untried(None, exact=False)
    return Preview(reader.title, rows, rejects, untried, several_files=len(reader.parts) > 1)


def rows_after(reader: SourceReader, seen: int) -> Untried | None:
    """How many records come after the first ``seen``; None if there are none.

    Raises:
        SourceError: a file can't be read.
    """
    if not reader.files:  # a sample, whose limit is its number of rows
        return Untried(reader.limit - seen, exact=True) if reader.limit > seen else None
    exact = all(file.format == "parquet" for file in reader.files)
    plain = [file for file in reader.files if file.format != "parquet"]
    size = sum(file.path.stat().st_size for file in plain)
    if any(file.compression for file in plain) or size > MOST_COUNTED or not all(map(one_a_line, plain)):
        return Untried(None, exact=False)
    count = min(sum(count_records(file) for file in reader.files), reader.limit) - seen
    if exact:
        return Untried(count, exact) if count > 0 else None
    return Untried(count if count > len(plain) else None, exact)  # each file may have a header


def one_a_line(file: SourceFile) -> bool:
    """Whether a text file has about as many lines as records."""
    if file.format == "csv":
        return True
    with open_utf_8(file) as opened:
        return layout_of(opened) == "lines"


def count_records(file: SourceFile) -> int:
    """The rows of a Parquet file, or the lines of a text file."""
    with read_errors(file), file.path.open("rb") as opened:
        if file.format == "parquet":
            return int(pq.read_metadata(opened).num_rows)
        return sum(block.count(b"\n") for block in iter(lambda: opened.read(BUFFER), b""))


def nothing_fits(reader: SourceReader, preview: Preview) -> SourceError:
    """The error for a preview in which no row fits, with the commonest reason, and the setting that would read it."""
    remedy = hint_of(remedies(preview.kinds()[0][0], reader.columns), reader.key)
    which = preview.which.removeprefix("all ")
    return SourceError(
        f"none of the {which} of {preview.title} fits the declared columns, {preview.commonest()}",
        (f"{remedy}; or " if remedy else "")
        + f"see [{reader.key}.columns]: another type, ? for what may be missing, or strip, missing, format and default "
        f"to clean it; {reader.key}.header and delimiter say how the file is laid out",
    )


def preview_notes(reader: SourceReader, preview: Preview) -> list[Fault]:
    """The settings that would read what is rejected, for the most frequent reasons, where other rows fit.

    A missing value has none: whether every row needs one is for the pipeline file to say.
    """
    notes = encoding_notes(reader, preview)
    for reject, count in preview.kinds()[:MOST_EXAMPLES] if len(preview.rows) else ():
        settings = () if NOT_VALID in reject.reason else remedies_beside_rows(reject, reader.columns)
        column = settings[0].column if settings else None
        if settings and not reject.reason.startswith(f"{column} is missing"):
            path = f"{reader.key}.columns.{column}" if column else f"{reader.key}.{settings[0].name}"
            rows = reject.place if count == 1 else f"{count:,} rows, the first in {reject.place},"
            notes.append(Fault(path, f"{rows} rejected: {reason_of(reject)}", "", hint_of(settings, reader.key)))
    return notes


def encoding_notes(reader: SourceReader, preview: Preview) -> list[Fault]:
    """A note where bytes do not fit the encoding, with the encoding that they may be in."""
    undecodable = [reject for reject in preview.rejects if NOT_VALID in reject.reason]
    if not undecodable:
        return []
    first = undecodable[0]
    file = next(file for file in reader.files if file.label == first.file)
    found = f"the bytes of {first.file}, {first.place}, are not valid {file.encoding.upper()}"
    guess = guessed_encoding(file)
    return [Fault(f"{reader.key}.encoding", found, "", f"{guess}, perhaps" if guess else "say in which encoding it is")]
