"""The claim ledger: `book/claims.yml` is what the book says about every claim; the page `claims` is
made from it.

    python tools/claims.py build     write book/claims.md
    python tools/claims.py check     fail if the page is stale, a chapter, cell or test that the
                                     ledger names is gone, or if a chapter's own table of claims
                                     says something else

A cell is named by a label, `(label)=` or the `name:` of a figure, or by the anchor of a heading.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import notebooks

ROOT = Path(__file__).resolve().parents[1]
VERDICTS = ("supported", "qualified", "refuted", "not testable here", "open")
FIELDS = {"id", "paper", "where", "claim", "verdict", "because", "evidence"}
HEAD = """# The claims

Every claim that this book tests, in our words, with what became of it. Most come from the two papers that the book
follows; some are ours. A verdict is never about a paper as a whole, and it is as large as the experiment behind it:
follow the link to the cell, and read *What this does not show* at the end of its chapter.

| verdict | it means | claims |
|---|---|---|
"""  # noqa: E501
MEANING = {
    "supported": "we tried to break it in the way that the cell shows, and it held",
    "qualified": "it holds under a condition that the claim does not mention",
    "refuted": "the cell shows a case in which it fails",
    "not testable here": "what would decide it is out of reach; the chapter says what that is",
    "open": "no chapter has tried yet",
}


@dataclass(frozen=True)
class Evidence:
    """Where a claim was tried: a chapter, a cell of it, what came out there, and the test that
    holds it. `subject` says on what, where that is not the chapter's own small model; `record`,
    which recorded run says so (a test asks it)."""

    chapter: str
    cell: str
    verdict: str
    test: str
    subject: str = ""
    record: str = ""


@dataclass(frozen=True)
class Claim:
    """One line of the ledger."""

    id: str
    paper: str
    where: str
    claim: str
    verdict: str
    because: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Ledger:
    """All claims, and the papers that they come from by citation key."""

    papers: dict[str, str]
    claims: tuple[Claim, ...]


def load(root: Path = ROOT) -> Ledger:
    """The ledger of a checkout. Raises ValueError with the id of the first claim that lacks a field
    or has another."""
    data = yaml.safe_load((root / "book" / "claims.yml").read_text("utf-8"))
    return Ledger(data["papers"], tuple(map(_claim, data["claims"])))


def _claim(row: dict[str, Any]) -> Claim:
    name = row.get("id", "a claim without id")
    if wrong := FIELDS ^ set(row):
        raise ValueError(
            f"{name}: expected the fields {', '.join(sorted(FIELDS))}, got a difference in "
            f"{', '.join(sorted(wrong))}"
        )
    try:
        evidence = tuple(Evidence(**item) for item in row["evidence"])
    except TypeError as problem:
        raise ValueError(
            f"{name}: expected chapter, cell, verdict and test in every piece of evidence, got one"
            f" where {problem}"
        ) from None
    return Claim(**{**row, "because": " ".join(row["because"].split()), "evidence": evidence})


# ---- the page ------------------------------------------------------------------------------------


def page(ledger: Ledger, root: Path = ROOT) -> str:
    """The page as MyST markdown: what the verdicts mean, then each paper's claims with links to
    their cells."""
    count = Counter(claim.verdict for claim in ledger.claims)
    lines = [HEAD + "\n".join(f"| {v} | {MEANING[v]} | {count[v]} |" for v in VERDICTS if count[v])]
    for key, title in ledger.papers.items():
        claims = [claim for claim in ledger.claims if claim.paper == key]
        if claims:
            cited = "" if key == "ours" else f"\n\n{{cite:t}}`{key}`."
            lines.append(
                f"## {title}{cited}\n\n" + "\n\n".join(_entry(claim, root) for claim in claims)
            )
    lines.append(
        "## How this page is made\n\nFrom `book/claims.yml`. The tests fail when a cell or a test"
        " that it names is gone, or when a chapter's own table says something else."
    )
    return "\n\n".join(lines) + "\n"


def _entry(claim: Claim, root: Path) -> str:
    where = "\n".join(
        f"- {_named(_link(item, root), item.subject)}: {item.verdict}" for item in claim.evidence
    )
    return (
        f"(claim-{claim.id.lower()})=\n### {claim.id}: {claim.verdict}\n\n"
        f"*{claim.claim}* ({claim.where})\n\n{claim.because}" + (f"\n\n{where}" if where else "")
    )


def _named(name: str, subject: str) -> str:
    return f"{name}, {subject}" if subject else name


def _link(item: Evidence, root: Path) -> str:
    source = (root / "book" / f"{item.chapter}.md").read_text("utf-8")
    title = re.search(r"^# (.+)$", source, re.M)
    cells = _cells(source)
    if item.cell not in cells:
        raise ValueError(f"{item.chapter}: expected a cell named {item.cell!r}, got none")
    name, text = title[1] if title else item.chapter, cells[item.cell]
    if text == "figure":
        return f"{name} {{numref}}`{item.cell}`"
    if f"({item.cell})=" in source or _anchor(text) != item.cell:
        return f"{name} {{ref}}`{text} <{item.cell}>`"
    return f"{name} [{text}]({item.chapter}.md#{item.cell})"


def _cells(source: str) -> dict[str, str]:
    """The places of a chapter that can be named, and what to call them: labels, figures,
    headings."""
    found = {_anchor(text): text for text in re.findall(r"^##+ (.+?) *$", source, re.M)}
    found |= {name: "figure" for name in re.findall(r"^ +name: *(\S+) *$", source, re.M)}
    for label, text in re.findall(r"^\(([\w-]+)\)=\n+(?:#+ (.+?) *\n)?", source, re.M):
        found[label] = text or "cell"
    return found


def _anchor(heading: str) -> str:
    """The anchor of a heading, as MyST makes it (and GitHub)."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


