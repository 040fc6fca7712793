"""The file of rejected rows: one JSON object per line, each with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from tidemill.run.failpoints import Steps
from tidemill.run.files import disk_errors, publish, sync, temporary

STEPS = Steps("rejects.synced", "rejects.renamed", "rejects.placed")


class Rejects:
    """The rejects of the file ``path``. The file exists only if there are any.

    Args:
        live: whether the file can be read while it grows; otherwise it appears whole when it is published.
        apart: where given, rejects are written to that file until :meth:`show`, and ``path`` keeps its old content.
    """

    def __init__(self, path: Path, live: bool = False, apart: Path | None = None) -> None:
        self.path = path
        self.count = 0
        self._written = apart or (path if live else temporary(path))
        self._apart = apart
        self.discard()

    def add(self, **fields: Any) -> None:
        self.extend([fields])

    def extend(self, lines: list[dict[str, Any]]) -> None:
        if not lines:
            return
        with disk_errors(f"the rejects file {self.path.name}"), self._written.open("ab") as file:
            file.writelines(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
        self.count += len(lines)

    def publish(self, path: Path | None = None) -> Path | None:
        """Make the file durable, under its own name or as ``path``; None where there are no rejects."""
        if not self.count:
            return None
        final = path or self.path
        with disk_errors(f"the rejects file {final.name}"):
            if self._written == final:
                sync(final)
                sync(final.parent)
            else:
                publish(self._written, final, STEPS)
        return final

    def show(self) -> None:
        """Replace the file by the one that was written apart, and continue writing to it."""
        if self._apart is None:
            return
        with disk_errors(f"the rejects file {self.path.name}"):
            if self._apart.exists():
                self._apart.replace(self.path)
            else:
                self.path.unlink(missing_ok=True)
        self._written, self._apart = self.path, None

    def drop_apart(self) -> None:
        """Remove the file that was written apart, if it was not shown."""
        if self._apart is not None:
            self.discard()

    def discard(self) -> None:
        with disk_errors(f"the rejects file {self.path.name}"):
            self._written.unlink(missing_ok=True)
