"""Look at every page of the built site with a real browser: in both colour schemes, on a phone, and
from the disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import site_checks
import yaml
from playwright.sync_api import Browser, Locator, Page, TimeoutError

ROOT = Path(__file__).resolve().parents[2]
# Colours are the same on a phone, and the form is the same in the dark: there it is the contrast
# that is looked at.
SCREENS = {"desk": (1280, 900, "all"), "phone": (390, 844, "form")}
FROM_DISK = 4  # pages, spread over the book
CHAPTER = "book/argument/poem-in-the-box.html"  # one with a quiz and figures
FORMULAS = "book/argument/dynamic-sum.html"  # one with formulas in lines and between them
# The different looks of a quiz's options: frame, text and the mark before it.
LOOKS = """quiz => {
  const look = (of, pseudo) => {
    const { borderColor, borderWidth, backgroundColor, color, clipPath, fontWeight } = getComputedStyle(of, pseudo);
    return [borderColor, borderWidth, backgroundColor, color, clipPath, fontWeight];
  };
  const options = [...quiz.querySelectorAll("details")].map(one =>
    JSON.stringify([look(one), look(one.querySelector("summary")), look(one.querySelector("summary"), "::before")]));
  return [...new Set(options)];
}"""  # noqa: E501

# What a reader sees of the colours: the logo, the ground, texts, code, frames and cards.
COLOURS = """() => {
  const parts = [".navbar-brand .only-light", ".navbar-brand .only-dark", "body", ".bd-sidebar-primary", "h1",
    ".bd-article a", ".admonition.paper", "div.cell_input", ".highlight .kn", ".highlight .c1", ".quiz details",
    "details.sd-dropdown", ".prev-next-area a", ".bd-article figure img"];
  const look = part => {
    const { display, color, backgroundColor, borderTopColor, borderTopWidth } = getComputedStyle(document.querySelector(part));
    return [display, color, backgroundColor, borderTopColor, borderTopWidth].join(" ");
  };
  return Object.fromEntries(parts.map(part => [part, look(part)]));
}"""  # noqa: E501

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_in_the_browser(
    site: Path, serve: Callable[[Path], str], browser: Browser, screen: str
) -> None:
    width, height, look = SCREENS[screen]
    base, complaints = serve(site), []
    phone = screen == "phone"
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="light",
        reduced_motion="reduce",
        is_mobile=phone,
        has_touch=phone,
    )
    for path in site_checks.standing(site):
        name = path.relative_to(site).as_posix()
        page, bad = site_checks.visit(context, base + name, base)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        bad += site_checks.formulas(page) + site_checks.images(page) + site_checks.overflow(page)
        bad += site_checks.accessibility(page, look) + shown_in(page, "light")
        if not phone:
            page.emulate_media(color_scheme="dark")
            bad += shown_in(page, "dark")
            bad += [f"in the dark: {line}" for line in site_checks.accessibility(page, "contrast")]
        complaints += [f"{name} ({screen}): {line}" for line in bad]
        page.close()
    context.close()
    assert not complaints, "\n" + "\n".join(complaints)


def shown_in(page: Page, scheme: str) -> list[str]:
    """A complaint unless the page follows the reader's system, also when that changes."""
    try:
        page.wait_for_function(
            "wanted => document.documentElement.dataset.theme === wanted",
            arg=scheme,
            timeout=20_000,
        )
    except TimeoutError:
        return [f"asked for {scheme}, not shown so"]
    return []


