"""Games in files: what is written is read back, real archives are read whole, and damage is named."""

import dataclasses
import random
import re
from datetime import date

import numpy as np
import pytest
import transcript_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from othello_edu import records
from othello_edu.board import Board
from othello_edu.errors import IllegalMoveError, OthelloEduError, RecordError
from othello_edu.games import Games, random_games, replay

# Dots are empty squares; the game ends with them, because white has no disc left.
WIPE_OUT = "e6f4e3f6g5d6e7f5c5"


def some_games(n=40, seed=1, board_size=8):
    """Random games, some of them cut short, one of them before its first move."""
    moves = random_games(n, seed, board_size).moves.copy()
    for game in range(0, n, 5):
        moves[game, game % moves.shape[1] :] = -1
    return Games(moves, board_size)


def same(games, others):
    return np.array_equal(games.moves, others.moves) and games.board_size == others.board_size


def text_file(tmp_path, text, name="games.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Final scores


def test_a_full_board_is_scored_by_its_discs():
    games = random_games(200, seed=3)
    full = games.lengths == 60
    boards = replay(games[full]).boards[:, -1]
    assert full.sum() > 100
    assert np.array_equal(records.final_scores(games[full])[:, 0], (boards == 1).sum(axis=1))


def test_the_winner_is_credited_with_the_empty_squares():
    games = Games.from_transcripts([WIPE_OUT])
    assert games.board(0).is_over and games.board(0).count(1) == 13
    assert records.final_scores(games).tolist() == [[64, 0]]


def test_scores_of_finished_games_fill_the_board_and_of_others_do_not():
    for size in (4, 6, 8):
        games = random_games(60, seed=4, board_size=size)
        scores = records.final_scores(games)
        boards = [games.board(game) for game in range(len(games))]
        assert all(board.is_over for board in boards)
        assert (scores.sum(axis=1) == size * size).all()
        for board, (black, white) in zip(boards, scores, strict=True):
            assert np.sign(black - white) == np.sign(board.count(1) - board.count(2))
            if board.count(1) == board.count(2):
                assert black == white
    halves = Games(games.moves[:, :].copy(), 8)
    halves.moves[:, 20:] = -1
    assert (records.final_scores(halves).sum(axis=1) == 24).all()
    assert records.final_scores(some_games()[:1]).tolist() == [[2, 2]]
    assert records.final_scores(games[:0]).shape == (0, 2)


# Transcripts


@pytest.mark.parametrize("size", [4, 6, 8])
def test_transcripts_come_back_as_they_were_written(tmp_path, size):
    games = some_games(board_size=size)
    records.write_transcripts(games, tmp_path / "games.txt")
    assert same(records.read_transcripts(tmp_path / "games.txt", size), games)
    lines = (tmp_path / "games.txt").read_text().splitlines()
    assert lines == [games.transcript(game) or "-" for game in range(len(games))]


def test_no_games_are_a_file_without_lines(tmp_path):
    for write, read in (
        (records.write_transcripts, records.read_transcripts),
        (records.write_pgn, records.read_pgn),
        (records.write_wthor, records.read_wthor),
    ):
        write(random_games(0, 1), tmp_path / "none")
        assert len(read(tmp_path / "none")) == 0


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
    assert records.read_transcripts(path).transcript(0) == "f5d6c3d3c4"
    assert len(records.read_transcripts(path)) == 1


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
        assert same(records.read_transcripts(text_file(tmp_path, f"\n{text}\n"), size), games)
    if not set("#;") & set(text):  # comments are written in another way in PGN
        assert same(records.read_pgn(text_file(tmp_path, f'[Event "x"]\n{text}\n'), size), games)


@pytest.mark.parametrize("text, size, ply", transcript_cases.REFUSED)
def test_a_text_that_is_no_game_is_refused(tmp_path, text, size, ply):
    with pytest.raises(OthelloEduError, match=f"^game 0, ply {ply}: "):
        Games.from_transcripts([text], size)
    with pytest.raises(OthelloEduError):
        Board.from_moves(text, size)
    if is_a_line(text):
        with pytest.raises(RecordError, match=rf"games.txt: line 2 \(game 0\), ply {ply}: "):
            records.read_transcripts(text_file(tmp_path, f"\n{text}\n-", "games.txt"), size)


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
        records.read_transcripts(path)
    assert "club.txt: line 3 (game 1)" in str(error.value)
    assert message in str(error.value)


def test_an_illegal_move_shows_its_square_and_the_board(tmp_path):
    path = text_file(tmp_path, "f5d6c3\n\nf5d6a1\n", "club.txt")
    with pytest.raises(RecordError) as error:
        records.read_transcripts(path)
    assert "club.txt: line 3 (game 1), ply 2: black cannot play a1" in str(error.value)
    assert "\n5 . . · O X X . .\n" in str(error.value)
    assert "black to move" in str(error.value)


def test_a_move_outside_a_small_board_is_refused(tmp_path):
    path = text_file(tmp_path, "e6f4g4a1")
    with pytest.raises(RecordError, match=r"ply \d: .* cannot play"):
        records.read_transcripts(path, board_size=6)
    with pytest.raises(OthelloEduError, match="board_size is 5"):
        records.read_transcripts(path, board_size=5)


def game_with_a_pass(seed=0, board_size=8):
    """One game, the ply before which a player had to pass, and nobody did earlier."""
    games = random_games(200, seed, board_size)
    to_move = replay(games).to_move
    previous = np.concatenate([np.ones((len(games), 1), np.int8), to_move[:, :-2]], axis=1)
    passed = (to_move[:, :-1] == previous) & (to_move[:, :-1] > 0)
    game = int(np.argmax(passed.any(axis=1)))
    return games[game], int(np.argmax(passed[game])) + 1


@pytest.mark.parametrize("word", ["--", "pa", "PASS", "ps"])
def test_a_forced_pass_may_be_written_or_left_out(tmp_path, word):
    game, ply = game_with_a_pass()
    moves = game.transcript(0)
    path = text_file(tmp_path, f"{moves}\n{moves[: 2 * ply]} {word} {moves[2 * ply :]}\n")
    assert same(records.read_transcripts(path), game[[0, 0]])
    path = text_file(tmp_path, f"{moves[: 2 * ply]} {word} {word} {moves[2 * ply :]}\n")
    with pytest.raises(RecordError, match=f"ply {ply}: .* passes but can play"):
        records.read_transcripts(path)


def test_both_players_may_be_said_to_pass_at_the_end_but_not_thrice(tmp_path):
    for passes in ("", " --", " -- pa"):
        path = text_file(tmp_path, WIPE_OUT + passes)
        assert records.read_transcripts(path).transcript(0) == WIPE_OUT
    with pytest.raises(RecordError, match="ply 9: nobody passes but can play nothing"):
        records.read_transcripts(text_file(tmp_path, WIPE_OUT + "------"))
    with pytest.raises(RecordError, match="ply 9: nobody cannot play a1: the game is over"):
        records.read_transcripts(text_file(tmp_path, WIPE_OUT + "a1"))


# PGN


@pytest.mark.parametrize("size", [4, 6, 8])
def test_pgn_comes_back_as_it_was_written(tmp_path, size):
    games = some_games(200, board_size=size)
    records.write_pgn(games, tmp_path / "games.pgn")
    back = records.read_pgn_records(tmp_path / "games.pgn", size)
    assert same(back.games, games)
    assert same(records.read_pgn(tmp_path / "games.pgn", size), games)
    scores = records.final_scores(games)
    finished = scores.sum(axis=1) == size * size
    for header, (black, white), over in zip(back.headers, scores, finished, strict=True):
        assert header["Result"] == (f"{black}-{white}" if over else "*")
    text = (tmp_path / "games.pgn").read_text()
    assert "--" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_written_pgn_numbers_moves_and_shows_passes(tmp_path):
    game, ply = game_with_a_pass()
    records.write_pgn(game, tmp_path / "game.pgn")
    words = (tmp_path / "game.pgn").read_text().split("\n\n")[1].split()[:-1]
    numbers, turns = words[::3], [word for word in words if not word.endswith(".")]
    assert numbers == [f"{number}." for number in range(1, len(numbers) + 1)]
    assert turns.index("--") == ply
    assert "".join(word for word in turns if word != "--") == game.transcript(0)


line_of_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
word = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True).filter(lambda name: name not in ("FEN", "Result"))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(word, line_of_text, max_size=4), min_size=1, max_size=4))
def test_tags_of_any_text_come_back(tmp_path_factory, headers):
    path = tmp_path_factory.mktemp("pgn") / "tags.pgn"
    games = some_games(len(headers), seed=2)
    records.write_pgn(games, path, headers)
    back = records.read_pgn_records(path)
    assert same(back.games, games)
    for written, read in zip(headers, back.headers, strict=True):
        assert {**read, **written} == read
        assert set(read) == {"Event", "Site", "Date", "Round", "Black", "White", "Result", *written}


