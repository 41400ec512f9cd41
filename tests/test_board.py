"""One position: playing, printing and reading it back, names of squares, and its picture."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from othello_edu.board import SQUARE_NAMES, Board, parse_square, square_name, squares_of
from othello_edu.drawing import BLACK_DISC, LEGAL_DOT, WHITE_DISC
from othello_edu.engine import playable_squares
from othello_edu.errors import IllegalMoveError, OthelloEduError
from othello_edu.games import random_games

# Black takes white's last disc, and the game is over with 51 squares empty.
WIPE_OUT = "e6f4e3f6g5d6e7f5c5"


@st.composite
def positions(draw):
    """A position of a random game, anywhere from the start to the end."""
    size = draw(st.sampled_from([4, 6, 8]))
    game = random_games(1, draw(st.integers(0, 2**32)), size)
    return game.board(0, draw(st.integers(-1, int(game.lengths[0]) - 1)))


# Squares


def test_a_letter_is_a_column_and_a_digit_a_row():
    assert [square_name(square) for square in (0, 7, 8, 37, 56, 63)] == ["a1", "h1", "a2", "f5", "a8", "h8"]


def test_names_and_numbers_of_squares_are_two_ways_to_say_the_same():
    for square, name in enumerate(SQUARE_NAMES):
        assert square_name(square) == name
        assert parse_square(name) == parse_square(name.upper()) == parse_square(square) == square
        assert parse_square(np.int8(square)) == square


@pytest.mark.parametrize("wrong", ["", "f", "f9", "i5", "55", "f5 ", "f5d6", -1, 64, 3.0, None])
def test_what_is_no_square_is_refused(wrong):
    with pytest.raises(OthelloEduError, match="is not a square|is not on the board"):
        parse_square(wrong)


@given(st.sets(st.integers(0, 63)))
def test_squares_of_a_bitboard_are_its_bits(squares):
    assert squares_of(sum(1 << square for square in squares)) == tuple(sorted(squares))


# Playing


def test_the_game_starts_with_four_discs_and_four_moves_for_black():
    board = Board.start()
    assert board.to_move == 1 and board.legal_moves == ("d3", "c4", "f5", "e6")
    assert [board.contents[parse_square(name)] for name in ("d4", "e5", "e4", "d5")] == [2, 2, 1, 1]
    assert (board.count(0), board.count(1), board.count(2)) == (60, 2, 2)


def test_a_move_turns_over_what_it_encloses_and_the_turn_changes():
    before = Board.start()
    after = before.play("f5")
    assert before.flips("f5") == ("e5",)
    assert after.to_move == 2 and (after.count(1), after.count(2)) == (4, 1)
    assert before == Board.start()  # playing returns a new board


@settings(max_examples=100)
@given(positions())
def test_every_legal_move_adds_one_disc_and_turns_at_least_one(board):
    for name in board.legal_moves:
        turned, after = board.flips(name), board.play(name)
        assert turned and after.count(0) == board.count(0) - 1
        assert after.count(board.to_move) == board.count(board.to_move) + 1 + len(turned)
        changed = np.flatnonzero(after.contents != board.contents)
        assert [SQUARE_NAMES[square] for square in changed] == sorted((*turned, name), key=SQUARE_NAMES.index)


@settings(max_examples=100)
@given(positions())
def test_a_board_always_has_a_move_or_is_over(board):
    assert board.is_over == (board.legal_moves == ()) == (board.to_move == 0)


def test_a_player_without_a_move_is_skipped():
    for seed in range(20):
        game = random_games(1, seed, board_size=4)
        board, passes = Board.start(4), 0
        for square in game.moves[0][game.moves[0] >= 0]:
            after = board.play(int(square))
            if after.to_move == board.to_move:
                passes += 1
                opponent = 3 - board.to_move
                assert Board(after.black, after.white, opponent, 4).legal_moves == ()
            board = after
        assert board.is_over
        if passes:
            break
    assert passes


@pytest.mark.parametrize(
    "moves, move, reason",
    [
        ("", "e5", "black cannot play e5: e5 is occupied (legal: d3, c4, f5, e6)"),
        ("", "a1", "black cannot play a1: a1 would turn over no disc"),
        ("f5", "a1", "white cannot play a1: a1 would turn over no disc (legal: f4, d6, f6)"),
        (WIPE_OUT, "a1", "nobody cannot play a1: the game is over (legal: nothing)"),
    ],
)
def test_an_illegal_move_says_why_and_shows_the_board(moves, move, reason):
    board = Board.from_moves(moves)
    with pytest.raises(IllegalMoveError) as error:
        board.play(move)
    assert reason in str(error.value) and str(error.value).endswith(str(board))
    with pytest.raises(IllegalMoveError):
        board.flips(move)


def test_a_square_outside_a_small_board_is_no_move():
    with pytest.raises(IllegalMoveError, match="a1 is outside the 6x6 board"):
        Board.start(6).play("a1")
    with pytest.raises(OthelloEduError, match="board_size is 5"):
        Board.start(5)


def test_moves_may_be_a_transcript_names_or_numbers():
    board = Board.start().play("f5").play("d6").play("c3")
    assert (
        Board.from_moves("f5d6c3") == Board.from_moves(["F5", "d6", "c3"]) == Board.from_moves([37, 43, 18])
    )
    assert Board.from_moves("f5d6c3") == board


# Printing and reading


def test_the_start_is_printed_with_a_dot_on_each_legal_move():
    assert str(Board.start()).splitlines() == [
        "  a b c d e f g h",
        "1 . . . . . . . .",
        "2 . . . . . . . .",
        "3 . . . · . . . .",
        "4 . . · O X . . .",
        "5 . . . X O · . .",
        "6 . . . . · . . .",
        "7 . . . . . . . .",
        "8 . . . . . . . .",
        "black to move  X 2  O 2",
    ]


@settings(max_examples=150)
@given(positions())
def test_what_is_printed_is_read_back(board):
    assert Board.parse(str(board), board_size=board.board_size) == board
    assert Board.from_contents(board.contents, board.to_move, board.board_size) == board
    assert eval(repr(board)) == board  # noqa: S307


def test_a_picture_may_use_other_marks_and_leave_out_names():
    picture = "\n".join(["--------"] * 3 + ["---0*---", "---*0---"] + ["--------"] * 3)
    assert Board.parse(picture) == Board.start()
    assert Board.parse(picture, to_move=2).to_move == 2
    assert Board.parse(picture + "\nwhite to move").to_move == 2


def test_a_position_where_the_stated_player_cannot_move_belongs_to_the_other():
    contents = np.zeros(64, np.int8)
    contents[[0, 1]] = 2, 1  # white on a1 can take b1; black can take nothing
    assert Board.from_contents(contents, to_move=1).to_move == 2
    contents[1] = 2
    assert Board.from_contents(contents, to_move=1).is_over and Board.from_contents(contents, 0).is_over


@pytest.mark.parametrize(
    "picture, message",
    [
        ("X O", "a board of 8x8 has 64 squares; this picture has 2"),
        ("\n".join(["........"] * 7 + ["...Q...."]), "'q' in row 8 of the picture is not X, O or '.'"),
        (str(Board.start()).replace("black to move", "game over"), "black can play d3, c4, f5, e6"),
    ],
)
def test_a_picture_that_is_no_board_is_refused(picture, message):
    with pytest.raises(OthelloEduError, match=message):
        Board.parse(picture)


@pytest.mark.parametrize(
    "contents, arguments, message",
    [
        (np.zeros(60), {}, r"a board has shape \(64,\), not \(60,\)"),
        (np.full(64, -1), {}, "contents must be 0 .empty., 1 .black. or 2 .white."),
        (np.ones(64), {"board_size": 6}, "a1 is outside the 6x6 board"),
        (np.zeros(64), {"to_move": 3}, "to_move is 3"),
        (np.zeros(64), {"board_size": 7}, "board_size is 7"),
    ],
)
def test_contents_that_are_no_board_are_refused(contents, arguments, message):
    with pytest.raises(OthelloEduError, match=message):
        Board.from_contents(contents, **arguments)


# The picture


@settings(max_examples=40)
@given(positions())
def test_the_picture_is_well_formed_and_shows_every_disc_and_legal_move(board):
    svg = ElementTree.fromstring(board.svg(width=200))
    space = "{http://www.w3.org/2000/svg}"
    assert svg.tag == space + "svg" and svg.get("width") == "200"
    kinds = [circle.get("fill") for circle in svg.iter(space + "circle")]
    assert (kinds.count(BLACK_DISC), kinds.count(WHITE_DISC)) == (board.count(1), board.count(2))
    assert kinds.count(LEGAL_DOT) == len(board.legal_moves)
    (grid,) = (path.get("d") for path in svg.iter(space + "path"))
    assert grid.count("h") == grid.count("v") == board.board_size + 1
    names = [text.text for text in svg.iter(space + "text")]
    inside = {SQUARE_NAMES[square] for square in playable_squares(board.board_size)}
    assert {a + b for a in names for b in names} >= inside
    assert f"black {board.count(1)}, white {board.count(2)}" in svg.find(space + "title").text


def test_the_picture_brings_no_style_that_could_change_the_page_around_it():
    svg = ElementTree.fromstring(Board.start()._repr_svg_())
    tags = {node.tag.rpartition("}")[2] for node in svg.iter()}
    assert tags == {"svg", "title", "rect", "path", "g", "text", "circle"}, "no style sheet"
    assert not any(name in node.attrib for node in svg.iter() for name in ("class", "id", "style"))
