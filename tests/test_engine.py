"""The rules: the published counts, a slow player that agrees, symmetry, and random games that are random."""

import numba
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from othello_edu import engine, kernels
from othello_edu.errors import OthelloEduError

SIZES = (4, 6, 8)
PLAYERS = {"X": 1, "O": 2, None: 0}
seeds = st.integers(0, 2**63 - 1)
bitboards = st.integers(0, 2**64 - 1)

# The eight symmetries of the square, as the square each square goes to.
GRID = np.arange(64).reshape(8, 8)
SYMMETRIES = [np.rot90(grid, turn).ravel() for grid in (GRID, GRID.T) for turn in range(4)]


def bits(numbers):
    return int(engine.to_bits(list(numbers)))


def moved(bitboard, symmetry):
    """A bitboard turned or mirrored."""
    return sum(1 << int(symmetry[square]) for square in range(64) if bitboard >> square & 1)


def legal_moves(own, opp, size=8):
    return int(engine.legal_moves(engine.U(own), engine.U(opp), engine.PLAYABLE[size]))


def flips(square, own, opp):
    return int(engine.flips(engine.U(1 << square), engine.U(own), engine.U(opp)))


# Perft


@pytest.mark.parametrize(
    "depth, leaves",
    list(enumerate([1, 4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005288])),
)
def test_perft_is_the_published_table(depth, leaves):
    assert engine.perft(depth) == leaves


@pytest.mark.slow
@pytest.mark.parametrize("depth, leaves", [(10, 24571284), (11, 212258800)])
def test_perft_is_the_published_table_in_depth(depth, leaves):
    assert engine.perft(depth) == leaves


@pytest.mark.parametrize("size, depth", [(4, 7), (6, 5), (8, 5)])
def test_perft_on_every_board_is_that_of_the_slow_player(size, depth):
    for plies in range(depth + 1):
        assert engine.perft(plies, size) == reference.perft(plies, size)


def test_the_whole_tree_of_4x4_is_that_of_the_slow_player():
    # Twelve moves and at most three passes: deeper, every line is finished and the number stays.
    assert engine.perft(14, 4) < engine.perft(15, 4) == engine.perft(20, 4) == reference.perft(15, 4)


def test_perft_refuses_a_negative_depth_and_a_board_it_does_not_know():
    with pytest.raises(OthelloEduError, match="depth is -1"):
        engine.perft(-1)
    with pytest.raises(OthelloEduError, match="board_size is 10"):
        engine.perft(1, board_size=10)


# The slow player


def random_position(own, opp, drawn, size):
    """Any two disjoint sets of squares of the board, fewer in number the more are empty."""
    playable = int(engine.PLAYABLE[size])
    own, opp = own & playable, opp & playable & ~own
    return own & drawn, opp & drawn


def as_reference(own, opp):
    squares = reference.squares(8)
    discs = {square: "X" for square in squares if own >> reference.number(square) & 1}
    return discs | {square: "O" for square in squares if opp >> reference.number(square) & 1}


@settings(max_examples=300)
@given(own=bitboards, opp=bitboards, drawn=bitboards, dense=st.booleans(), size=st.sampled_from(SIZES))
def test_any_position_has_the_moves_and_flips_of_the_slow_player(own, opp, drawn, dense, size):
    own, opp = random_position(own, opp, 2**64 - 1 if dense else drawn, size)
    position = as_reference(own, opp)
    assert legal_moves(own, opp, size) == bits(map(reference.number, reference.legal(position, "X", size)))
    for square in reference.squares(size):
        if square not in position:
            turned = reference.turned_over(position, square, "X")
            assert flips(reference.number(square), own, opp) == bits(map(reference.number, turned))


@settings(max_examples=60)
@given(seed=seeds, k=st.integers(0, 2**40), size=st.sampled_from(SIZES))
def test_a_random_game_is_the_one_the_slow_player_plays_with_the_same_numbers(seed, k, size):
    moves = engine.random_moves(1, seed, size, first=k)
    boards, to_move, legal, valid, illegal = engine.replay_moves(moves, size)
    n = 0
    for n, (square, position, player) in enumerate(
        reference.game(reference.random_chooser(seed, k), size), 1
    ):
        ply = n - 1
        assert moves[0, ply] == reference.number(square)
        expected = np.zeros(64, int)
        for at, disc in position.items():
            expected[reference.number(at)] = PLAYERS[disc]
        assert boards[0, ply].tolist() == expected.tolist()
        assert to_move[0, ply] == PLAYERS[player]
        may = reference.legal(position, player, size) if player else []
        assert np.flatnonzero(legal[0, ply]).tolist() == sorted(map(reference.number, may))
    assert (moves[0, n:] == -1).all() and valid[0].sum() == n and illegal[0] == -1