# Names with quotes, backslashes, line breaks, brackets, and characters of every other kind.
odd_marks = st.sampled_from('"\\[]{};#%*-:. \t\x0b\x1a\x85\u2028\0\ufeffaé1')
odd_line = st.text(odd_marks | st.characters(exclude_categories=["Cs"]), max_size=20)
odd_value = odd_line | st.sampled_from(["34-30", "*", "?", "a\nb", "a\r", "\n", "\ud800", "a\udfff"])
odd_name = st.sampled_from(["Event", "EVENT", "black", "Result", "result", "a-b:c", "-", "é", "Site", "x1"])
no_name = st.sampled_from(["FEN", "fen", "", "two words", 'x"', "x\n", "[", 7, None])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(odd_name, odd_line, max_size=3), min_size=1, max_size=2)
    | st.lists(st.dictionaries(odd_name | no_name | odd_line, odd_value, max_size=4), min_size=1, max_size=3)
)
def test_what_write_pgn_writes_read_pgn_reads_and_the_rest_it_refuses(tmp_path_factory, headers):
    path = tmp_path_factory.mktemp("pgn") / "tags.pgn"
    games = some_games(len(headers), seed=2)
    try:
        records.write_pgn(games, path, headers)
    except OthelloEduError as error:
        assert "tag" in str(error) and not path.exists()
        assert any(unwritable(tags) for tags in headers)
        return
    back = records.read_pgn_records(path)
    assert same(back.games, games) and not any(unwritable(tags) for tags in headers)
    for written, read in zip(headers, back.headers, strict=True):
        read = {name.casefold(): value for name, value in read.items()}
        for name, value in written.items():
            assert read[name.casefold()] == value


