"""Imports run one way, and light packages stay light."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import qwenvl

ROOT = Path(qwenvl.__file__).parent

# From top to bottom. A module imports from its own room and from lower layers.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"cli", "__main__"}),
    frozenset({"api", "evaluation", "terminal"}),
    # Some of what is evaluated is drawn with it.
    frozenset({"demo"}),
    # The demo's checkpoint is trained with it.
    frozenset({"finetuning"}),
    frozenset({"engine"}),
    frozenset({"model_executor"}),
    frozenset({"chat"}),
    frozenset({"grounding"}),
    frozenset({"errors"}),
    frozenset({"__init__"}),
)
DEPTH = {room: depth for depth, layer in enumerate(LAYERS) for room in layer}

MAY_IMPORT_VLLM = ("engine/", "model_executor/vllm_plugin/")
MAY_IMPORT_VLLM_LAZILY = ("model_executor/plugin.py",)

HEAVY = frozenset({"torch", "transformers", "vllm"})

# What importing a module must not load, in a process of its own.
FORBIDDEN: dict[str, frozenset[str]] = {
    "qwenvl": HEAVY | {"fastapi", "httpx", "PIL"},
    "qwenvl.errors": HEAVY | {"fastapi", "httpx", "PIL"},
    "qwenvl.grounding": HEAVY | {"fastapi", "httpx"},
    "qwenvl.chat": HEAVY | {"fastapi", "httpx"},
    "qwenvl.model_executor": frozenset({"torch", "vllm"}),
    "qwenvl.model_executor.plugin": frozenset({"torch", "vllm"}),
    "qwenvl.engine": frozenset({"torch", "vllm"}),
    "qwenvl.api": frozenset({"torch", "vllm"}),
    "qwenvl.finetuning": frozenset({"vllm"}),
    "qwenvl.evaluation": HEAVY | {"fastapi", "httpx", "PIL"},
    # What the command imports before it knows what of it is asked.
    "qwenvl.evaluation.commands": HEAVY | {"fastapi", "httpx"},
    "qwenvl.evaluation.runner": HEAVY | {"fastapi"},
    "qwenvl.demo": frozenset({"vllm"}),
    "qwenvl.terminal": HEAVY | {"fastapi", "httpx"},
    # What the command imports before it knows whether a server or an engine of its own will answer.
    "qwenvl.terminal.running": HEAVY | {"fastapi"},
    "qwenvl.cli": HEAVY,
}

SOURCES = sorted(ROOT.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    """The package or module directly under ``qwenvl`` that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def module_name(path: Path) -> list[str]:
    parts = ["qwenvl", *path.relative_to(ROOT).with_suffix("").parts]
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported_modules(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import below ``tree``; what follows ``from x import`` is taken as part of it."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path)[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def rooms_imported(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    for line, name in imported_modules(tree, path):
        parts = name.split(".")
        if parts[0] == "qwenvl":
            # `import qwenvl` and `from qwenvl import __version__` reach the package's own __init__.
            yield line, parts[1] if len(parts) > 1 and parts[1] in DEPTH else "__init__"


def top_level(tree: ast.Module) -> ast.Module:
    """``tree`` without its functions: what runs when the module is imported."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

    return Strip().visit(ast.parse(ast.unparse(tree)))


def vllm_imports(tree: ast.AST, path: Path) -> list[str]:
    return [name for _, name in imported_modules(tree, path) if name.split(".")[0] == "vllm"]


def source_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_there_is_something_to_check():
    assert {"errors", "chat", "engine"} <= {room_of(path) for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_go_down_the_layers(path):
    assert room_of(path) in DEPTH, f"qwenvl/{room_of(path)} has no place in LAYERS: give it one"
    own = room_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if own == "__init__":
        # Below everything for who imports it; what it imports registers Auto classes, and loads nothing else.
        assert {name for _, name in imported_modules(tree, path)} == {"qwenvl.model_executor.autoclasses"}
        return
    wrong = [
        f"line {line}: {own} imports {room}"
        for line, room in rooms_imported(tree, path)
        if room != own and DEPTH[room] <= DEPTH[own]
    ]
    assert not wrong


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_vllm_is_imported_where_it_may_be(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if relative(path).startswith(MAY_IMPORT_VLLM):
        return
    if relative(path) in MAY_IMPORT_VLLM_LAZILY:
        tree = top_level(tree)
    assert not vllm_imports(tree, path)


def test_every_room_has_a_rule_of_what_it_may_load():
    rooms = {room_of(path) for path in SOURCES} - {"__init__", "__main__"}
    assert {f"qwenvl.{room}" for room in rooms} <= FORBIDDEN.keys()


@pytest.mark.parametrize("module", FORBIDDEN)
def test_import_loads_nothing_heavy(module):
    if not source_of(module).exists():
        pytest.skip(f"{module} is not written yet")
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not FORBIDDEN[module] & set(done.stdout.split())


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("chat/render.py", "from qwenvl.engine import protocol", ["engine"]),
        ("chat/render.py", "from ..engine import protocol", ["engine"]),
        ("chat/__init__.py", "from . import render", ["chat"]),
        ("chat/render.py", "from qwenvl import api, __version__", ["api", "__init__"]),
        ("cli.py", "def main():\n    import qwenvl.api.app", ["api"]),
        ("cli.py", "import json, vllm", []),
    ],
)
def test_the_reader_of_imports(file, source, expected):
    assert [room for _, room in rooms_imported(ast.parse(source), ROOT / file)] == expected


def test_a_lazy_import_is_told_from_an_eager_one():
    path = ROOT / "model_executor" / "plugin.py"
    eager = ast.parse("import vllm.config")
    lazy = ast.parse("def register():\n    from vllm import ModelRegistry")
    assert vllm_imports(top_level(eager), path) == ["vllm.config"]
    assert vllm_imports(lazy, path) == ["vllm.ModelRegistry"]
    assert not vllm_imports(top_level(lazy), path)


def declared(requirements: list[str]) -> set[str]:
    """Normalised names of requirements, without versions, extras and markers."""
    return {re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-") for requirement in requirements}


# One holds a font, the other is imported by transformers.
NOT_IMPORTED = {"zhplot", "accelerate"}


def test_third_party_imports_are_declared_and_declared_ones_imported():
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = declared(project["dependencies"])
    optional = {name for extra in project["optional-dependencies"].values() for name in declared(extra)}
    distributions = importlib.metadata.packages_distributions()
    imported = {
        name.split(".")[0]
        for path in SOURCES
        for _, name in imported_modules(ast.parse(path.read_text(encoding="utf-8")), path)
    }
    third_party = imported - set(sys.stdlib_module_names) - {"qwenvl", "torch", "vllm"}
    names = {module: {name.lower().replace("_", "-") for name in distributions[module]} for module in third_party}
    assert not {module for module, owners in names.items() if not owners & (core | optional)}
    assert not core - set().union(*names.values()) - NOT_IMPORTED


def test_imports_of_tests_and_scripts_are_declared():
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    known = declared(project["dependencies"]).union(*(declared(extra) for extra in extras))
    distributions = importlib.metadata.packages_distributions()
    # They come with langchain-openai and with fastapi, whose users meet them.
    known |= {"langchain-core", "starlette"}
    own = {"qwenvl", "tests", "benchmarks", "scripts", "torch", "vllm"} | set(sys.stdlib_module_names)
    for folder in ("tests", "benchmarks", "scripts", "examples"):
        for path in sorted((ROOT.parent / folder).rglob("*.py")):
            for module in absolute_imports(ast.parse(path.read_text(encoding="utf-8"))) - own:
                owners = {name.lower().replace("_", "-") for name in distributions[module]}
                assert owners & known, f"{path} imports {module}"


def absolute_imports(tree: ast.AST) -> set[str]:
    """First names of the modules imported below ``tree``."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}
