"""Games, streams and labels as a protocol wants them.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch

from ..activations import residual_streams
from ..games import Games, batches, replay, tokens
from ..labels import boards_before, contents, contents_before, movers
from ..model import GPT
from ..stability import stable_paper, stable_sound
from .paper import FIRST_PLY, LAST_PLY
from .protocol import Protocol

PLIES = range(FIRST_PLY, LAST_PLY + 1)
Values = TypeVar("Values", np.ndarray, torch.Tensor)


@dataclass(frozen=True, eq=False)
class Sample:
    """Some games and what is true of their boards at the plies of the study.

    Attributes:
        games: the games.
        labels: int8 [n_games, 52, 64], contents as the protocol's probes are asked for them, −1 for masked.
        after: int8 [n_games, 52, 64], contents after the move that was read, −1 for masked.
        boards: int8 [n_games, 52, 64] in colours, of the moments of `labels`.
        valid: bool [n_games, 52], rows that count.
        first: moves on the first of the boards.
    """

    games: Games
    labels: np.ndarray
    after: np.ndarray
    boards: np.ndarray
    valid: np.ndarray
    first: int

    def rows(self, values: Values) -> Values:
        """The rows that count, flattened.

        Args:
            values: [n_games, 52, …], NumPy or torch.

        Returns:
            [n, …], the same kind.
        """
        if isinstance(values, torch.Tensor):
            return values[torch.from_numpy(self.valid)]
        return values[self.valid]

    @cached_property
    def ply(self) -> np.ndarray:
        """Moves played on the board of each row that counts, int64 [n]."""
        return np.nonzero(self.valid)[1] + self.first

    @cached_property
    def game(self) -> np.ndarray:
        """The game of each row that counts, int64 [n]."""
        return np.nonzero(self.valid)[0]

    @cached_property
    def paper(self) -> np.ndarray:
        """`stable_paper` of the rows that count, bool [n, 64]."""
        return stable_paper(self.rows(self.boards))

    @cached_property
    def sound(self) -> np.ndarray:
        """`stable_sound` of the rows that count, bool [n, 64]."""
        return stable_sound(self.rows(self.boards))

    @cached_property
    def paper_of_all_rows(self) -> np.ndarray:
        """The paper's labels of all rows, bool `[n_games * 52, 64]`: after the end all edges are stable."""
        stable = stable_paper(self.boards.reshape(-1, 64))
        edge = np.zeros((8, 8), bool)
        edge[[0, -1]] = edge[:, [0, -1]] = True
        stable[(self.labels[..., 0] < 0).ravel()] = edge.ravel()
        return stable


def until_first_pass(games: Games) -> Games:
    """The same `games`, ended where a player has no move, even if the other player has one."""
    positions = replay(games)
    passed = positions.to_move == movers(positions)  # the same player again
    ended = np.maximum.accumulate(passed & (positions.to_move > 0), axis=1)
    moves = games.moves.copy()
    moves[:, 1:][ended[:, :-1]] = -1
    return Games(moves, games.board_size)


def sample(games: Games, protocol: Protocol) -> Sample:
    """Replay games and label them as the protocol does.

    Args:
        games: of 8x8.
        protocol: whose labels.

    Returns:
        The games with their labels.
    """
    positions = replay(games)
    boards, labels = positions.boards, contents(positions)
    after, first = labels, FIRST_PLY + 1
    if protocol.labels_before:
        boards, labels, first = boards_before(positions), contents_before(positions), FIRST_PLY
    labels, after, boards = (array[:, PLIES.start : PLIES.stop] for array in (labels, after, boards))
    return Sample(games, labels, after, boards, (labels[..., 0] >= 0) & (after[..., 0] >= 0), first)


def first_blocks(model: GPT, n_layer: int) -> GPT:
    """The network cut off after its first blocks: enough for their stages, and quicker.

    Args:
        model: the whole network.
        n_layer: how many blocks; of 0, one is kept, since there is no network without blocks.

    Returns:
        A copy, in evaluation mode, on the same device.
    """
    if n_layer == 0:
        n_layer = 1  # there is no network without blocks
    cut = GPT(replace(model.config, n_layer=n_layer))
    names = cut.state_dict().keys()
    cut.load_state_dict({name: value for name, value in model.state_dict().items() if name in names})
    return cut.to(next(model.parameters()).device).eval()


def streams(
    model: GPT, games: Games, stages: Sequence[int], dropout: float = 0.0, seed: int = 0
) -> torch.Tensor:
    """Residual streams at the plies of the study.

    Args:
        model: the network.
        games: to read.
        stages: 0 for the embedding, l for after block l.
        dropout: the rate at which attention weights and what attention and MLP write are dropped, as in the
            paper's code (which spares the embedding).
        seed: of that noise.

    Returns:
        float32 [n_stages, n_games, 52, d_model].
    """
    cut = first_blocks(model, max(stages))
    if not dropout:
        return residual_streams(cut, games, stages, PLIES)
    device = next(model.parameters()).device
    noisy = GPT(replace(cut.config, dropout=dropout))
    noisy.load_state_dict(cut.state_dict())
    noisy.to(device).train()
    noisy.config = replace(cut.config, dropout=0.0)  # this one is the embedding's
    parts = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        for batch in batches(games, 128):
            _, cache = noisy.run_with_cache(tokens(batch).to(device), names=["resid_post"])
            parts.append(cache["resid_post"][list(stages), :, PLIES.start : PLIES.stop].cpu())
    return torch.cat(parts, dim=1)
