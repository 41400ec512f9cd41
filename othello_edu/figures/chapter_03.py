"""Drawings of chapter 3: the data flow of a small GPT, and tables of numbers in colour.

See Also:
    Chapter 3, :doc:`/notebooks/03_a_gpt_by_hand`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from .. import plots
from ..board import PLAYER_NAMES


def data_flow(names: Sequence[str]) -> Axes:
    """Two blocks as stations on the lines of some moves.

    Args:
        names: a square for each line.
    """
    _, ax = plt.subplots(figsize=(8.2, 3.4))
    at_attention, at_mlp = [1.9, 4.3], [3.0, 5.4]
    red_arrow = {"arrowstyle": "->", "color": plots.VERMILLION, "alpha": 0.8}
    for row, name in enumerate(names):
        ax.plot([0.7, 6.5], [row, row], color=plots.BLUE, linewidth=2.5, zorder=1)
        ax.text(0.55, row, f"{name} at {row + 1}", ha="right", va="center")
        ax.text(6.65, row, f"guess of move {row + 2}", va="center")
        for x in at_attention:
            for earlier in range(row + 1):
                ax.annotate("", (x + 0.15, row - 0.1), (x - 0.65, earlier), arrowprops=red_arrow)
        for x in at_attention + at_mlp:
            ax.plot(x + 0.2, row, "P", color=plots.INK, markersize=8, zorder=3)
        for x in at_mlp:
            start, end = (x - 0.25, row - 0.28), (x + 0.15, row - 0.06)
            ax.plot(*start, "s", color=plots.GREEN, markersize=8)
            ax.annotate("", end, start, arrowprops={"arrowstyle": "->"})
    for x, text in zip([*at_attention, *at_mlp], ["attention"] * 2 + ["MLP"] * 2, strict=True):
        ax.text(x, -0.75, text, ha="center", weight="bold")
    for x, text in [(0.9, "stage 0"), (3.6, "stage 1"), (6.0, "stage 2")]:
        ax.axvline(x, 0.08, 0.9, color=plots.GREY, linestyle=":")
        ax.text(x + 0.05, 3.5, text, color=plots.GREY, ha="center")
    ax.set(xlim=(-0.4, 8.3), ylim=(3.7, -1))
    ax.axis("off")
    return ax


def query_and_keys(names: Sequence[str], query: torch.Tensor, key: torch.Tensor) -> Axes:
    """Keys of all moves as points, and the query of the last move as an arrow, in the plane of one head.

    Black made the first move and nobody passed.

    Args:
        names: a square for each move.
        query: float [move, 2 or more]; the first two dimensions are drawn.
        key: float [move, 2 or more]; the first two dimensions are drawn.
    """
    _, ax = plt.subplots(figsize=(4.6, 3.6))
    ax.axhline(0, color=plots.GREY, linewidth=0.8)
    ax.axvline(0, color=plots.GREY, linewidth=0.8)
    arrow = {"arrowstyle": "->", "color": plots.VERMILLION, "linewidth": 2}
    x, y = query[-1, :2].tolist()
    ax.annotate("", (x, y), (0, 0), arrowprops=arrow)
    ax.plot([], [], color=plots.VERMILLION, label=f"query of {names[-1]}")
    for player, fill in enumerate([plots.INK, "white"]):
        style: dict[str, Any] = {"markersize": 8, "color": fill, "markeredgecolor": plots.INK}
        label = f"keys of {PLAYER_NAMES[player + 1]}'s moves"
        ax.plot(*key[player::2, :2].T, "o", label=label, **style)
    offsets = [(-5, 8), (7, -13), (-7, -16), (-19, -13), (7, -5), (7, 2)]  # of labels, in points
    for ply, point in enumerate(key[:, :2].tolist()):
        ax.annotate(names[ply], point, xytext=offsets[ply % 6], textcoords="offset points")
    both = np.concatenate([key[:, :2], query[-1:, :2]])
    (left, bottom), (right, top) = both.min(0) - 1, both.max(0) + 1
    ax.set(xlabel="dimension 0 of the head", ylabel="dimension 1 of the head")
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.legend()
    return ax


def number_grid(
    ax: Axes, values: npt.ArrayLike, decimals: int = 2, hidden: np.ndarray | None = None, **image: Any
) -> AxesImage:
    """Draw a matrix as coloured fields with its numbers on them.

    Args:
        ax: where to draw.
        values: real [row, column].
        decimals: how many each number is written with.
        hidden: bool of the same shape, True where a dash takes the place of the number.
        **image: options of `imshow`.

    Returns:
        The image, for a colour bar.
    """
    values = np.asarray(values)
    drawn = ax.imshow(values, **image)
    limit = np.abs(values).max()
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 * limit else plots.INK
        text = "–" if hidden is not None and hidden[row, column] else f"{value:.{decimals}f}"
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    ax.grid(False)
    return drawn


def scores_and_pattern(names: Sequence[str], scores: torch.Tensor, pattern: torch.Tensor) -> Figure:
    """The scores of one attention head beside its pattern.

    Args:
        names: a square for each move.
        scores: float [move that looks, move looked at].
        pattern: float [move that looks, move looked at]; the future, where it must be 0, shows dashes.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.2))
    limit, future = scores.abs().max(), np.triu(np.ones(pattern.shape, bool), 1)
    number_grid(axes[0], scores, cmap=plots.DIVERGING, vmin=-limit, vmax=limit)
    number_grid(axes[1], pattern, hidden=future, cmap=plots.SEQUENTIAL, vmin=0, vmax=pattern.max())
    for ax, title in zip(axes, ("scores", "pattern"), strict=True):
        ax.set(xlabel="move looked at", ylabel="move that looks", title=title)
        ax.set_xticks(range(len(names)), names)
        ax.set_yticks(range(len(names)), names)
    return fig


