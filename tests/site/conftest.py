"""The built site, a server that offers it from a sub-path as GitHub Pages does, and a browser to
look at it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def sources() -> Iterator[Path]:
    """Everything that the site is made of."""
    yield from (ROOT / "_config.yml", ROOT / "_toc.yml")
    yield from (ROOT / "tools").glob("sphinx_*.py")
    yield from (p for p in (ROOT / "web").rglob("*") if p.is_file())
    yield from (
        p
        for p in (ROOT / "book").rglob("*")
        if p.suffix in (".md", ".ipynb", ".bib") and ".ipynb_checkpoints" not in p.parts
    )


def stale() -> bool:
    """Whether there is no built site, or one that is older than a source."""
    built = (
        [p.stat().st_mtime for p in HTML.glob("*.html")] if (HTML / "index.html").exists() else []
    )
    return not built or max(built) < max(p.stat().st_mtime for p in sources())


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site; it is built anew if it is missing or older than a source."""
    if stale():
        shutil.rmtree(ROOT / "_build", ignore_errors=True)
        tool = Path(sys.executable).with_name("jupyter-book")
        done = subprocess.run(
            [str(tool), "build", "-W", "-n", "--keep-going", "."],
            cwd=ROOT,
            text=True,
            capture_output=True,
        )
        if done.returncode:
            lines = [
                line
                for line in (done.stdout + done.stderr).splitlines()
                if "WARNING" in line or "ERROR" in line
            ]
            pytest.fail(
                "the site does not build without warnings:\n"
                + "\n".join(lines or [done.stderr[-2000:]])
            )
    return HTML


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A function: folder → URL below which it is served, on a port of its own and under a
    sub-path."""
    running = []

    def start(folder: Path) -> str:
        root = tmp_path_factory.mktemp("served")
        (root / "a-book").symlink_to(folder, target_is_directory=True)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/a-book/"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of this machine; skips with one message where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: looked for {', '.join(BROWSERS)}; the site was not looked at")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()
