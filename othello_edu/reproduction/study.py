"""One network, studied by one protocol: its control, the games, streams, and what trained parts leave.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from ..errors import OthelloEduError
from ..files import atomic_write
from ..games import Games, split_games
from ..model import GPT
from ..sae import Autoencoder
from ..sae_training import Given, fit
from .audit import corner_tables
from .protocol import Protocol, Sizes
from .samples import Sample, sample, streams, until_first_pass

SEED = 41  # of the games of a run
RANDOM_SEED = 10**6  # of the random weights: not that of any network's own beginning
TABLES = "tables"


@dataclass(eq=False)
class Study:
    """What every part of a run needs.

    Attributes:
        model: the network.
        protocol: how it is studied.
        sizes: how much of everything.
        work: a folder for what is trained.
        saved: {name: SHA-256} of what parts have left in that folder.
    """

    model: GPT
    protocol: Protocol
    sizes: Sizes
    work: Path
    saved: dict[str, str] = field(default_factory=dict)

    @cached_property
    def random_model(self) -> GPT:
        """The control: the same shape with random weights."""
        with torch.random.fork_rng([]):
            torch.manual_seed(RANDOM_SEED)
            return GPT(self.model.config).to(next(self.model.parameters()).device).eval()

    @cached_property
    def split(self) -> tuple[Games, Games, Games]:
        """Games to fit on, to score and choose on, and new ones to report on; no game is in two."""
        return self.games_for(self.protocol)

    def games_for(self, protocol: Protocol) -> tuple[Games, Games, Games]:
        """`split`, as another `protocol` would cut the games."""
        sizes = self.sizes
        games = split_games(sizes.train_games, sizes.score_games, sizes.new_games, seed=SEED)
        to_train, to_score, new = map(until_first_pass, games) if protocol.cut_at_pass else games
        return to_train, to_score, new

    @cached_property
    def score(self) -> Sample:
        """The games on which features are scored and chosen, the paper's 104,000 boards."""
        return sample(self.split[1], self.protocol)

    @cached_property
    def new(self) -> Sample:
        """The games on which chosen things are reported."""
        return sample(self.split[2], self.protocol)

    @cached_property
    def corner(self) -> dict[tuple[str, str], np.ndarray]:
        """`audit.corner_tables` of the new games."""
        return corner_tables(self.new, self.sizes.n_resamples)

    def streams(self, games: Games, stage: int, model: GPT | None = None) -> torch.Tensor:
        """Streams of one stage as the protocol sees them.

        Args:
            games: to read.
            stage: 0 for the embedding, l for after block l.
            model: the study's own by default.

        Returns:
            float32 [n_games, 52, d_model].
        """
        return streams(model or self.model, games, [stage], self.protocol.dropout)[0]

    def control_scale(self, stage: int) -> float:
        """What makes the random network's streams of a `stage` as large as the trained one's.

        The paper's price of activity and its first biases are meant for streams of a certain size.
        """
        games = self.split[1][:50]
        sizes = [self.streams(games, stage, model).square().mean() for model in (None, self.random_model)]
        return float((sizes[0] / sizes[1]).sqrt())

    def fit(self, sae: Given, x: torch.Tensor | Callable[[int], torch.Tensor], **settings: Any) -> Given:
        """`sae_training.fit` on the network's device; what was trained comes back to the processor.

        Args:
            sae: one, or a list.
            x: rows, or a function from the epoch to rows.
            **settings: as in `sae_training.fit`.

        Returns:
            What it got, `sae`.
        """
        device = next(self.model.parameters()).device
        moved = x.to(device) if isinstance(x, torch.Tensor) else lambda epoch: x(epoch).to(device)
        fit(sae, moved, **settings)
        for trained in [sae] if isinstance(sae, Autoencoder) else sae:
            trained.cpu()
        return sae

    def rows(self, sample: Sample, stage: int, model: GPT | None = None) -> torch.Tensor:
        """Streams of a sample's rows that count.

        Args:
            sample: games and their labels.
            stage: 0 for the embedding, l for after block l.
            model: the study's own by default.

        Returns:
            float32 [n, d_model].
        """
        return sample.rows(self.streams(sample.games, stage, model))

    def save(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """Keep tensors for later parts, in the folder for what is trained.

        Args:
            name: to load them by.
            tensors: by name.

        Raises:
            OthelloEduError: for numbers that are not finite.
        """
        path = self.work / f"{name}.safetensors"
        for key, value in tensors.items():
            if not value.isfinite().all():
                raise OthelloEduError(f"{key} of {path} has come out with numbers that are not finite")
        self.work.mkdir(parents=True, exist_ok=True)
        content = safetensors.torch.save({key: value.contiguous() for key, value in tensors.items()})
        with atomic_write(path) as file:
            file.write(content)
        self.saved[name] = hashlib.sha256(content).hexdigest()

    def save_tables(self, name: str, tables: dict[str, np.ndarray]) -> None:
        """Keep AUROC tables beside the results, as float16: four digits are more than they are worth.

        Args:
            name: of the file.
            tables: by name.
        """
        folder = self.work.parent / TABLES
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / f"{name}.npz") as file:
            halves = {key: table.astype(np.float16) for key, table in tables.items()}
            np.savez_compressed(file, **halves)  # type: ignore[arg-type]  # names are not its options

    def load(self, name: str) -> dict[str, torch.Tensor]:
        """Tensors of an earlier part, the ones that it saved.

        Args:
            name: that they were saved by.

        Returns:
            The tensors by name.

        Raises:
            OthelloEduError: where the file is missing, or is not the one that the part has written.
        """
        path = self.work / f"{name}.safetensors"
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != self.saved.get(name):
                raise OSError("it is not the file that the part has written")
            return safetensors.torch.load(content)
        except (OSError, safetensors.SafetensorError) as error:
            raise OthelloEduError(
                f"{path} of an earlier part cannot be read ({error}); "
                f"delete {self.work.parent / 'parts'} and run again"
            ) from error
