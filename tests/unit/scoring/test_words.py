"""The words of texts in any script."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.scoring.storage import Stored
from tidemill.scoring.text import TextScorer
from tidemill.scoring.words import stem, terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red apples, 12 of_them!", ["red", "apples", "12", "of_them"]),
        ("हिन्दी किताबें", ["हिन्दी", "किताबें"]),
        ("ที่ น้ำ", ["ที่", "น้ำ"]),
        ("தமிழ் நூல்", ["தமிழ்", "நூல்"]),
        ("שָׁלוֹם مُحَمَّد", ["שָׁלוֹם", "مُحَمَّد"]),
        ("Cafe\u0301 CAF\u00c9", ["caf\u00e9", "caf\u00e9"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("ὈΔΥΣΣΕΎΣ Ὀδυσσεύς", ["ὀδυσσεύσ", "ὀδυσσεύσ"]),
        ("क्\u200cष a\u200c b", ["क्\u200cष", "a", "b"]),
        ("한국어 한국어".replace("어", unicodedata.normalize("NFD", "어")), ["한국어", "한국어"]),
        ("iPhone手机壳5个", ["iphone", "手机", "机壳", "5", "个"]),
        ("東京タワー 猫", ["東京", "京タ", "タワ", "ワー", "猫"]),
        ("カ\u3099ス", ["ガス"]),
        ("\u0301 👩\u200d👧 ❤\ufe0f ...", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """Marks belong to their letters, forms and cases of a letter are one, and CJK is cut into pairs."""
    assert words(text) == [unicodedata.normalize("NFC", word) for word in expected]


@given(st.text())
def test_words_do_not_depend_on_composition_or_case(text: str) -> None:
    """A text has the same words composed, decomposed and case-folded; and each word has one word, itself."""
    assert words(unicodedata.normalize("NFD", text)) == words(text) == words(unicodedata.normalize("NFC", text))
    assert words(text.casefold()) == words(text)
    assert all(words(word) == [word] for word in words(text))


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("laptops", "laptop"),
        ("batteries", "battery"),
        ("cables", "cable"),
        ("shoes", "shoe"),
        ("glass", "glass"),
        ("bus", "bus"),
        ("zombaies", "zombaie"),
        ("tvs", "tv"),
        ("is", "is"),
        ("s", "s"),
        ("ies", "ie"),
        ("très", "très"),
    ],
)
def test_the_s_stemmer(plural: str, singular: str) -> None:
    """Harman's rules, on ASCII words of three characters and more."""
    assert stem(plural) == singular
    assert terms(f"{plural}!") == [singular]


def test_a_kept_model_goes_on_with_its_own_words() -> None:
    """A scorer file without a tokenizer's number was made of words that end at marks, and is asked so."""
    document = {
        "model": "m",
        "estimator": "IDF",
        "features": [{"name": "t", "kind": "string"}],
        "vocabulary": ["tr\u00e8"],
    }
    arrays = {"idf": np.array([1.0])}
    earlier, new = TextScorer(Stored(document, arrays)), TextScorer(Stored(document | {"tokens": 2}, arrays))
    assert earlier.unknown("tr\u00e8s हि") == ["ह"]
    assert new.unknown("tr\u00e8s हि") == ["tr\u00e8s", "हि"]
