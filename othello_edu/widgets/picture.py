"""Still pictures of boards: what a widget leaves where no script runs, in print and in a notebook's file."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np

from ..board import SQUARE_NAMES, Board
from ..engine import playable_squares

FELT, LINE, INK = "#5d9b79", "#24503a", "#222"
_STEP, _MARGIN, _TEXT = 40, 24, 15  # a square, the names beside the board, the size of letters
_LETTER, _LEADING = 8, 18  # a caption's letter, rather too wide than too narrow; from its line to the next
_PLAYERS = {1: "black", 2: "white"}


class Drawn(NamedTuple):
    """A board of a picture.

    caption: above it, on as many lines as it needs. contents [64]: 0 empty, 1 black, 2 white. last: the
    square played last, if it should be marked. legal: squares with a dot. sure [64]: how opaque each disc is.
    """

    caption: str
    contents: np.ndarray
    last: int | None = None
    legal: Sequence[int] = ()
    sure: np.ndarray | None = None


def boards_svg(boards: Sequence[Drawn], text: str, board_size: int = 8, per_row: int = 1) -> str:
    """Boards as one SVG picture on a light ground. text: what it shows, for those who cannot see it."""
    side = _STEP * board_size
    captions = [textwrap.wrap(board.caption, side // _LETTER) for board in boards]
    top = _MARGIN + _TEXT + _LEADING * (max(map(len, captions)) - 1)
    width, height = side + _MARGIN + 8, side + top + _TEXT
    rows = -(-len(boards) // per_row)
    size = f"{width * min(per_row, len(boards))} {height * rows}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{size.split()[0]}" role="img" '
        f'font-family="sans-serif" font-size="{_TEXT}"><title>{escape(text)}</title>',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for at, (board, lines) in enumerate(zip(boards, captions, strict=True)):
        x, y = width * (at % per_row), height * (at // per_row)
        parts += [f'<g transform="translate({x + _MARGIN} {y + top})">']
        for above, line in enumerate(reversed(lines)):
            parts += [f'<text x="0" y="{-24 - _LEADING * above}" fill="{INK}">{escape(line)}</text>']
        parts += [*_board(board, board_size), "</g>"]
    return "".join([*parts, "</svg>"])


def _board(board: Drawn, size: int) -> list[str]:
    first, side = (8 - size) // 2, _STEP * size
    grid = "".join(f"M0 {_STEP * k}h{side}M{_STEP * k} 0v{side}" for k in range(size + 1))
    parts = [
        f'<rect width="{side}" height="{side}" fill="{FELT}"/><path d="{grid}" stroke="{LINE}"/>',
        f'<g fill="{INK}" text-anchor="middle" font-size="12">',
    ]
    for k in range(size):
        middle = _STEP * k + _STEP // 2
        parts.append(f'<text x="{middle}" y="-6">{"abcdefgh"[first + k]}</text>')
        parts.append(f'<text x="-12" y="{middle + 4}">{first + k + 1}</text>')
    parts.append("</g>")
    for square in playable_squares(size).tolist():
        x, y = (_STEP * (at - first) + _STEP // 2 for at in (square % 8, square // 8))
        if square == board.last:
            corner = f'x="{x - 18}" y="{y - 18}" width="36" height="36"'
            parts.append(f'<rect {corner} fill="none" stroke="#d55e00" stroke-width="3"/>')
        if disc := board.contents[square]:
            # Black is filled, white is a ring, so that the two differ in shape as well as in colour.
            look = (
                'r="15" fill="#111"'
                if disc == 1
                else 'r="13.5" fill="#fdfdfd" stroke="#333" stroke-width="3"'
            )
            faint = "" if board.sure is None else f' opacity="{board.sure[square]:.2f}"'
            parts.append(f'<circle cx="{x}" cy="{y}" {look}{faint}/>')
        elif square in board.legal:
            parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="#10291c"/>')
    return parts


def say(board: Board) -> str:
    """A position in words: who moves, where the discs lie."""
    turn = f"{_PLAYERS[board.to_move]} to move" if board.to_move else "the game is over"
    discs = []
    for player, name in _PLAYERS.items():
        squares = [SQUARE_NAMES[at] for at in np.flatnonzero(board.contents == player)]
        discs.append(name.capitalize() + (f" on {', '.join(squares)}." if squares else " has no disc."))
    return " ".join([f"{turn}.", *discs])


class Pictured:
    """Mixin of a widget with `moves`, `ply`, `board_size`, `title`: it leaves a picture of its position."""

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "image/svg+xml": self.picture()}, metadata

    def picture(self) -> str:
        """The position as an SVG picture; of a tape at its start, the last position, which tells more."""
        n_moves = len(self.moves) // 2
        ply = self.ply if self.ply or not hasattr(self, "n_moves") else n_moves
        line = self.moves[: 2 * ply]
        board = Board.from_moves(line, self.board_size)
        where = f"after move {ply} of {n_moves}" if ply else "the start of a game"
        last = SQUARE_NAMES.index(line[-2:]) if line else None
        shown = board.legal_moves if getattr(self, "show_legal", True) else ()  # a reader may want to guess
        legal = [SQUARE_NAMES.index(name) for name in shown]
        drawn = Drawn(f"{self.title}: {where}", board.contents, last, legal)
        return boards_svg([drawn], f"{self.title}: {where}, {say(board)}", self.board_size)
