"""What is true at every position: the questions we ask of a network, and their right answers.

Row `t` describes the position after move `t`, which is what the model has read when it predicts move
`t + 1`. *Mine* belongs to the player who moves next.

See Also:
    Chapter 2, :doc:`/notebooks/02_games_as_text`, and chapter 5, :doc:`/notebooks/05_linear_probes`.
"""

import numpy as np
import torch

from . import checks
from .engine import BLACK, WHITE
from .games import CENTRE, PADDING, Games, Positions, move_squares, next_tokens, replay

EMPTY, MINE, THEIRS = 0, 1, 2
MASKED = -1


def contents(positions: Positions) -> np.ndarray:
    """Each square as the player to move sees it.

    Args:
        positions: as `replay(games)` returns them.

    Returns:
        int8 [n_games, n_plies, 64]. 0 empty, 1 mine, 2 theirs; -1 where nobody is to move or the row is past
        the end.

    Example:
        >>> from othello_edu.games import Games, replay
        >>> seen = contents(replay(Games.from_transcripts(["f5"])))
        >>> seen[0, 0, [36, 27, 0]]  # after f5 white moves: e5 is theirs, d4 mine, a1 empty
        array([2, 1, 0], dtype=int8)

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`, and chapter 5, :doc:`/notebooks/05_linear_probes`.
    """
    _checked(positions)
    relative = _relative(positions.boards, positions.to_move)
    relative[positions.to_move == 0] = MASKED
    return relative


def _checked(positions: Positions) -> Positions:
    return checks.kind_of("positions", positions, Positions, "Positions, as `replay(games)` returns them")


def _relative(boards: np.ndarray, player: np.ndarray) -> np.ndarray:
    """Boards in the colours of a player: 1 and 2 change places for white."""
    swapped = (player[..., None] == WHITE) & (boards > 0)
    return boards ^ (np.int8(MINE ^ THEIRS) * swapped)


def movers(positions: Positions) -> np.ndarray:
    """Who made each move.

    Args:
        positions: as `replay(games)` returns them.

    Returns:
        int8 [n_games, n_plies]. 1 black, 2 white; past the end it means nothing.
    """
    black = np.full((len(_checked(positions)), 1), BLACK, np.int8)
    return np.concatenate([black, positions.to_move[:, :-1]], axis=1)


def boards_before(positions: Positions) -> np.ndarray:
    """Each board *before* move `t`.

    Args:
        positions: as `replay(games)` returns them.

    Returns:
        int8 [n_games, n_plies, 64]. 0 empty, 1 black, 2 white.
    """
    start = np.zeros((len(_checked(positions)), 1, 64), np.int8)
    start[..., CENTRE] = WHITE, BLACK, BLACK, WHITE
    return np.concatenate([start, positions.boards[:, :-1]], axis=1)


def contents_before(positions: Positions) -> np.ndarray:
    """What the paper's probes were asked: each square *before* move `t`, as the player of move `t` saw it.

    Row `t` of `contents` is one move later, and what the network needs to predict move `t + 1`; this is what
    it needed a move ago.

    Args:
        positions: as `replay(games)` returns them.

    Returns:
        int8 [n_games, n_plies, 64]. 0 empty, 1 mine, 2 theirs; -1 past the end.

    References:
        Du et al. (2025), the code.
    """
    relative = _relative(boards_before(positions), movers(positions))
    relative[~positions.valid] = MASKED
    return relative


def colours(positions: Positions) -> np.ndarray:
    """Each square in absolute colours, masked as `contents` is.

    Args:
        positions: as `replay(games)` returns them.

    Returns:
        int8 [n_games, n_plies, 64]. 0 empty, 1 black, 2 white, or -1.
    """
    absolute = _checked(positions).boards.copy()
    absolute[positions.to_move == 0] = MASKED
    return absolute


def legal_tokens(positions: Positions) -> np.ndarray:
    """Which tokens are legal next moves; padding never is.

    Args:
        positions: as `replay(games)` returns them.

    Returns:
        bool [n_games, n_plies, vocabulary].
    """
    squares = move_squares(_checked(positions).board_size)
    legal = np.take(positions.legal, squares, axis=-1)  # -1 looks at h8 and is overwritten
    legal[..., 0] = False
    return legal


def legal_distribution(games: Games) -> torch.Tensor:
    """How the next move of a random game is drawn: all legal moves with equal weight.

    Of human games it says what was legal, not what was likely.

    Args:
        games: n_games of them.

    Returns:
        float32 [n_games, n_plies - 1, vocabulary], aligned with `next_tokens`. Row `t` is the distribution of
        move `t + 1`, and adds up to 1, or to 0 where no move follows.
    """
    legal = torch.from_numpy(legal_tokens(replay(games))[:, :-1]).float()
    legal[next_tokens(games) == PADDING] = 0  # of a game that was cut short
    return legal / legal.sum(-1, keepdim=True).clamp(min=1)


def plies(positions: Positions) -> np.ndarray:
    """Number of moves played.

    Args:
        positions: as `replay(games)` returns them.

    Returns:
        int64 [n_games, n_plies]. `t + 1`, or 0 past the end.
    """
    _checked(positions)
    return np.where(positions.valid, np.arange(1, positions.valid.shape[1] + 1), 0)
