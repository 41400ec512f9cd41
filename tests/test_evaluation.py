"""Evaluation: losses, legal rates and calibration are those of arithmetic, and of the rules."""

import math

import numpy as np
import pytest
import torch

from othello_edu.board import Board
from othello_edu.errors import OthelloEduError
from othello_edu.evaluation import calibration, evaluate
from othello_edu.games import encode_moves, move_squares, random_games
from othello_edu.model import GPT, GPTConfig


class Oracle(torch.nn.Module):
    """Stands in for a network: logits from a rule about the moves read so far. Adores padding."""

    def __init__(self, rule, board_size):
        super().__init__()
        self.config = GPTConfig(board_size=board_size, n_layer=1, n_head=1, d_model=1)
        self.rule, self.nothing = rule, torch.nn.Parameter(torch.zeros(1))

    def forward(self, sequences):
        logits = torch.full((*sequences.shape, self.config.vocab_size), -1e4)
        for game, sequence in enumerate(sequences.tolist()):
            played = [move for move in sequence if move]
            for ply in range(len(played)):
                logits[game, ply] = self.rule(played[: ply + 1])
        logits[..., 0] = 1e4
        return logits


@pytest.fixture(scope="module")
def small_games():
    """Games on 4x4 and 6x6: with passes, and of different lengths."""
    by_size = {size: random_games(40, seed=5, board_size=size) for size in (4, 6)}
    for size, games in by_size.items():
        movers = [
            [games.board(game, ply).to_move for ply in range(-1, games.lengths[game] - 1)]
            for game in range(40)
        ]
        assert any(a == b for row in movers for a, b in zip(row[1:-1], row[2:], strict=False)), "no pass"
        assert len(set(games.lengths)) > 1, size
    return by_size


def legal_squares(size):
    """Logits of 0 for every legal move, found by playing on a `Board`, and next to nothing for others."""
    squares = move_squares(size)

    def rule(played):
        board = Board.from_moves(squares[played].tolist(), size)
        legal = [token for token in range(1, len(squares)) if board.legal_bits >> int(squares[token]) & 1]
        logits = torch.full((len(squares),), -1e4)
        logits[legal] = 0
        return logits

    return rule


def log_numbers_of_legal_moves(games):
    """For each move but the first of each game, in order."""
    boards = [games.board(game, ply) for game in range(len(games)) for ply in range(games.lengths[game] - 1)]
    return np.log([board.legal_bits.bit_count() for board in boards])


@pytest.mark.parametrize("size", [4, 6])
def test_a_network_that_knows_exactly_what_is_legal_has_no_excess_loss(small_games, size):
    games = small_games[size]
    metrics = evaluate(Oracle(legal_squares(size), size), games, batch_size=16)
    assert metrics["excess_loss"] == pytest.approx(0, abs=1e-6)
    assert metrics["loss"] == pytest.approx(log_numbers_of_legal_moves(games).mean(), abs=1e-6)
    assert metrics["legal_rate"] == 1
    assert metrics["legal_mass"] == pytest.approx(1)
    assert metrics["calibration"]["error"] == pytest.approx(0, abs=1e-5)
    rates = metrics["legal_rate_by_ply"]
    assert len(rates) == size**2 - 4 and np.isnan(rates[0])
    assert (rates[1 : games.lengths.max()] == 1).all() and np.isnan(rates[games.lengths.max() :]).all()


@pytest.mark.parametrize("size", [4, 6])
def test_the_uniform_guess_has_the_loss_of_arithmetic(small_games, size):
    games = small_games[size]
    metrics = evaluate(Oracle(lambda played: torch.zeros(size**2 - 3), size), games)
    log_n = log_numbers_of_legal_moves(games)
    every_square = math.log(size**2 - 4)  # padding is never a prediction, however much the network adores it
    assert metrics["loss"] == pytest.approx(every_square, abs=1e-6)
    assert metrics["excess_loss"] == pytest.approx(every_square - log_n.mean(), abs=1e-6)
    assert metrics["legal_mass"] == pytest.approx(np.exp(log_n - every_square).mean(), abs=1e-6)


def test_loss_is_excess_loss_and_the_choice_among_legal_moves_on_average():
    """Each move is drawn from the legal ones: only the draw parts the loss from its expected value."""
    games = random_games(400, seed=8, board_size=6)
    torch.manual_seed(0)
    guess = 0.3 * torch.randn(33)
    metrics = evaluate(Oracle(lambda played: guess, 6), games)
    n = (games.lengths - 1).sum()
    difference = metrics["loss"] - metrics["excess_loss"] - log_numbers_of_legal_moves(games).mean()
    assert 0 < abs(difference) < 5 * 0.3 / math.sqrt(n)


