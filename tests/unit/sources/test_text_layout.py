"""How text files are laid out: encodings, delimiters, escapes, lines that are skipped, and what the first record is."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.support.reading import TWO, opened, read, refused, written
from tidemill.sources.chunk import RECORD_CHARACTERS, TOO_LONG

WORDS = {"city": "string", "n": "int"}
ENCODED = [
    ("utf-16", "Köln", "utf-16"),
    ("utf-16-le", "Köln", "utf-16"),
    ("utf-16-be", "Köln", "utf-16"),
    ("utf-16-be", "\ufeffKöln", "UTF-16BE"),
    ("utf-32", "Köln", "utf-32"),
    ("utf-8-sig", "Köln", "utf-8"),
    ("cp1252", "Köln €", "windows-1252"),
    ("latin-1", "Köln", "ISO-8859-1"),
    ("cp1250", "Łódź", "windows-1250"),
    ("cp1251", "Москва", "cp1251"),
    ("koi8-r", "Москва", "KOI8-R"),
    ("cp850", "Köln", "cp850"),
    ("shift-jis", "東京", "Shift_JIS"),
    ("gb18030", "北京", "gb18030"),
    ("big5", "台北", "Big5"),
    ("euc-kr", "서울", "euc-kr"),
]


@pytest.mark.parametrize(("codec", "city", "declared"), ENCODED)
@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data.csv.gz"])
def test_text_in_its_encoding(tmp_path: Path, codec: str, city: str, declared: str, name: str) -> None:
    """A file in any encoding, with a byte order mark or without, has the rows that it has in UTF-8."""
    mark, city = city[: city.startswith("\ufeff")], city.removeprefix("\ufeff")
    text = f'{{"city": "{city}", "n": 1}}\n' if "json" in name else f'city,n\r\n"{city}",1\r\n'
    data = (mark + text).encode(codec)
    path = written(tmp_path, gzip.compress(data) if name.endswith(".gz") else data, name)
    assert read(path, WORDS, encoding=declared) == ([(city, 1)], [])


@pytest.mark.parametrize(("codec", "found"), [("utf-16", "UTF-16"), ("utf-32", "UTF-32")])
@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
def test_wide_text_that_is_not_declared(tmp_path: Path, codec: str, found: str, name: str) -> None:
    """UTF-16 and UTF-32 are known by their byte order mark, and the hint is the setting that reads them."""
    text = '{"id": 1, "name": "a"}\n' if "json" in name else "id,name\n1,a\n"
    error = refused(written(tmp_path, text.encode(codec), name), TWO)
    assert error.message == f"{name} is {found}"
    assert error.hint == f'set source.encoding = "{codec}"'


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [("utf-8", b"caf\xe9"), ("cp1252", b"caf\x81"), ("shift-jis", b"\x81\x20"), ("gb18030", b"\xff")],
)
@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
def test_bytes_that_do_not_fit_cost_only_their_row(tmp_path: Path, encoding: str, bad: bytes, name: str) -> None:
    """Bytes that are not of the encoding reject their row, in every encoding; those around it arrive."""
    if "json" in name:
        data = b'{"id": 1, "name": "a"}\n{"id": 2, "name": "' + bad + b'"}\n{"id": 3, "name": "c"}\n'
    else:
        data = b"id,name\n1,a\n2," + bad + b"\n3,c\n"
    rows, rejects = read(written(tmp_path, data, name), TWO, encoding=encoding)
    assert rows == [(1, "a"), (3, "c")]
    assert [reject.line for reject in rejects] == [3 - ("json" in name)]


def test_an_odd_byte_at_the_end_of_utf_16(tmp_path: Path) -> None:
    """UTF-16 that is cut within a character loses only that row."""
    rows, (reject,) = read(written(tmp_path, "id,name\n1,a\n2,b".encode("utf-16")[:-1]), TWO, encoding="utf-16")
    assert rows == [(1, "a")]
    assert (reject.line, reject.reason) == (3, "its bytes are not valid UTF-16")


TABS = [("1", "x\ty"), ("2", "\\N"), ("3", "x\\N")]
LAYOUTS: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("a b\n1   2\n\t3\t 4 \n", {"delimiter": "blanks"}, [("1", "2"), ("3", "4")]),
    ('a b\n"x y"  "say ""hi"""\n', {"delimiter": "blanks"}, [("x y", 'say "hi"')]),
    ("  1 x\n 10 y\n100 z\n", {"delimiter": "blanks"}, [("1", "x"), ("10", "y"), ("100", "z")]),
    ('a, b\n1, "x, y"\n2 ,  z \n', {"trim": True}, [("1", "x, y"), ("2", "z")]),
    ('a, b\n"1" , "x "" , y" \n2, z\n', {"trim": True}, [("1", 'x " , y'), ("2", "z")]),
    ("a;b\n 1;\t2\t\n   \n3;4\n", {"trim": True, "delimiter": ";"}, [("1", "2"), ("3", "4")]),
    ('a,b\n1,x\\,y\n2,"q\\"q"\n', {"escape": "\\"}, [("1", "x,y"), ("2", 'q"q')]),
    (
        "a\tb\n1\tx\\\ty\n2\t\\N\n3\tx\\\\N\n",
        {"escape": "\\", "delimiter": "\t"},
        [("1", "x\ty"), ("2", "\\N"), ("3", "x\\N")],
    ),
    ('a,b\n1,"open\n2,12" pipe\n3,"x" y"\n', {"quote": ""}, [("1", '"open'), ("2", '12" pipe'), ("3", '"x" y"')]),
    ('a\tb\n"1"\t"x\n\n2\t""\n', {"quote": "", "delimiter": "\t"}, [('"1"', '"x'), ("2", '""')]),
    ('a b\n1  "x\n "2" y"\n', {"quote": "", "delimiter": "blanks"}, [("1", '"x'), ('"2"', 'y"')]),
    (
        '# "a\na; b\n1; "x"\n# "\n2 ; y" \n',
        {"quote": "", "delimiter": ";", "trim": True, "comment": "#"},
        [("1", '"x"'), ("2", 'y"')],
    ),
    (
        'title "\na,b\n1,"x\\,y\n2,p\\nq"\\"\n',
        {"quote": "", "escape": "\\", "skip": 1},
        [("1", '"x,y'), ("2", 'p\nq""')],
    ),
    ("a,b\n'1','x, ''y'''\n2,z\n", {"quote": "'"}, [("1", "x, 'y'"), ("2", "z")]),
    ("a b\n'1 2' 'x''y'\n", {"quote": "'", "delimiter": "blanks"}, [("1 2", "x'y")]),
    ("a, b\n'1' , 'x, y' \n", {"quote": "'", "trim": True}, [("1", "x, y")]),
    ("a,b\n1,x\\ny\n2,p\\\nq\n3,z\n", {"escape": "\\"}, [("1", "x\ny"), ("2", "p\nq"), ("3", "z")]),
    ("Title\n\na,b\n1,2\n", {"skip": 2}, [("1", "2")]),
    ("1,2\n3,4\n", {"skip": 1, "header": False}, [("3", "4")]),
    ("# made today\na,b\n1,2\n# half\n3,4\n", {"comment": "#"}, [("1", "2"), ("3", "4")]),
    ('a,b\n1,"x\n# y"\n// z\n3,4#\n', {"comment": "#"}, [("1", "x\n# y"), ("3", "4#")]),
    ("a,b,\n1,2,\n3,4\n", {}, [("1", "2"), ("3", "4")]),
    ("1,2,\n3,4,\n", {}, [("1", "2"), ("3", "4")]),
    ("sep=;\na;b\n1;2\n", {}, [("1", "2")]),
    ("sep=;\na;b\n1;2\n", {"delimiter": ";"}, [("1", "2")]),
    ('\ufeff"sep=|"\r\na|b\r\n1|2\r\n', {}, [("1", "2")]),
    ("SEP=\t\na\tb\n1\t2\n", {}, [("1", "2")]),
    ("sep=;\na,b\n1,2\n", {"delimiter": ",", "skip": 1}, [("1", "2")]),
]


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(("text", "settings", "expected"), LAYOUTS)
def test_layouts(tmp_path: Path, text: str, settings: dict[str, Any], expected: list[Any], size: int) -> None:
    """Each way to lay out a text gives the fields that are meant, in chunks of any size."""
    rows, rejects = read(written(tmp_path, text), {"a": "string", "b": "string"}, size=size, **settings)
    assert rows == expected
    assert [reject.text for reject in rejects] == (["// z"] if "// z" in text else [])


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_text_without_quotes_in_any_encoding(tmp_path: Path, size: int) -> None:
    """Quotes that are part of the values stay in them whatever the encoding; a line with too few fields is a reject."""
    data = 'id,name\r\n1,"Zoë\r\n"2"\r\n3,ü"'.encode("utf-16")
    rows, (reject,) = read(written(tmp_path, data), TWO, size=size, encoding="utf-16", quote="")
    assert rows == [(1, '"Zoë'), (3, 'ü"')]
    assert (reject.line, reject.text, reject.reason) == (3, '"2"', "1 field where 2 were expected")


