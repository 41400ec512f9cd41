"""Edits of one disc: which are drawn, what they do to the stream, and how mistakes are counted."""

import numpy as np
import pytest
import torch

from othello_edu.activations import residual_streams
from othello_edu.errors import OthelloEduError
from othello_edu.games import CENTRE, move_squares, random_games, replay, tokens
from othello_edu.interventions import Cases, probe_edits, run_cases, sample_cases, wrong_moves
from othello_edu.labels import EMPTY, MINE, THEIRS, contents, legal_tokens
from othello_edu.model import GPT, GPTConfig
from othello_edu.probes import LinearProbe


@pytest.fixture(scope="module")
def games():
    return random_games(30, seed=4)


@pytest.fixture(scope="module")
def positions(games):
    return replay(games)


def legal_by_walking(board, mover):
    """Squares where `mover` may play: walk from each empty square of board [64] all eight ways."""
    grid, legal = board.reshape(8, 8), set()
    steps = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    for row, column in zip(*np.where(grid == 0), strict=True):
        for down, right in steps:
            length, r, c = 0, row + down, column + right
            while 0 <= r < 8 and 0 <= c < 8 and grid[r, c] == 3 - mover:
                length, r, c = length + 1, r + down, c + right
            if length and 0 <= r < 8 and 0 <= c < 8 and grid[r, c] == mover:
                legal.add(int(8 * row + column))
    return legal


# Which edits are drawn ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flip", "erase"])
def test_legal_moves_after_an_edit_are_those_of_the_edited_board(positions, kind):
    cases = sample_cases(positions, 80, seed=0, kind=kind)
    squares, relative = move_squares(8), contents(positions)
    assert len(cases) == 80
    for row in range(80):
        game, ply, square = cases.game[row], cases.ply[row], cases.square[row]
        board, mover = positions.boards[game, ply].copy(), int(positions.to_move[game, ply])
        before = {int(squares[token]) for token in np.flatnonzero(cases.legal_before[row])}
        assert before == legal_by_walking(board, mover)
        assert cases.before[row] == relative[game, ply, square] and cases.before[row] in (MINE, THEIRS)
        assert cases.after[row] == (EMPTY if kind == "erase" else 3 - cases.before[row])
        board[square] = 0 if kind == "erase" else 3 - board[square]
        after = {int(squares[token]) for token in np.flatnonzero(cases.legal_after[row])}
        # A square of the centre has no token, and is never empty.
        assert after == legal_by_walking(board, mover)
        assert after and after != before, "the player to move still has a move, and not the same ones"
    np.testing.assert_array_equal(cases.legal_before, legal_tokens(positions)[cases.game, cases.ply])
    assert not cases.legal_after[:, 0].any(), "padding is never a move"


def test_no_centre_square_is_erased_but_some_are_flipped(positions):
    assert not np.isin(sample_cases(positions, 300, seed=1, kind="erase").square, CENTRE).any()
    assert np.isin(sample_cases(positions, 300, seed=1, kind="flip").square, CENTRE).any()


def test_cases_keep_to_their_plies_never_repeat_and_follow_the_seed(positions):
    cases = sample_cases(positions, 150, seed=2, plies=(20, 24))
    assert set(cases.ply) == {20, 21, 22, 23, 24}
    assert len(set(zip(cases.game, cases.ply, cases.square, strict=True))) == 150
    again, other = (sample_cases(positions, 150, seed, plies=(20, 24)) for seed in (2, 3))
    np.testing.assert_array_equal(again.square, cases.square)
    assert (other.square != cases.square).any()


def test_cases_are_drawn_on_small_boards_too():
    positions = replay(random_games(40, seed=0, board_size=6))
    cases = sample_cases(positions, 50, seed=0, plies=(4, 25))
    assert cases.legal_after.shape == (50, 33) and cases.legal_after.any(-1).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n": 10**6}, r"offer only \d+ of 1000000 cases: bring more games"),
        ({"n": 0}, "n is 0; ask for at least one case"),
        ({"n": 5, "kind": "swap"}, "kind is 'swap'"),
    ],
)
def test_cases_that_cannot_be_drawn_are_refused(positions, arguments, message):
    with pytest.raises(OthelloEduError, match=message):
        sample_cases(positions[:3], seed=0, **arguments)