def unwritable(tags):
    """Whether a tag is no tag, or there twice, or asks for another start."""
    names = [str(name).casefold() for name in tags]
    return (
        len(set(names)) < len(names)
        or "fen" in names
        or not all(isinstance(name, str) and re.fullmatch(r"[\w:-]+", name) for name in tags)
        or any(re.search("[\n\r\ud800-\udfff]", value) for value in tags.values())
    )


@pytest.mark.parametrize(
    "line, tags",
    [
        ('[Event "Club "Rook" open"]', {"Event": 'Club "Rook" open'}),
        ('[Event "a "b"] c"]', {"Event": 'a "b"] c'}),
        ('[Event "Open "A"] [B"]', {"Event": 'Open "A"] [B'}),
        ('[Event "Rook; {open} "x" [y]"]', {"Event": 'Rook; {open} "x" [y]'}),
        ('[Event "A"] 2001-02 "B"]', {"Event": 'A"] 2001-02 "B'}),
        ('[Event "A"] 1. Liga "B"]', {"Event": 'A"] 1. Liga "B'}),
        ('[Event ""Rook""]', {"Event": '"Rook"'}),
        ('[Event """]', {"Event": '"'}),
        ('[Event ""]', {"Event": ""}),
        ('[Event "a"] [Site "b"][Round "1"]', {"Event": "a", "Site": "b", "Round": "1"}),
        ('[Event "a "b" c"] [Site "d"]', {"Event": 'a "b" c', "Site": "d"}),
        (r'[Event "say \"[a]\" \\"] [Site "b"]', {"Event": 'say "[a]" \\', "Site": "b"}),
        ('[Event"a"]', {"Event": "a"}),
        ('[ Event\t"a" ]  ', {"Event": "a"}),
        ('[Event\n"a"\n]', {"Event": "a"}),
        ('[White-Elo "1"]\n[x:y_z"2"]', {"White-Elo": "1", "x:y_z": "2"}),
        (r'[Event "C:\games\new"]', {"Event": r"C:\games\new"}),
        (r'[Event "a\\b \"c\" \d"]', {"Event": r'a\b "c" \d'}),
        (r'[Black "x\"]', {"Black": "x\\"}),
        (r'[Black "x\"] [White "y\"]', {"Black": "x\\", "White": "y\\"}),
        ('[BLACK "a"]\n[white "b"]\n[Opening "c"]', {"Black": "a", "White": "b", "Opening": "c"}),
    ],
)
@pytest.mark.parametrize("rest", ["\n", "\r\n\r\n", " "])
def test_tags_are_read_as_programs_write_them(tmp_path, line, tags, rest):
    file = records.read_pgn_records(text_file(tmp_path, f"{line}{rest}1. f5 d6 *\n"))
    assert file.headers == ({**tags, "Result": "*"},)
    assert file.games.transcript(0) == "f5d6"


