"""Run a model over many games and keep what happens inside, in bounded memory.

See Also:
    Chapter 5, :doc:`/notebooks/05_linear_probes`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from . import checks
from .errors import OthelloEduError
from .games import Games, checked, tokens
from .model import GPT, checked_model, in_evaluation_mode


def residual_streams(
    model: GPT,
    games: Games,
    stages: Sequence[int] | None = None,
    plies: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    out: torch.Tensor | np.ndarray | None = None,
    batch_size: int = 128,
) -> torch.Tensor:
    """The residual stream of a model after each move of many games.

    Row `t` of the time axis has read moves 0 … t: it goes with row `t` of every label array. Rows past the
    end of a game hold what the model makes of padding: mask them.

    Args:
        model: the network. It runs in evaluation mode, and is afterwards in the mode it was in.
        games: on boards of the model's size.
        stages: which ones, all by default (0 is the embedding, `l` is after block `l`).
        plies: which rows of the time axis, all `n_ctx` by default.
        dtype: of the result, a floating-point one; not used where `out` is given.
        out: where to write, a tensor or NumPy array (a memory map, say) of the result's shape; its dtype
            counts.
        batch_size: games that the model reads at a time.

    Returns:
        float [n_stages, n_games, time, d_model], on the CPU; `out` as a tensor, where it is given.

    Raises:
        OthelloEduError: where games and model are of different sizes, for a stage or ply that the model does
            not have, a stage named twice, a dtype that is not floating-point, an `out` of another shape or
            one that cannot be written to, and activations that do not fit into memory.

    Example:
        >>> import othello_edu as oe
        >>> model = oe.GPT(oe.GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8))
        >>> games = oe.random_games(3, seed=0, board_size=4)
        >>> list(oe.residual_streams(model, games).shape)
        [2, 3, 11, 8]

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """
    stages = checks.places("stages", stages, checked_model(model).n_stages)
    return _collect(model, games, "resid_post", stages, plies, model.config.d_model, dtype, out, batch_size)


def mlp_activations(
    model: GPT,
    games: Games,
    blocks: Sequence[int] | None = None,
    plies: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    out: torch.Tensor | np.ndarray | None = None,
    batch_size: int = 128,
) -> torch.Tensor:
    """MLP neurons after the GELU, at each move of many games.

    Args:
        model: the network.
        games: on boards of the model's size.
        blocks: which ones, counted from 0; all by default.
        plies: which rows of the time axis, all `n_ctx` by default.
        dtype: of the result, a floating-point one; not used where `out` is given.
        out: where to write, as for `residual_streams`.
        batch_size: games that the model reads at a time.

    Returns:
        float [n_blocks, n_games, time, 4 * d_model].

    Raises:
        OthelloEduError: as `residual_streams`.

    Example:
        >>> import othello_edu as oe
        >>> model = oe.GPT(oe.GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8))
        >>> games = oe.random_games(3, seed=0, board_size=4)
        >>> list(oe.mlp_activations(model, games, plies=[0, 5]).shape)
        [1, 3, 2, 32]

    See Also:
        Chapter 8, :doc:`/notebooks/08_tile_colour`.
    """
    blocks = checks.places("blocks", blocks, checked_model(model).config.n_layer)
    return _collect(model, games, "mlp_post", blocks, plies, 4 * model.config.d_model, dtype, out, batch_size)


def _tensor_of(out: np.ndarray) -> torch.Tensor:
    """A tensor that writes to this array."""
    if not out.flags.writeable:
        raise OthelloEduError("out is read-only; open a memory map with mode='r+' or 'w+'")
    try:
        return torch.from_numpy(out)
    except (TypeError, ValueError) as error:
        raise OthelloEduError(f"out is {checks.shown(out)}, which torch cannot write to: {error}") from None


@torch.no_grad()
def _collect(model, games, name, indices, plies, width, dtype, out, batch_size):
    checked(games)
    batch_size = checks.integer("batch_size", batch_size, 1)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise OthelloEduError(f"dtype is {dtype!r}; it must be a floating-point one, such as torch.float32")
    if games.board_size != model.config.board_size:
        raise OthelloEduError(
            f"the model plays {model.config.board_size}x{model.config.board_size}, "
            f"the games are on {games.board_size}x{games.board_size}"
        )
    if len(set(indices)) < len(indices):
        raise OthelloEduError(f"{indices} names a stage or block twice")
    plies = torch.tensor(checks.places("plies", plies, model.config.n_ctx), dtype=torch.int64)
    if plies.numel() and not 0 <= int(plies.min()) <= int(plies.max()) < model.config.n_ctx:
        raise OthelloEduError(
            f"plies must lie in 0..{model.config.n_ctx - 1}, the moves that the model reads"
        )
    shape = (len(indices), len(games), len(plies), width)
    if out is None:
        n_bytes = math.prod(shape) * dtype.itemsize
        checks.memory(f"activations of shape {shape}", n_bytes, "take fewer stages, plies or games")
        out = torch.empty(shape, dtype=dtype)
    elif isinstance(out, np.ndarray):
        out = _tensor_of(out)
    checks.kind_of("out", out, torch.Tensor, "a tensor or a NumPy array to write to")
    if not out.dtype.is_floating_point:
        raise OthelloEduError(f"out is of {out.dtype}; activations are floating-point numbers")
    if tuple(out.shape) != shape:
        raise OthelloEduError(f"out has shape {tuple(out.shape)}; these activations have {shape}")
    device = next(model.parameters()).device
    rows = slice(0, 0)

    # Edits that change nothing: each writes the activation that it sees into its place of `out`.
    def recorder(place):
        def record(value):
            out[place, rows] = value[:, plies].to(out.dtype).to(out.device)
            return value

        return record

    recorders = {(name, index): recorder(place) for place, index in enumerate(indices)}
    with in_evaluation_mode(model):
        for start in range(0, len(games), batch_size):
            rows = slice(start, min(start + batch_size, len(games)))
            model(tokens(games[rows]).to(device), edits=recorders)
    return out
