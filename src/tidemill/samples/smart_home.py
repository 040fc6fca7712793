"""Smart-home device usage, in the form of the public data set of that name.

Planted, as in the public file of 5,403 rows: device types, hours, energy, age and malfunctions are uniform and
independent. A device is efficient if it has at least four of six points: two if its user prefers efficiency, and one
each for no malfunction, an age under 36 months, an energy use under 5 kWh, and more than 8 hours of use a day. Then
4.5 % of the labels are flipped. That rule gives 95.5 % of the public file's labels. Malfunctions depend on nothing, so
there is nothing to learn about them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tidemill.pipeline import Column, arrow_schema

VERSION = 1
SEED = 20_240
BLOCK_ROWS = 8_192

COLUMNS = (
    Column("UserID", "int", False),
    Column("DeviceType", "string", False),
    Column("UsageHoursPerDay", "float", False),
    Column("EnergyConsumption", "float", False),
    Column("UserPreferences", "int", False),
    Column("MalfunctionIncidents", "int", False),
    Column("DeviceAgeMonths", "int", False),
    Column("SmartHomeEfficiency", "int", False),
)
DEVICE_TYPES = np.array(["Camera", "Lights", "Security System", "Smart Speaker", "Thermostat"])
PREFERENCE_SHARE = 0.512
TURNED_ROUND_SHARE = 0.045


def block(number: int) -> pa.Table:
    """Rows ``number * BLOCK_ROWS`` and on, ``BLOCK_ROWS`` of them; UserID counts from 1."""
    random = np.random.default_rng([SEED, number])
    device = random.integers(len(DEVICE_TYPES), size=BLOCK_ROWS)
    hours = random.uniform(0.5, 24.0, BLOCK_ROWS)
    energy = random.uniform(0.1, 10.0, BLOCK_ROWS)
    preference = random.random(BLOCK_ROWS) < PREFERENCE_SHARE
    malfunctions = random.integers(0, 5, BLOCK_ROWS)
    age = random.integers(1, 60, BLOCK_ROWS)
    turned_round = random.random(BLOCK_ROWS) < TURNED_ROUND_SHARE
    columns = [
        np.arange(BLOCK_ROWS) + number * BLOCK_ROWS + 1,
        DEVICE_TYPES[device],
        hours,
        energy,
        preference.astype(np.int64),
        malfunctions,
        age,
        (efficient(preference, malfunctions, age, energy, hours) ^ turned_round).astype(np.int64),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=arrow_schema(COLUMNS))


def efficient(
    preference: np.ndarray, malfunctions: np.ndarray, age: np.ndarray, energy: np.ndarray, hours: np.ndarray
) -> np.ndarray:
    """The rule behind the label; see this module's docstring."""
    points = 2 * preference + (malfunctions == 0) + (age < 36) + (energy < 5) + (hours > 8)
    efficient: np.ndarray = points >= 4
    return efficient
