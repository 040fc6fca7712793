"""What a prediction looks like to a client: the standard answer, or a declared route's own keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.responses import JSONResponse

from tidemill.scoring import Prediction
from tidemill.scoring.base import class_name

Answer = Callable[[str, int, Prediction], dict[str, Any]]


class Json(JSONResponse):
    """A JSON response, written by orjson: numbers that JSON has no word for (NaN) become null."""

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else encode(content)


def encode(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY)


def of_predicted(prediction: Prediction) -> float | None:
    """The probability of the predicted class; None where the model gives none."""
    return prediction.probability[class_name(prediction.prediction)] if prediction.probability else None


PARTS: dict[str, Callable[[str, int, Prediction], Any]] = {
    "prediction": lambda model, generation, one: one.prediction,
    "probability": lambda model, generation, one: of_predicted(one),
    "probabilities": lambda model, generation, one: one.probability,
    "label": lambda model, generation, one: one.label,
    "generation": lambda model, generation, one: generation,
    "model": lambda model, generation, one: model,
}


def standard(model: str, generation: int, one: Prediction) -> dict[str, Any]:
    """``{"model", "generation", "prediction", "probability"?, "label"?}``."""
    answer: dict[str, Any] = {"model": model, "generation": generation, "prediction": one.prediction}
    if one.probability is not None:
        answer["probability"] = one.probability
    if one.label is not None:
        answer["label"] = one.label
    return answer


def mapped(keys: Mapping[str, str]) -> Answer:
    """The answer whose keys are those of ``keys``, each with the part of the prediction it names."""
    parts = [(key, PARTS[part]) for key, part in keys.items()]
    return lambda model, generation, one: {key: part(model, generation, one) for key, part in parts}
