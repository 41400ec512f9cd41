"""Interactive boards, for notebooks and for the static book: each one Python class and one ES module.

See Also:
    Chapter 1, :doc:`/notebooks/01_the_game`, for `BoardWidget` and `GameTape`; chapter 5,
    :doc:`/notebooks/05_linear_probes`, and the page :doc:`/book/explorer` for `LayerExplorer`.
"""

from .board_widget import BoardWidget
from .game_tape import GameTape
from .layer_explorer import LayerExplorer

__all__ = ["BoardWidget", "GameTape", "LayerExplorer"]
