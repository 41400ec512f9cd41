"""Places of the board that results are counted for, as arrays of squares."""

import numpy as np

GRID = np.arange(64).reshape(8, 8)
INTERIOR = GRID[1:-1, 1:-1].ravel()
CENTRAL = GRID[2:6, 2:6].ravel()
EDGE = np.setdiff1d(GRID, INTERIOR)
CORNERS = np.array([0, 7, 56, 63])
SIDES = np.setdiff1d(EDGE, CORNERS)
PLACES = {"sides": SIDES, "corners": CORNERS, "interior": INTERIOR}