def test_loss_by_hand_on_one_game():
    game = random_games(1, seed=1, board_size=4)
    sequence = encode_moves(game.moves, 4)[0, : game.lengths[0]].tolist()
    torch.manual_seed(1)
    table = torch.randn(13, 13)
    metrics = evaluate(Oracle(lambda played: table[played[-1]], 4), game)
    p = table[:, 1:].double().softmax(-1)  # column k is token k + 1
    loss, excess, hit, mass = [], [], [], []
    for ply, (last, following) in enumerate(zip(sequence, sequence[1:], strict=False)):
        legal = [t for t in range(1, 13) if game.board(0, ply).legal_bits >> int(move_squares(4)[t]) & 1]
        row = {token: p[last, token - 1].item() for token in range(1, 13)}
        loss.append(-math.log(row[following]))
        excess.append(sum(math.log(1 / len(legal) / row[token]) / len(legal) for token in legal))
        hit.append(max(row, key=row.get) in legal)
        mass.append(sum(row[token] for token in legal))
    expected = [np.mean(values) for values in (loss, excess, hit, mass)]
    names = ("loss", "excess_loss", "legal_rate", "legal_mass")
    assert [metrics[name] for name in names] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(metrics["legal_rate_by_ply"][1 : len(sequence)], np.array(hit, float))


def test_calibration_is_the_mean_distance_of_what_is_said_and_what_is_so():
    stated = np.array([0.05, 0.95, 0.15, 0.17, 1.0])
    so = np.array([0.05, 0.45, 0.0, 0.5, 1.0])
    metrics = calibration(stated, so)
    assert metrics["n"] == [1, 2, 2]
    assert metrics["confidence"] == [0.05, 0.16, 0.975] and metrics["truth"] == [0.05, 0.25, 0.725]
    assert metrics["error"] == pytest.approx((0 + 2 * 0.09 + 2 * 0.25) / 5)


def test_a_network_that_is_too_sure_is_badly_calibrated(small_games):
    games, knows = small_games[6], legal_squares(6)
    errors = [
        evaluate(Oracle(lambda played, k=k: k * knows(played), 6), games)["calibration"]["error"]
        for k in (2e-4, 1)
    ]
    assert errors[0] > 0.05 > errors[1], "all legal moves alike, but some probability left for the others"

    def loves_one(played):
        return 30 * knows(played) + torch.arange(33)

    metrics = evaluate(Oracle(loves_one, 6), games)
    assert metrics["legal_rate"] == 1 and metrics["calibration"]["error"] > 0.3


@pytest.mark.parametrize("ply", [1, 5, 20, 31])
def test_legal_rate_by_ply_counts_moves_from_the_start_passes_or_not(small_games, ply):
    games = small_games[6]
    knows = legal_squares(6)

    def only_move_number_ply(played):  # elsewhere it repeats the first move, on a square that is taken
        if len(played) == ply:
            return knows(played)
        return torch.nn.functional.one_hot(torch.tensor(played[0]), 33).float()

    metrics = evaluate(Oracle(only_move_number_ply, 6), games)
    rates = metrics["legal_rate_by_ply"]
    assert rates[ply] == 1
    elsewhere = np.delete(rates, [0, ply])
    assert (elsewhere[~np.isnan(elsewhere)] == 0).all() and (~np.isnan(elsewhere)).sum() > 20
    reached = (games.lengths > ply).sum() / (games.lengths - 1).sum()
    assert metrics["legal_rate"] == pytest.approx(reached)


def test_games_of_different_lengths_weigh_by_their_moves(small_games):
    games = small_games[4]
    losses = [evaluate(Oracle(legal_squares(4), 4), games, batch_size=size)["loss"] for size in (1, 7, 40)]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-9)
    alone = [evaluate(Oracle(legal_squares(4), 4), games[game])["loss"] for game in range(len(games))]
    assert np.average(alone, weights=games.lengths - 1) == pytest.approx(losses[0], abs=1e-6)


def test_a_network_of_nan_is_not_measured_as_if_it_were_well(small_games):
    def sometimes(played):
        return torch.full((33,), torch.nan) if len(played) == 3 else torch.zeros(33)

    assert np.isnan(evaluate(Oracle(sometimes, 6), small_games[6])["loss"])


def test_evaluation_leaves_the_mode_of_the_model_as_it_was(small_games):
    torch.manual_seed(0)
    model = GPT(GPTConfig(board_size=4, n_layer=2, n_head=2, d_model=16, dropout=0.5))
    first, second = evaluate(model, small_games[4]), evaluate(model, small_games[4])
    assert model.training and first["loss"] == second["loss"], "dropout is off while measuring"
    assert evaluate(model.eval(), small_games[4]) and not model.training


def test_games_that_do_not_fit_the_model_are_refused(small_games):
    with pytest.raises(OthelloEduError, match="board size 4 cannot be measured on Games.40 games on 6x6"):
        evaluate(GPT(GPTConfig(board_size=4)), small_games[6])
    with pytest.raises(OthelloEduError, match="cannot be measured on Games.0 games"):
        evaluate(GPT(GPTConfig(board_size=4)), small_games[4][:0])
