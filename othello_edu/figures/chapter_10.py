"""Drawings of chapter 10: verdicts on claims, as a table of signs.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .. import plots

# Each verdict's sign and colour: no verdict is told by colour alone.
SIGNS = {
    "reproduced": ("✓", plots.SKY_BLUE),
    "partly": ("~", plots.YELLOW),
    "not reproduced": ("✗", plots.ORANGE),
    "mixed": ("≠", plots.PALE),
    "not testable": ("–", plots.PALE),
}


def verdict_table(claims: Sequence[Mapping[str, Any]], columns: Mapping[str, Sequence[str]]) -> Axes:
    """A row for each claim of a results file, and a sign for its verdict in each column.

    Args:
        claims: each with "source" and "says".
        columns: for each title, a verdict for each claim: one of `SIGNS`.
    """
    rows = [fill(f"{n} {claim['source']}: {claim['says']}", 54) for n, claim in enumerate(claims, 1)]
    _, ax = plt.subplots(figsize=(6.9, 6.8))
    for x, verdicts in enumerate(columns.values()):
        for y, verdict in enumerate(verdicts):
            sign, colour = SIGNS[verdict]
            ax.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, fc=colour, ec="white"))
            ax.text(x, y, sign, ha="center", va="center", color=plots.INK)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    ax.set_xticks(range(len(columns)), list(columns))
    ax.set_yticks(range(len(rows)), rows, fontsize=8)
    ax.tick_params(length=0)
    return ax
