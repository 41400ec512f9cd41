"""The still picture that a widget leaves where no script runs: in print, and in a notebook's file."""

import numpy as np
import traitlets

from ..board import PLAYER_NAMES, SQUARE_NAMES, Board
from ..drawing import BoardPanel, boards_svg
from ..engine import BLACK, WHITE


def describe_position(board: Board) -> str:
    """A position in words: who moves, where the discs lie.

    Args:
        board: the position.

    Example:
        >>> describe_position(Board.start())
        'black to move. Black on e4, d5. White on d4, e5.'
    """
    turn = "the game is over" if board.is_over else f"{PLAYER_NAMES[board.to_move]} to move"
    sentences = [f"{turn}."]
    for player in (BLACK, WHITE):
        squares = [SQUARE_NAMES[square] for square in np.flatnonzero(board.contents == player)]
        where = f"on {', '.join(squares)}" if squares else "has no disc"
        sentences.append(f"{PLAYER_NAMES[player].capitalize()} {where}.")
    return " ".join(sentences)


class PictureMixin:
    """Mixin of a widget with `moves`, `ply`, `board_size`, `title`: it leaves a picture of its position."""

    # Traits of the widget.
    moves: traitlets.Unicode
    ply: traitlets.Int
    board_size: traitlets.Int
    title: traitlets.Unicode

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "image/svg+xml": self.picture()}, metadata

    def picture(self) -> str:
        """The position as an SVG picture. A tape at its start shows the last position, which tells more."""
        n_moves = len(self.moves) // 2
        ply = self.ply if self.ply or not hasattr(self, "n_moves") else n_moves
        played = self.moves[: 2 * ply]
        board = Board.from_moves(played, self.board_size)
        caption = f"{self.title}: " + (f"after move {ply} of {n_moves}" if ply else "the start of a game")
        last = SQUARE_NAMES.index(played[-2:]) if played else None
        names = board.legal_moves if getattr(self, "show_legal", True) else ()  # a reader may want to guess
        legal = [SQUARE_NAMES.index(name) for name in names]
        panel = BoardPanel(board.contents, caption, last, legal)
        return boards_svg([panel], f"{caption}, {describe_position(board)}", self.board_size)
