"""`GameTape`: step through one game, with any per-ply array drawn on the board.

What is drawn is checked and packed here, once, and travels with the page as short strings; the game itself is
replayed in the browser. So the tape works in a notebook and in a page that has no kernel.

See Also:
    Chapter 1, :doc:`/notebooks/01_the_game`.
"""

import base64
from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import numpy.typing as npt
import traitlets

from .. import engine
from ..errors import OthelloEduError
from ..games import Games, replay
from .modules import css, esm
from .picture import PictureMixin

MAX_LABELS = 8  # as many as the palette has colours that a colour-blind reader can tell apart
NO_VALUE = 255  # the byte that stands for a square without a value; 0..254 span the limits


class GameTape(PictureMixin, anywidget.AnyWidget):
    """One game, move by move, in the browser: slider, buttons, arrow keys, Home and End.

    The current place can be read and set as `tape.ply` (number of moves played).

    A heat map is rounded to 1/254 of its limits: enough for the eye and for two digits, and it keeps a page
    with many tapes light.

    Args:
        games: `Games`, or one transcript such as `"f5d6c3"`.
        values: what to draw on the squares, real [n_plies, 64], or [n_games, n_plies, 64] as `replay`,
            `contents` and the model's outputs are shaped. Row `t` is the position after move `t`, counted
            from 0, which the tape calls "move t + 1"; the start of the game has no row and shows no values.
            Rows past the end of the game are ignored. Floats are drawn as a heat map (NaN: no value).
            Integers and booleans are labels, 0 to 7, each with its colour and its digit (-1: no label).
        game: which of the games, counted from 0.
        value_name: what the values are, with their unit; shown in the legend.
        limits: low and high end of the heat map, in the values' unit; by default the smallest and the largest
            value, made symmetric about 0 where they have both signs. Values outside are drawn at the limit.
        names: name of each label, in order: `names[k]` is label `k`; by default the numbers.
        marks: bool, shaped as `values`: squares that carry a small diamond.
        mark_name: what the diamond means.
        title: shown above the board.
        ply: number of moves played at first, 0 to the length of the game.

    Raises:
        OthelloEduError: for a shape, a limit or a label that does not fit.
        IllegalMoveError: for a game that breaks the rules.

    Example:
        >>> tape = GameTape("f5d6c3", title="Three moves")
        >>> tape.ply = 2
        >>> tape
        GameTape('Three moves', 3 moves)

    See Also:
        Chapter 1, :doc:`/notebooks/01_the_game`.
    """

    _esm = esm("game_tape.js")
    _css = css()

    # What the browser reads. Only `ply` may change: the rest is one game, checked on the way in.
    board_size = traitlets.Int(8, read_only=True).tag(sync=True)
    moves = traitlets.Unicode(read_only=True).tag(sync=True)  # "f5d6c3…"
    values = traitlets.Unicode(read_only=True).tag(sync=True)  # base64 of a byte a move and square
    # Low and high of a heat map, empty for labels; the labels' names, empty for a heat map.
    limits: traitlets.List = traitlets.List(read_only=True).tag(sync=True)
    names: traitlets.List = traitlets.List(read_only=True).tag(sync=True)
    marks = traitlets.Unicode(read_only=True).tag(sync=True)  # 0 or 1 a move and square
    value_name = traitlets.Unicode(read_only=True).tag(sync=True)
    mark_name = traitlets.Unicode(read_only=True).tag(sync=True)
    title = traitlets.Unicode(read_only=True).tag(sync=True)
    ply = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        games: Games | str,
        values: npt.ArrayLike | None = None,
        game: int = 0,
        *,
        value_name: str = "",
        limits: tuple[float, float] | None = None,
        names: Sequence[str] | None = None,
        marks: npt.ArrayLike | None = None,
        mark_name: str = "marked",
        title: str = "One game, move by move",
        ply: int = 0,
    ):
        games = Games.from_transcripts([games]) if isinstance(games, str) else games
        if not isinstance(games, Games):
            raise OthelloEduError(f"a tape needs Games or one transcript, not {type(games).__name__}")
        if not -len(games) <= game < len(games):
            raise OthelloEduError(f"there is no game {game}: these are {len(games)} games, numbered from 0")
        game = game % len(games)
        n_moves = int(games.lengths[game])
        replay(games[game])  # raises for a game that breaks the rules
        state = {"board_size": games.board_size, "title": title, "moves": games.transcript(game)}
        if values is not None:
            values = _rows("values", values, games, game)[:n_moves]
            encode = _encode_heat if np.issubdtype(values.dtype, np.floating) else _encode_labels
            state.update(encode(values, limits, names), value_name=value_name or "value")
        elif limits is not None or names is not None:
            raise OthelloEduError("limits and names describe values, and this tape has none")
        if marks is not None:
            marks = _rows("marks", marks, games, game)[:n_moves]
            if marks.dtype != bool:
                raise OthelloEduError(f"marks must be True or False for each square, not {marks.dtype}")
            state.update(marks=_digits(marks), mark_name=mark_name)
        super().__init__()
        with self.hold_sync():
            for name, value in state.items():
                self.set_trait(name, value)
            self.ply = ply

    @traitlets.validate("ply")
    def _check_ply(self, proposal):
        if not 0 <= proposal["value"] <= self.n_moves:
            raise OthelloEduError(f"ply is {proposal['value']}; this game has moves 0 to {self.n_moves}")
        return proposal["value"]

    @property
    def n_moves(self) -> int:
        """Length of the game."""
        return len(self.moves) // 2

    def __repr__(self) -> str:
        drawn = f", values: {self.value_name}" if self.values else ""
        return f"GameTape({self.title!r}, {self.n_moves} moves{drawn})"


