"""Drawings of chapter 11: curves over the games that a network has read.

See Also:
    Chapter 11, :doc:`/notebooks/11_learning_over_time`.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from .. import plots


def time_axis(ax: Axes, games: Sequence[int]) -> None:
    """Make x logarithmic from the first trained copy on, with a place for 0 games.

    Args:
        ax: what has the axis.
        games: how many each copy of the network has read, from 0 on, rising.
    """
    ax.set_xscale("symlog", linthresh=games[1], linscale=0.4)
    ticks = [0, 1_000, 10_000, 100_000]
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="games read", xlim=(-50, 1.3 * games[-1]))


def over_time(ax: Axes, games: Sequence[int], values: np.ndarray, title: str) -> None:
    """A curve for each of three stages.

    Args:
        ax: where to draw.
        games: how many each copy of the network has read, as in `time_axis`.
        values: real [copy, stage].
        title: above the figure.
    """
    colours = plots.GREY, plots.SKY_BLUE, plots.BLUE
    for stage, (curve, marker, colour) in enumerate(zip(values.T, "o^s", colours, strict=True)):
        ax.plot(games, curve, marker + "-", ms=4, color=colour, label=f"stage {stage}")
    ax.set_title(title)
    time_axis(ax, games)
