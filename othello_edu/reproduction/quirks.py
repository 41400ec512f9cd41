"""The quirks of the paper's public code, as far as they need code of their own."""

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
    """Factor of the learning rate: a cosine meant to fall once, which swings every 20 steps instead."""
    cosine = math.cos(math.pi * step / HALF_CYCLE)
    lowest = LOWEST_RATE / RATE
    return lowest + (1 - lowest) * (1 + cosine) / 2


class PublishedProbe:
    """The paper's linear probe: no bias, and a LayerNorm over time and dimensions before it, if asked for.

    One probe for each of `n_stages`, fitted together. weight [n_stages, 64, 3, d_model].
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
        """[n_stages, 64, 3, d_model]."""
        n_stages, d_model, _ = self.matrix.shape
        return self.matrix.mT.reshape(n_stages, N_CLASSES, 64, d_model).transpose(1, 2)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """[n_stages, n_games, 52, d_model] -> [n_stages, n_games * 52, 3, 64]."""
        return self._logits(self._normal(x) * self.gain + self.offset if self.norm_over_time else x)

    def _normal(self, x):
        return F.layer_norm(x, x.shape[-2:])

    def _logits(self, read):
        rows = read.reshape(len(read), -1, read.shape[-1])
        return torch.bmm(rows, self.matrix).view(len(rows), -1, N_CLASSES, 64)

    @torch.no_grad()
    def step(self, x: torch.Tensor, labels: torch.Tensor, fall: float = 1.0) -> None:
        """One step on streams x and labels int64 [n_games, 52, 64], -1 for masked."""
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
        """Share of unmasked squares read correctly in each game, float64 [n_stages, n_games]."""
        read = self.logits(x).argmax(-2).view(*x.shape[:3], 64)
        counted = labels >= 0
        return ((read == labels) & counted).sum((-2, -1)).double() / counted.sum((-2, -1))


def batches_of_streams(
    model: GPT, games: Games, stages: Sequence[int], dropout: float, seed: int
) -> Iterator[tuple[torch.Tensor, dict[bool, torch.Tensor]]]:
    """Streams [n_stages, 64, 52, d_model] of the games, 64 at a time, and their labels [64, 52, 64]: after
    the move that was read, and before it ({labels_before: …}).
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

    raw [d_model, n_features] is what is trained; `W_enc` is it, with unit rows.
    """

    def _initialise(self, seed):
        self.raw = nn.Parameter(random_matrix(self.d_model, self.n_features, seed))
        # The seed of the matrix again would make the bias its first row. (torch keeps 32 bits of a seed.)
        self.b_enc = nn.Parameter(random_matrix(1, self.n_features, seed + 2**31)[0])

    @property
    def W_enc(self) -> torch.Tensor:
        """[d_model, n_features], each row of length 1."""
        return F.normalize(self.raw, dim=-1)

    def normalise(self) -> None:
        """The paper's code normalises in every forward pass instead."""
