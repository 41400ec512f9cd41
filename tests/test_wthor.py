"""Games in WTHOR: the real archive is read whole and written back, and damage is named."""

import dataclasses
import random
from datetime import date

import numpy as np
import pytest
from game_files import damaged, fuzz, mutated, same, some_games, text_file

from othello_edu.errors import OthelloEduError, RecordError
from othello_edu.games import final_scores, random_games, replay
from othello_edu.pgn import read_pgn, write_pgn
from othello_edu.transcripts import read_transcripts, write_transcripts
from othello_edu.wthor import (
    WthorFile,
    read_wthor,
    read_wthor_names,
    read_wthor_records,
    write_wthor,
    write_wthor_records,
)


def wthor_file(n=12, seed=1):
    games, rng = some_games(n, seed), np.random.default_rng(seed)
    return WthorFile(
        games=games,
        year=1999,
        created=date(2005, 10, 8),
        players=rng.integers(0, 65536, (n, 2)),
        tournaments=rng.integers(0, 65536, n),
        black_discs=final_scores(games)[:, 0],
        theoretical=rng.integers(0, 65, n),
        theoretical_empties=24,
        solitaire=1,
    )


def test_wthor_records_come_back_as_they_were_written(tmp_path):
    file = wthor_file()
    write_wthor_records(file, tmp_path / "a.wtb")
    back = read_wthor_records(tmp_path / "a.wtb")
    assert len(back) == len(file) and same(back.games, file.games)
    for field in dataclasses.fields(file):
        if field.name != "games":
            assert np.array_equal(getattr(back, field.name), getattr(file, field.name)), field.name
    assert (tmp_path / "a.wtb").stat().st_size == 16 + 68 * len(file)


def test_plain_games_are_written_with_their_scores(tmp_path):
    games = random_games(50, 7)
    write_wthor(games, tmp_path / "a.wtb", year=2024)
    back = read_wthor_records(tmp_path / "a.wtb")
    assert back.year == 2024 and back.created is None
    assert same(back.games, games) and same(read_wthor(tmp_path / "a.wtb"), games)
    assert np.array_equal(back.black_discs, final_scores(games)[:, 0])


def test_only_games_on_8x8_fit_wthor(tmp_path):
    with pytest.raises(OthelloEduError, match="these are on 6x6"):
        write_wthor(random_games(2, 1, board_size=6), tmp_path / "a.wtb")


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
        write_wthor_records(dataclasses.replace(wthor_file(), **change), tmp_path / "a.wtb")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def wthor_bytes(tmp_path):
    write_wthor_records(wthor_file(), tmp_path / "good.wtb")
    return (tmp_path / "good.wtb").read_bytes()


def test_every_truncation_is_refused_with_the_record_at_which_it_ends(tmp_path, wthor_bytes):
    for length in range(len(wthor_bytes)):
        path = text_file(tmp_path, wthor_bytes[:length], "short.wtb")
        with pytest.raises(RecordError, match="short.wtb") as error:
            read_wthor(path)
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
        read_wthor(path)


def test_another_board_is_named_whatever_the_length_of_the_file(tmp_path):
    for size, n_moves in ((10, 96), (6, 32)):
        data = bytes([20, 1, 1, 1, 3, 0, 0, 0, 0, 0, 0xD1, 7, size, 0, 0, 0]) + bytes(3 * (8 + n_moves))
        for length in (16, len(data) - 1, len(data)):
            with pytest.raises(RecordError, match=f"big.wtb: games on a {size}x{size} board; only 8x8"):
                read_wthor(text_file(tmp_path, data[:length], "big.wtb"))


def test_board_size_0_means_8x8_and_a_date_that_is_none_is_none(tmp_path, wthor_bytes):
    data = damaged(damaged(wthor_bytes, 12, 0), 2, 13)
    back = read_wthor_records(text_file(tmp_path, data))
    assert back.created is None and same(back.games, wthor_file().games)


