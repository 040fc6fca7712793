"""The base of all tables of the pipeline file."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

RECORDED = {"recorded": True}  # the validation context for documents that `Pipeline.document` made


class Part(BaseModel):
    """A table of the pipeline file. It is immutable, and unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)


def is_recorded(info: ValidationInfo) -> bool:
    return bool(info.context and info.context.get("recorded"))


def plain(value: object) -> object:
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError("a string, a number, true or false")
    return value


Plain = Annotated[Any, AfterValidator(plain)]  # a union would put the names of its members into errors


def table(raw: object, key: str) -> Mapping[str, Any]:
    """The table at ``key``; an empty one where there is none. Another value there is reported elsewhere."""
    value = raw.get(key) if isinstance(raw, Mapping) else None
    return value if isinstance(value, Mapping) else {}
