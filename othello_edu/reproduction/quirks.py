"""The quirks of the paper's public code, as far as they need code of their own.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ..directions import random_matrix
from ..games import Games
from ..model import GPT
from ..probes import N_CLASSES
from ..sae import SparseAutoencoder
from .paper import BATCH_GAMES, HALF_CYCLE, LOWEST_RATE, RATE
from .protocol import CORRECTED, PUBLISHED
from .samples import PLIES, sample, streams

_CHUNK = 20 * BATCH_GAMES  # games whose streams are held at a time


def cycled_rate(step: int, n_steps: int = 0) -> float:
    """A schedule: a cosine meant to fall once, which swings every 20 steps instead.

    Args:
        step: steps done.
        n_steps: not used; schedules are given it.

    Returns:
        Factor of the learning rate.

    Example:
        >>> [round(cycled_rate(step), 2) for step in (0, 5, 10, 20)]
        [1.0, 0.5, 0.0, 1.0]
    """
    cosine = math.cos(math.pi * step / HALF_CYCLE)
    lowest = LOWEST_RATE / RATE
    return lowest + (1 - lowest) * (1 + cosine) / 2


class PublishedProbe:
    """The paper's linear probe: no bias, and a LayerNorm over time and dimensions before it, if asked for.

    One probe for each stage, fitted together.

    Args:
        n_stages: how many stages.
        d_model: dimensions of their streams.
        norm_over_time: with that LayerNorm, whose gain and offset are trained.
        cycled: the learning rate follows `cycled_rate`.
    """

    def __init__(self, n_stages: int, d_model: int, norm_over_time: bool, cycled: bool):
        self.norm_over_time, self.cycled = norm_over_time, cycled
        # torch's Linear draws from ± 1 / sqrt(inputs).
        random = torch.Generator().manual_seed(0)
        matrix = torch.empty(n_stages, d_model, N_CLASSES * 64)
        self.matrix = matrix.uniform_(-(d_model**-0.5), d_model**-0.5, generator=random)
        self.gain = torch.ones(n_stages, 1, len(PLIES), d_model)
        self.offset = torch.zeros(n_stages, 1, len(PLIES), d_model)
        parameters = [self.matrix, self.gain, self.offset] if norm_over_time else [self.matrix]
        self.adam = torch.optim.AdamW(parameters, lr=RATE, weight_decay=PUBLISHED.weight_decay, fused=True)
        self.n_steps = 0

    @property
    def weight(self) -> torch.Tensor:
        """The weights by square and class, [n_stages, 64, 3, d_model]."""
        n_stages, d_model, _ = self.matrix.shape
        return self.matrix.mT.reshape(n_stages, N_CLASSES, 64, d_model).transpose(1, 2)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes.

        Args:
            x: float [n_stages, n_games, 52, d_model], streams.

        Returns:
            `[n_stages, n_games * 52, 3, 64]`.
        """
        return self._logits(self._normal(x) * self.gain + self.offset if self.norm_over_time else x)

    def _normal(self, x):
        return F.layer_norm(x, x.shape[-2:])

    def _logits(self, read):
        rows = read.reshape(len(read), -1, read.shape[-1])
        return torch.bmm(rows, self.matrix).view(len(rows), -1, N_CLASSES, 64)

    @torch.no_grad()
    def step(self, x: torch.Tensor, labels: torch.Tensor, fall: float = 1.0) -> None:
        """One step of AdamW.

        Args:
            x: float [n_stages, n_games, 52, d_model], streams.
            labels: int64 [n_games, 52, 64], −1 for masked.
            fall: factor of the learning rate, where it is not cycled.
        """
        factor = cycled_rate(self.n_steps) if self.cycled else fall
        self.adam.param_groups[0]["lr"] = RATE * factor
        normal = self._normal(x) if self.norm_over_time else None
        read = x if normal is None else normal * self.gain + self.offset
        labels = labels.reshape(-1, 1, 64)
        # The gradient of cross-entropy by hand, as in `LinearProbe`: probabilities minus the truth.
        error = self._logits(read).softmax(-2)
        error.sub_((labels == torch.arange(N_CLASSES)[:, None]).float())
        error.mul_((labels >= 0) / (labels >= 0).sum())
        error = error.view(len(x), -1, N_CLASSES * 64)
        self.matrix.grad = read.reshape(len(x), -1, x.shape[-1]).mT @ error
        if normal is not None:
            back = (error @ self.matrix.mT).view_as(x)
            self.gain.grad = (back * normal).sum(1, keepdim=True)
            self.offset.grad = back.sum(1, keepdim=True)
        self.adam.step()
        self.n_steps += 1

    @torch.no_grad()
    def accuracy(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Share of unmasked squares read correctly in each game.

        Args:
            x: float [n_stages, n_games, 52, d_model], streams.
            labels: int64 [n_games, 52, 64], −1 for masked.

        Returns:
            float64 [n_stages, n_games].
        """
        read = self.logits(x).argmax(-2).view(*x.shape[:3], 64)
        counted = labels >= 0
        return ((read == labels) & counted).sum((-2, -1)).double() / counted.sum((-2, -1))


def batches_of_streams(
    model: GPT, games: Games, stages: Sequence[int], dropout: float, seed: int
) -> Iterator[tuple[torch.Tensor, dict[bool, torch.Tensor]]]:
    """Streams of the games, 64 at a time, and their labels.

    Args:
        model: the network.
        games: to read.
        stages: whose streams.
        dropout: rate, as in `samples.streams`.
        seed: of the noise of dropout.

    Yields:
        Streams [n_stages, 64, 52, d_model], and `{labels_before: labels}`, int64 [64, 52, 64] each, before
        the move that was read, and after it.
    """
    for start in range(0, len(games), _CHUNK):
        part = games[start : start + _CHUNK]
        x = streams(model, part, stages, dropout, seed + start)
        labels = {
            protocol.labels_before: torch.from_numpy(sample(part, protocol).labels).long()
            for protocol in (CORRECTED, PUBLISHED)
        }
        for first in range(0, len(part), BATCH_GAMES):
            batch = slice(first, first + BATCH_GAMES)
            yield x[:, batch], {before: values[batch] for before, values in labels.items()}


class PublishedSAE(SparseAutoencoder):
    """The paper's SAE with its matrix normalised along the wrong axis: unit rows, one for each dimension.

    raw [d_model, n_features] is what is trained; `W_enc` is it, with unit rows. Arguments are those of
    `SparseAutoencoder`.
    """

    def _initialise(self, seed):
        self.raw = nn.Parameter(random_matrix(self.d_model, self.n_features, seed))
        # The seed of the matrix again would make the bias its first row. (torch keeps 32 bits of a seed.)
        self.b_enc = nn.Parameter(random_matrix(1, self.n_features, seed + 2**31)[0])

    @property
    def W_enc(self) -> torch.Tensor:  # type: ignore[override]  # it follows `raw`, and nobody sets it
        """What reads and writes, [d_model, n_features], each row of length 1."""
        return F.normalize(self.raw, dim=-1)

    def normalise(self) -> None:
        """The paper's code normalises in every forward pass instead."""
