"""The widgets in a running JupyterLab: the kernel knows what a reader does, the page shows what it sets."""

import json
import random
import re

import pytest
from conftest import WAIT_S
from playwright.sync_api import expect

import othello_edu as oe

MOVES = re.findall("..", oe.random_games(1, seed=21).transcript(0))
IMPORTS = "import json, torch, othello_edu as oe\nfrom othello_edu.widgets import *\n"
BOARD = IMPORTS + "board = BoardWidget()\nboard"
KNOWN = "print(json.dumps([board.moves, board.ply, board.board.contents.tolist()]))"


class Notebook:
    """A notebook that is open in a page of JupyterLab."""

    def __init__(self, page):
        self.page = page
        self.cells = page.locator(".jp-Notebook .jp-Cell")

    def menu(self, *names):
        for name in names:
            self.page.get_by_role("menuitem", name=name, exact=True).click()

    def run_all(self):
        self.menu("Run", "Run All Cells")

    def run(self, number: int) -> str:
        """Run one cell as a reader would, wait until it is done, and return what it printed."""
        cell = self.cells.nth(number)
        prompt = cell.locator(".jp-InputPrompt")
        before = prompt.inner_text()
        prompt.click()
        self.page.keyboard.press("Control+Enter")
        expect(prompt).not_to_have_text(before)
        expect(prompt).to_have_text(re.compile(r"^\[\d+\]:$"))
        return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())

    def run_until(self, number: int, done):
        """Run a cell until what it prints is as it should be: messages to the kernel may be on their way."""
        for _ in range(10):
            if done(found := json.loads(self.run(number))):
                break
        return found

    def widget(self, title: str = "Othello"):
        return self.page.get_by_role("group", name=title, exact=True)


@pytest.fixture
def open_notebook(browser, lab, request):
    """Opens a notebook with these cells. At the end: no error in the page, and no request to elsewhere."""
    import nbformat

    expect.set_options(timeout=1000 * WAIT_S)
    context = browser.new_context(viewport={"width": 1280, "height": 1800})
    page, name = context.new_page(), re.sub(r"\W+", "-", request.node.name).strip("-")
    page.set_default_timeout(1000 * WAIT_S)
    errors, addresses = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: addresses.append(request.url))
    page.on("websocket", lambda socket: addresses.append(socket.url))

    def open_page(*cells):
        new = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
        new.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(new, lab.folder / f"{name}.ipynb")
        # A workspace of its own: the tabs of the notebook before do not come back.
        page.goto(f"{lab.url}lab/workspaces/{name}/tree/{name}.ipynb?token={lab.token}")
        page.get_by_text(re.compile(r"\| Idle$")).wait_for()  # in the status bar: the kernel has been reached
        return Notebook(page)

    yield open_page
    page.close()
    for session in context.request.get(f"{lab.url}api/sessions?token={lab.token}").json():
        context.request.delete(f"{lab.url}api/sessions/{session['id']}?token={lab.token}")
    context.close()
    assert errors == []
    here = (lab.url, lab.url.replace("http:", "ws:"), "data:", "blob:")
    assert [address for address in addresses if not address.startswith(here)] == []


def square(widget, name):
    return widget.get_by_role("grid").locator(f"[data-square='{name}']")


def discs(widget) -> list[int]:
    """The board on the page: 0 empty, 1 black, 2 white."""
    kind = "['oe-black', 'oe-white'].findIndex((kind) => n.classList.contains(kind)) + 1"
    return widget.get_by_role("grid").locator("[data-square]").evaluate_all(f"all => all.map((n) => {kind})")


def contents(moves) -> list[int]:
    return oe.Board.from_moves(moves).contents.tolist()


def shows(widget, moves: list[str], ply: int):
    """The page comes to show these moves and this place in them."""
    expect(widget.get_by_role("status").first).to_contain_text(f"Move {ply} of {len(moves)}")
    assert discs(widget) == contents(moves[:ply])


def test_what_is_played_the_kernel_knows_and_what_it_sets_is_shown(open_notebook):
    notebook = open_notebook(BOARD, KNOWN, "board.moves = 'f5d6'", "board.moves = 'f5a1'")

    def page_and_kernel_have(moves, ply):
        shows(widget, moves, ply)
        expected = ["".join(moves), ply, contents(moves[:ply])]
        assert notebook.run_until(1, lambda found: found == expected) == expected

    notebook.run(0)
    page, widget = notebook.page, notebook.widget()
    for move in MOVES[:10]:
        square(widget, move).and_(page.locator(".oe-legal")).click()
    for before, move in zip(MOVES[9:], MOVES[10:20], strict=False):
        across, down = ord(move[0]) - ord(before[0]), int(move[1]) - int(before[1])
        keys = abs(across) * ["ArrowRight" if across > 0 else "ArrowLeft"]
        for key in keys + abs(down) * ["ArrowDown" if down > 0 else "ArrowUp"]:
            page.keyboard.press(key)
        expect(square(widget, move)).to_be_focused()
        page.keyboard.press("Enter")
    shows(widget, MOVES[:20], 20)
    page.keyboard.press("Backspace")
    widget.get_by_role("button", name="Undo").click()
    page_and_kernel_have(MOVES[:20], 18)
    widget.get_by_role("slider").fill("7")
    page_and_kernel_have(MOVES[:20], 7)

    field = widget.get_by_role("textbox")
    field.fill("".join(MOVES[:12]))
    widget.get_by_role("button", name="Load").click()
    page_and_kernel_have(MOVES[:12], 12)
    field.fill("f5d6a1")
    field.press("Enter")
    expect(widget.get_by_role("alert")).to_contain_text("Move 3: black cannot play a1")
    page_and_kernel_have(MOVES[:12], 12)

    notebook.run(2)
    page_and_kernel_have(["f5", "d6"], 2)
    assert "IllegalMoveError" in notebook.run(3)
    square(widget, "c3").click()
    page_and_kernel_have(["f5", "d6", "c3"], 3)


