"""What the console knows of a run: the answers of its API."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import httpx

from tidemill.errors import TidemillError

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 20.0


def nowhere() -> str | None:
    return None


_locate: Callable[[], str | None] = nowhere


def serve_from(locate: Callable[[], str | None]) -> None:
    """Have the pages of this process ask the API at the base URL that ``locate`` gives, each time anew; None: there is
    none."""
    global _locate
    _locate = locate


class ApiAway(Exception):
    """The API does not answer: it is down, or starting. It is worth asking again in a moment."""


class KeyWanted(Exception):
    """The API wants a key, and got none or another."""


class Refused(Exception):
    """The API answered with an error: its status, code, message and hint."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


@lru_cache(maxsize=1)
def connections() -> httpx.Client:
    """One pool for all sessions; proxies of the environment are not for a server of our own."""
    return httpx.Client(timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS), trust_env=False)


class Api:
    """Asks the API of the run, bearing the ``key`` if there is one."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    @property
    def keyed(self) -> bool:
        """Whether a key is sent."""
        return bool(self._key)

    @property
    def address(self) -> str:
        """The API's base URL.

        Raises:
            ApiAway: there is none.
        """
        try:
            found = _locate()
        except TidemillError as error:
            raise ApiAway("the run can't be looked at") from error
        if found is None:
            raise ApiAway("no API is at work for this run")
        return found

    def get(self, path: str, **params: Any) -> Any:
        """The JSON that a GET answers with; parameters that are None are left out.

        Raises:
            ApiAway, KeyWanted, Refused: as they say.
        """
        return self.send("GET", path, params={key: value for key, value in params.items() if value is not None})

    def post(self, path: str, document: Any, **params: Any) -> Any:
        """The JSON that a POST of a JSON document answers with.

        Raises:
            ApiAway, KeyWanted, Refused: as they say.
        """
        return self.send("POST", path, json=document, params={k: v for k, v in params.items() if v is not None})

    def send(self, method: str, path: str, **options: Any) -> Any:
        """What any request answers with; ``options`` are those of httpx.

        Raises:
            ApiAway, KeyWanted, Refused: as they say.
        """
        headers = {b"Authorization": b"Bearer " + self._key} if self._key else {}
        try:
            answer = connections().request(method, self.address + path, headers=headers, **options)
        except httpx.TransportError as error:
            raise ApiAway("the API does not answer") from error
        if not answer.is_success:
            raise refusal(answer)
        try:
            return answer.json()
        except ValueError as error:
            raise ApiAway("what answers there is no API") from error


def refusal(answer: httpx.Response) -> Exception:
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return KeyWanted("the API wants a key")
    try:
        error = answer.json()["error"]
        return Refused(answer.status_code, error["code"], error["message"], error["hint"])
    except (ValueError, KeyError, TypeError):
        return Refused(answer.status_code, "unknown", f"the API answered with status {answer.status_code}", "")
