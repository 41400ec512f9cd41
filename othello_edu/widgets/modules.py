"""The widgets' JavaScript: small modules, some of which import others, bundled into what anywidget wants.

In the files they are ordinary ES modules, so that Node can test each by itself. A widget's module cannot
import another one by a relative path (its text comes to the browser inside the page), so a bundle holds
everything that it imports. There each module is a function that returns what the module exports: its other
names stay inside, and two modules may use the same ones. Comments stay behind: they are for readers of the
files, and every page would carry them.

To keep this simple, a module may only import `{ names }` from a file beside it, and only export a function, a
class or a constant where it is declared. Another form of either is refused.
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const)) (\w+)", re.MULTILINE)
_LEFT_OVER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_COMMENT = re.compile(r"^ *//.*\n", re.MULTILINE)


def esm(name: str) -> str:
    """A widget's module with all that it imports, as the ES module that anywidget wants.

    Args:
        name: of the file, such as "board_widget.js"; it must export `render`.

    Raises:
        ValueError: as `bundle`.
    """
    return f'{bundle(name)}\nexport default {{ render: modules["{name}"].render }};\n'


def bundle(name: str) -> str:
    """A module with all that it imports, each once, as code that leaves their exports in `modules`.

    What `name` itself exports is in `modules[name]`.

    Args:
        name: of the file, such as "board_widget.js".

    Raises:
        ValueError: for a line that cannot be bundled, and for modules that import each other.
    """
    order: list[str] = []

    def visit(file, *importers):
        if file in importers:
            raise ValueError(f"{file} imports itself, by way of {' and '.join(importers)}")
        if file not in order:
            for _, imported in _IMPORT.findall(_read(file)):
                visit(imported, file, *importers)
            order.append(file)

    visit(name)
    return "\n".join(["const modules = {};", *map(_as_function, order)])


def _as_function(file):
    code = _COMMENT.sub("", _read(file)).strip()
    exports = [name for _, name in _EXPORT.findall(code)]
    code = _EXPORT.sub(r"\1 \2", _IMPORT.sub(_as_constants, code))
    if left_over := _LEFT_OVER.search(code):
        raise ValueError(f"{file} has a line that cannot be bundled: {left_over[0]}")
    return f'modules["{file}"] = (() => {{\n{code}\nreturn {{ {", ".join(exports)} }};\n}})();'


def _as_constants(statement):
    names, file = statement[1].replace(" as ", ": "), statement[2]
    return f'const {{{names}}} = modules["{file}"];'


def css() -> str:
    """The one stylesheet of all widgets."""
    return _read("boards.css")


def _read(file):
    return (FOLDER / file).read_text(encoding="utf-8")
