"""Sparse autoencoders: describe a residual stream as a few active features out of many.

`SparseAutoencoder` is the paper's (Du et al., 2025): one matrix `W` [d_model, n_features] both reads
and writes, `h = relu(x W + b)`, `x̂ = h Wᵀ`, with a bias on the encoder only. Its columns are the
features' directions and have length 1 here (the paper's code normalises the other axis).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .activations import residual_streams
from .errors import OthelloEduError
from .games import PADDING, Games, batches, next_tokens, tokens
from .model import GPT


class SparseAutoencoder(nn.Module):
    """The paper's SAE: tied weights, ReLU, an encoder bias.

    weight [d_model, n_features], bias [n_features].
    """

    def __init__(self, d_model: int, n_features: int, seed: int = 0):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(F.normalize(torch.randn(d_model, n_features, generator=random), dim=0))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activations of the features, [..., d_model] -> [..., n_features], all at least 0."""
        return F.relu(x @ self.weight + self.bias)

    def decode(self, h: torch.Tensor) -> torch.Tensor:
        """The residual stream that these activations describe, [..., n_features] -> [..., d_model]."""
        return h @ self.weight.T

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction of x."""
        return self.decode(self.encode(x))


def train_sae(
    x: torch.Tensor,
    n_features: int | None = None,
    l1: float = 0.077,
    epochs: int = 4,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> SparseAutoencoder:
    """Fit the paper's SAE to residual streams x [..., d_model] of one stage.

    loss = mean ‖x − x̂‖₂ / d_model + l1 · mean ‖h‖₁ / n_features: the length of the error, not its
    square (Du et al., 2025, as its public code has it). n_features: 2 · d_model by default, the
    paper's. Deterministic given the seed and the number of threads.
    """
    x = x.reshape(-1, x.shape[-1]).float()
    if len(x) == 0 or not torch.isfinite(x).all():
        raise OthelloEduError("x needs at least one row, and finite numbers only")
    d_model = x.shape[1]
    sae = SparseAutoencoder(d_model, n_features or 2 * d_model, seed)
    adam = torch.optim.AdamW(sae.parameters(), lr=learning_rate, weight_decay=0.0, fused=True)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x), generator=order).split(batch_size):
            batch = x[chosen]
            h = sae.encode(batch)
            error = (batch - sae.decode(h)).norm(dim=-1).mean() / d_model
            loss = error + l1 * h.sum(-1).mean() / h.shape[-1]
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():  # unit columns: an activation is a length along its feature
                sae.weight.copy_(F.normalize(sae.weight, dim=0))
    return sae.eval().requires_grad_(False)


@dataclass(frozen=True)
class Panel:
    """What is reported of every SAE, never one number alone.

    l0: mean number of active features. explained_variance: 1 − ‖x − x̂‖² / ‖x − mean‖². dead_fraction:
    share of features that are never active on these rows. density: float64 [n_features], share of
    rows on which each feature is active. loss, loss_spliced, loss_ablated: the model's next-move loss
    (nats) as it is, with the reconstruction in place of the stage, and with the stage's mean in its
    place. loss_recovered: share of the way from ablated back to the model's own, 1 is perfect.
    """

    l0: float
    explained_variance: float
    dead_fraction: float
    density: np.ndarray
    loss: float
    loss_spliced: float
    loss_ablated: float

    @property
    def loss_recovered(self) -> float:
        """1 where splicing costs nothing, 0 where it costs what the mean costs; NaN if that is nothing."""
        if self.loss_ablated == self.loss:
            return float("nan")
        return (self.loss_ablated - self.loss_spliced) / (self.loss_ablated - self.loss)


@torch.no_grad()
def panel(
    model: GPT,
    sae: SparseAutoencoder,
    stage: int,
    games: Games,
    plies: Sequence[int] | None = None,
    batch_size: int = 256,
) -> Panel:
    """Judge an SAE of a stage on games that it was not fitted on.

    plies: which rows are replaced and counted, as in `residual_streams`, all by default; give those that
    the SAE was fitted on. Of these, every position that is followed by a move counts. Raises
    OthelloEduError for a stage or plies that the model does not have, or an SAE of another width.
    """
    if len(sae.weight) != model.config.d_model:
        raise OthelloEduError(
            f"the SAE reads {len(sae.weight)} dimensions; the model has {model.config.d_model}"
        )
    model.eval()
    rows = list(range(model.config.n_ctx)) if plies is None else list(plies)
    x = residual_streams(model, games, [stage], rows, batch_size=batch_size)[0]
    x = x[next_tokens(games)[:, rows] != PADDING]
    mean = x.mean(0)
    active = torch.zeros(sae.bias.shape, dtype=torch.float64)
    squared_error = 0.0
    for part in x.split(8192):
        h = sae.encode(part)
        active += (h > 0).double().sum(0)
        squared_error += (part - sae.decode(h)).double().square().sum().item()
    density = (active / len(x)).numpy()
    replacements = {"loss": None, "loss_spliced": sae, "loss_ablated": lambda part: mean.expand_as(part)}
    losses = {
        name: _loss(model, games, stage, rows, replace, batch_size) for name, replace in replacements.items()
    }
    return Panel(
        l0=float(density.sum()),
        explained_variance=1 - squared_error / (x - mean).double().square().sum().item(),
        dead_fraction=float((density == 0).mean()),
        density=density,
        **losses,
    )


def _loss(model, games, stage, rows, replace, batch_size):
    def edit(value):
        value = value.clone()
        value[:, rows] = replace(value[:, rows])
        return value

    total, count = 0.0, 0
    for batch in batches(games, batch_size):
        targets = next_tokens(batch)[:, rows]
        logits = model(tokens(batch), edits={("resid_post", stage): edit} if replace else {})[:, rows]
        total += F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="sum"
        ).item()
        count += int((targets != PADDING).sum())
    return total / count
