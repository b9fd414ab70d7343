"""The house rules: no import circles, at most a dozen modules per folder, rooms described, arrays documented.

The rules are about the source, so it is parsed, not imported.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

ROOMS = ("render", "fuse", "training", "pipeline")
MOST_MODULES = 12
LARGER = {"render/importing", "pipeline/commands"}  # a module per format, a module per verb
MAY_IMPORT = {
    "render": {"render"},
    "fuse": {"render", "fuse"},
    "training": {"render.failures", "fuse", "training"},
    "pipeline": {"render", "fuse", "training", "pipeline"},
}
SHAPE = re.compile(r"\([A-Z0-9][\w+ x/*-]*,[^)]*\)|\[-1")
ARRAYS = re.compile(r"\b(ndarray|Tensor)\b")


def modules() -> dict[str, Path]:
    """Name -> path of every module of the four rooms; a package under its own name."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of ours that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_no_module_imports_itself_through_others():
    known = modules()
    graph = {name: {to for to in imports(path, known) if to in known} for name, path in known.items()}
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    circle = {name: sorted(needs & graph.keys()) for name, needs in graph.items()}
    assert not circle, f"in, or dependent on, an import circle: {circle}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str):
    known = modules()
    for name, path in known.items():
        if name.split(".")[0] == room:
            ours = {to for to in imports(path, known) if to in known}
            wrong = {to for to in ours if not {to, to.split(".")[0]} & MAY_IMPORT[room]}
            assert not wrong, f"{name} imports {sorted(wrong)}"


def test_no_folder_is_crowded():
    for folder in {path.parent for path in modules().values()}:
        own = [path for path in folder.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
        name = folder.relative_to(ROOT).as_posix()
        assert len(own) <= MOST_MODULES or name in LARGER, f"{name} has {len(own)} modules"


def test_every_folder_says_what_lives_there_and_where_to_start():
    for path in modules().values():
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            name = path.parent.relative_to(ROOT)
            assert len(text.split()) >= 12, f"{name}/__init__.py does not say what lives there"
            assert re.search(r"[Mm]ay import", text), f"{name}/__init__.py does not say what it may import"
            assert re.search(r"[Ss]tart (reading )?(with|at)", text), f"{name}: where to start reading?"


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = sorted(name for name, path in modules().items() if path.name == "__init__.py")
    assert sorted(listed) == sorted([*there, "pipeline.recipes"]), "configs/ travels as pipeline.recipes"


def undocumented() -> list[str]:
    """Public functions that take or give arrays, and whose docstring names no shape."""
    found = []
    for name, path in modules().items():
        for where, node in functions(ast.parse(path.read_text())):
            signature = ast.unparse(node.args) + (ast.unparse(node.returns) if node.returns else "")
            if ARRAYS.search(signature) and not SHAPE.search(ast.get_docstring(node) or ""):
                found.append(f"{name}.{where}{node.name}")
    return found


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """(class and a dot or nothing, function) of every public function and method."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield "", node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    yield f"{node.name}.", member


def test_public_array_functions_name_their_shapes():
    assert undocumented() == []


FOLDERS = {"clouds", "views", "checkpoints", "ledger", "report", ".staging", ".tmp", ".lock"}
FILES = re.compile(r"manifest\.jsonl|dataset\.json|part-|\.staging|\.tmp\b")
MAY_SPELL_PATHS = {
    "fuse.dataset.layout": "their owner",
    "pipeline.output.card": "the card describes the folder to people",
}


def stray_paths() -> list[str]:
    """Literals outside docstrings that spell a path inside a dataset folder."""
    return [
        f"{name}:{line} {text!r}"
        for name, path in modules().items()
        if name not in MAY_SPELL_PATHS
        for line, text in spelled(ast.parse(path.read_text()))
    ]


def spelled(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of strings that name a file of the folder, or one of its folders as part of a path.

    Sentences may name them.
    """
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = {
        id(side)
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        for side in (node.left, node.right)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            folder = id(node) in joined and FOLDERS & set(node.value.split("/"))
            if folder or (FILES.search(node.value) and " " not in node.value):
                yield node.lineno, node.value


def test_every_path_inside_a_dataset_folder_comes_from_its_layout():
    assert stray_paths() == []


if __name__ == "__main__":
    print("\n".join(undocumented()))
