"""The file of a look: the losses row by row, so that a later test needs no second scoring.

Its name carries its content, so that the record of a look always names the file that belongs to it: a look that is
repeated writes another file, and no file is ever changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.judging.losses import Losses
from tidemill.run import files
from tidemill.run.catalog import Evidence
from tidemill.run.failpoints import Steps
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run

DIGITS = 12  # of the sha256, in the name
LOOK = r"[0-9]{5,}-(settled|provisional)"
NAME = re.compile(rf"{LOOK}(-[0-9a-f]+)?\.parquet|\.{LOOK}\.parquet\.tmp")
STEPS = Steps("judging.synced", "judging.renamed", "judging.placed")
SCHEMA = pa.schema(
    {
        "model": pa.dictionary(pa.int8(), pa.string()),
        "generation": pa.int32(),
        "trivial": pa.bool_(),
        "loss_name": pa.dictionary(pa.int8(), pa.string()),
        "unit": pa.int64(),
        "loss": pa.float32(),
    }
)
REPEATED = ["model", "generation", "loss_name"]
ENCODINGS = {"unit": "DELTA_BINARY_PACKED", "loss": "BYTE_STREAM_SPLIT"}  # a third of the size and time of the default


def loss_table(model: str, generation: int, trivial: bool, losses: Losses) -> pa.Table:
    """The rows of one generation's losses, or of its trivial model's. A loss is rounded to seven digits."""
    count = len(losses.values)
    with np.errstate(over="ignore"):  # beyond 3e38 a loss is infinite here; the cell has it
        values = losses.values.astype(np.float32)
    columns = [repeated(model, count), np.full(count, generation), np.full(count, trivial)]
    return pa.table([*columns, repeated(losses.name, count), losses.units, values], schema=SCHEMA)


def repeated(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), [text])


class LossFile:
    """Writes the losses of a look model by model, so that those of one model alone are in memory.

    Within ``with``: where it is left before the file is published, what was written is removed.
    """

    def __init__(self, run: Run, batch: int, evidence: Evidence, line: str = "") -> None:
        self.run = run
        self.path = loss_folder(run, line) / f"{batch:05d}-{evidence}.parquet"
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            with suppress(OSError):  # the error that ends the look is the one to tell; the next judge sweeps
                files.temporary(self.path).unlink(missing_ok=True)
                self._writer.close()

    def add(self, tables: Iterable[pa.Table]) -> None:
        """Write the tables of one model.

        Raises:
            DiskError: the file can't be written.
        """
        listed = list(tables)
        if not listed:
            return
        with disk_errors(f"the losses {self.path}"):
            if self._writer is None:
                files.make_folder(self.path.parent)
                self._writer = self._open(files.temporary(self.path))
            self._writer.write_table(pa.concat_tables(listed))

    def _open(self, path: Path) -> pq.ParquetWriter:
        return pq.ParquetWriter(
            path, SCHEMA, compression="zstd", use_dictionary=REPEATED, column_encoding=ENCODINGS, write_statistics=False
        )

    def publish(self) -> tuple[str, str] | tuple[None, None]:
        """Move the file to its name, durably; its path and sha256. Neither where no model has losses.

        Raises:
            DiskError: the file can't be written.
        """
        if self._writer is None:
            return None, None
        written = files.temporary(self.path)
        with disk_errors(f"the losses {self.path}"):
            self._writer.close()
            sha256 = files.sha256(written)
            final = self.path.with_stem(f"{self.path.stem}-{sha256[:DIGITS]}")
            files.publish(written, final, STEPS)
        return self.run.relative(final), sha256


def loss_folder(run: Run, line: str) -> Path:
    """The folder of a line's loss files; the run's own line is ""."""
    return run.judgings / line


def sweep(run: Run, line: str = "") -> list[str]:
    """Remove the loss files of a line that none of its judgings names; their names. Only who judges the line may.

    They were left by a crash, or replaced when a look was repeated. Not at once then: a backup that began before may
    still copy them.

    Raises:
        DiskError: one can't be removed.
    """
    folder = loss_folder(run, line)
    named = {judging.path for judging in run.catalog.judgings(line)}
    unnamed = [path for path in folder.glob("*") if NAME.fullmatch(path.name) and run.relative(path) not in named]
    with disk_errors(f"the folder {folder}"):
        for path in unnamed:
            path.unlink()
    return sorted(path.name for path in unnamed)
