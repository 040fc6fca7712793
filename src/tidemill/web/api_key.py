"""The API key: who may ask, where the API can be reached from other machines."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import stat
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

from tidemill.errors import InputError, Unauthorized

VARIABLE = "TIDEMILL_API_KEY"
LEAST_CHARACTERS = 16
OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
OPEN_PATHS = {"/health"}
HOW = "send the header `Authorization: Bearer KEY`, or `X-API-Key: KEY`; in a browser the key is the password"
CHALLENGES = ("Bearer", 'Basic realm="Tidemill"')  # the second has a browser ask for a user and a password

log = logging.getLogger(__name__)


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
        given = key_in(headers)
        if not given:
            raise Unauthorized("this API wants a key", HOW)
        if not self.matches(given):
            raise Unauthorized("that is not this API's key", HOW)

    def matches(self, given: bytes) -> bool:
        """Whether this is the key."""
        return hmac.compare_digest(hashlib.sha256(given).digest(), self._digest)


def key_in(headers: Mapping[str, str]) -> bytes:
    """The key that a request bears: as a bearer's token, by itself, or as the password of whatever user; else none."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return as_bytes(credentials.strip())
    if "x-api-key" in headers:  # before a user and password, which may be meant for a proxy on the way
        return as_bytes(headers["x-api-key"])
    return password(credentials) if scheme.lower() == "basic" else b""


def password(credentials: str) -> bytes:
    """That of HTTP Basic credentials (RFC 7617), whose user name is not looked at; none where they can't be read."""
    try:
        return b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def api_key(file: Path | None) -> ApiKey | None:
    """The key in ``file``, or else in the environment's TIDEMILL_API_KEY; None where there is neither.

    Raises:
        InputError: the file can't be read, or the key is shorter than ``LEAST_CHARACTERS``.
    """
    try:
        text = os.environ.get(VARIABLE) or None if file is None else text_of(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"the API key can't be read from {file}: {reason}", "see --api-key-file") from error
    if text is None:
        return None
    if len(text.strip()) < LEAST_CHARACTERS:
        place = VARIABLE if file is None else str(file)
        raise InputError(f"the API key in {place} has fewer than {LEAST_CHARACTERS} characters", make_one(file))
    return ApiKey(text.strip())


def text_of(file: Path) -> str:
    """The text of the key's file. The log says so where other users can read it too."""
    with file.open(encoding="utf-8") as opened:
        found = os.fstat(opened.fileno())
        if stat.S_ISREG(found.st_mode) and found.st_mode & OTHERS_READ:
            log.warning("other users can read the API key in %s: close it to them with `chmod 600 %s`", file, file)
        return opened.read()


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
