"""Chapters hold Markdown that every front end renders; its links lead somewhere, its numbers are right."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from sphinx.util.nodes import _make_id

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from notebook_markdown import CAPTION, numbered, numbers  # noqa: E402  (book/_ext is no package)

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IMAGE_TYPES = {"image/png", "image/svg+xml", "image/jpeg"}

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def markdown_cells(path: Path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def boxes(path: Path) -> list[str]:
    """Every block quote of a chapter."""
    return re.findall(r"(?:^>.*\n?)+", "\n\n".join(markdown_cells(path)), re.MULTILINE)


def without_code(text: str) -> str:
    """Markdown without what stands between backticks, in formulas, or in indented lines."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?:> )?(?: {4}|\t).*$", "", text, flags=re.MULTILINE)
    return re.sub(r"`[^`]*`|\$[^$\n]*\$", "``", text)


ONLY_MYST = {
    "directive": re.compile(r"^\s*(?:>\s*)?(?::{3,}|`{3,})\s*\{", re.MULTILINE),
    "role": re.compile(r"\{[a-zA-Z:+-]+\}`"),
    "target": re.compile(r"^\([\w-]+\)=\s*$", re.MULTILINE),
    "label of an equation": re.compile(r"\$\$\s*\([\w-]+\)"),
    "attribute": re.compile(r"[\])]\{[.#%]"),
    "substitution": re.compile(r"\{\{.*?\}\}"),
}


@every_notebook
@pytest.mark.parametrize("what", ONLY_MYST)
def test_nothing_in_a_chapter_is_understood_by_the_site_alone(path, what):
    for text in markdown_cells(path):
        found = ONLY_MYST[what].search(text if what in ("directive", "role") else without_code(text))
        assert found is None, f"{what} {found[0]!r} in the cell that begins {text[:60]!r}"


@pytest.mark.parametrize(
    "what, text",
    [
        ("directive", ":::{note}"),
        ("directive", "> ```{figure} x.png"),
        ("role", "see {doc}`01_the_game`"),
        ("target", "(here)=\n# A heading"),
        ("label of an equation", "$$x$$ (sum)"),
        ("attribute", "[text](page.md){.button}"),
        ("substitution", "{{ name }}"),
    ],
)
def test_what_only_the_site_understands_is_found(what, text):
    assert ONLY_MYST[what].search(text)


@every_notebook
def test_a_formula_in_a_box_is_on_one_line(path):
    """JupyterLab takes formulas out of the text before it knows that `>` begins the next line."""
    for text in markdown_cells(path):
        for line in text.splitlines():
            assert not line.startswith(">") or line.count("$$") % 2 == 0, line


def glossary_ids() -> set[str]:
    """The ids that Sphinx gives to the terms of the glossary."""
    text = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    terms = re.search(r"```\{glossary\}\n(.*?)```", text, re.DOTALL)[1]
    return {_make_id(f"term-{line}") for line in terms.splitlines() if line and not line.startswith(" ")}


def anchors(path: Path) -> set[str]:
    """What a link may name behind the # of a page or a chapter."""
    if path.suffix == ".ipynb":
        return set(numbers({0: markdown_cells(path)}))
    if path.name == "glossary.md":
        return glossary_ids()
    if path.name == "bibliography.md":
        entries = (path.parent / "references.bib").read_text(encoding="utf-8")
        return set(re.findall(r"^@\w+\{(\w+),", entries, re.MULTILINE))
    return set(re.findall(r"^\$\$ \(([\w-]+)\)", path.read_text(encoding="utf-8"), re.MULTILINE))


@every_notebook
def test_every_relative_link_leads_somewhere_and_says_where(path):
    for text in markdown_cells(path):
        for words, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", without_code(text)):
            assert words.strip(), f"a link to {target} has no text"
            if target.startswith(("http://", "https://")):
                continue
            page, _, name = target.partition("#")
            there = (path.parent / page).resolve() if page else path
            assert there.is_file() and there.is_relative_to(ROOT), f"{target}: there is no such file"
            assert not name or name in anchors(there), f"{target}: {there.name} has no {name}"
            if there.parent == path.parent and there != path and not name:
                number = int(there.name[:2])
                assert re.match(rf"[Cc]hapter {number}\b", words), f"{words!r} leads to {there.name}"
            if there.name == "bibliography.md":
                year = re.search(r"\d{4}$", name)
                assert year is None or year[0] in words or name == "cunningham2023", f"{words!r} cites {name}"