def test_games_that_share_a_line_are_read_one_by_one(tmp_path):
    one = '[Event "a "b" c"] [Result "*"] 1. f5 d6 {see "[this]"} 34-30 '
    file = records.read_pgn_records(text_file(tmp_path, one * 3))
    assert [file.games.transcript(game) for game in range(3)] == ["f5d6"] * 3
    assert file.headers == ({"Event": 'a "b" c', "Result": "34-30"},) * 3


def test_a_name_in_shift_jis_keeps_its_bytes(tmp_path):
    name = "表ソ能"  # the second byte of each is a backslash
    path = text_file(tmp_path, f'[Black "{name}"]\n[White "x"]\n1. f5 d6 *\n'.encode("shift-jis"))
    file = records.read_pgn_records(path)
    assert file.headers[0]["Black"].encode("latin-1").decode("shift-jis") == name
    assert file.headers[0]["White"] == "x" and file.games.transcript(0) == "f5d6"


@pytest.mark.parametrize(
    "tag, behind, result",
    [
        ("*", "34-30", "34-30"),
        ("?", "1/2-1/2", "1/2-1/2"),
        ("", "0-1", "0-1"),
        ("?", "*", "?"),
        ("*", "", "*"),
        ("1-0", "34-30", "1-0"),
        ("1-0", "*", "1-0"),
        ("Black resigned", "34-30", "Black resigned"),
    ],
)
@pytest.mark.parametrize("name", ["Result", "RESULT"])
def test_a_score_behind_the_moves_counts_where_the_tag_knows_none(tmp_path, name, tag, behind, result):
    path = text_file(tmp_path, f'[Event "x"]\n[{name} "{tag}"]\n1. f5 d6 {behind}\n')
    assert records.read_pgn_records(path).headers == ({"Event": "x", "Result": result},)


@pytest.mark.parametrize("end", ["\x1a", "\n\x1a", "\r\n\x1a\x1a\n", " \n\n"])
def test_a_text_may_end_with_control_z(tmp_path, end):
    assert records.read_pgn(text_file(tmp_path, f'[Event "x"]\r\n1. f5 d6 *{end}')).transcript(0) == "f5d6"
    assert records.read_pgn(text_file(tmp_path, f'[Event "x"]{end}')).transcript(0) == ""
    games = records.read_transcripts(text_file(tmp_path, f"f5d6\r\nf5f6{end}"))
    assert [games.transcript(game) for game in range(len(games))] == ["f5d6", "f5f6"]
    assert len(records.read_transcripts(text_file(tmp_path, end))) == 0


