"""What can be said without any network: whoever claims that a network knows something compares with these.

`MajorityBaseline` guesses contents, as probes do. The scores are numbers that a board gives away at a glance,
to be compared with the activations of a feature.

See Also:
    Chapter 5, :doc:`/notebooks/05_linear_probes`, and chapter 9, :doc:`/notebooks/09_tile_stability`.
"""

import numpy as np
import numpy.typing as npt

from . import checks
from .engine import BLACK, EMPTY, WHITE, check_board_size
from .errors import OthelloEduError
from .probes import N_CLASSES, accuracy, checked_labels
from .scoring import auroc


class MajorityBaseline:
    """The control that looks at no network: the commonest class of each square at each ply.

    After `fit`: `classes` int8 [time, n_squares].

    Example:
        >>> baseline = MajorityBaseline().fit(np.array([[[2, 0]], [[2, 1]], [[1, 1]]]))
        >>> baseline.predict(1)  # one game, one ply, two squares
        array([[[2, 1]]], dtype=int8)

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """

    classes: np.ndarray

    def fit(self, labels: np.ndarray) -> "MajorityBaseline":
        """Count the classes of each square at each ply.

        Args:
            labels: int [n_games, time, n_squares] in 0..2, -1 for masked.

        Returns:
            The baseline itself.

        Raises:
            OthelloEduError: for labels of another shape or kind, and where there are no games.
        """
        labels = checked_labels(labels, "n_games", "time", "n_squares")
        if len(labels) == 0:
            raise OthelloEduError("labels hold no games: there is no majority")
        counts = np.stack([(labels == kind).sum(0) for kind in range(N_CLASSES)])
        self.classes = counts.argmax(0).astype(np.int8)  # [time, n_squares]
        return self

    def predict(self, n_games: int) -> np.ndarray:
        """The guess, which is the same for every game.

        Args:
            n_games: how many games to guess for.

        Returns:
            int8 [n_games, time, n_squares], a view that cannot be written to.

        Raises:
            OthelloEduError: for a number that is no integer or negative, and before `fit`.
        """
        if not hasattr(self, "classes"):
            raise OthelloEduError("this baseline is not fitted: call fit first")
        n_games = checks.integer("n_games", n_games, 0, 2**31 - 1)
        return np.broadcast_to(self.classes, (n_games, *self.classes.shape))

    def score(self, labels: np.ndarray) -> float:
        """Share of unmasked squares guessed correctly; NaN where all are masked.

        Args:
            labels: int [n_games, time, n_squares] in 0..2, -1 for masked, with as many plies and squares as
                those of `fit`.

        Raises:
            OthelloEduError: for labels of another shape or kind, and before `fit`.
        """
        labels = checked_labels(labels, "n_games", "time", "n_squares")
        return float(accuracy(self.predict(len(labels)), labels))


def ply_score(boards: npt.ArrayLike) -> np.ndarray:
    """Number of moves played.

    It is the number of discs less four, so that counting all discs would rank positions the same way.

    Args:
        boards: int [..., 64] (0 empty, 1 black, 2 white).

    Returns:
        float32 [..., 1].

    Raises:
        OthelloEduError: for what are no boards.

    Example:
        >>> from othello_edu import Board
        >>> ply_score(Board.start().contents)
        array([0.], dtype=float32)
    """
    discs = (_boards(boards) != EMPTY).view(np.int8)  # 64 at most, so that one byte counts them, and quickly
    return discs.sum(axis=-1, keepdims=True, dtype=np.int8).astype(np.float32) - 4


def lead_score(boards: npt.ArrayLike, to_move: npt.ArrayLike) -> np.ndarray:
    """Discs of the player to move less those of the opponent.

    Args:
        boards: int [..., 64] (0 empty, 1 black, 2 white).
        to_move: int [...] (1 black, 2 white, 0 nobody).

    Returns:
        float32 [..., 1]; 0 where nobody is to move.

    Raises:
        OthelloEduError: for what are no boards or players, and where shapes do not fit.
    """
    boards = _boards(boards)
    to_move = checks.integers("to_move", to_move, low=EMPTY, high=WHITE)
    if to_move.shape != boards.shape[:-1]:
        raise OthelloEduError(f"to_move has shape {to_move.shape}; the boards need {boards.shape[:-1]}")
    lead = (boards == BLACK).sum(axis=-1) - (boards == WHITE).sum(axis=-1)
    return (lead * (1 * (to_move == BLACK) - (to_move == WHITE)))[..., None].astype(np.float32)


