"""Write the numbers of figures and equations into the chapters, in the order in which they stand.

    .venv/bin/python tools/number_figures.py

In a new caption, equation or link any number will do: it is replaced. How they are written is told in
book/_ext/notebook_markdown.py.
"""

import sys
from pathlib import Path

import nbformat

from othello_edu.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from notebook_markdown import numbered  # noqa: E402  (book/_ext is no package)


def main(folder: Path = ROOT / "notebooks") -> int:
    paths = sorted(folder.glob("*.ipynb"))
    notebooks = {int(path.name[:2]): nbformat.read(path, as_version=4) for path in paths}
    markdown = {
        chapter: [cell for cell in notebook.cells if cell.cell_type == "markdown"]
        for chapter, notebook in notebooks.items()
    }
    sources = {chapter: [cell.source for cell in cells] for chapter, cells in markdown.items()}
    right = numbered(sources)
    for path, (chapter, cells) in zip(paths, markdown.items(), strict=True):
        if right[chapter] == sources[chapter]:
            continue
        for cell, source in zip(cells, right[chapter], strict=True):
            cell.source = source
        with atomic_write(path, "w") as file:
            file.write(nbformat.writes(notebooks[chapter]) + "\n")
        print(f"numbers written: {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