@pytest.mark.parametrize("size, n_games", [(4, 1500), (6, 300), (8, 100)])
def test_many_games_are_those_of_the_slow_player(size, n_games):
    moves = engine.random_moves(n_games, 11, size)
    passes = 0
    for k in range(n_games):
        turns = list(reference.game(reference.random_chooser(11, k), size))
        played = [reference.number(square) for square, _, _ in turns]
        assert moves[k].tolist() == played + [-1] * (moves.shape[1] - len(played))
        players = [player for _, _, player in turns]
        passes += any(a == b for a, b in zip(["X", *players], players, strict=False))
    assert passes > n_games // 10  # so that passes really were compared


# Symmetry


@settings(max_examples=200)
@given(own=bitboards, opp=bitboards, size=st.sampled_from(SIZES), symmetry=st.sampled_from(SYMMETRIES))
def test_a_turned_or_mirrored_board_has_turned_or_mirrored_moves(own, opp, size, symmetry):
    own, opp = random_position(own, opp, 2**64 - 1, size)
    legal = legal_moves(own, opp, size)
    assert legal_moves(moved(own, symmetry), moved(opp, symmetry), size) == moved(legal, symmetry)
    for square in range(64):
        if legal >> square & 1:
            turned = flips(int(symmetry[square]), moved(own, symmetry), moved(opp, symmetry))
            assert turned == moved(flips(square, own, opp), symmetry) != 0


def test_the_eight_symmetries_are_eight():
    assert len({tuple(symmetry) for symmetry in SYMMETRIES}) == 8


def test_whole_games_survive_the_symmetries_that_keep_the_start():
    moves = engine.random_moves(200, 5)
    same_start = [s for s in SYMMETRIES if moved(int(engine.START_BLACK), s) == int(engine.START_BLACK)]
    assert len(same_start) == 4
    boards, to_move, legal, _, _ = engine.replay_moves(moves)
    for symmetry in same_start:
        turned = np.where(moves >= 0, symmetry[moves], -1)
        other_boards, other_to_move, other_legal, _, illegal = engine.replay_moves(turned)
        assert (illegal == -1).all() and np.array_equal(other_to_move, to_move)
        assert np.array_equal(other_boards[..., symmetry], boards)
        assert np.array_equal(other_legal[..., symmetry], legal)


# Bits


@given(bitboards)
def test_counting_and_finding_bits(value):
    count, zeros = lowest(engine.U(value))
    assert count == value.bit_count()
    assert zeros == ((value & -value).bit_length() - 1 if value else 64)


@numba.njit
def lowest(value):
    return engine.popcount(value), engine.trailing_zeros(value)


@given(bitboards.filter(bool), st.integers(0, 2**64 - 1))
def test_a_picked_bit_is_the_one_that_the_random_number_names(value, random):
    set_bits = [bit for bit in range(64) if value >> bit & 1]
    picked = int(engine.pick_bit(engine.U(value), engine.U(random)))
    assert picked == 1 << set_bits[(random >> 32) * len(set_bits) >> 32]


def test_nothing_is_picked_from_nothing_and_the_last_of_all_can_be():
    assert engine.pick_bit(engine.U(0), engine.U(123)) == 0
    assert engine.pick_bit(engine.U(2**64 - 1), engine.U(2**64 - 1)) == 2**63
    assert engine.pick_bit(engine.U(2**64 - 1), engine.U(0)) == 1


def test_playable_squares_are_the_middle_of_the_board():
    for size in SIZES:
        numbers = [reference.number(square) for square in reference.squares(size)]
        assert engine.playable_squares(size).tolist() == numbers
        assert int(engine.PLAYABLE[size]) == bits(numbers)
        assert engine.n_plies(size) == len(numbers) - 4


# Random games


def test_a_game_depends_on_its_seed_and_number_alone():
    games = engine.random_moves(150, seed=3)
    assert np.array_equal(engine.random_moves(70, seed=3), games[:70])
    for first, n in ((1, 1), (31, 2), (32, 33), (149, 1)):
        assert np.array_equal(engine.random_moves(n, seed=3, first=first), games[first : first + n])
    assert not np.array_equal(engine.random_moves(150, seed=4), games)
    assert engine.random_moves(0, seed=3).shape == (0, 60)


def test_games_are_the_same_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(engine, "_GAMES_AT_ONCE", 96)  # so that there are pieces enough for each
    games = {}
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(kernels, "n_threads", lambda n_threads=n_threads: n_threads)
        games[n_threads] = engine.random_moves(1000, seed=8)
    assert all(np.array_equal(moves, games[1]) for moves in games.values())


