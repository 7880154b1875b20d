"""The shape of the code, read from its syntax trees.

Imports point down the layers, and what the style forbids in general (long modules,
shell strings, lost tasks, a blocked event loop) is in no module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fossilrepo"
LONGEST = 500

GROUND = {
    *("errors", "values", "config", "credentials", "models"),
    *("rights", "bridge", "insight", "resources", "wording", "traces"),
}
# Who may import what: a part of the package, or one module of it.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "values": {"errors"},
    "models": {"errors"},
    "rights": {"errors", "models"},
    "bridge": {"errors"},
    "insight": set(),
    "wording": {"models"},
    "traces": set(),
    "resources": {"errors"},
    "config": {"errors", "values"},
    "credentials": {"errors", "config"},
    "logs": GROUND,
    "runtime": GROUND,
    "db": GROUND,
    "tools": GROUND | {"runtime.process", "runtime.launch"},  # to run their program
    "services": GROUND | {"db", "tools", "runtime"},
    "web": GROUND | {"logs", "services"},
    "core": GROUND | {"db", "tools", "runtime", "services"},
    "children": GROUND | {"core", "tools", "runtime", "services", "web"},
    "app": GROUND | {"logs", "core", "children", "tools", "runtime", "services", "web"},
    "cli": GROUND | {"logs", "core", "app", "services"},
    "__main__": {"cli"},
    "": set(),
}


@dataclass(frozen=True)
class Module:
    """One file: `name` without the package's own, `part` the first word of it."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def part(self) -> str:
        return self.name.split(".")[0]


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "_data"):
            continue
        words = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(words[:-1] if words[-1] == "__init__" else words)
        text = path.read_text(encoding="utf-8")
        found.append(Module(name, path, ast.parse(text), text.count("\n")))
    return tuple(found)


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and name of everything of ours that it imports, wherever in the file."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.path}:{node.lineno}: write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "fossilrepo":
                yield node.lineno, name.removeprefix("fossilrepo").removeprefix(".")


def allowed(module: Module, name: str) -> bool:
    permitted = MAY_IMPORT[module.part] | {module.part}
    inside = any(name == one or name.startswith(f"{one}.") for one in permitted)
    return inside or name in ("", "__version__")


def called(node: ast.AST) -> str:
    """`asyncio.create_task` for a call of it, else nothing."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def places(module: Module, nodes: list[ast.AST]) -> list[str]:
    where = module.path.relative_to(PACKAGE.parent)
    return [f"{where}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}" for node in nodes]


def test_every_part_has_its_layer() -> None:
    assert {module.part for module in modules()} - set(MAY_IMPORT) == set()


def test_imports_point_down_the_layers() -> None:
    wrong = [
        f"{module.path.relative_to(PACKAGE.parent)}:{line}: {module.name} imports {name}"
        for module in modules()
        for line, name in imports(module)
        if not allowed(module, name)
    ]
    assert wrong == []


def spoken(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every name and every string that is more than an explanation."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""  # a docstring
        for _, value in ast.iter_fields(node):
            if isinstance(value, str):
                yield line, value


def test_runtime_knows_no_fossil() -> None:
    """Generic machinery: the word is in none of its names and strings, but for our own name."""
    wrong = [
        f"{module.name}:{line}: {text}"
        for module in modules()
        if module.part == "runtime"
        for line, text in spoken(ast.parse(module.path.read_text()))
        if "fossil" in text.lower().replace("fossilrepo", "")
    ]
    assert wrong == []


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name or "fossilrepo")
def test_module_is_short_and_says_what_it_owns(module: Module) -> None:
    assert module.lines <= LONGEST
    assert ast.get_docstring(module.tree) or module.lines == 0


def test_every_task_is_kept() -> None:
    """The loop holds tasks weakly: one whose result is dropped can vanish while it runs."""
    wrong = []
    for module in modules():
        dropped = [
            node
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Expr)
            and called(node.value).rpartition(".")[2] in ("create_task", "ensure_future")
            and called(node.value) != "group.create_task"  # a TaskGroup holds its own
        ]
        wrong += places(module, list(dropped))
    assert wrong == []


def test_no_shell_and_no_bare_except() -> None:
    wrong = []
    for module in modules():
        nodes: list[ast.AST] = []
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                nodes.append(node)
            name = called(node)
            shell = isinstance(node, ast.Call) and any(k.arg == "shell" for k in node.keywords)
            if shell or name in ("os.system", "os.popen") or name.endswith("subprocess_shell"):
                nodes.append(node)
        wrong += places(module, nodes)
    assert wrong == []


BLOCKING = (
    "time.sleep",
    "subprocess.run",
    "subprocess.call",
    "subprocess.check_call",
    "subprocess.check_output",
    "subprocess.Popen",
    "sqlite3.connect",
    "shutil.rmtree",
    "shutil.copy",
    "shutil.copyfile",
    "shutil.copytree",
    "shutil.move",
    "os.fsync",
    "open",
    "input",
)


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """What runs in the function itself: functions inside it may run in a thread."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from own_nodes(child)


def test_nothing_blocks_the_event_loop() -> None:
    wrong = []
    for module in modules():
        nodes = [
            node
            for function in ast.walk(module.tree)
            if isinstance(function, ast.AsyncFunctionDef)
            for node in own_nodes(function)
            if called(node) in BLOCKING
        ]
        wrong += places(module, nodes)
    assert wrong == []


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("web.pages", "db.engine"),
        ("web.pages", "tools.fossil"),
        ("web.pages", "runtime.tasks"),
        ("services.repos", "web.app"),
        ("tools.fossil", "runtime.supervisor"),
        ("tools.fossil", "db.engine"),
        ("runtime.tasks", "tools.fossil"),
        ("db.engine", "runtime.tasks"),
        ("models", "config"),
        ("cli.repo", "web.app"),
        ("cli.repo", "db.engine"),
    ],
)
def test_an_import_against_the_layers_is_found(part: str, name: str) -> None:
    """The test of the test."""
    assert not allowed(Module(part, PACKAGE, ast.parse(""), 0), name)
