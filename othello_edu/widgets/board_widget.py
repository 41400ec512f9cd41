"""`BoardWidget`: a board to play on, with undo, redo, transcripts, and anything drawn on its squares."""

import numpy as np
import traitlets

from ..board import parse_square
from ..errors import OthelloEduError
from .game_tape import heat_limits, label_names
from .modules import esm
from .playable import PlayableGame


class BoardWidget(PlayableGame):
    """A board to play on by mouse, touch or keyboard; in a page without a kernel, too.

    moves: a transcript such as `"f5d6c3"`, to begin with. board_size: 4, 6 or 8. ply: how many of the moves
    are on the board, all by default. marks: names of squares that carry a mark; mark_name: what it means.
    show_legal: whether the squares of legal moves are shown. title: shown above. To draw numbers on the
    squares, see `draw`.

    All of these but the size can be read and set at any time, from both sides: what the reader plays is in
    `moves` and `ply`, and `observe` tells of it. Moves after `ply` are those that were undone.

    Raises OthelloEduError for what does not fit, IllegalMoveError for a game that breaks the rules; the
    widget is then as it was.
    """

    _esm = esm("board_widget.js")

    marks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    mark_name = traitlets.Unicode("marked").tag(sync=True)
    show_legal = traitlets.Bool(True).tag(sync=True)
    # What `draw` was given, checked: values (64, null for none), name, and limits or names.
    drawn = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        moves: str = "",
        board_size: int = 8,
        *,
        ply: int | None = None,
        marks=(),
        mark_name: str = "marked",
        show_legal: bool = True,
        title: str = "Othello",
    ):
        traits = {"marks": list(marks), "mark_name": mark_name, "show_legal": show_legal}
        super().__init__(moves, board_size, ply, title, **traits)

    def draw(self, values=None, value_name: str = "value", limits=None, names=None) -> None:
        """Draw a number on each square, or nothing any more.

        values [64], NumPy or torch: floats are a heat map (NaN: no value) with optional limits (low, high);
        integers are labels 0 to 7 (-1: no label) with optional names. value_name: what they are, with the
        unit.
        """
        if values is None:
            self.set_trait("drawn", {})
            return
        values = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
        if values.shape != (64,) or not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
            raise OthelloEduError(
                f"values have shape {values.shape}; a board needs a number for each of 64 squares"
            )
        drawn = {"name": value_name}
        if np.issubdtype(values.dtype, np.floating):
            drawn["limits"] = list(heat_limits(values, limits, names))
            drawn["values"] = [None if np.isnan(value) else float(value) for value in values]
        else:
            drawn["names"] = label_names(values, limits, names)
            drawn["values"] = [None if value < 0 else int(value) for value in values]
        self.set_trait("drawn", drawn)

    @traitlets.validate("marks")
    def _check_marks(self, proposal):
        for name in proposal["value"]:
            parse_square(name)
        return [name.lower() for name in proposal["value"]]