@pytest.mark.parametrize(
    "text, read",
    [
        ('{"games": ["f5d6c3"]}', records.read_pgn),
        ("; nothing yet\n{ or\nso }\n\x1a", records.read_pgn),
        ("# nothing yet\n  # f5d6\n", records.read_transcripts),
    ],
)
def test_a_file_of_comments_only_is_no_success(tmp_path, text, read):
    with pytest.raises(RecordError, match="club.txt: there are comments in it and no game"):
        read(text_file(tmp_path, text, "club.txt"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("text", ["f5d6", "F5 d6\n", "1. f5 d6 *"])
def test_utf_16_is_named_and_utf_8_is_read(tmp_path, encoding, text):
    path = text_file(tmp_path, text.encode(encoding), "club.txt")
    for read in (records.read_transcripts, records.read_pgn):
        if encoding != "utf-8-sig":
            with pytest.raises(RecordError, match="club.txt: .* UTF-16 .* save it as UTF-8"):
                read(path)
        else:
            assert read(path).transcript(0) == "f5d6"


def test_pgn_is_read_with_comments_results_and_games_without_tags(tmp_path):
    path = text_file(
        tmp_path,
        '[Event "Club; [friendly] {match}"]\n[Black "A \\"B\\" C"] [White "D\\\\"]\n\n'
        "1. f5 {a [good] start;\n two lines} d6 2.c3 ; the {tiger\nd3 3... c4 0-1\n\n"
        "1. F5 F6 *\n1. f5 f4 40-24\n"
        '[Event "no moves"]\n[Result "1/2-1/2"]\n',
    )
    file = records.read_pgn_records(path)
    assert [file.games.transcript(game) for game in range(4)] == ["f5d6c3d3c4", "f5f6", "f5f4", ""]
    assert file.headers[0] == {
        "Event": "Club; [friendly] {match}",
        "Black": 'A "B" C',
        "White": "D\\",
        "Result": "0-1",
    }
    assert file.headers[1:] == (
        {"Result": "*"},
        {"Result": "40-24"},
        {"Event": "no moves", "Result": "1/2-1/2"},
    )


def test_a_pgn_file_in_latin_1_is_read(tmp_path):
    path = text_file(tmp_path, '[Black "Périgord"]\n1. f5 d6 *\n'.encode("latin-1"))
    assert records.read_pgn_records(path).headers[0]["Black"] == "Périgord"


@pytest.mark.parametrize(
    "text, message",
    [
        (
            '[Event "one"]\n1. f5 d6 1-0\n\n[Event "two"]\n1. f5 a1 0-1',
            "line 4 (game 1), ply 1: white cannot play a1",
        ),
        ("1. f5 d6 *\n\n1. f5 d3 *", "line 3 (game 1), ply 1: white cannot play d3"),
        ('[Event "one"]\n[Event one]\n1. f5', "line 2: '[Event one]' is not a tag"),
        ('[Event "one', "line 1: '[Event \"one' is not a tag"),
        ('[Event "one"]\n[Event "two"]\n', "line 1 (game 0) has the tag Event twice"),
        ('[FEN "x"]\n1. f5', "line 1 (game 0) has a tag FEN"),
        ('[Event "x"]\n[fen "x"]\n1. f5', "line 1 (game 0) has a tag FEN"),
        ('1. f5 *\n[Opening "x"]\n{a}\n[OPENING "x"]\n', "line 2 (game 1) has the tag OPENING twice"),
        ('[Event "x"] y\n1. f5', "line 1 (game 0), ply 0: 'y' is neither"),
        ('[Event "x" y]\n1. f5', "line 1: '[Event \"x\" y]' is not a tag"),
        ('[Event "x"]\n1. f5 {a\n[Event "y"]\n', "line 1 (game 0), ply 1: '{a' is neither"),
        ("; a\n{b\nc} 1. f5 d6 * ; d\n\n1. f5 a1", "line 5 (game 1), ply 1: white cannot play a1"),
        ("1. f5 {never closed", "ply 1: '{never' is neither"),
        ("1. f5 (d6) f6", "ply 1: '(d6)' is neither"),
        ("1. f5 -- 2. d6", "ply 1: white passes but can play"),
        ("1. f5 *\n\n1. f5 # d6", "line 3 (game 1): '#' is neither"),
        ("1. f5 Nf6", "ply 1: 'nf6' is neither"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is neither"),
    ],
)
def test_a_bad_pgn_file_is_named_by_line_and_game(tmp_path, text, message):
    path = text_file(tmp_path, text, "club.pgn")
    with pytest.raises(RecordError) as error:
        records.read_pgn(path)
    assert "club.pgn: line" in str(error.value)
    assert message in str(error.value)


def test_tags_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    path = text_file(tmp_path, "as it was", "games.pgn")
    games = random_games(2, 1)
    for headers, message in [
        ([{}], "headers has tags for 1 games; there are 2"),
        ([{}, {"Black": "two\nlines"}], "game 1, tag 'Black'"),
        ([{"two words": ""}, {}], "game 0, tag 'two words'"),
        ([{}, {"Black": "\udc80"}], "game 1, tag 'Black'"),
        ([{}, {"Fen": "x"}], "game 1 has a tag FEN"),
        ([{"black": "x", "Black": "y"}, {}], "game 0 has the tag Black twice"),
        (7, "headers must be a list of mappings, not int"),
        ([{}, None], "game 1: its tags are a mapping"),
        ([{}, "Black"], "game 1: its tags are a mapping"),
        ([{7: "x"}, {}], "game 0, tag 7"),
    ]:
        with pytest.raises(OthelloEduError, match=message):
            records.write_pgn(games, path, headers)
    assert path.read_text() == "as it was"


def test_a_result_that_is_no_result_stays_in_its_tag(tmp_path):
    records.write_pgn(random_games(1, 1), tmp_path / "a.pgn", [{"Result": "Black resigned"}])
    assert records.read_pgn_records(tmp_path / "a.pgn").headers[0]["Result"] == "Black resigned"
    assert (tmp_path / "a.pgn").read_text().rstrip().endswith(" *")


# WTHOR


def wthor_file(n=12, seed=1):
    games, rng = some_games(n, seed), np.random.default_rng(seed)
    return records.WthorFile(
        games=games,
        year=1999,
        created=date(2005, 10, 8),
        players=rng.integers(0, 65536, (n, 2)),
        tournaments=rng.integers(0, 65536, n),
        black_discs=records.final_scores(games)[:, 0],
        theoretical=rng.integers(0, 65, n),
        theoretical_empties=24,
        solitaire=1,
    )


def test_wthor_records_come_back_as_they_were_written(tmp_path):
    file = wthor_file()
    records.write_wthor_records(file, tmp_path / "a.wtb")
    back = records.read_wthor_records(tmp_path / "a.wtb")
    assert len(back) == len(file) and same(back.games, file.games)
    for field in dataclasses.fields(file):
        if field.name != "games":
            assert np.array_equal(getattr(back, field.name), getattr(file, field.name)), field.name
    assert (tmp_path / "a.wtb").stat().st_size == 16 + 68 * len(file)


def test_plain_games_are_written_with_their_scores(tmp_path):
    games = random_games(50, 7)
    records.write_wthor(games, tmp_path / "a.wtb", year=2024)
    back = records.read_wthor_records(tmp_path / "a.wtb")
    assert back.year == 2024 and back.created is None
    assert same(back.games, games) and same(records.read_wthor(tmp_path / "a.wtb"), games)
    assert np.array_equal(back.black_discs, records.final_scores(games)[:, 0])


def test_only_games_on_8x8_fit_wthor(tmp_path):
    with pytest.raises(OthelloEduError, match="these are on 6x6"):
        records.write_wthor(random_games(2, 1, board_size=6), tmp_path / "a.wtb")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"players": np.zeros(12, int)}, r"players is int64 \(12,\); it must be integers \(12, 2\)"),
        ({"players": np.zeros((12, 2))}, "players is float64"),
        ({"tournaments": np.full(12, 65536)}, r"tournaments must lie in 0\.\.65535"),
        ({"black_discs": np.full(12, 65)}, r"black_discs must lie in 0\.\.64"),
        ({"theoretical": np.full(12, -1)}, r"theoretical must lie in 0\.\.255"),
        ({"year": 70000}, "year is 70000"),
        ({"theoretical_empties": -1}, "theoretical_empties is -1"),
        ({"solitaire": 256}, r"solitaire is 256; it must lie in 0\.\.255"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(OthelloEduError, match=message):
        records.write_wthor_records(dataclasses.replace(wthor_file(), **change), tmp_path / "a.wtb")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def wthor_bytes(tmp_path):
    records.write_wthor_records(wthor_file(), tmp_path / "good.wtb")
    return (tmp_path / "good.wtb").read_bytes()


def damaged(data, at, value):
    return data[:at] + bytes([value]) + data[at + 1 :]


def test_every_truncation_is_refused_with_the_record_at_which_it_ends(tmp_path, wthor_bytes):
    for length in range(len(wthor_bytes)):
        path = text_file(tmp_path, wthor_bytes[:length], "short.wtb")
        with pytest.raises(RecordError, match="short.wtb") as error:
            records.read_wthor(path)
        if length >= 16:
            assert f"within record {(length - 16) // 68} " in str(error.value)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: b"", "header of 16 bytes; this file has 0"),
        (lambda data: data + b"\0", "1 bytes follow the last of the 12 records"),
        (lambda data: data + data[16:84], "68 bytes follow the last of the 12 records"),
        (lambda data: damaged(data, 12, 10), "10x10 board; only 8x8"),
        (lambda data: damaged(data, 7, 255), "the header announces 4278190092 records"),
        (lambda data: damaged(data, 16 + 68 + 6, 65), "record 1: black has 65 discs"),
        (lambda data: damaged(data, 16 + 68 + 8 + 5, 99), "record 1, ply 5: byte 99 is no square"),
        (lambda data: damaged(data, 16 + 68 + 8 + 5, 0), "record 1, ply 6: byte .* is a move after the end"),
        (
            lambda data: damaged(data, 16 + 2 * 68 + 8, 11),
            r"record 2, ply 0: black cannot play a1.*\n.*a b c d",
        ),
    ],
)
def test_damage_to_a_wthor_file_is_named_by_record_and_ply(tmp_path, wthor_bytes, damage, message):
    path = text_file(tmp_path, damage(wthor_bytes), "bad.wtb")
    with pytest.raises(RecordError, match=f"bad.wtb: .*{message}"):
        records.read_wthor(path)


