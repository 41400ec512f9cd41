"""Streams in which the answer is planted: a direction for each disc, a clock, and noise.

Before "this dictionary does not hold the board" says anything about a network, the same training has to
find a board that is known to be there. `planted_streams` makes such a stream out of true boards. To a method
that looks at means and covariances alone it is the stream of the network; but here the answer is known.

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
"""

from dataclasses import dataclass

import numpy.typing as npt
import torch

from . import checks
from .board_metrics import properties
from .directions import finite_rows, random_matrix
from .errors import OthelloEduError

CLOCK = 0.1  # the clock's share of what is planted


@dataclass(frozen=True, eq=False)
class Planted:
    """A stream and what was planted in it.

    With facts and moves less their means::

        x = mean + facts atomsᵀ + moves clock + noise

    Attributes:
        x: float32 [n, d_model], the stream.
        atoms: float32 [d_model, 2 · n_squares], what each fact adds to it, columns as in `properties`: my
            disc on each square, then theirs.
        clock: float32 [d_model], what a move adds to it.
        share: of the variance of x, what is not noise.
    """

    x: torch.Tensor
    atoms: torch.Tensor
    clock: torch.Tensor
    share: float


def planted_streams(
    x: torch.Tensor, labels: npt.ArrayLike, ply: npt.ArrayLike, share: float = 0.98, seed: int = 0
) -> Planted:
    """Plant true boards in a stream that has the mean and the covariance of a real one.

    Three things are added up: a random direction of length 1 for each fact that holds (my disc on a square,
    their disc there; an empty square is the absence of both), another one times the move number, and even
    Gaussian noise. Facts and clock are scaled so that they have `share` of the variance, of which `CLOCK` is
    the clock's, and the noise has the rest. Then one matrix is applied to all of it, S^(−1/2) C^(1/2), where
    S is the covariance of the sum and C that of `x`; what this makes of the directions are the atoms. So the
    mean and the covariance of the result are those of `x`, up to rounding. (Noise fills the directions in
    which facts hardly differ, so its share is larger afterwards: `Planted.share` is what is left.)

    A board has four discs more than moves were made. A dictionary may therefore write the clock as a little
    of it on each disc; that turns an atom by few degrees.

    Args:
        x: real [n, d_model], finite: a stream, for its mean and covariance; more rows than
            dimensions.
        labels: int [n, n_squares], contents in 0..2.
        ply: real [n], moves made.
        share: of the variance before that matrix that is planted, 0 (all noise) to below 1.
        seed: of the directions and of the noise.

    Returns:
        The stream and the atoms.

    Raises:
        OthelloEduError: for shapes that do not fit, too few rows, facts that never change, and numbers that
            are not finite or out of range.

    Example:
        >>> boards = torch.randint(0, 3, (500, 4), generator=torch.Generator().manual_seed(0))
        >>> planted = planted_streams(torch.randn(500, 6), boards.numpy(), (boards > 0).sum(1))
        >>> planted.x.shape, planted.atoms.shape
        (torch.Size([500, 6]), torch.Size([6, 8]))

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
    """
    x = finite_rows("x", x, "n", "d_model").double()
    n, d_model = x.shape
    if n <= d_model:
        raise OthelloEduError(f"x has {n} rows; a covariance of {d_model} dimensions needs more than that")
    labels = checks.integers("labels", labels, n, "n_squares", low=0, high=2)
    moves = finite_rows("ply", ply, n).double()
    if not 0 <= checks.number("share", share) < 1:
        raise OthelloEduError(f"share is {share}; it must be at least 0, and below 1: some noise is needed")
    seed = checks.seed("seed", seed)
    facts = torch.from_numpy(properties(labels)).double()
    facts, moves = facts - facts.mean(0), moves[:, None] - moves.mean()
    if not facts.any() or not moves.any():
        raise OthelloEduError("labels and ply must vary: what is always so cannot be found in a stream")
    n_facts = facts.shape[1]
    random = random_matrix(n_facts + 1 + n, d_model, seed).double()
    drawn = torch.nn.functional.normalize(random[: n_facts + 1], dim=1)
    atoms = _of_variance(drawn[:-1], facts, share * (1 - CLOCK))
    clock = _of_variance(drawn[-1:], moves, share * CLOCK)
    noise = random[n_facts + 1 :] * ((1 - share) / d_model) ** 0.5
    mixed = facts @ atoms + moves @ clock + noise
    mean = x.mean(0)
    colour = _power(torch.cov(mixed.T), -0.5) @ _power(torch.cov(x.T), 0.5)
    coloured = (mixed - mixed.mean(0)) @ colour
    left = 1 - float(((noise - noise.mean(0)) @ colour).square().sum() / coloured.square().sum())
    atoms, clock = (atoms @ colour).T.contiguous().float(), (clock @ colour)[0].float()
    return Planted((coloured + mean).float(), atoms, clock, left)


def _of_variance(directions, amounts, variance):
    """`directions` [m, d], scaled so that `amounts` [n, m] of them have this variance in all."""
    return directions * (variance / (amounts @ directions).square().sum(1).mean()).sqrt()


def _power(covariance, power):
    """A power of a symmetric matrix without negative eigenvalues (beyond rounding)."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=values.max() * 1e-12) ** power) @ vectors.T
