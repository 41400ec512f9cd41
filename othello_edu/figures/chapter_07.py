"""Drawings of chapter 7: points and directions in the plane.

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.axes import Axes

from .. import plots


def plane(ax: Axes, rows: torch.Tensor, title: str = "") -> None:
    """Points of the plane as small grey dots.

    Args:
        ax: where to draw.
        rows: float [point, 2].
        title: above the figure.
    """
    ax.plot(*rows.T, ".", color=plots.GREY, markersize=2, alpha=0.5)
    ax.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal", title=title)
    ax.set(xlabel="dimension 0", ylabel="dimension 1")


def arrows(ax: Axes, columns: torch.Tensor, **style: Any) -> None:
    """An arrow from the origin for each column of a tensor.

    Args:
        ax: where to draw.
        columns: float [2, arrow].
        **style: options of the arrows, as in matplotlib's `arrowprops`.
    """
    style = {"arrowstyle": "->", "linewidth": 2, **style}
    for x, y in columns.T.tolist():
        ax.annotate("", (x, y), (0, 0), arrowprops=style)


def angle_rows(ax: Axes, groups: Mapping[str, torch.Tensor], close: float = 10) -> None:
    """A line of dots for each group of dictionaries, and how many of its angles are close, on average.

    Args:
        ax: where to draw.
        groups: for each name degrees, float [dictionary, direction].
        close: where the dashed line stands, in degrees; angles below it are counted.
    """
    style: dict[str, Any] = {"color": plots.BLUE, "alpha": 0.6}
    for row, angles in enumerate(groups.values()):
        height = row + torch.linspace(-0.2, 0.2, len(angles))[:, None]
        ax.plot(angles.flatten(), height.expand_as(angles).flatten(), "o", **style)
        within = (angles < close).sum(dim=1).float().mean()
        ax.text(84, row, f"{within:.1f} of {angles.shape[1]}", va="center")
    ax.axvline(close, color=plots.VERMILLION, linestyle="--")
    ax.set_yticks(range(len(groups)), groups)
    ax.set(xlim=(-2, 82), ylim=(len(groups) - 0.5, -0.5))
    ax.set(xlabel="angle of a true direction to the nearest column (degrees)")
