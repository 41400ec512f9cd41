"""What is true at every position: contents seen by the player to move, legal tokens, plies."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from othello_edu.games import Games, move_squares, next_tokens, random_games, replay
from othello_edu.labels import (
    MASKED,
    colours,
    contents,
    contents_before,
    legal_distribution,
    legal_tokens,
    plies,
)

SIZES = (4, 6, 8)


@pytest.fixture(scope="module", params=SIZES)
def games(request):
    """Games, some cut short, so that a row can be a last one without the game being over."""
    moves = random_games(400, seed=7, board_size=request.param).moves.copy()
    for game in range(0, 400, 3):
        moves[game, game % moves.shape[1] + 1 :] = -1
    return Games(moves, request.param)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**60), st.sampled_from(SIZES))
def test_mine_are_the_discs_of_whoever_moves_next(seed, size):
    game = random_games(1, seed, size)
    labels = contents(replay(game))
    assert labels.dtype == np.int8
    for ply in range(game.moves.shape[1]):
        board = game.board(0, ply)
        if ply >= game.lengths[0] or board.is_over:
            assert (labels[0, ply] == MASKED).all()
        else:
            discs = board.contents
            expected = np.select([discs == 0, discs == board.to_move], [0, 1], default=2)
            assert np.array_equal(labels[0, ply], expected)


def test_after_the_first_move_three_of_four_discs_are_theirs(games):
    first = contents(replay(games))[:, 0]
    assert ((first == 1).sum(axis=1) == 1).all() and ((first == 2).sum(axis=1) == 4).all()


def test_contents_and_colours_agree_on_what_is_empty_and_on_what_is_masked(games):
    positions = replay(games)
    relative, absolute = contents(positions), colours(positions)
    nobody = positions.to_move == 0
    for labels in (relative, absolute):
        assert (labels[nobody] == MASKED).all() and (labels[~nobody] >= 0).all()
    assert np.array_equal(relative == 0, absolute == 0)
    black, white = positions.to_move == 1, positions.to_move == 2
    assert black.any() and white.any()
    assert np.array_equal(relative[black], absolute[black])
    discs = relative[white] > 0
    assert np.array_equal(relative[white][discs], 3 - absolute[white][discs])


def test_masked_rows_are_those_past_the_end_and_those_where_the_game_is_over(games):
    positions = replay(games)
    masked = (contents(positions) == MASKED).all(axis=-1)
    assert masked[~positions.valid].all()
    over = masked & positions.valid
    assert over.any() and not positions.legal[over].any()
    last = games.lengths - 1
    assert (np.argwhere(over)[:, 1] == last[np.argwhere(over)[:, 0]]).all()
    cut_short = np.arange(0, len(games), 3)
    unfinished = ~over[cut_short, last[cut_short]]
    assert unfinished.any()  # a game cut short still has a labelled last row
    assert (contents(positions)[cut_short, last[cut_short]][unfinished] >= 0).all()


def test_the_next_move_of_a_random_game_is_drawn_from_all_legal_moves_alike(games):
    distribution, targets = legal_distribution(games), next_tokens(games)
    legal = legal_tokens(replay(games))[:, :-1]
    follows = (targets > 0).numpy()
    assert distribution.dtype == torch.float32 and distribution.shape == legal.shape
    assert (distribution[~follows] == 0).all(), "where no move follows, a game cut short included"
    assert np.array_equal(distribution.numpy()[follows] > 0, legal[follows])
    torch.testing.assert_close(distribution.sum(-1), torch.from_numpy(follows).float())
    played = distribution.gather(-1, targets[..., None])[..., 0]
    assert (played > 0).numpy().tolist() == follows.tolist(), "the move that was drawn is one of them"
    counts = 1 / torch.from_numpy(legal.sum(-1)).float()
    torch.testing.assert_close(played[follows], counts[follows])


def test_after_a_pass_mine_stays_with_the_same_player(games):
    positions = replay(games)
    mover = np.concatenate([np.ones((len(games), 1), np.int8), positions.to_move[:, :-1]], axis=1)
    same_again = (positions.to_move == mover) & (positions.to_move > 0)
    assert same_again.any()
    game, ply = np.nonzero(positions.to_move > 0)
    played = contents(positions)[game, ply, games.moves[game, ply]]
    # The disc just played is theirs, unless the opponent had to pass: then it is mine.
    assert np.array_equal(played, np.where(same_again[game, ply], 1, 2))


def test_the_board_before_a_move_is_the_last_one_and_mine_are_the_discs_of_who_made_the_move(games):
    positions = replay(games)
    before, after = contents_before(positions), contents(positions)
    assert before.dtype == np.int8
    assert (before[~positions.valid] == MASKED).all() and (before[positions.valid] >= 0).all()
    later = positions.valid[:, 1:]
    np.testing.assert_array_equal(before[:, 1:][later], after[:, :-1][later])
    assert before[:, 0].tolist() == [[{27: 2, 28: 1, 35: 1, 36: 2}.get(s, 0) for s in range(64)]] * len(games)
    game, ply = np.nonzero(positions.valid)
    assert not before[game, ply, games.moves[game, ply]].any(), "the square of the move is still empty"


def test_legal_tokens_are_the_legal_squares_by_their_tokens(games):
    positions = replay(games)
    legal = legal_tokens(positions)
    assert legal.dtype == bool and not legal[..., 0].any()
    game, ply, token = np.nonzero(legal)
    squares = move_squares(games.board_size)[token]
    assert positions.legal[game, ply, squares].all() and len(squares) == positions.legal.sum()
    targets = next_tokens(games).numpy()
    game, ply = np.nonzero(targets)
    assert legal[game, ply, targets[game, ply]].all()


def test_plies_count_the_moves_played_and_discs_grow_with_them(games):
    positions = replay(games)
    played, discs = plies(positions), (positions.boards > 0).sum(axis=-1)
    assert np.array_equal(played > 0, positions.valid)
    assert np.array_equal(played.max(axis=1), games.lengths)
    assert np.array_equal(discs, np.where(positions.valid, played + 4, 0))
