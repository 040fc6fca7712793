"""Data files of any format, told by their content."""

from __future__ import annotations

from pathlib import Path

from tidemill.guessing.csv_files import guess_csv
from tidemill.guessing.guess import FileGuess
from tidemill.guessing.json_files import guess_json, looks_like_json
from tidemill.guessing.parquet_files import guess_parquet
from tidemill.guessing.sample import read_sample
from tidemill.sources.source import list_files


def guess_files(path: str) -> FileGuess:
    """What the file at ``path``, or the files of a glob, are like.

    Raises:
        SourceError: there is none, or it holds no table that can be read.
    """
    files = list_files(path, Path.cwd())
    sample = read_sample(files[0])
    if sample.is_parquet:
        return guess_parquet(files, sample)
    return guess_json(files, sample) if looks_like_json(sample) else guess_csv(files, sample)
