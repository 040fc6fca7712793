"""The source and the side tables: data read in order and in constant memory, from files or a built-in sample."""

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

from tidemill.errors import Fault, InputError, SourceError
from tidemill.pipeline import Column, Data, Format, Pipeline, SideTable, Source, arrow_schema, unique
from tidemill.samples import Sample, find_sample
from tidemill.sources.arrow_values import check_schema, convert
from tidemill.sources.chunk import Beginning, Chunk, Readable, Reject
from tidemill.sources.readers.csv import CsvFile
from tidemill.sources.readers.jsonl import JsonFile
from tidemill.sources.readers.opening import SourceFile, read_errors, refuse_changed, source_file
from tidemill.sources.readers.parquet import ParquetFile
from tidemill.texts import did_you_mean, shorten

__all__ = ["Chunk", "Reject", "SourceReader", "open_any", "open_source", "open_tables"]

FORM = "content:"  # prefix of fingerprints that do not cover file names
NO_DATA = "none"  # the fingerprint of a source that only takes rows by HTTP
ENDS = 2**20  # how many bytes at each end of a file its fingerprint covers


@dataclass(frozen=True)
class SourceReader:
    """Data that are known to be readable.

    Attributes:
        title: their name in messages.
        key: their path in the pipeline file.
        fingerprint: identifies the data: a sha256 over the size, the first and the last MiB of each file, in the order
            in which they are read, so that it does not depend on where the files are. For a sample, over its name,
            version and number of rows.
        parts: the files, or the sample, in order.
        limit: how many records are read, rejects included.
        older: the fingerprint that earlier versions recorded for the same data; it covered the files' names too.
        files: the files of ``parts``.
        list_files: lists the files again.
        columns: the declared columns.
        notes: what the beginning of the data shows that may not be meant so; one of each setting.
    """

    title: str
    key: str
    fingerprint: str
    parts: tuple[Readable, ...]
    limit: int
    older: str = ""
    files: tuple[SourceFile, ...] = ()
    list_files: Callable[[], list[Path]] = list
    columns: tuple[Column, ...] = ()
    notes: tuple[Fault, ...] = ()

    def chunks(self, size: int = 50_000) -> Iterator[Chunk]:
        """All records in order, at most ``size`` per chunk. Every call starts from the first record.

        Raises:
            SourceError: a file is damaged, or changes while it is read; no chunk that was read after the change is
                given.
        """
        left = self.limit
        for part in self.parts:
            for chunk in part.read(size, left) if left else ():
                left -= len(chunk)
                yield chunk

    def refuse_other(self, fingerprint: str) -> None:
        """Refuse data that differ from those that the run started with.

        Raises:
            SourceError: their fingerprint is another.
        """
        if fingerprint not in (self.fingerprint, self.older):
            role = "source" if self.key == "source" else f"table {self.key.removeprefix('tables.')}"
            raise SourceError(
                f"{self.title} is not the {role} that this run started with",
                "put the old one back, give another --run-dir, or --fresh to start over",
            )

    def refuse_changed(self) -> None:
        """Refuse files that changed, appeared or vanished after the data were opened.

        Raises:
            SourceError: there are some; the error says what changed.
        """
        for file in self.files:
            refuse_changed(file)
        paths = [file.path for file in self.files]
        added = [str(path) for path in self.list_files() if path not in paths]
        if added:
            raise SourceError(
                f"{shorten(added)} appeared while {self.title} was read",
                "move files that do not belong to it elsewhere, and start the run again",
            )

    def nothing_fits(self, example: str) -> SourceError:
        """The error for data whose records are all rejected; ``example`` describes the first reject."""
        return SourceError(f"no row of {self.title} fits the declared columns{example}", f"see [{self.key}.columns]")


@dataclass(frozen=True)
class SampleRows:
    """A sample as a source; ``key`` is its path in the pipeline file."""

    sample: Sample
    columns: Sequence[Column]
    key: str

    def check(self) -> Beginning:
        label = f"the sample {self.sample.name}"
        return Beginning(True, check_schema(label, arrow_schema(self.sample.columns), self.columns, self.key))

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        first = 1
        for table in self.sample.chunks(limit, size):
            yield convert(table, self.columns, self.sample.name, first)
            first += len(table)


@dataclass(frozen=True)
class WatchedFile:
    """A file that must not change from when it was found until it has been read."""

    file: SourceFile
    content: Readable

    def check(self) -> Beginning:
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
        """Refuse a file that changed, also where the change looks like damage."""
        try:
            yield
        except SourceError:
            refuse_changed(self.file)
            raise
        refuse_changed(self.file)


def open_source(pipeline: Pipeline, folder: Path) -> SourceReader:
    """Open the pipeline's source; a relative path or glob starts at ``folder``.

    Raises:
        SourceError: it is missing, empty, unreadable, of an unknown kind, or without a declared column.
    """
    return open_data(pipeline.source, folder, "source")


def open_tables(pipeline: Pipeline, folder: Path) -> Mapping[str, SourceReader]:
    """Open the pipeline's side tables, by name.

    Raises:
        SourceError: as for :func:`open_source`; the error names the table.
    """
    return {name: open_table(name, table, folder) for name, table in pipeline.tables.items()}


