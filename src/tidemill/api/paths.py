"""Values in paths: how the router finds them, whatever characters they have."""

from __future__ import annotations

from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Match
from starlette.types import Scope

SLASH = "\udc2f"  # stands for an encoded slash while a path is matched: no decoded path has a lone surrogate


class GenerationConvertor(Convertor[int]):
    """Matches whole numbers of the size of a generation's; any other text is another address."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


class TextConvertor(Convertor[str]):
    """Matches the text between two slashes of a path, which may be empty; encoded slashes belong to the text."""

    regex = "[^/]*"

    def convert(self, value: str) -> str:
        return value.replace(SLASH, "/")

    def to_string(self, value: str) -> str:
        return value


class RestConvertor(Convertor[str]):
    """Matches the rest of a path with its slashes; unlike Starlette's ``path`` also line breaks."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("generation", GenerationConvertor())
register_url_convertor("text", TextConvertor())
register_url_convertor("rest", RestConvertor())


def rest(name: str) -> str:
    """The placeholder of a path's last value, which may have slashes and line breaks."""
    return f"{{{name}:rest}}"


class SegmentedRoute(APIRoute):
    """A route whose path is cut at its slashes before it is decoded, so that a value of the convertor ``text`` may have
    encoded ones."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(with_marked_slashes(scope))


def with_marked_slashes(scope: Scope) -> Scope:
    """The scope of a request with ``SLASH`` for each encoded slash of its path."""
    raw = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return scope
    return {**scope, "path": "/".join(segment.replace("/", SLASH) for segment in segments(scope))}


def segments(scope: Scope) -> list[str]:
    """The parts of a request's path between its slashes, decoded after it was cut, so that they may have slashes."""
    raw: bytes = scope["raw_path"]
    return [unquote(segment) for segment in raw.decode("ascii").split("/")]
