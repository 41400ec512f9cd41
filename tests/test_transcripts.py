"""Games written one to a line: what is written is read back, and what is no game is named."""

import pytest
import transcript_cases
from game_files import game_with_a_pass, same, some_games, text_file

from othello_edu.board import Board
from othello_edu.errors import OthelloEduError, RecordError
from othello_edu.games import Games
from othello_edu.pgn import read_pgn
from othello_edu.transcripts import read_transcripts, write_transcripts

# Dots are empty squares; the game ends with them, because white has no disc left.
WIPE_OUT = "e6f4e3f6g5d6e7f5c5"


@pytest.mark.parametrize("size", [4, 6, 8])
def test_transcripts_come_back_as_they_were_written(tmp_path, size):
    games = some_games(board_size=size)
    write_transcripts(games, tmp_path / "games.txt")
    assert same(read_transcripts(tmp_path / "games.txt", size), games)
    lines = (tmp_path / "games.txt").read_text().splitlines()
    assert lines == [games.transcript(game) or "-" for game in range(len(games))]


@pytest.mark.parametrize(
    "line",
    [
        "f5d6c3d3c4",
        "F5D6C3D3C4",
        "f5 d6 c3 d3 c4",
        "F5-d6, c3;\td3 | c4   # a comment",
        "\ufefff5d6c3d3c4",
        "f5d6c3d3c4\r",
    ],
)
def test_a_transcript_may_be_written_in_many_ways(tmp_path, line):
    path = text_file(tmp_path, f"{line}\n\n  # only a comment\n")
    assert read_transcripts(path).transcript(0) == "f5d6c3d3c4"
    assert len(read_transcripts(path)) == 1


def is_a_line(text):
    """Whether a text can be a line of a file of transcripts: there a line break ends a game."""
    return not set("\r\n") & set(text) and text.partition("#")[0].strip("\ufeff\x1a ") != ""


@pytest.mark.parametrize("text, size, moves", transcript_cases.READ)
def test_a_game_is_read_as_people_write_it(tmp_path, text, size, moves):
    """The table that `test_javascript.py` goes through in Node."""
    games = Games.from_transcripts([text], size)
    assert games.transcript(0) == moves
    assert Board.from_moves(text, size) == games.board(0)
    if is_a_line(text):
        assert same(read_transcripts(text_file(tmp_path, f"\n{text}\n"), size), games)
    if not set("#;") & set(text):  # comments are written in another way in PGN
        assert same(read_pgn(text_file(tmp_path, f'[Event "x"]\n{text}\n'), size), games)


@pytest.mark.parametrize("text, size, ply", transcript_cases.REFUSED)
def test_a_text_that_is_no_game_is_refused(tmp_path, text, size, ply):
    with pytest.raises(OthelloEduError, match=f"^game 0, ply {ply}: "):
        Games.from_transcripts([text], size)
    with pytest.raises(OthelloEduError):
        Board.from_moves(text, size)
    if is_a_line(text):
        with pytest.raises(RecordError, match=rf"games.txt: line 2 \(game 0\), ply {ply}: "):
            read_transcripts(text_file(tmp_path, f"\n{text}\n-", "games.txt"), size)


@pytest.mark.parametrize(
    "line, message",
    [
        ("f5d6x3", "'x3' is neither a square nor a pass"),
        ("f5d6c", "'c' is neither a square nor a pass"),
        ("f5d6c9", "'c9' is neither"),
        ("f5f6\N{FULLWIDTH LATIN SMALL LETTER C}3", "is neither"),
        ("f5d6f5", "ply 2: black cannot play f5: f5 is occupied"),
        ("f5d6" * 40, "has 80 moves; 8x8 has room for 60"),
        ("f5d6c3 -- d3", "ply 3: white passes but can play"),
        ("-- f5", "ply 0: black passes but can play"),
    ],
)
def test_a_bad_transcript_is_named_by_file_line_and_ply(tmp_path, line, message):
    path = text_file(tmp_path, f"# two games\nf5d6c3\n{line}\n", "club.txt")
    with pytest.raises(RecordError) as error:
        read_transcripts(path)
    assert "club.txt: line 3 (game 1)" in str(error.value)
    assert message in str(error.value)


def test_an_illegal_move_shows_its_square_and_the_board(tmp_path):
    path = text_file(tmp_path, "f5d6c3\n\nf5d6a1\n", "club.txt")
    with pytest.raises(RecordError) as error:
        read_transcripts(path)
    assert "club.txt: line 3 (game 1), ply 2: black cannot play a1" in str(error.value)
    assert "\n5 . . · O X X . .\n" in str(error.value)
    assert "black to move" in str(error.value)


def test_a_move_outside_a_small_board_is_refused(tmp_path):
    path = text_file(tmp_path, "e6f4g4a1")
    with pytest.raises(RecordError, match=r"ply \d: .* cannot play"):
        read_transcripts(path, board_size=6)
    with pytest.raises(OthelloEduError, match="board_size is 5"):
        read_transcripts(path, board_size=5)


@pytest.mark.parametrize("word", ["--", "pa", "PASS", "ps"])
def test_a_forced_pass_may_be_written_or_left_out(tmp_path, word):
    game, ply = game_with_a_pass()
    moves = game.transcript(0)
    path = text_file(tmp_path, f"{moves}\n{moves[: 2 * ply]} {word} {moves[2 * ply :]}\n")
    assert same(read_transcripts(path), game[[0, 0]])
    path = text_file(tmp_path, f"{moves[: 2 * ply]} {word} {word} {moves[2 * ply :]}\n")
    with pytest.raises(RecordError, match=f"ply {ply}: .* passes but can play"):
        read_transcripts(path)


def test_both_players_may_be_said_to_pass_at_the_end_but_not_thrice(tmp_path):
    for passes in ("", " --", " -- pa"):
        path = text_file(tmp_path, WIPE_OUT + passes)
        assert read_transcripts(path).transcript(0) == WIPE_OUT
    with pytest.raises(RecordError, match="ply 9: nobody passes but can play nothing"):
        read_transcripts(text_file(tmp_path, WIPE_OUT + "------"))
    with pytest.raises(RecordError, match="ply 9: nobody cannot play a1: the game is over"):
        read_transcripts(text_file(tmp_path, WIPE_OUT + "a1"))


# Files of other programs


def test_a_file_in_utf_16_is_named(shared_cases):
    with pytest.raises(RecordError, match="transcripts_utf16.txt: this is text in UTF-16"):
        read_transcripts(shared_cases / "transcripts_utf16.txt")
