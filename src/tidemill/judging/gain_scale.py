"""The scale on which gains are drawn. Pure.

Gains are shares of the reference's loss, so that losses of any unit read alike. The axis fits the usual gains: a few
huge ones would flatten all others, so those are drawn at its end and said in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tidemill.texts import percent

USUAL = 0.75  # the axis fits the gain that this share of all does not exceed
STRETCH = 5  # the axis reaches at most so many times as far as that gain
PADDING = 0.06
SHARE_LABELS = "(datum.value ? format(100 * datum.value, '+,.3~r') : '0') + ' %'"  # of an axis of shares, for Vega
FALLBACK = 0.01


class Gain(NamedTuple):
    """A gain with its 95 % interval and its margin, in the unit of the loss."""

    gain: float
    low: float
    high: float
    margin: float
    reference_loss: float | None


class DrawnGain(NamedTuple):
    """Where a gain is drawn, in the unit of the axis.

    ``outside``: the gain lies beyond the axis, at whose end it is drawn. ``cut``: its interval goes on beyond the axis.
    ``text``: the gain in words; ``whole``: with its interval.
    """

    gain: float
    low: float
    high: float
    margin: float
    outside: bool
    cut: bool
    text: str
    whole: str


class GainScale(NamedTuple):
    """``shares``: whether the axis has shares of the reference's loss, else the unit of the loss. ``ends``: its two."""

    shares: bool
    ends: tuple[float, float]
    drawn: list[DrawnGain]


def gain_scale(gains: Sequence[Gain]) -> GainScale:
    """The axis of these gains, and where each is drawn on it.

    They are shares of the absolute value of the reference's loss, which may be negative as a log density is; where a
    reference has no loss, or one of 0, all are in the unit of the loss.
    """
    shares = all(gain.reference_loss for gain in gains)
    values = [in_shares(gain) for gain in gains] if shares else list(gains)
    ends = axis_ends(values)
    return GainScale(shares, ends, [drawn(gain, ends, shares) for gain in values])


def in_shares(gain: Gain) -> Gain:
    unit = abs(gain.reference_loss or 1.0)
    return Gain(gain.gain / unit, gain.low / unit, gain.high / unit, gain.margin / unit, gain.reference_loss)


def axis_ends(gains: Sequence[Gain]) -> tuple[float, float]:
    """The ends of the axis: it has 0, the margins, and each value that is not many times as far from 0 as the usual."""
    reaches = sorted(max(abs(gain.gain), abs(gain.low), abs(gain.high)) for gain in gains)
    margin = max((gain.margin for gain in gains), default=0.0)
    usual = reaches[int(USUAL * (len(reaches) - 1))] if reaches else 0.0
    most = STRETCH * (usual or margin or FALLBACK)
    least = min(margin, most)
    fitting = [value for gain in gains for value in (gain.gain, gain.low, gain.high) if abs(value) <= most]
    low, high = min([-least, *fitting]), max([least, *fitting])
    room = PADDING * (high - low) or FALLBACK
    return low - room, high + room


def drawn(gain: Gain, ends: tuple[float, float], shares: bool) -> DrawnGain:
    middle, low, high, margin = (min(max(value, ends[0]), ends[1]) for value in gain[:4])
    text, *interval = (gain_text(value, shares) for value in gain[:3])
    return DrawnGain(
        gain=middle,
        low=low,
        high=high,
        margin=margin,
        outside=middle != gain.gain,
        cut=(low, high) != (gain.low, gain.high),
        text=text,
        whole=f"{text} ({' to '.join(interval)})",
    )


def gain_text(value: float, shares: bool) -> str:
    """A gain with its sign: ``+5.2 %``."""
    return f"{percent(value, '+')} %" if shares else f"{value:+.3g}"


def outside_text(generations: Sequence[int], scale: GainScale, most: int = 5) -> str:
    """What lies beyond the axis: ``Beyond the axis: generation 4, +56 % (+53 % to +59 %).``, or an empty text."""
    named = [
        f"generation {generation:,}, {gain.whole}"
        for generation, gain in zip(generations, scale.drawn, strict=True)
        if gain.outside
    ]
    more = f"; and {len(named) - most:,} more" if len(named) > most else ""
    parts = [f"Beyond the axis: {'; '.join(named[:most])}{more}."] if named else []
    parts += (
        ["A dashed interval goes on beyond the axis."]
        if any(gain.cut and gain.low < gain.high for gain in scale.drawn)
        else []
    )
    return " ".join(parts)
