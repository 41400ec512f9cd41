"""The site: builds without a warning, needs nothing from a network, and every page of it works.

It is built from the committed outputs, nothing is executed, in a folder of its own. Screenshots of every
page, light and dark, wide and narrow, are left in _build/screenshots to look at.
"""

import contextlib
import functools
import hashlib
import http.server
import json
import re
import runpy
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

import numpy as np
import pypdfium2
import pytest
import safetensors.torch
import torch
import yaml
from bs4 import BeautifulSoup

import othello_edu as oe
from othello_edu.probes import LinearProbe

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from notebook_markdown import numbers  # noqa: E402  (book/_ext is no package)

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_chapter = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
VENDOR = ROOT / "book" / "vendor"
NARROW = 320  # CSS pixels: the width that WCAG 1.4.10 asks for
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def pages_of_the_contents() -> list[str]:
    """The pages that _toc.yml names, in its order."""

    def walk(entry):
        if "file" in entry or "root" in entry:
            yield entry.get("file") or entry["root"]
        for child in (*entry.get("parts", ()), *entry.get("chapters", ()), *entry.get("sections", ())):
            yield from walk(child)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))


PAGES = [*pages_of_the_contents(), "genindex", "search"]
every_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The folder of the built site."""
    source = tmp_path_factory.mktemp("site")
    for folder in ("book", "notebooks"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    # Tables and figures are made of the JSON files in there.
    for folder in ("othello_edu/weights", "models", "results"):
        for file in (ROOT / folder).rglob("*.json"):
            target = source / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    # Kept between runs: making them takes a minute.
    made = ROOT / "_build" / "explorer"
    subprocess.run([sys.executable, ROOT / "tools" / "make_explorer.py", made], check=True, timeout=900)
    shutil.copytree(made, source / "_build" / "explorer")
    shutil.copy(ROOT / "_toc.yml", source)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "off"
    # In the order of the original: it is the order in which a page loads its scripts.
    (source / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    beside_python = Path(sys.executable).with_name("jupyter-book")
    program = str(beside_python) if beside_python.exists() else "jupyter-book"
    command = [program, "build", "-W", "--keep-going", str(source)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900)
    faults = [line for line in run.stderr.splitlines() if re.search("WARNING|ERROR|rror:", line)]
    if run.returncode:
        pytest.fail("the site does not build:\n" + "\n".join(faults or [run.stderr[-3000:]]), pytrace=False)
    return source / "_build" / "html"


@pytest.fixture(scope="session")
def address(site):
    """Where the built site is served, on this machine alone."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@functools.cache
