"""What every table of the pipeline file is."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict


class Part(BaseModel):
    """A table of the pipeline file: immutable, and unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def plain(value: object) -> object:
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError("a string, a number, true or false")
    return value


Plain = Annotated[Any, AfterValidator(plain)]  # a union of these types would tell its own names in errors
