"""Run a model over many games and keep what happens inside, in bounded memory."""

from collections.abc import Sequence

import numpy as np
import torch

from .errors import OthelloEduError
from .games import Games, tokens
from .model import GPT, in_evaluation_mode


def residual_streams(
    model: GPT,
    games: Games,
    stages: Sequence[int] | None = None,
    plies: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    out: torch.Tensor | np.ndarray | None = None,
    batch_size: int = 128,
) -> torch.Tensor:
    """The residual stream after each move, [n_stages, n_games, time, d_model].

    Row `t` of the time axis has read moves 0 … t: it goes with row `t` of every label array. stages:
    which ones, all by default (0 is the embedding, `l` is after block `l`). plies: which rows, all
    `n_ctx` by default. Rows past the end of a game hold what the model makes of padding: mask them.
    out: where to write, a tensor or NumPy array (a memory map, say) of that shape; its dtype counts.
    """
    stages = list(range(model.n_stages)) if stages is None else list(stages)
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
    """MLP neurons after the GELU, [n_blocks, n_games, time, 4 * d_model]; blocks counted from 0."""
    blocks = list(range(model.config.n_layer)) if blocks is None else list(blocks)
    return _collect(model, games, "mlp_post", blocks, plies, 4 * model.config.d_model, dtype, out, batch_size)


@torch.no_grad()
def _collect(model, games, name, indices, plies, width, dtype, out, batch_size):
    if games.board_size != model.config.board_size:
        raise OthelloEduError(
            f"the model plays {model.config.board_size}x{model.config.board_size}, "
            f"the games are on {games.board_size}x{games.board_size}"
        )
    if len(set(indices)) < len(indices):
        raise OthelloEduError(f"{indices} names a stage or block twice")
    plies = torch.arange(model.config.n_ctx) if plies is None else torch.as_tensor(list(plies))
    if plies.numel() and not 0 <= int(plies.min()) <= int(plies.max()) < model.config.n_ctx:
        raise OthelloEduError(
            f"plies must lie in 0..{model.config.n_ctx - 1}, the moves that the model reads"
        )
    shape = (len(indices), len(games), len(plies), width)
    if out is None:
        out = torch.empty(shape, dtype=dtype)
    elif isinstance(out, np.ndarray):
        out = torch.from_numpy(out)
    if tuple(out.shape) != shape:
        raise OthelloEduError(f"out has shape {tuple(out.shape)}; these activations have {shape}")
    device = next(model.parameters()).device
    rows = slice(0, 0)

    def record(place):
        def look(value):
            out[place, rows] = value[:, plies].to(out.dtype).to(out.device)
            return value

        return look

    taps = {(name, index): record(place) for place, index in enumerate(indices)}
    with in_evaluation_mode(model):
        for start in range(0, len(games), batch_size):
            rows = slice(start, min(start + batch_size, len(games)))
            model(tokens(games[rows]).to(device), edits=taps)
    return out