def shares_of_heads(shares: Mapping[str, Sequence[float]], equal: float, n_head: int) -> Axes:
    """Bars for each head of two blocks, side by side for three kinds of games.

    Args:
        shares: for each kind, a number for each head, block after block.
        equal: the share without any preference.
        n_head: heads of one block.
    """
    _, ax = plt.subplots(figsize=(7.4, 3))
    fills = [(plots.ORANGE, "///"), (plots.BLUE, ""), (plots.GREY, "...")]
    for at, ((label, share), (colour, hatch)) in enumerate(zip(shares.items(), fills, strict=True)):
        x = np.arange(len(share)) + 0.27 * (at - 1)
        ax.bar(x, share, 0.27, label=label, color=colour, hatch=hatch)
    ax.axhline(equal, color=plots.INK, linestyle="--", label="equal shares")
    heads = [f"{block}.{head}" for block in (1, 2) for head in range(n_head)]
    ax.set_xticks(range(len(heads)), heads)
    ax.set(xlabel="block.head (heads counted from 0)", ylabel="share taken at even distance", ylim=(0, 1))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def running_sum(parts: Mapping[str, Sequence[float]]) -> Axes:
    """What each part adds to the residual stream of one move, and below a line the sum.

    Args:
        parts: for each part, in order, a vector, real [dimension].
    """
    rows = np.stack([np.asarray(vector) for vector in parts.values()])
    rows = np.concatenate([rows, rows.sum(0, keepdims=True)])
    limit = np.abs(rows).max()
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    image = number_grid(ax, rows, 1, cmap=plots.DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    ax.axhline(len(parts) - 0.5, color=plots.INK)
    ax.set_yticks(range(len(rows)), [*parts, "stage 2 (the sum)"])
    ax.set(xlabel="dimension of the residual stream", ylabel="what was added")
    fig.colorbar(image, label="value")
    return ax


def differences_of_two_games(values: np.ndarray | torch.Tensor, title: str) -> Axes:
    """Where two games differ inside the network.

    Args:
        values: real [4, move]: a row for each of the stages 0 to 2, and one for the guesses.
        title: above the figure.
    """
    fig, ax = plt.subplots(figsize=(5.6, 2.5))
    image = number_grid(ax, values, cmap=plots.SEQUENTIAL, vmin=0, aspect="auto")
    ax.set_yticks(range(4), ["stage 0", "stage 1", "stage 2", "guesses"])
    ax.set_xticks(range(values.shape[1]), [f"move {ply + 1}" for ply in range(values.shape[1])])
    ax.set_title(title)
    fig.colorbar(image, label="largest difference")
    return ax
