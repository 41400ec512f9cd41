"""Games in PGN: written, they are read back with their tags; bad files are named by line and game."""

import re

import pytest
from game_files import game_with_a_pass, same, some_games, text_file
from hypothesis import given, settings
from hypothesis import strategies as st

from othello_edu.errors import OthelloEduError, RecordError
from othello_edu.games import final_scores, random_games
from othello_edu.pgn import read_pgn, read_pgn_records, write_pgn


@pytest.mark.parametrize("size", [4, 6, 8])
def test_pgn_comes_back_as_it_was_written(tmp_path, size):
    games = some_games(200, board_size=size)
    write_pgn(games, tmp_path / "games.pgn")
    back = read_pgn_records(tmp_path / "games.pgn", size)
    assert same(back.games, games)
    assert same(read_pgn(tmp_path / "games.pgn", size), games)
    scores = final_scores(games)
    finished = scores.sum(axis=1) == size * size
    for header, (black, white), over in zip(back.headers, scores, finished, strict=True):
        assert header["Result"] == (f"{black}-{white}" if over else "*")
    text = (tmp_path / "games.pgn").read_text()
    assert "--" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_written_pgn_numbers_moves_and_shows_passes(tmp_path):
    game, ply = game_with_a_pass()
    write_pgn(game, tmp_path / "game.pgn")
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
    write_pgn(games, path, headers)
    back = read_pgn_records(path)
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
        write_pgn(games, path, headers)
    except OthelloEduError as error:
        assert "tag" in str(error) and not path.exists()
        assert any(unwritable(tags) for tags in headers)
        return
    back = read_pgn_records(path)
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
    file = read_pgn_records(text_file(tmp_path, f"{line}{rest}1. f5 d6 *\n"))
    assert file.headers == ({**tags, "Result": "*"},)
    assert file.games.transcript(0) == "f5d6"


def test_games_that_share_a_line_are_read_one_by_one(tmp_path):
    game = '[Event "a "b" c"] [Result "*"] 1. f5 d6 {see "[this]"} 34-30 '
    file = read_pgn_records(text_file(tmp_path, game * 3))
    assert [file.games.transcript(game) for game in range(3)] == ["f5d6"] * 3
    assert file.headers == ({"Event": 'a "b" c', "Result": "34-30"},) * 3


def test_a_name_in_shift_jis_keeps_its_bytes(tmp_path):
    name = "表ソ能"  # the second byte of each is a backslash
    path = text_file(tmp_path, f'[Black "{name}"]\n[White "x"]\n1. f5 d6 *\n'.encode("shift-jis"))
    file = read_pgn_records(path)
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
    assert read_pgn_records(path).headers == ({"Event": "x", "Result": result},)


def test_pgn_is_read_with_comments_results_and_games_without_tags(tmp_path):
    path = text_file(
        tmp_path,
        '[Event "Club; [friendly] {match}"]\n[Black "A \\"B\\" C"] [White "D\\\\"]\n\n'
        "1. f5 {a [good] start;\n two lines} d6 2.c3 ; the {tiger\nd3 3... c4 0-1\n\n"
        "1. F5 F6 *\n1. f5 f4 40-24\n"
        '[Event "no moves"]\n[Result "1/2-1/2"]\n',
    )
    file = read_pgn_records(path)
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
    assert read_pgn_records(path).headers[0]["Black"] == "Périgord"


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
        read_pgn(path)
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
            write_pgn(games, path, headers)
    assert path.read_text() == "as it was"


def test_a_result_that_is_no_result_stays_in_its_tag(tmp_path):
    write_pgn(random_games(1, 1), tmp_path / "a.pgn", [{"Result": "Black resigned"}])
    assert read_pgn_records(tmp_path / "a.pgn").headers[0]["Result"] == "Black resigned"
    assert (tmp_path / "a.pgn").read_text().rstrip().endswith(" *")


# Files of other programs


def test_pgn_files_of_other_programs_are_read(shared_cases):
    def of(name):
        file = read_pgn_records(shared_cases / f"pgn_{name}.pgn")
        assert len(file.games) == 1 and file.games.transcript(0).startswith("f5d6")
        return file.headers[0]

    quotes = of("unescaped_quotes")
    assert quotes == {"Event": 'Club "Rook" open', "Black": "A", "White": "B", "Result": "*"}
    assert of("tag_no_space") == {"Event": "no space before the quote", "Result": "*"}
    assert of("result_tag_star") == {"Event": "x", "Result": "34-30"}
    assert of("single_backslash") == {"Event": r"C:\games\new", "Result": "*"}
