"""A preview of a source or table: its first rows, read before anything runs, to check the declared columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from tidemill.errors import MOST_EXAMPLES, SourceError
from tidemill.sources.chunk import Reject
from tidemill.sources.source import SourceReader

PREVIEW_ROWS = 1_000
PREVIEW_BYTES = 2**24  # fewer rows are read where they are long
MOST_REASON = 200


@dataclass(frozen=True)
class Preview:
    """The first records of the data named ``title``: those that fit, and the others. ``whole``: there are no more."""

    title: str
    rows: pa.Table
    rejects: tuple[Reject, ...]
    whole: bool
    several_files: bool

    def __len__(self) -> int:
        return len(self.rows) + len(self.rejects)

    @property
    def which(self) -> str:
        return f"{'all' if self.whole else 'first'} {len(self):,} rows"

    def examples(self) -> list[str]:
        """The first rejects, each with its line and reason."""
        return [
            f"{f'{reject.file}, ' if self.several_files else ''}line {reject.line}: {reason_of(reject)}"
            for reject in self.rejects[:MOST_EXAMPLES]
        ]

    def sentence(self) -> str:
        """A summary: ``first 1,000 rows: 998 fit, 2 rejected: line 17: id is 'abc', not a whole number; ...``."""
        if not self.rejects:
            return f"{self.which}: all fit"
        more = len(self.rejects) - MOST_EXAMPLES
        shown = "; ".join([*self.examples(), *([f"and {more:,} more"] if more > 0 else [])])
        return f"{self.which}: {len(self.rows):,} fit, {len(self.rejects):,} rejected: {shown}"

    def document(self) -> dict[str, Any]:
        examples = [
            {"file": reject.file, "line": reject.line, "reason": reason_of(reject)}
            for reject in self.rejects[:MOST_EXAMPLES]
        ]
        return {"rows": len(self), "fit": len(self.rows), "rejected": len(self.rejects), "examples": examples}

    def commonest(self) -> str:
        """The most frequent reason, not counting the values in it, with its first example."""
        kinds = Counter(kind_of(reject) for reject in self.rejects)
        kind, count = kinds.most_common(1)[0]
        example = next(reject for reject in self.rejects if kind_of(reject) == kind)
        which = "all" if count == len(self.rejects) else f"{count:,} of them"
        return f"{which} as line {example.line}: {reason_of(example)}"


def reason_of(reject: Reject) -> str:
    text = reject.reason
    return text if len(text) <= MOST_REASON else f"{text[: MOST_REASON - 1]}…"


def kind_of(reject: Reject) -> str:
    """A reason without its value: ``id is 'abc', not a whole number`` is of the same kind for ``'x'``."""
    column, _, rest = reject.reason.partition(" is ")
    return f"{column} is {rest.rpartition(', not ')[2]}"


def read_preview(reader: SourceReader) -> Preview:
    """Read the first ``PREVIEW_ROWS`` records, or fewer where they are long.

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
    return Preview(reader.title, rows, rejects, whole, several_files=len(reader.parts) > 1)


def nothing_fits(reader: SourceReader, preview: Preview) -> SourceError:
    """The error for a preview in which no row fits, with the most frequent reason and a hint."""
    which = preview.which.removeprefix("all ")
    return SourceError(
        f"none of the {which} of {preview.title} fits the declared columns, {preview.commonest()}",
        f"see [{reader.key}.columns]: another type, ? for what may be missing, or strip, missing, format and default "
        f"to clean it; {reader.key}.header and delimiter say how the file is laid out",
    )
