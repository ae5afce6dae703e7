"""What is handed on: the wheel and the sdist of the package, and a checkout on another system."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import tomllib

BUILD = (
    "from setuptools import build_meta as backend;"
    "print(backend.build_wheel('dist'), backend.build_sdist('dist'), sep='\\n')"
)
LINES = b"one\ntwo\n"
BYTES = b"\x00one\r\ntwo\n"


def test_the_package_has_the_licence_of_the_code(root: Path) -> None:
    licence = (root / "LICENSE").read_text("utf-8")
    assert "Apache License" in licence
    assert (root / "pkg" / "LICENSE").read_text("utf-8") == licence


def test_wheel_and_sdist_hold_the_licence(root: Path, tmp_path: Path) -> None:
    """Built of the package's own settings and licence, and of its first file alone."""
    pytest.importorskip("setuptools", minversion="77")
    for name in ("pyproject.toml", "LICENSE", "src/memlab/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "pkg" / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    licence = (root / "LICENSE").read_bytes()
    wheel, sdist = done.stdout.splitlines()[-2:]
    release = sdist.removesuffix(".tar.gz")
    with zipfile.ZipFile(tmp_path / "dist" / wheel) as archive:
        assert archive.read(f"{release}.dist-info/licenses/LICENSE") == licence
        metadata = archive.read(f"{release}.dist-info/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata and "License-File: LICENSE" in metadata
    with tarfile.open(tmp_path / "dist" / sdist) as archive:
        held = archive.extractfile(f"{release}/LICENSE")
        assert held is not None and held.read() == licence


def test_the_licence_named_is_the_one_that_lies_there(root: Path) -> None:
    project = tomllib.loads((root / "pkg" / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    found = [file for pattern in project["license-files"] for file in (root / "pkg").glob(pattern)]
    assert [file.name for file in found] == ["LICENSE"]


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_checkout_on_windows_has_the_same_bytes(root: Path, tmp_path: Path) -> None:
    """`core.autocrlf` is true by default there."""
    contents = {
        "page.md": LINES,
        "records.jsonl": LINES,
        "LICENSE": LINES,
        "card.png": BYTES,
        "model.safetensors": BYTES,
        "web/static/vendor/font.woff2": BYTES,
        "web/static/vendor/script.js": b"one\r\ntwo\n",
        "tests/site/vendor/script.js": LINES,
    }
    made = tmp_path / "made"
    for name, content in contents.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    shutil.copy(root / ".gitattributes", made)
    git("init", "-q", cwd=made)
    git("-c", "core.safecrlf=false", "add", ".", cwd=made)
    git("commit", "-q", "-m", "all", cwd=made)
    git("clone", "-q", "-c", "core.autocrlf=true", str(made), "windows", cwd=tmp_path)
    for name, content in contents.items():
        assert (tmp_path / "windows" / name).read_bytes() == content, name


def test_every_binary_file_is_marked_as_one(root: Path) -> None:
    if not (root / ".git").exists():
        pytest.skip("expected a git checkout, found none")
    listed = [line.split("\t") for line in git("ls-files", "--eol", cwd=root).splitlines()]
    binary = [name for kinds, name in listed if kinds.startswith("i/-text")]
    marked = git("check-attr", "text", "--", *binary, cwd=root).splitlines()
    assert binary and [line for line in marked if not line.endswith(": text: unset")] == []