def parsed(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def html_files(site: Path) -> list[Path]:
    # _static holds templates of the theme, which are not pages.
    return sorted(path for path in site.rglob("*.html") if path.relative_to(site).parts[0] != "_static")


def local_references(site: Path):
    """Every reference in the site that stays inside it: page, reference, file it means, anchor."""
    for page in html_files(site):
        for tag in parsed(page).find_all(True):
            for attribute in ("href", "src", "data", "poster"):
                reference = tag.get(attribute)
                if not reference or urlsplit(reference).scheme or reference.startswith("//"):
                    continue
                path, anchor = urlsplit(reference).path, unquote(urlsplit(reference).fragment)
                target = (page.parent / unquote(path)).resolve() if path else page
                yield page, reference, target / "index.html" if target.is_dir() else target, anchor


# The pages as files -----------------------------------------------------------------------------------


def test_the_table_of_contents_lists_every_notebook_and_every_page():
    written = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
    assert sorted(pages_of_the_contents()) == sorted(
        path.relative_to(ROOT).with_suffix("").as_posix() for path in written
    )


def test_every_page_is_built(site):
    assert [page for page in PAGES if not (site / f"{page}.html").exists()] == []


def test_every_internal_link_leads_somewhere(site):
    references = list(local_references(site))
    broken = []
    for page, reference, target, anchor in references:
        if not target.exists():
            broken.append(f"{page.relative_to(site)}: {reference}: no such file")
        elif anchor and target.suffix == ".html" and "=" not in anchor:  # with it, a state of the explorer
            document = parsed(target)
            if not (document.find(id=anchor) or document.find(attrs={"name": anchor})):
                broken.append(f"{page.relative_to(site)}: {reference}: no such anchor")
    assert len(references) > 100 and broken == []


# What the site makes of plain Markdown ----------------------------------------------------------------


def markdown_of(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


@every_chapter
def test_figures_and_equations_have_the_numbers_that_the_notebook_gives_them(site, notebook):
    page = parsed(site / "notebooks" / f"{notebook.stem}.html")
    shown = {
        figure["id"]: figure.select_one(".caption-number").get_text().strip().removeprefix("Fig. ")
        for figure in page.select("figure[id^=fig-]")
    }
    for number in page.select("div.math .eqno"):
        name = number.find_parent("div", class_="math")["id"].removeprefix("equation-")
        shown[name] = re.search(r"[\d.]+", number.get_text())[0]
    written = numbers({int(notebook.name[:2]): markdown_of(notebook)})
    assert shown == written and written


@every_chapter
def test_block_quotes_are_boxes_and_the_room_for_a_guess_is_left_out(site, notebook):
    page = parsed(site / "notebooks" / f"{notebook.stem}.html")
    titles = re.findall(r"^(?<!>\n)> \*\*(.+?)\*\*", "\n\n".join(markdown_of(notebook)), re.MULTILINE)
    begins = [title for title in titles if re.match("Predict|How could|Exercise|This chapter", title)]
    shown = [title.get_text() for title in page.select(".admonition > .admonition-title")]
    assert [title.rstrip(".") for title in begins if title.rstrip(".") not in shown] == []
    assert len(shown) >= len(begins) >= 5
    looks = {"Predict": "tip", "How could this fool us?": "warning", "This chapter": "note"}
    for title in page.select(".admonition > .admonition-title"):
        look = looks.get(title.get_text(), "important" if title.get_text().startswith("Exercise") else None)
        assert look is None or look in title.parent["class"]
    assert page.select("blockquote") == []
    assert "Your guess" not in page.get_text()
    assert len(page.select(".admonition.important > details")) == len(page.select(".admonition.important"))


@every_chapter
def test_terms_citations_and_chapters_say_on_hover_what_they_lead_to(site, notebook):
    page = parsed(site / "notebooks" / f"{notebook.stem}.html")
    links = page.select("article a.reference.internal[href]")
    ours = re.compile(r"(glossary|bibliography)\.html#|\d\d_\w+\.html$")
    told = {str(link): len(link.get("title", "")) for link in links if ours.search(link["href"])}
    assert len(told) >= 5 and [link for link, length in told.items() if length < 5] == []


@every_chapter
def test_code_that_only_draws_is_folded(site, notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    folded = [
        cell
        for cell in cells
        if cell["metadata"].get("jupyter", {}).get("source_hidden")
        and "remove-cell" not in cell["metadata"].get("tags", [])
    ]
    page = parsed(site / "notebooks" / f"{notebook.stem}.html")
    assert len(page.select("div.cell.tag_hide-input")) == len(folded)


@pytest.mark.parametrize("link", ["[a](#fig-lost)", "[a](../book/glossary.md#term-lost)", "[a](lost.ipynb)"])
def test_a_link_that_leads_nowhere_is_a_warning(tmp_path, link):
    """A small book of a chapter and a glossary, with our extension."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "glossary.md").write_text("# Words\n\n```{glossary}\nply\n  One move.\n```\n")
    (tmp_path / "book" / "bibliography.md").write_text("# Works\n")
    good = "# A chapter\n\nSee [ply](book/glossary.md#term-ply)."
    for name, text in (("good", good), ("bad", f"{good}\n\n{link.replace('../', '')}")):
        cell = {"cell_type": "markdown", "metadata": {}, "source": text, "id": "one"}
        notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook))
    config = ["extensions = ['myst_nb', 'sphinxcontrib.bibtex', 'plain_notebooks']", "bibtex_bibfiles = []"]
    config = [f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})", *config]
    (tmp_path / "conf.py").write_text("\n".join([*config, "nb_execution_mode = 'off'", "numfig = True"]))
    pages = "good\nbad\nbook/glossary\nbook/bibliography"
    (tmp_path / "index.md").write_text(f"# All\n\n```{{toctree}}\n{pages}\n```\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(tmp_path), str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    warnings = [line for line in run.stderr.splitlines() if "WARNING" in line]
    assert any("bad.ipynb" in line and "lost" in line for line in warnings), run.stderr
    assert not any("good.ipynb" in line for line in warnings), run.stderr


def test_no_page_loads_anything_from_another_site(site):
    loaders = "script[src], img[src], source[src], iframe[src], video[src], audio[src], object[data]"
    sheets = "link[rel~=stylesheet][href], link[rel~=preload][href], link[rel~=icon][href]"
    found = []
    for page in html_files(site):
        for tag in parsed(page).select(f"{loaders}, {sheets}"):
            reference = tag.get("src") or tag.get("data") or tag.get("href")
            if urlsplit(reference).scheme in ("http", "https") or reference.startswith("//"):
                found.append(f"{page.relative_to(site)}: {reference}")
    assert found == []


def test_every_picture_says_what_it_shows(site):
    pictures, mute = 0, []
    for page in html_files(site):
        for picture in parsed(page).select("img:not(.logo__image)"):  # the logo's name stands beside it
            pictures += 1
            alt = (picture.get("alt") or "").strip()
            # Where a page gives no text, Sphinx puts the file's name there, which says nothing.
            if len(alt) < 3 or re.search(r"\.(png|svg|jpe?g|gif)$", alt):
                mute.append(f"{page.relative_to(site)}: {picture['src'][-60:]}")
    assert pictures > 0 and mute == []


def test_every_page_has_one_heading_of_the_first_level_and_names_its_language(site):
    for page in PAGES:
        document = parsed(site / f"{page}.html")
        assert len(document.select("article h1, #search-documentation h1, main h1")) >= 1, page
        assert document.html.get("lang", "").startswith("en"), page


# Scripts of others ------------------------------------------------------------------------------------


def test_the_scripts_of_others_are_unmodified():
    lines = (VENDOR / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in map(str.split, lines)}
    scripts = [path for path in VENDOR.glob("*/*") if path.suffix in (".js", ".woff2")]
    found = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in scripts
    }
    assert found and found == listed


def test_every_script_of_others_comes_with_its_licence_and_version():
    text = (VENDOR / "VENDOR.md").read_text(encoding="utf-8")
    folders = [path for path in VENDOR.iterdir() if path.is_dir()]
    for folder in folders:
        name, version = folder.name.rsplit("-", 1)
        assert list(folder.glob("LICENSE*")), folder.name
        assert re.search(rf"`{re.escape(folder.name)}` \| `(@[\w-]+/)?{re.escape(name)}` {version}", text)
    assert len(folders) == 4


def test_the_vendored_anywidget_is_the_version_that_is_tested():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    version = re.search(r"^anywidget==(.+)$", constraints, re.MULTILINE)[1]
    assert (VENDOR / f"anywidget-{version}" / "index.js").exists()


def test_the_drawn_pictures_are_what_their_script_draws():
    pictures = runpy.run_path(str(ROOT / "book" / "images" / "draw.py"))["PICTURES"]
    assert len(pictures) == 2
    for path, draw in pictures.items():
        assert path.read_text(encoding="utf-8") == draw(), path.name


# The pages in a browser -------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(browser, url: str, scheme: str = "light", width: int = 1200, home: str = "file:"):
    """A page in a fresh context, and the list of everything that goes wrong on it.

    A request for anything but `home` is a fault, and is not let out.
    """
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    faults = []

    def gate(route):
        request = route.request.url
        if request.startswith((home, "data:", "blob:")):
            route.continue_()
        else:
            faults.append(f"asks another machine for {request}")
            route.abort()

    context.route("**/*", gate)
    context.add_init_script(f"for (const key of ['mode', 'theme']) localStorage.setItem(key, '{scheme}')")
    page = context.new_page()
    page.set_default_timeout(90_000)  # ms: other tests may share the processor
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("console", lambda message: message.type == "error" and faults.append(f"console: {message.text}"))
    page.on(
        "response", lambda answer: answer.status >= 400 and faults.append(f"{answer.status} {answer.url}")
    )
    try:
        page.goto(url)
        page.wait_for_load_state("networkidle")
        yield page, faults
    finally:
        context.close()


def widget_views(document: BeautifulSoup) -> tuple[int, Counter]:
    """Widgets that a page should show, and how many of them are of each class of ours."""
    state = document.find("script", type=WIDGET_STATE)
    models = json.loads(state.string)["state"] if state else {}
    views = [json.loads(view.string)["model_id"] for view in document.find_all("script", type=WIDGET_VIEW)]
    ours = [models[view]["state"] for view in views if models[view]["model_module"] == "anywidget"]
    return len(views), Counter(of["_anywidget_id"].rpartition(".")[2] for of in ours)


def wait_for_widgets(page, document: BeautifulSoup) -> Counter:
    """Wait until every widget of the page is there; returns how many there are of each class of ours."""
    n_widgets, ours = widget_views(document)
    page.wait_for_function(
        "([widgets, ours]) => document.querySelectorAll('.widget-subarea > *:not(script)').length >= widgets"
        " && document.querySelectorAll('.oe-widget').length >= ours",
        arg=[n_widgets, ours.total()],
    )
    return ours


@pytest.mark.parametrize("scheme", ["light", "dark"])
@every_page
def test_a_page_opens_quietly(site, address, browser, page, scheme):
    document = parsed(site / f"{page}.html")
    with opened(browser, urljoin(address, f"{page}.html"), scheme, home=address) as (tab, faults):
        wait_for_widgets(tab, document)
        assert tab.evaluate("document.documentElement.dataset.theme") == scheme
        formulas = len(document.select("span.math, div.math"))
        assert tab.locator("mjx-container").count() >= formulas
        assert tab.locator("mjx-merror").count() == 0
        folder = ROOT / "_build" / "screenshots" / scheme
        folder.mkdir(parents=True, exist_ok=True)
        name = page.replace("/", "_")
        tab.screenshot(path=folder / f"{name}.png", full_page=True)
        tab.set_viewport_size({"width": NARROW, "height": 800})
        tab.screenshot(path=folder / f"{name}_narrow.png", full_page=True)
        too_wide = tab.evaluate("document.documentElement.scrollWidth")
        assert faults == []
        assert too_wide <= NARROW, f"{page} is {too_wide} pixels wide in a window of {NARROW}"


def pages_with(site: Path, kind: str) -> list[str]:
    return [page for page in PAGES if widget_views(parsed(site / f"{page}.html"))[1][kind]]


def each_widget(site, address, browser, kind: str, selector: str):
    """Every widget of a class in the book, in a browser, as (page in the browser, widget)."""
    pages = pages_with(site, kind)
    assert pages, f"no chapter has a {kind}"
    for name in pages:
        with opened(browser, urljoin(address, f"{name}.html"), home=address) as (tab, faults):
            for at in range(wait_for_widgets(tab, parsed(site / f"{name}.html"))[kind]):
                yield tab, tab.locator(selector).nth(at)
            assert faults == [], name


def test_every_tape_of_the_book_steps_with_the_keyboard(site, address, browser):
    for tab, tape in each_widget(site, address, browser, "GameTape", ".oe-tape"):
        tape.locator(".oe-board").focus()
        tab.keyboard.press("Home")
        assert tape.locator(".oe-status").inner_text().startswith("Start")
        tab.keyboard.press("ArrowRight")
        assert tape.locator(".oe-status").inner_text().startswith("Move 1 of")


def test_every_board_of_the_book_is_played_on_by_mouse_and_keyboard(site, address, browser):
    for tab, board in each_widget(site, address, browser, "BoardWidget", ".oe-play"):
        status = board.locator(".oe-status")
        board.locator("[data-square][tabindex='0']").press("Home")
        board.locator("[data-square='f5']").click()
        assert status.inner_text().startswith("Move 1 of")
        board.locator("[data-square='d6']").focus()
        tab.keyboard.press("Enter")
        assert status.inner_text().startswith("Move 2 of")
        tab.keyboard.press("Backspace")
        assert status.inner_text().startswith("Move 1 of")
        assert board.locator(".oe-forgotten").text_content() == "", "here there is no kernel to miss"


def test_formulas_and_tapes_work_in_pages_opened_from_a_disk(site, browser):
    name = pages_with(site, "GameTape")[0]
    with opened(browser, (site / f"{name}.html").as_uri()) as (tab, faults):
        assert wait_for_widgets(tab, parsed(site / f"{name}.html")).total() > 0
        assert faults == []
    with opened(browser, (site / "book" / "notation.html").as_uri()) as (tab, faults):
        tab.wait_for_function("document.querySelectorAll('mjx-container').length > 0")
        assert faults == []


def test_the_search_page_finds_a_word_of_the_glossary(address, browser):
    with opened(browser, urljoin(address, "search.html?q=superposition"), home=address) as (tab, faults):
        results = tab.locator("#search-results a", has_text="Glossary")
        results.first.wait_for()
        assert faults == []


# The layer explorer -----------------------------------------------------------------------------------

EXPLORER = "book/explorer"
LINE = oe.random_games(1, seed=61).transcript(0)


@pytest.fixture(scope="session")
def python_has(site):
    """A function from a line of moves to how many squares each stage has right, by the site's own file."""
    name = json.loads((site / "explorer.json").read_text(encoding="utf-8"))["weights"]
    tensors = safetensors.torch.load_file(site / name)
    model = oe.load_pretrained("small")
    # The file says what mine and theirs score more than empty, which scores nothing then.
    scores = [tensors[name] for name in ("probe.weight", "probe.bias")]
    probe = LinearProbe.from_weights(*(torch.cat([0 * of[:, :, :1], of], dim=2) for of in scores))

    def of_line(line):
        games, last = oe.Games.from_transcripts([line]), len(line) // 2 - 1
        found = probe.predict(oe.residual_streams(model, games)[:, :, last : last + 1])[:, 0, 0]
        return (found == oe.contents(oe.replay(games))[0, last]).sum(-1).tolist()

    return of_line


def squares_right(explorer) -> list[int]:
    """How many squares each stage has right, as an explorer of the page says."""
    explorer.locator(".oe-stage[aria-label$='squares right']").nth(1).wait_for()
    labels = explorer.locator(".oe-stages .oe-stage").evaluate_all(
        "all => all.map((node) => node.getAttribute('aria-label'))"
    )
    return [int(re.fullmatch(r"stage \d: (\d+) of \d+ squares right", label)[1]) for label in labels]


def shows(tab, line):
    """Wait until the explorer shows the position after a line of moves, and its address says so."""
    tab.wait_for_function(
        "line => new URLSearchParams(location.hash.slice(1)).get('moves') === line", arg=line
    )


def test_every_link_of_the_explorers_page_leads_to_its_position(site, address, browser, python_has):
    links = parsed(site / f"{EXPLORER}.html").select("article a[href^='#moves=']")
    assert len(links) >= 4
    for link in links:
        state = dict(parse_qsl(link["href"][1:]))
        with opened(browser, urljoin(address, f"{EXPLORER}.html"), home=address) as (tab, faults):
            explorer = tab.locator(".oe-explorer")
            squares_right(explorer)
            explorer.get_by_role("button", name="Start of the game").click()
            explorer.get_by_text("It has read no move yet").wait_for()
            tab.get_by_role("link", name=link.get_text(), exact=True).click()
            found, expected = squares_right(explorer), python_has(state["moves"])
            before = int(state["stage"]) if "flip" in state else 9
            assert found[:before] == expected[:before], link
            assert (
                explorer.locator(".oe-stage[aria-pressed='true']")
                .get_attribute("aria-label")
                .startswith(f"stage {state['stage']}:")
            )
            assert (explorer.locator(".oe-believed:visible").count() == 2) == ("compare" in state)
            assert explorer.get_by_label("on the board:").input_value() == state.get("drawing", "")
            assert faults == []


def test_the_explorers_page_is_played_on_by_mouse_and_by_keyboard(site, address, browser, python_has, capsys):
    names = [LINE[at : at + 2] for at in range(0, len(LINE), 2)]
    url = urljoin(address, f"{EXPLORER}.html")
    with opened(browser, url, home=address) as (tab, faults):
        explorer, field = tab.locator(".oe-explorer"), tab.get_by_label("Moves of a game")
        first = parsed(site / f"{EXPLORER}.html").select("article a[href^='#moves=']")[0]["href"][1:]
        assert squares_right(explorer) == python_has(dict(parse_qsl(first))["moves"])  # it begins there
        explorer.get_by_role("button", name="Start of the game").click()
        explorer.get_by_text("It has read no move yet").wait_for()
        for at, name in enumerate(names[:20]):
            square = explorer.locator(f".oe-explorer-board [data-square='{name}']")
            if at % 2:
                square.click()
            else:
                square.focus()
                tab.keyboard.press("Enter")
        shows(tab, LINE[:40])
        assert squares_right(explorer) == python_has(LINE[:40])

        tab.keyboard.press("Backspace")
        explorer.get_by_text("Move 19 of 20").wait_for()
        assert squares_right(explorer) == python_has(LINE[:38])
        explorer.get_by_label("Number of moves played").fill("7")
        explorer.get_by_text("Move 7 of 20").wait_for()
        assert squares_right(explorer) == python_has(LINE[:14])
        explorer.get_by_role("button", name="Last position").click()

        field.fill("f5a1")
        explorer.get_by_role("button", name="Load").click()
        explorer.get_by_text("Move 2: white cannot play a1").wait_for()
        assert squares_right(explorer) == python_has(LINE[:40])
        field.fill(" ".join(names[:31]).upper())
        explorer.get_by_role("button", name="Load").click()
        shows(tab, LINE[:62])
        assert squares_right(explorer) == python_has(LINE[:62])

        address_now = tab.url
        explorer.get_by_role("button", name="Start of the game").click()
        tab.wait_for_function("new URLSearchParams(location.hash.slice(1)).get('ply') === '0'")
        explorer.get_by_role("button", name="Last position").click()
        tab.wait_for_function("address => location.href === address", arg=address_now)
        assert explorer.locator(".oe-forgotten").text_content() == ""
        took = tab.evaluate(CLICK_TIME)
        assert faults == []
    with opened(browser, address_now, home=address) as (tab, faults):
        assert squares_right(tab.locator(".oe-explorer")) == python_has(LINE[:62])
        at = tab.evaluate("performance.getEntriesByName('explorer-playable')[0].startTime")
        assert faults == []
    with capsys.disabled():
        print(f"\n    explorer: a move, nine boards redrawn: {took:.0f} ms; playable after {at:.0f} ms")


# Plays a legal move, and waits until what it says has been drawn: milliseconds, the median of nine.
CLICK_TIME = """async () => {
    const times = [];
    for (let n = 0; n < 9; n += 1) {
        const begun = performance.now();
        document.querySelector(".oe-explorer-board .oe-legal[data-square]").click();
        await new Promise((resolve) => setTimeout(resolve));
        document.body.getBoundingClientRect(); // lays the page out
        times.push(performance.now() - begun);
    }
    return times.sort((a, b) => a - b)[4];
}"""


WATCH_LAYOUT = """
    window.jumped = 0;
    const watcher = new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) jumped += entry.value;
    });
    watcher.observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("moves=f5&flip=a1", "flip=a1 after 1 moves: no disc is there to turn over"),
        ("stage=" + 5000 * "9", "it has 5007 characters"),
        ("drawing=" + 1000 * "x", "drawing=xxxxxxxxxxxxxxxxxxxx… is not known"),
    ],
)
def test_an_address_that_is_refused_leaves_the_page_as_it_was(address, browser, state, message):
    with opened(browser, urljoin(address, f"{EXPLORER}.html#{state}"), home=address) as (tab, faults):
        tab.get_by_text(message).wait_for()
        assert len(tab.locator(".oe-page > .oe-error").inner_text()) < 200
        squares_right(tab.locator(".oe-explorer"))
        assert faults == []


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_jumps_when_the_explorer_comes_or_a_move_is_played(address, browser, width):
    """Chromium's layout shift: shares of the window times distances, of what moved without being asked to."""
    url = urljoin(address, f"{EXPLORER}.html#moves={LINE[:14]}&stage=4&compare=8")
    with opened(browser, url, width=width, home=address) as (tab, faults):
        tab.add_init_script(WATCH_LAYOUT)
        tab.reload()
        squares_right(tab.locator(".oe-explorer"))
        tab.wait_for_load_state("networkidle")
        on_loading = tab.evaluate("jumped")
        tab.evaluate(CLICK_TIME)
        tab.wait_for_timeout(300)  # shifts are reported with the frames
        on_moves = tab.evaluate("jumped") - on_loading
        assert (on_loading < 0.1, on_moves < 0.01) == (True, True), (on_loading, on_moves)
        assert faults == []


def test_a_bad_address_is_told_and_the_explorer_still_plays(address, browser):
    with opened(browser, urljoin(address, f"{EXPLORER}.html#moves=f5a1"), home=address) as (tab, faults):
        tab.get_by_text("Move 2: white cannot play a1").wait_for()
        tab.get_by_role("button", name="Start of the game").click()
        tab.locator(".oe-explorer-board [data-square='f5']").click()
        shows(tab, "f5")
        assert faults == []


def test_the_explorer_works_in_a_page_opened_from_a_disk(site, browser, python_has):
    with opened(browser, (site / f"{EXPLORER}.html").as_uri() + f"#moves={LINE[:30]}") as (tab, faults):
        assert squares_right(tab.locator(".oe-explorer")) == python_has(LINE[:30])
        assert faults == []


def test_explorers_of_the_chapters_work_without_a_kernel_and_fetch_the_weights_once(site, address, browser):
    for name in [EXPLORER, *pages_with(site, "LayerExplorer")]:
        url = urljoin(address, f"{name}.html") + ("#moves=f5" if name == EXPLORER else "")
        with opened(browser, url, home=address) as (tab, faults):
            wait_for_widgets(tab, parsed(site / f"{name}.html"))
            assert tab.locator(".oe-explorer").count() > 0
            for explorer in tab.locator(".oe-explorer").all():
                assert max(squares_right(explorer)) > 20
            requests = tab.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
            assert faults == []
        fetched = [url for url in requests if url.endswith(".safetensors")]
        assert len(fetched) <= 1, name
        assert fetched or name == "notebooks/05_linear_probes"  # there, a line of the reader's own network


def test_without_scripts_a_picture_stands_for_every_widget(site, browser):
    pages = [page for page in PAGES if widget_views(parsed(site / f"{page}.html"))[1].total()]
    for name in [EXPLORER, *pages]:
        ours = widget_views(parsed(site / f"{name}.html"))[1].total() + (name == EXPLORER)
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto((site / f"{name}.html").as_uri())
        pictures = page.locator("noscript img")
        assert pictures.count() == ours, name
        for picture in pictures.all():
            picture.scroll_into_view_if_needed()
            assert " to move. Black on " in picture.get_attribute(
                "alt"
            ) or "game is over" in picture.get_attribute("alt")
            assert picture.evaluate("node => node.complete && node.naturalWidth") > 100
        context.close()


def test_an_explorer_adds_little_to_a_page(site):
    plain = (site / "book" / "glossary.html").stat().st_size
    assert (site / f"{EXPLORER}.html").stat().st_size - plain < 100_000
    for name in pages_with(site, "LayerExplorer"):
        models = json.loads(parsed(site / f"{name}.html").find("script", type=WIDGET_STATE).string)["state"]
        for model in models.values():
            if model["state"].get("_anywidget_id", "").endswith("LayerExplorer"):
                assert len(json.dumps(model)) < 100_000, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorers_page_has_no_serious_barrier(address, browser, barriers, scheme):
    url = urljoin(address, f"{EXPLORER}.html#moves={LINE[:20]}&compare=2&drawing=next")
    with opened(browser, url, scheme, home=address) as (tab, faults):
        squares_right(tab.locator(".oe-explorer"))
        assert [found for found in barriers(tab) if "oe-" in found] == []
        assert faults == []


@pytest.mark.parametrize("width", [NARROW, 1200])
def test_pictures_are_sharp_and_keep_their_shape(address, browser, width):
    with opened(browser, urljoin(address, "notebooks/09_tile_stability.html"), width=width, home=address) as (
        tab,
        faults,
    ):
        sizes = tab.locator(".cell_output img").evaluate_all(
            "all => all.map((n) => [n.clientWidth, n.clientHeight, n.naturalWidth, n.naturalHeight])"
        )
        assert len(sizes) > 15 and faults == []
        for shown, height, drawn, full in sizes:
            assert shown / height == pytest.approx(drawn / full, rel=0.02)
            assert drawn >= 1.9 * shown


# Pages on paper ---------------------------------------------------------------------------------------


def printed(tab) -> tuple[list[np.ndarray], str]:
    """The sheets of a page as colours, uint8 [height, width, 3] each, and all their text.

    Printed as browsers do unless told otherwise: without backgrounds.
    """
    document = pypdfium2.PdfDocument(tab.pdf(format="A4", print_background=False))
    sheets = [sheet.render(scale=2).to_numpy()[..., 2::-1] for sheet in document]
    return sheets, "\n".join(sheet.get_textpage().get_text_range() for sheet in document)


def pixels(sheets: list[np.ndarray], colour: str) -> int:
    """How many pixels have a colour, or one that is hardly different."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return sum(int((np.abs(sheet.astype(int) - wanted).max(-1) <= 6).sum()) for sheet in sheets)


FELT, BLACK, WHITE, CROSS, BAR = "#5d9b79", "#111111", "#fdfdfd", "#f0e442", "#0072b2"


@pytest.mark.parametrize(
    "name, kind, colours",
    [
        ("notebooks/01_the_game", ".oe-play", (FELT, BLACK, WHITE)),
        ("notebooks/02_games_as_text", ".oe-play", (FELT, BLACK, WHITE)),
        ("notebooks/01_the_game", ".oe-tape", (FELT, BLACK, WHITE)),
        (EXPLORER, ".oe-explorer", (FELT, BLACK, WHITE, CROSS, BAR)),
    ],
)
def test_boards_are_printed_with_their_discs(address, browser, name, kind, colours):
    state = f"#moves={LINE[:40]}&stage=1" if name == EXPLORER else ""
    with opened(browser, urljoin(address, f"{name}.html{state}"), home=address) as (tab, faults):
        widget = tab.locator(kind).first
        widget.locator("[data-square]").first.wait_for()
        if name == EXPLORER:
            squares_right(widget)
        # The widget alone: figures have the same colours, and are printed in any case.
        tab.evaluate("document.head.append(...document.querySelectorAll('body style'))")
        widget.evaluate("node => document.body.replaceChildren(node.closest('.oe-widget'))")
        sheets, _ = printed(tab)
        seen = {colour: pixels(sheets, colour) for colour in colours}
        assert seen[FELT] > 20_000 and all(count > 300 for count in seen.values()), seen
        assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_printed_dark_on_light_with_all_of_its_code(site, address, browser, scheme):
    name = "notebooks/03_a_gpt_by_hand"
    with opened(browser, urljoin(address, f"{name}.html"), scheme, home=address) as (tab, faults):
        sheets, text = printed(tab)
        assert tab.evaluate("document.documentElement.dataset.theme") == scheme, "the screen is as it was"
        tab.locator("mjx-container svg").first.wait_for(state="attached")
        tab.emulate_media(media="print")
        parts = tab.locator("mjx-container svg *")
        outlines = parts.evaluate_all("all => all.map((n) => getComputedStyle(n).stroke)")
        assert set(outlines) == {"none"}, "an outline of no width is printed, and looks bold"
        assert faults == []
    first = sheets[0].mean(-1)
    assert np.median(first) > 250 and np.quantile(first, 0.005) < 60
    together = re.sub(r"\s", "", text)
    shown = "div.cell:not(.tag_hide-input) div.cell_input pre"  # folded code stays folded
    code = [block.get_text() for block in parsed(site / f"{name}.html").select(shown)]
    longest = sorted((line for block in code for line in block.splitlines()), key=len)[-8:]
    assert len(longest[0]) > 70
    for line in longest:
        assert re.sub(r"\s", "", line) in together, line
