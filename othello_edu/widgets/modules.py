"""The widgets' JavaScript: small modules that import each other, joined into the one that anywidget wants.

In the files they are ordinary ES modules, so that Node can test each by itself. A widget's module cannot
import another one by a relative path (its text comes to the browser inside the page), so here what a module
imports is put in front of it. Comments stay behind: they are for readers of the files, and every page would
carry them.
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)
_COMMENT = re.compile(r"^ *//.*\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


def esm(name: str) -> str:
    """The text of a module with everything that it imports, each module once, what is imported first."""
    order = []

    def visit(file):
        if file not in order:
            for imported in _IMPORT.findall(_read(file)):
                visit(imported)
            order.append(file)

    visit(name)
    return "\n".join(_EXPORT.sub("", _COMMENT.sub("", _IMPORT.sub("", _read(file)))) for file in order)


def css() -> str:
    """The one stylesheet of all widgets."""
    return _read("boards.css")


def _read(file):
    return (FOLDER / file).read_text(encoding="utf-8")
