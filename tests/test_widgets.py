"""The widgets: what they take and refuse, and how their boards behave in a browser, with no kernel."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import othello_edu as oe
from othello_edu.drawing import BLACK_DISC, LEGAL_DOT, WHITE_DISC
from othello_edu.errors import IllegalMoveError, OthelloEduError
from othello_edu.widgets import BoardWidget, GameTape, LayerExplorer
from othello_edu.widgets.game_tape import NO_VALUE


@pytest.fixture(scope="module")
def games():
    return oe.random_games(5, seed=3)


def drawn(tape: GameTape) -> np.ndarray:
    """The bytes that the browser reads, [moves, 64]."""
    return np.frombuffer(base64.b64decode(tape.values), np.uint8).reshape(-1, 64)


# What it holds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_the_tape_holds_the_moves_of_the_game(board_size):
    games = oe.random_games(3, seed=1, board_size=board_size)
    tape = GameTape(games, game=2)
    assert (tape.moves, tape.board_size, tape.n_moves) == (games.transcript(2), board_size, games.lengths[2])


def test_a_transcript_is_a_game():
    assert GameTape("f5d6c3").moves == GameTape(oe.Games.from_transcripts(["f5d6c3"])).moves == "f5d6c3"


def test_a_transcript_that_breaks_the_rules_is_refused():
    with pytest.raises(IllegalMoveError, match="a1"):
        GameTape("f5a1")


def test_row_t_is_drawn_on_the_position_after_move_t(games):
    positions = oe.replay(games)
    tape = GameTape(games, oe.labels.colours(positions), game=1)
    length = games.lengths[1]
    assert drawn(tape).shape == (length, 64)
    before_the_end = positions.to_move[1, :length] > 0
    np.testing.assert_array_equal(
        drawn(tape)[before_the_end], positions.boards[1, :length][before_the_end].astype(np.uint8)
    )
    assert (drawn(tape)[~before_the_end] == NO_VALUE).all()


def test_an_array_of_all_games_and_the_row_of_one_game_draw_the_same(games):
    values = np.random.default_rng(0).normal(size=(5, 60, 64))
    assert GameTape(games, values, game=3).values == GameTape(games, values[3], game=3).values
    assert GameTape(games, values, game=-2).values == GameTape(games, values[3], game=3).values


def test_a_heat_map_is_rounded_to_less_than_half_a_percent_of_its_limits(games):
    values = np.random.default_rng(0).uniform(-1, 3, size=(60, 64))
    values[:, 5] = np.nan
    tape = GameTape(games, values, limits=(-1, 3))
    shown = np.where(drawn(tape) == NO_VALUE, np.nan, -1 + 4 * (drawn(tape) / (NO_VALUE - 1)))
    np.testing.assert_allclose(shown, values[: len(shown)], atol=4 / 254 / 2 + 1e-9)


def test_values_of_both_signs_get_limits_symmetric_about_zero(games):
    values = np.zeros((60, 64))
    values[3, 3], values[4, 4] = -1.0, 2.5
    assert GameTape(games, values).limits == [-2.5, 2.5]


def test_a_tensor_is_drawn_as_an_array_is(games):
    values = torch.rand(60, 64, requires_grad=True)
    assert GameTape(games, values).values == GameTape(games, values.detach().numpy()).values


def test_a_tape_with_values_and_marks_adds_little_to_a_page(games):
    positions = oe.replay(games)
    tape = GameTape(games, np.random.default_rng(0).normal(size=(60, 64)), marks=positions.legal)
    state = {name: trait for name, trait in tape.get_state().items() if not name.startswith("_")}
    assert len(json.dumps(state, default=str)) < 16_000


def test_its_name_in_a_notebook_is_short(games):
    assert repr(GameTape(games, title="A game")) == f"GameTape('A game', {games.lengths[0]} moves)"


def test_the_package_does_not_import_what_only_widgets_need():
    code = "import sys, othello_edu; print({'anywidget', 'ipywidgets', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# What it refuses --------------------------------------------------------------------------------------

WRONG = {
    "a column for each token instead of each square": (
        dict(values=np.zeros((60, 61))),
        r"\(60, 61\).*60, 64",
    ),
    "fewer rows than moves": (dict(values=np.zeros((40, 64))), r"\(40, 64\)"),
    "no such game": (dict(game=5), "no game 5"),
    "a label too many": (dict(values=np.full((60, 64), 8)), "0 to 7"),
    "a label below -1": (dict(values=np.full((60, 64), -2)), "-1: none"),
    "a label without a name": (dict(values=np.ones((60, 64), int), names=["empty"]), "names"),
    "names for a heat map": (dict(values=np.zeros((60, 64)), names=["empty"]), "floats"),
    "limits for labels": (dict(values=np.zeros((60, 64), int), limits=(0, 1)), "labels"),
    "limits in the wrong order": (dict(values=np.zeros((60, 64)), limits=(1, 0)), r"\(1, 0\)"),
    "limits without values": (dict(limits=(0, 1)), "none"),
    "an infinite value": (dict(values=np.full((60, 64), np.inf)), r"values\[0, 0\] is infinite"),
    "complex values": (dict(values=np.zeros((60, 64), complex)), "complex"),
    "marks that are not true or false": (dict(marks=np.zeros((60, 64))), "True or False"),
    "a place past the end": (dict(ply=61), "ply is 61"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_the_tape_refuses(games, arguments, message):
    with pytest.raises(OthelloEduError, match=message):
        GameTape(games, **arguments)


def test_something_that_is_not_a_game_is_refused():
    with pytest.raises(OthelloEduError, match="ndarray"):
        GameTape(np.zeros((1, 60), int))


# How it behaves in a browser --------------------------------------------------------------------------


def square(page, name: str):
    return page.locator(f".oe-square[aria-label^='{name}:']")


def status(page) -> str:
    return page.locator(".oe-status").inner_text()


def test_the_keys_go_through_the_game(show, games):
    page = show(GameTape(games, ply=10))
    assert status(page).startswith("Move 10 of 60: ")
    page.locator(".oe-board").focus()
    for key, place in [("ArrowRight", 11), ("ArrowLeft", 10), ("End", 60), ("ArrowRight", 60)]:
        page.keyboard.press(key)
        assert page.evaluate("state.ply") == place, key
    page.keyboard.press("Home")
    assert status(page) == "Start: black 2, white 2. Black to move."
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("state.ply") == 0


def test_the_buttons_and_the_slider_go_through_the_game(show, games):
    page = show(GameTape(games))
    page.get_by_role("button", name="Next move").click()
    assert page.evaluate("state.ply") == 1
    page.get_by_role("button", name="Last position").click()
    assert page.evaluate("state.ply") == 60
    page.get_by_role("button", name="Back one move").click()
    assert page.get_by_role("slider").get_attribute("aria-valuetext") == "move 59 of 60"
    page.get_by_role("button", name="First position").click()
    assert page.evaluate("state.ply") == 0
    page.get_by_role("slider").fill("30")
    assert status(page).startswith("Move 30 of 60")


def test_play_moves_on_by_itself_and_pauses(show, games):
    page = show(GameTape(games))
    page.get_by_role("button", name="Play").click()
    assert page.locator(".oe-status").get_attribute("aria-live") == "off"
    page.wait_for_function("state.ply >= 2")
    page.get_by_role("button", name="Pause").click()
    assert page.locator(".oe-status").get_attribute("aria-live") == "polite"
    assert page.get_by_role("button", name="Play").count() == 1


def test_every_square_says_its_name_and_its_disc(show):
    page = show(GameTape("f5d6", ply=2))
    board = page.get_by_role("table", name="Board")
    assert board.get_by_role("cell").count() == 64
    assert square(page, "f5").get_attribute("aria-label") == "f5: black"
    assert square(page, "d6").get_attribute("aria-label") == "d6: white, played last"
    assert square(page, "d5").get_attribute("aria-label") == "d5: white, turned over"
    assert square(page, "a1").get_attribute("aria-label") == "a1: empty"
    assert square(page, "c5").get_attribute("aria-label") == "c5: empty, may be played next"
    assert (
        status(page) == "Move 2 of 2: white plays d6 and turns over d5. Now black 3, white 3. Black to move."
    )


def test_a_pass_is_announced(show):
    games = oe.random_games(200, seed=0)
    positions = oe.replay(games)
    passes = (positions.to_move[:, :-1] == positions.to_move[:, 1:]) & (positions.to_move[:, 1:] > 0)
    game, row = np.argwhere(passes)[0]
    page = show(GameTape(games, game=int(game), ply=int(row) + 2))
    passing = "White" if positions.to_move[game, row] == 1 else "Black"
    assert f"{passing} cannot move and passes." in status(page)


def test_black_and_white_discs_differ_by_shape_as_well_as_by_colour(show):
    page = show(GameTape("f5d6", ply=2))
    border = "node => getComputedStyle(node, '::before').borderTopWidth"
    assert square(page, "f5").evaluate(border) == "0px"
    assert float(square(page, "d6").evaluate(border).removesuffix("px")) > 2


def test_a_label_is_told_by_name_colour_and_digit(show, games):
    positions = oe.replay(games)
    tape = GameTape(
        games, oe.contents(positions), names=["empty", "mine", "theirs"], value_name="contents", ply=20
    )
    page = show(tape)
    labels = oe.contents(positions)[0, 19]
    for code, name in [(1, "mine"), (2, "theirs")]:
        at = int(np.flatnonzero(labels == code)[0])
        cell = square(page, oe.board.SQUARE_NAMES[at])
        assert cell.get_attribute("aria-label").endswith(f"contents {name}")
        assert cell.inner_text() == str(code)
    assert [text in page.locator(".oe-legend").inner_text() for text in ("contents:", "mine", "theirs")] == [
        True
    ] * 3


def test_a_heat_map_says_its_values_and_its_unit(show, games):
    values = np.zeros((60, 64))
    values[9, 0], values[9, 63], values[9, 7] = 0.5, -0.25, np.nan
    page = show(GameTape(games, values, value_name="logit difference (nats)", ply=10))
    assert "logit difference (nats) 0.50" in square(page, "a1").get_attribute("aria-label")
    assert "logit difference (nats) −0.25" in square(page, "h8").get_attribute("aria-label")
    assert "logit" not in square(page, "h1").get_attribute("aria-label")
    legend = page.locator(".oe-legend").inner_text()
    assert "logit difference (nats)" in legend and "−0.50" in legend
    colour = "node => getComputedStyle(node).backgroundColor"
    assert len({square(page, name).evaluate(colour) for name in ("a1", "h8", "h1", "b1")}) == 4


def test_marked_squares_are_drawn_and_said(show, games):
    marks = np.zeros((60, 64), bool)
    marks[4, 2] = True
    page = show(GameTape(games, marks=marks, mark_name="stable disc", ply=5))
    assert "stable disc" in square(page, "c1").get_attribute("aria-label")
    assert page.locator(".oe-square.oe-marked").count() == 1
    assert "stable disc" in page.locator(".oe-legend").inner_text()


@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_only_the_playable_squares_are_shown(show, board_size):
    page = show(GameTape(oe.random_games(1, seed=2, board_size=board_size)))
    assert page.locator(".oe-square").count() == board_size**2


def test_the_tape_fits_a_window_of_320_pixels(show, games):
    values = np.random.default_rng(0).normal(size=(60, 64))
    tape = GameTape(games, values, value_name="a long name of a value (nats)", ply=30)
    page = show(tape, viewport={"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    sizes = page.locator(".oe-controls button").evaluate_all(
        "all => all.map((b) => b.getBoundingClientRect())"
    )
    assert min(min(size["width"], size["height"]) for size in sizes) >= 24  # WCAG 2.5.8


OUTLINE = "node => getComputedStyle(node).outlineWidth"


def test_the_keyboards_focus_can_be_seen(show, games):
    page = show(GameTape(games))
    seen = []
    for _ in range(7):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        seen.append((focused.evaluate("n => n.className || n.tagName"), focused.evaluate(OUTLINE)))
    assert {name for name, _ in seen} == {"oe-board", "BUTTON", "INPUT"}
    assert {width for _, width in seen} == {"3px"}


def test_a_tape_that_leaves_the_page_stops_playing(show, games):
    page = show(GameTape(games))
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("state.ply >= 1")
    page.evaluate("window.leave()")
    stopped_at = page.evaluate("state.ply")
    page.wait_for_timeout(1600)
    assert page.evaluate("state.ply") == stopped_at


# A board to play on -----------------------------------------------------------------------------------


def test_a_board_holds_what_it_is_given():
    board = BoardWidget("F5d6C3", ply=2, marks=["A1"], title="Try")
    assert (board.moves, board.ply, board.marks) == ("f5d6c3", 2, ["a1"])
    assert board.board == oe.Board.from_moves("f5d6")
    assert BoardWidget("f5d6").ply == 2
    assert repr(board) == "BoardWidget('f5d6c3', ply=2)"


def test_moves_are_kept_as_the_browser_reads_them_however_they_are_written():
    text = "1. F5 d6 | 2. c3 34-30"
    board = BoardWidget(text)
    assert (board.moves, board.ply, board.board) == ("f5d6c3", 3, oe.Board.from_moves(text))
    board.moves = "f5 - d6"
    assert (board.moves, board.ply) == ("f5d6", 2)
    assert GameTape(text).moves == "f5d6c3"
    boards = np.full((2, 3, 64, 3), 1 / 3)
    explorer = LayerExplorer(arrays=(boards, None), moves=text)
    assert explorer.given["moves"] == explorer.moves == "f5d6c3" and explorer.ply == 3
    for no_move in ("--", "c3d3", "", "f5"):
        with pytest.raises(OthelloEduError):
            board.play(no_move)
        assert (board.moves, board.ply) == ("f5d6", 2)


def test_a_board_plays_undoes_and_forgets_what_was_undone():
    board = BoardWidget()
    board.play("f5")
    board.play("d6")
    board.undo()
    assert (board.moves, board.ply) == ("f5d6", 1)
    board.play("f4")
    assert (board.moves, board.ply) == ("f5f4", 2)
    board.moves = "f5"
    assert board.ply == 1
    board.undo()
    board.undo()
    assert board.ply == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda board: setattr(board, "moves", "f5a1"), IllegalMoveError, "a1"),
        (lambda board: setattr(board, "moves", "f5zz"), OthelloEduError, "'zz' is neither a square"),
        (lambda board: setattr(board, "ply", 3), OthelloEduError, "ply is 3; there are moves 0 to 2"),
        (lambda board: setattr(board, "ply", -1), OthelloEduError, "ply is -1"),
        (lambda board: setattr(board, "marks", ["j9"]), OthelloEduError, "'j9' is not a square"),
        (lambda board: board.play("a1"), IllegalMoveError, "a1"),
        (lambda board: board.draw(np.zeros(63)), OthelloEduError, "a number for each of 64 squares"),
        (lambda board: board.draw(np.full(64, np.inf)), OthelloEduError, "infinite"),
        (lambda board: board.draw(np.full(64, 9)), OthelloEduError, "labels run from 9 to 9"),
        (lambda board: board.draw(np.zeros(64), limits=(2, 1)), OthelloEduError, "limits are"),
        (lambda board: BoardWidget(board_size=5), OthelloEduError, "5"),
    ],
)
def test_a_board_refuses_what_does_not_fit_and_stays_as_it_was(change, error, message):
    board = BoardWidget("f5d6", marks=["a1"])
    with pytest.raises(error, match=message):
        change(board)
    assert (board.moves, board.ply, board.marks, board.drawn) == ("f5d6", 2, ["a1"], {})


def test_a_board_draws_numbers_and_labels():
    board = BoardWidget()
    board.draw(torch.linspace(-1, 2, 64), "logit (nats)")
    assert board.drawn["limits"] == [-2, 2] and board.drawn["name"] == "logit (nats)"
    board.draw(np.where(np.arange(64) < 3, -1, 1), names=["empty", "mine"])
    assert board.drawn["values"][:4] == [None, None, None, 1] and "limits" not in board.drawn
    board.draw()
    assert board.drawn == {}


def named(page, name: str):
    return page.locator(f"[data-square='{name}']")


def line(n_moves: int) -> list[str]:
    text = oe.random_games(1, seed=21).transcript(0)
    return [text[at : at + 2] for at in range(0, 2 * n_moves, 2)]


def test_twenty_moves_are_played_by_mouse_and_taken_back(show):
    page, moves = show(BoardWidget()), line(20)
    for move in moves:
        named(page, move).click()
    assert page.evaluate("[state.moves, state.ply]") == ["".join(moves), 20]
    assert status(page).startswith("Move 20 of 20: ")
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Start of the game").click()
    assert page.evaluate("[state.moves, state.ply]") == ["".join(moves), 0], "what is undone can be redone"
    page.get_by_role("button", name="Redo").click()
    page.get_by_role("button", name="Last position").click()
    page.get_by_role("slider").fill("7")
    assert page.evaluate("state.ply") == 7 and status(page).startswith("Move 7 of 20")
    here = oe.Board.from_moves(moves[:7])
    other = next(move for move in here.legal_moves if move != moves[7])
    named(page, other).click()
    assert page.evaluate("state.moves") == "".join(moves[:7]) + other


def test_twenty_moves_are_played_with_the_keyboard(show):
    page, moves, at = show(BoardWidget()), line(20), None
    page.locator(".oe-square[tabindex='0']").focus()
    for move in moves:
        at = page.evaluate("document.activeElement.dataset.square")
        across, down = ord(move[0]) - ord(at[0]), int(move[1]) - int(at[1])
        for _ in range(abs(across)):
            page.keyboard.press("ArrowRight" if across > 0 else "ArrowLeft")
        for _ in range(abs(down)):
            page.keyboard.press("ArrowDown" if down > 0 else "ArrowUp")
        assert page.evaluate("document.activeElement.dataset.square") == move
        page.keyboard.press("Enter")
    assert page.evaluate("[state.moves, state.ply]") == ["".join(moves), 20]
    for keys, ply in [("Backspace", 19), ("Control+z", 18), ("Control+y", 19), ("Home", 0), ("End", 20)]:
        page.keyboard.press(keys)
        assert page.evaluate("state.ply") == ply, keys
    page.keyboard.press("Shift+Backspace")
    assert page.evaluate("state.ply") == 20


def test_the_focus_stays_on_the_board(show):
    page = show(BoardWidget())
    named(page, "a1").focus()
    for key in ("ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.square") == "a1"
    named(page, "h1").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.square") == "h1"


def test_an_illegal_move_says_why_and_changes_nothing(show):
    page = show(BoardWidget())
    named(page, "a1").click()
    error = page.get_by_role("alert")
    assert error.inner_text().startswith(
        "black cannot play a1: it turns nothing over (legal: d3, c4, f5, e6)"
    )
    assert page.evaluate("[state.moves, window.saved]") == ["", None]
    named(page, "f5").click()
    assert page.locator(".oe-error").text_content() == ""


def test_transcripts_are_pasted_and_copied(show):
    page, moves = show(BoardWidget()), "".join(line(12))
    field = page.get_by_role("textbox")
    field.fill("1. " + moves.upper())
    page.get_by_role("button", name="Load").click()
    assert page.evaluate("[state.moves, state.ply]") == [moves, 12]
    for wrong, message in [("f5d6a1", "Move 3: black cannot play a1"), ("f5hello", "“hello” is neither a")]:
        field.fill(wrong)
        field.press("Enter")
        assert message in page.get_by_role("alert").inner_text()
        assert page.evaluate("[state.moves, state.ply]") == [moves, 12]
    page.get_by_role("slider").fill("5")
    page.get_by_role("button", name="Copy").click()
    assert field.input_value() == moves[:10]


def test_the_discs_that_would_be_turned_over_are_shown_under_the_pointer(show):
    page = show(BoardWidget())
    named(page, "f5").hover()
    assert page.locator(".oe-would-flip").evaluate_all("all => all.map((n) => n.dataset.square)") == ["e5"]
    assert named(page, "f5").get_attribute("aria-label") == "f5: empty, legal, turns over 1"
    page.get_by_role("checkbox").uncheck()
    assert page.locator(".oe-legal").count() == 0
    named(page, "c4").hover()
    assert page.locator(".oe-would-flip").count() == 0, "who hides the legal moves does not want to be told"


def test_values_and_marks_are_drawn_and_said_and_follow_the_kernel(show):
    board = BoardWidget("f5", marks=["d3"], mark_name="look")
    board.draw(np.where(np.arange(64) == 0, 0.25, np.nan), "probability")
    page = show(board)
    assert "probability 0.25" in named(page, "a1").get_attribute("aria-label")
    assert "probability" not in named(page, "b1").get_attribute("aria-label")
    assert "look" in named(page, "d3").get_attribute("aria-label")
    page.evaluate(
        "model.set('moves', 'f5d6'); model.set('ply', 2); model.set('drawn', {}); model.set('marks', [])"
    )
    assert status(page).startswith("Move 2 of 2")
    assert "look" not in named(page, "d3").get_attribute("aria-label")
    assert "probability" not in page.locator(".oe-legend").inner_text()


def test_a_board_says_when_its_kernel_has_forgotten_it_and_nothing_in_a_page_without_one(show):
    page = show(BoardWidget("f5"))
    notice = page.locator(".oe-forgotten")
    named(page, "d6").click()
    assert notice.text_content() == ""
    page.evaluate("model.set('forgotten', true)")  # as when its connection breaks: see test_jupyterlab.py
    text = notice.inner_text()
    assert (
        text.startswith("The kernel has forgotten this board") and "Run the cell that made it again" in text
    )
    named(page, "c3").click()
    assert page.evaluate("state.moves") == "f5d6c3" and notice.inner_text() == text


@pytest.mark.parametrize("gone", ["null", "{ id: 'another' }"])
def test_a_kernel_that_was_shut_down_or_changed_is_missed_at_the_next_move(show, gone):
    # A page's model knows its kernel when the board is drawn.
    connected = "Object.prototype.widget_manager = { kernel: { id: 'one' } }"
    page = show(BoardWidget(), before=lambda page: page.add_init_script(connected))
    named(page, "f5").click()
    assert page.locator(".oe-forgotten").text_content() == ""
    page.evaluate(f"model.widget_manager.kernel = {gone}")
    named(page, "d6").click()
    assert page.locator(".oe-forgotten").inner_text().startswith("The kernel has forgotten this board")


@pytest.mark.parametrize("board_size", [4, 6])
def test_small_boards_are_played_to_the_end(show, board_size):
    games = oe.random_games(1, seed=5, board_size=board_size)
    page = show(BoardWidget(board_size=board_size))
    text = games.transcript(0)
    for at in range(0, len(text), 2):
        named(page, text[at : at + 2]).click()
    assert "The game is over" in status(page) and page.evaluate("state.moves") == text


def test_two_thousand_random_events_leave_a_legal_game(show):
    """Clicks, keys, slides and bad pastes at random; Python replays what is left."""
    page = show(BoardWidget())
    found = page.evaluate("""async () => {
        let seed = 12345;
        const random = (n) => {
            seed = (seed * 1103515245 + 12345) % 2147483648;
            return Math.floor((seed / 2147483648) * n);
        };
        const pick = (all) => all[random(all.length)];
        const squares = [...document.querySelectorAll("[data-square]")];
        const keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Enter", " ", "Backspace",
            "Home", "End", "z", "y", "q"];
        const buttons = [...document.querySelectorAll("button")].filter((b) => b.textContent !== "Copy");
        const slider = document.querySelector("input[type=range]");
        const field = document.querySelector("input[type=text]");
        const seen = [];
        for (let n = 0; n < 2000; n += 1) {
            const legal = squares.filter((s) => s.classList.contains("oe-legal"));
            const what = random(20);
            if (what < 9 && legal.length) pick(legal).click();
            else if (what < 12) pick(squares).click();
            else if (what < 16) document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {
                key: pick(keys), bubbles: true, ctrlKey: random(4) === 0, shiftKey: random(4) === 0 }));
            else if (what < 17) pick(buttons).click();
            else if (what < 18) { slider.value = random(61); slider.dispatchEvent(new Event("input")); }
            else if (what < 19) { field.value = pick(["f5d6c3", "f5f6e6f4", "a1", "nonsense", ""]); }
            else if (random(12) === 0) buttons.find((b) => b.textContent === "Load").click();
            await Promise.resolve(); // the board is drawn
            if (n % 20 === 0) seen.push([state.moves, state.ply]);
        }
        return [...seen, [state.moves, state.ply]];
    }""")
    assert max(ply for _, ply in found) > 20, "the events get somewhere"
    for moves, ply in found:
        board = oe.Board.from_moves(moves)
        assert 0 <= ply <= len(moves) // 2
    page.wait_for_timeout(50)
    board = oe.Board.from_moves(moves[: 2 * ply])
    shown = page.locator("[data-square]").evaluate_all(
        "all => all.map((n) => ['oe-none', 'oe-black', 'oe-white'].findIndex((c) => n.classList.contains(c)))"
    )
    assert [max(disc, 0) for disc in shown] == board.contents.tolist()
    legal = page.locator("[data-square].oe-legal").evaluate_all("all => all.map((n) => n.dataset.square)")
    assert sorted(legal) == sorted(board.legal_moves if page.get_by_role("checkbox").is_checked() else ())


def test_the_board_fits_a_window_of_320_pixels_and_can_be_touched(show):
    page = show(BoardWidget(), viewport={"width": 320, "height": 700}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    named(page, "f5").tap()
    assert page.evaluate("state.moves") == "f5"
    sizes = page.locator("button, [data-square]").evaluate_all(
        "all => all.map((b) => b.getBoundingClientRect())"
    )
    assert min(min(size["width"], size["height"]) for size in sizes) >= 24  # WCAG 2.5.8


# Pictures, where no script runs -----------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("board_size", [4, 6, 8])
@pytest.mark.parametrize("kind", [BoardWidget, GameTape, LayerExplorer])
def test_every_widget_leaves_a_picture_of_its_position(kind, board_size):
    line = oe.random_games(1, seed=5, board_size=board_size).transcript(0)[:18]
    more = {} if kind is GameTape else {"board_size": board_size}
    if kind is LayerExplorer:
        more["arrays"] = (np.full((2, 9, 64, 3), 1 / 3), None)
    game = oe.Games.from_transcripts([line], board_size) if kind is GameTape else None
    widget = (
        GameTape(game, ply=7, title="<A & B>") if game else kind(moves=line, ply=7, title="<A & B>", **more)
    )
    data, _ = widget._repr_mimebundle_()
    assert {"text/plain", "image/svg+xml", "application/vnd.jupyter.widget-view+json"} == set(data)
    picture = ElementTree.fromstring(data["image/svg+xml"])
    board = oe.Board.from_moves(line[:14], board_size)
    discs = [node.get("fill") for node in picture.iter(f"{SVG}circle")]
    assert discs.count(BLACK_DISC) == (board.contents == 1).sum()
    assert discs.count(WHITE_DISC) == (board.contents == 2).sum()
    assert discs.count(LEGAL_DOT) == len(board.legal_moves)
    text = picture.find(f"{SVG}title").text
    assert text.startswith("<A & B>: after move 7 of 9, white to move. Black on ")
    for player, name in enumerate(("Black", "White"), 1):
        squares = text.split(f"{name} on ")[1].split(".")[0].split(", ")
        assert squares == [oe.board.SQUARE_NAMES[at] for at in np.flatnonzero(board.contents == player)]
    assert len(data["image/svg+xml"]) < 8_000


def test_a_full_board_is_a_small_picture_and_a_tape_at_its_start_shows_the_end(games):
    picture = GameTape(games, ply=0).picture()
    assert "after move 60 of 60, the game is over" in picture and len(picture) < 8_000
    assert "the start of a game, black to move" in BoardWidget().picture()


@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_a_long_caption_is_not_cut_off(browser, board_size):
    title = "The boards that the layers of your own network believe in"
    page = browser.new_page()
    page.set_content(BoardWidget(board_size=board_size, title=title).picture())
    boxes = page.locator("svg, g > text[x='0']").evaluate_all(
        "all => all.map((node) => node.getBoundingClientRect())"
    )
    assert len(boxes) > 2
    for side in ("left", "top"):
        assert boxes[0][side] <= min(box[side] for box in boxes[1:])
    assert boxes[0]["right"] >= max(box["right"] for box in boxes[1:])
    page.close()


def test_the_picture_says_who_has_no_disc_and_hides_the_legal_moves_where_they_are_hidden():
    assert BoardWidget("e6f4e3f6g5d6e7f5c5").picture().count("e7. White has no disc.</title>") == 1
    assert LEGAL_DOT in BoardWidget().picture()
    assert LEGAL_DOT not in BoardWidget(show_legal=False).picture()


# Barriers ---------------------------------------------------------------------------------------------


def test_the_checker_of_barriers_is_unmodified():
    vendor = Path(__file__).parent / "vendor"
    digest, name = (vendor / "SHA256SUMS").read_text().split()
    assert name == "axe-core-4.14.1/axe.min.js"
    assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["tape", "board"])
def test_a_widget_has_no_serious_barrier(show, games, barriers, kind, scheme):
    if kind == "tape":
        colours = oe.labels.colours(oe.replay(games))
        widget = GameTape(games, colours, names=["empty", "black", "white"], ply=9)
    else:
        widget = BoardWidget("f5d6c3", marks=["a1"])
        widget.draw(np.linspace(-1, 1, 64), "value")
    page = show(widget, color_scheme=scheme)
    if kind == "board":
        named(page, "a1").click()  # and its error message
    assert barriers(page) == []


def test_the_checker_finds_barriers(show, games, barriers):
    page = show(GameTape(games))
    page.evaluate("document.querySelector('.oe-tape input').removeAttribute('aria-label')")
    assert any(found.startswith("label") for found in barriers(page))
