"""Chapter 2, games as text: whose turn it is, and the distance from the best possible guess."""

import numpy as np

from .. import labels
from ..board import Board
from ..games import next_tokens, random_games, replay
from ._question import Misconception, Question


def passes(transcript):
    board, n_passes = Board.start(), 0
    for at in range(0, len(transcript), 2):
        mover = board.to_move
        board = board.play(transcript[at : at + 2])
        n_passes += board.to_move == mover
    return n_passes


def _never(transcript):
    return 0


def _turns_against_parity(transcript):
    boards = [Board.from_moves(transcript[:at]) for at in range(0, len(transcript) + 1, 2)]
    return sum(board.to_move not in (0, 1 + ply % 2) for ply, board in enumerate(boards))


def _end_is_a_pass(transcript):
    board, n_passes = Board.start(), 0
    for at in range(0, len(transcript), 2):
        opponent = 3 - board.to_move
        board = board.play(transcript[at : at + 2])
        n_passes += board.to_move != opponent
    return n_passes


def _empty_squares_left(transcript):
    return 60 - len(transcript) // 2


def _transcripts_with_passes():
    games = random_games(60, seed=21)
    texts = [games.transcript(game) for game in range(len(games))]
    chosen = {passes(text): text for text in texts}  # one game for each number of passes
    early = next(text for text, length in zip(texts, games.lengths, strict=True) if length < 60)
    return [*chosen.values(), early, texts[0][:40], ""]


q1 = Question(
    title="Count the passes",
    answer=passes,
    cases=[(text,) for text in _transcripts_with_passes()],
    misconceptions=[
        Misconception(
            _never,
            "You find no pass in any game, as if black and white always took turns. A pass is not written "
            "in the transcript; only playing the game shows it.",
        ),
        Misconception(
            _turns_against_parity,
            "You count the positions where the player to move is not the one that the number of moves "
            "suggests. One pass shifts every turn after it, so it is counted again and again.",
        ),
        Misconception(
            _end_is_a_pass,
            "You count the end of the game as a pass. There nobody is to move (`to_move` is 0): neither "
            "player can, so no one is skipped.",
        ),
        Misconception(
            _empty_squares_left,
            "You count the moves that are missing at the end. A game with a pass can still fill the board: a "
            "pass takes a turn, not a square.",
        ),
    ],
    advice=(
        "Play the transcript move by move with `board.play`, which skips a player who cannot move. "
        "How do `to_move` before and after a move compare when somebody was skipped?"
    ),
    why=(
        "The turn changes hands with every move, unless the opponent has to pass; then the same player moves "
        "again. The number of moves played alone does not tell whose turn it is."
    ),
)


def excess_loss(probabilities, games):
    positions = replay(games)
    legal = labels.legal_tokens(positions)[:, :-1]
    has_target = positions.valid[:, 1:]
    n_legal = legal.sum(axis=-1)[has_target]
    cost = -np.where(legal, np.log(probabilities), 0).sum(axis=-1)[has_target] / n_legal
    return (cost - np.log(n_legal)).mean()


def _legal_and_probabilities(probabilities, games, late=0):
    """Rows with a target, flat: which tokens are legal (`late` rows later), and the probabilities."""
    positions = replay(games)
    rows = positions.valid[:, 1:]
    legal = labels.legal_tokens(positions)[:, late : probabilities.shape[1] + late]
    return legal[rows], probabilities[rows]


def _against_the_moves_played(probabilities, games):
    legal, p = _legal_and_probabilities(probabilities, games)
    targets = next_tokens(games).numpy()
    targets = targets[targets > 0]
    return (-np.log(p[np.arange(len(p)), targets]) - np.log(legal.sum(axis=-1))).mean()


def _without_the_floor(probabilities, games):
    legal, p = _legal_and_probabilities(probabilities, games)
    return (-np.where(legal, np.log(p), 0).sum(axis=-1) / legal.sum(axis=-1)).mean()


def _the_other_way_round(probabilities, games):
    legal, p = _legal_and_probabilities(probabilities, games)
    return np.where(legal, p * np.log(p * legal.sum(axis=-1, keepdims=True)), 0).sum(axis=-1).mean()


def _mass_alone(probabilities, games):
    legal, p = _legal_and_probabilities(probabilities, games)
    return -np.log(np.where(legal, p, 0).sum(axis=-1)).mean()


def _over_every_row(probabilities, games):
    positions = replay(games)
    return excess_loss(probabilities, games) * positions.valid[:, 1:].mean()


def _row_too_late(probabilities, games):
    legal, p = _legal_and_probabilities(probabilities, games, late=1)
    not_last = legal.any(axis=-1)  # the last row of a game has no legal move
    legal, p = legal[not_last], p[not_last]
    n_legal = legal.sum(axis=-1)
    return (-np.where(legal, np.log(p), 0).sum(axis=-1) / n_legal - np.log(n_legal)).mean()


def _guesses():
    """Games, short ones among them, and the guesses of a network that knows next to nothing."""
    games = random_games(400, seed=22)
    rng = np.random.default_rng(22)
    for subset in (games[:2], games[np.flatnonzero(games.lengths < 60)]):
        scores = np.exp(rng.normal(size=(len(subset), 59, 61)))
        yield scores / scores.sum(axis=-1, keepdims=True), subset


q2 = Question(
    title="The excess loss",
    answer=excess_loss,
    cases=list(_guesses()),
    misconceptions=[
        Misconception(
            _against_the_moves_played,
            "You charge for the moves that were played. Averaged over all possible games that gives the "
            "same number, but here it adds the luck of these games. The divergence is from the uniform "
            "distribution over all legal moves.",
        ),
        Misconception(
            _without_the_floor,
            "You average the cost over the legal moves but do not take away what the best possible guess "
            "costs, so a perfect network would not get zero.",
        ),
        Misconception(
            _the_other_way_round,
            "You weigh by the network's probabilities: that is the divergence from the network to the "
            "uniform distribution. What the network puts on illegal moves then costs nothing.",
        ),
        Misconception(
            _mass_alone,
            "You charge for the probability that is missing on legal moves, whatever its spread. A network "
            "that always names one legal move, and is sure of it, would get zero.",
        ),
        Misconception(
            _over_every_row,
            "You divide by all rows. Past the end of a short game nothing is predicted: those rows make the "
            "average look better than it is.",
        ),
        Misconception(
            _row_too_late,
            "You compare each guess with the legal moves one row too late, after the move to predict has "
            "been played.",
        ),
    ],
    advice=(
        "`labels.legal_tokens(oe.replay(games))[:, :-1]` has the shape of `probabilities`, and its row `t` "
        "holds the moves to choose from. Every legal move weighs the same: average `-log p` over them, "
        "take away `log(number of legal moves)`, and average over the rows where `.valid[:, 1:]` is True."
    ),
    why=(
        "In each row the uniform guess costs the logarithm of the number of legal moves; the network's "
        "costs the average of `-log p` over the legal moves. The difference is never negative, and zero "
        "only for the uniform guess."
    ),
)
