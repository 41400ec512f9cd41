"""Interactive boards, for notebooks and for the static book: each one Python class and one ES module."""

from .board_widget import BoardWidget
from .game_tape import GameTape
from .layer_explorer import LayerExplorer

__all__ = ["BoardWidget", "GameTape", "LayerExplorer"]