def test_a_field_that_is_too_long_where_nothing_is_quoted(tmp_path: Path) -> None:
    """It costs only its row, also where blanks around fields are removed."""
    path = written(tmp_path, f"id, name\n1, a\n2, {'x' * (RECORD_CHARACTERS + 1)}\n3, c\n")
    rows, (reject,) = read(path, TWO, quote="", trim=True)
    assert (rows, reject.line, reject.reason) == ([(1, "a"), (3, "c")], 3, TOO_LONG)


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_lines_in_rejects_are_those_of_the_file(tmp_path: Path, size: int) -> None:
    """Whatever is skipped, a reject has its physical line, and its text without the lines around it."""
    text = 'title\n# c\nid,name\n# c\n1,"a\n# in"\n\nbad,x\n# after\n# more\n2,b\nworse,"y\nz"\n#end\n'
    rows, rejects = read(written(tmp_path, text), TWO, size=size, skip=1, comment="#")
    assert rows == [(1, "a\n# in"), (2, "b")]
    assert [(reject.line, reject.text) for reject in rejects] == [(8, "bad,x"), (12, 'worse,"y\nz"')]


def test_a_delimiter_that_contradicts_the_files_own(tmp_path: Path) -> None:
    """A first line sep=; beside another declared delimiter is a fault that names both."""
    error = refused(written(tmp_path, "sep=;\nid;name\n1;a\n"), TWO, delimiter="\t")
    assert error.message == r"line 1 of data.csv says sep=;, while source.delimiter is '\t'"


