"""Many games as one array: what is allowed in it, replay, splits by game, and tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from othello_edu.board import Board
from othello_edu.errors import IllegalMoveError, OthelloEduError
from othello_edu.games import (
    CENTRE,
    Games,
    batches,
    encode_moves,
    final_scores,
    move_squares,
    next_tokens,
    random_games,
    replay,
    split_games,
    tokens,
    vocabulary_size,
    without_duplicates,
)

sizes = st.sampled_from([4, 6, 8])
seeds = st.integers(0, 2**60)


def keys(games):
    return {row.tobytes() for row in games.moves}


# The array


def test_games_can_be_sliced_masked_and_picked():
    games = random_games(10, seed=1)
    assert len(games) == 10 and repr(games) == "Games(10 games on 8x8)"
    assert np.array_equal(games[2:5].moves, games.moves[2:5])
    assert np.array_equal(games[[7, 7]].moves, games.moves[[7, 7]])
    assert np.array_equal(games[games.lengths < 60].moves, games.moves[games.lengths < 60])
    assert len(games[3]) == 1 and games[3].transcript(0) == games.transcript(3)
    assert random_games(2, seed=1, board_size=6)[:1].board_size == 6


@pytest.mark.parametrize(
    "moves, size, message",
    [
        (np.zeros(60, int), 8, r"moves has shape \(60,\)"),
        (np.zeros((2, 59), int), 8, r"need \[n_games, 60\]"),
        (np.zeros((2, 60), int), 6, r"6x6 board need \[n_games, 32\]"),
        (np.full((1, 60), 64), 8, "squares 0..63"),
        (np.full((1, 60), -2), 8, "squares 0..63"),
        (np.zeros((1, 60)), 8, "moves must be integers"),
        (np.array([[37] + [-1] * 3 + [43] * 56]), 8, "game 0 has a move at ply 4 after it ended at ply 3"),
        (np.zeros((1, 60), int), 7, "board_size is 7"),
    ],
)
def test_an_array_that_is_no_games_is_refused(moves, size, message):
    with pytest.raises(OthelloEduError, match=message):
        Games(moves, size)


def test_lengths_count_the_moves_of_each_game():
    games = random_games(500, seed=2, board_size=4)
    assert games.lengths.tolist() == [len(games.transcript(game)) // 2 for game in range(500)]
    assert len(set(games.lengths)) > 3


@settings(max_examples=30)
@given(seeds, sizes)
def test_transcripts_and_games_are_two_ways_to_write_the_same(seed, size):
    games = random_games(5, seed, size)
    transcripts = [games.transcript(game) for game in range(5)]
    assert np.array_equal(Games.from_transcripts(transcripts, size).moves, games.moves)
    capitals = Games.from_transcripts([transcript.upper() for transcript in transcripts], size)
    assert np.array_equal(capitals.moves, games.moves)


@pytest.mark.parametrize(
    "transcripts, message",
    [
        (["f5", "f5x9"], "game 1, ply 1: 'x9' is neither a square nor a pass"),
        (["f5d"], "game 0, ply 1: 'd' is neither a square nor a pass"),
        (["f5" * 61], "game 0 has 61 moves; 8x8 has room for 60"),
        (["f5", "f5--d6"], r"game 1, ply 1: white passes but can play f4, d6, f6\n.*a b c d"),
        (["f5 d6 34-30 c3"], "game 0, ply 2: 'c3' follows the result 34-30"),
        (["f5", 37], "game 1, a transcript is text such as 'f5d6c3', not int"),
        ("f5d6", "transcripts must be a list of them, .* not str"),
        (None, "transcripts must be a list of them, .* not NoneType"),
        (["f5d6", "f5d6c3", "f5d6a1"], r"game 2, ply 2: black cannot play a1: .*\n.*a b c d"),
    ],
)
def test_transcripts_that_are_no_games_are_refused(transcripts, message):
    with pytest.raises(OthelloEduError, match=message):
        Games.from_transcripts(transcripts)


def test_random_games_are_the_same_whatever_is_asked_for_beside_them():
    assert np.array_equal(random_games(5, 9, first=3).moves, random_games(8, 9)[3:].moves)
    with pytest.raises(OthelloEduError, match="n_games is -1; it must not be negative"):
        random_games(-1, 0)


def test_batches_are_the_games_in_order():
    games = random_games(25, seed=1)
    parts = list(batches(games, 10))
    assert [len(part) for part in parts] == [10, 10, 5]
    assert np.array_equal(np.concatenate([part.moves for part in parts]), games.moves)


# Replay: row t is the board after move t


@settings(max_examples=25)
@given(seeds, sizes)
def test_row_t_is_the_board_after_move_t(seed, size):
    games = random_games(2, seed, size)
    positions = replay(games)
    for game in range(2):
        board = Board.start(size)
        for ply in range(games.moves.shape[1]):
            if ply < games.lengths[game]:
                board = board.play(int(games.moves[game, ply]))
                assert np.array_equal(positions.boards[game, ply], board.contents)
                assert positions.to_move[game, ply] == board.to_move
                legal = np.flatnonzero(positions.legal[game, ply])
                assert sum(1 << int(square) for square in legal) == board.legal_bits
                assert positions.valid[game, ply] and games.board(game, ply) == board
            else:
                assert not positions.valid[game, ply] and not positions.boards[game, ply].any()
                assert positions.to_move[game, ply] == 0 and not positions.legal[game, ply].any()
        assert board.is_over and games.board(game) == board


def test_the_next_move_of_a_game_is_legal_in_the_row_before_it():
    for size in (4, 6, 8):
        games = random_games(2000, seed=4, board_size=size)
        positions = replay(games)
        game, ply = np.nonzero(games.moves[:, 1:] >= 0)
        assert positions.legal[game, ply, games.moves[game, ply + 1]].all()
        assert (positions.valid == (games.moves >= 0)).all()


def test_passes_leave_no_trace_in_the_moves_and_parity_does_not_tell_whose_turn_it_is():
    games = random_games(2000, seed=5)
    positions = replay(games)
    by_parity = np.where(np.arange(60) % 2 == 0, 2, 1)  # after move 0 white would be next
    differs = (positions.to_move != by_parity) & (positions.to_move > 0)
    mover = np.concatenate([np.ones((2000, 1), np.int8), positions.to_move[:, :-1]], axis=1)
    passed = (positions.to_move == mover) & (positions.to_move > 0)
    assert 0.3 < passed.any(axis=1).mean() < 0.4
    assert (differs.any(axis=1) == passed.any(axis=1)).all()
    # The disc just played belongs to the player whose turn the row before says it was.
    game, ply = np.nonzero(positions.valid)
    assert (positions.boards[game, ply, games.moves[game, ply]] == mover[game, ply]).all()


def test_an_illegal_move_is_named_by_game_ply_and_square_with_its_board():
    games = random_games(5, seed=1)
    moves = games.moves.copy()
    moves[3, 20] = 27
    with pytest.raises(IllegalMoveError) as error:
        replay(Games(moves))
    assert str(error.value).startswith("game 3, ply 20: ")
    assert "cannot play d4: d4 is occupied" in str(error.value)
    assert str(error.value).endswith(str(games.board(3, 19)))


def test_positions_of_some_games_are_theirs():
    games = random_games(6, seed=1)
    positions, subset = replay(games), replay(games[[4, 1]])
    chosen = positions[[4, 1]]
    assert len(chosen) == 2
    for name in ("boards", "to_move", "legal", "valid"):
        assert np.array_equal(getattr(chosen, name), getattr(subset, name))


# Final scores


def test_a_full_board_is_scored_by_its_discs():
    games = random_games(200, seed=3)
    full = games.lengths == 60
    boards = replay(games[full]).boards[:, -1]
    assert full.sum() > 100
    assert np.array_equal(final_scores(games[full])[:, 0], (boards == 1).sum(axis=1))


def test_the_winner_is_credited_with_the_empty_squares():
    games = Games.from_transcripts(["e6f4e3f6g5d6e7f5c5"])
    assert games.board(0).is_over and games.board(0).count(1) == 13
    assert final_scores(games).tolist() == [[64, 0]]


def test_scores_of_finished_games_fill_the_board_and_of_others_do_not():
    for size in (4, 6, 8):
        games = random_games(60, seed=4, board_size=size)
        scores = final_scores(games)
        boards = [games.board(game) for game in range(len(games))]
        assert all(board.is_over for board in boards)
        assert (scores.sum(axis=1) == size * size).all()
        for board, (black, white) in zip(boards, scores, strict=True):
            assert np.sign(black - white) == np.sign(board.count(1) - board.count(2))
            if board.count(1) == board.count(2):
                assert black == white
    halves = Games(games.moves[:, :].copy(), 8)
    halves.moves[:, 20:] = -1
    assert (final_scores(halves).sum(axis=1) == 24).all()
    nothing_played = Games(np.full((1, 60), -1))
    assert final_scores(nothing_played).tolist() == [[2, 2]]
    assert final_scores(games[:0]).shape == (0, 2)


# Duplicates and splits


def test_duplicates_are_dropped_in_order_and_what_is_excluded_too():
    games = random_games(20, seed=1)
    doubled = games[[3, 1, 3, 2, 1, 0]]
    assert np.array_equal(without_duplicates(doubled).moves, games[[3, 1, 2, 0]].moves)
    assert np.array_equal(without_duplicates(doubled, games[[1, 9]]).moves, games[[3, 2, 0]].moves)
    assert len(without_duplicates(games[:0])) == 0
    with pytest.raises(OthelloEduError, match="another board"):
        without_duplicates(games, random_games(1, 1, board_size=6))


@settings(max_examples=20)
@given(st.tuples(*[st.integers(0, 300)] * 3), st.integers(0, 1000), st.sampled_from([4, 8]))
def test_splits_are_exact_and_no_game_is_in_two_of_them(counts, seed, size):
    parts = split_games(*counts, seed, size)
    assert tuple(map(len, parts)) == counts
    assert sum(len(keys(part)) for part in parts) == len(set().union(*map(keys, parts))) == sum(counts)
    assert all(
        np.array_equal(a.moves, b.moves) for a, b in zip(parts, split_games(*counts, seed, size), strict=True)
    )


def test_splits_on_4x4_really_had_duplicates_to_remove():
    pool = random_games(1200, seed=3 * 5, board_size=4)
    assert len(keys(pool)) < 1200
    train, _, test = split_games(1200, 0, 1200, seed=5, board_size=4)
    assert len(keys(train) | keys(test)) == 2400


def test_the_longer_training_set_contains_the_shorter():
    short, long = split_games(100, 10, 10, seed=1)[0], split_games(500, 10, 10, seed=1)[0]
    assert np.array_equal(long[:100].moves, short.moves)


# Tokens


@pytest.mark.parametrize("size, n", [(4, 13), (6, 33), (8, 61)])
def test_the_vocabulary_is_padding_and_every_square_but_the_centre(size, n):
    squares = move_squares(size)
    assert vocabulary_size(size) == len(squares) == n
    assert squares[0] == -1 and (np.diff(squares) > 0).all()
    assert not set(squares) & set(CENTRE)
    assert set(squares[1:]) | set(CENTRE) == {
        s for s in range(64) if all(abs(x - 3.5) < size / 2 for x in divmod(s, 8))
    }


def test_tokens_of_8x8_are_those_of_the_public_models():
    # a1 is 1; d4, e4, d5, e5 have none, so that c4 is 27, f4 is 28 and h8 is 60.
    squares = [0, 26, 29, 34, 37, 63, -1]
    assert encode_moves(squares).tolist() == [1, 27, 28, 33, 34, 60, 0]


@settings(max_examples=40)
@given(seeds, sizes)
def test_moves_become_tokens_and_tokens_moves(seed, size):
    games = random_games(5, seed, size)
    encoded = encode_moves(games.moves, size)
    assert encoded.dtype == torch.int64 and encoded.shape == games.moves.shape
    assert ((encoded == 0).numpy() == (games.moves < 0)).all()
    assert np.array_equal(move_squares(size)[encoded.numpy()], games.moves)


@pytest.mark.parametrize("size", [4, 6, 8])
def test_targets_are_the_inputs_one_move_later(size):
    games = random_games(300, seed=6, board_size=size)
    read, wanted = tokens(games), next_tokens(games)
    assert read.shape == wanted.shape == (300, games.moves.shape[1] - 1)
    assert torch.equal(read[:, 1:], wanted[:, :-1])
    assert torch.equal(read[:, 0], encode_moves(games.moves[:, 0], size))
    assert (wanted > 0).sum(dim=1).tolist() == (games.lengths - 1).tolist()
    # The target at column t is legal on the board of row t: what has been read is move t, not t + 1.
    legal = replay(games).legal[:, :-1]
    game, ply = np.nonzero(wanted.numpy())
    assert legal[game, ply, move_squares(size)[wanted.numpy()][game, ply]].all()


def test_squares_without_a_token_are_refused():
    with pytest.raises(OthelloEduError, match="a centre square or one outside the 8x8 board"):
        encode_moves([27])
    with pytest.raises(OthelloEduError, match="outside the 6x6 board has no token"):
        encode_moves([[0]], board_size=6)