def test_figures_and_equations_are_numbered_in_the_order_in_which_they_stand():
    sources = {int(path.name[:2]): markdown_cells(path) for path in NOTEBOOKS}
    assert numbered(sources) == sources, "run tools/number_figures.py"
    assert sum(len(CAPTION.findall(cell)) for cells in sources.values() for cell in cells) > 100


def test_a_wrong_number_is_put_right_wherever_it_stands():
    caption = '<a id="fig-a"></a>**Fig. 9.9.** One.'
    other = '<a id="fig-b"></a>**Fig. 1.1.** Two, after [Fig. 3](#fig-a).'
    equation = '<a id="sum"></a>\n\n$$\nx + 1\n\\tag{7.7}\n$$'
    link = "See [Fig. 1](01_the_game.ipynb#fig-b) and [equation (2)](01_the_game.ipynb#sum)."
    assert numbered({1: [caption, other, equation], 2: [link]}) == {
        1: [
            '<a id="fig-a"></a>**Fig. 1.1.** One.',
            '<a id="fig-b"></a>**Fig. 1.2.** Two, after [Fig. 1.1](#fig-a).',
            '<a id="sum"></a>\n\n$$\nx + 1\n\\tag{1.1}\n$$',
        ],
        2: ["See [Fig. 1.2](01_the_game.ipynb#fig-b) and [equation (1.1)](01_the_game.ipynb#sum)."],
    }
    with pytest.raises(KeyError):
        numbered({1: ["[Fig. 1](#fig-lost)"]})


@every_notebook
def test_a_caption_stands_below_its_figure_and_only_there(path):
    cells = nbformat.read(path, as_version=4).cells
    for above, cell in zip(cells, cells[1:], strict=False):
        if cell.cell_type == "markdown" and cell.source.startswith('<a id="fig-'):
            assert CAPTION.fullmatch(cell.source), cell.source
            kinds = {kind for output in above.get("outputs", []) for kind in output.get("data", {})}
            assert kinds & IMAGE_TYPES, f"no figure above {cell.source[:60]}"
    assert not any("figure" in cell.metadata.get("mystnb", {}) for cell in cells)


@every_notebook
def test_folded_code_draws_a_figure(path):
    """Or installs the package on Colab."""
    cells = nbformat.read(path, as_version=4).cells
    for cell, below in zip(cells, cells[1:], strict=False):
        folded = cell.metadata.get("jupyter", {}).get("source_hidden")
        if folded and not cell.source.startswith("# On Colab:"):
            assert below.cell_type == "markdown" and CAPTION.fullmatch(below.source), cell.source
            assert "hide-input" not in cell.metadata.get("tags", []), "one mark is enough"


@every_notebook
def test_a_prediction_leaves_room_for_the_guess(path):
    asked = [box for box in boxes(path) if box.startswith("> **Predict.** ")]
    assert asked, "a chapter lets its reader predict"
    for box in asked:
        assert box.rstrip().endswith(">\n> *Your guess:* …"), box
    assert sum("Your guess:" in box for box in boxes(path)) == len(asked)


HELP = re.compile(r"^> <details>\n> <summary>Help</summary>\n>\n(?:>.*\n)+>\n> </details>$", re.MULTILINE)


@every_notebook
def test_the_help_of_an_exercise_is_closed(path):
    exercises = [box for box in boxes(path) if box.startswith("> **Exercise")]
    assert exercises
    for box in exercises:
        assert HELP.search(box), box


@every_notebook
def test_a_chapter_takes_as_long_as_the_first_page_says(path):
    minutes = re.search(r"\*\*Time\*\* about (\d+) minutes", markdown_cells(path)[1])[1]
    first_page = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| \{{doc\}}`/notebooks/{path.stem}` .*$", first_page, re.MULTILINE)[0]
    assert row.rstrip(" |").endswith(f"| {minutes}"), row


def test_who_clones_the_repository_goes_into_the_folder_that_was_made():
    pages = [ROOT / "README.md", *(ROOT / "book").glob("*.md")]
    pairs = [
        pair
        for page in pages
        for pair in re.findall(r"git clone (\S+)(?: (\S+))?\n\s*cd (\S+)", page.read_text(encoding="utf-8"))
    ]
    assert len(pairs) >= 3
    for _, folder, entered in pairs:
        assert folder == entered, "named, so that it is right after `make set-url` as well"