# What an edit does --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(games, positions):
    """A network and a probe, both of random weights, and 40 cases."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, d_model=16)).eval()
    probe = LinearProbe.from_weights(torch.randn(3, 64, 3, 16), torch.randn(3, 64, 3))
    return model, probe, sample_cases(positions, 40, seed=0)


def margin(probe, cases, stage, streams):
    """By how much the probe prefers `after` to `before`; streams [n, d_model] at the cases' positions."""
    logits = torch.einsum("nqcd,nd->nqc", probe.weight[stage][None].expand(len(cases), -1, -1, -1), streams)
    logits, rows = logits + probe.bias[stage], np.arange(len(cases))
    return logits[rows, cases.square, cases.after] - logits[rows, cases.square, cases.before]


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_margin_is_mirrored_at_strength_1_and_nothing_at_strength_0(games, world, stage, strength):
    model, probe, cases = world
    sequences, at = tokens(games[cases.game]), (np.arange(len(cases)), cases.ply)
    with torch.no_grad():
        plain = model.run_with_cache(sequences)[1]["resid_post"][stage]
        edits = probe_edits(probe, cases, [stage], strength)
        edited = model.run_with_cache(sequences, edits=edits)[1]["resid_post"][stage]
    before, after = margin(probe, cases, stage, plain[at]), margin(probe, cases, stage, edited[at])
    against = before < 0
    assert 5 < against.sum() < 35, "some are in favour already"
    torch.testing.assert_close(after[against], -strength * before[against], rtol=1e-3, atol=1e-3)
    assert torch.equal(edited[at][~against], plain[at][~against])
    elsewhere = (edited != plain).any(-1)
    elsewhere[at] = False
    assert not elsewhere.any(), "other positions keep their streams"


def test_moves_before_the_edit_are_predicted_as_before_and_the_move_after_it_is_not(games, world):
    model, probe, cases = world
    sequences = tokens(games[cases.game])
    with torch.no_grad():
        plain, edited = model(sequences), model(sequences, edits=probe_edits(probe, cases, [1]))
    changed = (edited - plain).abs().amax(-1) > 1e-6
    past = torch.arange(changed.shape[1]) < torch.as_tensor(cases.ply)[:, None]
    assert not changed[past].any()
    assert changed[np.arange(len(cases)), cases.ply].any()


def test_logits_of_the_cases_are_those_at_their_positions(games, world):
    model, _, cases = world
    streams = residual_streams(model, games, stages=[2])[0]
    expected = model.logits_from(streams[cases.game, cases.ply])
    torch.testing.assert_close(run_cases(model, games, cases).logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stage", [3, -1])
def test_a_stage_without_a_probe_is_refused(world, stage):
    _, probe, cases = world
    with pytest.raises(OthelloEduError, match=r"this probe has stages 0\.\.2"):
        probe_edits(probe, cases, [stage])


# How mistakes are counted -------------------------------------------------------------------------------


def test_wrong_moves_by_hand():
    # Tokens: padding, then four moves. Padding scores highest of all, and is no prediction.
    logits = torch.tensor([9.0, 4.0, 3.0, 2.0, 1.0]).expand(5, 5)
    legal = np.array(
        [
            [0, 1, 1, 0, 0],  # the two likeliest: perfect
            [0, 1, 0, 1, 0],  # one is missed, one illegal move stands in its place
            [0, 0, 0, 1, 1],  # both missed, both replaced
            [0, 0, 0, 0, 1],
            [0, 1, 1, 1, 1],  # everything is legal: nothing can be wrong
        ],
        bool,
    )
    np.testing.assert_array_equal(wrong_moves(logits, legal), [0, 2, 4, 2, 0])
    assert logits[0, 0] == 9, "the caller's logits stay as they are"


def test_a_network_that_knows_the_edited_board_makes_no_mistake_on_it(positions):
    cases = sample_cases(positions, 60, seed=5)
    knows = torch.from_numpy(cases.legal_after).float()
    assert (wrong_moves(knows, cases.legal_after) == 0).all()
    loses = (cases.legal_before & ~cases.legal_after).any(axis=1)
    assert loses.any()
    assert (wrong_moves(knows, cases.legal_before)[loses] > 0).all()
    assert isinstance(cases, Cases)
