"""Sphinx extension: a chapter is read from its executed .ipynb, so its .md twin is hidden from the
build."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def twins(root: Path) -> list[str]:
    """The sources under `root`/book that have a notebook beside them, relative to `root`."""
    notebooks = sorted((root / "book").rglob("*.ipynb"))
    return [
        path.with_suffix(".md").relative_to(root).as_posix()
        for path in notebooks
        if path.with_suffix(".md").exists()
    ]


def _hide(app: Any, config: Any) -> None:
    config.exclude_patterns += twins(Path(app.srcdir))


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", _hide)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
