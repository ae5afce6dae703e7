"""Sphinx extension: in a cell tagged `figure-code` the figure comes first, and the code that draws
it stands below, folded."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

FOLD = (
    '<details class="figure-code">\n<summary>The code that draws this figure</summary>\n',
    "</details>\n",
)


class FoldFigureCode(SphinxPostTransform):
    """Puts the source of each such cell behind its outputs, into a closed <details>."""

    default_priority = 200
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Change the document in place."""
        for cell in list(self.document.findall(nodes.container)):
            if "tag_figure-code" not in cell["classes"] or len(cell) != 2:
                continue
            source, outputs = cell.children
            before, after = (nodes.raw("", text, format="html") for text in FOLD)
            cell.clear()
            cell.extend([outputs, before, source, after])


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_post_transform(FoldFigureCode)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
