"""The third-party files that the site serves itself, so that no page asks any other server for
anything.

    python tools/vendor.py refresh   download the exact npm packages, write the files again (npm)
    python tools/vendor.py check     compare every committed file with SHA256SUMS (needs nothing)
    python tools/vendor.py card      draw the social card again from web/card.html (needs Chromium)

A refresh writes the same bytes as the last one; after a change of version, look at the site before
committing.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT / "web/static/vendor", ROOT / "tests/site/vendor")
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Package:
    """One npm package: the patterns of files to take from it and the folder that they go to."""

    spec: str
    folder: str
    files: tuple[str, ...]
    strip: str = ""
    skip: tuple[str, ...] = ()


PACKAGES = (
    Package(
        "mathjax@3.2.2",
        "web/static/vendor/mathjax",
        ("LICENSE", "es5/tex-svg.js", "es5/input/tex/extensions/*.js"),
        strip="es5/",
        skip=("es5/input/tex/extensions/all-packages.js",),
    ),
    Package(
        "@fontsource-variable/source-serif-4@5.3.1",
        "web/static/vendor/fonts",
        (
            "LICENSE",
            "files/source-serif-4-latin-opsz-normal.woff2",
            "files/source-serif-4-latin-wght-italic.woff2",
            "files/source-serif-4-latin-ext-wght-normal.woff2",
        ),
        strip="files/",
    ),
    Package("axe-core@4.14.1", "tests/site/vendor", ("LICENSE", "axe.min.js")),
)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listing(folder: Path) -> str:
    """One line `digest  path` for every file below `folder` but the list itself, sorted by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    return "".join(f"{digest(p)}  {p.relative_to(folder).as_posix()}\n" for p in files)


def wanted(package: Package, names: list[str]) -> Iterator[tuple[str, Path]]:
    """The members of the package to keep, with the path that each goes to. ValueError if a
    pattern finds none."""
    for pattern in package.files:
        found = [n for n in names if fnmatch(n, pattern) and n not in package.skip]
        if not found:
            raise ValueError(
                f"{package.spec}: expected a file {pattern}, got none; has the package changed?"
            )
        yield from ((n, ROOT / package.folder / n.removeprefix(package.strip)) for n in found)


def fetch(package: Package, scratch: Path) -> None:
    """Download one package with npm and write its files."""
    out = subprocess.run(
        ["npm", "pack", "--silent", package.spec],
        cwd=scratch,
        check=True,
        text=True,
        capture_output=True,
    )
    with tarfile.open(scratch / out.stdout.strip().splitlines()[-1]) as archive:
        names = [n.removeprefix("package/") for n in archive.getnames()]
        for name, path in wanted(package, names):
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise ValueError(
                    f"{package.spec}: expected {name} to be a file, got something else"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(member.read())


def refresh() -> int:
    """Write every file and the lists of digests again; 0 on success."""
    if shutil.which("npm") is None:
        print(
            "vendor: expected npm on the path, found none; only `refresh` needs it", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        for package in PACKAGES:
            fetch(package, Path(scratch))
    for folder in FOLDERS:
        (folder / SUMS).write_text(listing(folder), "utf-8")
    return 0


def check() -> int:
    """0 if every file is as listed, else 1 with the names of those that are not."""
    bad = 0
    for folder in FOLDERS:
        stored = set((folder / SUMS).read_text("utf-8").splitlines())
        for line in sorted(stored ^ set(listing(folder).splitlines())):
            bad, where = 1, "missing or changed" if line in stored else "not listed"
            print(f"{folder.relative_to(ROOT)}/{line.split('  ', 1)[1]}: {where}")
    return bad


def card() -> int:
    """Screenshot web/card.html (1200 × 630) to web/static/card.png; 0 on success, 2 where there
    is no Chromium."""
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        print(
            "vendor: expected chromium, chromium-browser or google-chrome on the path, found none",
            file=sys.stderr,
        )
        return 2
    subprocess.run(
        [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            "--window-size=1200,630",
            "--virtual-time-budget=2000",
            f"--screenshot={ROOT / 'web/static/card.png'}",
            (ROOT / "web/card.html").as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    return 0


def main() -> int:
    """Run the command named on the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=["refresh", "check", "card"])
    return {"refresh": refresh, "check": check, "card": card}[parser.parse_args().command]()


if __name__ == "__main__":
    sys.exit(main())