def test_replaying_is_the_same_in_pieces(monkeypatch):
    moves = engine.random_moves(100, seed=5)
    moves[37, 20] = 0  # breaks the rules, whichever piece it is in
    whole = engine.replay_moves(moves)
    monkeypatch.setattr(engine, "_REPLAYED_AT_ONCE", 7)
    monkeypatch.setattr(kernels, "n_threads", lambda: 3)
    assert all(np.array_equal(*both) for both in zip(whole, engine.replay_moves(moves), strict=True))
    assert np.flatnonzero(whole[-1] >= 0).tolist() == [37]


def test_counting_a_subtree_at_a_time_counts_every_leaf(monkeypatch):
    monkeypatch.setattr(engine, "_PLIES_AT_ONCE", 1)
    assert [engine.perft(depth) for depth in range(6)] == [1, 4, 12, 56, 244, 1396]
    assert engine.perft(30, board_size=4) == engine._perft(
        engine.START_BLACK, engine.START_WHITE, engine.PLAYABLE[4], 30
    )  # with passes, and games that are over


def test_games_are_as_different_as_chance_makes_them():
    assert len(np.unique(engine.random_moves(20_000, seed=1), axis=0)) == 20_000
    same_place = (engine.random_moves(2000, 1)[:, 10:50] == engine.random_moves(2000, 2)[:, 10:50]).mean()
    assert same_place < 0.05


def chi_square(counts):
    """How far counts are from equal, in standard deviations of chi-square (about normal)."""
    expected, freedom = counts.sum() / len(counts), len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5


@pytest.mark.parametrize("size", SIZES)
def test_each_legal_move_is_as_likely_as_any_other(size):
    moves = engine.random_moves(40_000, seed=21, board_size=size)
    _, _, legal, valid, _ = engine.replay_moves(moves, size)
    # Where `n` moves are legal, the place of the chosen one among them is uniform on 0 … n - 1.
    chosen, options = moves[:, 1:], legal[:, :-1]
    played = valid[:, 1:]
    n_options = options.sum(axis=-1)[played]
    place = (options & (np.arange(64) < chosen[..., None])).sum(axis=-1)[played]
    tested = 0
    for n in range(2, n_options.max() + 1):
        counts = np.bincount(place[n_options == n], minlength=n)
        if counts.sum() >= 50 * n:
            assert abs(chi_square(counts)) < 4, (n, counts)
            tested += 1
    assert tested >= {4: 3, 6: 10, 8: 15}[size]
    first = np.unique(moves[:, 0], return_counts=True)[1]
    assert len(first) == 4 and abs(chi_square(first)) < 4


def test_a_third_of_random_games_contain_a_pass_and_nearly_all_fill_the_board():
    moves = engine.random_moves(20_000, seed=2)
    _, to_move, _, _, _ = engine.replay_moves(moves)
    mover = np.concatenate([np.ones((len(moves), 1), np.int8), to_move[:, :-1]], axis=1)
    passed = ((to_move == mover) & (to_move > 0)).any(axis=1)
    assert 0.32 < passed.mean() < 0.36
    assert 0.97 < (moves[:, -1] >= 0).mean() < 1


@pytest.mark.parametrize(
    "arguments",
    [(-1, 0), (1, -1), (1, 2**64), (1, 0, 8, -1), (1, 0, 5)],
    ids=lambda arguments: str(arguments),
)
def test_random_games_refuse_what_makes_no_sense(arguments):
    with pytest.raises(OthelloEduError):
        engine.random_moves(*arguments)


# Replay


def test_replay_stops_at_an_illegal_move_and_says_where():
    moves = engine.random_moves(3, seed=1).copy()
    moves[1, 7] = 0 if moves[1, 7] != 0 else 63
    boards, to_move, legal, valid, illegal = engine.replay_moves(moves)
    assert illegal.tolist() == [-1, 7, -1]
    assert valid[1].tolist() == [True] * 7 + [False] * 53
    assert not boards[1, 7:].any() and not to_move[1, 7:].any() and not legal[1, 7:].any()


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=60), st.sampled_from(SIZES))
def test_replay_of_any_numbers_is_a_legal_beginning(numbers, size):
    moves = np.array([numbers], np.int8)
    boards, _, _, valid, illegal = engine.replay_moves(moves, size)
    n = int(valid.sum())
    assert n == len(numbers) or numbers[n] < 0 or illegal[0] == n
    discs = (boards[0, :n] > 0).sum(axis=-1)
    assert discs.tolist() == list(range(5, n + 5))
    outside = ~np.isin(np.arange(64), engine.playable_squares(size))
    assert not boards[..., outside].any()