def test_another_board_is_named_whatever_the_length_of_the_file(tmp_path):
    for size, n_moves in ((10, 96), (6, 32)):
        data = bytes([20, 1, 1, 1, 3, 0, 0, 0, 0, 0, 0xD1, 7, size, 0, 0, 0]) + bytes(3 * (8 + n_moves))
        for length in (16, len(data) - 1, len(data)):
            with pytest.raises(RecordError, match=f"big.wtb: games on a {size}x{size} board; only 8x8"):
                records.read_wthor(text_file(tmp_path, data[:length], "big.wtb"))


def test_board_size_0_means_8x8_and_a_date_that_is_none_is_none(tmp_path, wthor_bytes):
    data = damaged(damaged(wthor_bytes, 12, 0), 2, 13)
    back = records.read_wthor_records(text_file(tmp_path, data))
    assert back.created is None and same(back.games, wthor_file().games)


def test_a_game_that_breaks_the_rules_is_never_written(tmp_path):
    moves = random_games(3, 1).moves.copy()
    moves[1, 4] = 0
    games = Games(moves)
    for write in (records.write_transcripts, records.write_pgn, records.write_wthor):
        with pytest.raises(IllegalMoveError, match="game 1, ply 4: "):
            write(games, tmp_path / "games")
    assert list(tmp_path.iterdir()) == []


