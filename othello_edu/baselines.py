"""What can be said without any network: whoever claims that a network knows something compares with these.

`MajorityBaseline` guesses contents, as probes do. The scores are numbers that a board gives away at a glance,
to be compared with the activations of a feature.
"""

import numpy as np

from . import checks
from .engine import BLACK, EMPTY, WHITE, check_board_size
from .errors import OthelloEduError
from .probes import N_CLASSES, accuracy, checked_labels
from .scoring import auroc


class MajorityBaseline:
    """The control that looks at no network: the commonest class of each square at each ply."""

    def fit(self, labels: np.ndarray) -> "MajorityBaseline":
        """labels int [n_games, time, n_squares], -1 for masked."""
        labels = checked_labels(labels, "n_games", "time", "n_squares")
        if len(labels) == 0:
            raise OthelloEduError("labels hold no games: there is no majority")
        counts = np.stack([(labels == kind).sum(0) for kind in range(N_CLASSES)])
        self.classes = counts.argmax(0).astype(np.int8)  # [time, n_squares]
        return self

    def predict(self, n_games: int) -> np.ndarray:
        """int8 [n_games, time, n_squares]: the same for every game."""
        if not hasattr(self, "classes"):
            raise OthelloEduError("this baseline is not fitted: call fit first")
        n_games = checks.integer("n_games", n_games, 0, 2**31 - 1)
        return np.broadcast_to(self.classes, (n_games, *self.classes.shape))

    def score(self, labels: np.ndarray) -> float:
        """Share of unmasked squares guessed correctly."""
        labels = checked_labels(labels, "n_games", "time", "n_squares")
        return float(accuracy(self.predict(len(labels)), labels))


def ply_score(boards) -> np.ndarray:
    """Number of moves played, float32 [..., 1], from boards int [..., 64].

    It is the number of discs less four, so that counting all discs would rank positions the same way.
    """
    discs = (_boards(boards) != EMPTY).view(np.int8)  # 64 at most, so that one byte counts them, and quickly
    return discs.sum(axis=-1, keepdims=True, dtype=np.int8).astype(np.float32) - 4


def lead_score(boards, to_move) -> np.ndarray:
    """Discs of the player to move less those of the opponent, float32 [..., 1]; 0 where nobody is to move.

    boards: int [..., 64] (0 empty, 1 black, 2 white). to_move: int [...] (1 black, 2 white, 0 nobody).
    """
    boards = _boards(boards)
    to_move = checks.integers("to_move", to_move, low=EMPTY, high=WHITE)
    if to_move.shape != boards.shape[:-1]:
        raise OthelloEduError(f"to_move has shape {to_move.shape}; the boards need {boards.shape[:-1]}")
    lead = (boards == BLACK).sum(axis=-1) - (boards == WHITE).sum(axis=-1)
    return (lead * (1 * (to_move == BLACK) - (to_move == WHITE)))[..., None].astype(np.float32)


def occupied_score(boards) -> np.ndarray:
    """One where a tile holds a disc of either colour, float32 [..., 64]."""
    return (_boards(boards) != EMPTY).astype(np.float32)


def _boards(boards) -> np.ndarray:
    """Boards int [..., 64]; refuses contents, whose -1 would count as a disc."""
    return checks.integers("boards", boards, "…", 64, low=EMPTY, high=WHITE)


def nearest_corner_score(boards, board_size: int = 8) -> np.ndarray:
    """One where the corner nearest to a tile is taken, float32 [..., 64]: each corner has its quarter."""
    first = (8 - check_board_size(board_size)) // 2
    nearest = np.where(np.arange(8) < 4, first, 7 - first)
    return occupied_score(boards)[..., (8 * nearest[:, None] + nearest).ravel()]


def baselines(boards, to_move, labels, board_size: int = 8) -> dict[str, np.ndarray]:
    """AUROC of each simple score against the label of every tile, {name: float64 [64]}.

    boards: int [n, 64]. to_move: int [n]. labels: bool [n, 64], one fact about each tile. A tile's own scores
    are used for its own label. NaN where a label is constant. A feature has found something about a tile
    only if it beats all of these.
    """
    scores = {
        "ply": ply_score(boards),
        "lead in discs": lead_score(boards, to_move),
        "tile occupied": occupied_score(boards),
        "nearest corner taken": nearest_corner_score(boards, board_size),
    }
    tables = {name: auroc(columns, labels) for name, columns in scores.items()}
    return {name: table[0] if len(table) == 1 else table.diagonal().copy() for name, table in tables.items()}
