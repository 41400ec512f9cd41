"""Figures: boards, heat maps on boards, and curves over layers and plies. Functions here only draw.

One palette for the whole book (`drawing.py`), Okabe and Ito's, which colour-blind readers can tell apart;
nothing is told by colour alone. Every figure has its own light ground, so that it reads the same on a light
page and on a dark one. Importing this module sets that style in matplotlib (`set_style`), and in a notebook
makes pictures sharp and small (`set_pictures`).

A function draws into `ax`, or into a new figure, and returns the Axes (`board_heatmaps` returns the Figure).
In a notebook, end the line with a semicolon, or the returned object is printed above its figure.

See Also:
    Chapter 1, :doc:`/notebooks/01_the_game`, for boards; chapter 5, :doc:`/notebooks/05_linear_probes`, for
    heat maps and curves.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from io import BytesIO
from typing import Any
from weakref import WeakSet

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from . import drawing
from .board import SQUARE_NAMES, Board, parse_square
from .drawing import BLUE, GREEN, GREY, INK, ORANGE, PALE, PAPER, PURPLE, SKY_BLUE, VERMILLION, YELLOW
from .engine import BLACK, EMPTY, WHITE, check_board_size, playable_squares
from .errors import OthelloEduError

PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY_BLUE)  # of curves; yellow is too pale for a line
CONTENT_COLOURS = {"empty": GREY, "mine": BLUE, "theirs": ORANGE}
SEQUENTIAL = LinearSegmentedColormap.from_list("othello_sequential", drawing.SEQUENTIAL_STOPS)
DIVERGING = LinearSegmentedColormap.from_list("othello_diverging", drawing.DIVERGING_STOPS)

PAGE_WIDTH = 800  # CSS pixels
Curve = Sequence[float] | np.ndarray  # one value for each place on the x axis

_MARKERS = "os^DvpP*X"
_DASHES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (2, 2)))  # of controls
_CELL = 0.42  # inches a square
_BOARDS: WeakSet[Axes] = WeakSet()  # axes that hold a board


def set_style() -> None:
    """Set the book's look in matplotlib: light ground, quiet axes, the palette."""
    plt.rcParams.update(
        {
            "figure.facecolor": PAPER,
            "savefig.facecolor": PAPER,
            "axes.facecolor": PAPER,
            "figure.dpi": 110,
            "figure.figsize": (6.4, 3.6),
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.prop_cycle": plt.cycler(color=PALETTE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": PALE,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": GREY,
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "hatch.color": GREY,
            "hatch.linewidth": 0.7,
        }
    )


