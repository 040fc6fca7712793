"""A data file, or several with one layout: what is looked at of them, and their columns as guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tidemill.errors import SourceError
from tidemill.guessing.columns import ColumnGuess, Texts, guess_column
from tidemill.guessing.csv_layout import CsvLayout, CsvRecords, layout_of, records_of
from tidemill.guessing.encoding import Encoding, decoded
from tidemill.guessing.numbers import FileNumbers, file_numbers, number_of, sentinel_of
from tidemill.guessing.sample import FileSample, read_sample
from tidemill.sources.readers.opening import FORMATS
from tidemill.sources.source import list_files
from tidemill.texts import listed, shorten

MOST_VALUES = 300_000  # that are looked at, of all columns together
MOST_ROWS = 5_000
SAME_AS_READ = {"encoding": "utf-8", "delimiter": ",", "escape": "", "skip": 0, "comment": "", "trim": False}


@dataclass(frozen=True)
class FileGuess:
    """What a file is like.

    Attributes:
        files: the files, in the order in which they will be read.
        settings: the keys of ``[source]`` that are to be written, without ``path`` and ``columns``.
        reasons: why, by setting.
        columns: those that are declared, in the file's order.
        undeclared: the others by what the file calls them, with the reason.
        looked_at: how many rows.
        rows: how many there are; where not all were looked at, about; None where that is unknown.
        notes: what else was seen, in sentences.
    """

    files: tuple[Path, ...]
    settings: Mapping[str, Any]
    reasons: Mapping[str, str]
    columns: tuple[ColumnGuess, ...]
    undeclared: Mapping[str, str]
    looked_at: int
    rows: int | None
    whole: bool
    notes: tuple[str, ...] = field(default_factory=tuple)


def guess_files(path: str) -> FileGuess:
    """What the file at ``path``, or the files of a glob, are like.

    Raises:
        SourceError: there is none, or it holds no table that can be read.
    """
    files = list_files(path, Path.cwd())
    sample = read_sample(files[0])
    return guess_csv(files, sample)


# --- CSV ----------------------------------------------------------------------------------------------------------


def guess_csv(files: Sequence[Path], sample: FileSample) -> FileGuess:
    label = sample.file.label
    encoding = decoded(label, sample.pieces, sample.whole)
    layout = layout_of(label, encoding.pieces[0])
    records = [records_of(piece, layout, index == 0) for index, piece in enumerate(encoding.pieces)]
    more = [part for file in other_files(files) for part in records_of_other(file, files[0], encoding, layout)]
    rows = shared_out([part.rows for part in (*records, *more)], layout.width)
    if not rows:
        raise SourceError(f"{label} has no rows", "give a file with at least one row of data")
    names, undeclared = names_of(encoding.pieces[0], layout)
    columns = {
        name: pl.Series(name, [row[index] for row in rows], pl.String)
        for index, name in enumerate(names)
        if name is not None
    }
    return FileGuess(
        files=tuple(files),
        settings=settings_of(sample, encoding, layout),
        reasons=dict(layout.reasons) | {"encoding": encoding.reason},
        columns=tuple(guess_columns(columns)),
        undeclared=undeclared,
        looked_at=len(rows),
        rows=rows_in(sample, encoding, records) if len(files) == 1 else None,
        whole=sample.whole and len(rows) == len(records[0].rows) and len(files) == 1,
        notes=tuple(notes_of(records, layout)),
    )


def settings_of(sample: FileSample, encoding: Encoding, layout: CsvLayout) -> dict[str, Any]:
    """The keys of ``[source]``: those that say what the reader does not do by itself."""
    ending = sample.file.path.with_suffix("") if sample.file.compression else sample.file.path
    values = {
        "encoding": encoding.name,
        "delimiter": layout.delimiter,
        "escape": layout.escape,
        "skip": layout.skip,
        "comment": layout.comment,
        "trim": layout.trim,
    }
    given: dict[str, Any] = {} if FORMATS.get(ending.suffix.lower()) == "csv" else {"format": "csv"}
    given |= {key: value for key, value in values.items() if value != SAME_AS_READ[key]}
    return given | {"header": layout.header}


def other_files(files: Sequence[Path]) -> list[Path]:
    """Of several files, the middle and the last one, whose heads are looked at too."""
    return list(dict.fromkeys([files[len(files) // 2], files[-1]])) if len(files) > 2 else list(files[1:])


def records_of_other(file: Path, first: Path, encoding: Encoding, layout: CsvLayout) -> Iterator[CsvRecords]:
    """The rows at the head of another file of the same layout, with the columns in the order of the first file.

    Raises:
        SourceError: its layout is another.
    """
    sample = read_sample(file)
    text = decoded(sample.file.label, sample.pieces[:1], sample.whole).pieces[0]
    own = layout_of(sample.file.label, text)
    if (own.delimiter, own.header) != (layout.delimiter, layout.header) or (
        not own.header and own.width != layout.width
    ):
        raise SourceError(
            f"{sample.file.label} is laid out in another way than {first.name}",
            "give files of one layout; a glob may leave others out",
        )
    yield records_of(text, own, True)


def shared_out(parts: Sequence[list[list[str]]], width: int) -> list[list[str]]:
    """The rows to look at: as many of each part as of the others, and in all not too many values."""
    parts = [part for part in parts if part]
    most = max(200, min(MOST_ROWS, MOST_VALUES // max(1, width)))
    share = most // max(1, len(parts) - 1) // 2 if len(parts) > 1 else 0
    chosen = [part[:share] for part in parts[1:]]
    return [*(parts[0][: most - sum(map(len, chosen))] if parts else []), *(row for part in chosen for row in part)]


def rows_in(sample: FileSample, encoding: Encoding, records: Sequence[CsvRecords]) -> int | None:
    """How many rows the file has; where it was not read as a whole, by the length of those that were."""
    if sample.whole:
        return len(records[0].rows)
    if sample.size is None or not records[0].rows:
        return None
    return round(sample.size * len(records[0].rows) / len(sample.pieces[0]))


def names_of(head: str, layout: CsvLayout) -> tuple[list[str | None], dict[str, str]]:
    """The name of each field's column, None where it can't be declared; and those with the reason."""
    if not layout.header:
        return [f"column_{index}" for index in range(1, layout.width + 1)], {}
    plain = layout._replace(header=False)
    header = [name.strip().removeprefix("\ufeff") for name in records_of(head, plain, True).rows[0]]
    counts = Counter(header)
    undeclared = {}
    for index, name in enumerate(header, start=1):
        if not name:
            undeclared[f"field {index}"] = "the header has no name for it; give it one there to use it"
        elif counts[name] > 1:
            undeclared[name] = f"the header has this name {counts[name]} times; rename all but one there to use it"
    return [name if name and counts[name] == 1 else None for name in header], undeclared


def notes_of(records: Sequence[CsvRecords], layout: CsvLayout) -> Iterator[str]:
    ragged = sum(part.ragged for part in records)
    if ragged:
        yield f"{ragged:,} of the records that were looked at have another number of fields than {layout.width}; such records are rejects"


def guess_columns(columns: Mapping[str, pl.Series]) -> Iterator[ColumnGuess]:
    """The guess of each column of texts: what all of them say together comes first."""
    texts = [Texts(name, values) for name, values in columns.items()]
    numbers = file_numbers([(each.name, each.distinct) for each in texts])
    words, sentinels = [], []
    for each in texts:
        guess = number_of(each.distinct, each.name, numbers)
        if guess is None:
            continue
        words += each.missing_words
    first = [guess_column(each, numbers, words) for each in texts]
    for guess in first:
        missing = guess.settings.get("missing", [])
        sentinels += [value for value in missing if isinstance(value, int | float)]
    numbers = numbers._replace(sentinels=tuple(dict.fromkeys(sentinels)))
    for each, guess in zip(texts, first, strict=True):
        again = sentinels and guess.kind in ("int", "float")
        yield guess_column(each, numbers, words) if again else guess