def occupied_score(boards: npt.ArrayLike) -> np.ndarray:
    """One where a tile holds a disc of either colour, otherwise zero.

    Args:
        boards: int [..., 64] (0 empty, 1 black, 2 white).

    Returns:
        float32 [..., 64].

    Raises:
        OthelloEduError: for what are no boards.
    """
    return (_boards(boards) != EMPTY).astype(np.float32)


def _boards(boards: npt.ArrayLike) -> np.ndarray:
    """Boards int [..., 64]; refuses contents, whose -1 would count as a disc."""
    return checks.integers("boards", boards, "…", 64, low=EMPTY, high=WHITE)


def nearest_corner_score(boards: npt.ArrayLike, board_size: int = 8) -> np.ndarray:
    """One where the corner nearest to a tile is taken, otherwise zero: each corner has its quarter.

    Args:
        boards: int [..., 64] (0 empty, 1 black, 2 white).
        board_size: 4, 6 or 8: where the corners are.

    Returns:
        float32 [..., 64].

    Raises:
        OthelloEduError: for what are no boards, and for another size.
    """
    first = (8 - check_board_size(board_size)) // 2
    nearest = np.where(np.arange(8) < 4, first, 7 - first)
    return occupied_score(boards)[..., (8 * nearest[:, None] + nearest).ravel()]


def occupied_corner_score(boards: npt.ArrayLike, board_size: int = 8) -> np.ndarray:
    """Two where a tile is taken and the corner nearest to it as well, one where the tile alone is, else zero.

    On the sides of the board these two facts together say more about stability than either alone, though the
    score knows no colours, and nothing of what lies between tile and corner. Among boards where the tile is
    taken it ranks as `nearest_corner_score` does.

    Args:
        boards: int [..., 64] (0 empty, 1 black, 2 white).
        board_size: 4, 6 or 8: where the corners are.

    Returns:
        float32 [..., 64].

    Raises:
        OthelloEduError: for what are no boards, and for another size.

    Example:
        >>> board = np.zeros(64, int)
        >>> board[[0, 1]] = 1, 2  # black a1, white b1
        >>> occupied_corner_score(board)[:3]
        array([2., 2., 0.], dtype=float32)

    See Also:
        Chapter 9, :doc:`/notebooks/09_tile_stability`.
    """
    return occupied_score(boards) * (1 + nearest_corner_score(boards, board_size))


def baselines(
    boards: npt.ArrayLike, to_move: npt.ArrayLike, labels: npt.ArrayLike, board_size: int = 8
) -> dict[str, np.ndarray]:
    """AUROC of each simple score against the label of every tile.

    A feature has found something about a tile only if it beats all of these. A tile's own scores are used for
    its own label.

    Args:
        boards: int [n, 64] (0 empty, 1 black, 2 white).
        to_move: int [n] (1 black, 2 white, 0 nobody).
        labels: bool [n, 64], one fact about each tile.
        board_size: 4, 6 or 8: where the corners are.

    Returns:
        For the name of each score, float64 [64]; NaN where a label is constant.

    Raises:
        OthelloEduError: for what are no boards, players or labels, and where shapes do not fit.

    Example:
        >>> import othello_edu as oe
        >>> positions = oe.replay(oe.random_games(20, seed=0, board_size=4))
        >>> boards, to_move = positions.boards[positions.valid], positions.to_move[positions.valid]
        >>> scores = baselines(boards, to_move, boards > 0, board_size=4)
        >>> scores["tile occupied"].shape, float(np.nanmax(scores["tile occupied"]))
        ((64,), 1.0)

    See Also:
        Chapter 9, :doc:`/notebooks/09_tile_stability`.
    """
    scores = {
        "ply": ply_score(boards),
        "lead in discs": lead_score(boards, to_move),
        "tile occupied": occupied_score(boards),
        "nearest corner taken": nearest_corner_score(boards, board_size),
        "tile and corner taken": occupied_corner_score(boards, board_size),
    }
    tables = {name: auroc(columns, labels) for name, columns in scores.items()}
    return {name: table[0] if len(table) == 1 else table.diagonal().copy() for name, table in tables.items()}
