"""What is known of data files after a look at a part of them, whatever their format is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tidemill.guessing.columns import ColumnGuess
from tidemill.guessing.sample import FileSample

MOST_VALUES = 1_000_000  # that are looked at, of all columns together
MOST_ROWS = 50_000
FEWEST_ROWS = 200
BLOCKS = 10  # in which rows are taken of a part that has more
T = TypeVar("T")


@dataclass(frozen=True)
class FileGuess:
    """What a file is like, or several of one layout.

    Attributes:
        files: in the order in which they will be read; none where a topic is.
        settings: the keys of ``[source]`` that are to be written, without ``path`` and ``columns``.
        reasons: why, by setting.
        columns: those that are declared, in the file's order.
        undeclared: the others by what the file calls them, with the reason.
        looked_at: how many rows.
        rows: how many there are; where not all were looked at, about; None where that is unknown.
        exact: whether ``rows`` were counted.
        whole: whether all rows were looked at.
        notes: what else was seen, in sentences.
        title: what the data are called in sentences, where that is not the files' names.
    """

    files: tuple[Path, ...]
    settings: Mapping[str, Any]
    reasons: Mapping[str, str]
    columns: tuple[ColumnGuess, ...]
    undeclared: Mapping[str, str]
    looked_at: int
    rows: int | None
    exact: bool
    whole: bool
    notes: tuple[str, ...] = ()
    title: str = ""

    @property
    def called(self) -> str:
        """What the data are called in sentences."""
        return self.title or (f"{len(self.files)} files" if len(self.files) > 1 else self.files[0].name)


def most_rows(width: int) -> int:
    """How many rows are looked at of a file with so many columns."""
    return max(FEWEST_ROWS, min(MOST_ROWS, MOST_VALUES // max(1, width)))


def other_files(files: Sequence[Path]) -> list[Path]:
    """Of several files, the middle and the last one, whose heads are looked at too."""
    return list(dict.fromkeys([files[len(files) // 2], files[-1]])) if len(files) > 2 else list(files[1:])


def shared_out(parts: Sequence[Sequence[T]], most: int) -> list[T]:
    """The rows to look at: the same number of each part after the first, and of the first one for the rest."""
    parts = [part for part in parts if part]
    if not parts:
        return []
    share = most // 2 // max(1, len(parts) - 1)
    later = [row for part in parts[1:] for row in spread(part, share)]
    return [*spread(parts[0], most - len(later)), *later]


def spread(rows: Sequence[T], most: int) -> list[T]:
    """About ``most`` rows, in blocks of neighbours at equal distances: a file may be sorted by a column, whose later
    values the first rows do not have."""
    if len(rows) <= most:
        return list(rows)
    size = max(1, most // BLOCKS)
    starts = [index * (len(rows) - size) // (BLOCKS - 1) for index in range(BLOCKS)]
    return [row for start in starts for row in rows[start : start + size]]


def rows_of_size(sample: FileSample, in_head: int, looked_at: int) -> int | None:
    """How many rows a file has by the number in its head; None where its size is unknown."""
    if sample.size is None or not in_head:
        return None
    return in_head if sample.whole else max(looked_at, round(sample.size * in_head / len(sample.pieces[0])))
