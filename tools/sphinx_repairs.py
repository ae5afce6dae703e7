"""Small repairs of the built site: chapter numbers above titles, a social card, names for screen
readers, no maps, and pages that can be read where no script runs.

A chapter's number and part come from _toc.yml (`title: "11 · …"` below a caption), so that they are
written once.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

# What axe-core finds wrong with the theme's own markup: names that differ from what is seen, and
# roles out of use.
REPAIRS = (
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
    (
        re.compile(r'<summary>(?=<span class="toctree-toggle")'),
        '<summary aria-label="Sections of this chapter">',
    ),
    (re.compile(r'(<button class="btn search-button-field[^>]*?) aria-label="Search"'), r"\1"),
    (re.compile(r'(<i class="theme-switch[^>]*?) title="[^"]*"'), r"\1"),
    (re.compile(r' role="doc-biblioentry"'), ""),
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
    # The logo of the dark page needs no script.
    (re.compile(r'(<img [^>]*class="logo__image only-dark) pst-js-only"'), r'\1"'),
    # A formula that tools/quiz.py wrote into HTML, in the brackets that MathJax looks for here.
    (re.compile(r'<span class="math">\$(.*?)\$</span>'), r'<span class="math">\(\1\)</span>'),
)
# Colours hang on html[data-theme=light] and html[data-theme=dark]. A script chooses; until it has,
# and where none runs, the page says data-theme=auto, and no colour is set. Comments are matched to
# be passed over.
THEMED = re.compile(
    r"/\*[\s\S]*?\*/|([^{}@;/]*\[data-theme=[\"']?(?:light|dark)[\"']?\][^{}@;/]*)\{([^{}]*)\}"
)
SCHEME = re.compile(r"\[data-theme=[\"']?(light|dark)[\"']?\]")
AUTO = "[data-theme=auto]"
WITHOUT_SCRIPT = (
    '<noscript><p class="no-script">Formulas are set by JavaScript, which does not run here: they'
    " stand as they were written, in TeX.</p></noscript>\n"
)
CARD_ALT = "An open box with a small grid of cells inside; one cell is lit."


def chapters(toc: Path) -> dict[str, str]:
    """Document name → the line above its title, for every numbered chapter of the table of contents
    and its sections."""
    lines = {}
    for part in yaml.safe_load(toc.read_text("utf-8"))["parts"]:
        for entry in (
            one for chapter in part["chapters"] for one in (chapter, *chapter.get("sections", ()))
        ):
            if number := re.match(r"(\d+[a-z]?) · ", entry.get("title", "")):
                lines[entry["file"]] = (
                    f"Chapter {number[1]} <span>{html.escape(part['caption'])}</span>"
                )
    return lines


def pages_url(repository: str) -> str:
    """Where GitHub Pages serves a repository: https://github.com/OWNER/NAME →
    https://OWNER.github.io/NAME/."""
    owner, name = repository.rstrip("/").split("/")[-2:]
    return f"https://{owner}.github.io/{name}/"


def follow_the_system(css: str) -> str:
    """A style sheet with every rule for one colour scheme once more: for a page that leaves the
    choice open, if the reader's system asks for that scheme."""

    def twice(found: re.Match[str]) -> str:
        rule, selector, declarations = found[0], found[1], found[2]
        if selector is None:
            return rule
        again = f"{SCHEME.sub(AUTO, selector).strip()}{{{declarations}}}"
        schemes = sorted(set(SCHEME.findall(selector)))
        return rule + "".join(
            f"\n@media (prefers-color-scheme: {scheme}) {{{again}}}" for scheme in schemes
        )

    return css if AUTO in css else THEMED.sub(twice, css)


def _plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).replace("#", "").strip()


def _description(body: str) -> str:
    """The first paragraph as plain text, without its label and without formulas: what a shared link
    shows."""
    first = re.search(r"<p>(.*?)</p>", body, re.DOTALL)
    text = " ".join(_plain(re.sub(r"\\\(|\\\)", "", first[1])).split()) if first else ""
    return text.removeprefix("Short answer. ")[:200]


def _context(app: Sphinx, page: str, _template: str, context: dict[str, Any], doctree: Any) -> None:
    if doctree is None:
        return
    lines = chapters(Path(app.srcdir) / "_toc.yml")
    body = context.get("body", "")
    if page in lines:
        context["body"] = body = body.replace(
            "<h1>", f'<p class="chapter-line">{lines[page]}</p>\n<h1>', 1
        )
    if 'class="math' in body:
        context["body"] = WITHOUT_SCRIPT + context["body"]
    base = pages_url(context["theme_repository_url"])
    about = re.sub(r'<p class="chapter-line">.*?</p>', "", body)
    tags = {
        "og:title": _plain(context.get("title", "")),
        "og:type": "article",
        "og:url": f"{base}{page}.html",
        "og:site_name": app.config.project,
        "og:description": _description(about),
        "og:image": f"{base}_static/card.png",
        "og:image:alt": CARD_ALT,
    }
    context["metatags"] = context.get("metatags", "") + "".join(
        f'\n<meta property="{key}" content="{html.escape(value)}" />' for key, value in tags.items()
    )


def _finish(app: Sphinx, exception: Exception | None) -> None:
    """Repair the theme's markup and its colours; drop its source maps, a third of its bytes, which
    serve only its own developers."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir, "_static").rglob("*.map"):
        path.unlink()
    for path in Path(app.outdir, "_static").rglob("*.css"):
        _rewrite(path, follow_the_system)
    for path in Path(app.outdir).rglob("*.html"):
        _rewrite(path, _repaired)


def _repaired(page: str) -> str:
    for pattern, better in REPAIRS:
        page = pattern.sub(better, page)
    return page


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text("utf-8")
    better = change(text)
    if better != text:
        path.write_text(better, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the repairs with Sphinx."""
    app.connect("html-page-context", _context)
    app.connect("build-finished", _finish, priority=900)  # the theme writes pygments.css at 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
