"""What the process of the stage and its workers say to each other over their :class:`tidemill.web.channel.Channel`.

Contents are pickled: both ends are processes of one user and one program, and nobody else has the sockets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tidemill.errors import TidemillError
from tidemill.kafka.intake import Outcome, Rejected
from tidemill.pipeline import Loaded
from tidemill.web.api_key import ApiKey
from tidemill.web.limits import Limits


class Kind(IntEnum):
    """The kinds of messages. To a worker: SETUP, CONNECTION, LIMIT, REPLY, STOP; from it the others."""

    SETUP = 1  # Setup: the first message
    CONNECTION = 2  # with the connection as file
    LIMIT = 3  # MessageLimit or None: that of the rows' topic, where it has changed
    REPLY = 4  # Reply
    STOP = 5  # end the open requests, and stop
    READY = 6  # the worker answers
    FAILED = 7  # Failure: the worker can't start
    TAKEN = 8  # the worker has the oldest connection that it was sent
    CLOSED = 9  # one of its connections has ended
    CALL = 10  # Call, perhaps with the file of a request's rows


@dataclass(frozen=True)
class Setup:
    """What a worker needs to answer as the stage would.

    Attributes:
        loaded, folder: the run.
        stage, number: of which stage it is a worker, and which one of them.
        family: of the connections' addresses.
        limits: those of this worker's connections.
        counts: the folder in which it counts requests.
        takes_rows: whether there is ``POST /rows``.
    """

    loaded: Loaded
    folder: Path
    stage: str
    number: int
    family: int
    key: ApiKey | None
    own_names: bool
    limits: Limits
    counts: Path
    takes_rows: bool


class Failure(NamedTuple):
    """Why a worker can't start, as :class:`TidemillError` has it."""

    code: str
    exit_code: int
    message: str
    hint: str


class WorkerRefused(TidemillError):
    """A worker can't start; code and exit code are those of its own error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, failure.hint)
        self.code = failure.code  # type: ignore[misc]  # for this instance alone, as the next
        self.exit_code = failure.exit_code  # type: ignore[misc]


class Rows(NamedTuple):
    """A request with rows, as :class:`tidemill.kafka.intake.RowRequest`; ``content`` is None where a file has it."""

    content: bytes | None
    rows: int
    size: int
    rejected: int
    examples: tuple[Rejected, ...]
    key: str | None
    digest: str


@dataclass(frozen=True)
class Call:
    """A call of the :class:`tidemill.kafka.intake.RowIntake` in the stage's process.

    ``number``: of the call, for its reply. ``argument``: Rows for ``accept``, the number of that call for ``withdraw``,
    a count for ``count_rejected``.
    """

    number: int
    method: Literal["accept", "withdraw", "counts", "count_rejected"]
    argument: Any = None


class Reply(NamedTuple):
    """The result of the call with that number, or the error that it raises."""

    number: int
    result: Outcome | Any = None
    error: TidemillError | None = None