def test_a_trailing_delimiter_is_told(tmp_path: Path) -> None:
    """A last field without a name is ignored with a note; without a header only where it is empty."""
    reader = opened(written(tmp_path, "id,name,\n1,a,\n"), TWO)
    assert [str(note) for note in reader.notes] == [
        "source.columns: the last field of each record of data.csv has no name and is ignored"
    ]
    rows, (reject,) = read(written(tmp_path, "1,a,\n2,b,x\n"), TWO)
    assert rows == [(1, "a")]
    assert reject.reason == "3 fields where 2 were expected"


@pytest.mark.parametrize("name", ["data.dat", "data", "data.csv"])
def test_a_format_where_the_ending_says_nothing(tmp_path: Path, name: str) -> None:
    """The setting ``format`` precedes the ending; without it the fault names the setting."""
    path = written(tmp_path, '{"id": 1, "name": "a"}\n', name)
    assert read(path, TWO, format="jsonl")[0] == [(1, "a")]
    if name != "data.csv":
        assert "source.format" in refused(path, TWO).hint


# --- the first record ---------------------------------------------------------------------------------------------

STRINGS = {"text": "string", "intent": "string"}
E_ACUTE, E_AND_ACUTE = "\u00e9", "e\u0301"
BY_NAME: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("intent,text\n", STRINGS, {}),
    (f"pr{E_AND_ACUTE}nom,ville\n", {f"pr{E_ACUTE}nom": "string", "ville": "string"}, {}),
    (f"pr{E_ACUTE}nom,ville\n", {f"pr{E_AND_ACUTE}nom": "string", "ville": "string"}, {"header": True}),
    ("a b/c,PT08.S1(CO)\n", {"x": {"type": "string", "from": "PT08.S1(CO)"}, "a b/c": "string"}, {}),
]


