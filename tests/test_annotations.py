"""Every public function says the types of what it takes and gives, and the package passes them on.

mypy asks whether the types are right. It cannot be told which functions are public: those whose name, and
whose class and module, begin with no underscore. They are found here.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "othello_edu"


def modules() -> dict[str, Path]:
    """Public modules by name, without the chapters' exercises: functions there are shown to students."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        hidden = any(part.startswith("_") and part != "__init__" for part in parts)
        if not hidden and not parts[-1].startswith("chapter_"):
            found[".".join(part for part in parts if part != "__init__") or "othello_edu"] = path
    return found


def public_functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods that a module defines for others, and what makes and calls its objects."""
    for node in body:
        name = getattr(node, "name", "_")
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + name, node
        elif isinstance(node, ast.ClassDef):
            yield from public_functions(node.body, f"{prefix}{name}.")


def unsaid(name: str, function: ast.FunctionDef) -> Iterator[str]:
    """What a function takes or gives without saying its type."""
    given = function.args
    named = [*given.posonlyargs, *given.args]
    is_static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    if "." in name and not is_static:
        named = named[1:]  # self or cls
    for argument in [*named, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]:
        if argument.annotation is None:
            yield f"{name}: {argument.arg}"
    if function.returns is None and not name.endswith("__init__"):
        yield f"{name}: what it returns"


def missing(text: str) -> list[str]:
    """Every type that a public function of this source does not say."""
    return [line for name, node in public_functions(ast.parse(text).body) for line in unsaid(name, node)]


def test_what_is_not_said_is_found_in_public_functions_and_nowhere_else():
    text = """
def whole(a: int, *rest: int, b: str = "", **more: int) -> None: ...
def half(a, *rest, b: str = "", **more) -> int: ...
def silent(a: int): ...
def _helper(a): ...
class Open:
    def __init__(self, a): ...
    def __repr__(self): ...
    @property
    def size(self): ...
    @staticmethod
    def made(a) -> "Open": ...
    @classmethod
    def read(cls, path: str) -> "Open":
        def inner(a): ...
class _Closed:
    def method(self, a): ...
"""
    assert missing(text) == [
        "half: a",
        "half: rest",
        "half: more",
        "silent: what it returns",
        "Open.__init__: a",
        "Open.size: what it returns",
        "Open.made: a",
    ]


def test_the_walk_finds_the_package():
    assert {"engine", "model", "widgets.game_tape", "exercises", "othello_edu"} <= set(modules())


@pytest.mark.parametrize("name", modules())
def test_every_public_function_says_its_types(name):
    found = missing(modules()[name].read_text(encoding="utf-8"))
    assert not found, f"{name} does not say the type of " + "; ".join(found)


def test_the_types_are_installed_with_the_package():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "py.typed" in tools["package-data"]["othello_edu"]
    assert (PACKAGE / "py.typed").is_file()
