"""Text on every reader's disk: what is taken, what is kept out, and a cache that cannot do harm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path

import pytest

from memlab.corpora import needles, text

Library = dict[str, list[str]]


def words(sentence: str) -> tuple[str, ...]:
    return tuple(re.findall("[a-z0-9]+", sentence.lower()))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Three installed packages of 150 documented functions each, and an empty cache."""
    monkeypatch.setenv("MEMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        text, "PACKAGES", {split: (f"fake_{split}",) for split in ("train", "dev", "test")}
    )
    made: Library = {}
    for split in text.PACKAGES:
        made[split] = [
            f"The {a}{b} of {split} turns left."
            for a, b in product("abcdefghijklmno", "abcdefghij")
        ]
        write_package(tmp_path, f"fake_{split}", made[split])
    monkeypatch.syspath_prepend(tmp_path)
    text.documentation.cache_clear()
    yield made
    text.documentation.cache_clear()


def write_package(folder: Path, name: str, sentences: list[str]) -> None:
    (folder / name).mkdir(exist_ok=True)
    functions = [f'def f{i}():\n    """{sentence}"""\n' for i, sentence in enumerate(sentences)]
    (folder / name / "__init__.py").write_text("\n".join(functions), encoding="utf-8")


# ---- real documentation --------------------------------------------------------------------------


def test_splits_of_real_documentation_share_no_sentence() -> None:
    found = {split: {words(one) for one in text.documentation(split)} for split in text.PACKAGES}
    assert all(len(some) > 10_000 for some in found.values())
    assert {(a, b): len(found[a] & found[b]) for a, b in combinations(found, 2)} == dict.fromkeys(
        combinations(found, 2), 0
    )


def test_documentation_is_plain_distinct_and_free_of_the_tasks() -> None:
    planted = re.compile(
        r"pass[ -]?key is|best thing to do|vault code|finest view|grass is green|there and back",
        re.I,
    )
    for split in text.PACKAGES:
        lines = text.documentation(split)
        assert len(set(lines)) == len(lines)
        assert all(line.isascii() and 12 <= len(line) <= 240 and "\n" not in line for line in lines)
        assert [line for line in lines if planted.search(line)] == []


# ---- what counts as a sentence -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docstring", "sentences"),
    [
        ("Return the name. It is never empty!", ["Return the name.", "It is never empty!"]),
        (
            "Return the\n    long name of the file.\n\nIs it closed?",
            ["Return the long name of the file.", "Is it closed?"],
        ),
        ("Short one.", []),
        ("Say it. " + "word " * 60, []),
        ("Adds two numbers.\n\n>>> add(1, 2) gives the sum of both.", ["Adds two numbers."]),
        ("The café is open every day.", []),
        ("| a | 1 | 2 | 3 |\n+===+===+===+===+", []),
        ("", []),
    ],
)
def test_sentences_of_a_docstring(docstring: str, sentences: list[str]) -> None:
    assert list(text.sentences_of(docstring)) == sentences


def test_documentation_is_read_in_order_without_tests_and_broken_files(
    library: Library, tmp_path: Path
) -> None:
    package = tmp_path / "fake_train"
    for place in ("tests", "__pycache__"):
        (package / place).mkdir()
        (package / place / "inside.py").write_text('"""This file is not documentation."""')
    (package / "broken.py").write_text('"""This file is not Python."""\ndef (')
    (package / "latin.py").write_bytes(b'"""This caf\xe9 is not UTF-8 at all."""')
    (package / "zzz.py").write_text('class C:\n    """The last sentence of all."""\n')
    assert list(text.documentation("train")) == [*library["train"], "The last sentence of all."]


def test_a_sentence_stays_in_one_split_only(library: Library, tmp_path: Path) -> None:
    write_package(
        tmp_path, "fake_train", [*library["train"], "Both packages say so.", "All three say so."]
    )
    write_package(
        tmp_path,
        "fake_test",
        ["Both packages say so!", *library["test"], "all three  say so.", "Two of them say it."],
    )
    write_package(
        tmp_path, "fake_dev", ["all Three say so", "Two of them say it.", *library["dev"]]
    )
    assert list(text.documentation("dev")) == library["dev"]
    assert list(text.documentation("test")) == [*library["test"], "Two of them say it."]
    assert list(text.documentation("train"))[-2:] == ["Both packages say so.", "All three say so."]


