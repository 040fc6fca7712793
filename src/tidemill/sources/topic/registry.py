"""A client of a schema registry with Confluent's REST API: Confluent's, Apicurio (ccompat), Karapace, Redpanda.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html is the API's documentation. Schemas never
change under an id, so each is asked for once.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from cachetools import TTLCache

from tidemill.errors import RegistryAway, RegistryError
from tidemill.pipeline import Registry, Secret, secret_value

ANSWER_SECONDS = 10.0
ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
UNKNOWN_PAUSES = (0.0, 0.2, 0.8)  # a registry of several nodes may not know a new schema everywhere at once
UNKNOWN_SECONDS = 30.0
MOST_UNKNOWN = 10_000
MOST_REFERENCES = 1_000

Patience = Callable[[RegistryAway], None]
"""Called where the registry does not answer: it returns when to ask again, or raises."""


def impatient(error: RegistryAway) -> None:
    """Give up at once."""
    raise error


@dataclass(frozen=True)
class RegisteredSchema:
    """A schema as it is registered.

    Attributes:
        kind: ``AVRO``, ``PROTOBUF`` or ``JSON``.
        text: JSON of Avro; of Protobuf the text of a .proto file, or base64 of its descriptor.
        references: the texts of all schemas that it needs, by the names under which they are imported; each stands
            behind those that it needs itself.
    """

    kind: str
    text: str
    references: Mapping[str, str] = field(default_factory=dict)


class SchemaRegistry:
    """The schemas of a registry, by their ids."""

    def __init__(self, registry: Registry, folder: Path, patience: Patience = impatient) -> None:
        """``folder``: relative paths of secrets and of ``ca`` start there.

        Raises:
            RegistryError: a secret or the file of certificates can't be read.
        """
        self.url = registry.url.rstrip("/")
        self._patience = patience
        self._client = client_of(registry, folder)
        self._schemas: dict[int, RegisteredSchema] = {}
        self._unknown: TTLCache[int, bool] = TTLCache(MOST_UNKNOWN, UNKNOWN_SECONDS)

    def schemas(self, ids: Collection[int]) -> Mapping[int, RegisteredSchema]:
        """The schemas with these ids. Those that the registry does not know, also after a second, are left out.

        Raises:
            RegistryError: the registry refuses to answer, or is none.
            RegistryAway: it does not answer, and there is no more patience.
        """
        for pause in UNKNOWN_PAUSES:
            missing = [id for id in ids if id not in self._schemas and id not in self._unknown]
            if not missing:
                break
            time.sleep(pause)
            for id in missing:
                if (schema := self._schema(id)) is not None:
                    self._schemas[id] = schema
        self._unknown.update({id: True for id in ids if id not in self._schemas})
        return {id: self._schemas[id] for id in ids if id in self._schemas}

    def _schema(self, id: int) -> RegisteredSchema | None:
        document = self._ask(f"/schemas/ids/{id}")
        if document is None:
            return None
        references: dict[str, str] = {}
        for name, text in self._references(document, set()):
            references.setdefault(name, text)
        return RegisteredSchema(str(document.get("schemaType", "AVRO")), document["schema"], references)

    def _references(self, document: Mapping[str, Any], seen: set[tuple[str, str, int]]) -> Iterator[tuple[str, str]]:
        """The names and texts of what a schema needs, the innermost first."""
        for reference in document.get("references") or []:
            name, subject, version = reference["name"], reference["subject"], reference["version"]
            if (name, subject, version) in seen or len(seen) > MOST_REFERENCES:
                continue
            seen.add((name, subject, version))
            needed = self._ask(f"/subjects/{quote(subject, safe='')}/versions/{version}")
            if needed is not None:  # what lacks is named by the one who reads the schema
                yield from self._references(needed, seen)
                yield name, needed["schema"]

    def _ask(self, path: str) -> dict[str, Any] | None:
        """The registry's answer; None where it knows no such schema."""
        while True:
            try:
                return self._answer(path)
            except RegistryAway as error:
                self._patience(error)

    def _answer(self, path: str) -> dict[str, Any] | None:
        try:
            answer = self._client.get(self.url + path)
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                hint = "set source.registry.ca to the file of the certificates that its own is signed by"
                raise RegistryError(f"the certificate of the registry {self.url} is not trusted", hint) from error
            reason = str(error) or type(error).__name__
            raise RegistryAway(f"the schema registry {self.url} does not answer: {reason}", "check it") from error
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.status_code >= 500:
            raise RegistryAway(f"the schema registry {self.url} answers {answer.status_code}", "see its log")
        document = document_of(answer)
        if answer.status_code == httpx.codes.OK and isinstance(document.get("schema"), str):
            return document
        if answer.status_code == httpx.codes.NOT_FOUND and "error_code" in document:
            return None
        raise self._refusal(answer.status_code)

    def _refusal(self, status: int) -> RegistryError:
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            hint = "set username and password, or token, in [source.registry], with the right to read schemas"
            return RegistryError(f"the schema registry {self.url} refuses the request ({status})", hint)
        return RegistryError(
            f"{self.url} does not answer as a schema registry does ({status})",
            "check source.registry.url; Apicurio's is http://HOST:PORT/apis/ccompat/v7",
        )


def document_of(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; empty where it is none."""
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def client_of(registry: Registry, folder: Path) -> httpx.Client:
    """An HTTP client for the registry. The environment's proxies apply, but not on loopback.

    Raises:
        RegistryError: a secret or the file of certificates can't be read.
    """
    username, password = (setting_of(key, getattr(registry, key), folder) for key in ("username", "password"))
    token = setting_of("token", registry.token, folder)
    headers = {"Accept": ACCEPT} | ({"Authorization": f"Bearer {token}"} if token is not None else {})
    return httpx.Client(
        headers=headers,
        auth=httpx.BasicAuth(username, password or "") if username is not None else None,
        verify=trust_of(registry.ca, folder),
        timeout=ANSWER_SECONDS,
        limits=httpx.Limits(max_keepalive_connections=0),  # the next question may be hours away
        trust_env=urlsplit(registry.url).hostname not in LOOPBACK,
    )


def trust_of(ca: str | None, folder: Path) -> ssl.SSLContext:
    """The certificates that are trusted: the system's, and those of the file ``ca``."""
    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(folder / ca)
        except OSError as error:  # also where it holds no certificate
            raise RegistryError(f"source.registry.ca: {ca} can't be read as certificates", "give a PEM file") from error
    return context


def setting_of(key: str, setting: str | Secret | None, folder: Path) -> str | None:
    if setting is None:
        return None
    try:
        return secret_value(setting, folder)
    except ValueError as error:
        raise RegistryError(f"source.registry.{key}: {error}", "put the secret there") from error
