"""The console's client of the run's API. Every answer is parsed into its schema of :mod:`tidemill.schemas`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

import httpx
from pydantic import TypeAdapter, ValidationError

from tidemill import schemas
from tidemill.errors import TidemillError

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 20.0
T = TypeVar("T")


def no_address() -> str | None:
    return None


_locate: Callable[[], str | None] = no_address


def serve_from(locate: Callable[[], str | None]) -> None:
    """Set how the pages of this process find the API: ``locate`` is called for each request, and gives the base URL or
    None.
    """
    global _locate
    _locate = locate


class ApiUnavailable(Exception):
    """The API does not answer: it is down or starting. Ask again in a moment."""


class ApiKeyRequired(Exception):
    """The API requires a key, and the request had none or a wrong one."""


class ApiError(Exception):
    """The API answered with an error: its status, code, message and hint."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


@lru_cache(maxsize=1)
def connections() -> httpx.Client:
    """One pool for all sessions. It ignores the environment's proxies, as the API is a server of this run."""
    return httpx.Client(timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS), trust_env=False)


class Api:
    """Sends requests to the run's API, with the ``key`` if there is one.

    Every method that sends a request raises:
        ApiUnavailable: nothing answers, or the answering server is not an API.
        ApiKeyRequired: the API requires a key, and this one has none or a wrong one.
        ApiError: the API answered with an error, or with a body that does not fit its schema.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    @property
    def keyed(self) -> bool:
        """Whether requests carry a key."""
        return bool(self._key)

    @property
    def address(self) -> str:
        """The API's base URL.

        Raises:
            ApiUnavailable: no API runs for this run.
        """
        try:
            address = _locate()
        except TidemillError as error:
            raise ApiUnavailable("the run can't be read") from error
        if address is None:
            raise ApiUnavailable("no API runs for this run")
        return address

    def get(self, path: str, schema: type[T], **params: Any) -> T:
        """GET ``path`` and parse the answer. Parameters that are None are left out."""
        return self._parsed(schema, "GET", path, params=without_none(params))

    def post(self, path: str, document: Any, schema: type[T], **params: Any) -> T:
        """POST a JSON document and parse the answer. Parameters that are None are left out."""
        return self._parsed(schema, "POST", path, json=document, params=without_none(params))

    def send(self, method: str, path: str, **options: Any) -> Any:
        """Send any request and return the JSON of its answer unparsed: for bodies that have no schema here, as those of
        the pipeline's own routes. ``options`` are those of httpx."""
        answer = self._answer(method, path, **options)
        try:
            return answer.json()
        except ValueError as error:
            raise ApiUnavailable("what answers is not an API") from error

    def text(self, path: str) -> str:
        """GET ``path`` and return its text: for the metrics, which are no JSON."""
        return self._answer("GET", path).text

    def _parsed(self, schema: type[T], method: str, path: str, **options: Any) -> T:
        answer = self._answer(method, path, **options)
        try:
            return parsed(schema, answer.content)
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":
                raise ApiUnavailable("what answers is not an API") from error
            raise ApiError(answer.status_code, "unknown", *misfit(method, path, error)) from error

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {b"Authorization": b"Bearer " + self._key} if self._key else {}
        try:
            answer = connections().request(method, self.address + path, headers=headers, **options)
        except httpx.TransportError as error:
            raise ApiUnavailable("the API does not answer") from error
        if not answer.is_success:
            raise api_error(answer)
        return answer


def without_none(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


@lru_cache
def adapter(schema: Any) -> TypeAdapter[Any]:
    """The parser of a schema, made once."""
    return TypeAdapter(schema)


def parsed(schema: type[T], content: bytes) -> T:
    """Parse JSON into its schema. Keys that the schema does not have are dropped, so that a newer API can be shown.

    Raises:
        ValidationError: it is not JSON, or a key is missing or has another type.
    """
    parser: TypeAdapter[T] = adapter(cast(Any, schema))  # to mypy, not every type is hashable
    try:
        return parser.validate_json(content)
    except ValidationError as error:
        unknown = [fault["loc"] for fault in error.errors() if fault["type"] == "extra_forbidden"]
        if len(unknown) < error.error_count():
            raise
        return parser.validate_json(json.dumps(without(json.loads(content), unknown)))


def without(document: Any, paths: list[tuple[int | str, ...]]) -> Any:
    """The document without the keys at these paths, which are removed in place."""
    for *outer, key in paths:
        holder = document
        for step in outer:
            holder = holder[step]
        del holder[key]
    return document


def misfit(method: str, path: str, error: ValidationError) -> tuple[str, str]:
    """The message and the hint for an answer that does not fit its schema; it names the first key at fault."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"])) or "the body"
    return (
        f"the answer to {method} {path} does not fit its schema: {key}: {first['msg']}",
        "run the console and the API from the same version of Tidemill",
    )


def api_error(answer: httpx.Response) -> Exception:
    """The exception for an answer with an error status."""
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return ApiKeyRequired("the API requires a key")
    try:
        error = parsed(schemas.ErrorBody, answer.content).error
    except ValidationError:
        return ApiError(answer.status_code, "unknown", f"the API answered with status {answer.status_code}", "")
    return ApiError(answer.status_code, error.code, error.message, error.hint)
