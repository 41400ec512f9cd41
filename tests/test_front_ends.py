"""Chapters where students open them: in a running JupyterLab, and as a page of plain HTML without scripts.

A picture of each is kept in _build/pictures, to be looked at.
"""

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT, WAIT_S
from nbconvert import HTMLExporter
from playwright.sync_api import expect

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICTURES = ROOT / "_build" / "pictures"

# What a reader must never see: Markdown, MyST or HTML that nobody rendered.
RAW = re.compile(
    r":::|\{(?:doc|numref|term|eq|cite)[}:]|\]\([\w./#-]+\)|</?(?:details|summary|a)\b|\*\*|\\tag"
)

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def markdown_cells(path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]


def folded_cells(path) -> int:
    cells = nbformat.read(path, 4).cells
    return sum(cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in cells)


def pictures(path) -> int:
    """Figures, boards and widgets among the outputs."""
    kinds = {"image/png", "image/svg+xml"}
    outputs = [out for cell in nbformat.read(path, 4).cells for out in cell.get("outputs", [])]
    return sum(bool(kinds & set(output.get("data", {}))) for output in outputs)


@pytest.fixture(scope="module")
def chapter(browser, lab):
    """Opens a chapter in JupyterLab, in a copy of the repository's folders, and returns the page."""
    expect.set_options(timeout=1000 * WAIT_S)
    for name in ("notebooks", "book"):
        ignored = shutil.ignore_patterns("my_network", "vendor", "_ext", "_static", ".*")
        shutil.copytree(ROOT / name, lab.folder / "course" / name, ignore=ignored)
    # As `make lab` does: or JupyterLab would show no picture of a board before its cell is run.
    course = sorted((lab.folder / "course" / "notebooks").glob("*.ipynb"))
    subprocess.run([sys.executable, "-m", "jupyter", "trust", *course], check=True, env=lab.env)
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_page(name):
        for page in context.pages:  # of the chapter before, with its kernel
            page.close()
        for session in context.request.get(f"{lab.url}api/sessions?token={lab.token}").json():
            context.request.delete(f"{lab.url}api/sessions/{session['id']}?token={lab.token}")
        page = context.new_page()
        page.set_default_timeout(1000 * WAIT_S)
        address = f"{lab.url}lab/workspaces/{name}/tree/course/notebooks/{name}.ipynb"
        page.goto(f"{address}?token={lab.token}")
        page.get_by_text(re.compile(r"\| Idle$")).wait_for()
        expect(page.locator(".jp-Notebook .jp-MarkdownCell .jp-RenderedMarkdown").last).to_be_visible()
        return page

    yield open_page
    context.close()


@every_notebook
def test_jupyterlab_renders_a_chapter_whole(chapter, path):
    page = chapter(path.stem)
    rendered = page.locator(".jp-MarkdownCell .jp-RenderedMarkdown")
    expect(rendered).to_have_count(len(markdown_cells(path)))
    for text in rendered.all_inner_texts():
        assert not (found := RAW.search(text)), f"{found[0]!r} in {text[:200]!r}"
    assert page.locator("mjx-merror").count() == 0
    assert page.locator(".jp-RenderedMarkdown details").count() >= 2
    assert page.locator(".jp-RenderedMarkdown details[open]").count() == 0
    folded = page.locator(".jp-CodeCell .jp-Cell-inputWrapper .jp-Placeholder")
    expect(folded).to_have_count(folded_cells(path))
    last = page.locator(".jp-OutputArea-output").locator(".oe-widget, img, svg").nth(pictures(path) - 1)
    lost = page.locator(".jp-OutputArea-output").get_by_text("Error displaying widget")
    try:
        expect(last).to_be_attached(timeout=20_000)
        expect(lost).to_have_count(0, timeout=1_000)
    except AssertionError:  # on a busy machine JupyterLab sometimes fails to bring back a saved widget
        page.reload()
        expect(last).to_be_attached()
        expect(lost).to_have_count(0)
    keep(page, "jupyterlab", path.stem)


def keep(page, kind, name):
    """The chapter's first screens, one above the other, as a picture."""
    folder = PICTURES / kind
    folder.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({"width": 1280, "height": 6000})
    page.screenshot(path=folder / f"{name}.png")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_links_of_a_chapter_work_in_jupyterlab(chapter):
    page = chapter("01_the_game")
    page.get_by_role("link", name="Fig. 1.7", exact=True).first.click()
    expect(page.locator(".jp-RenderedMarkdown").get_by_text("Fig. 1.7.", exact=True)).to_be_in_viewport()
    page.get_by_role("link", name="bitboard", exact=True).first.click()
    expect(page.get_by_role("tab", name="glossary.md")).to_be_visible()
    page.get_by_role("tab", name="01_the_game.ipynb").click()
    page.get_by_role("link", name="Chapter 2", exact=True).first.click()
    expect(page.get_by_role("tab", name="02_games_as_text.ipynb")).to_be_visible()


@every_notebook
def test_a_chapter_can_be_read_as_plain_html_without_scripts(browser, path, tmp_path):
    """As GitHub, nbviewer and mail show it."""
    html, _ = HTMLExporter().from_filename(path)
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri(), wait_until="commit")
    page.locator(".jp-RenderedMarkdown").last.wait_for()
    for text in page.locator(".jp-RenderedMarkdown").all_inner_texts():
        found = RAW.search(re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL))  # formulas need a script
        assert not found, f"{found[0]!r} in {text[:200]!r}"
    assert page.locator(".jp-RenderedMarkdown details").count() >= 2
    for image in page.locator(".jp-OutputArea img").all():
        assert image.evaluate("node => node.complete && node.naturalWidth") > 100
    keep(page, "html", path.stem)
    context.close()
