"""The log of a stage: a rotated file of JSON lines, and standard error where the stage is run by hand."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog

from tidemill.run.files import ROLLED_BYTES, ROLLED_KEPT
from tidemill.run.folder import Run

SHARED: list[structlog.typing.Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
IN_FILE: list[structlog.typing.Processor] = [
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(ensure_ascii=False),
]


class LogFile(RotatingFileHandler):
    """A log file that is rotated before it exceeds :data:`ROLLED_BYTES`.

    The last :data:`ROLLED_KEPT` files are kept, the newest as ``NAME.1``. A log that can't be written, for example on a
    full disk, does not stop the stage: standard error says so, once.
    """

    _said = False

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=ROLLED_BYTES, backupCount=ROLLED_KEPT, encoding="utf-8", errors="backslashreplace"
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._said:
            self._said = True
            sys.stderr.write(f"the log {self.baseFilename} can't be written: {error.strerror}\n")


class ParentLog(logging.StreamHandler[Any]):
    """Standard output, which the process that started this one reads. That may be gone first."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


def log_to_parent() -> None:
    """Send this process's log to its standard output, as JSON lines, for a process that has the stage's file."""
    configure([handler(ParentLog(sys.stdout), SHARED, IN_FILE)])


def log_to_file(run: Run, name: str, on_screen: bool) -> None:
    """Send this process's log to ``logs/NAME.log`` (JSON lines), and with ``on_screen`` to standard error too."""
    handlers = [handler(LogFile(run.logs / f"{name}.log"), SHARED, IN_FILE)]
    if on_screen:
        rendering = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        handlers.append(handler(logging.StreamHandler(sys.stderr), SHARED, rendering))
    configure(handlers)


def configure(handlers: Sequence[logging.Handler]) -> None:
    """Send the records of structlog and of the standard library to these handlers."""
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it logs every call
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def handler(
    where: logging.Handler, shared: list[structlog.typing.Processor], last: Sequence[structlog.typing.Processor]
) -> logging.Handler:
    """A handler that renders records of structlog and of the standard library in the same way."""
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    where.setFormatter(structlog.stdlib.ProcessorFormatter(processors=processors, foreign_pre_chain=shared))
    return where
