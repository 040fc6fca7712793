"""The limit of many rows in one request: orjson reads them, numpy predicts all at once, orjson writes the answers.

No row is checked. Prints the rows a second of ``ROUNDS`` bodies.

    python bench/peers/numpy_rows.py FILE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import orjson

NUMBERS = ("UsageHoursPerDay", "EnergyConsumption", "UserPreferences", "MalfunctionIncidents", "DeviceAgeMonths")
KINDS = {name: number for number, name in enumerate(("Camera", "Lights", "Security System", "Smart Speaker"))}
COEFFICIENTS = np.linspace(-1, 1, len(NUMBERS) + len(KINDS) + 1)
ROUNDS = 20


def answers(body: bytes) -> bytes:
    rows = orjson.loads(body)["rows"]
    numbers = np.array([[row[name] for name in NUMBERS] for row in rows], dtype=np.float64)
    kinds = np.fromiter((KINDS.get(row["DeviceType"], len(KINDS)) for row in rows), np.intp, len(rows))
    chances = 1 / (1 + np.exp(-(numbers @ COEFFICIENTS[: len(NUMBERS)] + COEFFICIENTS[len(NUMBERS) :][kinds])))
    return orjson.dumps(
        [
            {
                "model": "efficiency",
                "generation": 1,
                "prediction": int(chance > 0.5),
                "probability": {"0": 1 - chance, "1": chance},
                "label": "Efficient" if chance > 0.5 else "Inefficient",
            }
            for chance in chances.tolist()
        ]
    )


def main(path: str) -> None:
    body = Path(path).read_bytes()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        answers(body)
    print(f"{(time.perf_counter() - began) / ROUNDS:.6f}")


if __name__ == "__main__":
    main(sys.argv[1])
