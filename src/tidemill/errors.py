"""The error tree. Each error has a code, a message, a hint, an HTTP status and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tidemill.texts import printable


@dataclass(frozen=True)
class Fault:
    """A fault of a pipeline file: its path in the file, what was found, what was expected, and a hint.

    ``expected`` is empty where ``found`` is a full sentence.
    """

    path: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        sentence = f"{self.path}: {self.found}"
        if self.expected:
            sentence = f"{self.path}: found {self.found}; expected {self.expected}"
        return f"{sentence}; {self.hint}" if self.hint else sentence

    def document(self) -> dict[str, str]:
        return {"path": self.path, "found": self.found, "expected": self.expected, "hint": self.hint}


class TidemillError(Exception):
    """The root of all errors. ``code`` is stable and documented; ``hint`` says what to do."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    passing: ClassVar[bool] = False  # a retry may succeed
    retry_after: ClassVar[int | None] = None  # seconds after which a client may repeat its request

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = printable(message)
        self.hint = printable(hint)

    def document(self) -> dict[str, Any]:
        """The error as a JSON document, for HTTP and ``--json``."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


# --- the user's input is wrong: exit code 2 -----------------------------------------------------------------------


class InputError(TidemillError):
    """The user's input is wrong; nothing was started."""

    code = "input"
    status = 400
    exit_code = 2


class UsageError(InputError):
    """The command line has an unknown command or option, or an invalid value."""

    code = "usage"


class PipelineNotFound(InputError):
    code = "pipeline-not-found"


