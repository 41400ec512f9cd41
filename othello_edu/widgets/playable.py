"""What widgets with a board to play on share: a game, how many of its moves are played, and their checks."""

from typing import Any

import anywidget
import traitlets
from IPython import get_ipython

from ..board import Board, parse_square, square_name
from ..engine import check_board_size
from ..errors import OthelloEduError
from ..games import Games
from .modules import css
from .picture import PictureMixin


class PlayableGame(PictureMixin, anywidget.AnyWidget):
    """A game that the reader and the kernel may both change.

    Moves after `ply` are those that were undone.

    Args:
        moves: a transcript.
        board_size: 4, 6 or 8.
        ply: how many of the moves are on the board; None for all.
        title: shown above.
        **traits: other traits of the widget, to be set when the game is there.

    Raises:
        OthelloEduError: for what does not fit; the widget is then as it was.
        IllegalMoveError: for a game that breaks the rules; the widget is then as it was.
    """

    _css = css()

    board_size = traitlets.Int(8, read_only=True).tag(sync=True)
    moves = traitlets.Unicode("").tag(sync=True)
    ply = traitlets.Int(0).tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    cell = traitlets.Int(0, read_only=True).tag(sync=True)  # the number of the cell that made it; 0: of none

    def __init__(self, moves: str, board_size: int, ply: int | None, title: str, **traits: Any):
        check_board_size(board_size)
        super().__init__()
        with self.hold_sync():
            self.set_trait("board_size", board_size)
            self.set_trait("cell", _number_of_cell())
            self.moves = moves
            self.ply = len(self.moves) // 2 if ply is None else ply
            self.title = title
            for name, value in traits.items():
                self.set_trait(name, value)

    @property
    def board(self) -> Board:
        """The position after `ply` moves."""
        return Board.from_moves(self.moves[: 2 * self.ply], self.board_size)

    def play(self, move: str) -> None:
        """Play a move from the position that is shown; what had been undone is forgotten.

        Args:
            move: the name of a square, such as "d3".

        Raises:
            OthelloEduError: for what is no square.
            IllegalMoveError: for a move against the rules; the widget is then as it was.
        """
        self.moves = self.moves[: 2 * self.ply] + square_name(parse_square(move))
        self.ply += 1

    def undo(self) -> None:
        """Take the last move back; at the start, nothing happens."""
        self.ply = max(0, self.ply - 1)

    @traitlets.validate("moves")
    def _check_moves(self, proposal):
        # As "f5d6c3", however it was written: the browser takes two letters for a move.
        return Games.from_transcripts([proposal["value"]], self.board_size).transcript(0)

    @traitlets.validate("ply")
    def _check_ply(self, proposal):
        if not 0 <= proposal["value"] <= len(self.moves) // 2:
            raise OthelloEduError(f"ply is {proposal['value']}; there are moves 0 to {len(self.moves) // 2}")
        return proposal["value"]

    @traitlets.observe("moves")
    def _limit_ply(self, change):
        # With fewer moves than before, ply cannot lie behind the last one.
        self.ply = min(self.ply, len(change["new"]) // 2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.moves!r}, ply={self.ply})"


def _number_of_cell() -> int:
    """The number beside the cell of a notebook that is running; 0 outside of a notebook."""
    shell = get_ipython()
    # Not its execution_count: while a cell runs, some versions are one ahead.
    return 0 if shell is None else shell.displayhook.prompt_count
