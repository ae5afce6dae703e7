"""The repository's address is one setting: a place that says something else is found, and moving
changes them all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import notebooks
import repository

COPIED = (
    "_config.yml",
    "_toc.yml",
    "README.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "pkg/pyproject.toml",
    "book/how-to-use.md",
)
OTHER = "https://github.com/someone-else/other.book"


@pytest.fixture(scope="module")
def original(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkout: the files that repeat the setting, and one executed chapter."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, copy / name)
    where = repository.setting(root)
    cell = f'url = "git+{where.url}@{where.branch}#subdirectory=pkg"\nprint(len(url) > 0)'
    (copy / "book" / "tiny.md").write_text(
        f"{notebooks.HEADER}\n# Is it one?\n\n```{{code-cell}} ipython3\n{cell}\n```\n\n"
        "Compare https://github.com/IBM/larimar/issues/1.\n",
        "utf-8",
    )
    notebooks.build(copy / "book" / "tiny.md")
    return copy


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """A fresh copy of that checkout for one test."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_all_places_of_this_checkout_agree(root: Path) -> None:
    assert repository.disagreements(root) == []


def test_the_copy_agrees_and_a_link_to_other_people_is_no_place(copy: Path) -> None:
    assert repository.disagreements(copy) == []
    assert not any("larimar" in place.value for place in repository.places(copy))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("_config.yml", r"(?<=\n  url: )\S+"),
        ("_config.yml", r"(?<=\n  branch: )\S+"),
        ("CITATION.cff", r"(?<=repository-code: \")[^\"]+"),
        ("pkg/pyproject.toml", r"(?<=Repository = \")[^\"]+"),
        ("README.md", r"(?<=git clone )\S+"),
        ("README.md", r"https://github\.com/[^/]+/[^/]+(?=/actions)"),
        ("README.md", r"(?<=research\.google\.com/github/)[^/]+/[^/]+(?=/blob)"),
        ("README.md", r"(?<=/blob/)[^/]+(?=/book)"),
        ("book/how-to-use.md", r"(?<=git clone )\S+"),
        ("book/tiny.md", r"(?<=git\+)[^@]+"),
        ("book/tiny.md", r"(?<=@)[^#]+(?=#subdirectory)"),
        ("book/tiny.ipynb", r"(?<=git\+)[^@]+"),
    ],
)
def test_one_place_that_disagrees_is_found(copy: Path, name: str, pattern: str) -> None:
    path = copy / name
    text = path.read_text("utf-8")
    match = re.search(pattern, text)
    assert match, f"{name} has no such place"
    planted = (
        OTHER
        if match[0].startswith("https")
        else "someone-else/other"
        if "/" in match[0]
        else "elsewhere"
    )
    path.write_text(text[: match.start()] + planted + text[match.end() :], "utf-8")
    wrong = repository.disagreements(copy)
    assert wrong
    if name != "_config.yml":
        assert len(wrong) == 1 and wrong[0].startswith(name) and planted in wrong[0]


@pytest.mark.parametrize(
    "name", ["README.md", "CITATION.cff", "pkg/pyproject.toml", "book/tiny.md"]
)
def test_a_place_that_is_missing_is_found(copy: Path, name: str) -> None:
    path = copy / name
    text = (
        path.read_text("utf-8").replace("git+https", "https").replace("schrodingers-memory", "x y")
    )
    path.write_text(text, "utf-8")
    assert any(
        sentence.startswith(name) and "expected" in sentence
        for sentence in repository.disagreements(copy)
    )


def test_moving_there_and_back_changes_everything_and_then_nothing(copy: Path) -> None:
    before, old = contents(copy), repository.setting(copy)
    new = repository.Repository(OTHER, "release")
    changed = repository.move(new, copy)
    assert {
        "_config.yml",
        "CITATION.cff",
        "README.md",
        "pkg/pyproject.toml",
        "book/tiny.md",
        "book/tiny.ipynb",
    } <= set(changed)
    assert repository.setting(copy) == new
    assert repository.disagreements(copy) == []
    assert notebooks.problems(copy / "book" / "tiny.md") == [], (
        "the notebook must still be its source, executed"
    )
    assert "IBM/larimar" in (copy / "book" / "tiny.md").read_text("utf-8")
    assert old.slug not in "".join(p.read_text("utf-8") for p in copy.rglob("*") if p.is_file())
    repository.move(old, copy)
    assert contents(copy) == before


@pytest.mark.parametrize(
    "url",
    [
        "github.com/a/b",
        "https://github.com/a",
        "https://example.org/a/b",
        "https://github.com/a/b/c",
        "",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected a repository as https://github.com/OWNER/NAME"):
        repository.Repository(url)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert repository.main(["set", "somewhere"]) == 2
    assert "expected a repository" in capsys.readouterr().err
    assert repository.main(["show"]) in (0, 1)
    assert "_config.yml" in capsys.readouterr().out
