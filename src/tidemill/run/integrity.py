"""The files that the catalog names, read only once they are seen to be what it says."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from tidemill.errors import CatalogError
from tidemill.run.catalog import Batch, SideTableRecord
from tidemill.run.files import sha256
from tidemill.run.folder import AT_ONCE, Run

if TYPE_CHECKING:
    import pyarrow as pa


def check_batch(run: Run, batch: Batch, content: bool = True) -> None:
    """See that a sealed batch's file is there, in its size, and with its sha256.

    A file that was found good is read again only once its inode, size or time of change is another.

    Args:
        content: whether to look at the sha256 too.

    Raises:
        CatalogError: it is not what the catalog says; the error names it.
    """
    try:
        what = difference(run, batch, content)
    except OSError as error:
        what = f"can't be read: {error.strerror}"
    if what:
        raise CatalogError(
            f"the file of sealed batch {batch.batch}, {batch.path}, {what}",
            "put the file back as it was, or begin the run anew with --fresh",
        )


def difference(run: Run, batch: Batch, content: bool) -> str | None:
    """What is wrong with a sealed batch's file; None where it is what the catalog says."""
    path = run.folder / batch.path
    if not path.is_file():
        return "is missing"
    found = path.stat()
    if found.st_size != batch.bytes:
        return f"has {found.st_size} bytes, the catalog says {batch.bytes}"
    seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
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
    """The rows of the pipeline's side table ``name``, in the types of ``rows.arrow_schema``, each key once.

    Raises:
        CatalogError: the producer has not read it yet, or its file is not what the catalog says; the error names it.
    """
    import pyarrow.parquet as pq  # not above: who only looks at a run need not wait for it

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


def damaged_table(table: SideTableRecord, what: str) -> CatalogError:
    return CatalogError(
        f"the file of the table {table.name}, {table.path}, {what}",
        "put the file back as it was, or begin the run anew with --fresh",
    )
