"""The files in which workers count requests, so that counts add up over all of them, and outlive each.

They are those of the Prometheus client's multiprocess mode, by the workers' numbers in place of process ids: a worker
goes on with the counts of the one that it replaces.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from tidemill.run.files import disk_errors

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # from which the Prometheus client takes the folder
FILE_BYTES = 2**20  # about 4,000 series


@contextmanager
def counts_folder(folder: Path, numbers: Iterable[int]) -> Iterator[Path]:
    """The folder with files for the workers of these numbers, without counts; it is removed at the end.

    The files have their room on the disk from the beginning: a process that writes to a mapped file without room is
    killed.

    Raises:
        DiskError: there is no room, or no permission.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of a stage that was killed
    with disk_errors(f"the folder {folder}"):
        folder.mkdir()
        for kind, number in product(("counter", "histogram"), numbers):
            (folder / f"{kind}_{number}.db").write_bytes(bytes(FILE_BYTES))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def count_in(folder: Path, number: int) -> None:
    """Have this process, a worker, count in the folder. Call it before there are :class:`tidemill.api.metrics.Metrics`;
    an earlier worker with this number must have ended."""
    from prometheus_client import values  # here: the stage's process counts nothing

    os.environ[VARIABLE] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]  # as the library has it
