"""A file system of its own size, for the tests of a disk that is full or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_TIME = 60.0


class SmallDisk:
    """A file system of so many bytes, in a mount namespace of its own: only what is started on it finds it at
    ``path``, this process sees it at ``seen``, and it is gone with the process that holds it."""

    def __init__(self, path: Path, size: int) -> None:
        path.mkdir()
        self.path = path
        script = f"mount -t tmpfs -o size={size} none '{path}' && echo mounted && exec cat"
        line = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
        self._holder = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"mounted\n", "this test needs to mount: be root, or allow namespaces"
        self.seen = Path(f"/proc/{self._holder.pid}/root{path}")

    def close(self) -> None:
        self._holder.communicate(timeout=IN_TIME)

    def start(self, line: list[str], **environment: str) -> subprocess.Popen[str]:
        enter = ["nsenter", "--user", "--mount", "--preserve-credentials", f"--target={self._holder.pid}"]
        return started([*enter, *line], **environment)

    @contextmanager
    def full(self, left: int = 0) -> Iterator[None]:
        """While inside, it is full but for so many bytes."""
        there = os.statvfs(self.seen)
        filler = self.seen / "filler"
        filler.write_bytes(bytes(there.f_bavail * there.f_frsize - left))
        yield
        filler.unlink()

    def remount(self, option: str) -> None:
        assert ended(self.start(["mount", "-o", f"remount,{option}", str(self.path)]))[0] == 0


def started(line: list[str], **environment: str) -> subprocess.Popen[str]:
    out = subprocess.PIPE
    return subprocess.Popen(line, stdout=out, stderr=out, text=True, env=os.environ | environment)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """A process's exit code and what it printed; it must end in time."""
    try:
        out, errors = process.communicate(timeout=IN_TIME)
    finally:
        process.kill()
    return process.returncode, out + errors
