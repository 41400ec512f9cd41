"""How a board looks, wherever it is drawn: its colours, its measures, and the board as an SVG picture.

A `Board` shown in a notebook, the picture that a widget leaves where no script runs, the pictures of the
layer explorer and of the landing page: all are made by `boards_svg` and the two functions below it.

Two kinds of boards cannot be SVG, and take colours and measures from here. In a figure of `plots.py` a board
shares one picture with heat maps, curves and colour bars, so matplotlib draws it. In a widget the squares are
elements of the page, which can be pressed and read aloud, so `widgets/boards.css` and `widgets/board.js` draw
them; a test compares their values with these.
"""

import textwrap
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from .engine import BLACK, playable_squares

# Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/
ORANGE, SKY_BLUE, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILLION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"
INK, GREY, PALE, PAPER = "#222222", "#767676", "#e6e6e3", "#fafafa"

FELT, LINE = "#5d9b79", "#24503a"  # squares of a board, and what divides them
BLACK_DISC, WHITE_DISC, RING = "#111111", "#fdfdfd", "#333333"  # the ring is around a white disc
LEGAL_DOT = "#10291c"
WHITE_LINE = "#ffffff"  # between squares that are coloured by a number; and text on a black disc

# Of numbers on squares: from least to most, and from below zero to above it.
SEQUENTIAL_STOPS = ("#f6f6f3", "#8ecbee", BLUE, "#00344f")
DIVERGING_STOPS = (VERMILLION, "#f6f6f3", BLUE)
LABEL_COLOURS = (PALE, SKY_BLUE, ORANGE, GREEN, YELLOW, PURPLE, BLUE, VERMILLION)  # of labels 0 to 7

# Measures in sides of a square. Black is filled, white is a ring: they differ in shape as well as in colour.
DISC_RADIUS = 0.38
RING_WIDTH = 0.09  # inside that radius
LEGAL_RADIUS = 0.1

_STEP = 40  # pixels a square
_MARGIN, _TEXT = 24, 15  # the names beside the board, the size of a caption's letters
_LETTER, _LEADING = 8, 18  # a caption's letter, rather too wide than too narrow; from its line to the next


class BoardPanel(NamedTuple):
    """One board of a picture.

    Attributes:
        contents: int [64], 0 empty, 1 black, 2 white.
        caption: above the board, on as many lines as it needs.
        last: the square played last, if it should be marked.
        legal: squares with a dot.
        opacity: float [64], of each disc, 0 to 1; None for 1 everywhere.
    """

    contents: np.ndarray
    caption: str = ""
    last: int | None = None
    legal: Sequence[int] = ()
    opacity: np.ndarray | None = None


def boards_svg(
    panels: Sequence[BoardPanel],
    description: str,
    board_size: int = 8,
    per_row: int = 1,
    width: int | None = None,
) -> str:
    """Boards as one SVG picture, on the light ground of all figures.

    Args:
        panels: the boards, in reading order.
        description: what the picture shows, for those who cannot see it.
        board_size: of all of them.
        per_row: how many boards stand side by side.
        width: of the whole, in pixels; by default a square has 40.

    Example:
        >>> panel = BoardPanel(np.zeros(64, int), caption="nothing yet")
        >>> boards_svg([panel], "an empty board")[:4]
        '<svg'
    """
    side = _STEP * board_size
    captions = [textwrap.wrap(panel.caption, side // _LETTER) for panel in panels]
    top = _MARGIN + _TEXT + _LEADING * (max(map(len, captions)) - 1)
    panel_width, panel_height = side + _MARGIN + 8, side + top + _TEXT
    columns, rows = min(per_row, len(panels)), -(-len(panels) // per_row)
    full_width, full_height = panel_width * columns, panel_height * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full_width} {full_height}" '
        f'width="{full_width if width is None else width}" role="img" aria-label="{escape(description)}" '
        f'font-family="sans-serif" font-size="{_TEXT}"><title>{escape(description, quote=False)}</title>',
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
    ]
    for at, (panel, lines) in enumerate(zip(panels, captions, strict=True)):
        x, y = panel_width * (at % per_row) + _MARGIN, panel_height * (at // per_row) + top
        parts.append(f'<g transform="translate({x} {y})">')
        for above, line in enumerate(reversed(lines)):
            text = escape(line, quote=False)
            parts.append(f'<text x="0" y="{-24 - _LEADING * above}" fill="{INK}">{text}</text>')
        parts += [*board_elements(panel, board_size), "</g>"]
    return "".join([*parts, "</svg>"])


def board_elements(panel: BoardPanel, board_size: int = 8, step: int = _STEP) -> list[str]:
    """The SVG elements of one board, its corner at (0, 0), the names of its lines outside of it.

    Args:
        panel: the board.
        board_size: side of the board that is drawn.
        step: pixels a square.
    """
    first, side = (8 - board_size) // 2, step * board_size
    grid = "".join(f"M0 {step * k}h{side}M{step * k} 0v{side}" for k in range(board_size + 1))
    parts = [
        f'<rect width="{side}" height="{side}" fill="{FELT}"/><path d="{grid}" stroke="{LINE}"/>',
        f'<g fill="{INK}" text-anchor="middle" font-size="12">',
    ]
    for k in range(board_size):
        middle = step * k + step // 2
        parts.append(f'<text x="{middle}" y="-6">{"abcdefgh"[first + k]}</text>')
        parts.append(f'<text x="-12" y="{middle + 4}">{first + k + 1}</text>')
    parts.append("</g>")
    for square in playable_squares(board_size).tolist():
        x, y = (step * (at - first) + step // 2 for at in (square % 8, square // 8))
        if square == panel.last:
            corner, length = f'x="{x - 0.45 * step:g}" y="{y - 0.45 * step:g}"', f"{0.9 * step:g}"
            outline = f'fill="none" stroke="{VERMILLION}" stroke-width="3"'
            parts.append(f'<rect {corner} width="{length}" height="{length}" {outline}/>')
        if player := panel.contents[square]:
            opacity = 1 if panel.opacity is None else panel.opacity[square]
            parts.append(disc_element(player, x, y, DISC_RADIUS * step, opacity))
        elif square in panel.legal:
            parts.append(f'<circle cx="{x}" cy="{y}" r="{LEGAL_RADIUS * step:g}" fill="{LEGAL_DOT}"/>')
    return parts


def disc_element(player: int, x: float, y: float, radius: float, opacity: float = 1) -> str:
    """The SVG element of a disc.

    Args:
        player: 1 black, 2 white.
        x: of its centre, in pixels from the left.
        y: of its centre, in pixels from the top.
        radius: to its outer edge, ring included, in pixels.
        opacity: 0 to 1.
    """
    if player == BLACK:
        look = f'r="{radius:g}" fill="{BLACK_DISC}"'
    else:
        ring = radius * RING_WIDTH / DISC_RADIUS  # its line lies half inside and half outside of r
        look = f'r="{radius - ring / 2:g}" fill="{WHITE_DISC}" stroke="{RING}" stroke-width="{ring:g}"'
    faint = "" if opacity == 1 else f' opacity="{opacity:.2f}"'
    return f'<circle cx="{x:g}" cy="{y:g}" {look}{faint}/>'
