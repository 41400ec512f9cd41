"""Directions in the residual stream: principal components, random ones, and how well two sets of them agree.

A set of directions is a matrix [d, n], one direction in each column, as in a dictionary's `directions`. Only
where they point matters: every function here takes columns of any length.

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
"""

import numpy.typing as npt
import torch
from torch.nn import functional as F

from . import checks
from .errors import OthelloEduError


def principal_components(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal component analysis of rows, widest component first.

    Args:
        x: real [n, d], finite, at least one row.

    Returns:
        The components, float32 [d, d], columns of length 1 whose signs mean nothing; and the share of the
        variance along each, float64 [d], which add up to 1 (NaN where all rows are the same).

    Raises:
        OthelloEduError: for another shape, no rows, and numbers that are not finite.

    Example:
        >>> components, shares = principal_components(torch.tensor([[0.0, 3.0], [0.0, -3.0]]))
        >>> components[:, 0].abs().tolist(), shares.tolist()
        ([0.0, 1.0], [1.0, 0.0])
    """
    x = finite_rows("x", x, "n", "d")
    x = (x - x.mean(0)).double()
    variances, components = torch.linalg.eigh(x.T @ x)
    return components.flip(1).float(), (variances / variances.sum()).flip(0)


def both_signs(directions: torch.Tensor) -> torch.Tensor:
    """Each direction, and then each one's opposite: activations are never negative.

    Args:
        directions: real [d, n].

    Returns:
        The same type, [d, 2 n].

    Example:
        >>> both_signs(torch.eye(2)).tolist()
        [[1.0, 0.0, -1.0, -0.0], [0.0, 1.0, -0.0, -1.0]]
    """
    directions = checks.reals("directions", directions, "d", "n")
    return torch.cat([directions, -directions], dim=1)


def random_directions(d: int, n: int, seed: int) -> torch.Tensor:
    """Random directions of length 1, evenly spread over the sphere.

    Args:
        d: dimensions, at least 1.
        n: how many, at least 1.
        seed: the same seed gives the same directions.

    Returns:
        float32 [d, n].

    Raises:
        OthelloEduError: for numbers that are no such integers, and for more than fits into memory.
    """
    return F.normalize(random_matrix(d, n, seed), dim=0)


def random_matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Standard normal numbers, the same for the same seed.

    Args:
        rows: at least 1.
        columns: at least 1.
        seed: of the numbers.

    Returns:
        float32 [rows, columns].

    Raises:
        OthelloEduError: for numbers that are no such integers, and for more than fits into memory.
    """
    seed = checks.seed("seed", seed)
    rows, columns = checks.integer("rows", rows, 1), checks.integer("columns", columns, 1)
    checks.memory(f"a matrix of {rows} x {columns}", 4 * rows * columns)
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def stretched(directions: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The directions, stretched along each axis as rows spread along it.

    Random directions stretched like the data are the stricter control: two of them agree by more than even
    ones do, only because the rows spread further in some directions than in others.

    Args:
        directions: real [d, n], finite.
        x: real [n_rows, d], finite: the rows that say how far.

    Returns:
        float32 [d, n], columns of length 1.

    Raises:
        OthelloEduError: for shapes that do not fit, no rows, and numbers that are not finite.
    """
    x = finite_rows("x", x, "n_rows", "d")
    directions = finite_rows("directions", directions, x.shape[1], "n")
    components, shares = principal_components(x)
    along = components.T @ directions * shares.clamp(min=0).sqrt()[:, None].float()
    return F.normalize(components @ along, dim=0)


def cosines(directions: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The cosine of every direction with every one of the others.

    Args:
        directions: real [d, n], finite.
        others: real [d, m], finite.

    Returns:
        float [n, m]. Opposites have −1; a column of zeros has 0 with all.

    Raises:
        OthelloEduError: for numbers that are not finite, and where the two do not have the same number of
            dimensions.

    Example:
        >>> cosines(torch.eye(2), torch.tensor([[5.0], [0.0]])).tolist()
        [[1.0], [0.0]]
    """
    directions = finite_rows("directions", directions, "d", "n")
    others = finite_rows("others", others, len(directions), "m")
    return F.normalize(directions, dim=0).T @ F.normalize(others, dim=0)


def best_cosines(directions: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """For each direction, the largest of its `cosines` with any of the others.

    Two of the directions may have the same partner, and an opposite is none: a feature that points the other
    way is active where this one is silent. Compare with what `random_directions` of the same numbers reach.

    Args:
        directions: real [d, n], finite.
        others: real [d, m], finite, at least one.

    Returns:
        float [n].

    Raises:
        OthelloEduError: as `cosines` does, and where there are no others.

    Example:
        >>> best_cosines(torch.eye(2), torch.tensor([[3.0, -1.0], [0.0, 0.0]])).tolist()
        [1.0, 0.0]
    """
    table = cosines(directions, others)
    if table.shape[1] == 0:
        raise OthelloEduError("others hold no directions to compare with")
    return table.amax(1)


def finite_rows(name: str, values: npt.ArrayLike | torch.Tensor, *axes: int | str) -> torch.Tensor:
    """Floats of a shape, finite, with at least one row.

    Args:
        name: of the argument, as messages call it.
        values: real numbers, a tensor or an array.
        *axes: the shape, as in `checks.shape`: a length, or a word for any length.

    Returns:
        The tensor; integers become float32.

    Raises:
        OthelloEduError: for anything else, naming the argument.
    """
    values = checks.reals(name, values, *axes)
    if len(values) == 0:
        raise OthelloEduError(f"{name} have no rows; at least one is needed")
    return checks.finite(name, values if values.dtype.is_floating_point else values.float())
