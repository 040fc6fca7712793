"""What a request for a list of items or rows may say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tidemill.api.inputs import shown
from tidemill.errors import BadJson, FeatureError, did_you_mean

DEFAULT_TOP, MOST_TOP = 10, 1_000


def checked_top(top: Any) -> int:
    """How many items are asked for.

    Raises:
        FeatureError: it is no whole number from 1 to ``MOST_TOP``.
    """
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= MOST_TOP:
        raise FeatureError(f"top is {shown(top)}, not a whole number from 1 to {MOST_TOP}", "leave it out for 10")
    return top


def read_object(body: bytes, keys: Sequence[str], hint: str) -> dict[str, Any]:
    """A request's body, an object that has the first of ``keys`` and no others than these.

    Raises:
        BadJson: it is no JSON.
        FeatureError: it is not of that form.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadJson(f"the body is no JSON: {error}" if body.strip() else "the body is empty", hint) from None
    if not isinstance(document, dict):
        raise FeatureError(f"the body is {shown(document)}, not a JSON object", hint)
    for key in document:
        if key not in keys:
            raise FeatureError(f"{shown(key)} is no key of this request", did_you_mean(key, keys))
    if keys[0] not in document:
        raise FeatureError(f"{keys[0]} is missing", hint)
    return document
