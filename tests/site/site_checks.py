"""What must hold for every page of the built site. Each check returns complaints, one line each;
none is good."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from playwright.sync_api import BrowserContext, Page

HERE = Path(__file__).resolve().parent
AXE = HERE / "vendor" / "axe.min.js"
LOCAL_SCHEMES = ("data:", "blob:", "about:")
# Everything that axe-core checks against WCAG 2.x A and AA.
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

FORMULAS = r"""() => {
  const bad = [];
  for (const m of document.querySelectorAll(".math"))
    if (!m.querySelector("mjx-container")) bad.push("formula not rendered: " + m.textContent.trim().slice(0, 60));
  for (const e of document.querySelectorAll('mjx-merror, [data-mml-node="merror"], mjx-container [fill="red"]'))
    bad.push("formula with an error: " + (e.getAttribute("data-mjx-error") || e.textContent).slice(0, 80));
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const t = walk.currentNode, at = t.parentElement;
    if (at.closest("pre, code, script, style, textarea, mjx-container, .math")) continue;
    if (/\$\$|\\\(|\\\[|\\begin\{/.test(t.data)) bad.push("raw formula in the text: " + t.data.trim().slice(0, 60));
  }
  return bad;
}"""  # noqa: E501

IMAGES = r"""() => {
  const bad = [], file = /\.(png|svg|jpe?g|gif|webp)$/i;
  const meaning = (s) => s && s.trim().length > 8 && !file.test(s);
  for (const i of document.querySelectorAll("img")) {
    const label = i.closest("a, button"), alt = i.getAttribute("alt"), from = i.getAttribute("src") || "";
    if (alt === "" && label && label.textContent.trim()) continue;   // decoration beside its own words
    if (!meaning(alt)) bad.push("image without meaningful alt text: " + from.slice(-60) + " alt=" + alt);
  }
  for (const s of document.querySelectorAll("svg[role=img]")) {
    if (s.closest("mjx-container, [aria-hidden=true]") || s.matches(".svg-inline--fa")) continue;
    const title = s.querySelector("title"), name = s.getAttribute("aria-label") || (title && title.textContent);
    if (!meaning(name)) bad.push("drawing without a title: " + s.outerHTML.slice(0, 80));
  }
  return bad;
}"""  # noqa: E501

OVERFLOW = r"""() => {
  const wide = document.documentElement.scrollWidth, room = document.documentElement.clientWidth;
  if (wide <= room) return [];
  const out = (e) => e.getBoundingClientRect().right > room + 1 && getComputedStyle(e).position !== "fixed";
  const names = [...document.body.querySelectorAll("*")].filter(out).slice(0, 3)
    .map(e => e.tagName.toLowerCase() + "." + (e.getAttribute("class") || "").replace(/ /g, "."));
  return ["page is " + wide + " px wide on a screen of " + room + ": " + names.join(", ")];
}"""  # noqa: E501

# Pieces of code, and formulas, of one kind in one kind of frame look alike: the first on a page
# speaks for all, and the others become plain text. axe-core takes half as long.
ALIKE = """() => {
  const seen = new Set();
  const spoken = (...kind) => seen.has(kind.join("|")) || !seen.add(kind.join("|"));
  for (const e of [...document.querySelectorAll(".highlight span[class]")]) {
    const frame = e.closest(".highlight").parentElement;
    if (spoken(e.className, frame.className, frame.parentElement.className)) e.replaceWith(e.textContent);
  }
  const frames = ".admonition, .sd-card, .cell_output, blockquote, details, figcaption, td, th, h1, h2, h3, section";
  for (const e of [...document.querySelectorAll("mjx-container")]) {
    const frame = e.parentElement.closest(frames), display = e.getAttribute("display");
    if (spoken("formula", display, frame && frame.tagName + frame.className)) e.replaceWith("(formula)");
  }
}"""  # noqa: E501

READY = """async () => {
  if (document.fonts) await document.fonts.ready;
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
}"""


def visit(context: BrowserContext, url: str, inside: str) -> tuple[Page, list[str]]:
    """Open a page and wait until it stands. Complains of requests that do not begin with `inside`
    (the browser is started so that none gets through), of HTTP errors, console errors and uncaught
    exceptions."""
    bad: list[str] = []
    page = context.new_page()
    page.set_default_timeout(120_000)  # a machine that also trains a model is slow

    def asked(url: str) -> None:
        if not url.startswith((inside, *LOCAL_SCHEMES)):
            bad.append(f"request outside: {url}")

    page.on("request", lambda request: asked(request.url))
    page.on(
        "response", lambda r: bad.append(f"HTTP {r.status}: {r.url}") if r.status >= 400 else None
    )
    page.on(
        "console", lambda m: bad.append(f"console: {m.text[:200]}") if m.type == "error" else None
    )
    page.on("pageerror", lambda e: bad.append(f"exception: {str(e)[:200]}"))
    page.goto(url, wait_until="load")
    page.evaluate(READY)
    page.wait_for_load_state("networkidle")
    return page, bad


def formulas(page: Page) -> list[str]:
    """Every formula is rendered, none with an error, and no TeX is left in the text."""
    return list(page.evaluate(FORMULAS))


def images(page: Page) -> list[str]:
    """Every image says in words what is seen (not its file name); decoration is allowed beside its
    own words."""
    return list(page.evaluate(IMAGES))


def overflow(page: Page) -> list[str]:
    """Nothing sticks out at the side."""
    return list(page.evaluate(OVERFLOW))


def accessibility(page: Page, look: str = "all") -> list[str]:
    """axe-core finds no violation of WCAG 2.x A or AA: of all its rules, of "contrast" alone, which
    takes longer than the others together and hangs on the colours, or of the "form", which is all
    the others.

    Repeated pieces of code and formulas are left out, for good: look at this last.
    """
    page.evaluate(AXE.read_text("utf-8") + ";0")
    options: dict[str, object] = {"resultTypes": ["violations"], "runOnly": AXE_TAGS}
    if look == "contrast":
        options["runOnly"] = {"type": "rule", "values": ["color-contrast"]}
    elif look == "form":
        options["rules"] = {"color-contrast": {"enabled": False}}
    page.evaluate(ALIKE)
    found = page.evaluate("options => axe.run(options)", options)
    return [
        f"axe {v['id']}: {n['html'][:90]} ({n['failureSummary'].splitlines()[-1].strip()[:120]})"
        for v in found["violations"]
        for n in v["nodes"]
    ]


class _Anchors(HTMLParser):
    """The targets of a page's links, what it loads, and the names that a link may point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.redirects = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {key: value for key, value in attrs if value}
        self.names |= {have[key] for key in ("id", "name") if key in have}
        if tag == "a" and "href" in have:
            self.links.append(have["href"])
        elif (
            tag == "link"
            and "href" in have
            and have.get("rel") in ("stylesheet", "icon", "preload", "next", "prev")
        ):
            self.loads.append(have["href"])
        elif tag == "meta" and have.get("http-equiv", "").lower() == "refresh":
            self.links.append(have["content"].split("url=", 1)[-1])
            self.redirects = True
        elif tag in ("script", "img", "iframe", "source", "video", "audio") and "src" in have:
            self.loads.append(have["src"])


def pages(root: Path) -> list[Path]:
    """Every page of the site below `root`, sorted."""
    return sorted(
        p
        for p in root.rglob("*.html")
        if p.relative_to(root).parts[0] not in ("_static", "_sources")
    )


def standing(root: Path) -> list[Path]:
    """The pages that stay when they are opened: all but those that only lead on to another."""
    return [page for page in pages(root) if not _Anchors(page.read_text("utf-8")).redirects]


def links(root: Path) -> Iterator[str]:
    """Every link inside the site leads to a file, and to a name that stands in it; nothing is
    loaded from outside."""
    known = {page.resolve(): _Anchors(page.read_text("utf-8")) for page in pages(root)}
    for page, here in known.items():
        where = page.relative_to(root.resolve()).as_posix()
        for target in [*here.links, *here.loads]:
            parts = urlsplit(target)
            if parts.scheme in ("http", "https", "mailto") or parts.netloc:
                if target in here.loads:
                    yield f"{where}: loads {target}"
                continue
            if parts.scheme:
                continue
            path, name = urldefrag(unquote(target.split("?")[0] if "#" not in target else target))
            path = path.split("?")[0]
            file = (page.parent / path).resolve() if path else page
            file = file / "index.html" if file.is_dir() else file
            if not file.exists():
                yield f"{where}: dead link {target}"
            elif name and file in known and name not in known[file].names:
                yield f"{where}: no such place {target}"