def test_keys_typed_on_a_widget_do_nothing_to_the_notebook(open_notebook):
    notebook = open_notebook(
        BOARD,
        "GameTape('f5d6c3', title='Tape')",
        "LayerExplorer(arrays=(torch.ones(2, 2, 64, 3) / 3, None), moves='f5d6', title='Explorer')",
        "1 + 1",
    )
    notebook.run_all()
    board, tape, explorer = map(notebook.widget, ("Othello", "Tape", "Explorer"))
    focused = [square(board, "d6"), tape.get_by_role("table"), tape.get_by_role("button", name="Play")]
    focused += [board.get_by_role(role).first for role in ("button", "slider", "textbox", "checkbox")]
    focused += [explorer.get_by_role("button", name="stage 1"), explorer.get_by_label("on the board")]
    for where in focused:
        for key in "ArrowUp Escape Enter Backspace Space a b c x v d d z m 0 0".split():
            where.press(key)
            assert notebook.page.locator(".jp-CodeCell").count() == 4, f"{key} on {where}"
            assert notebook.page.locator(".oe-widget :focus").count() == 1, f"{key} on {where}"
        expect(notebook.cells).to_have_count(4)
        expect(notebook.page.locator(".jp-Notebook.jp-mod-editMode, .jp-Dialog")).to_have_count(0)
    assert notebook.run(3) == "2"


def test_two_boards_are_independent_and_one_shown_twice_stays_in_step(open_notebook):
    make = IMPORTS + "one, two = BoardWidget(title='One'), BoardWidget(title='Two')\none"
    notebook = open_notebook(make, "two", "one", "print(json.dumps([one.moves, two.moves]))")
    notebook.run_all()
    one, two = notebook.widget("One"), notebook.widget("Two")
    expect(one).to_have_count(2)
    for widget, move in [(one.nth(0), "f5"), (two, "d3"), (one.nth(1), "d6"), (two, "c5"), (two, "d6")]:
        square(widget, move).click()
    for widget, moves in [(one.nth(0), ["f5", "d6"]), (one.nth(1), ["f5", "d6"]), (two, ["d3", "c5", "d6"])]:
        shows(widget, moves, len(moves))
    expected = ["f5d6", "d3c5d6"]
    assert notebook.run_until(3, lambda found: found == expected) == expected


EXPLORER = f"""{IMPORTS}
from othello_edu.probes import LinearProbe
model, games = oe.load_pretrained("small"), oe.random_games(40, seed=5)
probe = LinearProbe(epochs=1).fit(oe.residual_streams(model, games), oe.contents(oe.replay(games))[:, :-1])
explorer = LayerExplorer(model, probe, moves="{"".join(MOVES[:20])}")
explorer"""
READ_OUTS = """
at, line = explorer.ply - 1, oe.Games.from_transcripts([explorer.moves])
with torch.no_grad():
    found = probe.logits(oe.residual_streams(model, line)[:, 0, at, None])[:, 0].argmax(-1).numpy()
right = (found == oe.contents(oe.replay(line))[0, at]).sum(1)
print(json.dumps([explorer.moves, right.tolist()]))"""


def test_the_explorer_shows_what_python_reads_in_each_stage(open_notebook):
    notebook = open_notebook(EXPLORER, READ_OUTS)
    notebook.run(0)
    widget, read_outs = notebook.widget("What the network believes"), []
    for ply in (20, 21):
        shows(widget, MOVES[:ply], ply)
        line = "".join(MOVES[:ply])
        moves, right = notebook.run_until(1, lambda found, line=line: found[0] == line)
        assert (moves, len(right)) == (line, 9)
        for stage, n in enumerate(right):
            label = f"stage {stage}: {n} of 64 squares right"
            expect(widget.get_by_role("button", name=label, exact=True)).to_be_visible()
        read_outs.append(right)
        square(widget, MOVES[ply]).click()
    assert read_outs[0] != read_outs[1]


def restart(notebook):
    notebook.menu("Kernel", re.compile("^Restart Kernel…"))  # its key stands behind
    notebook.page.get_by_role("button", name="Confirm Kernel Restart").click()
    notebook.page.get_by_text(re.compile(r"\| Idle$")).wait_for()


