"""The file of what did not fit: one JSON object a line, each with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from tidemill.run.failpoints import Steps
from tidemill.run.files import disk_errors, publish, sync, temporary

STEPS = Steps("rejects.synced", "rejects.renamed", "rejects.placed")


class Rejects:
    """Rejects for the file ``path``; there is no file while nothing was rejected.

    With ``live`` the file can be read as it grows; without, it appears whole when it is published. With ``apart`` what
    ``path`` held before stays until :meth:`show`: up to then it is written to that file.
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
        """Make the file durable, in its place or at ``path``; None where there is nothing to publish."""
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
        """Put what was written apart in place of the file, which grows from now on."""
        if self._apart is None:
            return
        with disk_errors(f"the rejects file {self.path.name}"):
            if self._apart.exists():
                self._apart.replace(self.path)
            else:
                self.path.unlink(missing_ok=True)
        self._written, self._apart = self.path, None

    def drop_apart(self) -> None:
        """Remove what was written apart and not shown."""
        if self._apart is not None:
            self.discard()

    def discard(self) -> None:
        with disk_errors(f"the rejects file {self.path.name}"):
            self._written.unlink(missing_ok=True)