def names_file(names, length):
    header = bytes(8) + len(names).to_bytes(2, "little") + bytes(6)
    return header + b"".join(name.encode("latin-1").ljust(length, b"\0") for name in names)


def test_names_of_players_and_tournaments_are_read(tmp_path):
    names = ["???", "Préqualif de Périgny", "x" * 20]
    assert records.read_wthor_names(text_file(tmp_path, names_file(names, 26), "a.TRN")) == names
    assert (
        records.read_wthor_names(text_file(tmp_path, names_file(names[:1] * 3, 20), "a.jou")) == names[:1] * 3
    )
    with pytest.raises(
        RecordError, match="a.jou: the header announces 3 records, but the file ends within record 2"
    ):
        records.read_wthor_names(text_file(tmp_path, names_file(names[:1] * 3, 20)[:-1], "a.jou"))
    with pytest.raises(RecordError, match="a.txt: names of players are in .JOU files"):
        records.read_wthor_names(tmp_path / "a.txt")


# Files of the kinds that are in use


@pytest.fixture(scope="module")
def cases(shared_data):
    if not (shared_data.parent / "cases").is_dir():
        pytest.skip("no folder shared/cases beside the repository")
    return shared_data.parent / "cases"


def test_pgn_files_of_other_programs_are_read(cases):
    def of(name):
        file = records.read_pgn_records(cases / f"pgn_{name}.pgn")
        assert len(file.games) == 1 and file.games.transcript(0).startswith("f5d6")
        return file.headers[0]

    quotes = of("unescaped_quotes")
    assert quotes == {"Event": 'Club "Rook" open', "Black": "A", "White": "B", "Result": "*"}
    assert of("tag_no_space") == {"Event": "no space before the quote", "Result": "*"}
    assert of("result_tag_star") == {"Event": "x", "Result": "34-30"}
    assert of("single_backslash") == {"Event": r"C:\games\new", "Result": "*"}


def test_a_file_in_utf_16_is_named(cases):
    with pytest.raises(RecordError, match="transcripts_utf16.txt: this is text in UTF-16"):
        records.read_transcripts(cases / "transcripts_utf16.txt")


def test_wthor_files_of_other_kinds_are_named_or_kept(cases, tmp_path):
    with pytest.raises(RecordError, match="wthor_10x10.wtb: games on a 10x10 board"):
        records.read_wthor(cases / "wthor_10x10.wtb")
    file = records.read_wthor_records(cases / "wthor_solitaire_flag.wtb")
    assert file.solitaire == 1 and len(file) == 3
    records.write_wthor_records(file, tmp_path / "back.wtb")
    back, data = (tmp_path / "back.wtb").read_bytes(), (cases / "wthor_solitaire_flag.wtb").read_bytes()
    assert back[13] == data[13] == 1 and back[16:] == data[16:]


# The archive of human games


@pytest.fixture(scope="module")
def folder(shared_data):
    if not (shared_data / "wthor").is_dir():
        pytest.skip("no folder shared/data/wthor beside the repository")
    return shared_data / "wthor"


@pytest.fixture(scope="module")
def archive(folder):
    return [records.read_wthor_records(path) for path in sorted(folder.glob("*.wtb"))]


