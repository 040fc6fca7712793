"""What every kind of source gives: rows of the declared columns, and the records that don't fit, with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa

from tidemill.errors import MOST_EXAMPLES, SourceError, did_you_mean, listed
from tidemill.pipeline import Column

MOST_TEXT = 500
CHUNK_CHARACTERS = 32 * 2**20  # a chunk of long records ends early, so that memory stays bounded
RECORD_CHARACTERS = 2**20  # of a CSV record's fields, a JSON line, a Parquet row's strings: what a message can carry
TOO_LONG = "longer than 1 MiB"


@dataclass(frozen=True)
class Reject:
    """A record that does not fit. ``line`` is its first physical line (in Parquet, its row), from 1."""

    file: str
    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class Chunk:
    """Some records of the source, in order: those that fit (in the types of ``rows.arrow_schema``), and the others."""

    rows: pa.Table
    rejects: tuple[Reject, ...] = ()

    def __len__(self) -> int:
        """How many records these are, rejects included."""
        return len(self.rows) + len(self.rejects)

    def first_reason(self) -> str:
        """The first reject, as the end of a sentence; nothing where there is none."""
        return next((f"; the first, line {one.line}: {one.reason}" for one in self.rejects), "")


class Readable(Protocol):
    """A file or a sample. Every call of ``read`` starts from the first record."""

    def check(self) -> bool:
        """Look at the start; whether there is a record at all.

        Raises:
            SourceError: it can't be read, or lacks a declared column.
        """

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        """The first ``limit`` records, in chunks of at most ``size`` records."""


class BadRecord(NamedTuple):
    """A record that does not fit: its position among those looked at, and all that is wrong with it."""

    position: int
    reasons: list[str]


def join_reasons(reasons: Sequence[str]) -> str:
    more = len(reasons) - MOST_EXAMPLES
    return "; ".join([*reasons[:MOST_EXAMPLES], *([f"and {more} more"] if more > 0 else [])])


def cut(text: str) -> str:
    """A raw record as a reject shows it: bytes that are no UTF-8 replaced, at most ``MOST_TEXT`` characters."""
    shown = text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
    return shown.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def refuse_missing(label: str, found: Sequence[str], columns: Sequence[Column], hint: str = "") -> None:
    """Raise where the data lack a declared column that they may not lack, or have it by nearly the same name.

    Raises:
        SourceError: as said; also where not one of the declared columns is there.
    """
    lacking = [column for column in columns if column.name not in found]
    declared = {column.name for column in columns}
    spare = [name for name in found if name not in declared]
    meant = {bare_name(name): name for name in spare}
    refused = [one for one in lacking if not one.may_lack or bare_name(one.name) in meant]
    if len(lacking) == len(columns):
        refused = lacking
    if refused:
        first = refused[0].name
        names = listed([column.name for column in refused], MOST_EXAMPLES)
        likely = meant.get(bare_name(first))
        instead = f'did you mean "{likely}"?' if likely is not None else did_you_mean(first, spare or found)
        raise SourceError(f"{label} has no column {names}", hint or f"in place of {first}, {instead}")


def bare_name(name: str) -> str:
    """A name without what is easily written otherwise: upper case, blanks and underscores."""
    return "".join(name.casefold().replace("_", "").split())
