"""Words and names that say what a value or a column is."""

from __future__ import annotations

import re

# Words that stand for a missing value, as public files have them.
MISSING_WORDS = frozenset(
    ["NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NULL", "null", "Null", "None", "none", "-", "--", "---", "?", ".",
     "\\N", "(null)", "<NA>", "n.a.", "N.A.", "nil", "k.A.", "#VALUE!", "#DIV/0!", "missing", "Missing", "|", "*", ".."]
)  # fmt: skip
# Of these, the words that are no value of a text column either.
NEVER_TEXT = frozenset(["\\N", "#N/A", "NULL", "(null)", "<NA>", "?", "NaN", "nan", "#VALUE!", "#DIV/0!"])

# Pairs of words for true and false, in lower case, and whether the reader takes them without being told.
TRUE_AND_FALSE = (
    ("true", "false", True),
    ("yes", "no", True),
    ("t", "f", True),
    ("y", "n", True),
    ("j", "n", False),
    ("ja", "nee", False),
    ("ja", "nein", False),
    ("o", "n", False),
    ("oui", "non", False),
    ("si", "no", False),
    ("sí", "no", False),
    ("s", "n", False),
    ("sim", "não", False),
    ("ja", "nej", False),
    ("tak", "nie", False),
    ("on", "off", False),
    ("wahr", "falsch", False),
    ("vrai", "faux", False),
)

PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
ID_WORDS = {"id", "ids", "uuid", "guid", "key", "pk", "nr", "index", "idx", "rowid", "objectid", "code"}
CODE_WORDS = {"zip", "zipcode", "postcode", "postal", "plz", "phone", "tel", "telephone", "mobile", "fax", "iban",
              "isbn", "ean", "upc", "fips", "barcode"}  # fmt: skip
TIME_WORDS = {"time", "timestamp", "date", "datetime", "ts", "at", "epoch", "created", "updated", "when", "unix",
              "datum", "zeit", "tijd", "posted", "utc"}  # fmt: skip
USER_WORDS = {"user", "users", "userid", "customer", "customerid", "reviewer", "reviewerid", "member", "visitor",
              "client", "account", "person", "reader", "viewer", "listener", "uid"}  # fmt: skip
ITEM_WORDS = {"item", "itemid", "movie", "movieid", "product", "productid", "book", "song", "track", "artist",
              "article", "isbn", "asin", "recipe", "anime", "film", "game", "restaurant", "business", "joke", "beer",
              "iid", "sku", "stockcode"}  # fmt: skip
RATING_WORDS = {"rating", "ratings", "score", "stars", "overall", "rate", "plays", "playcount", "weight", "votes"}
LABEL_WORDS = {"label", "target", "class", "y", "outcome", "labels", "classification"}


def parts(name: str) -> set[str]:
    """The words of a column's name, in lower case: of ``UserID`` and ``user_id`` ``user`` and ``id``; and the whole."""
    return {part.lower() for part in PARTS.findall(name)} | {name.strip().lower()}


def is_named(name: str, words: set[str]) -> bool:
    return bool(parts(name) & words)