def test_every_game_of_the_archive_replays_and_its_score_agrees(archive):
    counts = {"games": 0, "truncated": 0, "disagree": 0, "credited": 0}
    for file in archive:
        scores = records.final_scores(file.games)
        complete = scores.sum(axis=1) == 64
        positions = replay(file.games)  # raises if a single move is illegal
        last = positions.boards[np.arange(len(file)), file.games.lengths - 1]
        discs = (last == 1).sum(axis=1)
        counts["games"] += len(file)
        counts["truncated"] += int((~complete).sum())
        counts["disagree"] += int((scores[:, 0] != file.black_discs)[complete].sum())
        counts["credited"] += int((discs != file.black_discs)[complete].sum())
    assert counts == {"games": 60604, "truncated": 380, "disagree": 0, "credited": 1439}


def test_the_archive_is_written_back_byte_for_byte(folder, archive, tmp_path):
    paths = sorted(folder.glob("*.wtb"))
    assert [file.year for file in archive] == [int(path.stem[-4:]) for path in paths]
    for file, path in zip(archive, paths, strict=True):
        records.write_wthor_records(file, tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_players_and_tournaments_of_the_archive_have_names(folder, archive):
    players = records.read_wthor_names(folder / "WTHOR.JOU")
    tournaments = records.read_wthor_names(folder / "WTHOR.TRN")
    assert players[1] == "Tastet Marc" and tournaments[1] == "World Championship"
    assert "Championnat de Suède" in tournaments
    assert max(file.players.max() for file in archive) < len(players)
    assert max(file.tournaments.max() for file in archive) < len(tournaments)


def test_human_games_survive_every_text_format(archive, tmp_path):
    games = archive[8].games
    assert len(games) > 500
    records.write_transcripts(games, tmp_path / "a.txt")
    records.write_pgn(games, tmp_path / "a.pgn")
    assert same(records.read_transcripts(tmp_path / "a.txt"), games)
    assert same(records.read_pgn(tmp_path / "a.pgn"), games)


# Fuzzing: whatever the bytes, either games that replay, or a RecordError


def mutated(data, rng):
    """One to four changes: a byte set, a bit flipped, a stretch removed, doubled or filled with junk."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        stretch = slice(at, at + rng.choice([1, 2, 3, 16, 68, 500]))
        change = rng.choice([0, 0, 1, 1, 2, 3, 4])  # a changed byte keeps the file's length
        if change == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif change == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif change == 2:
            del data[stretch]
        elif change == 3:
            data[at:at] = data[stretch]
        else:
            data[at:at] = bytes(
                rng.choice(b'[]{};"\\\n\t #-.*0189afhp\x00\xff\xc3') for _ in range(rng.randrange(30))
            )
    return bytes(data)


def fuzz(path, read, data, seed, times):
    rng, read_well, refused = random.Random(seed), 0, 0
    for _ in range(times):
        path.write_bytes(mutated(data, rng))
        try:
            games = read(path)
        except RecordError as error:
            assert path.name in str(error)
            refused += 1
        else:
            replay(games)  # raises if a single move is illegal
            read_well += 1
    return read_well, refused


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_wthor_files_give_legal_games_or_a_record_error(tmp_path, wthor_bytes, seed):
    read_well, refused = fuzz(tmp_path / "fuzz.wtb", records.read_wthor, wthor_bytes, seed, 1500)
    assert read_well > 20 and refused > 500


@pytest.mark.parametrize(
    "write, read",
    [(records.write_transcripts, records.read_transcripts), (records.write_pgn, records.read_pgn)],
)
def test_mutated_text_files_give_legal_games_or_a_record_error(tmp_path, write, read):
    write(some_games(5), tmp_path / "fuzz.txt")
    data = (tmp_path / "fuzz.txt").read_bytes()
    read_well, refused = fuzz(tmp_path / "fuzz.txt", read, data, seed=3, times=1200)
    assert read_well > 20 and refused > 500


def test_mutated_lists_of_names_are_read_or_refused(tmp_path):
    path, rng, refused = tmp_path / "fuzz.jou", random.Random(4), 0
    for _ in range(500):
        path.write_bytes(mutated(names_file(["Tastet Marc"] * 5, 20), rng))
        try:
            assert all(isinstance(name, str) and len(name) <= 20 for name in records.read_wthor_names(path))
        except RecordError:
            refused += 1
    assert 0 < refused < 500


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([records.read_wthor, records.read_pgn, records.read_transcripts])
)
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
    for read in (records.read_pgn, records.read_transcripts):
        try:
            replay(read(path)[:100])
        except RecordError as error:
            assert "games.txt" in str(error)
