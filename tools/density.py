"""How dense the code is: length of functions, tokens a code line, wide lines, assignments of
tuples.

    python tools/density.py [FOLDER ...]     one line a folder (default: pkg/src/memlab)

For comparison, model codebases have 5 to 9 tokens a code line and 0 to 16 assignments of tuples in
1,000 lines (equinox 6.5 and 0.3, nanochat 8.2 and 9, flash-linear-attention 8.8 and 16).
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

WIDE = 100
SILENT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


@dataclass
class Density:
    """Counts over files: lines that hold code, their tokens, wide lines, tuple assignments."""

    lines: int = 0
    tokens: int = 0
    wide: int = 0
    tuples: int = 0
    functions: list[int] = field(default_factory=list)

    def add(self, source: str) -> None:
        """Count one file; blank lines, comments and docstrings are no code."""
        tree = ast.parse(source)
        texts = _docstring_lines(tree)
        code: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in SILENT or token.start[0] in texts:
                continue
            self.tokens += 1
            code.update(range(token.start[0], token.end[0] + 1))
        self.lines += len(code)
        self.wide += sum(len(line) > WIDE for line in source.splitlines())
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                self.tuples += isinstance(node.targets[0], ast.Tuple)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.append((node.end_lineno or 0) - node.lineno + 1)

    def __str__(self) -> str:
        sizes = sorted(self.functions)
        median, ninth = sizes[len(sizes) // 2], sizes[len(sizes) * 9 // 10]
        return (
            f"{self.lines} code lines, {self.tokens / self.lines:.1f} tokens a line,"
            f" {self.wide} lines over {WIDE} columns,"
            f" {1000 * self.tuples / self.lines:.1f} tuple assignments in 1,000 lines,"
            f" functions {median} / {ninth} / {sizes[-1]} lines (median, 90 %, longest)"
        )


def _docstring_lines(tree: ast.AST) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        if isinstance(node.value.value, str):
            found.update(range(node.lineno, (node.end_lineno or 0) + 1))
    return found


def main(folders: list[str]) -> int:
    """Print one line a folder; 2 if one holds no Python."""
    for folder in folders or ["pkg/src/memlab"]:
        files = sorted(Path(folder).rglob("*.py"))
        if not files:
            print(f"density: expected a folder with .py files, got {folder}", file=sys.stderr)
            return 2
        density = Density()
        for file in files:
            density.add(file.read_text("utf-8"))
        print(f"{folder}: {len(files)} files, {density}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