def open_any(key: str, data: Data, folder: Path) -> SourceReader:
    """Open the source or a side table; ``key`` is its path in the pipeline file.

    Raises:
        SourceError: as for :func:`open_source` and :func:`open_tables`.
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
    if not data.has_data:
        return SourceReader("the source, which has no data", key, NO_DATA, (), 0)
    return open_sample(data, key) if data.sample is not None else open_files(data, folder, key)


def open_sample(data: Data, key: str) -> SourceReader:
    try:
        sample = find_sample(data.sample or "")
    except InputError as error:
        raise SourceError(error.message, error.hint) from error
    rows = most_rows(data) or sample.default_rows
    part = SampleRows(sample, data.schema_, key)
    notes = part.check().notes
    digest = hashlib.sha256(f"{sample.name} {sample.version} {rows}".encode()).hexdigest()
    return SourceReader(
        f"the sample {sample.name}", key, digest, (part,), rows, columns=data.schema_, notes=tuple(notes)
    )


def most_rows(data: Data) -> int | None:
    return data.rows if isinstance(data, Source) else None


def open_files(data: Data, folder: Path, key: str) -> SourceReader:
    files = find_files(data, folder, key)
    parts = tuple(WatchedFile(file, READERS[file.format](file, data, key)) for file in files)
    beginnings = [part.check() for part in parts]
    title = files[0].label if len(files) == 1 else f"{data.path} ({len(files)} files)"
    if not any(beginning.has_records for beginning in beginnings):
        raise SourceError(f"{title} has no rows", "give a file with at least one row of data")
    now, older = fingerprints(files)
    again = partial(list_files, data.path or "", folder)
    notes = unique([*unused_notes(data, files, key), *(note for beginning in beginnings for note in beginning.notes)])
    most = most_rows(data) or sys.maxsize
    return SourceReader(title, key, now, parts, most, older, tuple(files), again, data.schema_, tuple(notes))


CSV_ALONE = ("header", "delimiter", "quote", "escape", "trim", "skip", "comment")


def unused_notes(data: Data, files: Sequence[SourceFile], key: str) -> list[Fault]:
    """The settings that no file makes use of: those of a layout that only CSV has, and the encoding of Parquet."""
    formats = {file.format for file in files}
    unused = [*(CSV_ALONE if "csv" not in formats else ()), *(["encoding"] if formats == {"parquet"} else ())]
    given = [name for name in unused if name in data.model_fields_set]
    what = "Parquet" if formats == {"parquet"} else "JSON"
    return [Fault(f"{key}.{name}", f"has no effect: {files[0].label} is {what}", "", "leave it out") for name in given]


READERS: dict[Format, Callable[[SourceFile, Data, str], Readable]] = {
    "csv": CsvFile,
    "jsonl": lambda file, data, key: JsonFile(file, data.schema_),
    "json": lambda file, data, key: JsonFile(file, data.schema_),
    "parquet": lambda file, data, key: ParquetFile(file, data.schema_, key),
}


def find_files(data: Data, folder: Path, key: str) -> list[SourceFile]:
    """The files of ``data``, each with its format and its name relative to the files' common folder."""
    paths = list_files(data.path or "", folder)
    top = os.path.commonpath([file.parent for file in paths])
    return [source_file(file, file.relative_to(top).as_posix(), data, key) for file in paths]


def list_files(path: str, folder: Path) -> list[Path]:
    """The file at ``path``, or the files that match it as a glob, part-2 before part-10.

    Raises:
        SourceError: there is none.
    """
    path = os.path.expanduser(path)
    whole = folder / path
    if glob.has_magic(path) and not os.path.lexists(whole):
        names = set(
            glob.glob(path, root_dir=folder, recursive=True)
        )  # a glob with several ** gives a file several times
        files = [file for name in names if not os.path.isdir(file := folder / name)]
        if not files:
            raise SourceError(f"no file matches {whole}", "check the glob")
    else:
        refuse_missing_file(whole)
        files = [whole]
    for file in files:
        refuse_other_than_file(file)
    return sorted(files, key=lambda file: (natural(file), str(file)))


def refuse_missing_file(path: Path) -> None:
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder", f'give a file in it, or a glob such as "{path.name}/*.csv"')
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"no file {path}", missing_file_hint(path)) from None
    except OSError as error:
        raise SourceError(
            f"can't read {path}: {error.strerror}", "check that you may read it and its folder"
        ) from error


def missing_file_hint(path: Path) -> str:
    """The hint for a path without a file: the files in its folder that may be meant."""
    try:
        with os.scandir(path.parent) as entries:
            files = sorted(entry.name for entry in entries if entry.is_file())
    except OSError:
        return "check that its folder exists and that you may read it"
    return did_you_mean(path.name, files) or "check the path: there is no file in its folder"


def refuse_other_than_file(path: Path) -> None:
    """Refuse a pipe, a device or a socket: it can't be read twice, and may never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # opening it raises the reason
    if not stat.S_ISREG(mode):
        raise SourceError(f"{path} is not a regular file", "write its content to a file, and give that file")


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts part-2 before part-10."""
    pieces = re.findall(r"([0-9]+)|([^0-9]+)", str(path))
    return [(int(digits), "") if digits else (-1, text) for digits, text in pieces]


def fingerprints(files: Sequence[SourceFile]) -> tuple[str, str]:
    """The fingerprint of these files, and the one that earlier versions would have recorded."""
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
