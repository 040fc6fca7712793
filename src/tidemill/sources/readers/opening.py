"""Source files: their format, which the ending of their name tells where none is given, and opening them."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, get_args

import pyarrow as pa

from tidemill.errors import SourceError
from tidemill.pipeline import Data, Format
from tidemill.texts import printable

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BUFFER = 2**20


class Stamp(NamedTuple):
    """Properties of a file that change when it is written to or replaced."""

    bytes: int
    modified_ns: int
    inode: int


class SourceFile(NamedTuple):
    """A file of the source.

    ``label`` is its name in messages and rejects; ``stamp`` its properties when it was found, None if unreadable;
    ``encoding`` that of its text; ``key`` the path of its data in the pipeline file.
    """

    path: Path
    label: str
    format: Format
    compression: str | None
    stamp: Stamp | None = None
    encoding: str = "utf-8"
    key: str = "source"


def stamp_of(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino)


def refuse_changed(file: SourceFile) -> None:
    """Refuse a file that has changed since it was found: its rows may be inconsistent.

    Raises:
        SourceError: it has; the error says how.
    """
    now = stamp_of(file.path)
    if file.stamp is None or now == file.stamp:
        return
    raise SourceError(
        f"{file.label} {change(file.stamp, now)} while it was read",
        "check that nothing writes to it, restore it if its rows have changed, and start the run again",
    )


def change(before: Stamp, now: Stamp | None) -> str:
    """The change of a file, as the end of a sentence that starts with its name."""
    if now is None:
        return "was removed"
    if now.inode != before.inode:
        return "was replaced by another file"
    if now.bytes != before.bytes:
        return f"{'grew' if now.bytes > before.bytes else 'shrank'} from {before.bytes} to {now.bytes} bytes"
    return "was written to"


def source_file(path: Path, label: str, data: Data, key: str) -> SourceFile:
    """The file of ``data`` at ``path``; ``key`` is the path of these data in the pipeline file.

    Raises:
        SourceError: no format is given, and the ending of its name is not that of a known one.
    """
    compression = COMPRESSIONS.get(path.suffix.lower())
    ending = (path.with_suffix("") if compression else path).suffix.lower()
    form = data.format or FORMATS.get(ending)
    if form is None or (compression and form == "parquet"):
        raise SourceError(
            f"can't tell the format of {label} from its ending" if form is None else f"{label} is compressed Parquet",
            f"set {key}.format to one of {', '.join(get_args(Format))}, or give a file whose name ends in one of "
            f"{', '.join(FORMATS)}; those of text also with .gz or .zst",
        )
    return SourceFile(path, printable(label), form, compression, stamp_of(path), data.encoding, key)


@contextmanager
def open_bytes(file: SourceFile) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed.

    Raises:
        SourceError: it can't be opened, or can't be read to its end.
    """
    with read_errors(file):
        if file.compression is None:
            with file.path.open("rb", buffering=BUFFER) as plain:
                yield plain
        elif file.path.stat().st_size == 0:
            yield io.BytesIO()  # an empty file is not a truncated archive
        else:
            # opened here, as Arrow opens only paths that are UTF-8
            with file.path.open("rb") as packed, pa.input_stream(packed, compression=file.compression) as unpacked:
                yield io.BufferedReader(unpacked, BUFFER)


@contextmanager
def read_errors(file: SourceFile) -> Iterator[None]:
    """Turn the system's errors about reading a file into one with a hint.

    Raises:
        SourceError: in place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOENT: "check that the path is right; a relative one starts at the pipeline file's folder",
            errno.EACCES: "check that you may read it",
            errno.EISDIR: f"give a file, or a glob such as {file.label}/*.csv",
        }
        damaged = (
            "the file is damaged or was cut off: fetch or pack it again"
            if file.compression
            else "check that it is complete"
        )
        reason = error.strerror or str(error)
        raise SourceError(f"can't read {file.label}: {reason}", hints.get(error.errno or 0, damaged)) from error
