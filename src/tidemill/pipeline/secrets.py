"""Secrets that a pipeline file names: their values are in the environment or in files."""

from __future__ import annotations

import os
from pathlib import Path

from tidemill.pipeline.model import Secret


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