def _digits(array: np.ndarray) -> str:
    return "".join(str(int(digit)) for digit in np.asarray(array).ravel())


def _rows(name: str, given: Any, games: Games, game: int) -> np.ndarray:
    """The rows of one game, [n_plies, 64], from an array of one game or of all of them."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    plies = engine.n_plies(games.board_size)
    if array.shape == (len(games), plies, 64):
        array = array[game]
    if array.ndim != 2 or array.shape[1] != 64 or not games.lengths[game] <= array.shape[0] <= plies:
        raise OthelloEduError(
            f"{name} has shape {array.shape}; a tape of game {game} needs [{plies}, 64], or "
            f"[{len(games)}, {plies}, 64] for all games: a row for each of its {games.lengths[game]} moves, "
            "a column for each square of the 8x8 grid"
        )
    if array.dtype != bool and not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise OthelloEduError(f"{name} must be numbers, not {array.dtype}")
    return array


def heat_limits(
    values: np.ndarray, limits: tuple[float, float] | None, names: Sequence[str] | None
) -> tuple[float, float]:
    """The limits of a heat map of floats.

    Args:
        values: float, of any shape; NaN where there is no value.
        limits: those wanted; None for the least and the greatest value, made symmetric about 0 where they
            have both signs.
        names: must be None: only labels have names.

    Raises:
        OthelloEduError: for values or limits that no heat map can show.

    Example:
        >>> heat_limits(np.array([-1.0, 0.5, np.nan]), None, None)
        (-1.0, 1.0)
    """
    if names is not None:
        raise OthelloEduError("names are for labels, and these values are floats: give integers, or no names")
    if np.isinf(values).any():
        at = ", ".join(map(str, np.argwhere(np.isinf(values))[0]))
        raise OthelloEduError(f"values[{at}] is infinite; use NaN for a square without a value")
    known = ~np.isnan(values)
    if limits is None:
        low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 1.0)
        if low < 0 < high:
            low, high = -max(-low, high), max(-low, high)
        if low == high:
            low, high = (0.0, high) if high > 0 else (low, low + 1)
    else:
        low, high = map(float, limits)
    if not (np.isfinite([low, high]).all() and low < high):
        raise OthelloEduError(
            f"limits are ({low:g}, {high:g}); both must be finite, the first below the second"
        )
    return low, high


def _encode_heat(
    values: np.ndarray, limits: tuple[float, float] | None, names: Sequence[str] | None
) -> dict[str, Any]:
    low, high = heat_limits(values, limits, names)
    known = ~np.isnan(values)
    scaled = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1) * (NO_VALUE - 1)
    return {"values": _base64(np.where(known, np.rint(scaled), NO_VALUE)), "limits": [low, high]}


def label_names(
    values: np.ndarray, limits: tuple[float, float] | None, names: Sequence[str] | None
) -> list[str]:
    """A name for each label 0, 1, …

    Args:
        values: int or bool, of any shape; -1 where there is no label.
        limits: must be None: only a heat map has limits.
        names: those wanted; None for the numbers.

    Raises:
        OthelloEduError: for labels that cannot be drawn, and too few or too many names.
    """
    if limits is not None:
        raise OthelloEduError(
            "limits are for a heat map, and these values are labels: give floats, or no limits"
        )
    values = values.astype(np.int64)
    n_labels = int(values.max(initial=0)) + 1
    if values.min(initial=0) < -1 or n_labels > MAX_LABELS:
        raise OthelloEduError(
            f"labels run from {values.min()} to {values.max()}; drawn are 0 to {MAX_LABELS - 1} (-1: none)"
        )
    names = [str(label) for label in range(n_labels)] if names is None else [str(name) for name in names]
    if not n_labels <= len(names) <= MAX_LABELS:
        raise OthelloEduError(f"names has {len(names)} entries; labels 0 to {n_labels - 1} need one each")
    return names


def _encode_labels(
    values: np.ndarray, limits: tuple[float, float] | None, names: Sequence[str] | None
) -> dict[str, Any]:
    names = label_names(values, limits, names)
    return {"values": _base64(np.where(values < 0, NO_VALUE, values)), "names": names}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.asarray(array).astype(np.uint8).tobytes()).decode()
