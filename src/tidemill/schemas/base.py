"""The base of all bodies, and the body of an error."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

Number = int | float  # a float field alone would write the whole number 12 as 12.0, and round one beyond 2**53


class Shape(BaseModel):
    """A JSON body of the API or of a command's ``--json``. Extra keys are refused, so no body can drift from it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def of(cls, source: object) -> Self:
        """The body of an object that has the body's keys as attributes; its other attributes are ignored."""
        return cls.model_validate(source, from_attributes=True, strict=False)

    def document(self) -> dict[str, Any]:
        """The body as plain values, without the optional keys that are not set."""
        return self.model_dump()


def omitted_if_none() -> Any:
    """A key that the body leaves out while its value is None."""
    return Field(default=None, exclude_if=lambda value: value is None)


class OfGeneration(Shape):
    """The base of what a generation of a model answers. ``line``: the replay that trained the generation, where it is
    not one of the run's own."""

    model: str
    generation: int
    line: str | None = omitted_if_none()


class Problem(Shape):
    code: str
    message: str
    hint: str


class ErrorBody(Shape):
    """Every error of the API."""

    error: Problem
