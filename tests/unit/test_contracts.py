"""Rules of the source that no linter has: what is imported how, and how long a function may be.

import-linter (pyproject.toml) holds the rooms and their layers. It sees packages of others as a
whole, though: azure.eventhub and azure.storage are both "azure" to it.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "aks_audit"
SOURCES = (PACKAGE, "emulator", "testkit", "demo", "bench", "build")

SDK_PATCHES = ("aks_audit/hub/sdk/",)
"""Where private names of the Azure SDK may be touched."""
DOCUMENTED = frozenset({"_proxy_to_logger", "_exit"})
"""Names that their package documents in spite of the underscore: structlog's for its wrappers, and
`os._exit`."""
SDK_USERS = ("aks_audit/hub/", "aks_audit/checkpoints/")
"""Where azure.eventhub may be imported."""
FUNCTION_MAX_LINES = 50

Rule = Callable[[ast.Module], Iterator[str]]


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Give the absolute imports: the line, and the dotted name down to what is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported_absolutely(tree: ast.Module) -> Iterator[str]:
    for line, name in imports(tree):
        if name.split(".")[0] == PACKAGE:
            yield f"{line}: {name}"


def imported_eventhub(tree: ast.Module) -> Iterator[str]:
    for line, name in imports(tree):
        if name.split(".")[:2] == ["azure", "eventhub"]:
            yield f"{line}: {name}"


def own_names(tree: ast.Module) -> set[str]:
    """Give the names that a module defines: of functions, classes, variables and attributes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in {"self", "cls"}
        ):
            names.add(node.attr)
    return names


def touched_private_names(tree: ast.Module) -> Iterator[str]:
    """Find private names that the module does not define itself, so that they are another's."""
    for line, name in imports(tree):
        if any(map(is_private, name.split("."))):
            yield f"{line}: {name}"
    known = own_names(tree) | DOCUMENTED
    by_name = {"getattr", "setattr", "hasattr", "delattr"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            touched = node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in by_name:
            touched = ast.unparse(node.args[1]).strip("'\"")
        else:
            continue
        if is_private(touched) and touched not in known:
            yield f"{node.lineno}: {ast.unparse(node)}"


def functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Give the functions, with how many lines each has, its docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


def broken(rule: Rule, *, except_in: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{file}:{found}"
        for file, tree in sources(PACKAGE)
        if not file.startswith(except_in or "/")
        for found in rule(tree)
    ]


def test_imports_within_the_package_are_relative() -> None:
    assert broken(imported_absolutely) == []


def test_private_names_of_others_are_touched_in_one_place() -> None:
    assert broken(touched_private_names, except_in=SDK_PATCHES) == []


def test_azure_eventhub_is_imported_by_the_hub_and_the_checkpoint_stores() -> None:
    assert broken(imported_eventhub, except_in=SDK_USERS) == []


def test_no_function_is_too_long() -> None:
    too_long = [
        f"{file}:{node.lineno}: {node.name} has {lines} lines"
        for file, tree in sources(*SOURCES)
        for node, lines in functions(tree)
        if lines > FUNCTION_MAX_LINES
    ]
    assert too_long == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (imported_absolutely, "import aks_audit.model"),
        (imported_absolutely, "from aks_audit import model"),
        (imported_absolutely, "def f():\n    from aks_audit.ops.logs import get_logger"),
        (imported_eventhub, "import azure.eventhub.aio as aio"),
        (imported_eventhub, "from azure import eventhub"),
        (imported_eventhub, "from azure.eventhub.exceptions import EventHubError"),
        (touched_private_names, "import azure.eventhub._pyamqp"),
        (touched_private_names, "from azure.eventhub._pyamqp.aio import _session_async"),
        (touched_private_names, "from os import _exit"),
        (touched_private_names, "client._create_consumer('a', 'b')"),
        (touched_private_names, "client._create_consumer = None"),
        (touched_private_names, "getattr(client, '_create_consumer')"),
        (touched_private_names, "class A(B):\n    def f(self):\n        return self._of_b"),
    ],
)
def test_the_rules_find_what_breaks_them(rule: Rule, text: str) -> None:
    assert len(list(rule(ast.parse(text)))) == 1


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (imported_absolutely, "from . import model\nfrom ..ops.logs import get_logger"),
        (imported_eventhub, "from azure.storage.blob import ContainerClient"),
        (touched_private_names, "from __future__ import annotations\nprint(f.__name__)"),
        (touched_private_names, "from ._room import door"),
        (touched_private_names, "class A:\n    def f(self, other):\n        self._a = other._a"),
    ],
)
def test_the_rules_leave_the_rest_alone(rule: Rule, text: str) -> None:
    assert list(rule(ast.parse(text))) == []


def test_a_function_is_measured_with_its_docstring_and_its_last_line() -> None:
    text = 'def f():\n    """One.\n\n    Two.\n    """\n    return (\n        1\n    )\n'
    assert [lines for _, lines in functions(ast.parse(text))] == [8]
