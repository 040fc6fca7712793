"""Data sets read in order and in constant memory, from files or from a built-in sample: the source, and the tables."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tidemill.errors import InputError, SourceError, did_you_mean, shorten
from tidemill.pipeline import Column, Data, Pipeline, SideTable, Source, arrow_schema
from tidemill.samples import Sample, find_sample
from tidemill.sources.arrow_values import convert, refuse_types
from tidemill.sources.chunk import Chunk, Readable, Reject, refuse_missing
from tidemill.sources.readers.csv import CsvFile
from tidemill.sources.readers.jsonl import JsonLinesFile
from tidemill.sources.readers.opening import SourceFile, read_errors, refuse_changed, source_file
from tidemill.sources.readers.parquet import ParquetFile

__all__ = ["Chunk", "Reject", "SourceReader", "open_any", "open_source", "open_tables"]

FORM = "content:"  # before a fingerprint in which no name is
ENDS = 2**20  # of each file, so many bytes at either end are in the fingerprint


@dataclass(frozen=True)
class SourceReader:
    """Data that were found readable. ``title`` names them in messages, ``key`` is where the pipeline file has them;
    ``fingerprint`` changes when the data do.

    The fingerprint is a sha256 over each file's size, first and last MiB, in the order in which they are read, so that
    it doesn't depend on where they are; a sample's, over its name, version and number of rows. ``older`` is the one
    that earlier versions recorded for the same data: the files' names were in it. ``list_files`` looks for them again.
    """

    title: str
    key: str
    fingerprint: str
    parts: tuple[Readable, ...]
    limit: int
    older: str = ""
    files: tuple[SourceFile, ...] = ()
    list_files: Callable[[], list[Path]] = list

    def chunks(self, size: int = 10_000) -> Iterator[Chunk]:
        """The source's records from the first on, at most ``size`` in a chunk; every call starts anew.

        Where the pipeline says ``source.rows``, only so many records, rejects included.

        Raises:
            SourceError: a file turns out to be damaged on the way, or is changed while it is read; no chunk that was
                read after the change is given.
        """
        left = self.limit
        for part in self.parts:
            for chunk in part.read(size, left) if left else ():
                left -= len(chunk)
                yield chunk

    def refuse_other(self, fingerprint: str) -> None:
        """Raise where these are not the data that the run began with, which had that fingerprint."""
        if fingerprint not in (self.fingerprint, self.older):
            what = "source" if self.key == "source" else f"table {self.key.removeprefix('tables.')}"
            raise SourceError(
                f"{self.title} is not the {what} that this run began with",
                "put the old one back, give another --run-dir, or --fresh to begin anew",
            )

    def refuse_changed(self) -> None:
        """Raise where a file was changed, added or taken away since the data were opened.

        Raises:
            SourceError: it says what changed.
        """
        for file in self.files:
            refuse_changed(file)
        paths = [file.path for file in self.files]
        added = [str(path) for path in self.list_files() if path not in paths]
        if added:
            raise SourceError(
                f"{shorten(added)} appeared while {self.title} was read",
                "move what does not belong to it elsewhere, and start the run again",
            )

    def nothing_fits(self, example: str) -> SourceError:
        """The error for data of which every record is a reject; ``example`` tells of the first."""
        return SourceError(f"no row of {self.title} fits the declared columns{example}", f"see [{self.key}.columns]")


@dataclass(frozen=True)
class SampleRows:
    """A sample as a source; ``key`` is where the pipeline file has it."""

    sample: Sample
    columns: Sequence[Column]
    key: str

    def check(self) -> bool:
        label = f"the sample {self.sample.name}"
        refuse_missing(label, [column.name for column in self.sample.columns], self.columns)
        refuse_types(label, arrow_schema(self.sample.columns), self.columns, self.key)
        return True

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        first = 1
        for table in self.sample.chunks(limit, size):
            yield convert(table, self.columns, self.sample.name, first)
            first += len(table)


@dataclass(frozen=True)
class WatchedFile:
    """A file that must stay what it was when it was found for as long as it is read."""

    file: SourceFile
    content: Readable

    def check(self) -> bool:
        with self._watched():
            return self.content.check()

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        chunks = self.content.read(size, limit)
        while True:
            with self._watched():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Raise where the file changed, also in place of the damage that this looks like."""
        try:
            yield
        except SourceError:
            refuse_changed(self.file)
            raise
        refuse_changed(self.file)


def open_source(pipeline: Pipeline, folder: Path) -> SourceReader:
    """The pipeline's source; a relative path or glob starts at ``folder``.

    Raises:
        SourceError: it is missing, empty, unreadable, of an unknown kind, or without a declared column.
    """
    return open_data(pipeline.source, folder, "source")


def open_tables(pipeline: Pipeline, folder: Path) -> Mapping[str, SourceReader]:
    """The pipeline's side tables by name, each opened as :func:`open_source` does the source.

    Raises:
        SourceError: as there; it names the table.
    """
    return {name: open_table(name, table, folder) for name, table in pipeline.tables.items()}


