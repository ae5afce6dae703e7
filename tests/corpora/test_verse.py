"""English verse and collections by name: what is read, what is left out, and errors that name the
place."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memlab.corpora import verse
from memlab.corpora.poems import FORTUNES, Poem

needs_fortunes = pytest.mark.skipif(
    not (FORTUNES / "songs-poems").exists(), reason="the Debian package fortunes is not installed"
)
needs_tang = pytest.mark.skipif(
    not (FORTUNES / "tang300").exists(), reason="fortunes-zh is not installed"
)


@needs_fortunes
def test_the_installed_verse() -> None:
    poems = verse.english()
    assert len(poems) >= 100 and len({poem.cue for poem in poems}) >= 90
    assert {"William Blake", "Lewis Carroll", "Robert Burns"} <= {poem.author for poem in poems}
    for poem in poems:
        assert poem.author and poem.title and not poem.dynasty
        assert '"' not in poem.title + poem.author and not poem.author.startswith(("To ", "From "))
        assert poem.text.count("\n") >= 1 and "\t" not in poem.text and "\b" not in poem.text
        assert "-- " + poem.author not in poem.text and "%" not in poem.text.split("\n")
    assert sum(len(poem.text) <= 256 for poem in poems) >= 50


@needs_fortunes
@needs_tang
def test_collections_by_the_name_of_what_is_installed() -> None:
    assert verse.collection("songs-poems") == verse.english()
    assert len(verse.collection("tang300")) == 313 and len(verse.collection("song100", 5)) == 5


FILE = """Plain is the first line,
\tand the second goes in.
\t\t-- Ann Other, "Two Lines"
%
No one has signed
these two lines.
%
A line by somebody
and another one.
\t\t-- Ann Other
%
Two columns\tstand here,
and here\tas well.
\t\t-- Ann Other, "Columns"
%
One line alone.
\t\t-- Ann Other, "Short"
%
An old song
with new words.
\t\t-- To the tune of "Something"
%
Struck _\bover
once and twice.
\t\t-- Ann Other, "Struck"
%

Here is a line,

