"""What can be said without a network: by the commonest class, the move number, the lead, the corners."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from othello_edu.baselines import (
    MajorityBaseline,
    baselines,
    lead_score,
    nearest_corner_score,
    occupied_corner_score,
    occupied_score,
    ply_score,
)
from othello_edu.board import Board, parse_square
from othello_edu.errors import OthelloEduError
from othello_edu.games import random_games, replay
from othello_edu.labels import MINE, contents, plies
from othello_edu.reproduction.places import SIDES
from othello_edu.scoring import auroc, auroc_within
from othello_edu.stability import stable_paper, stable_sound

# The commonest class -----------------------------------------------------------------------------------


def test_the_majority_is_the_commonest_class_of_each_square_at_each_ply():
    # Three games, two plies, two squares.
    labels = np.array([[[0, 1], [2, 2]], [[0, 2], [1, 2]], [[1, 1], [1, -1]]])
    baseline = MajorityBaseline().fit(labels)
    np.testing.assert_array_equal(baseline.classes, [[0, 1], [1, 2]])
    np.testing.assert_array_equal(baseline.predict(2), [[[0, 1], [1, 2]]] * 2)
    assert baseline.score(labels) == pytest.approx(8 / 11)


def test_a_baseline_that_is_not_fitted_or_has_no_games_says_so():
    with pytest.raises(OthelloEduError, match="not fitted: call fit first"):
        MajorityBaseline().predict(3)
    with pytest.raises(OthelloEduError, match=r"must be \[n_games, time, n_squares\]"):
        MajorityBaseline().fit(np.zeros((10, 5), int))


# Simple scores ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def positions():
    return replay(random_games(300, seed=21))


def test_the_number_of_discs_gives_the_ply_away(positions):
    actual = ply_score(positions.boards)[..., 0]
    np.testing.assert_array_equal(actual[positions.valid], plies(positions)[positions.valid])


def test_the_lead_belongs_to_the_player_to_move(positions):
    black, white = ((positions.boards == player).sum(axis=-1) for player in (1, 2))
    lead = lead_score(positions.boards, positions.to_move)[..., 0]
    for player, sign in ((1, 1), (2, -1), (0, 0)):
        turn = positions.to_move == player
        assert turn.any()
        np.testing.assert_array_equal(lead[turn], sign * (black - white)[turn])


def test_each_corner_has_its_quarter():
    board = Board.start().contents
    board[parse_square("h1")] = 2
    taken = nearest_corner_score(board)
    for name, expected in (
        ("h1", 1),
        ("e1", 1),
        ("e4", 1),
        ("h4", 1),
        ("d4", 0),
        ("e5", 0),
        ("a1", 0),
        ("h8", 0),
    ):
        assert taken[parse_square(name)] == expected
    small = Board.start(6).contents
    small[parse_square("b7")] = 1  # a corner of the 6x6 board
    taken = nearest_corner_score(small, 6)
    assert [taken[parse_square(name)] for name in ("b7", "d5", "e5", "d4")] == [1, 1, 0, 0]


def test_a_tile_is_occupied_whatever_the_colour():
    assert np.flatnonzero(occupied_score(Board.start().contents)).tolist() == [27, 28, 35, 36]


def test_a_taken_tile_counts_more_if_its_corner_is_taken_and_an_empty_one_never_counts():
    board = Board.start().contents
    board[parse_square("a1")] = 2
    score = occupied_corner_score(board)
    expected = {"a1": 2, "d4": 2, "b1": 0, "e4": 1, "d5": 1, "e5": 1, "h8": 0}
    assert {name: int(score[parse_square(name)]) for name in expected} == expected
    small = Board.start(6).contents
    small[parse_square("b7")] = 1  # a corner of the 6x6 board
    score = occupied_corner_score(small, 6)
    assert [score[parse_square(name)] for name in ("b7", "d5", "e5", "b6")] == [2, 2, 1, 0]


def test_a_side_tile_and_its_corner_together_say_more_about_stability_than_either(positions):
    rows = positions.to_move > 0
    boards, ply = positions.boards[rows], plies(positions)[rows]
    rivals = {
        "both": occupied_corner_score(boards),
        "tile": occupied_score(boards),
        "corner": nearest_corner_score(boards),
    }
    for label in (stable_paper(boards), stable_sound(boards)):
        same_move = {
            name: auroc_within(score[:, SIDES], label[:, SIDES], ply).diagonal().mean()
            for name, score in rivals.items()
        }
        assert same_move["both"] > max(same_move["tile"], same_move["corner"]) + 0.05
    # Where the tile is taken, its corner alone is left to tell boards apart.
    for tile in SIDES[:3]:
        taken = boards[:, tile] > 0
        stable = stable_sound(boards[taken])[:, [tile]]
        two = (
            auroc_within(rivals[name][taken][:, [tile]], stable, ply[taken]) for name in ("both", "corner")
        )
        assert np.equal(*two).all()


def test_the_ply_alone_passes_the_papers_thresholds(positions):
    rows = positions.to_move > 0
    boards, to_move = positions.boards[rows], positions.to_move[rows]
    owner = contents(positions)[rows]
    stable = baselines(boards, to_move, stable_sound(boards))
    mine = baselines(boards, to_move, owner == MINE)
    edges = [parse_square(name) for name in ("a1", "d1", "h5", "c8")]
    assert (stable["ply"][edges] > 0.8).all(), "0.8 for a stable tile, without any network"
    assert (mine["ply"][edges] > 0.7).all(), "0.7 for a tile of mine, since late tiles are rarely empty"
    # Against the opponent's discs alone, whose tile it is, the ply knows next to nothing.
    for tile in edges:
        taken = owner[:, tile] > 0
        assert abs(auroc(ply_score(boards[taken]), owner[taken][:, [tile]] == MINE)[0, 0] - 0.5) < 0.1


def test_each_tiles_own_score_meets_its_own_label(positions):
    rows = positions.to_move > 0
    boards, to_move = positions.boards[rows], positions.to_move[rows]
    stable = stable_sound(boards)
    actual = baselines(boards, to_move, stable)
    corners = [0, 7, 56, 63]
    for name in ("nearest corner taken", "tile and corner taken"):
        assert (actual[name][corners] == 1).all(), "a corner is stable as soon as it is taken"
    for tile in (0, 3, 20, 44):
        expected = roc_auc_score(stable[:, tile], boards[:, tile] > 0)
        assert actual["tile occupied"][tile] == pytest.approx(expected, abs=1e-12)
    assert all(table.shape == (64,) for table in actual.values())
