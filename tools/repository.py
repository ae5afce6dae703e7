"""Where the book lives is one setting: `repository.url` (and `branch`) in _config.yml. Everything
else repeats it.

    python tools/repository.py show          the setting, and every place that repeats it
    python tools/repository.py check         fail if two places disagree or one that must exist does
                                             not
    python tools/repository.py set URL       change the setting and every place (--branch NAME too)

The places: the bootstrap cell of every chapter (source and notebook), Colab and badge links, the
clone command, CITATION.cff and the package's own metadata. Links to other people's repositories are
left alone.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import notebooks

ROOT = Path(__file__).resolve().parents[1]
URL = re.compile(r"https://github\.com/(?P<owner>[\w-]+)/(?P<name>[\w.-]*[\w-])")
SKIPPED = ("_build", "vendor", "__pycache__", "node_modules")
TEXT = (".md", ".ipynb", ".cff", ".toml", ".yml", ".html", ".py")


@dataclass(frozen=True)
class Repository:
    """A GitHub repository and the branch that readers see."""

    url: str
    branch: str = "main"

    def __post_init__(self) -> None:
        if not URL.fullmatch(self.url):
            raise ValueError(
                f"expected a repository as https://github.com/OWNER/NAME, got {self.url!r}"
            )
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", self.branch):
            raise ValueError(f"expected the name of a branch, got {self.branch!r}")

    @property
    def slug(self) -> str:
        """OWNER/NAME."""
        return self.url.removeprefix("https://github.com/")

    @property
    def site(self) -> str:
        """The address under which GitHub Pages serves the book, without a final slash."""
        owner, name = self.slug.split("/")
        return f"https://{owner.lower()}.github.io/{name}"


@dataclass(frozen=True)
class Form:
    """One way in which the setting is written down: which files, and a pattern with groups named
    after properties."""

    files: str
    pattern: re.Pattern[str]


FORMS = (
    Form(r"_config\.yml", re.compile(r"^repository:\n(?:[ #].*\n)*?  url: (?P<url>\S+)$", re.M)),
    Form(
        r"_config\.yml", re.compile(r"^repository:\n(?:[ #].*\n)*?  branch: (?P<branch>\S+)$", re.M)
    ),
    Form(r".*", re.compile(r"git\+(?P<url>https://[^\s@]+)@(?P<branch>[^\s#@]+)#subdirectory=pkg")),
    Form(
        r".*",
        re.compile(
            r"colab\.research\.google\.com/github/(?P<slug>[\w-]+/[\w.-]+)/blob/(?P<branch>[^/\s]+)/"
        ),
    ),
    Form(r".*\.md", re.compile(r"git clone (?P<url>https://\S*[\w-])")),
    Form(
        r"[^/]*\.md",
        re.compile(
            r"(?P<url>https://github\.com/[\w-]+/[\w.-]+)/(?:actions|issues|blob|tree|pulls?)\b"
        ),
    ),
    Form(
        r"[^/]*\.md|CITATION\.cff", re.compile(r"(?P<site>https://[\w-]+\.github\.io/[\w.-]*[\w-])")
    ),
    Form(r"CITATION\.cff", re.compile(r"^repository-code: \"?(?P<url>[^\s\"]+)", re.M)),
    Form(r"pkg/pyproject\.toml", re.compile(r"^(?:Repository|Source) = \"(?P<url>[^\"]+)", re.M)),
)
REQUIRED = (r"README\.md", r"CITATION\.cff", r"pkg/pyproject\.toml")


@dataclass(frozen=True)
class Place:
    """One spot in one file that repeats a property of the setting."""

    file: str
    line: int
    what: str
    value: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what} {self.value}"


def setting(root: Path = ROOT) -> Repository:
    """The repository that _config.yml names."""
    entry = yaml.safe_load((root / "_config.yml").read_text("utf-8"))["repository"]
    return Repository(entry["url"], entry["branch"])


def files(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """Every text file that may repeat the setting, with its path from `root`; tests and tools are
    not among them."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(
            part in SKIPPED or (part.startswith(".") and part != ".github") for part in parts
        )
        if (
            path.suffix in TEXT
            and path.is_file()
            and not hidden
            and parts[0] not in ("tests", "tools")
        ):
            yield "/".join(parts), path


def places(root: Path = ROOT) -> list[Place]:
    """Everywhere that the setting is written down, the setting itself included."""
    found = []
    for name, path in files(root):
        text = path.read_text("utf-8")
        for form in FORMS:
            if re.fullmatch(form.files, name):
                for match in form.pattern.finditer(text):
                    line = text.count("\n", 0, match.end()) + 1
                    found += [
                        Place(name, line, what, value) for what, value in match.groupdict().items()
                    ]
    return found


def disagreements(root: Path = ROOT) -> list[str]:
    """One sentence for every place that says something else than the setting, and for every place
    that is missing."""
    wanted, found = setting(root), places(root)
    wrong = [
        f"{place} (expected {getattr(wanted, place.what)})"
        for place in found
        if place.value.removesuffix(".git") != getattr(wanted, place.what)
    ]
    named = {place.file for place in found}
    wrong += [
        f"{name}: expected a link to the repository, found none"
        for name in (pattern.replace("\\", "") for pattern in REQUIRED)
        if name not in named
    ]
    for md in notebooks.chapters(root=root):
        for twin in (md, md.with_suffix(".ipynb")):
            name = twin.relative_to(root).as_posix()
            if twin.exists() and not any(
                place.file == name and place.what == "url" for place in found
            ):
                wrong.append(
                    f"{name}: expected a bootstrap cell with git+{wanted.url}@…, found none"
                )
    return wrong


def move(new: Repository, root: Path = ROOT) -> list[str]:
    """Write `new` into every place and return the files that changed; notebooks keep their
    outputs."""
    changed = []
    for name, path in files(root):
        before = after = path.read_text("utf-8")
        for form in FORMS:
            if re.fullmatch(form.files, name):
                after = form.pattern.sub(lambda match: _rewritten(match, new), after)
        if after != before:
            path.write_text(after, "utf-8", newline="\n")
            changed.append(name)
    for md in notebooks.chapters(root=root):
        if md.relative_to(root).as_posix() in changed:
            notebooks.build(
                md
            )  # the code of both twins changed alike, so this renames cells and runs nothing
    return changed


def _rewritten(match: re.Match[str], new: Repository) -> str:
    text, start = match[0], match.start()
    spans = sorted(((match.span(what), what) for what in match.groupdict()), reverse=True)
    for (begin, end), what in spans:
        text = text[: begin - start] + getattr(new, what) + text[end - start :]
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if all is well, 1 if places disagree, 2 if the request makes no
    sense."""
    parser = argparse.ArgumentParser(
        prog="tools/repository.py", description="The one setting of where the book lives."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="the setting and every place that repeats it")
    commands.add_parser("check", help="fail if two places disagree")
    change = commands.add_parser("set", help="change it everywhere")
    change.add_argument("url")
    change.add_argument("--branch", default=None)
    args = parser.parse_args(argv)
    try:
        now = setting()
        if args.command == "set":
            print(
                "\n".join(
                    move(
                        Repository(
                            args.url.rstrip("/").removesuffix(".git"), args.branch or now.branch
                        )
                    )
                )
            )
            return 0
    except ValueError as problem:
        print(f"repository: {problem}", file=sys.stderr)
        return 2
    if args.command == "show":
        print(f"{now.url} ({now.branch})", *places(), sep="\n")
    wrong = disagreements()
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
