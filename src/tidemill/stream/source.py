"""The source: a data set read in order and in constant memory, from files or from a built-in sample."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import InputError, SourceError, did_you_mean
from tidemill.rows import arrow_schema
from tidemill.samples import Sample, find_sample
from tidemill.spec import Column, Pipeline, Source
from tidemill.stream.arrow_values import convert, refuse_types
from tidemill.stream.chunk import Chunk, Readable, Reject, refuse_missing
from tidemill.stream.csv_reader import CsvFile
from tidemill.stream.json_reader import JsonLinesFile
from tidemill.stream.opening import SourceFile, read_errors, source_file
from tidemill.stream.parquet_reader import ParquetFile

__all__ = ["Chunk", "Reject", "SourceReader", "open_source"]

ENDS = 2**20  # of each file, so many bytes at either end are in the fingerprint


@dataclass(frozen=True)
class SourceReader:
    """A source that was found readable. ``title`` names it in messages; ``fingerprint`` changes when its data do.

    The fingerprint is a sha256 over each file's name, size, first and last MiB; a sample's, over its name, version and
    number of rows.
    """

    title: str
    fingerprint: str
    parts: tuple[Readable, ...]
    limit: int

    def chunks(self, size: int = 10_000) -> Iterator[Chunk]:
        """The source's records from the first on, at most ``size`` in a chunk; every call starts anew.

        Where the pipeline says ``source.rows``, only so many records, rejects included.

        Raises:
            SourceError: a file turns out to be damaged on the way.
        """
        left = self.limit
        for part in self.parts:
            for chunk in part.read(size, left) if left else ():
                left -= len(chunk)
                yield chunk


@dataclass(frozen=True)
class SampleRows:
    """A sample as a source."""

    sample: Sample
    columns: Sequence[Column]

    def check(self) -> bool:
        label = f"the sample {self.sample.name}"
        refuse_missing(label, [column.name for column in self.sample.columns], self.columns)
        refuse_types(label, arrow_schema(self.sample.columns), self.columns)
        return True

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        first = 1
        for table in self.sample.chunks(limit, size):
            yield convert(table, self.columns, self.sample.name, first)
            first += len(table)


def open_source(pipeline: Pipeline, folder: Path) -> SourceReader:
    """The pipeline's source; a relative path or glob starts at ``folder``.

    Raises:
        SourceError: it is missing, empty, unreadable, of an unknown kind, or without a declared column.
    """
    source = pipeline.source
    return open_sample(source) if source.sample is not None else open_files(source, folder)


def open_sample(source: Source) -> SourceReader:
    try:
        sample = find_sample(source.sample or "")
    except InputError as error:
        raise SourceError(error.message, error.hint) from error
    rows = source.rows or sample.default_rows
    part = SampleRows(sample, source.schema_)
    part.check()
    digest = hashlib.sha256(f"{sample.name} {sample.version} {rows}".encode()).hexdigest()
    return SourceReader(f"the sample {sample.name}", digest, (part,), rows)


def open_files(source: Source, folder: Path) -> SourceReader:
    files = find_files(source.path or "", folder)
    parts = tuple(reader_of(file, source) for file in files)
    filled = [part.check() for part in parts]
    title = files[0].label if len(files) == 1 else f"{source.path} ({len(files)} files)"
    if not any(filled):
        raise SourceError(f"{title} has no rows", "give a file with at least one row of data")
    return SourceReader(title, fingerprint(files), parts, source.rows or sys.maxsize)


def reader_of(file: SourceFile, source: Source) -> Readable:
    if file.format == "csv":
        if source.delimiter in '"\r\n':
            raise SourceError(f"source.delimiter is {source.delimiter!r}", 'give another, such as "," or ";"')
        return CsvFile(file, source.schema_, source.header, source.delimiter)
    if file.format == "json":
        return JsonLinesFile(file, source.schema_)
    return ParquetFile(file, source.schema_)


def find_files(path: str, folder: Path) -> list[SourceFile]:
    """The file at ``path``, or those that it matches as a glob, part-2 before part-10.

    Raises:
        SourceError: there is none.
    """
    path = os.path.expanduser(path)
    whole = folder / path
    if glob.has_magic(path) and not os.path.lexists(whole):
        found = [folder / name for name in glob.glob(path, root_dir=folder, recursive=True)]
        found = [file for file in found if not os.path.isdir(file)]
        if not found:
            raise SourceError(f"no file matches {whole}", "see that the glob is right")
    else:
        refuse_missing_file(whole)
        found = [whole]
    top = os.path.commonpath([file.parent for file in found])
    return [source_file(file, file.relative_to(top).as_posix()) for file in sorted(found, key=natural)]


def refuse_missing_file(path: Path) -> None:
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder", f'give a file in it, or a glob such as "{path.name}/*.csv"')
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        beside = sorted(os.listdir(path.parent)) if os.path.isdir(path.parent) else []
        hint = did_you_mean(path.name, beside) or "see that its folder is there"
        raise SourceError(f"no file {path}", hint) from None
    except OSError as error:
        raise SourceError(f"can't read {path}: {error.strerror}", "see that you may read it and its folder") from error


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts part-2 before part-10."""
    pieces = re.findall(r"([0-9]+)|([^0-9]+)", str(path))
    return [(int(digits), "") if digits else (-1, text) for digits, text in pieces]


def fingerprint(files: Sequence[SourceFile]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with read_errors(file), file.path.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            digest.update(f"{file.label}\0{size}\0".encode())
            digest.update(opened.read(ENDS))
            opened.seek(max(size - ENDS, 0))
            digest.update(opened.read(ENDS))
    return digest.hexdigest()
