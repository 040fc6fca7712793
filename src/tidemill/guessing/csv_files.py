"""CSV files: encoding, layout, names and types of the columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import polars as pl

from tidemill.errors import SourceError
from tidemill.guessing.columns import ColumnGuess, Texts, guess_column
from tidemill.guessing.csv_layout import NO_QUOTES, CsvLayout, CsvRecords, is_quoted, layout_of, records_of
from tidemill.guessing.encoding import Encoding, decoded
from tidemill.guessing.guess import FileGuess, most_rows, other_files, rows_of_size, shared_out
from tidemill.guessing.numbers import file_numbers, number_of
from tidemill.guessing.sample import FileSample, known_format, read_sample

SAME_AS_READ = {
    "encoding": "utf-8",
    "delimiter": ",",
    "quote": '"',
    "escape": "",
    "skip": 0,
    "comment": "",
    "trim": False,
}


def guess_csv(files: Sequence[Path], sample: FileSample) -> FileGuess:
    label = sample.file.label
    encoding = decoded(label, sample.pieces, sample.whole)
    layout, records = read_pieces(encoding.pieces, layout_of(label, encoding.pieces[0]))
    names, undeclared = names_of(encoding.pieces[0], layout)
    more = [records_of_other(file, files[0], names, layout) for file in other_files(files)]
    rows = shared_out([part.rows for part in (*records, *more)], most_rows(layout.width))
    if not rows:
        raise SourceError(f"{label} has no rows", "give a file with at least one row of data")
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
        rows=rows_of_size(sample, len(records[0].rows), len(rows)) if len(files) == 1 else None,
        exact=sample.whole,
        whole=sample.whole and len(rows) == len(records[0].rows) and len(files) == 1,
        notes=(*encoding.notes, *notes_of(records, layout)),
    )


def read_pieces(pieces: Sequence[str], layout: CsvLayout) -> tuple[CsvLayout, list[CsvRecords]]:
    """The records of the file's pieces. Where only some later record has quotes that are part of its values, the layout
    is then without quotes."""
    last = len(pieces) - 1
    records = [records_of(piece, layout, index == 0, index == last) for index, piece in enumerate(pieces)]
    with_quotes = [layout.quote != "" and layout.quote in piece for piece in pieces]
    if any(compress(map(is_uneven, pieces, records), with_quotes)):
        bare = layout._replace(quote="", reasons=layout.reasons | {"quote": NO_QUOTES})
        unquoted = [records_of(piece, bare, index == 0, index == last) for index, piece in enumerate(pieces)]
        if not is_quoted("\n".join(pieces), layout.delimiter, layout.quote) and fewer_ragged(unquoted, records):
            return bare, unquoted
    return layout, records


def is_uneven(piece: str, records: CsvRecords) -> bool:
    """Whether some records do not fit, or take several lines."""
    return records.ragged > 0 or piece.count("\n") > len(records.rows) + 1


def fewer_ragged(records: Sequence[CsvRecords], others: Sequence[CsvRecords]) -> bool:
    """Whether more records of a text fit than by another reading, and fewer or none do not."""
    rows, other_rows = (sum(len(part.rows) for part in parts) for parts in (records, others))
    ragged, other_ragged = (sum(part.ragged for part in parts) for parts in (records, others))
    return rows > other_rows and (ragged < other_ragged or not ragged)


def settings_of(sample: FileSample, encoding: Encoding, layout: CsvLayout) -> dict[str, Any]:
    """The keys of ``[source]``: those that say what the reader does not do by itself."""
    values = {
        "encoding": encoding.name,
        "delimiter": layout.delimiter,
        "quote": layout.quote,
        "escape": layout.escape,
        "skip": layout.skip,
        "comment": layout.comment,
        "trim": layout.trim,
    }
    given: dict[str, Any] = {} if known_format(sample.file.path) == "csv" else {"format": "csv"}
    given |= {key: value for key, value in values.items() if value != SAME_AS_READ[key]}
    return given | {"header": layout.header}


def records_of_other(file: Path, first: Path, names: Sequence[str | None], layout: CsvLayout) -> CsvRecords:
    """The rows at the head of another file of the same layout, with the columns in the order of the first file; what it
    lacks is blank.

    Raises:
        SourceError: its layout is another.
    """
    sample = read_sample(file)
    text = decoded(sample.file.label, sample.pieces[:1], sample.whole).pieces[0]
    own = layout_of(sample.file.label, text)
    by_position = own.skip != layout.skip or (own.width, own.names) != (layout.width, layout.names)
    if own.delimiter != layout.delimiter or own.header != layout.header or (not own.header and by_position):
        raise SourceError(
            f"{sample.file.label} is laid out in another way than {first.name}",
            "give files of one layout; a glob may leave others out",
        )
    own_names, _ = names_of(text, own)
    places = [own_names.index(name) if name in own_names else None for name in names]
    records = records_of(text, own, True)
    rows = [["" if place is None else row[place] for place in places] for row in records.rows]
    return records._replace(rows=rows)


def names_of(head: str, layout: CsvLayout) -> tuple[list[str | None], dict[str, str]]:
    """The name of each field's column, None where it can't be declared; and those with the reason."""
    if layout.names:
        return [*layout.names, *[None] * layout.trailing], {}
    if not layout.header:
        named = layout.width - layout.trailing
        return [*(f"column_{index}" for index in range(1, named + 1)), *[None] * layout.trailing], {}
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
        records_text = f"{ragged:,} of the records that were looked at"
        yield f"{records_text} have another number of fields than {layout.width}; such records are rejects"


def guess_columns(columns: Mapping[str, pl.Series]) -> list[ColumnGuess]:
    """The guess of each column of texts, in the light of what all of them say together."""
    texts = [Texts(name, values) for name, values in columns.items()]
    numbers = file_numbers([(each.name, each.distinct) for each in texts])
    with_words = [each for each in texts if each.missing_words and number_of(each.distinct, each.name, numbers)]
    words = [word for each in with_words for word in each.missing_words]
    guesses = [guess_column(each, numbers, words) for each in texts]
    missing = [value for guess in guesses for value in guess.settings.get("missing", ())]
    sentinels = tuple(dict.fromkeys(value for value in missing if not isinstance(value, str)))
    if not sentinels:
        return guesses
    numbers = numbers._replace(sentinels=sentinels)
    return [
        guess_column(each, numbers, words) if guess.kind in ("int", "float") else guess
        for each, guess in zip(texts, guesses, strict=True)
    ]
