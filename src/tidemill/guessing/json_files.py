"""JSON files: one object a line, objects in an array, or objects one after the other; nested ones by their paths."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tidemill.errors import SourceError
from tidemill.guessing.columns import ColumnGuess
from tidemill.guessing.encoding import Encoding, decoded
from tidemill.guessing.guess import FileGuess, most_rows, other_files, rows_of_size, shared_out
from tidemill.guessing.sample import FileSample, known_format, read_sample
from tidemill.guessing.typed_columns import guess_plain
from tidemill.texts import listed

Record = dict[str, Any]
JSON = ("json", "jsonl")
CALLED = {int: "numbers", float: "numbers", str: "texts", bool: "true or false"}
BETWEEN = re.compile(r"[\s,\[]*")
DECODER = json.JSONDecoder()


def looks_like_json(sample: FileSample) -> bool:
    """Whether a file is JSON by its name, or begins as an object or an array of objects does."""
    start = sample.pieces[0].removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").replace(b"\0", b"").lstrip()
    return known_format(sample.file.path) in JSON or bool(re.match(rb'\{\s*("|\}|$)|\[\s*(\{|$)', start))


def guess_json(files: Sequence[Path], sample: FileSample) -> FileGuess:
    """What JSON files are like.

    Raises:
        SourceError: they hold no objects that can be read as rows.
    """
    encoding = decoded(sample.file.label, sample.pieces, sample.whole)
    lines = are_lines(encoding.pieces[0])
    parts = [records_in(piece, lines) for piece in (encoding.pieces if lines else encoding.pieces[:1])]
    refuse_single(sample, parts[0])
    more = [
        records_in(decoded(file.name, part.pieces[:1], part.whole).pieces[0], lines) for file, part in samples(files)
    ]
    records = shared_out([*parts, *more], most_rows(len(parts[0][0])))
    columns, undeclared = columns_of(records)
    settings = settings_of(sample, encoding, lines)
    return FileGuess(
        files=tuple(files),
        settings=settings,
        reasons={
            "format": "one JSON object a line" if lines else "JSON objects in an array, or one after the other",
            "encoding": encoding.reason,
        },
        columns=tuple(columns),
        undeclared=undeclared,
        looked_at=len(records),
        rows=rows_of_size(sample, len(parts[0]), len(records)) if len(files) == 1 else None,
        exact=sample.whole,
        whole=sample.whole and len(files) == 1 and len(records) == len(parts[0]),
        notes=encoding.notes,
    )


def samples(files: Sequence[Path]) -> Iterator[tuple[Path, FileSample]]:
    return ((file, read_sample(file)) for file in other_files(files))


def settings_of(sample: FileSample, encoding: Encoding, lines: bool) -> dict[str, Any]:
    known = known_format(sample.file.path) in JSON
    given: dict[str, Any] = {} if known else {"format": "jsonl" if lines else "json"}
    return given | ({} if encoding.name == "utf-8" else {"encoding": encoding.name})


def are_lines(text: str) -> bool:
    """Whether the first line that is not blank is an object."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return isinstance(loaded(first), dict)


def loaded(line: str) -> Any:
    """The JSON value of a line; None where it is none."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line)  # NaN and infinities, which orjson refuses
    except ValueError:
        return None


def records_in(text: str, lines: bool) -> list[Record]:
    """The objects of a piece of a file; what is none, or is cut off, is left out."""
    values = map(loaded, text.split("\n")) if lines else values_in(text)
    return [value for value in values if isinstance(value, dict)]


def values_in(text: str) -> Iterator[Any]:
    """The values of an array, or one after the other, until one is cut off."""
    at = BETWEEN.match(text, 1 if text.startswith("\ufeff") else 0).end()  # type: ignore[union-attr]  # it fits any text
    while at < len(text):
        try:
            value, at = DECODER.raw_decode(text, at)
        except ValueError:
            return
        yield value
        at = BETWEEN.match(text, at).end()  # type: ignore[union-attr]


def refuse_single(sample: FileSample, records: Sequence[Record]) -> None:
    """Refuse a file of one object, whose rows may be in a list within it.

    Raises:
        SourceError: it says how to get at the list.
    """
    label = sample.file.label
    if not records:
        raise SourceError(
            f"{label} has no JSON object that ends in the part that was looked at",
            "give one object a line, or an array of objects; where the rows are in a list NAME of one large object, "
            f"jq -c '.NAME[]' {label} > NAME.jsonl writes them one a line",
        )
    lists = [
        name for name, value in records[0].items() if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    if len(records) == 1 and lists:
        raise SourceError(
            f"{label} is one JSON object; its rows are in the list {lists[0]}",
            f"write them one a line: jq -c '.{lists[0]}[]' {label} > {lists[0]}.jsonl",
        )


def columns_of(records: Sequence[Mapping[str, Any]]) -> tuple[list[ColumnGuess], dict[str, str]]:
    """The columns of the records, nested ones by their paths, and the values that no column holds, with the reasons."""
    paths: dict[str, dict[int, Any]] = {}
    objects: set[str] = set()
    for index, record in enumerate(records):
        for path, value in leaves(record):
            if isinstance(value, Mapping):
                objects.add(path)
            else:
                paths.setdefault(path, {})[index] = value
    columns, undeclared = [], {}
    for path, found in paths.items():
        values = [found.get(index) for index in range(len(records))]
        there = any(value is not None for value in values)
        if path in objects:  # where it is null, the columns within it are missing
            if there:
                undeclared[path] = "an object in some rows; the others, where it is none, will be rejects"
            continue
        if not there:
            undeclared[path] = "no value is there, so that its type is not known"
            continue
        if any(isinstance(value, list) for value in found.values()):
            undeclared[path] = f'a list; "{path}.0" is its first element'
            continue
        guess = guess_plain(path, values)
        if guess is None:
            kinds = dict.fromkeys(type(value) for value in found.values() if value is not None)
            several = listed(list(dict.fromkeys(CALLED.get(kind, kind.__name__) for kind in kinds)))
            no_text = list(kinds) == [bytes]
            undeclared[path] = "bytes that are no text in UTF-8" if no_text else f"values of several types ({several})"
        else:
            columns.append(guess)
    return columns, undeclared


def leaves(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a record with their paths, each object before the values in it."""
    for name, value in record.items():
        yield f"{before}{name}", value
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{name}.")
