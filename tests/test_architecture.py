"""The package as a whole: which module may import which, how long things are, that all that is public is explained."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "pkg" / "src" / "memlab"
EVERYTHING = {"runtime", "corpora", "memories", "uat", "blocks", "human", "results", "decoder", "baselines", "training",
              "evaluation", "plots", "widgets", "exercises", "experiments", "weights", "reader", "pretrained",
              "needle_bench", "fixed", "fixed_training", "fixed_bench", "fixed_tables", "reciters", "memorisers",
              "approximation", "rivals", "interventions", "recital", "recital_bench", "stacked", "observers",
              "asking", "question_bench", "rival_bench", "capacity", "crowds", "observer_bench",
              "memory_bench", "retrieval", "encoder", "ruler_bench", "text_memory", "adapters", "tuning", "scope",
              "understanding_bench", "editing_bench", "costs", "cost_bench", "cost_whole", "cost_tables",
              "text_reader"}
# What a module may import of the package. Data flow one way: sources of data and mechanisms, then what measures them,
# then what shows them, then what runs it all.
ALLOWED: dict[str, set[str]] = {
    "runtime": set(),
    "training": set(),
    "weights": set(),
    "human": set(),
    "blocks": {"runtime"},
    "corpora": {"runtime"},
    "memories": {"runtime"},
    "results": {"runtime"},
    "uat": {"runtime", "blocks"},
    "encoder": set(),
    "decoder": {"runtime", "memories", "encoder"},
    "baselines": {"runtime", "training", "corpora", "results", "evaluation", "weights"},
    "evaluation": {"runtime", "corpora", "memories", "results"},
    "reciters": {"runtime", "corpora", "training"},
    "memorisers": {"runtime", "uat"},
    "approximation": {"runtime", "training", "blocks", "uat", "memorisers"},
    "rivals": {"runtime", "corpora", "training", "blocks", "uat", "reciters", "evaluation"},
    "interventions": {"runtime", "blocks", "corpora", "evaluation"},
    "rival_bench": {"corpora", "training", "blocks", "uat", "reciters", "evaluation", "rivals", "interventions"},
    "recital": {"runtime", "corpora", "training", "evaluation"},
    "recital_bench": {"corpora", "training", "results", "evaluation", "reciters", "recital"},
    "stacked": {"runtime", "corpora", "training", "evaluation"},
    "capacity": {"runtime", "corpora", "training", "evaluation", "reciters", "stacked"},
    "observers": {"runtime", "corpora", "training", "evaluation"},
    "crowds": {"runtime", "corpora", "training", "evaluation"},
    "observer_bench": {"runtime", "corpora", "evaluation", "reciters", "interventions", "observers", "crowds"},
    "asking": {"corpora", "training", "evaluation", "reciters"},
    "question_bench": {"runtime", "corpora", "training", "results", "evaluation", "reciters", "asking"},
    "retrieval": {"runtime", "corpora"},
    "reader": {"runtime", "corpora", "memories", "decoder"},
    "pretrained": {"runtime", "baselines", "corpora", "encoder", "decoder", "training", "weights"},
    "ruler_bench": {"runtime", "corpora", "memories", "decoder", "reader", "retrieval", "evaluation", "weights"},
    "needle_bench": {"runtime", "corpora", "memories", "decoder", "reader", "retrieval", "evaluation", "weights"},
    "memory_bench": {"runtime", "memories", "evaluation"},
    "text_reader": {"corpora", "weights", "recital"},
    "fixed": {"memories", "encoder", "decoder"},
    "fixed_training": {"runtime", "corpora", "decoder", "training", "pretrained", "weights", "fixed"},
    "fixed_bench": {"runtime", "corpora", "memories", "results", "evaluation", "reader", "weights", "fixed",
                    "fixed_training"},
    "fixed_tables": {"fixed_bench"},
    "costs": {"runtime"},
    "cost_bench": {"runtime", "corpora", "memories", "decoder", "baselines", "needle_bench", "reader", "retrieval",
                   "weights", "costs"},
    "cost_whole": {"runtime", "corpora", "memories", "decoder", "reader", "pretrained", "needle_bench", "weights",
                   "cost_bench"},
    "cost_tables": {"costs"},
    "text_memory": {"corpora", "memories", "decoder", "reader", "retrieval", "weights"},
    "adapters": {"runtime", "corpora", "retrieval"},
    "tuning": {"runtime", "corpora", "retrieval"},
    "scope": {"runtime", "corpora", "memories", "results", "decoder", "reader", "evaluation", "retrieval",
              "text_memory"},
    "understanding_bench": {"corpora", "results", "decoder", "evaluation", "retrieval", "text_memory", "scope",
                            "adapters", "tuning"},
    "editing_bench": {"runtime", "corpora", "memories", "results", "evaluation", "text_memory", "scope"},
    "plots": {"runtime", "results"},
    "widgets": {"plots", "results"},
    "exercises": EVERYTHING - {"experiments", "exercises"},
    "experiments": EVERYTHING - {"exercises", "experiments"},
    "__main__": EVERYTHING - {"exercises"},
    "__init__": set(),
}
MODULE_LINES, DECODER_LINES, EXPERIMENT_LINES, FUNCTION_LINES, PACKAGE_LINES = 250, 300, 120, 40, 8000
WITH_SOURCE = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
LIGHT = ("memlab", "memlab.runtime", "memlab.results", "memlab.experiments", "memlab.__main__")

FILES = sorted(SOURCE.rglob("*.py"))
IDS = [file.relative_to(SOURCE).as_posix() for file in FILES]


def unit(file: Path) -> str:
    """The module or subpackage of memlab that a file belongs to."""
    first = file.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported_units(tree: ast.AST) -> Iterator[str]:
    """The parts of memlab that a file imports, wherever in the file it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names
                        if alias.name.startswith("memlab.") and alias.name.count("."))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module == "memlab":
                yield from (alias.name for alias in node.names)
            elif node.module.startswith("memlab."):
                yield node.module.split(".")[1]


