"""A schema registry for tests, and values as its clients write them.

:class:`LittleRegistry` is no registry: it answers the few documented requests that Tidemill makes, over HTTP on
loopback. That a real one answers the same is shown by ``tests/kafka/test_registry.py``.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from fastavro import parse_schema, schemaless_writer

Reference = tuple[str, str, int]


def framed(id: int, payload: bytes) -> bytes:
    """The bytes of a value, with the id of its schema before them."""
    return b"\0" + id.to_bytes(4, "big") + payload


def avro(id: int, schema: Any, record: Any) -> bytes:
    """A value of an Avro schema as a serializer writes it."""
    stream = BytesIO()
    schemaless_writer(stream, parse_schema(schema), record)
    return framed(id, stream.getvalue())


def record(*fields: tuple[str, Any], name: str = "Row") -> dict[str, Any]:
    """An Avro record with these fields: pairs of name and type."""
    return {"type": "record", "name": name, "fields": [{"name": field, "type": type} for field, type in fields]}


class Handler(BaseHTTPRequestHandler):
    server: LittleRegistry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.authorized.append(self.headers.get("Authorization"))
        status, document = self.server.answer(unquote(self.path))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class LittleRegistry(ThreadingHTTPServer):
    """Schemas by their ids, and by subject and version where they are referred to.

    ``failing``: the status with which it answers everything; ``asked``: the paths that were asked for.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        self.ids: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.authorized: list[str | None] = []
        self.failing: int | None = None

    def __enter__(self) -> LittleRegistry:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def add(self, schema: Any, kind: str = "AVRO", subject: str = "", references: Sequence[Reference] = ()) -> int:
        """Register a schema, and its id. ``references``: names with the subject and version of each."""
        id = len(self.ids) + 1
        document: dict[str, Any] = {"schema": schema if isinstance(schema, str) else json.dumps(schema)}
        if kind != "AVRO":  # the API leaves it out for Avro
            document["schemaType"] = kind
        if references:
            keys = ("name", "subject", "version")
            document["references"] = [dict(zip(keys, reference, strict=True)) for reference in references]
        self.ids[id] = document
        self.subjects[f"/subjects/{subject}/versions/1"] = document
        return id

    def answer(self, path: str) -> tuple[int, Mapping[str, Any]]:
        if self.failing is not None:
            return self.failing, {"error_code": self.failing, "message": "no"}
        by_id = {f"/schemas/ids/{id}": document for id, document in self.ids.items()}
        document = (by_id | self.subjects).get(path)
        return (200, document) if document else (404, {"error_code": 40403, "message": "Schema not found"})