def open_any(key: str, data: Data, folder: Path) -> SourceReader:
    """The source or a side table, which the pipeline file has under ``key``.

    Raises:
        SourceError: as :func:`open_source` and :func:`open_tables`.
    """
    if isinstance(data, SideTable):
        return open_table(key.removeprefix("tables."), data, folder)
    return open_data(data, folder, key)


def open_table(name: str, table: SideTable, folder: Path) -> SourceReader:
    key = f"tables.{name}"
    path = folder / (table.path or "")
    if table.beside is not None and path.name == table.beside and not os.path.lexists(path):
        raise SourceError(
            f"no file {path}, which the table {name} is read from",
            f"put {table.beside} beside the data, or say where it is: --set {key}.path={Path('/folder', table.beside)}",
        )
    return open_data(table, folder, key)


def open_data(data: Data, folder: Path, key: str) -> SourceReader:
    return open_sample(data, key) if data.sample is not None else open_files(data, folder, key)


def open_sample(data: Data, key: str) -> SourceReader:
    try:
        sample = find_sample(data.sample or "")
    except InputError as error:
        raise SourceError(error.message, error.hint) from error
    rows = most_rows(data) or sample.default_rows
    part = SampleRows(sample, data.schema_, key)
    part.check()
    digest = hashlib.sha256(f"{sample.name} {sample.version} {rows}".encode()).hexdigest()
    return SourceReader(f"the sample {sample.name}", key, digest, (part,), rows)


def most_rows(data: Data) -> int | None:
    return data.rows if isinstance(data, Source) else None


def open_files(data: Data, folder: Path, key: str) -> SourceReader:
    files = find_files(data.path or "", folder)
    parts = tuple(WatchedFile(file, reader_of(file, data, key)) for file in files)
    filled = [part.check() for part in parts]
    title = files[0].label if len(files) == 1 else f"{data.path} ({len(files)} files)"
    if not any(filled):
        raise SourceError(f"{title} has no rows", "give a file with at least one row of data")
    now, older = fingerprints(files)
    again = partial(list_files, data.path or "", folder)
    return SourceReader(title, key, now, parts, most_rows(data) or sys.maxsize, older, tuple(files), again)


def reader_of(file: SourceFile, data: Data, key: str) -> Readable:
    if file.format == "csv":
        return CsvFile(file, data, key)
    if file.format == "json":
        return JsonLinesFile(file, data.schema_)
    return ParquetFile(file, data.schema_, key)


def find_files(path: str, folder: Path) -> list[SourceFile]:
    """As :func:`list_files`, each with its kind and its name below the folder that they share."""
    found = list_files(path, folder)
    top = os.path.commonpath([file.parent for file in found])
    return [source_file(file, file.relative_to(top).as_posix()) for file in found]


def list_files(path: str, folder: Path) -> list[Path]:
    """The file at ``path``, or those that it matches as a glob, part-2 before part-10.

    Raises:
        SourceError: there is none.
    """
    path = os.path.expanduser(path)
    whole = folder / path
    if glob.has_magic(path) and not os.path.lexists(whole):
        names = set(glob.glob(path, root_dir=folder, recursive=True))  # with several ** it gives a file several times
        found = [file for name in names if not os.path.isdir(file := folder / name)]
        if not found:
            raise SourceError(f"no file matches {whole}", "see that the glob is right")
    else:
        refuse_missing_file(whole)
        found = [whole]
    for file in found:
        refuse_other_than_file(file)
    return sorted(found, key=lambda file: (natural(file), str(file)))


def refuse_missing_file(path: Path) -> None:
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder", f'give a file in it, or a glob such as "{path.name}/*.csv"')
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"no file {path}", missing_file_hint(path)) from None
    except OSError as error:
        raise SourceError(f"can't read {path}: {error.strerror}", "see that you may read it and its folder") from error


def missing_file_hint(path: Path) -> str:
    """What may have been meant by a path where there is nothing: one of the files in its folder."""
    try:
        with os.scandir(path.parent) as entries:
            files = sorted(entry.name for entry in entries if entry.is_file())
    except OSError:
        return "see that its folder is there, and that you may read it"
    return did_you_mean(path.name, files) or "see that the path is right: there is no file in its folder"


def refuse_other_than_file(path: Path) -> None:
    """Raise where ``path`` leads to a pipe, a device or a socket: they can't be read twice, and may never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # opening it tells why
    if not stat.S_ISREG(mode):
        raise SourceError(f"{path} is no regular file", "write what it holds to a file, and give that one")


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts part-2 before part-10."""
    pieces = re.findall(r"([0-9]+)|([^0-9]+)", str(path))
    return [(int(digits), "") if digits else (-1, text) for digits, text in pieces]


def fingerprints(files: Sequence[SourceFile]) -> tuple[str, str]:
    """The fingerprint of these files, and the one that earlier versions recorded."""
    digest, older = hashlib.sha256(), hashlib.sha256()
    for file in files:
        with read_errors(file), file.path.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            ends = opened.read(ENDS)
            opened.seek(max(size - ENDS, 0))
            ends += opened.read(ENDS)
        refuse_changed(file)
        digest.update(f"{size}\0".encode() + ends)
        older.update(f"{file.label}\0{size}\0".encode() + ends)
    return FORM + digest.hexdigest(), older.hexdigest()
