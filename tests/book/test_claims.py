"""The ledger of claims agrees with chapters, tests and experiments, and the checker finds each way
of not doing so."""

from __future__ import annotations

import re
from inspect import getsource
from pathlib import Path

import pytest
import yaml

import claims
from memlab import results
from memlab.book import experiments

CHAPTER = """\
---
kernelspec:
  name: python3
---

# Is it so?

(the-cell)=
## A cell

## Claims of this chapter

| id | claim | source | verdict | cell |
|---|---|---|---|---|
| X1 | It is so. | Somebody, section 1 | supported, in part | {ref}`a cell <the-cell>` |

## Check yourself

| X2 | no row of the table | | refuted | |
"""
ENTRY = {
    "id": "X1",
    "paper": "ours",
    "where": "here",
    "claim": "It is so.",
    "verdict": "supported",
    "because": "Seen.",
    "evidence": [
        {
            "chapter": "part/so",
            "cell": "the-cell",
            "verdict": "supported",
            "test": "tests/test_so.py::test_it",
        }
    ],
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A book of one chapter with one claim, in order."""
    (tmp_path / "book" / "part").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "book" / "part" / "so.md").write_text(CHAPTER, "utf-8")
    (tmp_path / "tests" / "test_so.py").write_text("def test_it() -> None:\n    pass\n", "utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/part/so\n", "utf-8")
    write(tmp_path, [ENTRY])
    return tmp_path


def write(root: Path, entries: list[dict]) -> None:
    """Write a ledger and, if it can be made, its page."""
    (root / "book" / "claims.yml").write_text(
        yaml.safe_dump({"papers": {"ours": "Ours"}, "claims": entries}), "utf-8"
    )
    try:
        (root / "book" / "claims.md").write_text(claims.page(claims.load(root), root), "utf-8")
    except (ValueError, OSError):
        (root / "book" / "claims.md").write_text("", "utf-8")


def test_the_book_s_own_ledger_agrees_with_everything() -> None:
    assert list(claims.problems()) == []


def test_every_claim_that_an_experiment_judges_is_in_the_ledger() -> None:
    known = {claim.id for claim in claims.load().claims}
    for name in experiments.names():
        source = getsource(experiments.find(name))
        judged = set(re.findall(r'"([A-Z]\d+)"[,:]', source))
        assert judged <= known, name
        assert judged or "No claim is judged here" in source, name


RECORDED = [
    (claim.id, item) for claim in claims.load().claims for item in claim.evidence if item.record
]


@pytest.mark.parametrize(
    ("name", "item"), RECORDED, ids=[f"{one}-{b.record}" for one, b in RECORDED]
)
def test_a_recorded_run_says_what_the_ledger_says_of_it(
    name: str, item: claims.Evidence, root: Path
) -> None:
    record = results.load(root / "book" / "results" / f"{item.record}.jsonl")
    said = {one.claim: one.verdict for one in experiments.find(item.record).verdicts(record)}
    assert said[name] == item.verdict


def test_a_good_ledger_has_no_problem_and_a_page_with_a_link(checkout: Path) -> None:
    assert list(claims.problems(checkout)) == []
    page = (checkout / "book" / "claims.md").read_text("utf-8")
    assert "### X1: supported" in page and "Is it so? {ref}`A cell <the-cell>`: supported" in page


def test_a_claim_tried_on_two_subjects_has_two_rows(checkout: Path) -> None:
    own = ENTRY["evidence"][0]
    other = {**own, "subject": "on a cat", "verdict": "refuted"}
    write(checkout, [{**ENTRY, "evidence": [own, other]}])
    (sentence,) = claims.problems(checkout)
    assert sentence == "X1, on a cat: book/part/so.md says nothing, the ledger refuted"
    row = "| X1, on a cat | It is so. | Somebody, section 1 | refuted | the same |"
    text = CHAPTER.replace("\n## Check yourself", f"{row}\n\n## Check yourself").replace(
        "|\n\n| X1, on", "|\n| X1, on"
    )
    (checkout / "book" / "part" / "so.md").write_text(text, "utf-8")
    assert list(claims.problems(checkout)) == []
    page = (checkout / "book" / "claims.md").read_text("utf-8")
    assert "<the-cell>`, on a cat: refuted" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "proven"}, "expected verdicts of"),
        ({"paper": "nobody"}, "expected a paper of ours, got 'nobody'"),
        ({"evidence": []}, "expected evidence for a verdict"),
        ({"surprise": 1}, "got a difference in surprise"),
        ({"evidence": [{"chapter": "part/so"}]}, "expected chapter, cell, verdict and test"),
    ],
)
def test_a_bad_entry_is_named(checkout: Path, change: dict, message: str) -> None:
    write(checkout, [{**ENTRY, **change}])
    assert any(
        message in sentence and sentence.startswith("X1") for sentence in claims.problems(checkout)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "no-cell"}, "expected a cell 'no-cell'"),
        ({"chapter": "part/gone"}, "expected a chapter at book/part/gone.md"),
        ({"test": "tests/test_so.py::test_gone"}, "expected a test at tests/test_so.py::test_gone"),
        ({"verdict": "refuted"}, "says supported, the ledger refuted"),
    ],
)
def test_evidence_that_is_gone_or_says_something_else_is_named(
    checkout: Path, change: dict, message: str
) -> None:
    write(checkout, [{**ENTRY, "evidence": [{**ENTRY["evidence"][0], **change}]}])
    assert any(message in sentence for sentence in claims.problems(checkout))


def test_a_claim_twice_a_row_without_entry_and_a_stale_page(checkout: Path) -> None:
    write(checkout, [ENTRY, ENTRY])
    assert any("each id once" in sentence for sentence in claims.problems(checkout))
    write(checkout, [{**ENTRY, "id": "X3"}])
    found = list(claims.problems(checkout))
    assert any(s.startswith("X1") and "the ledger nothing" in s for s in found)
    assert any(s.startswith("X3") and "says nothing" in s for s in found)
    write(checkout, [ENTRY])
    (checkout / "book" / "claims.md").write_text("edited", "utf-8")
    assert any("tools/claims.py build" in sentence for sentence in claims.problems(checkout))


def test_cells_are_labels_figures_and_headings() -> None:
    source = (
        "(a-label)=\n```{code-cell}\n```\n\n### A heading, here\n\n  figure:\n    name: fig-one\n"
    )
    assert set(claims._cells(source)) == {"a-label", "a-heading-here", "fig-one"}