def test_no_phrase_of_a_task_gets_through(library: Library, tmp_path: Path) -> None:
    facts = [
        needles.fact(kind, seed, split=split)
        for kind in needles.KINDS
        for split in ("dev", "test")
        for seed in range(10)
    ]
    stems = {
        sentence
        for fact in facts
        for sentence in (fact.cue + " nothing.", fact.sentences[0], fact.sentences[-1])
    }
    planted = [
        *stems,
        *(one for one in needles._FILLER if len(one) >= 12),
        "A Passkey is stored here.",
        "Find the needle in it.",
    ]
    write_package(tmp_path, "fake_train", [*library["train"], *planted])
    assert list(text.documentation("train")) == library["train"]


# ---- the cache -----------------------------------------------------------------------------------


def cached(split: str) -> Path:
    return text.runtime.cache_dir("text") / f"{split}-{text._fingerprint(split)}.json"


def test_text_is_extracted_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first = text.documentation("train")
    assert json.loads(cached("train").read_text("utf-8")) == list(first) == library["train"]
    text.documentation.cache_clear()
    monkeypatch.setattr(
        text, "_extract", lambda packages: pytest.fail("expected the cache to be read")
    )
    assert text.documentation("train") == first


@pytest.mark.parametrize(
    "damage",
    [b"", b'["The first', b'{"a": 1}', b'["only one"]', b"\xff\xfe\x00", b"[1, 2, 3]", b"null"],
)
def test_a_damaged_cache_is_read_anew(library: Library, damage: bytes) -> None:
    first = text.documentation("train")
    cached("train").write_bytes(damage)
    text.documentation.cache_clear()
    assert text.documentation("train") == first
    assert json.loads(cached("train").read_text("utf-8")) == library["train"]


def test_a_run_that_is_killed_while_writing_leaves_no_text(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            text.documentation("train")
    assert list(text.runtime.cache_dir("text").glob("*.json")) == []
    assert list(text.documentation("train")) == library["train"]
    assert [path.suffix for path in text.runtime.cache_dir("text").iterdir()] == [".json"]


def test_another_version_of_a_package_is_read_anew(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cached("train"), cached("test")
    monkeypatch.setattr(
        text.metadata, "version", lambda name: {"fake_train": "2.0"}.get(name, "1.0")
    )
    assert before[0] != cached("train")
    assert before[1] != cached("test"), "test leaves out what train holds, so it depends on train"


@pytest.mark.parametrize("sentences", [[], ["Only this sentence is left."]])
def test_packages_without_documentation(
    library: Library, tmp_path: Path, sentences: list[str]
) -> None:
    write_package(tmp_path, "fake_dev", sentences)
    with pytest.raises(
        ValueError, match=rf"expected documentation of fake_dev, found {len(sentences)} sentences"
    ):
        text.documentation("dev")
    assert not cached("dev").exists()


def test_a_package_that_is_not_installed(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(text.PACKAGES, "dev", ("no_such_package.at_all",))
    with pytest.raises(
        ValueError, match=r"expected documentation of no_such_package\.at_all, found 0 sentences"
    ):
        text.documentation("dev")


@pytest.mark.parametrize("split", ["valid", "", "TEST"])
def test_an_unknown_split(split: str) -> None:
    with pytest.raises(
        ValueError, match=f"unknown split '{split}': expected one of train, dev, test"
    ):
        text.documentation(split)


# ---- generic sentences ---------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched_global_random_state")
def test_generic_sentences_depend_on_the_seed_alone() -> None:
    first = text.generic_sentences(200)
    assert first == text.generic_sentences(200, 0) == text.generic_sentences(400, 0)[:200]
    assert len(set(first) & set(text.generic_sentences(200, 1))) < 10
    assert text.generic_sentences(0) == []


def test_generic_sentences_have_an_open_vocabulary() -> None:
    made = text.generic_sentences(3000)
    numbers = [number for line in made for number in re.findall(r"\d+", line)]
    assert {len(number) for number in numbers} == {*range(1, 9), 10, 12}
    assert len({word for line in made for word in words(line)}) > 3000
    assert not any(set("{}") & set(line) for line in made)
    assert len(set(made)) > 2900


def test_a_template_with_a_word_of_the_tasks_yields_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        text,
        "_TEMPLATES",
        ("The vault code is {number}.", "The Needle is {adjective}.", "A {noun}."),
    )
    made = text.generic_sentences(200)
    assert len(made) == 200 and all(line.startswith("A ") for line in made)
