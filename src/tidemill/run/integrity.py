"""Checks that files match the catalog before they are read."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from tidemill.errors import CatalogError, Gone
from tidemill.run.catalog import Batch, GenerationRef, SideTableRecord
from tidemill.run.files import sha256
from tidemill.run.folder import AT_ONCE, Run

if TYPE_CHECKING:
    import pyarrow as pa


def check_batch(run: Run, batch: Batch, content: bool = True) -> None:
    """Check that a sealed batch's file exists and has the recorded size and sha256.

    A file that passed is hashed again only after its inode, size or time of change has changed.

    Args:
        content: whether to check the sha256 too.

    Raises:
        Gone: the file was removed, as the run keeps only so many.
        CatalogError: the file is not what the catalog says; the error names it.
    """
    try:
        fault = difference(run, batch, content)
    except OSError as error:
        fault = f"can't be read: {error.strerror}"
    if fault or batch.removed_at:
        refuse_removed_batch(run, batch.batch)
    if fault:
        raise CatalogError(
            f"the file of sealed batch {batch.batch}, {batch.path}, {fault}",
            "put the file back as it was, or start over with --fresh",
        )


def refuse_removed_batch(run: Run, number: int) -> None:
    """Raise if the batch's files were removed, by the catalog as it is now.

    Raises:
        Gone: they were.
    """
    batch = run.catalog.batch(number)
    if batch is not None and batch.removed_at:
        raise gone(run, f"batch {number}", batch.removed_at)


def refuse_removed_generation(run: Run, ref: GenerationRef) -> None:
    """Raise if the files of the generation were removed, by the catalog as it is now. Those of a replay never are.

    Raises:
        Gone: they were.
    """
    generation = None if ref.line else run.catalog.generation(ref.number)
    if generation is not None and generation.removed_at:
        raise gone(run, f"generation {ref}", generation.removed_at)


def gone(run: Run, what: str, removed_at: str) -> Gone:
    """The error for what was removed."""
    return Gone(
        f"{what} is gone: its files were removed at {removed_at}, as this run keeps only so much ({run.pipeline.keep})",
        "ask for a newer one; the record of it is in the catalog",
    )


def difference(run: Run, batch: Batch, content: bool) -> str | None:
    """How a sealed batch's file differs from the catalog; None where it does not."""
    path = run.folder / batch.path
    if not path.is_file():
        return "is missing"
    status = path.stat()
    if status.st_size != batch.bytes:
        return f"has {status.st_size} bytes, the catalog says {batch.bytes}"
    seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if not content:
        return None
    with run.looking[batch.batch % AT_ONCE]:
        if run.intact.get(batch.path) == seen:
            return None
        digest = sha256(path)
        if digest != batch.sha256:
            return f"has sha256 {digest}, the catalog says {batch.sha256}"
        run.intact[batch.path] = seen
    return None


def side_table(run: Run, name: str) -> pa.Table:
    """The rows of the pipeline's side table ``name``, in the types of its declared columns, each key once.

    Raises:
        CatalogError: the producer has not read it yet, or its file differs from the catalog; the error names it.
    """
    import pyarrow.parquet as pq  # here: commands that only look at a run start faster without it

    recorded = run.catalog.side_tables().get(name)
    if recorded is None:
        raise CatalogError(f"the table {name} has not been read yet", "the producer reads it when it starts")
    path = run.folder / recorded.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise damaged_table(recorded, f"can't be read: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != recorded.sha256:
        raise damaged_table(recorded, f"has sha256 {digest}, the catalog says {recorded.sha256}")
    return pq.read_table(io.BytesIO(content))


def damaged_table(table: SideTableRecord, fault: str) -> CatalogError:
    return CatalogError(
        f"the file of the table {table.name}, {table.path}, {fault}",
        "put the file back as it was, or start over with --fresh",
    )
