"""The package is built as book/architecture.md says: the rooms of its map, and no import upward.

The page is the source: its tables name the modules from the ground up, and what the code imports is compared
with their order.
"""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import othello_edu as oe

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "othello_edu"
PAGE = (ROOT / "book" / "architecture.md").read_text(encoding="utf-8")


def section(heading: str, page: str = PAGE) -> str:
    """The text below a heading of the second level, up to the next one."""
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)[1]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of tables whose first cell is code."""
    return [
        [cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| `.*$", text, re.MULTILINE)
    ]


MAP = {cells[0].strip("`/"): cells for cells in rows(section("The map"))}


def rooms(package: Path) -> set[str]:
    """Modules at the top of a package, and folders that are packages; the exported names are no room."""
    files = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


def imported(path: Path, package: Path) -> Iterator[tuple[str, int]]:
    """What a file imports of its own package, as `room` or `room.module`, with the line; in functions too."""
    here = [package.name, *path.relative_to(package).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import checks` names a module, `from .checks import shown` what is in one.
            names = [f"{base}.{alias.name}" for alias in node.names] if is_folder(base, package) else [base]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == package.name:
                yield rest, node.lineno


def is_folder(name: str, package: Path) -> bool:
    first, *rest = name.split(".")
    return first == package.name and package.joinpath(*rest).is_dir()


def upward(order: list[str], package: Path) -> list[str]:
    """Imports of what stands below in the order, or of no room at all, as sentences."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts == ("__init__",):
            continue
        if parts[0] not in order:
            found.append(f"{'/'.join(parts)}.py is no room of the map")
            continue
        for name, line in imported(path, package):
            where = f"{'/'.join(parts)}.py, line {line}"
            room = name.partition(".")[0]
            if room not in order:
                found.append(f"{where}: imports {name or 'the package itself'}, which is no room of the map")
            elif order.index(room) > order.index(parts[0]):
                found.append(f"{where}: imports {name}, which stands below {parts[0]} in the map")
    return found


def test_the_map_names_every_module_and_nothing_else():
    assert list(MAP) == [cells[0].strip("`/") for cells in rows(section("The map"))], "a module stands twice"
    assert set(MAP) == rooms(PACKAGE)
    folders = {cells[0].strip("`/") for cells in MAP.values() if cells[0].endswith("/`")}
    assert folders == {room for room in MAP if (PACKAGE / room).is_dir()}


def test_no_module_imports_upward():
    assert upward(list(MAP), PACKAGE) == []


@pytest.mark.parametrize("folder", [room for room in MAP if (PACKAGE / room).is_dir()])
def test_no_circle_within_a_folder(folder):
    graph = {
        f"{folder}.{path.stem}": {
            name for name, _ in imported(path, PACKAGE) if name.startswith(f"{folder}.")
        }
        for path in (PACKAGE / folder).glob("*.py")
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)


def test_both_drawings_hold_every_module_in_the_order_of_the_map():
    groups = {"base", "game", "network", "interp", "show"}
    drawings = re.findall(r"```text\n(.*?)```", section("Flat or grouped"), re.DOTALL)
    assert len(drawings) == 2
    for drawing in drawings:
        words = [word for word in re.findall(r"\w+", drawing) if word not in groups]
        assert words == ["othello_edu", *MAP]


def test_the_page_lists_the_names_that_the_package_exports():
    listed = [
        name for cells in rows(section("Public names")) for name in re.findall(r"`oe\.(\w+)`", cells[0])
    ]
    modules = {path.stem for path in PACKAGE.iterdir()}
    exported = {name for name in vars(oe) if not name.startswith("_")} - modules
    assert len(listed) == len(set(listed)) and set(listed) == exported


def test_the_reference_lists_the_modules_in_the_order_of_the_map():
    reference = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## `(\w+)`", reference, re.MULTILINE)
    assert headings == [room for room in MAP if room in headings]
    assert not set(headings) - set(MAP)


def test_a_room_of_the_first_page_is_opened_by_the_chapter_that_the_map_names():
    first_page = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    chapters = re.findall(r"^\| \{doc\}`(/notebooks/\w+)` \|[^|]*\|([^|]*)\|", first_page, re.MULTILINE)
    assert len(chapters) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    for chapter, opened in chapters:
        for room in re.findall(r"`(\w+)`", opened):
            assert room in MAP and chapter in MAP[room][2], f"{room}, which {chapter} opens"


# The checker itself, on a package of its own ----------------------------------------------------------


@pytest.fixture
def planted(tmp_path) -> Path:
    """A package of three rooms in good order: `ground`, `middle/` and `top`."""
    package = tmp_path / "house"
    files = {
        "__init__.py": "from .top import roof",
        "ground.py": "import math",
        "middle/__init__.py": "from .stairs import climb",
        "middle/stairs.py": "from ..ground import floor\nfrom .. import ground",
        "middle/window.py": "from . import stairs\nfrom .stairs import climb",
        "top.py": "from . import middle\nfrom .ground import floor\nimport house.middle.window",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    return package


ORDER = ["ground", "middle", "top"]


def test_a_package_in_order_has_nothing_upward(planted):
    assert rooms(planted) == set(ORDER)
    assert upward(ORDER, planted) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("ground.py", "from .middle.stairs import climb"),
        ("ground.py", "def f():\n    from .top import roof"),
        ("ground.py", "from . import top"),
        ("ground.py", "import house.top as t"),
        ("middle/window.py", "from ..top import roof"),
        ("middle/window.py", "from .. import ground, top"),
        ("middle/stairs.py", "from house.top import roof"),
        ("middle/stairs.py", "if False:\n    from house import top"),
        ("top.py", "from . import roof"),  # a name of the package itself, which imports everything
        ("top.py", "import house"),
        ("top.py", "from .attic import dust"),
    ],
)
def test_an_import_upward_is_found_wherever_it_stands(planted, file, text):
    (planted / file).write_text(text, encoding="utf-8")
    (found,) = upward(ORDER, planted)
    assert found.startswith(f"{file}, line ")


def test_a_module_that_the_map_does_not_name_is_found(planted):
    (planted / "attic.py").write_text("from .top import roof", encoding="utf-8")
    assert rooms(planted) == {*ORDER, "attic"}
    assert upward(ORDER, planted) == ["attic.py is no room of the map"]
