"""How gains are put on an axis."""

from __future__ import annotations

import pytest

from tidemill.judging.gain_scale import Gain, gain_scale, outside_text


def gain(value: float, reference_loss: float | None = 2.0) -> Gain:
    """A gain with an interval of 0.02, and a margin of 1 % of a loss of 2."""
    return Gain(value, value - 0.01, value + 0.01, 0.02, reference_loss)


def test_gains_are_shares_of_the_loss_of_the_reference() -> None:
    """Of its absolute value, as a log density may be negative."""
    scale = gain_scale([gain(0.1), gain(0.1, -2.0)])
    assert scale.shares
    assert [place.gain for place in scale.drawn] == pytest.approx([0.05, 0.05])
    assert [place.margin for place in scale.drawn] == pytest.approx([0.01, 0.01])
    assert scale.drawn[1].whole == "+5 % (+4.5 % to +5.5 %)"


@pytest.mark.parametrize("loss", [0.0, None])
def test_without_a_loss_of_the_reference_all_gains_keep_their_unit(loss: float | None) -> None:
    """One axis has one unit."""
    scale = gain_scale([gain(0.1), gain(-0.1, loss)])
    assert not scale.shares
    assert [place.gain for place in scale.drawn] == [0.1, -0.1]
    assert scale.drawn[1].text == "-0.1"


def test_one_huge_gain_flattens_no_other() -> None:
    """The axis fits the usual gains; a huge one stands at its end and is said in words, with its interval."""
    scale = gain_scale([gain(0.02 * number) for number in range(1, 6)] + [gain(-300.0)])
    assert -0.02 < scale.ends[0] < -0.01
    assert 0.055 < scale.ends[1] < 0.06
    assert [place.outside for place in scale.drawn] == [False] * 5 + [True]
    assert scale.drawn[-1].gain == scale.ends[0]
    told = outside_text([1, 2, 3, 4, 5, 6], scale)
    assert told.startswith("Beyond the axis: generation 6, -15,000 % (-15,000 % to -15,000 %).")


def test_a_wide_interval_is_cut() -> None:
    """Its gain stays where it is, and the interval ends with the axis."""
    wide = Gain(0.04, -40.0, 0.05, 0.02, 2.0)
    scale = gain_scale([gain(0.02), gain(0.03), gain(0.03), wide])
    assert (scale.drawn[-1].cut, scale.drawn[-1].outside) == (True, False)
    assert scale.drawn[-1].low == scale.ends[0]
    assert outside_text([1, 2, 3, 4], scale) == "A dashed interval goes on beyond the axis."


def test_gains_of_one_size_are_all_within_the_axis() -> None:
    """Nothing is cut where nothing is huge; equal models, and none at all, have an axis too."""
    for gains in ([gain(0.1)], [gain(0.1), gain(0.4)], [Gain(0.0, 0.0, 0.0, 0.0, 2.0)], []):
        scale = gain_scale(gains)
        assert outside_text(range(len(gains)), scale) == ""
        assert scale.ends[0] < 0 < scale.ends[1]


def test_a_long_list_of_huge_gains_is_cut() -> None:
    """At most five are named."""
    scale = gain_scale([gain(0.02)] * 24 + [gain(300.0)] * 7)
    assert outside_text(range(1, 32), scale).count("generation") == 5
    assert "; and 2 more." in outside_text(range(1, 32), scale)