def names_file(names, length):
    header = bytes(8) + len(names).to_bytes(2, "little") + bytes(6)
    return header + b"".join(name.encode("latin-1").ljust(length, b"\0") for name in names)


def test_names_of_players_and_tournaments_are_read(tmp_path):
    names = ["???", "Préqualif de Périgny", "x" * 20]
    assert read_wthor_names(text_file(tmp_path, names_file(names, 26), "a.TRN")) == names
    assert read_wthor_names(text_file(tmp_path, names_file(names[:1] * 3, 20), "a.jou")) == names[:1] * 3
    with pytest.raises(
        RecordError, match="a.jou: the header announces 3 records, but the file ends within record 2"
    ):
        read_wthor_names(text_file(tmp_path, names_file(names[:1] * 3, 20)[:-1], "a.jou"))
    with pytest.raises(RecordError, match="a.txt: names of players are in .JOU files"):
        read_wthor_names(tmp_path / "a.txt")


# Files of other programs


def test_wthor_files_of_other_kinds_are_named_or_kept(shared_cases, tmp_path):
    with pytest.raises(RecordError, match="wthor_10x10.wtb: games on a 10x10 board"):
        read_wthor(shared_cases / "wthor_10x10.wtb")
    file = read_wthor_records(shared_cases / "wthor_solitaire_flag.wtb")
    assert file.solitaire == 1 and len(file) == 3
    write_wthor_records(file, tmp_path / "back.wtb")
    back, data = (
        (tmp_path / "back.wtb").read_bytes(),
        (shared_cases / "wthor_solitaire_flag.wtb").read_bytes(),
    )
    assert back[13] == data[13] == 1 and back[16:] == data[16:]


# The archive of human games


@pytest.fixture(scope="module")
def folder(shared_data):
    if not (shared_data / "wthor").is_dir():
        pytest.skip("no folder shared/data/wthor beside the repository")
    return shared_data / "wthor"


@pytest.fixture(scope="module")
def archive(folder):
    return [read_wthor_records(path) for path in sorted(folder.glob("*.wtb"))]


def test_every_game_of_the_archive_replays_and_its_score_agrees(archive):
    counts = {"games": 0, "truncated": 0, "disagree": 0, "credited": 0}
    for file in archive:
        scores = final_scores(file.games)
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
        write_wthor_records(file, tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_players_and_tournaments_of_the_archive_have_names(folder, archive):
    players = read_wthor_names(folder / "WTHOR.JOU")
    tournaments = read_wthor_names(folder / "WTHOR.TRN")
    assert players[1] == "Tastet Marc" and tournaments[1] == "World Championship"
    assert "Championnat de Suède" in tournaments
    assert max(file.players.max() for file in archive) < len(players)
    assert max(file.tournaments.max() for file in archive) < len(tournaments)


def test_human_games_survive_every_text_format(archive, tmp_path):
    games = archive[8].games
    assert len(games) > 500
    write_transcripts(games, tmp_path / "a.txt")
    write_pgn(games, tmp_path / "a.pgn")
    assert same(read_transcripts(tmp_path / "a.txt"), games)
    assert same(read_pgn(tmp_path / "a.pgn"), games)


# Damage: whatever the bytes, either games that replay, or a RecordError


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_wthor_files_give_legal_games_or_a_record_error(tmp_path, wthor_bytes, seed):
    read_well, refused = fuzz(tmp_path / "fuzz.wtb", read_wthor, wthor_bytes, seed, 1500)
    assert read_well > 20 and refused > 500


def test_mutated_lists_of_names_are_read_or_refused(tmp_path):
    path, rng, refused = tmp_path / "fuzz.jou", random.Random(4), 0
    for _ in range(500):
        path.write_bytes(mutated(names_file(["Tastet Marc"] * 5, 20), rng))
        try:
            assert all(isinstance(name, str) and len(name) <= 20 for name in read_wthor_names(path))
        except RecordError:
            refused += 1
    assert 0 < refused < 500
