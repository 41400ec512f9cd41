"""Stable discs: the proof is never refuted, the truth lies between, the paper's rule keeps its defects."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from othello_edu.board import Board, parse_square
from othello_edu.engine import playable_squares
from othello_edu.errors import OthelloEduError
from othello_edu.games import random_games, replay
from othello_edu.stability import (
    MAX_EMPTIES_EXACT,
    bracket,
    refuted,
    stable_exact,
    stable_paper,
    stable_sound,
)

# The four directions of a line, as (row, column) steps.
LINES = ((0, 1), (1, 0), (1, 1), (1, -1))


# Slow references, written from the definitions on squares (row, column) and sharing no code with the package


def neighbours(square, step, size):
    """The two neighbours of a square on a line, None where the border is."""
    margin = (8 - size) // 2
    for sign in (1, -1):
        row, column = square // 8 + sign * step[0], square % 8 + sign * step[1]
        inside = margin <= row < 8 - margin and margin <= column < 8 - margin
        yield 8 * row + column if inside else None


def line_through(square, step, size):
    """All squares of the board on one line through a square."""
    squares, waiting = {square}, [square]
    while waiting:
        for other in neighbours(waiting.pop(), step, size):
            if other is not None and other not in squares:
                squares.add(other)
                waiting.append(other)
    return squares


def paper_rule(board, size=8):
    """The published rule, tile by tile, interior included."""
    first, last = (8 - size) // 2, 7 - (8 - size) // 2
    along = range(first, last + 1)
    marked = {s for s in (9 * first, 8 * first + last, 8 * last + first, 9 * last) if board[s]}
    edges = [[8 * rank + file for file in along] for rank in (first, last)]
    edges += [[8 * rank + file for rank in along] for file in (first, last)]
    for edge in edges:
        for at, tile in enumerate(edge):
            beside = edge[max(at - 1, 0) : at] + edge[at + 1 : at + 2]
            if board[tile] and any(other in marked for other in beside):
                marked.add(tile)
    for rank in range(first + 1, last):
        for file in range(first + 1, last):
            around = [8 * (rank + i) + file + j for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
            if board[8 * rank + file] and all(tile in marked for tile in around):
                marked.add(8 * rank + file)
    return [square in marked for square in range(64)]


@cache
def edge_survivors(line):
    """Places of a line ('X', 'O', '.') whose disc survives every way of filling it."""
    survivors = {at for at, disc in enumerate(line) if disc != "."}
    for at in (at for at, disc in enumerate(line) if disc == "."):
        for disc in "XO":
            filled = list(line)
            filled[at] = disc
            for step in (1, -1):
                run, end = [], at + step
                while 0 <= end < len(line) and line[end] not in (disc, "."):
                    run.append(end)
                    end += step
                if 0 <= end < len(line) and line[end] == disc:
                    survivors -= set(run)
                    for flipped in run:
                        filled[flipped] = disc
            survivors &= edge_survivors("".join(filled))
    return frozenset(survivors)


def sound_rule(board, size=8):
    """The least fixed point, one disc at a time, and the edges filled in every way."""
    first, last = (8 - size) // 2, 7 - (8 - size) // 2
    along = range(first, last + 1)
    proven = set()
    for line in (first, last):
        for edge in ([8 * line + at for at in along], [8 * at + line for at in along]):
            state = "".join(".XO"[board[tile]] for tile in edge)
            proven |= {edge[at] for at in edge_survivors(state)}

    def safe(square, step):
        return all(board[tile] for tile in line_through(square, step, size)) or any(
            other is None or (other in proven and board[other] == board[square])
            for other in neighbours(square, step, size)
        )

    grown = True
    while grown:
        fresh = {
            s for s in range(64) if board[s] and s not in proven and all(safe(s, step) for step in LINES)
        }
        proven |= fresh
        grown = bool(fresh)
    return [square in proven for square in range(64)]


def ever_flipped(board: Board, seen):
    """Names of the discs that some continuation flips, by playing every game to its end."""
    flipped = set()
    if (board.black, board.white, board.to_move) not in seen:
        seen.add((board.black, board.white, board.to_move))
        for move in board.legal_moves:
            flipped |= set(board.flips(move)) | ever_flipped(board.play(move), seen)
    return flipped


def squares(mask):
    """Squares set in a mask [64]."""
    return set(np.flatnonzero(mask).tolist())


def named(*names):
    return {parse_square(name) for name in names}


def with_edge(edge, rest="........"):
    """A board whose first rank is `edge` and whose other seven are `rest`."""
    return Board.parse("\n".join([edge] + [rest] * 7)).contents


def symmetries():
    """The eight symmetries of the board, each as the square that lands on square 0, 1, … 63."""
    grid = np.arange(64).reshape(8, 8)
    for turned in (np.rot90(grid, quarter) for quarter in range(4)):
        yield turned.ravel()
        yield turned.T.ravel()


@pytest.fixture(scope="module")
def positions():
    """240 random games, every position of them."""
    return replay(random_games(240, seed=11))


# The truth, and what encloses it ----------------------------------------------------------------------


@pytest.mark.parametrize("part", range(4))
def test_a_proven_disc_is_never_flipped_in_a_million_random_positions(part):
    later = replay(random_games(4300, seed=2026, first=4300 * part))
    boards, to_move = later.boards[later.valid], later.to_move[later.valid]
    assert len(boards) > 250_000
    proven = stable_sound(boards)
    # Four continuations, every second of which flips as many proven discs as it can ...
    assert not (refuted(boards, to_move, 4, seed=part, sought=proven) & proven).any()
    # ... and the one that was played, of which the next position is enough: proven once, proven for good.
    proven = np.zeros(later.boards.shape, bool)
    proven[later.valid] = stable_sound(boards)
    follows = later.valid[:, 1:, None]
    assert not (proven[:, :-1] & ~proven[:, 1:] & follows).any()
    assert not (proven[:, :-1] & (later.boards[:, :-1] != later.boards[:, 1:]) & follows).any()
    assert proven.sum() > 1_000_000


@pytest.mark.parametrize(("board_size", "n_games", "most_empties"), [(4, 12, 11), (6, 40, 9), (8, 40, 8)])
def test_the_truth_lies_between_the_proven_and_the_refuted(board_size, n_games, most_empties):
    late = replay(random_games(n_games, seed=5, board_size=board_size))
    proven_right = stable = refuted_right = unstable = 0
    for boards, to_move in zip(late.boards, late.to_move, strict=True):
        empties = board_size**2 - (boards > 0).sum(-1)
        for ply in np.flatnonzero((to_move > 0) & (empties <= most_empties)):
            board, discs = boards[ply], boards[ply] > 0
            exact = stable_exact(board, to_move[ply], board_size)
            proven = stable_sound(board, board_size)
            flipped = refuted(board[None], to_move[ply : ply + 1], 40, 0, board_size)[0]
            assert not (proven & ~exact).any()
            assert not (exact & flipped).any()
            assert not (exact & ~discs).any() and not (flipped & ~discs).any()
            proven_right += (proven & exact).sum()
            stable += exact.sum()
            refuted_right += (flipped & ~exact).sum()
            unstable += (discs & ~exact).sum()
    assert stable and unstable
    assert proven_right / stable > (0.3 if board_size == 4 else 0.7)
    assert refuted_right / unstable > 0.9


@pytest.mark.parametrize(("board_size", "most_empties"), [(4, 7), (6, 5), (8, 5)])
def test_the_exact_search_agrees_with_playing_out_every_game(board_size, most_empties):
    games = random_games(15, seed=8, board_size=board_size)
    compared = 0
    for game in range(len(games)):
        for ply in range(int(games.lengths[game])):
            board = games.board(game, ply)
            if board.count(0) <= most_empties and board.count(0) % 2:
                truth = squares(board.contents) - named(*ever_flipped(board, set()))
                assert squares(stable_exact(board.contents, board.to_move, board_size)) == truth
                compared += 1
    assert compared > 15


def test_no_disc_of_the_start_is_safe_on_the_smallest_board():
    assert not stable_exact(Board.start(4).contents, 1, 4).any()


def test_the_exact_search_lets_a_player_without_a_move_pass():
    # White has one disc and nothing to enclose; black then takes the square beside it and turns it over.
    board = Board.parse("X O . .\nX X X X\nX X X X\nX X X X", board_size=4).contents
    lost = named("d3")  # the second square of the first row, in the names of the 8x8 board
    assert squares(stable_exact(board, 2, 4)) == squares(board) - lost
    assert squares(refuted(board[None], [2], 1, 0, 4)[0]) == lost


def test_every_disc_of_a_finished_game_is_stable_and_none_is_refuted(positions):
    over = positions.valid & (positions.to_move == 0)
    boards = positions.boards[over]
    assert len(boards) == len(positions)
    assert not refuted(boards, np.zeros(len(boards), int), 10, seed=0).any()
    assert squares(stable_exact(boards[0], 0)) == squares(boards[0])


def test_the_bracket_narrows_with_more_playouts_and_is_open_in_between(positions):
    few, many = bracket(positions, 2, seed=0), bracket(positions, 60, seed=0)
    for shares in (few, many):
        np.testing.assert_allclose(np.sum(shares, axis=0)[:59], 1.0)
        assert min(np.nanmin(share) for share in shares) >= 0
    played = np.arange(59)  # after the last move nobody is to move
    np.testing.assert_array_equal(few.proven[played], many.proven[played])
    assert np.isnan(few.width[59])
    # A playout that stops early does not change what the earlier ones found, so more can only refute more.
    assert (many.width[played] <= few.width[played]).all()
    assert many.width[played].sum() < few.width[played].sum()
    assert many.width[played].max() > 0.05, "random games leave something unknown near the end"
    assert few.proven[0] == 0 and few.proven[55] > 0.3


# Proven stable ----------------------------------------------------------------------------------------


def test_the_sound_rule_is_the_least_fixed_point_and_exact_on_edges(positions):
    rng = np.random.default_rng(3)
    for game, ply in zip(rng.integers(0, 240, 120), rng.integers(10, 60, 120), strict=True):
        board = positions.boards[game, ply]
        assert stable_sound(board).tolist() == sound_rule(board)


@pytest.mark.parametrize("board_size", [4, 6])
def test_a_smaller_board_has_its_own_border(board_size):
    small = replay(random_games(40, seed=4, board_size=board_size))
    marks = 0
    for boards, valid in zip(small.boards, small.valid, strict=True):
        for board in boards[valid][2::3]:
            proven = stable_sound(board, board_size)
            assert proven.tolist() == sound_rule(board, board_size)
            assert stable_paper(board, board_size).tolist() == paper_rule(board, board_size)
            marks += proven.sum()
    assert marks > 100


def test_a_corner_is_always_stable(positions):
    corners = [parse_square(name) for name in ("a1", "h1", "a8", "h8")]
    taken = positions.boards[..., corners] > 0
    assert taken.any()
    assert stable_sound(positions.boards)[..., corners][taken].all()
    assert stable_paper(positions.boards)[..., corners][taken].all()


@given(st.lists(st.integers(1, 2), min_size=64, max_size=64), st.sampled_from([4, 6, 8]))
@settings(max_examples=50, deadline=None)
def test_every_disc_of_a_full_board_is_stable(colours, board_size):
    board = np.zeros(64, np.int8)
    inside = playable_squares(board_size)
    board[inside] = np.array(colours)[inside]
    assert squares(stable_sound(board, board_size)) == set(inside.tolist())
    for player in (1, 2):
        assert not refuted(board[None], [player], 4, 0, board_size).any()


def test_an_empty_board_has_no_stable_disc():
    assert not stable_sound(np.zeros(64, np.int8)).any()
    assert not stable_paper(np.zeros(64, np.int8)).any()


@pytest.mark.parametrize(
    ("edge", "stable"),
    [
        ("X.......", ["a1"]),
        ("XXX.....", ["a1", "b1", "c1"]),
        ("XO......", ["a1"]),  # black takes c1 and turns b1 over
        (".XXXXXX.", []),  # white takes a1, then h1
        ("XXX..XXX", ["a1", "b1", "c1", "f1", "g1", "h1"]),
        ("XOXOXOXO", ["a1", "b1", "c1", "d1", "e1", "f1", "g1", "h1"]),  # full: no room for a new disc
        ("OXO.O.O.", ["a1", "b1"]),  # b1 has no friend beside it, yet no filling flips it
    ],
)
def test_what_is_proven_on_an_edge(edge, stable):
    board = with_edge(edge)
    assert squares(stable_sound(board)) == named(*stable)
    column = board.reshape(8, 8).T.reshape(64)
    assert squares(stable_sound(column)) == {8 * (square % 8) + square // 8 for square in named(*stable)}


def test_stability_grows_from_a_corner_into_the_interior():
    # b2 leans on black discs that are proven one after the other: a1, then a2 and b1, a3 and c1, then b2.
    board = Board.parse(
        """
        X X X . . . . .
        X X . . . . . .
        X . . . . . . .
        . . . . . . . .
        . . . . . . . .
        . . . . . . . .
        . . . . . . . .
        . . . . . . . .
        """
    ).contents
    assert squares(stable_sound(board)) == named("a1", "b1", "c1", "a2", "b2", "a3")
    board[parse_square("a3")] = 0  # now the diagonal a3-c1 has an empty end, and white may enclose b2
    board[parse_square("c1")] = 0
    assert squares(stable_sound(board)) == named("a1", "b1", "a2")


def test_the_sound_rule_has_the_symmetries_of_the_board_and_of_the_colours(positions):
    scattered = np.random.default_rng(6).choice(3, (5000, 64), p=(0.2, 0.6, 0.2)).astype(np.int8)
    boards = np.concatenate([scattered, positions.boards.reshape(-1, 64)])
    proven = stable_sound(boards)
    assert proven.any(axis=0).all(), "every square is proven somewhere"
    for moved in symmetries():
        np.testing.assert_array_equal(stable_sound(boards[:, moved]), proven[:, moved])
    np.testing.assert_array_equal(stable_sound((3 - boards) * (boards > 0)), proven)


# The paper's rule, with its defects -------------------------------------------------------------------


def test_the_papers_rule_is_reproduced_tile_by_tile(positions):
    marked = stable_paper(positions.boards)
    for game in range(0, 240, 4):
        for ply in range(5, 60, 6):
            assert marked[game, ply].tolist() == paper_rule(positions.boards[game, ply])
    assert marked.any()


def test_the_papers_rule_never_marks_an_interior_tile(positions):
    interior = [8 * rank + file for rank in range(1, 7) for file in range(1, 7)]
    assert not stable_paper(positions.boards)[..., interior].any()
    full = np.ones(64, np.int8)
    assert squares(stable_paper(full)) == set(range(64)) - set(interior)
    assert squares(np.array(paper_rule(full))) == set(range(64)) - set(interior)


def test_the_papers_sweep_runs_one_way():
    assert squares(stable_paper(with_edge("XXXX...."))) == named("a1", "b1", "c1", "d1")
    assert squares(stable_paper(with_edge("....XXXX"))) == named("g1", "h1")


def test_the_papers_rule_breaks_the_symmetry_of_the_board(positions):
    broken = 0
    for moved in symmetries():
        mirrored = stable_paper(positions.boards[..., moved])
        broken += (mirrored != stable_paper(positions.boards)[..., moved]).any()
    assert broken == 6  # all but the identity and the mirror that swaps ranks and files


def test_the_papers_rule_marks_discs_that_are_flipped():
    # White holds b1 beside black's corner: marked, and turned over by black at c1.
    board = Board.parse("XO......\n" + "........\n" * 6 + "........", to_move=1)
    assert squares(stable_paper(board.contents)) == named("a1", "b1")
    assert squares(refuted(board.contents[None], [1], 2, seed=0)[0]) == named("b1")
    assert squares(stable_sound(board.play("c1").contents)) == named("a1", "b1", "c1")


def test_many_tiles_marked_by_the_papers_rule_are_refuted_in_random_games(positions):
    marked = stable_paper(positions.boards) & positions.valid[..., None]
    flipped = refuted(positions.boards, positions.to_move, 20, seed=1)
    share = (marked & flipped).sum() / marked.sum()
    assert 0.1 < share < 0.4


# Refutation -------------------------------------------------------------------------------------------


def test_a_refutation_depends_on_the_seed_and_the_position_alone(positions):
    boards, to_move = positions.boards[:20, 30], positions.to_move[:20, 30]
    whole = refuted(boards, to_move, 3, seed=7)
    np.testing.assert_array_equal(refuted(boards[:5], to_move[:5], 3, seed=7), whole[:5])
    np.testing.assert_array_equal(
        refuted(boards.reshape(4, 5, 64), to_move.reshape(4, 5), 3, seed=7), whole.reshape(4, 5, 64)
    )
    assert (refuted(boards, to_move, 3, seed=8) != whole).any()
    assert not refuted(boards, to_move, 0, seed=7).any()


def test_seeking_playouts_refute_more_than_random_ones_alone(positions):
    boards, to_move = positions.boards[:, 45], positions.to_move[:, 45]
    # The first playout is uniform, the second seeks; other seeds give more uniform ones.
    uniform = np.any([refuted(boards, to_move, 1, seed) for seed in range(10)], axis=0)
    mixed = refuted(boards, to_move, 10, seed=0)
    assert mixed.sum() > uniform.sum()


def test_a_sought_rule_is_refuted_where_it_is_wrong(positions):
    boards, to_move = positions.boards[:, 40], positions.to_move[:, 40]
    claimed = stable_paper(boards)
    actual = refuted(boards, to_move, 4, seed=0, sought=claimed) & claimed
    assert actual.any()
    assert not (actual & stable_sound(boards)).any()


# What is refused ---------------------------------------------------------------------------------------


def test_a_board_that_is_not_one_is_refused_by_position_and_square():
    boards = np.zeros((3, 64), np.int8)
    boards[2, parse_square("c4")] = 3
    for rule in (stable_paper, stable_sound):
        with pytest.raises(OthelloEduError, match="position 2, c4: 3"):
            rule(boards)
    boards[2, parse_square("c4")] = -1
    with pytest.raises(OthelloEduError, match="position 2, c4: -1"):
        stable_sound(boards)
    with pytest.raises(OthelloEduError, match="position 0, a1: 257"):
        stable_sound(np.full(64, 257))


def test_a_disc_outside_a_smaller_board_is_refused():
    board = np.zeros(64, np.int8)
    board[parse_square("a1")] = 1
    with pytest.raises(OthelloEduError, match="a1: 1 does not belong on a 6x6 board"):
        stable_sound(board, 6)


def test_shapes_that_do_not_fit_are_refused():
    boards = np.zeros((3, 64), np.int8)
    with pytest.raises(OthelloEduError, match=r"\[\.\.\., 64\]"):
        stable_paper(boards.reshape(3, 8, 8))
    with pytest.raises(OthelloEduError, match="integers"):
        stable_paper(boards.astype(float))
    with pytest.raises(OthelloEduError, match="board_size"):
        stable_sound(boards, 7)
    with pytest.raises(OthelloEduError, match="to_move has shape"):
        refuted(boards, [1, 2], 1, 0)
    with pytest.raises(OthelloEduError, match="to_move must be"):
        refuted(boards, [1, 2, 3], 1, 0)
    with pytest.raises(OthelloEduError, match="n_playouts"):
        refuted(boards, [1, 1, 1], -1, 0)
    with pytest.raises(OthelloEduError, match="sought has shape"):
        refuted(boards, [1, 1, 1], 1, 0, sought=np.zeros(64, bool))
    with pytest.raises(OthelloEduError, match="one board"):
        stable_exact(boards, 1)


def test_the_exact_search_refuses_a_board_with_too_many_empty_squares():
    with pytest.raises(OthelloEduError, match=f"60 squares are empty.*{MAX_EMPTIES_EXACT}"):
        stable_exact(Board.start().contents, 1)


def test_no_boards_give_no_marks():
    none = np.zeros((0, 64), np.int8)
    assert stable_paper(none).shape == stable_sound(none).shape == (0, 64)
    assert refuted(none, np.zeros(0, int), 3, 0).shape == (0, 64)
