"""Look at every page of the built site with a real browser: light, dark, on a phone, and from the disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import site_checks
import yaml
from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]
Scheme = Literal["light", "dark"]
# Colours are the same on a phone, and the form is the same in the dark.
MODES: dict[str, tuple[int, int, Scheme, str]] = {
    "light": (1280, 900, "light", "all"), "dark": (1280, 900, "dark", "contrast"), "phone": (390, 844, "light", "form")}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", MODES)
def test_every_page_in_the_browser(site: Path, serve: Callable[[Path], str], browser: Browser, mode: str) -> None:
    width, height, scheme, look = MODES[mode]
    base, complaints = serve(site), []
    phone = width < 500
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme,
                                  reduced_motion="reduce", is_mobile=phone, has_touch=phone)
    for path in site_checks.standing(site):
        name = path.relative_to(site).as_posix()
        page, bad = site_checks.visit(context, base + name, base)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        bad += site_checks.formulas(page) + site_checks.images(page) + site_checks.overflow(page)
        bad += site_checks.accessibility(page, look)
        if (theme := page.evaluate("document.documentElement.dataset.theme")) != scheme:
            bad.append(f"asked for {scheme}, shown in {theme}")
        complaints += [f"{name} ({mode}): {line}" for line in bad]
        page.close()
    context.close()
    assert not complaints, "\n" + "\n".join(complaints)


def test_formulas_from_the_disk(site: Path, browser: Browser) -> None:
    context, complaints, rendered = browser.new_context(), [], 0
    inside = site.parent.as_uri()
    for path in site_checks.pages(site):
        if 'class="math' not in path.read_text("utf-8"):
            continue
        page, bad = site_checks.visit(context, path.as_uri(), inside)
        rendered += page.locator("mjx-container").count()
        complaints += [f"{path.name}: {line}" for line in bad + site_checks.formulas(page)]
        page.close()
    context.close()
    assert not complaints, "\n" + "\n".join(complaints)
    assert rendered > 0, "expected formulas on some page, found none"


def test_every_link_leads_somewhere(site: Path) -> None:
    assert not (dead := sorted(site_checks.links(site))), "\n" + "\n".join(dead)


def test_no_page_names_a_content_network(site: Path) -> None:
    networks = re.compile(r"unpkg\.com|jsdelivr\.net|cdnjs\.cloudflare|fonts\.googleapis")
    named = [f"{p.name}: {m[0]}" for p in site_checks.pages(site) for m in networks.finditer(p.read_text("utf-8"))]
    assert not named


def test_size(site: Path) -> None:
    size = sum(p.stat().st_size for p in site.rglob("*") if p.is_file())
    assert size <= 30e6, f"the site has {size / 1e6:.1f} MB, expected at most 30"


def test_every_launch_button_opens_a_notebook_that_exists(site: Path) -> None:
    found = 0
    for page in site_checks.pages(site):
        for path in re.findall(r"colab\.research\.google\.com/github/[^/]+/[^/]+/blob/main/([^\"?#]+)",
                               page.read_text("utf-8")):
            found += 1
            assert (ROOT / path).is_file() and path.endswith(".ipynb"), f"{page.name} opens {path}"
    assert found, "expected launch buttons, found none"


def test_sidebar_and_page_ask_the_same_question() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    for entry in (entry for part in toc["parts"] for entry in part["chapters"] if "title" in entry):
        text = (ROOT / f"{entry['file']}.md").read_text("utf-8")
        heading = re.search(r"^# (.+)$", text, re.MULTILINE)
        assert heading and entry["title"].split(" · ", 1)[1] == heading[1].strip(), entry["file"]
