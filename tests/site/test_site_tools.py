"""The tools behind the site: vendored files, bibliography, the figure of the front page."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import bibliography
import front_figure
import sphinx_repairs
import vendor
from memlab import results

ROOT = Path(__file__).resolve().parents[2]


def test_vendored_files_are_as_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert vendor.check() == 0, capsys.readouterr().out


def test_a_changed_vendored_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    (folder / "a.js").write_text("1", "utf-8")
    (folder / vendor.SUMS).write_text(f"{hashlib.sha256(b'2').hexdigest()}  a.js\n", "utf-8")
    monkeypatch.setattr(vendor, "FOLDERS", (folder,))
    monkeypatch.setattr(vendor, "ROOT", tmp_path)
    assert vendor.check() == 1
    assert "vendor/a.js" in capsys.readouterr().out


def test_every_vendored_package_comes_with_its_licence() -> None:
    for package in vendor.PACKAGES:
        assert list((ROOT / package.folder).glob("*LICENSE*")), package.spec


def test_every_citation_has_its_entry_and_every_entry_its_citation() -> None:
    have = set(bibliography.entries((ROOT / "book/references.bib").read_text("utf-8")))
    cited = bibliography.cited_keys()
    assert cited - have == set(), "cited without an entry"
    assert have - cited == set(), "in book/references.bib without being cited"


def test_no_entry_says_how_it_was_checked() -> None:
    text = (ROOT / "book/references.bib").read_text("utf-8")
    assert not re.search(
        r"^\s*verification|^\s*note = .*approximate|from.memory|^%", text, re.M | re.I
    )


MASTER = """% how these were checked
@misc{one, title = {A {B} C}, year = {2024}}

@article{two,
  title = {Two},
  note = {year approximate},
  verification = {from-memory}
}
"""


def test_bibliography_takes_what_is_cited_and_drops_private_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, target = tmp_path / "master.bib", tmp_path / "out.bib"
    master.write_text(MASTER, "utf-8")
    monkeypatch.setattr(bibliography, "TARGET", target)
    monkeypatch.setattr(bibliography, "cited_keys", lambda: {"two"})
    assert bibliography.main([str(master)]) == 0
    assert target.read_text("utf-8") == "@article{two,\n  title = {Two}\n}\n"
    monkeypatch.setattr(bibliography, "cited_keys", lambda: {"two", "three"})
    assert bibliography.main([str(master)]) == 1


def test_a_file_with_an_open_entry_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a \.bib file, got syntax error in line 3"):
        bibliography.entries("@misc{one,\n  title = {A}\n")


def _records(path: Path, attention_end: float) -> Path:
    rows = [
        results.Record(
            "needles", front_figure.MODELS["memory"], "needle", "recall", 1.0, 0, i, {"tokens": t}
        )
        for t in (1024, 1_048_576)
        for i in range(4)
    ]
    rows += [
        results.Record(
            "needles",
            front_figure.MODELS["attention"],
            "needle",
            "recall",
            value,
            0,
            i,
            {"tokens": t},
        )
        for t, value in ((384, 1.0), (8192, attention_end))
        for i in range(4)
    ]
    results.append(path, rows)
    return path


def test_front_figure_is_drawn_from_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "web/static").mkdir(parents=True)
    monkeypatch.setattr(front_figure, "ROOT", tmp_path)
    assert front_figure.main([str(_records(tmp_path / "r.jsonl", 0.0))]) == 0
    drawn = (tmp_path / "web/static/front.html").read_text("utf-8")
    assert "stays at 100% from 1K to 1M tokens" in drawn and "to 0% at 8K" in drawn
    assert drawn.count("<svg") == 2 and "At least 4 questions a point, 1 seed;" in drawn
    assert (tmp_path / "web/static/front.svg").read_text("utf-8").startswith("<svg")
    assert "stays at 100%" in capsys.readouterr().out


def test_front_figure_refuses_records_that_do_not_show_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert front_figure.main([str(tmp_path / "missing.jsonl")]) == 1
    assert "no recorded results at" in capsys.readouterr().err
    assert front_figure.main([str(_records(tmp_path / "r.jsonl", 0.9))]) == 1
    assert "end at 0.5 or less, got 1.00 and 0.90" in capsys.readouterr().err


def test_a_pattern_that_finds_nothing_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected a file es6/\*\.js, got none"):
        list(vendor.wanted(vendor.Package("mathjax@3.2.2", "x", ("es6/*.js",)), ["es5/tex-svg.js"]))


THEMED = """@charset "UTF-8";
/*! a; b {c} html[data-theme=dark] d{e:f} */html[data-theme=light]{--a:1}
html[data-theme="dark"] .x:not(.y, .z) { color: red; }
html[data-theme] p{--b:2}
@media print{html[data-theme='dark'] q{c:d}}
html[data-theme=dark],html[data-theme=light]{--e:3}
"""


def test_where_no_scheme_is_chosen_every_rule_follows_the_system() -> None:
    made = sphinx_repairs.follow_the_system(THEMED)
    for scheme, rule in (
        ("light", "{html[data-theme=auto]{--a:1}}"),
        ("dark", "{html[data-theme=auto] .x:not(.y, .z){ color: red; }}"),
        ("dark", "{html[data-theme=auto] q{c:d}}"),
        ("light", "{html[data-theme=auto],html[data-theme=auto]{--e:3}}"),
        ("dark", "{html[data-theme=auto],html[data-theme=auto]{--e:3}}"),
    ):
        assert f"@media (prefers-color-scheme: {scheme}) {rule}" in made
    assert made.count("[data-theme=auto]") == 7, "expected no rule of a comment, nor of any scheme"
    assert made.startswith(THEMED[: THEMED.index("--a:1}") + 6])
    assert sphinx_repairs.follow_the_system(made) == made


def test_a_style_sheet_without_schemes_stays_as_it_is() -> None:
    css = "a { b: c } /* html[data-theme=dark] {} */ html[data-theme] { d: e }"
    assert sphinx_repairs.follow_the_system(css) == css
