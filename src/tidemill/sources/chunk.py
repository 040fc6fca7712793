"""The output of every source: rows of the declared columns, and the records that don't fit, with reasons."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from tidemill.errors import Fault, SourceError
from tidemill.pipeline import Column
from tidemill.texts import MOST_EXAMPLES, did_you_mean, listed

MOST_TEXT = 500
CHUNK_CHARACTERS = 32 * 2**20  # a chunk of long records ends early, which bounds memory
RECORD_CHARACTERS = 2**20  # of a CSV record's fields, a JSON line, a Parquet row's strings; bounded by a message's size
TOO_LONG = "longer than 1 MiB"
NOT_VALID = "its bytes are not valid"


@dataclass(frozen=True)
class Reject:
    """A record that does not fit. ``line`` is its first physical line, in Parquet its row, from 1; ``element`` its
    number among the values of a JSON file that is not read line by line."""

    file: str
    line: int
    reason: str
    text: str
    element: int | None = None

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.element is None else f"element {self.element}"

    def document(self) -> dict[str, Any]:
        """The reject as the file of rejects has it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Chunk:
    """Some records of the source, in order: those that fit, in the declared types, and the others."""

    rows: pa.Table
    rejects: tuple[Reject, ...] = ()

    def __len__(self) -> int:
        """The number of records, rejects included."""
        return len(self.rows) + len(self.rejects)

    def first_reason(self) -> str:
        """The first reject, as the end of a sentence; empty where there is none."""
        return next((f"; the first, {reject.place}: {reject.reason}" for reject in self.rejects), "")


class Beginning(NamedTuple):
    """The beginning of data: whether there are any records, and notes on what may not be meant so."""

    has_records: bool
    notes: Sequence[Fault] = ()


class Readable(Protocol):
    """A file or a sample. Every call of ``read`` starts from the first record."""

    def check(self) -> Beginning:
        """Check the beginning of the data.

        Raises:
            SourceError: it can't be read, or lacks a declared column.
        """

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        """The first ``limit`` records, in chunks of at most ``size`` records."""


class BadRecord(NamedTuple):
    """A record that does not fit: its position among the given records, and all its faults."""

    position: int
    reasons: list[str]


def join_reasons(reasons: Sequence[str]) -> str:
    more = len(reasons) - MOST_EXAMPLES
    return "; ".join([*reasons[:MOST_EXAMPLES], *([f"and {more} more"] if more > 0 else [])])


def cut(text: str) -> str:
    """A raw record as a reject shows it: at most ``MOST_TEXT`` characters, invalid UTF-8 replaced."""
    shown = text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
    return shown.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def refuse_missing(label: str, names_there: Sequence[str], columns: Sequence[Column], hint: str = "") -> None:
    """Refuse data that lack a required column, have an optional one under a similar name, or have no declared column.

    Args:
        names_there: the names of the data's columns.

    Raises:
        SourceError: the error names the missing columns.
    """
    there = set(names_there)
    lacking = [column for column in columns if column.name_in_data not in there]
    meant = names_meant(names_there, lacking)
    refused = [column for column in lacking if not column.may_lack or column.name_in_data in meant]
    if len(lacking) == len(columns):
        refused = lacking
    if refused:
        names = listed([column.name_in_data for column in refused], MOST_EXAMPLES)
        raise SourceError(f"{label} has no column {names}", hint or missing_hint(refused, names_there, meant))


def names_meant(names_there: Sequence[str], lacking: Sequence[Column]) -> dict[str, str]:
    """The name in the data that is nearly that of a column which the data lack, by the column's name in the data."""
    if not lacking:
        return {}
    near = {nearly(name): name for name in names_there}
    return {
        column.name_in_data: near[nearly(column.name_in_data)]
        for column in lacking
        if nearly(column.name_in_data) in near
    }


def missing_hint(refused: Sequence[Column], names_there: Sequence[str], meant: dict[str, str]) -> str:
    """The names that may be meant: those that are nearly the declared ones, else the nearest of the first column."""
    names = [column.name_in_data for column in refused]
    pairs = [f'in place of {name}, did you mean "{meant[name]}"?' for name in names if name in meant]
    if pairs:
        one = next(meant[name] for name in names if name in meant)
        return f'{listed(pairs, MOST_EXAMPLES, " ")} then say from = "{one}" in the table of the column'
    spare = [name for name in names_there if name not in names]
    return f"in place of {names[0]}, {did_you_mean(names[0], spare or names_there)}"


def without_column(column: Column) -> str:
    """What it means that no record has the column."""
    if not column.may_lack:
        return "no row fits without it"
    return "every value is " + ("missing" if column.optional else f"the default, {column.cleaning.default!r}")


def absent_notes(
    label: str, names_there: Sequence[str], columns: Sequence[Column], key: str, lacks: str = "has no column"
) -> list[Fault]:
    """A note for each column that the data lack altogether.

    Args:
        names_there: the names of the data's columns.
        key: the path of the data in the pipeline file.
    """
    there = set(names_there)
    spare = sorted(there - {column.name_in_data for column in columns})
    return [
        Fault(
            f"{key}.columns.{column.name}",
            f"{label} {lacks} {column.name_in_data}: {without_column(column)}",
            "",
            did_you_mean(column.name_in_data, spare),
        )
        for column in columns
        if column.name_in_data not in there
    ]


def nearly(name: str) -> str:
    """What names that are nearly the same have in common: letters in any form and case, without blanks and
    underscores."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().replace("_", "").split())