@pytest.mark.parametrize(("header", "columns", "settings"), BY_NAME)
def test_names_in_any_form_and_order(
    tmp_path: Path, header: str, columns: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Names are compared with their letters composed, so that a header counts as one however it is written."""
    rows, rejects = read(written(tmp_path, header + "one,two\n"), columns, **settings)
    assert rows in ([("one", "two")], [("two", "one")])
    assert not rejects
    names = [column if isinstance(column, str) else column["from"] for column in columns.values()]
    if "intent" in header or "PT08" in header:
        assert rows == [("two", "one")], names


def test_a_key_of_json_with_decomposed_letters(tmp_path: Path) -> None:
    """A key that differs in the form of its letters alone is a fault with that key, not a column without values."""
    path = written(tmp_path, f'{{"id": 1, "pr{E_AND_ACUTE}nom": "x"}}\n', "data.jsonl")
    error = refused(path, {"id": "int", f"pr{E_ACUTE}nom": "string?"})
    assert f'did you mean "pr{E_AND_ACUTE}nom"?' in error.hint


@pytest.mark.parametrize(
    ("data", "columns", "settings", "message", "hint"),
    [
        ("Text,INTENT\na,b\n", STRINGS, {}, "no column text, intent", 'in place of text, did you mean "Text"?'),
        ("user name,x\na,1\n", {"user_name": "string", "n": "string"}, {}, "no column user_name, n", '"user name"'),
        ("\uff54\uff45\uff58\uff54,x\na,b\n", STRINGS, {}, "no column text, intent", "\uff54\uff45\uff58\uff54"),
        ("pr\u00e9nom,\u00e2ge\na,b\n".encode("cp1252"), {"pr\u00e9nom": "string", "\u00e2ge": "string"}, {},
         "the bytes of data.csv, line 1, are not valid UTF-8", 'source.encoding = "cp12'),
        ("pr\u00e9nom,\u00e2ge\na,b\n", {"pr\u00e9nom": "string", "\u00e2ge": "string"}, {"encoding": "cp1252"},
         "no column pr\u00e9nom, \u00e2ge", 'source.encoding = "utf-8"'),
        ("id,\u00e2ge\n1,2\n", {"id": "int", "\u00e2ge": "int?"}, {"encoding": "cp1252"},
         "under a name in another encoding", 'source.encoding = "utf-8"'),
        ("Имя,Город\na,b\n".encode("koi8-r"), {"Имя": "string", "Город": "string"}, {"encoding": "cp1251"},
         "no column Имя, Город", 'source.encoding = "koi8-r"'),
        ("prenom,age\nx,3\n", {"name": "string", "years": "int"}, {}, "'age' where years, int, is declared", "from"),
        ("id,name,id\n1,a,2\n", TWO, {}, "more than one column id: fields 1, 3", "source.skip = 1"),
        (",name\n1,a\n", {"id": "int?", "name": "int"}, {"header": True}, "", ""),
    ],
)  # fmt: skip
def test_a_header_never_makes_columns_go_by_position(
    tmp_path: Path, data: str | bytes, columns: dict[str, Any], settings: dict[str, Any], message: str, hint: str
) -> None:
    """Names that nearly match, in another encoding or with other types than the rows, are a fault with the way out."""
    if not message:
        assert [str(reject.reason) for reject in read(written(tmp_path, data), columns, **settings)[1]] == [
            "name is 'a', not a whole number of 64 bits"
        ]
        return
    error = refused(written(tmp_path, data), columns, **settings)
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("data", "columns", "settings", "noted"),
    [
        ("query,label\nplease book,Booking\ncancel,Booking\n", STRINGS, {}, True),
        ("query,label\nplease book,Booking\ncancel,Booking\n", STRINGS, {"header": False}, False),
        ("query,label\n", STRINGS, {}, False),
        ("please book,Booking\ncancel it,Booking\nrefund it,Payment\n", STRINGS, {}, False),
        ("17:03 in,Booking\nx,y\n", STRINGS, {}, False),
        ("1,one\n2,two\n", TWO, {}, False),
        (",one\n2,two\n", {"id": "int?", "name": "string"}, {}, False),
        ("x,one\ny,two\n3,three\n", TWO, {}, False),
    ],
)
def test_a_first_record_that_may_be_a_header(
    tmp_path: Path, data: str, columns: dict[str, Any], settings: dict[str, Any], noted: bool
) -> None:
    """Where only strings are declared, a row that looks like names is told; a file without a header has no note."""
    path = written(tmp_path, data)
    notes = opened(path, columns, **settings).notes
    assert [note.path for note in notes] == ["source.header"] * noted
    rows, rejects = read(path, columns, **settings)
    assert len(rows) + len(rejects) == data.count("\n")  # read as a row


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
def test_an_optional_column_that_is_absent_is_told(tmp_path: Path, name: str) -> None:
    """A column that may be missing and that no record has is a note with the name that may be meant."""
    text = '{"id": 1, "a": 1, "rooms": 2}\n' if "json" in name else "id,a,rooms\n1,1,2\n"
    columns = {"id": "int", "a": "int", "romms": "int?", "n": {"type": "int", "default": 0}}
    reader = opened(written(tmp_path, text, name), columns)
    first, second = map(str, reader.notes)
    assert first.startswith("source.columns.romms: ")
    assert first.endswith("data" + name[4:] + ' has no column romms: every value is missing; did you mean "rooms"?')
    assert "has no column n: every value is the default, 0" in second


def test_values_that_begin_with_a_blank_are_told(tmp_path: Path) -> None:
    """A string column of which every value begins with a blank has a note that names trim."""
    path = written(tmp_path, 'id, name\n1, a\n2, "b, c"\n')
    assert [note.path for note in opened(path, TWO).notes] == ["source.trim"]
    assert read(path, TWO, trim=True)[0] == [(1, "a"), (2, "b, c")]


@pytest.mark.parametrize(
    ("text", "strip", "noted"),
    [("2,6", ",", True), ("1,099", ",", False), ("1,099.50", ",", False), ("3.5", ".", True)],
)
def test_a_decimal_sign_that_is_stripped_is_told(tmp_path: Path, text: str, strip: str, noted: bool) -> None:
    """A sign that ``strip`` takes out before one or two last digits is told, as it makes 26 of 2,6."""
    path = written(tmp_path, f"id;v\n1;{text}\n")
    notes = opened(path, {"id": "int", "v": {"type": "float", "strip": [strip]}}, delimiter=";").notes
    assert [note.path for note in notes] == ["source.columns.v.strip"] * noted


def test_a_thousand_columns(tmp_path: Path) -> None:
    """A file of 1,000 columns is read whole, by name and by position."""
    names = [f"c{number}" for number in range(1000)]
    rows = [[str(row * number) for number in range(1000)] for row in range(20)]
    text = "\n".join(",".join(row) for row in [names, *rows]) + "\n"
    got, rejects = read(written(tmp_path, text), dict.fromkeys(reversed(names), "int"))
    assert [list(map(str, reversed(row))) for row in got] == rows
    assert not rejects