def shut_down(notebook):
    notebook.menu("Kernel", re.compile("^Shut Down Kernel"))
    notebook.page.get_by_text(re.compile("No Kernel$")).first.wait_for()


def die(notebook):
    notebook.cells.last.locator(".jp-InputPrompt").click()
    notebook.page.keyboard.press("Control+Enter")
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click()  # "The kernel appears to have died"


FORGOTTEN = re.compile(r"The kernel has forgotten this (\w+): .* Run cell \[1\], which made it, again")


@pytest.mark.parametrize("end", [restart, shut_down, die])
def test_a_board_that_the_kernel_has_forgotten_says_so_and_which_cell_to_run(open_notebook, end):
    notebook = open_notebook(BOARD, KNOWN, "import os; os._exit(1)")
    notebook.run(0)
    board = notebook.widget()
    square(board, "f5").click()
    shows(board, ["f5"], 1)
    expect(board.get_by_role("alert")).to_have_count(0)
    end(notebook)
    square(board, "d6").click()
    expect(board.get_by_role("alert")).to_have_text(FORGOTTEN)
    shows(board, ["f5", "d6"], 2)  # it can be played on
    if end is restart:
        notebook.run(0)
        expect(board.get_by_role("alert")).to_have_count(0)
        square(board, "d3").click()
        assert notebook.run_until(1, lambda found: found[0] == "d3")[:2] == ["d3", 1]


def test_a_board_shown_again_after_a_restart_is_forgotten_there_too(open_notebook):
    notebook = open_notebook(BOARD, KNOWN)
    notebook.run(0)
    restart(notebook)
    expect(notebook.widget().get_by_role("alert")).to_have_text(FORGOTTEN)
    notebook.cells.first.locator(".jp-OutputArea-output").click(button="right", position={"x": 5, "y": 5})
    notebook.page.get_by_role("menuitem", name="Create New View for Cell Output").click()
    again = notebook.page.locator(".jp-LinkedOutputView").get_by_role("group", name="Othello", exact=True)
    expect(again.get_by_role("alert")).to_have_text(FORGOTTEN)


@pytest.mark.parametrize("keep", [False, True])
def test_an_explorer_that_the_kernel_has_forgotten_says_so_and_shows_nothing_as_believed(open_notebook, keep):
    notebook = open_notebook(EXPLORER.replace("probe, moves", f"probe, keep={keep}, moves"))
    notebook.run(0)
    explorer = notebook.widget("What the network believes")
    read = explorer.locator(".oe-stage[aria-label$='squares right']")
    expect(read).to_have_count(9)
    restart(notebook)
    notice = explorer.locator(".oe-forgotten")
    expect(notice).to_have_text(FORGOTTEN)
    explorer.get_by_role("button", name="Undo").click()
    if keep:  # what came along with it still answers, at once
        expect(explorer.get_by_text("Nothing can be turned over")).to_be_visible()
        expect(read).to_have_count(9)
    else:
        expect(
            explorer.get_by_text("Nothing has been read here: The kernel has forgotten this explorer.")
        ).to_be_visible()
        expect(read).to_have_count(0)
        expect(explorer.locator(".oe-stages .oe-mini-black, .oe-stages .oe-mini-white")).to_have_count(0)
    expect(explorer.get_by_text("Cannot send")).to_have_count(0)
    expect(notice).to_have_text(FORGOTTEN)
    notebook.run(0)
    expect(read).to_have_count(9)
    expect(notice).to_be_hidden()


def test_three_hundred_random_events_leave_the_same_board_in_page_and_kernel(open_notebook):
    notebook, chance = open_notebook(BOARD, KNOWN), random.Random(7)
    notebook.run(0)
    widget = notebook.widget()
    slider, legal = widget.get_by_role("slider"), widget.locator(".oe-legal[data-square]")
    keys = "ArrowLeft ArrowUp ArrowRight ArrowDown Enter Space Backspace Home End Control+z Control+y".split()
    buttons = ["Undo", "Redo", "Start of the game", "Last position"]
    for _ in range(300):
        kind = chance.random()
        if kind < 0.5 and (n := legal.count()):
            legal.nth(chance.randrange(n)).click(force=True)
        elif kind < 0.65:
            square(widget, chance.choice(oe.board.SQUARE_NAMES)).click(force=True)
        elif kind < 0.8:
            widget.locator("[data-square][tabindex='0']").press(chance.choice(keys))
        elif kind < 0.95:
            widget.get_by_role("button", name=chance.choice(buttons)).click(force=True)
        else:
            slider.fill(str(chance.randint(0, int(slider.get_attribute("max")))))
    shown = discs(widget)
    moves, ply, known = notebook.run_until(1, lambda found: found[2] == shown)
    assert known == shown == discs(widget) == contents(moves[: 2 * ply])
    assert len(moves) > 20, "the events get somewhere"
    expect(slider).to_have_attribute("aria-valuetext", f"move {ply} of {len(moves) // 2}")
