"""Drawings of chapter 7: points and directions in the plane."""

from collections.abc import Mapping

import torch
from matplotlib.axes import Axes

from .. import plots


def plane(ax: Axes, rows, title: str = "") -> None:
    """Points of the plane, `rows` [point, 2], as small grey dots."""
    ax.plot(*rows.T, ".", color=plots.GREY, markersize=2, alpha=0.5)
    ax.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal", title=title)
    ax.set(xlabel="dimension 0", ylabel="dimension 1")


def arrows(ax: Axes, columns, **style) -> None:
    """An arrow from the origin for each column of a tensor [2, arrow]."""
    style = {"arrowstyle": "->", "linewidth": 2, **style}
    for x, y in columns.T.tolist():
        ax.annotate("", (x, y), (0, 0), arrowprops=style)


def angle_rows(ax: Axes, groups: Mapping[str, torch.Tensor], close: float = 10) -> None:
    """A line of dots for each group of dictionaries, and how many of its angles are close, on average.

    groups: for each name, degrees [dictionary, direction]. close: where the dashed line stands, in degrees.
    """
    style = {"color": plots.BLUE, "alpha": 0.6}
    for row, angles in enumerate(groups.values()):
        height = row + torch.linspace(-0.2, 0.2, len(angles))[:, None]
        ax.plot(angles.flatten(), height.expand_as(angles).flatten(), "o", **style)
        within = (angles < close).sum(dim=1).float().mean()
        ax.text(84, row, f"{within:.1f} of {angles.shape[1]}", va="center")
    ax.axvline(close, color=plots.VERMILLION, linestyle="--")
    ax.set_yticks(range(len(groups)), groups)
    ax.set(xlim=(-2, 82), ylim=(len(groups) - 0.5, -0.5))
    ax.set(xlabel="angle of a true direction to the nearest column (degrees)")
