"""What a prediction looks like to a client: the standard answer, or a declared route's own keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.responses import JSONResponse

from tidemill.pipeline import Constant
from tidemill.scoring import Prediction
from tidemill.scoring.base import class_name

Answer = Callable[[str, int, Prediction], Any]
OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC | orjson.OPT_SERIALIZE_NUMPY  # SQL's plain timestamps are in UTC


class Json(JSONResponse):
    """A JSON response, written by orjson: numbers that JSON has no word for (NaN) become null."""

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else encode(content)


def encode(content: Any) -> bytes:
    return orjson.dumps(content, option=OPTIONS)


def of_predicted(prediction: Prediction) -> float | None:
    """The probability of the predicted class; None where the model gives none."""
    return prediction.probability[class_name(prediction.prediction)] if prediction.probability else None


PARTS: dict[str, Callable[[str, int, Prediction], Any]] = {
    "prediction": lambda model, generation, one: one.prediction,
    "probability": lambda model, generation, one: of_predicted(one),
    "probabilities": lambda model, generation, one: one.probability,
    "label": lambda model, generation, one: one.label,
    "centre": lambda model, generation, one: one.centre,
    "distance": lambda model, generation, one: one.distance,
    "unseen": lambda model, generation, one: one.unseen,
    "generation": lambda model, generation, one: generation,
    "model": lambda model, generation, one: model,
}


def standard(model: str, generation: int, one: Prediction) -> dict[str, Any]:
    """``{"model", "generation", "prediction", "probability"?, "label"?, "unseen"?}``."""
    answer: dict[str, Any] = {"model": model, "generation": generation, "prediction": one.prediction}
    if one.probability is not None:
        answer["probability"] = one.probability
    if one.label is not None:
        answer["label"] = one.label
    if one.unseen is not None:
        answer["unseen"] = one.unseen
    return answer


def mapped(answer: Any) -> Answer:
    """What a declared route answers of a prediction: the standard answer, one part of it bare, or its own keys."""
    if answer is None:
        return standard
    if isinstance(answer, str):
        return PARTS[answer]
    parts = [(key, part_of(part)) for key, part in answer.items()]
    return lambda model, generation, one: {key: part(model, generation, one) for key, part in parts}


def part_of(part: str | Constant) -> Answer:
    if isinstance(part, Constant):
        return lambda model, generation, one: part.value
    return PARTS[part]


def composed(answer: Any, parts: Callable[[str], Any]) -> Any:
    """The answer that a declared route makes of ``parts``: one of them bare, or its own keys."""
    if isinstance(answer, str):
        return parts(answer)
    return {key: one.value if isinstance(one, Constant) else parts(one) for key, one in answer.items()}
