"""The API key: who may ask, where the API can be reached from other machines."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

from tidemill.errors import InputError, Unauthorized

VARIABLE = "TIDEMILL_API_KEY"
LEAST_CHARACTERS = 16
OPEN_PATHS = {"/health"}
HOW = "send the header `Authorization: Bearer KEY`, or `X-API-Key: KEY`"


class ApiKey:
    """A key that a request must bear. Only its sha256 is kept, so no log or traceback can show it."""

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """See that a request may have its answer. Keys are compared in a time that depends on neither.

        Raises:
            Unauthorized: its path needs the key, and it bears none, or another.
        """
        if path in OPEN_PATHS:
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
        if not given:
            raise Unauthorized("this API wants a key", HOW)
        if not hmac.compare_digest(hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest(), self._digest):
            raise Unauthorized("that is not this API's key", HOW)


def api_key(file: Path | None) -> ApiKey | None:
    """The key in ``file``, or else in the environment's TIDEMILL_API_KEY; None where there is neither.

    Raises:
        InputError: the file can't be read, or the key is shorter than ``LEAST_CHARACTERS``.
    """
    try:
        text = os.environ.get(VARIABLE) or None if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"the API key can't be read from {file}: {reason}", "see --api-key-file") from error
    if text is None:
        return None
    if len(text.strip()) < LEAST_CHARACTERS:
        place = VARIABLE if file is None else str(file)
        raise InputError(f"the API key in {place} has fewer than {LEAST_CHARACTERS} characters", make_one(file))
    return ApiKey(text.strip())


def require_key(address: str, key: ApiKey | None) -> None:
    """Refuse to serve other machines without a key; ``address`` is the one that is bound.

    Raises:
        InputError: it is no loopback address, and there is no key.
    """
    if key is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise InputError(f"serving on {address}, which other machines can reach, needs an API key", make_one(None))


def check_access(host: str, key_file: Path | None) -> None:
    """Find what is wrong with the key, and with serving on ``host`` without one, before anything is started.

    Raises:
        InputError: as :func:`api_key` and :func:`require_key` do. What a host's name stands for is seen at its binding.
    """
    key = api_key(key_file)
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    require_key(host, key)


def make_one(file: Path | None) -> str:
    """How to come by a key."""
    place = file or "key.txt"
    return f"make one with `openssl rand -hex 32 > {place}` and give --api-key-file {place}, or set {VARIABLE}"
