"""Each check of the site finds what it is there to find: on small pages, each broken in one way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import site_checks
from playwright.sync_api import Browser, Page

FRAME = (
    '<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,"><meta'
    ' name="viewport" content="width=device-width"></head><body><main><h1>A'
    " page</h1>{}</main></body></html>"
)
GOOD = (
    '<p>Words, and <code>$$ in code</code>.</p><img alt="A line falls from one to nought"'
    ' src="data:,"><span class="math"><mjx-container></mjx-container></span><a'
    ' href="#here">here</a><p id="here">Here.</p>'
)
BROKEN = {
    "request outside": '<script src="https://other.example/x.js"></script>',
    "HTTP 404": '<script src="missing.js"></script>',
    "console: bad": '<script>console.error("bad")</script>',
    "exception: boom": '<script>throw new Error("boom")</script>',
    "formula not rendered": r'<span class="math">\(x\)</span>',
    "formula with an error": (
        '<mjx-container><svg><g data-mml-node="merror"></g></svg></mjx-container>'
    ),
    "raw formula": "<p>Then $$x = 1$$ follows.</p>",
    "image without meaningful alt text": '<img src="data:,">',
    "alt=../_images/plot.png": '<img src="data:," alt="../_images/plot.png">',
    "drawing without a title": '<svg role="img" viewBox="0 0 1 1"></svg>',
    "page is": '<div style="width: 700px">wide</div>',
    "axe color-contrast": '<p style="color: #bbb; background: #fff">faint</p>',
    "axe link-name": '<a href="#x"></a>',
}


def complaints(
    browser: Browser,
    serve: Callable[[Path], str],
    folder: Path,
    body: str,
    *extra: Callable[[Page], list[str]],
) -> list[str]:
    (folder / "index.html").write_text(FRAME.format(body), "utf-8")
    base = serve(folder)
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page, bad = site_checks.visit(context, base + "index.html", base)
    for check in (site_checks.formulas, site_checks.images, site_checks.overflow, *extra):
        bad += check(page)
    context.close()
    return bad


def test_a_good_page_passes(browser: Browser, serve: Callable[[Path], str], tmp_path: Path) -> None:
    assert complaints(browser, serve, tmp_path, GOOD, site_checks.accessibility) == []
    assert list(site_checks.links(tmp_path)) == []


@pytest.mark.parametrize("expected", BROKEN)
def test_a_broken_page_is_caught(
    browser: Browser, serve: Callable[[Path], str], tmp_path: Path, expected: str
) -> None:
    extra = [site_checks.accessibility] if expected.startswith("axe") else []
    found = complaints(browser, serve, tmp_path, BROKEN[expected], *extra)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("look", "seen"), [("contrast", "axe color-contrast"), ("form", "axe link-name")]
)
def test_half_a_look_sees_its_half(
    browser: Browser, serve: Callable[[Path], str], tmp_path: Path, look: str, seen: str
) -> None:
    both = BROKEN["axe color-contrast"] + BROKEN["axe link-name"]
    found = complaints(
        browser, serve, tmp_path, both, partial(site_checks.accessibility, look=look)
    )
    assert {line.split(" (")[0].split(": ")[0] for line in found} == {seen}


def test_of_code_that_looks_alike_the_first_piece_is_looked_at(
    browser: Browser, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    pale = [
        f'<span class="{kind}" style="color:#999;background:#fff">word</span> '
        for kind in ("k", "k", "n", "k")
    ]
    page = f'<div class="cell"><div class="highlight"><pre>{"".join(pale)}</pre></div></div>'
    found = complaints(browser, serve, tmp_path, page, site_checks.accessibility)
    assert len(found) == 2 and all("color-contrast" in line for line in found)


def test_dead_links_are_caught(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.html").write_text('<p id="there">b</p>', "utf-8")
    (tmp_path / "data.csv").write_text("1", "utf-8")
    (tmp_path / "sub/a.html").write_text(
        '<a href="../b.html#there">good</a><a href="../data.csv">good</a><a'
        ' href="https://example.org">good</a><a href="../b.html#nowhere">bad</a><a'
        ' href="c.html">bad</a><a href="../lost.ipynb">bad</a><a href="#missing">bad</a><img'
        ' src="https://example.org/x.png">',
        "utf-8",
    )
    assert sorted(line.split(": ", 1)[1] for line in site_checks.links(tmp_path)) == [
        "dead link ../lost.ipynb",
        "dead link c.html",
        "loads https://example.org/x.png",
        "no such place #missing",
        "no such place ../b.html#nowhere",
    ]
