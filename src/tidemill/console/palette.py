"""Colours that can be told apart, on white and on black."""

from __future__ import annotations

PALETTE = (
    "#2f7ed8",  # blue
    "#e07b1a",  # orange
    "#2a9d5c",  # green
    "#d1495b",  # red
    "#8f6bc4",  # purple
    "#a07448",  # brown
    "#d65fa8",  # pink
    "#7a828c",  # grey
    "#9a9a1f",  # olive
    "#189fb0",  # teal
)
BLUE = PALETTE[0]
