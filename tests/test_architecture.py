"""The package as a whole: what may import what, how long things are, that all that is public is
explained."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import notebooks

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "pkg" / "src" / "memlab"
# An import goes to a lower tier, or stays in its own package; a chapter may import earlier ones.
TIERS = (
    ("runtime", "locks", "weights", "human"),
    ("results", "memories"),
    ("corpora",),
    ("retrieval", "training", "evaluation"),
    ("models",),
    ("decoder",),
    ("book",),
    ("__main__",),
)
TIER = {name: number for number, names in enumerate(TIERS) for name in names}
FUNCTION_LINES, ENTRIES = 40, 13
WITH_SOURCE = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
LIGHT = (
    "memlab",
    "memlab.runtime",
    "memlab.results",
    "memlab.book.experiments",
    "memlab.__main__",
)
FILES = sorted(SOURCE.rglob("*.py"))
IDS = [file.relative_to(SOURCE).as_posix() for file in FILES]
CHAPTERS = [
    md.relative_to(ROOT / "book").with_suffix("").as_posix().replace("-", "_")
    for md in notebooks.chapters(root=ROOT)
]


def public_names(init: Path) -> set[str]:
    """The `__all__` of a file; empty if it has none."""
    for node in ast.parse(init.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


FACES = {
    init.parent.name: public_names(init)
    for init in SOURCE.glob("*/__init__.py")
    if init.parent.name != "book"
}


def unit(file: Path) -> str:
    """The module or subpackage of memlab that a file belongs to."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(source: str) -> Iterator[tuple[str, ...]]:
    """What a source imports of memlab, wherever it does so: ("corpora", "poems", "Poems")."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (tuple(name.split(".")[1:]) for name in names if name.startswith("memlab."))


def chapter_of(parts: tuple[str, ...]) -> int | None:
    """The place in the book of the chapter that ("book", part, chapter, …) lies in."""
    name = "/".join(parts[1:3])
    return CHAPTERS.index(name) if parts[0] == "book" and name in CHAPTERS else None


def complaints(where: tuple[str, ...], source: str) -> Iterator[str]:
    """What is wrong with the imports of a source that lies at `where`: ("book", part, chapter)."""
    for parts in imported(source):
        target, said = parts[0], ".".join(("memlab", *parts))
        if target not in TIER or target == where[0]:
            here, there = chapter_of(where), chapter_of(parts)
            if here is not None and there is not None and there > here:
                yield f"{said} is a later chapter"
            if target not in TIER and where[0] != "page":
                yield f"{said}: name the package that it lives in"
            continue
        if where[0] != "page" and TIER[target] >= TIER[where[0]]:
            yield f"{said} is not below {where[0]}"
        if target in FACES and len(parts) > 1 and parts[1] not in FACES[target]:
            yield f"{said} reaches past the face of memlab.{target}"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_imports_go_down_and_through_faces(file: Path) -> None:
    source, parts = file.read_text("utf-8"), file.relative_to(SOURCE).parts[:-1]
    relative = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative, "expected absolute imports, which this test can follow"
    if unit(file) != "__init__":
        assert list(complaints(parts or (unit(file),), source)) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_page_imports_public_names_and_no_later_chapter(chapter: str) -> None:
    page = notebooks.from_md(ROOT / "book" / f"{chapter.replace('_', '-')}.md")
    source = "\n".join(cell.source for cell in notebooks.code_cells(page))
    assert list(complaints(("page",), source)) == []
    later = [
        parts for parts in imported(source) if (chapter_of(parts) or 0) > CHAPTERS.index(chapter)
    ]
    assert later == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_is_a_package_at_the_path_of_its_page(chapter: str) -> None:
    for name in ("__init__", "experiment", "exercises"):
        assert (SOURCE / "book" / chapter / f"{name}.py").is_file()
    part, name = chapter.split("/")
    assert list((ROOT / "tests" / "book" / part).glob(f"test_{name}*.py"))


def test_the_top_of_the_package_can_be_taken_in_at_once() -> None:
    assert len({unit(file) for file in FILES} - {"__init__", "__main__"}) <= ENTRIES
    assert all(FACES.values()), f"expected an __all__ in each of {', '.join(sorted(FACES))}"


@pytest.mark.parametrize(
    ("where", "source", "wrong"),
    [
        ("evaluation", "from memlab.decoder import MemoryDecoder", "not below evaluation"),
        ("evaluation", "def f():\n    from memlab import decoder", "not below evaluation"),
        ("runtime", "import memlab.results", "not below runtime"),
        ("training", "from memlab import run", "name the package that it lives in"),
        ("corpora", "from memlab.book import units", "not below corpora"),
        ("models", "from memlab.training.loop import fit", "past the face of memlab.training"),
        ("page", "from memlab.memories import checks", "past the face of memlab.memories"),
        (
            "book/argument/dynamic_sum",
            "from memlab.book.outside_the_weights.needles import measure",
            "later chapter",
        ),
        ("book/argument/dynamic_sum", "from memlab.training import fit", ""),
        ("page", "from memlab import KeyValue\nfrom memlab.corpora.poems import Poems", ""),
        ("evaluation", "from memlab import results, runtime", ""),
    ],
)
def test_the_walker_sees_what_it_should(where: str, source: str, wrong: str) -> None:
    found = list(complaints(tuple(where.split("/")), source))
    assert (len(found) == 1 and wrong in found[0]) if wrong else found == []


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_functions_are_short_and_public_ones_explained(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    assert ast.get_docstring(tree), "expected a docstring of the module"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"
    for node in public(tree):
        assert ast.get_docstring(node), f"{node.name}: expected a docstring"


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes, and the public methods of public classes; overloads of Hugging
    Face's names too."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (
                    item
                    for item in node.body
                    if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
                )


def test_signatures_are_annotated() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                bare = [
                    a.arg
                    for a in arguments
                    if a.annotation is None and a.arg not in ("self", "cls")
                ]
                assert not bare and node.returns is not None, (
                    f"{file.name}: {node.name} lacks annotations {bare}"
                )


def test_nobody_draws_from_a_global_random_state() -> None:
    """Seeding torch is allowed only inside fork_rng, which gives the state back (stock models
    initialise from it)."""
    pattern = re.compile(
        r"\btorch\.(seed|set_rng_state)\(|\b(np|numpy)\.random\.(?!default_rng|Generator)"
    )
    for file in FILES:
        source = file.read_text("utf-8")
        assert not pattern.search(source), (
            f"{file.name} uses a global random state: {pattern.search(source)}"
        )
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                body = ast.unparse(node)
                assert "torch.manual_seed(" not in body or "fork_rng(" in body, (
                    f"{node.name} seeds torch for all"
                )
                drawn = re.search(r"(?<![\w.])random\.(?!Random\b)[a-z]\w*\(", body)
                own = any(
                    argument.arg == "random"
                    for argument in ast.walk(node)
                    if isinstance(argument, ast.arg)
                )
                assert own or not drawn, (
                    f"{file.name}: {node.name} draws from Python's global state"
                )


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_do_no_heavy_work_at_import(name: str) -> None:
    program = (
        f"import sys, importlib; importlib.import_module({name!r});heavy = {{'transformers',"
        " 'accelerate', 'seaborn', 'matplotlib', 'bm25s', 'sklearn'} &"
        " set(sys.modules);sys.exit(f'imports {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=WITH_SOURCE
    )
    assert done.returncode == 0, done.stderr


def test_importing_memlab_alone_costs_next_to_nothing() -> None:
    heavy = "{'torch', 'transformers', 'pandas', 'numpy'}"
    program = f"import sys, memlab; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=WITH_SOURCE
    )
    assert done.stderr.strip() == ""


OLD_TORCH = 'memlab expected torch>=2.4, got torch {}: pip install --upgrade "torch>=2.4"'
OLD_TRANSFORMERS = (
    "memlab expected transformers>=5.0, got transformers {}: "
    'pip install --upgrade "transformers>=5.0"'
)


@pytest.mark.parametrize(
    ("torch", "transformers", "said"),
    [
        ("2.4.0", "5.0.0", ""),
        ("2.4", "5", ""),
        ("2.13.0+cpu", "5.23.0", ""),
        ("10.0", "10.0", ""),
        ("2.4.0a0+git1234", "5.0.0rc1", ""),
        ("3", "5.0.0.dev0", ""),
        ("", "", ""),  # not there: says so when it is imported
        ("unknown", "v5", ""),
        ("2.3.1+cu121", "5.1", OLD_TORCH.format("2.3.1+cu121")),
        ("1.13", "", OLD_TORCH.format("1.13")),
        ("2", "5.0", OLD_TORCH.format("2")),
        ("2.13.0", "4.57.1", OLD_TRANSFORMERS.format("4.57.1")),
        (
            "2.3",
            "4",
            "memlab expected torch>=2.4 and transformers>=5.0, got torch 2.3 and transformers 4: "
            'pip install --upgrade "torch>=2.4" "transformers>=5.0"',
        ),
    ],
)
def test_what_is_too_old_is_one_sentence(
    torch: str, transformers: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import memlab

    def version(name: str) -> str:
        if found := {"torch": torch, "transformers": transformers}[name]:
            return found
        raise memlab.PackageNotFoundError(name)

    monkeypatch.setattr(memlab, "version", version)
    if not said:
        memlab._check_versions()
        return
    with pytest.raises(ImportError, match=f"^{re.escape(said)}$"):
        memlab._check_versions()


def test_memlab_is_not_imported_beside_what_is_too_old(tmp_path: Path) -> None:
    found = tmp_path / "transformers-4.57.1.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.57.1\n")
    paths = os.pathsep.join((str(tmp_path), str(SOURCE.parent)))
    done = subprocess.run(
        [sys.executable, "-c", "import memlab"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    wanted = f"ImportError: {OLD_TRANSFORMERS.format('4.57.1')}"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == wanted


def test_what_is_too_old_for_memlab_is_too_old_for_pip() -> None:
    import memlab

    described = (ROOT / "pkg" / "pyproject.toml").read_text("utf-8")
    for name, oldest in memlab._OLDEST.items():
        assert f'"{name}>={".".join(map(str, oldest))}",' in described


def test_importing_anything_prints_nothing_and_moves_no_random_state() -> None:
    modules = [
        ".".join(("memlab", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for file in FILES
        if file.name != "__main__.py"
    ]
    program = (
        "import importlib, random, torch\n"
        "before = random.getstate(), torch.get_rng_state(), torch.get_num_threads()\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])\n"
        "assert torch.get_num_threads() == before[2]"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=WITH_SOURCE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""


def test_the_readme_draws_the_package_as_it_is(root: Path) -> None:
    """Every entry at the top of memlab stands in the README's tree, and nothing else does."""
    tree = re.search(
        r"^    memlab/\n((?:      .*\n)+)", (root / "README.md").read_text("utf-8"), re.M
    )
    assert tree, "expected the tree of memlab in README.md"
    named = set(re.findall(r"^      (\w+)", tree[1], re.M))
    assert named == {unit(file) for file in FILES} - {"__init__", "__main__"}


def test_every_name_of_the_package_s_own_face_is_there() -> None:
    import memlab

    for name in memlab.__all__:
        assert getattr(memlab, name) is not None and name in dir(memlab)
    with pytest.raises(AttributeError, match="expected one of BM25"):
        memlab.nothing  # noqa: B018


@pytest.mark.parametrize("name", FACES)
def test_a_face_says_what_there_is_and_no_more(name: str) -> None:
    face = importlib.import_module(f"memlab.{name}")
    for public in FACES[name]:
        if not hasattr(face, public):
            importlib.import_module(f"memlab.{name}.{public}")