and here is one.
\t\t-- B. C. Dee, "A Long
\t\t   Title", 1901
%
He said -- not she --
and went.
\t\t-- E. Eff "No Comma"
"""


def test_what_is_read_and_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "songs-poems").write_text(FILE, "utf-8")
    assert verse.english(folder=tmp_path) == [
        Poem("Ann Other", "Two Lines", "Plain is the first line,\n        and the second goes in."),
        Poem("B. C. Dee", "A Long Title", "Here is a line,\n\nand here is one."),
        Poem("E. Eff", "No Comma", "He said -- not she --\nand went."),
    ]


def test_a_byte_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "songs-poems").write_bytes(
        b'one\ncaf\xe9 two\n\t-- A, "T"\n%\nthree\nfour\n-- B, "U"\n'
    )
    with pytest.raises(ValueError, match="expected UTF-8, got byte 0xe9 at byte 7, line 2") as said:
        verse.english(folder=tmp_path)
    assert str(tmp_path / "songs-poems") in str(said.value)


def test_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    (tmp_path / "songs-poems").write_text('one\ntwo\n-- A, "T"\n', "utf-8-sig")
    assert verse.english(folder=tmp_path) == [Poem("A", "T", "one\ntwo")]


def test_without_the_package_one_sentence_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="apt install fortunes") as caught:
        verse.english(folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_without_verse_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("Nothing\nsigned.\n%\nNor here.\n", "utf-8")
    with pytest.raises(
        ValueError, match=r"other: expected verse signed with author and title.*2 entries"
    ):
        verse.english("other", tmp_path)


ROWS: list[dict[str, Any]] = [
    {"dynasty": "唐", "author": "甲", "title": "乙", "content": "丙。\n丁。", "id": 1},
    {"dynasty": None, "author": "甲", "title": "戊", "content": ["己。", "庚。"], "id": 2},
    {"dynasty": "宋", "author": "", "title": "辛", "content": "壬。", "id": 3},
    {"dynasty": "宋", "author": "癸", "title": "子", "content": "丑。", "id": 4},
]
READ = [
    Poem("甲", "乙", "丙。\n丁。", "唐"),
    Poem("甲", "戊", "己。\n庚。"),
    Poem("癸", "子", "丑。", "宋"),
]


def test_rows_that_cannot_be_printed_are_passed_over() -> None:
    good = {"author": "A", "title": "T", "text": "x"}
    bad: list[dict[str, Any]] = [
        {**good, "text": "\ud83d"},
        {**good, "title": "\u200b"},
        {**good, "author": "A\x07"},
        {**good, "title": float("nan")},
        {**good, "text": [" ", ""]},
        {**good, "title": None},
    ]
    assert verse.from_rows([*bad, good]) == [Poem("A", "T", "x")]


@pytest.mark.parametrize(
    "value",
    [
        ["a", None, "b"],
        [["a", "b"], ["c"]],
        ["a", 3],
        ["a", float("nan")],
        {"a": "b"},
        [{"a": "b"}],
        b"a",
        [b"a"],
        True,
        {"a"},
        np.array([["a", "b"]]),
        np.array(["a", None], object),
        datetime.date(1200, 1, 2),
        1j,
    ],
    ids=str,
)
def test_what_is_no_text_is_passed_over(value: Any) -> None:
    good = {"author": "A", "title": "T", "text": "x", "dynasty": "D"}
    for part in good:
        assert verse.from_rows([{**good, part: value}, good]) == [Poem("A", "T", "x", "D")]


def test_numbers_arrays_and_what_is_missing_in_tables() -> None:
    rows = [
        {"author": "A", "title": 0, "text": ("a ", " b"), "dynasty": None},
        {"author": "A", "title": np.int64(7), "text": np.array(["a", "b"]), "dynasty": pd.NA},
        {"author": np.str_("A"), "title": 1.5, "text": ["a"], "dynasty": float("nan")},
        {"author": "A", "title": pd.NA, "text": "a", "dynasty": "D"},
        {"author": "A", "title": "T", "text": [], "dynasty": "D"},
        {"author": "A", "title": "T", "text": "a", "dynasty": []},
    ]
    assert verse.from_rows(rows) == [
        Poem("A", "0", "a \n b"),
        Poem("A", "7", "a\nb"),
        Poem("A", "1.5", "a"),
        Poem("A", "T", "a"),
    ]


def test_verse_that_cannot_be_printed_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "songs-poems").write_text(
        'one\ntwo\n\t-- A, "T"\n%\none\ntw\x00o\n\t-- A, "U"\n%\none\ntwo\n\t-- A, " "\n', "utf-8"
    )
    assert verse.english(folder=tmp_path) == [Poem("A", "T", "one\ntwo")]


def test_rows_become_poems() -> None:
    assert verse.from_rows(ROWS) == READ
    assert verse.from_rows(ROWS, limit=2) == READ[:2]
    assert verse.from_rows(iter(ROWS), limit=3) == READ
    assert verse.from_rows([]) == []


@pytest.mark.parametrize(
    ("row", "columns", "poem"),
    [
        ({"Poet": "A", "Title": " T ", "Poem": "x\ny\n", "Tags": ""}, None, Poem("A", "T", "x\ny")),
        ({"author": "A", "title": "T", "text": "x", "content": "y"}, None, Poem("A", "T", "y")),
        (
            {"author": "A", "title": "T", "verses": "x", "text": "z"},
            {"text": "verses"},
            Poem("A", "T", "x"),
        ),
        ({"who": "A", "title": "T", "text": "x"}, {"author": "who"}, Poem("A", "T", "x")),
    ],
)
def test_columns_have_many_names(
    row: dict[str, str], columns: dict[str, str] | None, poem: Poem
) -> None:
    assert verse.from_rows([row], columns=columns) == [poem]


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"title": "T", "body": "x"}, None, "none for author among title, body"),
        ({"a": 1}, None, "author, title, text"),
        ({"author": "A", "title": "T", "text": "x"}, {"text": "verses"}, "none for text"),
    ],
)
def test_columns_that_are_not_there_are_named(
    row: dict[str, Any], columns: dict[str, str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        verse.from_rows([row], columns=columns, source="hub:a/b")


def test_the_hub_is_asked_for_what_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, *, split: str, streaming: bool) -> Any:
        asked.append((name, split, streaming))
        return iter(ROWS) if streaming else ROWS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert verse.hub("hub:some.one/po-ems_2") == READ
    assert verse.collection("hub:a/b", limit=1) == READ[:1]
    assert asked == [("some.one/po-ems_2", "train", False), ("a/b", "train", True)]


def test_without_datasets_one_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match="pip install datasets"):
        verse.hub("hub:owner/name")


@pytest.mark.parametrize(
    "name", ["owner/name", "hub:name", "hub:a/b/c", "hub:/b", "hub:a b/c", "hub:"]
)
def test_other_names_never_reach_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))
    with pytest.raises(ValueError, match="hub:owner/name"):
        verse.hub(name)


def test_a_json_lines_file_is_a_collection(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(
        "\n".join(json.dumps({"author": "A", "title": str(i), "text": "x"}) for i in range(4)),
        "utf-8",
    )
    assert [poem.title for poem in verse.collection(str(path), 3)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="unknown collection 'sonnets'"):
        verse.collection("sonnets")