class PipelineInvalid(InputError):
    """The pipeline file has faults; all of them are in ``faults``."""

    code = "pipeline-invalid"

    def __init__(self, name: str, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        lines = "".join(f"\n  {fault}" for fault in self.faults)
        super().__init__(
            f"{name} has {count} fault{'s' if count != 1 else ''}:{lines}",
            "fix these, then run `tidemill check` again",
        )

    def document(self) -> dict[str, Any]:
        body = super().document()
        body["error"]["faults"] = [fault.document() for fault in self.faults]
        return body


class SourceError(InputError):
    """The source can't be read: it is missing, empty, unreadable, or lacks a declared column."""

    code = "source"


class RunFolderError(InputError):
    """The run folder holds another pipeline's run, or can't be used."""

    code = "run-folder"


class RunBusy(InputError):
    """Another process already runs this stage of the run."""

    code = "run-busy"


class TopicError(InputError):
    """The topic holds data of another run or writer."""

    code = "topic"


class BootstrapError(InputError):
    """No Kafka answers at the given bootstrap servers."""

    code = "bootstrap"


class RegistryError(InputError):
    """The schema registry refuses to answer, or something else is at its address."""

    code = "registry"


class PortInUse(InputError):
    code = "port-in-use"


class NoRun(InputError):
    """There is no run to open."""

    code = "no-run"


# --- something failed while running: exit code 1 ------------------------------------------------------------------


class JavaMissing(TidemillError):
    code = "java-missing"


class JarsMissing(TidemillError):
    """Kafka's jars are missing and could not be fetched."""

    code = "jars-missing"


class BrokerFailed(TidemillError):
    code = "broker-failed"
    passing = True


class StreamFailed(TidemillError):
    """The stream can't continue: Kafka refuses a request, or its log differs from the catalog."""

    code = "stream-failed"
    passing = True


class KafkaAway(StreamFailed):
    """Kafka does not answer now; it may answer a retry."""


class RegistryAway(StreamFailed):
    """The schema registry does not answer now; it may answer a retry."""


class LogLost(TidemillError):
    """Kafka's log lost rows that the catalog has as sent or sealed."""

    code = "log-lost"


class AccountError(TidemillError):
    """The rows read from the topic differ from the rows sent to it."""

    code = "account"


class CatalogError(TidemillError):
    """Files and catalog disagree, or the catalog can't be read."""

    code = "catalog"


class BackupError(TidemillError):
    """A backup can't be made, is unfinished, or is damaged."""

    code = "backup"


class DiskError(TidemillError):
    """A file could not be written: disk full, no permission."""

    code = "disk"


class TrainingFailed(TidemillError):
    code = "training-failed"


class SparkDied(TrainingFailed):
    """Spark's JVM died, for example killed by the system; a new one may succeed."""

    code = "spark-died"
    passing = True


class ParityFailed(TrainingFailed):
    """An exported scorer does not give Spark's predictions, so its generation is not published."""

    code = "parity-failed"


class StageFailed(TidemillError):
    """A stage of the run ended and could not be restarted."""

    code = "stage-failed"
    passing = True


# --- a request is wrong: HTTP 4xx ---------------------------------------------------------------------------------


class RequestError(InputError):
    code = "request"


class BadJson(RequestError):
    code = "bad-json"


class BadForm(RequestError):
    code = "bad-form"


class BodyTooLarge(RequestError):
    code = "body-too-large"
    status = 413


class RequestHeadTooLarge(RequestError):
    """The URL and headers of a request, or the trailers of its body, exceed the limit."""

    code = "request-head-too-large"
    status = 431


class UrlTooLong(RequestError):
    """The URL of a request exceeds the limit."""

    code = "url-too-long"
    status = 414


class RequestTimeout(RequestError):
    """A request's head or body did not arrive in time."""

    code = "request-timeout"
    status = 408


class TooManyConnections(RequestError):
    """The server has reached its limit of open connections."""

    code = "too-many-connections"
    status = 503


class FeatureError(RequestError):
    """A feature is missing or has the wrong type; the message names it."""

    code = "feature"
    status = 422


class ParameterError(RequestError):
    """A parameter in the path, the query or the body is invalid."""

    code = "parameter"
    status = 422


class QueryError(RequestError):
    """A SQL route's query can't be answered for these parameters."""

    code = "query"
    status = 422


class TooManyRows(QueryError):
    """A SQL route's answer has more rows than the pipeline allows."""

    code = "too-many-rows"


class TimeLimit(QueryError):
    """A SQL route's query took longer than the pipeline allows."""

    code = "time-limit"
    status = 503


class Busy(QueryError):
    """A SQL route's query did not start in time, as too many others are running."""

    code = "busy"
    status = 503


class Unauthorized(RequestError):
    """The request lacks the API key."""

    code = "unauthorized"
    status = 401


class ForeignHost(RequestError):
    """The request's host is not a name of this machine, as in an attack by DNS rebinding."""

    code = "host"
    status = 403


class ReadOnly(RequestError):
    """The request would write, which it may not; the message says why."""

    code = "read-only"
    status = 403


class NotFound(RequestError):
    code = "not-found"
    status = 404


class Gone(RequestError):
    """The files of a batch or generation were removed, as the run keeps only so many."""

    code = "gone"
    status = 410


class PromotionRefused(RequestError):
    """A generation can't become the champion: it failed, is still being trained, or its files are gone."""

    code = "promotion"
    status = 409


class KeyReused(RequestError):
    """The Idempotency-Key of a request was used with another body."""

    code = "key-reused"
    status = 422


class RowsUnfit(RequestError):
    """None of a request's rows fits the stream, or with ``strict`` one does not; the message names the first ones."""

    code = "rows-unfit"
    status = 422


class RowsRefused(RequestError):
    """Rows can't be written into the stream now; none of the request's was."""

    code = "rows-refused"
    status = 503
    retry_after = 2


class RowsBusy(RowsRefused):
    """Too many requests with rows wait to be written; none of this one's was."""

    code = "rows-busy"
    retry_after = 1


class RowsUnknown(RequestError):
    """It is not known yet whether the request's rows were written."""

    code = "rows-unknown"
    status = 503
    retry_after = 2


class MethodNotAllowed(RequestError):
    code = "method-not-allowed"
    status = 405


class NotReady(RequestError):
    """Nothing is published yet; the message says what the run waits for."""

    code = "not-ready"
    status = 503


# --- all of them --------------------------------------------------------------------------------------------------


def all_errors(root: type[TidemillError] = TidemillError) -> list[type[TidemillError]]:
    """All error classes, the root first."""
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def retried(code: str | None) -> bool:
    """Whether to restart a stage that ended with an error of this code; None where it was killed."""
    return code is None or any(error.passing for error in all_errors() if error.code == code)
