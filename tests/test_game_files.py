"""Files of games of every kind: their bytes become games that replay, or are refused by name."""

import pytest
from game_files import fuzz, some_games, text_file
from hypothesis import given, settings
from hypothesis import strategies as st

from othello_edu.errors import IllegalMoveError, RecordError
from othello_edu.games import Games, random_games, replay
from othello_edu.pgn import read_pgn, write_pgn
from othello_edu.transcripts import read_transcripts, write_transcripts
from othello_edu.wthor import read_wthor, write_wthor


def test_no_games_are_a_file_without_lines(tmp_path):
    for write, read in (
        (write_transcripts, read_transcripts),
        (write_pgn, read_pgn),
        (write_wthor, read_wthor),
    ):
        write(random_games(0, 1), tmp_path / "none")
        assert len(read(tmp_path / "none")) == 0


@pytest.mark.parametrize("end", ["\x1a", "\n\x1a", "\r\n\x1a\x1a\n", " \n\n"])
def test_a_text_may_end_with_control_z(tmp_path, end):
    assert read_pgn(text_file(tmp_path, f'[Event "x"]\r\n1. f5 d6 *{end}')).transcript(0) == "f5d6"
    assert read_pgn(text_file(tmp_path, f'[Event "x"]{end}')).transcript(0) == ""
    games = read_transcripts(text_file(tmp_path, f"f5d6\r\nf5f6{end}"))
    assert [games.transcript(game) for game in range(len(games))] == ["f5d6", "f5f6"]
    assert len(read_transcripts(text_file(tmp_path, end))) == 0


@pytest.mark.parametrize(
    "text, read",
    [
        ('{"games": ["f5d6c3"]}', read_pgn),
        ("; nothing yet\n{ or\nso }\n\x1a", read_pgn),
        ("# nothing yet\n  # f5d6\n", read_transcripts),
    ],
)
def test_a_file_of_comments_only_is_no_success(tmp_path, text, read):
    with pytest.raises(RecordError, match="club.txt: there are comments in it and no game"):
        read(text_file(tmp_path, text, "club.txt"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("text", ["f5d6", "F5 d6\n", "1. f5 d6 *"])
def test_utf_16_is_named_and_utf_8_is_read(tmp_path, encoding, text):
    path = text_file(tmp_path, text.encode(encoding), "club.txt")
    for read in (read_transcripts, read_pgn):
        if encoding != "utf-8-sig":
            with pytest.raises(RecordError, match="club.txt: .* UTF-16 .* save it as UTF-8"):
                read(path)
        else:
            assert read(path).transcript(0) == "f5d6"


def test_a_game_that_breaks_the_rules_is_never_written(tmp_path):
    moves = random_games(3, 1).moves.copy()
    moves[1, 4] = 0
    games = Games(moves)
    for write in (write_transcripts, write_pgn, write_wthor):
        with pytest.raises(IllegalMoveError, match="game 1, ply 4: "):
            write(games, tmp_path / "games")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "write, read",
    [(write_transcripts, read_transcripts), (write_pgn, read_pgn)],
)
def test_mutated_text_files_give_legal_games_or_a_record_error(tmp_path, write, read):
    write(some_games(5), tmp_path / "fuzz.txt")
    data = (tmp_path / "fuzz.txt").read_bytes()
    read_well, refused = fuzz(tmp_path / "fuzz.txt", read, data, seed=3, times=1200)
    assert read_well > 20 and refused > 500


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([read_wthor, read_pgn, read_transcripts]))
def test_garbage_gives_legal_games_or_a_record_error(tmp_path_factory, data, read):
    path = tmp_path_factory.mktemp("garbage") / "garbage"
    path.write_bytes(data)
    try:
        replay(read(path))
    except RecordError as error:
        assert "garbage" in str(error)


@pytest.mark.parametrize(
    "unit",
    [
        *('"', '"\\', "{", "[", "1", " ", "\n", "[A", '[A "', "\\", "-", "a", "a1", "1-", "*", "; ", "1."),
        *("{}", '"]', '[A "x" ', '[A "x"] y', '[A "\\"] ', '" ', "1 ", "# ", "\x1a"),
    ],
)
def test_a_megabyte_of_one_mark_does_not_keep_a_reader_busy(tmp_path, unit):
    # A pattern that begins again from every character would need hours here, not a moment.
    path = text_file(tmp_path, unit * (1_000_000 // len(unit)))
    for read in (read_pgn, read_transcripts):
        try:
            replay(read(path)[:100])
        except RecordError as error:
            assert "games.txt" in str(error)
