"""`BoardWidget`: a board to play on, with undo, redo, transcripts, and anything drawn on its squares."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from ..board import parse_square
from ..errors import OthelloEduError
from .game_tape import heat_limits, label_names
from .modules import esm
from .playable import PlayableGame


class BoardWidget(PlayableGame):
    """A board to play on by mouse, touch or keyboard; in a page without a kernel, too.

    All of the arguments but the size can be read and set at any time, from both sides: what the reader plays
    is in `moves` and `ply`, and `observe` tells of it. Moves after `ply` are those that were undone. To draw
    numbers on the squares, see `draw`.

    Args:
        moves: a transcript such as `"f5d6c3"`, to begin with.
        board_size: 4, 6 or 8.
        ply: how many of the moves are on the board, all by default.
        marks: names of squares that carry a mark.
        mark_name: what the mark means.
        show_legal: whether the squares of legal moves are shown.
        title: shown above.

    Raises:
        OthelloEduError: for what does not fit; the widget is then as it was.
        IllegalMoveError: for a game that breaks the rules; the widget is then as it was.

    Example:
        >>> widget = BoardWidget("f5d6")
        >>> widget.play("c3")
        >>> widget.moves, widget.ply
        ('f5d6c3', 3)

    See Also:
        Chapter 1, :doc:`/notebooks/01_the_game`.
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
        marks: Iterable[str] = (),
        mark_name: str = "marked",
        show_legal: bool = True,
        title: str = "Othello",
    ):
        traits = {"marks": list(marks), "mark_name": mark_name, "show_legal": show_legal}
        super().__init__(moves, board_size, ply, title, **traits)

    def draw(
        self,
        values: npt.ArrayLike | None = None,
        value_name: str = "value",
        limits: tuple[float, float] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        """Draw a number on each square, or nothing any more.

        Args:
            values: real [64], NumPy or torch. Floats are a heat map (NaN: no value), integers are labels 0 to
                7 (-1: no label). None draws nothing.
            value_name: what they are, with the unit.
            limits: of a heat map, (low, high), as for `GameTape`.
            names: of labels, as for `GameTape`.

        Raises:
            OthelloEduError: for another shape, and limits or labels that do not fit.
        """
        if values is None:
            self.set_trait("drawn", {})
            return
        values = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
        if values.shape != (64,) or not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
            raise OthelloEduError(
                f"values have shape {values.shape}; a board needs a number for each of 64 squares"
            )
        drawn: dict[str, Any] = {"name": value_name}
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
