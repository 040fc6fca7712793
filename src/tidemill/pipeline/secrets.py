"""Settings that may be secrets, whose values are in the environment or in files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from tidemill.pipeline.part import Part, is_recorded


class Secret(Part):
    """A value from an environment variable or a file."""

    env: Annotated[str, Field(min_length=1)] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def one_place(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError('one of env and file, such as { env = "KAFKA_PASSWORD" }')
        return self


def client_setting(value: object, info: ValidationInfo) -> str | Secret:
    """A setting of the Kafka client in librdkafka's form, or a secret."""
    if isinstance(value, Secret):
        return value
    if isinstance(value, dict) and is_recorded(info):
        value = {key: text for key, text in value.items() if text is not None}
    if isinstance(value, dict) and set(value) in ({"env"}, {"file"}):
        return Secret(**value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError('a text, a number, or { env = "NAME" } or { file = "PATH" } for a secret')


def optional_setting(value: object, info: ValidationInfo) -> str | Secret | None:
    """As :func:`client_setting`; None for a key that is left out."""
    return None if value is None else client_setting(value, info)


Setting = Annotated[Any, AfterValidator(client_setting)]
OptionalSetting = Annotated[Any, AfterValidator(optional_setting)]


def secret_value(setting: str | Secret, folder: Path) -> str:
    """A setting's text, or that of the secret in its place. A relative path starts at ``folder``.

    Raises:
        ValueError: the secret's file or environment variable is missing; the text names it.
    """
    if isinstance(setting, str):
        return setting
    try:
        if setting.env:
            return os.environ[setting.env]
        return (folder / str(setting.file)).read_text(encoding="utf-8").strip()
    except (KeyError, OSError, UnicodeDecodeError) as error:
        missing = f"the environment has no {setting.env}" if setting.env else f"the file {setting.file} can't be read"
        raise ValueError(missing) from error
