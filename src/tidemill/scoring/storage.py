"""Scorer files: arrays and one JSON text in an ``.npz``. The same model gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import CatalogError

TEXT = "model"
FORMAT = 1

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """The content of a scorer file: ``text`` is its JSON document; ``arrays`` are of numbers, most of them float64."""

    text: dict[str, Any]
    arrays: dict[str, Array]


def write(path: Path, text: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a scorer file. Its members are uncompressed, in the given order, and without timestamps."""
    document = json.dumps({"format": FORMAT, **text}, ensure_ascii=False)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, values in [(TEXT, np.array(document)), *arrays.items()]:
            member = io.BytesIO()
            np.lib.format.write_array(member, values, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())


def read(path: Path, sha256: str | None = None) -> Stored:
    """The content of the scorer file ``path``.

    Raises:
        CatalogError: the file is missing or damaged, or its bytes don't have the given sha256.
    """
    hint = "put the file back as it was, or start the run again with --fresh"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CatalogError(f"the scorer file {path} can't be read: {error.strerror}", hint) from error
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and actual != sha256:
        raise CatalogError(f"the scorer file {path} has sha256 {actual}; the catalog says {sha256}", hint)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        text = json.loads(str(arrays.pop(TEXT)))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CatalogError(f"{path} is not a scorer file: {error}", hint) from error
    if text.get("format") != FORMAT:
        raise CatalogError(f"{path} has scorer format {text.get('format')}; this Tidemill reads {FORMAT}", hint)
    return Stored(text, arrays)
