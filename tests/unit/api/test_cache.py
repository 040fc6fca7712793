"""What is kept for the next request is bounded, by number and by weight."""

from __future__ import annotations

from tidemill.api.models.cache import SharedCache


def kept(values: SharedCache[str, int], keys: str) -> str:
    return "".join(key for key in keys if values.peek(key) is not None)


def test_the_least_recently_used_goes_first() -> None:
    """No more values are kept than allowed; one that was used again stays."""
    values: SharedCache[str, int] = SharedCache(2)
    values["a"], values["b"] = 1, 1
    assert values["a"] == 1
    values["c"] = 1
    assert kept(values, "abc") == "ac"


def test_values_weigh() -> None:
    """All together weigh no more than allowed, but the newest, which is kept whatever it weighs."""
    values: SharedCache[str, int] = SharedCache(10, 100, lambda value: value)
    values["a"], values["b"], values["c"] = 40, 40, 20
    assert kept(values, "abc") == "abc"
    values["d"] = 30
    assert kept(values, "abcd") == "bcd"
    values["e"] = 500
    assert kept(values, "abcde") == "e"
