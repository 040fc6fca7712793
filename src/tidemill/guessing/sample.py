"""The part of a data file that is looked at: its head, middle and end, never the whole of a large file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tidemill.errors import SourceError
from tidemill.sources.readers.opening import COMPRESSIONS, FORMATS, SourceFile, open_bytes, read_errors, stamp_of
from tidemill.texts import printable

HEAD = 2**20  # bytes of the head; files up to this size are looked at as a whole
PIECE = 2**18  # bytes of the middle, and about as many of the end
# The first bytes of files that are no text, what such a file is, and the way out.
MAGIC = (
    (b"PK\x03\x04", "a zip archive", "unpack it, and give the file in it"),
    (b"\xd0\xcf\x11\xe0", "an Excel or other Office file (.xls)", "save it as CSV (UTF-8) and give that file"),
    (b"%PDF", "a PDF document", "give the table behind it, as CSV, JSON Lines or Parquet"),
    (b"SQLite format 3", "an SQLite database", "export a table: sqlite3 -header -csv FILE 'select * from NAME'"),
    (b"Obj\x01", "an Avro file", "convert it to Parquet or JSON Lines"),
    (b"ORC", "an ORC file", "convert it to Parquet"),
    (b"ARROW1", "an Arrow (Feather) file", "convert it to Parquet"),
    (b"\x89PNG", "a picture", "give a table: CSV, JSON Lines or Parquet"),
    (b"\xff\xd8\xff", "a picture", "give a table: CSV, JSON Lines or Parquet"),
    (b"GIF8", "a picture", "give a table: CSV, JSON Lines or Parquet"),
    (b"\x1f\x8b", "packed with gzip", "give it a name that ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "give it a name that ends in .zst"),
    (b"BZh", "packed with bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ", "packed with xz", "unpack it with unxz"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it, and give the file in it"),
    (b"Rar!", "a RAR archive", "unpack it, and give the file in it"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the data", "fetch the file with: git lfs pull"),
)  # fmt: skip
MARKUP = (
    (b"<!doctype html", "a web page (HTML), not data", "give the address of the file itself to your download"),
    (b"<html", "a web page (HTML), not data", "give the address of the file itself to your download"),
    (b"<?xml", "an XML document", "convert it to JSON Lines or CSV"),
)
PARQUET = b"PAR1"


class FileSample(NamedTuple):
    """A file and what was read of it.

    Attributes:
        size: bytes in the file, unpacked; None where it is packed and was not read to its end.
        pieces: the head, and the middle and the end where the file is larger.
    """

    file: SourceFile
    size: int | None
    pieces: tuple[bytes, ...]

    @property
    def whole(self) -> bool:
        return self.size == len(self.pieces[0])

    @property
    def is_parquet(self) -> bool:
        return self.pieces[0].startswith(PARQUET)


def read_sample(path: Path) -> FileSample:
    """What is looked at of the file at ``path``.

    Raises:
        SourceError: it is empty, can't be read, or is of a kind that holds no table.
    """
    # The format is guessed from the content; its place in the record is filled by the caller that opens it again.
    file = SourceFile(path, printable(path.name), "csv", COMPRESSIONS.get(path.suffix.lower()), stamp_of(path))
    sample = packed_sample(file) if file.compression else plain_sample(file)
    if not sample.pieces[0].strip():
        raise SourceError(f"{file.label} is empty", "give a file with at least one row of data")
    refuse_other_kinds(sample)
    return sample


def packed_sample(file: SourceFile) -> FileSample:
    with open_bytes(file) as opened:
        head = opened.read(HEAD)
        return FileSample(file, None if opened.read(1) else len(head), (head,))


def plain_sample(file: SourceFile) -> FileSample:
    with read_errors(file), file.path.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        pieces = [opened.read(HEAD)]
        for start, end in later_pieces(size):
            opened.seek(start)
            pieces.append(opened.read(end - start))
    return FileSample(file, size, tuple(pieces))


def later_pieces(size: int) -> list[tuple[int, int]]:
    """Where the pieces after the head of a file of ``size`` bytes start and end. None overlap, and the last one ends
    with the file."""
    if size <= HEAD + 2 * PIECE:
        return [(HEAD, size)] if size > HEAD else []
    middle, last = max(HEAD, size // 2 // 4 * 4), (size - PIECE) // 4 * 4  # UTF-32 has units of 4 bytes
    return [(middle, middle + PIECE), (last, size)]


def refuse_other_kinds(sample: FileSample) -> None:
    """Refuse a file that is known to hold no table of rows.

    Raises:
        SourceError: it says what the file is, and the way out.
    """
    head, label = sample.pieces[0], sample.file.label
    if head.startswith(b"PK\x03\x04") and (
        b"xl/" in head[:4000] or sample.file.path.suffix.lower() in (".xlsx", ".xlsm")
    ):
        raise SourceError(f"{label} is an Excel workbook", "save its sheet as CSV (UTF-8) and give that file")
    for magic, what, hint in MAGIC:
        if head.startswith(magic):
            raise SourceError(f"{label} is {what}", hint)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
    for magic, what, hint in MARKUP:
        if start.startswith(magic):
            raise SourceError(f"{label} is {what}", hint)


def known_format(path: Path) -> str | None:
    """The format that the ending of a file's name says; None where it says none."""
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return FORMATS.get(bare.suffix.lower())
