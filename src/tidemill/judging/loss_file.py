"""The file of a look: the losses row by row, so that a later test needs no second scoring."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.judging.losses import Losses
from tidemill.run import files
from tidemill.run.catalog import Evidence
from tidemill.run.failpoints import Steps
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run

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
    """Writes the losses of a look model by model, so that those of one model alone are in memory."""

    def __init__(self, run: Run, batch: int, evidence: Evidence) -> None:
        self.run = run
        self.path = run.judgings / f"{batch:05d}-{evidence}.parquet"
        self._writer: pq.ParquetWriter | None = None

    def add(self, tables: Iterable[pa.Table]) -> None:
        """Write the tables of one model."""
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
        """Move the file to its name, durably; its path and sha256. Neither where no model has losses."""
        if self._writer is None:
            return None, None
        with disk_errors(f"the losses {self.path}"):
            self._writer.close()
            files.publish(files.temporary(self.path), self.path, STEPS)
        return self.run.relative(self.path), files.sha256(self.path)