@pytest.fixture
def chapter(site: Path, serve: Callable[[Path], str], browser: Browser) -> Iterator[Page]:
    """A page with a quiz and a figure."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    base = serve(site)
    page, complaints = site_checks.visit(context, base + CHAPTER, base)
    assert not complaints
    yield page
    context.close()


def test_an_option_answers_to_a_click_and_to_a_key(chapter: Page) -> None:
    question = chapter.get_by_role("group", name=re.compile("swapped pairs"))
    options, reasons = question.locator("summary"), question.locator("details > p")
    assert options.count() == reasons.count() == 3
    assert visible(options) == [True] * 3 and visible(reasons) == [False] * 3
    options.nth(1).click()
    assert visible(reasons) == [False, True, False]
    chapter.keyboard.press("Shift+Tab")
    chapter.keyboard.press("Enter")
    assert visible(reasons) == [True, True, False]
    options.nth(2).focus()
    chapter.keyboard.press("Space")
    assert visible(reasons) == [True] * 3
    verdicts = [text.split()[0] for text in reasons.all_inner_texts()]
    assert sorted(verdicts) == ["No.", "No.", "Right."]


def test_options_look_and_sound_alike_until_they_are_opened(chapter: Page) -> None:
    for question in chapter.locator(".quiz").all():
        assert len(question.evaluate(LOOKS)) == 1
        heard = question.aria_snapshot()
        assert "Right." not in heard and "No." not in heard
    question.locator("summary").evaluate_all("all => all.forEach(one => one.click())")
    assert len(question.evaluate(LOOKS)) == 2, "expected the right one to differ, once opened"


def test_options_stand_on_the_page_without_scripts(
    site: Path, serve: Callable[[Path], str], browser: Browser
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(serve(site) + CHAPTER)
    options, reasons = page.locator(".quiz summary"), page.locator(".quiz details > p")
    assert visible(options) == [True] * options.count() and not any(visible(reasons))
    options.first.click()
    assert visible(reasons).index(True) == 0
    assert page.locator("details.figure-code").first.is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_the_same_without_scripts(
    site: Path, serve: Callable[[Path], str], browser: Browser, scheme: str
) -> None:
    seen, base = [], serve(site)
    for scripts in (True, False):
        context = browser.new_context(
            java_script_enabled=scripts, color_scheme=scheme, reduced_motion="reduce"
        )
        page = context.new_page()
        page.goto(base + CHAPTER)
        if scripts:
            assert shown_in(page, scheme) == []
        seen.append(page.evaluate(COLOURS))
        context.close()
    assert seen[0] == seen[1]
    assert (
        seen[0]["body"].split()[-2:] != ["none", "0px"]
        and "rgba(0, 0, 0, 0)" not in seen[0]["body"]
    )


def test_a_page_without_scripts_says_that_its_formulas_are_tex(
    site: Path, serve: Callable[[Path], str], browser: Browser
) -> None:
    base = serve(site)
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(base + FORMULAS)
    note = page.locator("p.no-script")  # whose text the browser shows, but not to `get_by_text`
    assert note.is_visible() and "in TeX" in note.evaluate("one => one.innerText")
    for formula in (page.locator("span.math").first, page.locator("div.math").first):
        assert "monospace" in formula.evaluate("one => getComputedStyle(one).fontFamily")
    assert site_checks.overflow(page) == []
    page.goto(base + "book/references.html")
    assert page.locator(".no-script").count() == 0, "expected no such note where no formula is"
    context.close()


def test_scripts_take_that_note_away(
    site: Path, serve: Callable[[Path], str], browser: Browser
) -> None:
    context, base = browser.new_context(), serve(site)
    page, complaints = site_checks.visit(context, base + FORMULAS, base)
    assert complaints == [] and page.locator("noscript").count() >= 1
    assert page.locator("p.no-script").count() == 0
    context.close()


def test_every_page_carries_the_name_of_the_book(site: Path) -> None:
    name = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["title"]
    written = {path: path.read_text("utf-8") for path in site_checks.pages(site)}
    assert [path.name for path, text in written.items() if "Project name not set" in text] == []
    said = {
        said
        for text in written.values()
        for said in re.findall(r'<meta property="og:site_name" content="([^"]*)"', text)
    }
    assert said == {name}
    header = (site / "objects.inv").read_bytes().split(b"\n", 2)[1]
    assert header.decode("utf-8") == f"# Project: {name}"


def test_the_code_that_draws_is_folded_under_its_figure(chapter: Page) -> None:
    cells = chapter.locator("div.cell.tag_figure-code")
    assert cells.count() >= 1
    for cell in cells.all():
        figure, code = cell.locator("figure img"), cell.locator("details .highlight")
        assert visible(figure) == [True] and visible(code) == [False]
        cell.get_by_text("The code that draws this figure").click()
        assert visible(code) == [True]
        assert figure.bounding_box()["y"] < code.bounding_box()["y"]
        assert code.locator("span.n").count() and code.locator("button.copybtn").count() == 1


def test_reasons_are_printed_and_drawing_code_is_not(chapter: Page) -> None:
    chapter.emulate_media(media="print")
    for reason in chapter.locator(".quiz details > p").all():
        assert reason.evaluate("one => one.checkVisibility({contentVisibilityAuto: true})")
    assert not any(visible(chapter.locator("details.figure-code")))


def visible(found: Locator) -> list[bool]:
    """Whether a reader sees it, for each of the elements."""
    return [one.is_visible() for one in found.all()]


def test_formulas_from_the_disk(site: Path, browser: Browser) -> None:
    context, complaints, rendered = browser.new_context(), [], 0
    inside = site.parent.as_uri()
    written = [path for path in site_checks.pages(site) if 'class="math' in path.read_text("utf-8")]
    for path in written[:: -(-len(written) // FROM_DISK)]:
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
    named = [
        f"{p.name}: {m[0]}"
        for p in site_checks.pages(site)
        for m in networks.finditer(p.read_text("utf-8"))
    ]
    assert not named


def test_size(site: Path) -> None:
    size = sum(p.stat().st_size for p in site.rglob("*") if p.is_file())
    assert size <= 30e6, f"the site has {size / 1e6:.1f} MB, expected at most 30"


def test_every_launch_button_opens_a_notebook_that_exists(site: Path) -> None:
    found = 0
    for page in site_checks.pages(site):
        for path in re.findall(
            r"colab\.research\.google\.com/github/[^/]+/[^/]+/blob/main/([^\"?#]+)",
            page.read_text("utf-8"),
        ):
            found += 1
            assert (ROOT / path).is_file() and path.endswith(".ipynb"), f"{page.name} opens {path}"
    assert found, "expected launch buttons, found none"


def test_sidebar_and_page_ask_the_same_question() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    for entry in (entry for part in toc["parts"] for entry in part["chapters"] if "title" in entry):
        text = (ROOT / f"{entry['file']}.md").read_text("utf-8")
        heading = re.search(r"^# (.+)$", text, re.MULTILINE)
        assert heading and entry["title"].split(" · ", 1)[1] == heading[1].strip(), entry["file"]
