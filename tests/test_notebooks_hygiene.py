"""What committed notebooks hold: outputs of one clean run, alt text, nothing of the machine they ran on."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import set_url  # noqa: E402  (tools/ is not a package)

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MACHINE_PATH = re.compile(
    r"(?:/(?:home|root|Users|work|tmp|opt|usr|mnt|content|var)/[\w.-]+|\b[A-Za-z]:\\+Users|site-packages|\.venv)"
)
IMAGE_TYPES = {"image/png", "image/svg+xml", "image/jpeg"}
MOST_LINES = 15
MOST_FOLDED_LINES = 25
# Visible cells that need more lines, (chapter, id of the cell): why. At most twelve.
LONGER_CELLS: dict[tuple[str, str], str] = {
    ("04_training", "c17-loop"): "the training loop, to be read as a whole",
}
WIDTH = 79  # as notebooks/ruff.toml says
MOST_BYTES = 2 * 2**20
MOST_BYTES_TOGETHER = 6_000_000

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def where(cell) -> str:
    return f"the cell that begins {cell.source.splitlines()[0]!r}"


def test_there_are_notebooks():
    assert NOTEBOOKS, f"no notebook in {ROOT / 'notebooks'}: there is nothing for these tests to check"


@every_notebook
def test_a_notebook_is_valid(path):
    nbformat.validate(nbformat.read(path, as_version=4))


@every_notebook
def test_every_code_cell_was_executed_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_no_output_is_an_error(path):
    for cell in code_cells(path):
        assert all(output.output_type != "error" for output in cell.outputs), where(cell)


@every_notebook
def test_no_path_of_a_machine_is_shown(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        shown = [cell.source]
        for output in cell.get("outputs", []):
            shown.append(output.get("text", ""))
            for kind, data in output.get("data", {}).items():
                if kind not in ("image/png", "image/jpeg"):  # the bytes of a picture may spell anything
                    shown.append(str(data))
        for text in shown:
            found = MACHINE_PATH.search(text)
            assert found is None, f"{found[0]!r} in {where(cell)}"


@every_notebook
def test_a_cell_marked_for_comparison_holds_an_output(path):
    for cell in code_cells(path):
        tags = cell.metadata.get("tags", [])
        if "nbval-check-output" in tags:
            assert cell.outputs, where(cell)


@every_notebook
def test_some_cell_is_marked_for_comparison(path):
    assert any("nbval-check-output" in cell.metadata.get("tags", []) for cell in code_cells(path))
    assert not any("NBVAL_CHECK_OUTPUT" in cell.source for cell in code_cells(path)), "marks are tags"


@every_notebook
def test_every_figure_has_alt_text(path):
    for cell in code_cells(path):
        pictures = [
            str(content)
            for output in cell.outputs
            for kind, content in output.get("data", {}).items()
            if kind in IMAGE_TYPES
        ]
        # A widget's picture brings its own words along: see picture.py.
        own = [re.search(r"role=\"img\".*?<title>(.+?)</title>", picture, re.DOTALL) for picture in pictures]
        if not all(found and len(found[1].split()) > 10 for found in own):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 3, f"no alt text in the metadata (mystnb.image.alt) of {where(cell)}"


@every_notebook
def test_every_picture_within_html_has_alt_text(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            for image in re.findall(r"<img\b[^>]*>", str(output.get("data", {}).get("text/html", ""))):
                assert re.search(r'\balt="[^"]+"', image), f"{image[:80]} in {where(cell)}"


def is_folded(cell) -> bool:
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


@every_notebook
def test_no_code_cell_is_long(path):
    for cell in code_cells(path):
        lines = len(cell.source.splitlines())
        if (path.stem, cell.id) in LONGER_CELLS:
            assert lines > MOST_LINES, f"{where(cell)} is short enough: take it from LONGER_CELLS"
        else:
            most = MOST_FOLDED_LINES if is_folded(cell) else MOST_LINES
            assert lines <= most, f"{lines} lines in {where(cell)}: split it, or move what only draws"


def test_few_cells_are_longer_each_for_a_reason():
    assert len(LONGER_CELLS) <= 12 and all(LONGER_CELLS.values())
    known = {(path.stem, cell.id) for path in NOTEBOOKS for cell in code_cells(path)}
    assert set(LONGER_CELLS) <= known


@every_notebook
def test_code_fits_the_width_of_a_page(path):
    for cell in code_cells(path):
        for line in cell.source.splitlines():
            assert len(line) <= WIDTH or "git+https://" in line, f"{len(line)} columns: {line}"


def test_git_compares_notebooks_cell_by_cell():
    attributes = (ROOT / ".gitattributes").read_text(encoding="utf-8")
    assert "*.ipynb diff=jupyternotebook merge=jupyternotebook" in attributes.splitlines()


def rooms_on_the_landing_page() -> dict[str, list[str]]:
    """{chapter: modules that it opens}, from the table of book/intro.md."""
    text = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \{doc\}`/notebooks/(\w+)` \|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    return {chapter: re.findall(r"`(\w+)`", cell) for chapter, cell in rows}


def test_the_landing_page_has_a_row_for_every_chapter():
    assert list(rooms_on_the_landing_page()) == [path.stem for path in NOTEBOOKS]


@every_notebook
def test_the_header_of_a_chapter_names_the_modules_of_the_landing_page(path):
    """`othello_edu/model.py`, `optimizers.py` or `othello_edu/reproduction/` there; `model` here."""
    header = nbformat.read(path, as_version=4).cells[1].source
    [line] = re.findall(r"^> \*\*Rooms? of the package\*\* (.+)$", header, re.MULTILINE)
    named = [name.removeprefix("othello_edu/") for name in re.findall(r"`([\w/.]+)`", line)]
    assert named and all(name.endswith((".py", "/")) for name in named), line
    assert [name.removesuffix(".py").rstrip("/") for name in named] == rooms_on_the_landing_page()[path.stem]


@every_notebook
def test_the_first_code_cell_installs_the_package_on_colab_and_is_not_in_the_book(path):
    first = code_cells(path)[0]
    assert first.source == set_url.colab_cell()
    assert "remove-cell" in first.metadata.get("tags", [])


@every_notebook
def test_a_notebook_is_small(path):
    assert path.stat().st_size < MOST_BYTES


def test_the_notebooks_are_small_together():
    assert sum(path.stat().st_size for path in NOTEBOOKS) < MOST_BYTES_TOGETHER


@every_notebook
def test_a_notebook_asks_for_the_plain_python_kernel(path):
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"