# ---- the check -----------------------------------------------------------------------------------


def problems(root: Path = ROOT) -> Iterator[str]:
    """One sentence for everything in which ledger, page, chapters and tests disagree."""
    try:
        ledger = load(root)
    except ValueError as problem:
        yield str(problem)
        return
    twice = [
        name for name, times in Counter(claim.id for claim in ledger.claims).items() if times > 1
    ]
    yield from (f"{name}: expected each id once, got it again" for name in twice)
    found = [sentence for claim in ledger.claims for sentence in _wrong(claim, ledger, root)]
    yield from found
    yield from _tables(ledger, root)
    target = root / "book" / "claims.md"
    if not found and (not target.exists() or target.read_text("utf-8") != page(ledger, root)):
        yield (
            "book/claims.md: expected the page that `tools/claims.py build` writes, got another or"
            " none"
        )


def _wrong(claim: Claim, ledger: Ledger, root: Path) -> Iterator[str]:
    if claim.paper not in ledger.papers:
        yield f"{claim.id}: expected a paper of {', '.join(ledger.papers)}, got {claim.paper!r}"
    if bad := {claim.verdict, *(item.verdict for item in claim.evidence)} - set(VERDICTS):
        yield (
            f"{claim.id}: expected verdicts of {', '.join(VERDICTS)}, got {', '.join(sorted(bad))}"
        )
    if (claim.verdict == "open") != (not claim.evidence):
        yield (
            f"{claim.id}: expected evidence for a verdict, none for an open claim, got"
            f" {len(claim.evidence)} pieces"
        )
    for item in claim.evidence:
        source = root / "book" / f"{item.chapter}.md"
        if not source.exists():
            yield f"{claim.id}: expected a chapter at book/{item.chapter}.md, got none"
        elif item.cell not in _cells(source.read_text("utf-8")):
            yield f"{claim.id}: expected a cell {item.cell!r} in book/{item.chapter}.md, got none"
        if not _test_exists(item.test, root):
            yield f"{claim.id}: expected a test at {item.test}, got none"


def _test_exists(name: str, root: Path) -> bool:
    path, _, function = name.partition("::")
    if not (root / path).is_file():
        return False
    tree = ast.parse((root / path).read_text("utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body)


def table(source: str) -> dict[str, str]:
    """The table "Claims of this chapter" of a chapter's source: verdict by id, without what is said
    after it; a row may name its subject behind the id, as in "X1, on a pretrained model"."""
    part = re.search(r"^## Claims of this chapter$(.*?)(?=^## |\Z)", source, re.M | re.S)
    rows = re.findall(r"^\| *([A-Z]\d+(?:, [^|]*?)?) *\|(.*)\|$", part[1], re.M) if part else []
    verdicts = {}
    for name, rest in rows:
        cell = rest.split("|")[2].strip()
        verdicts[name] = next((verdict for verdict in VERDICTS if cell.startswith(verdict)), cell)
    return verdicts


def _tables(ledger: Ledger, root: Path) -> Iterator[str]:
    for chapter in notebooks.chapters(root=root):
        stem = chapter.relative_to(root / "book").with_suffix("").as_posix()
        says = table(chapter.read_text("utf-8"))
        held = {
            _named(claim.id, item.subject): item.verdict
            for claim in ledger.claims
            for item in claim.evidence
            if item.chapter == stem
        }
        for name in sorted(says.keys() | held.keys()):
            if says.get(name) != held.get(name):
                yield (
                    f"{name}: book/{stem}.md says {says.get(name, 'nothing')}, the ledger "
                    f"{held.get(name, 'nothing')}"
                )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments not in (["build"], ["check"]):
        print(__doc__)
        return 2
    if arguments == ["build"]:
        (ROOT / "book" / "claims.md").write_text(page(load()), "utf-8")
    wrong = list(problems())
    print("\n".join(wrong) or f"the ledger agrees with its chapters: {len(load().claims)} claims")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