def picture(figure: Figure) -> tuple[bytes, dict[str, int]] | None:
    """A figure as PNG, sharp on every screen and small.

    It has twice the pixels of the size at which it is shown, but is no wider than a page; it is in a palette,
    which makes it several times smaller than matplotlib's.

    Args:
        figure: if it holds boards, its layout is fixed, and they are moved and made a little smaller, so that
            their squares are whole numbers of pixels.

    Returns:
        The bytes, and the "width" and "height" at which to show them, in CSS pixels, half of those that the
        picture has; None for a figure with nothing in it.
    """
    dpi = min(2 * plt.rcParams["figure.dpi"], 2 * PAGE_WIDTH / figure.get_figwidth())
    _align_boards(figure, dpi)
    drawn = import_module("IPython.core.pylabtools").print_figure(figure, "png", dpi=dpi)
    if drawn is None:
        return None
    image = Image.open(BytesIO(drawn)).convert("RGB")
    small = BytesIO()
    _few_colours(image).save(small, "png", optimize=True, dpi=(192, 192))  # twice CSS' 96
    return small.getvalue(), {"width": image.width // 2, "height": image.height // 2}


def _align_boards(figure: Figure, dpi: float) -> None:
    """Give every square of a board a whole number of pixels.

    Discs then fall on pixels in the same way, and a picture of a board compresses to half its bytes.
    """
    boards = [ax for ax in figure.axes if ax in _BOARDS]
    if not boards:
        return
    figure.draw_without_rendering()  # sets the layout, which from here on stays
    figure.set_layout_engine("none")
    pixels = figure.get_size_inches() * dpi
    for ax in boards:
        box = ax.get_position()
        squares = np.abs([np.diff(ax.get_xlim())[0], np.diff(ax.get_ylim())[0]])
        size = squares * max(1, np.floor(box.width * pixels[0] / squares[0]))
        corner = np.round(np.array([box.x0, box.y0]) * pixels)
        (left, bottom), (width, height) = corner / pixels, size / pixels
        ax.set_position((left, bottom, width, height))


def _few_colours(image: Image.Image) -> Image.Image:
    """The picture in the smallest palette in which no colour changes so that it shows."""
    for n_colours in (32, 48, 64, 96, 128, 256):
        palette = image.quantize(n_colours, dither=Image.Dither.NONE)
        error = np.abs(np.asarray(palette.convert("RGB"), np.int16) - np.asarray(image, np.int16)).max(-1)
        # Of 255. A mark on one square is a few hundred pixels: it must keep its colour as well.
        if error.mean() < 0.5 and np.quantile(error, 0.9999) <= 24:
            break
    return palette


def set_pictures() -> None:
    """In a notebook, show figures as `picture` makes them; elsewhere do nothing."""
    ipython = sys.modules.get("IPython")  # there in a notebook; a script need not wait for it, or have it
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return
    import_module("matplotlib_inline.backend_inline")  # sets its own way when it is first imported
    shell.display_formatter.formatters["image/png"].for_type(Figure, picture)


set_style()
set_pictures()


def show_board(
    board_or_contents: Board | npt.ArrayLike,
    ax: Axes | None = None,
    values: npt.ArrayLike | None = None,
    marks: Iterable[str | int] | None = None,
    title: str | None = None,
    board_size: int = 8,
    *,
    legal: Iterable[str | int] | None = None,
    label: str | None = None,
) -> Axes:
    """Draw one position. Black is a filled disc, white a ring; a dot is a legal move.

    Args:
        board_or_contents: a `Board`, or int [64]: 0 empty, 1 black (or mine), 2 white (or theirs), -1
            unknown, which is hatched.
        ax: where to draw; by default in a new figure.
        values: float [64], drawn as the colour of the squares under the discs. NaN is hatched.
        marks: squares that carry a yellow diamond (names, numbers or bool [64]), or a mapping from squares to
            the short text that stands on each.
        title: above the board.
        board_size: of the contents; a `Board` knows its own.
        legal: squares with a dot, as `marks`; by default the legal moves of a `Board`. `legal=()` draws none.
        label: what the values are, with their unit.

    Returns:
        The Axes that hold the board.

    Raises:
        OthelloEduError: for a shape or a square that does not fit.

    Example:
        >>> ax = show_board(Board.start(), marks=["d3"], title="black to move")
        >>> ax.get_title()
        'black to move'
        >>> plt.close(ax.figure)

    See Also:
        Chapter 1, :doc:`/notebooks/01_the_game`.
    """
    if isinstance(board_or_contents, Board):
        board_size = board_or_contents.board_size
        legal = board_or_contents.legal_moves if legal is None else legal
        discs = board_or_contents.contents
    else:
        discs = _values_of_squares("the contents of a board", board_or_contents)
    ax = _board_axes(ax, board_size, title, colour_bar=values is not None)
    if values is None:
        for square in playable_squares(board_size):
            ax.add_patch(_square_patch(square, facecolor=drawing.FELT, zorder=0))
    else:
        values = _values_of_squares("values", values, float)
        _heat(ax, values, board_size, label, *_limits([values], board_size))
    for square in playable_squares(board_size):
        _draw_disc(ax, square, discs[square])
    for square in _parse_squares(legal):
        ax.add_patch(Circle(_centre(square), drawing.LEGAL_RADIUS, facecolor=drawing.LEGAL_DOT, zorder=3))
    if isinstance(marks, Mapping):
        for square, text in marks.items():
            _write(ax, parse_square(square), str(text), discs)
    elif marks is not None:
        x, y = np.array([_centre(square) for square in _parse_squares(marks)]).reshape(-1, 2).T
        ax.scatter(x, y, 46, YELLOW, marker="D", edgecolors=INK, linewidths=1, zorder=4)
    return ax


def board_heatmap(
    values: npt.ArrayLike,
    ax: Axes | None = None,
    title: str | None = None,
    label: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | Colormap | None = None,
    board_size: int = 8,
) -> Axes:
    """Draw one number per square as a colour, with square names and a colour bar.

    Args:
        values: float [64]; NaN is hatched.
        ax: where to draw; by default in a new figure.
        title: above the board.
        label: of the colour bar: what the values are, with their unit.
        vmin: low end of the scale; by default the least value. Where values have both signs, and neither end
            is given, the scale is made symmetric about 0.
        vmax: high end of the scale; by default the greatest value.
        cmap: by default light to dark blue, or vermillion to blue where the scale has both signs.
        board_size: 4, 6 or 8; squares outside of that board are not drawn.

    Returns:
        The Axes that hold the board.

    Raises:
        OthelloEduError: for values of another shape.

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """
    values = _values_of_squares("values", values, float)
    ax = _board_axes(ax, board_size, title, colour_bar=True)
    _heat(ax, values, board_size, label, *_limits([values], board_size, vmin, vmax), cmap)
    return ax


def board_heatmaps(
    list_of_values: Sequence[npt.ArrayLike] | np.ndarray,
    titles: Sequence[str] | None = None,
    label: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | Colormap | None = None,
    board_size: int = 8,
    columns: int = 4,
) -> Figure:
    """Draw several heat maps side by side, `columns` to a row, with one scale and one colour bar.

    Args:
        list_of_values: float [n, 64], or a list of float [64]; NaN is hatched.
        titles: one for each map, above its board.
        label: of the colour bar: what the values are, with their unit.
        vmin: low end of the scale, as for `board_heatmap`.
        vmax: high end of the scale, as for `board_heatmap`.
        cmap: colours, as for `board_heatmap`.
        board_size: 4, 6 or 8; squares outside of that board are not drawn.
        columns: how many maps stand side by side.

    Returns:
        The Figure, a new one.

    Raises:
        OthelloEduError: for values of another shape, no values, and another number of titles.

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """
    maps = [_values_of_squares("values", values, float) for values in list_of_values]
    titles_of_maps = [None] * len(maps) if titles is None else list(titles)
    if not maps or len(titles_of_maps) != len(maps):
        raise OthelloEduError(f"{len(maps)} heat maps have {len(titles_of_maps)} titles: give one each")
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    side = _CELL * 0.62 * (board_size + 1)
    size = (columns * side + 0.9, rows * (side + 0.25))
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    low, high = _limits(maps, board_size, vmin, vmax)
    for ax, values, title in zip(axes.flat, maps, titles_of_maps, strict=False):
        _board_axes(ax, board_size, title)
        ax.tick_params(labelsize=8)
        image = _heat(ax, values, board_size, None, low, high, cmap, colour_bar=False)
    for ax in axes.flat[len(maps) :]:
        ax.set_visible(False)
    _colour_bar(image, list(axes.flat), label, _are_counts(list_of_values))
    return fig


def layer_curve(
    curves: Mapping[str, Curve],
    ylabel: str,
    controls: Mapping[str, float | Curve] | None = None,
    intervals: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    *,
    stages: Sequence[int] | None = None,
    xlabel: str = "residual-stream stage (0: embedding)",
) -> Axes:
    """Draw a value per residual-stream stage, one curve for each name.

    With `stages` and `xlabel`, the same function draws a value per block.

    Args:
        curves: for each name real [n_stages].
        ylabel: what the values are, with their unit.
        controls: for each name real [n_stages], or one number for a level line; drawn dashed and grey.
        intervals: for names of curves or controls a pair (low, high), each real [n_stages], drawn as a band.
        ax: where to draw; by default in a new figure.
        title: above the figure.
        stages: numbers on the x axis where they are not 0, 1, 2 …
        xlabel: what the x axis counts.

    Returns:
        The Axes that hold the curves.

    Raises:
        OthelloEduError: for lengths that do not agree, no curves, and intervals of other names.

    Example:
        >>> scores = {"LinearProbe": [0.6, 0.8, 0.9]}
        >>> ax = layer_curve(scores, "share read correctly", controls={"no network": 0.5})
        >>> [line.get_label() for line in ax.lines]
        ['LinearProbe', 'no network']
        >>> plt.close(ax.figure)

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """
    lengths = {len(values) for values in curves.values()}
    x = np.arange(max(lengths, default=0)) if stages is None else np.asarray(stages)
    ax = _curves(curves, x, ylabel, xlabel, controls, intervals, ax, title)
    ax.set_xticks(x)
    return ax


def ply_curve(
    curves: Mapping[str, Curve],
    ylabel: str,
    ax: Axes | None = None,
    title: str | None = None,
    *,
    controls: Mapping[str, float | Curve] | None = None,
    intervals: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
    first: int = 1,
) -> Axes:
    """Draw a value per ply, one curve for each name.

    Args:
        curves: for each name real [n_plies], where row `t` is the position after move `t`, drawn at `t + 1`
            moves played. NaN leaves a gap.
        ylabel: what the values are, with their unit.
        ax: where to draw; by default in a new figure.
        title: above the figure.
        controls: for each name real [n_plies] or one number, as in `layer_curve`.
        intervals: for names of curves or controls a pair (low, high), as in `layer_curve`.
        first: number of moves played at the first row, where that is not 1.

    Returns:
        The Axes that hold the curves.

    Raises:
        OthelloEduError: for lengths that do not agree, no curves, and intervals of other names.

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    length = max((len(values) for values in curves.values()), default=0)
    x = np.arange(first, first + length)
    return _curves(curves, x, ylabel, "moves played", controls, intervals, ax, title)


def _curves(curves, x, ylabel, xlabel, controls, intervals, ax, title):
    controls, intervals = controls or {}, intervals or {}
    if not curves:
        raise OthelloEduError("there is no curve to draw: give {name: values}")
    if unknown := set(intervals) - set(curves) - set(controls):
        raise OthelloEduError(f"intervals has {sorted(unknown)}, which are not names of curves or controls")
    ax = plt.subplots()[1] if ax is None else ax
    every = max(1, len(x) // 10)  # of many points, some carry the marker that tells the curve
    many = len(curves) > len(PALETTE)  # ordered, such as stages: light to dark
    colours = SEQUENTIAL(np.linspace(0.3, 1, len(curves))) if many else PALETTE
    for at, (name, values) in enumerate(curves.items()):
        style = {"marker": _MARKERS[at % len(_MARKERS)], "markersize": 5, "markevery": (at % every, every)}
        style = style if every == 1 or len(curves) > 1 else {}
        _line(ax, x, name, values, intervals.get(name), color=colours[at], linewidth=1.8, zorder=3, **style)
    for at, (name, values) in enumerate(controls.items()):
        values = np.full(len(x), values) if np.ndim(values) == 0 else values
        dashes = _DASHES[at % len(_DASHES)]
        _line(ax, x, name, values, intervals.get(name), color=GREY, linewidth=1.4, linestyle=dashes)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title or "")
    if len(curves) + len(controls) > 1:
        ax.legend(fontsize=9, **({"loc": "center left", "bbox_to_anchor": (1, 0.5)} if many else {}))
    return ax


def _line(ax, x, name, values, interval, color, **style):
    values = np.asarray(values, float)
    if values.shape != x.shape:
        raise OthelloEduError(f"{name!r} has values of shape {values.shape}; the x axis needs {x.shape}")
    ax.plot(x, values, label=name, color=color, **style)
    if interval is not None:
        ax.fill_between(x, *interval, color=color, alpha=0.2, linewidth=0)


def _values_of_squares(what: str, given: Any, dtype: npt.DTypeLike | None = None) -> np.ndarray:
    """A NumPy array [64] of something array-like or a tensor; `what` names it in a refusal."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given, dtype)
    if array.shape != (64,):
        raise OthelloEduError(f"{what} has shape {array.shape}; a board needs (64,), whatever its size")
    return array


def _parse_squares(squares: Iterable[str | int] | None) -> list[int]:
    """Numbers of squares given as names, as numbers, or as bool [64]."""
    if isinstance(squares, np.ndarray) and squares.dtype == np.bool_:
        squares = np.flatnonzero(_values_of_squares("a mask of squares", squares)).tolist()
    return [parse_square(square) for square in (() if squares is None else squares)]


def _centre(square: int) -> tuple[int, int]:
    return square % 8, square // 8


def _square_patch(square: int, **style: Any) -> Rectangle:
    x, y = _centre(square)
    return Rectangle((x - 0.5, y - 0.5), 1, 1, **{"edgecolor": drawing.LINE, "linewidth": 0.8, **style})


def _board_axes(ax: Axes | None, board_size: int, title: str | None, colour_bar: bool = False) -> Axes:
    """Axes of a board: a1 at the top left, letters along the top, digits down the side."""
    margin = (8 - check_board_size(board_size)) // 2
    inside = range(margin, 8 - margin)
    if ax is None:
        side = _CELL * (board_size + 1)
        ax = plt.subplots(figsize=(side + (1.0 if colour_bar else 0), side + (0.2 if title else 0)))[1]
    _BOARDS.add(ax)
    ax.set(xlim=(margin - 0.5, 7.5 - margin), ylim=(7.5 - margin, margin - 0.5), aspect="equal")
    ax.set_xticks(inside, [SQUARE_NAMES[column][0] for column in inside])
    ax.set_yticks(inside, [SQUARE_NAMES[8 * row][1] for row in inside])
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title(title or "")
    return ax


def _draw_disc(ax: Axes, square: int, disc: int) -> None:
    if disc == BLACK:
        style = {"facecolor": drawing.BLACK_DISC, "edgecolor": PAPER, "linewidth": 0.5}
        ax.add_patch(Circle(_centre(square), drawing.DISC_RADIUS, **style, zorder=2))
    elif disc == WHITE:  # a ring, as thick on a small board as on a large one
        outer, inner = drawing.DISC_RADIUS, drawing.DISC_RADIUS - drawing.RING_WIDTH
        ax.add_patch(Circle(_centre(square), outer, facecolor=drawing.RING, linewidth=0, zorder=2))
        ax.add_patch(Circle(_centre(square), inner, facecolor=drawing.WHITE_DISC, linewidth=0, zorder=2.1))
    elif disc != EMPTY:
        ax.add_patch(_square_patch(square, facecolor=PALE, hatch="////", edgecolor=GREY, zorder=1))


def _write(ax: Axes, square: int, text: str, discs: np.ndarray) -> None:
    colour = drawing.WHITE_LINE if discs[square] == BLACK else drawing.BLACK_DISC
    x, y = _centre(square)
    ax.text(x, y, text, color=colour, zorder=4, ha="center", va="center", fontsize=8, weight="bold")


def _limits(
    maps: Sequence[np.ndarray], board_size: int, vmin: float | None = None, vmax: float | None = None
) -> tuple[float, float]:
    """Ends of the scale of heat maps: those given, or those of the squares that are drawn."""
    inside = np.stack(maps)[:, playable_squares(board_size)]
    known = inside[np.isfinite(inside)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    if vmin is None and vmax is None and low < 0 < high:
        low, high = -max(-low, high), max(-low, high)
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    return (low, high) if low < high else (low, low + 1)  # one value everywhere still needs a scale


def _heat(ax, values, board_size, label, low, high, cmap=None, colour_bar=True):
    cmap = cmap if cmap is not None else DIVERGING if low < 0 < high else SEQUENTIAL
    margin = (8 - board_size) // 2
    inside = slice(margin, 8 - margin)
    shown = np.ma.masked_invalid(values.reshape(8, 8)[inside, inside])
    ends = (margin - 0.5, 7.5 - margin)
    image = ax.imshow(shown, cmap, Normalize(low, high), extent=(*ends, *ends[::-1]), zorder=0.5)
    for square in playable_squares(board_size):
        if not np.isfinite(values[square]):
            ax.add_patch(_square_patch(square, facecolor=PALE, hatch="////", edgecolor=GREY, zorder=1))
        ax.add_patch(_square_patch(square, fill=False, edgecolor=drawing.WHITE_LINE, zorder=1.5))
    if colour_bar:
        _colour_bar(image, ax, label, _are_counts([values]))
    return image


def _are_counts(maps: Sequence[npt.ArrayLike] | np.ndarray) -> bool:
    """Whether the values count something: integers, or whole numbers some of which are above 1."""
    arrays = [np.asarray(values) for values in maps]
    known = np.concatenate([values[np.isfinite(values)] for values in arrays])
    whole = known.size > 0 and known.max() > 1 and bool((known == np.round(known)).all())
    return whole or all(np.issubdtype(values.dtype, np.integer) for values in arrays)


def _colour_bar(image: AxesImage, ax: Axes | list[Axes], label: str | None, are_counts: bool) -> None:
    ticks = MaxNLocator(integer=True) if are_counts else None
    bar = image.figure.colorbar(image, ax=ax, label=label or "", shrink=0.8, pad=0.03, ticks=ticks)
    bar.outline.set_visible(False)
