"""The API key, which requests need where other machines can reach the API."""

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
CHALLENGES = ("Bearer", 'Basic realm="Tidemill"')  # the second makes a browser ask for a user and a password

log = logging.getLogger(__name__)


class ApiKey:
    """A key that every request must have. Only its sha256 is kept, so no log or traceback can show it."""

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Refuse a request without the key. The time that a comparison takes depends on neither key.

        Raises:
            Unauthorized: the path needs the key, and the request has none or a wrong one.
        """
        if path in OPEN_PATHS:
            return
        given = key_in(headers)
        if not given:
            raise Unauthorized("this API requires a key", HOW)
        if not self.matches(given):
            raise Unauthorized("that is not this API's key", HOW)

    def matches(self, given: bytes) -> bool:
        """Whether this is the key."""
        return hmac.compare_digest(hashlib.sha256(given).digest(), self._digest)


def key_in(headers: Mapping[str, str]) -> bytes:
    """The key of a request: a bearer token, ``X-API-Key``, or the password of any user; empty if there is none."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return as_bytes(credentials.strip())
    if "x-api-key" in headers:  # before a user and password, which may be meant for a proxy
        return as_bytes(headers["x-api-key"])
    return password(credentials) if scheme.lower() == "basic" else b""


def password(credentials: str) -> bytes:
    """The password of HTTP Basic credentials (RFC 7617), for any user name; empty if they can't be read."""
    try:
        return b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def api_key(file: Path | None) -> ApiKey | None:
    """The key in ``file``, or else in the environment's TIDEMILL_API_KEY; None if there is neither.

    Raises:
        InputError: the file can't be read, or the key is shorter than ``LEAST_CHARACTERS``.
    """
    try:
        text = os.environ.get(VARIABLE) or None if file is None else text_of(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"the API key can't be read from {file}: {reason}", "see --api-key-file") from error
    if text is None:
        return None
    if len(text.strip()) < LEAST_CHARACTERS:
        origin = VARIABLE if file is None else str(file)
        raise InputError(f"the API key in {origin} has fewer than {LEAST_CHARACTERS} characters", make_one(file))
    return ApiKey(text.strip())


def text_of(file: Path) -> str:
    """The text of the key's file. The log has a warning if other users can read it."""
    with file.open(encoding="utf-8") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if stat.S_ISREG(mode) and mode & OTHERS_READ:
            log.warning("other users can read the API key in %s: run `chmod 600 %s`", file, file)
        return opened.read()


def require_key(address: str, key: ApiKey | None) -> None:
    """Refuse to serve other machines without a key; ``address`` is the bound one.

    Raises:
        InputError: the address is not a loopback one, and there is no key.
    """
    if key is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise InputError(f"serving on {address}, which other machines can reach, needs an API key", make_one(None))


def check_access(host: str, key_file: Path | None) -> None:
    """Check the key, and whether ``host`` needs one, before anything is started.

    Raises:
        InputError: as :func:`api_key` and :func:`require_key`. A host name is checked only when it is bound.
    """
    key = api_key(key_file)
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    require_key(host, key)


def make_one(file: Path | None) -> str:
    """The hint for a missing key."""
    path = file or "key.txt"
    return f"make one with `openssl rand -hex 32 > {path}` and give --api-key-file {path}, or set {VARIABLE}"
