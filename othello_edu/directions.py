"""Directions in the residual stream: principal components, random ones, and how well two sets of them agree.

A set of directions is a matrix [d, n], one direction in each column, as in a dictionary's `directions`. Only
where they point matters: every function here takes columns of any length.
"""

import torch
from torch.nn import functional as F

from . import checks
from .errors import OthelloEduError


def principal_components(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal component analysis of rows x [n, d], widest component first.

    Returns the components, [d, d], columns of length 1 whose signs mean nothing, and the share of the
    variance along each, [d], float64, which add up to 1 (NaN where all rows are the same).
    """
    x = finite_rows("x", x, "n", "d")
    x = (x - x.mean(0)).double()
    variances, components = torch.linalg.eigh(x.T @ x)
    return components.flip(1).float(), (variances / variances.sum()).flip(0)


def both_signs(directions: torch.Tensor) -> torch.Tensor:
    """Each direction, and then each one's opposite: [d, n] -> [d, 2 n]. Activations are never negative."""
    directions = checks.reals("directions", directions, "d", "n")
    return torch.cat([directions, -directions], dim=1)


def random_directions(d: int, n: int, seed: int) -> torch.Tensor:
    """n random directions [d, n] of length 1, evenly spread over the sphere."""
    return F.normalize(random_matrix(d, n, seed), dim=0)


def random_matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Standard normal numbers [rows, columns], the same for the same seed."""
    seed = checks.seed("seed", seed)
    rows, columns = checks.integer("rows", rows, 1), checks.integer("columns", columns, 1)
    checks.memory(f"a matrix of {rows} x {columns}", 4 * rows * columns)
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def stretched(directions: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The directions [d, n], stretched along each axis as rows x [n_rows, d] spread along it; length 1.

    Random directions stretched like the data are the stricter control: two of them agree by more than even
    ones do, only because the rows spread further in some directions than in others.
    """
    x = finite_rows("x", x, "n_rows", "d")
    directions = finite_rows("directions", directions, x.shape[1], "n")
    components, shares = principal_components(x)
    along = components.T @ directions * shares.clamp(min=0).sqrt()[:, None].float()
    return F.normalize(components @ along, dim=0)


def cosines(directions: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The cosine of every direction [d, n] with every one of the others [d, m], [n, m].

    Opposites have −1; a column of zeros has 0 with all. Raises OthelloEduError for numbers that are not
    finite, and where the two do not have the same number of dimensions.
    """
    directions = finite_rows("directions", directions, "d", "n")
    others = finite_rows("others", others, len(directions), "m")
    return F.normalize(directions, dim=0).T @ F.normalize(others, dim=0)


def best_cosines(directions: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """For each direction, the largest of its `cosines` with any of the others: [d, n], [d, m] -> [n].

    Two of the directions may have the same partner, and an opposite is none: a feature that points the other
    way is active where this one is silent. Compare with what `random_directions` of the same numbers reach.
    Raises OthelloEduError as `cosines` does, and where there are no others.
    """
    table = cosines(directions, others)
    if table.shape[1] == 0:
        raise OthelloEduError("others hold no directions to compare with")
    return table.amax(1)


def finite_rows(name: str, values: torch.Tensor, *axes) -> torch.Tensor:
    """Floats of a shape, finite, with at least one row; OthelloEduError naming the argument otherwise."""
    values = checks.reals(name, values, *axes)
    if len(values) == 0:
        raise OthelloEduError(f"{name} have no rows; at least one is needed")
    return checks.finite(name, values if values.dtype.is_floating_point else values.float())