def forbidden(name: str, source: str) -> set[str]:
    """What a file of the unit `name` imports although it may not."""
    own = {name, "__version__"}
    return set(imported_units(ast.parse(source))) - ALLOWED[name] - own


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_import_graph_goes_one_way(file: Path) -> None:
    name = unit(file)
    assert name in ALLOWED, f"{name} is new: say in this file what it may import"
    source = file.read_text("utf-8")
    assert forbidden(name, source) == set()
    relative = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative, "expected absolute imports, which this test can follow"


def test_the_graph_has_no_cycle() -> None:
    seen: dict[str, int] = {}

    def depth(name: str, path: tuple[str, ...] = ()) -> int:
        assert name not in path, f"{name} leads back to itself"
        if name not in seen:
            seen[name] = 1 + max((depth(other, (*path, name)) for other in ALLOWED[name]), default=0)
        return seen[name]

    for name in ALLOWED:
        depth(name)
    assert seen["runtime"] == 1 and seen["experiments"] > seen["evaluation"] > seen["results"]


@pytest.mark.parametrize(("name", "source", "wrong"), [
    ("evaluation", "from memlab.decoder import MemoryDecoder", {"decoder"}),
    ("evaluation", "def f():\n    from memlab import decoder", {"decoder"}),
    ("runtime", "import memlab.results", {"results"}),
    ("training", "from memlab import runtime", {"runtime"}),
    ("exercises", "from memlab.experiments import find", {"experiments"}),
    ("evaluation", "from memlab import results, __version__\nfrom memlab.corpora import tasks", set()),
])
def test_the_walker_sees_what_it_should(name: str, source: str, wrong: set[str]) -> None:
    assert forbidden(name, source) == wrong


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_modules_can_be_read_in_one_sitting(file: Path) -> None:
    lines = len(file.read_text("utf-8").splitlines())
    limit = {"decoder": DECODER_LINES, "experiments": EXPERIMENT_LINES}.get(unit(file), MODULE_LINES)
    assert lines <= limit


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_functions_are_short_and_public_ones_explained(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    assert ast.get_docstring(tree), "expected a docstring of the module"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= FUNCTION_LINES, f"{node.name} is too long"
    for node in public(tree):
        assert ast.get_docstring(node), f"{node.name}: expected a docstring"


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes, and the public methods of public classes; overloads of Hugging Face's names too."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (item for item in node.body
                            if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"))


def statement_lines(source: str) -> int:
    """Lines that hold code: no blank lines, comments or docstrings, which should cost nothing."""
    tree, lines = ast.parse(source), set()
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def test_the_package_stays_small() -> None:
    core = [file for file in FILES if unit(file) not in ("experiments", "exercises")]
    assert sum(statement_lines(file.read_text("utf-8")) for file in core) <= PACKAGE_LINES


def test_statement_lines_counts_code_alone() -> None:
    lines = ['"""Two', 'lines."""', "", "# why", "x = (1,", "     2)  # and", "", "def f():", '    """Say."""',
             "    return x", ""]
    assert statement_lines("\n".join(lines)) == 4


def test_signatures_are_annotated() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
                assert not bare and node.returns is not None, f"{file.name}: {node.name} lacks annotations {bare}"


def test_nobody_draws_from_a_global_random_state() -> None:
    """Seeding torch is allowed only inside fork_rng, which gives the state back (stock models initialise from it)."""
    pattern = re.compile(r"\btorch\.(seed|set_rng_state)\(|\b(np|numpy)\.random\.(?!default_rng|Generator)")
    for file in FILES:
        source = file.read_text("utf-8")
        assert not pattern.search(source), f"{file.name} uses a global random state: {pattern.search(source)}"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                body = ast.unparse(node)
                assert "torch.manual_seed(" not in body or "fork_rng(" in body, f"{node.name} seeds torch for all"
                drawn = re.search(r"(?<![\w.])random\.(?!Random\b)[a-z]\w*\(", body)
                own = any(argument.arg == "random" for argument in ast.walk(node) if isinstance(argument, ast.arg))
                assert own or not drawn, f"{file.name}: {node.name} draws from Python's global state"


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_do_no_heavy_work_at_import(name: str) -> None:
    program = (f"import sys, importlib; importlib.import_module({name!r});"
               "heavy = {'transformers', 'accelerate', 'seaborn', 'matplotlib', 'bm25s', 'sklearn'} & set(sys.modules);"
               "sys.exit(f'imports {sorted(heavy)}' if heavy else 0)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=WITH_SOURCE)
    assert done.returncode == 0, done.stderr


def test_importing_anything_prints_nothing_and_moves_no_random_state() -> None:
    modules = [".".join(("memlab", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
               for file in FILES if file.name != "__main__.py"]
    program = ("import importlib, random, torch\n"
               "before = random.getstate(), torch.get_rng_state(), torch.get_num_threads()\n"
               f"for name in {modules!r}: importlib.import_module(name)\n"
               "assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])\n"
               "assert torch.get_num_threads() == before[2]")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=WITH_SOURCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""


def test_the_readme_names_every_module(root: Path) -> None:
    named = set(re.findall(r"^    memlab/(\w+) +\S", (root / "README.md").read_text("utf-8"), re.M))
    present = {unit(file) for file in FILES} - {"__init__", "__main__"}
    assert named == present
