"""How to train: the settings of a run, and those with which the shipped models were made.

See Also:
    Chapter 4, :doc:`/notebooks/04_training`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .errors import OthelloEduError
from .games import Games, next_tokens
from .labels import legal_distribution
from .model import GPTConfig
from .parallel import PRECISIONS

# Training and evaluation games come from seeds far above those that anybody types, so that a probe
# fitted on `random_games(…, seed=0)` never meets a game that the model was trained on.
TRAINING_SEEDS = 2**32
EVALUATION_SEED = 2**33

# What the network is told about the next move: name -> the targets of a batch of random games.
TARGETS: dict[str, Callable[[Games], torch.Tensor]] = {"move": next_tokens, "legal": legal_distribution}


# Not in `training`: a checkpoint is read back as one of these, and nothing imports upward.
@dataclass(frozen=True)
class TrainingConfig:
    """How to train. The learning rates warm up, stay, and fall linearly to zero at the end.

    Attributes:
        n_games: fresh random games, each read once.
        first_game: the number of the first one, where the weights that training starts from have read those
            before it.
        seed: of the weights and of the games.
        batch_size: games of a step.
        learning_rate: of Muon, per unit of RMS-matched update.
        adamw_learning_rate: of embeddings, biases, LayerNorms and head.
        weight_decay: of Muon.
        warmup_steps: steps of linear warm-up.
        decay: share of the games during which the rates fall.
        eval_games: games of each evaluation.
        eval_every: games from one evaluation to the next; a checkpoint follows each.
        precision: of matrix products, "float32", "bfloat16", or "auto" for the faster of the two on the
            machine that starts.
        targets: "move", the next move of the game, or "legal", all legal moves with equal weight, the
            distribution that the next move of a random game is drawn from. Gradient and minimum are the same
            on average; the second is told every continuation where the first is told one.

    Raises:
        OthelloEduError: for what lies outside.
    """

    n_games: int = 600_000
    first_game: int = 0
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 8e-3
    adamw_learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    decay: float = 0.4
    eval_games: int = 500
    eval_every: int = 20_000
    precision: str = "auto"
    targets: str = "move"

    def __post_init__(self):
        for name in ("n_games", "batch_size", "eval_games", "eval_every"):
            if getattr(self, name) < 1:
                raise OthelloEduError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "adamw_learning_rate", "weight_decay", "warmup_steps", "first_game"):
            if not 0 <= getattr(self, name) < np.inf:
                raise OthelloEduError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.precision not in ("auto", *PRECISIONS):
            raise OthelloEduError(
                f"precision is {self.precision!r}; it must be auto, {' or '.join(PRECISIONS)}"
            )
        if self.targets not in TARGETS:
            raise OthelloEduError(f"targets is {self.targets!r}; it must be {' or '.join(TARGETS)}")
        if not 0 <= self.decay <= 1:
            raise OthelloEduError(f"decay is {self.decay}; it is a share of the training, 0 to 1")
        if not 0 <= self.seed < EVALUATION_SEED - TRAINING_SEEDS:
            raise OthelloEduError(
                f"seed is {self.seed}; it must lie in 0..{EVALUATION_SEED - TRAINING_SEEDS - 1}, so that "
                "training never reads the games that measure it"
            )

    @property
    def n_steps(self) -> int:
        """Optimiser steps; the last batch may be incomplete, never left out."""
        return -(-self.n_games // self.batch_size)

    def rate(self, step: int) -> float:
        """Share of the full learning rate at a `step`, counted from 0.

        Example:
            >>> config = TrainingConfig(n_games=640, batch_size=64, warmup_steps=1, decay=0.4)
            >>> [round(config.rate(step), 2) for step in range(config.n_steps)]
            [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        warm = (step + 1) / (self.warmup_steps + 1)
        cool = (self.n_steps - step) / max(1, round(self.decay * self.n_steps))
        return min(1.0, warm, cool)


PRESETS: dict[str, tuple[GPTConfig, TrainingConfig]] = {
    "mini": (
        GPTConfig(board_size=6, n_layer=2, n_head=1, d_model=64),
        TrainingConfig(
            n_games=150_000,
            batch_size=64,
            learning_rate=1.3e-2,
            adamw_learning_rate=6e-3,
            warmup_steps=50,
            decay=0.8,
            eval_every=10_000,
        ),
    ),
    "small": (GPTConfig(), TrainingConfig()),
    "medium": (
        GPTConfig(d_model=256),
        TrainingConfig(
            n_games=8_000_000,
            batch_size=256,
            learning_rate=6e-3,
            adamw_learning_rate=1.5e-3,
            eval_every=400_000,
        ),
    ),
    "base": (
        GPTConfig(d_model=512),
        TrainingConfig(
            n_games=20_000_000,
            batch_size=512,
            learning_rate=4e-3,
            adamw_learning_rate=1e-3,
            eval_every=1_000_000,
        ),
    ),
}
