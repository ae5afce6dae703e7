"""Widgets in notebooks have random ids; here they get names that depend on their place, and lose
their empty fields."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import nbformat
from nbformat import NotebookNode

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


def rename(notebook: NotebookNode, stem: str) -> NotebookNode:
    """The same notebook with every widget model named after its order of appearance; unreachable
    models go."""
    saved = notebook.metadata.get("widgets", {}).get(STATE)
    if not saved:
        notebook.metadata.pop("widgets", None)
        return notebook
    state: dict[str, Any] = saved["state"]
    names: dict[str, str] = {}
    for root in _views(notebook):
        _visit(root, state, names, stem)
    links = (
        model
        for model in state
        if model not in names and "link" in state[model]["model_name"].lower()
    )
    for link in sorted(links, key=lambda model: _without_ids(state[model], names)):
        _visit(link, state, names, stem)
    saved["state"] = {model: state[model] for model in names}
    for model in saved["state"].values():
        model["state"] = {key: value for key, value in model["state"].items() if value is not None}
    text = nbformat.writes(notebook)
    for random_id, name in names.items():
        text = text.replace(random_id, name)
    return nbformat.reads(text, as_version=4)


def _views(notebook: NotebookNode) -> Iterator[str]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if VIEW in output.get("data", {}):
                yield output["data"][VIEW]["model_id"]


def _visit(model: str, state: dict[str, Any], names: dict[str, str], stem: str) -> None:
    """Name `model` and, depth first, all models that it refers to."""
    if model in names or model not in state:
        return
    names[model] = hashlib.sha256(f"{stem}|{len(names)}".encode()).hexdigest()[:32]
    for part in re.findall(
        r"IPY_MODEL_([0-9a-f]{32})", json.dumps(state[model]["state"], sort_keys=True)
    ):
        _visit(part, state, names, stem)


def _without_ids(model: Any, names: dict[str, str]) -> str:
    """A model as text in which named models show their name and the others nothing: an order free
    of chance."""
    text = json.dumps(model, sort_keys=True)
    return re.sub(r"IPY_MODEL_([0-9a-f]{32})", lambda match: names.get(match[1], "?"), text)
