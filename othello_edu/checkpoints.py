"""What a training run holds, and how it is saved, read back and gone on with.

A checkpoint is one safetensors file: weights, the state of the optimisers and of the random generator as
arrays; configuration, step and log as JSON; and the SHA-256 of all of it. Nothing in it is unpickled.

See Also:
    Chapter 4, :doc:`/notebooks/04_training`.
"""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from .errors import CheckpointError
from .files import FilePath, atomic_write, remove_temporaries
from .model import GPT, GPTConfig, check_weights
from .optimizers import optimizers
from .presets import TrainingConfig

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
FORMAT = "othello-edu training checkpoint 4"
READABLE = (FORMAT, "othello-edu training checkpoint 3")  # 3: before `targets`, so drawn moves


@dataclass(frozen=True)
class StartingPoint:
    """A trained model to go on from.

    Attributes:
        model: its weights are copied.
        card: the part of its card that tells its history.
        log: of its training, a dict an evaluation.
    """

    model: GPT
    card: dict
    log: list[dict]


@dataclass
class TrainingRun:
    """A model in training: what a checkpoint holds.

    Attributes:
        model: with the weights of this step.
        config: how it is trained.
        optimizers: with their state.
        step: steps taken.
        seconds: spent so far.
        log: a dict an evaluation.
        start: what the card of the model whose weights this run started from tells of its training; None
            if it started from random ones.
    """

    model: GPT
    config: TrainingConfig
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    log: list[dict] = field(default_factory=list)
    start: dict | None = None

    @property
    def games(self) -> int:
        """Games that the weights have read so far."""
        return self.config.first_game + min(self.step * self.config.batch_size, self.config.n_games)

    @property
    def finished(self) -> bool:
        """Whether all games have been read."""
        return self.step >= self.config.n_steps

    def tensors(self) -> list[torch.Tensor]:
        """The weights and the state of the optimisers: all that steps change."""
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        return [*self.model.parameters(), *(value for state in states for value in state.values())]

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the log into a `folder`.

        Each atomically: the last good one survives anything.

        Raises:
            OSError: where they cannot be written.
        """
        arrays = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                arrays |= {f"optimizer.{i}.{index}.{name}": value for name, value in state.items()}
        arrays["random"] = torch.get_rng_state()
        about = {
            "model": asdict(self.model.config),
            "training": asdict(self.config),
            "step": self.step,
            "seconds": self.seconds,
            "log": self.log,
            "start": self.start,
        }
        arrays = {name: value.detach().cpu().contiguous() for name, value in arrays.items()}
        text = json.dumps(about, allow_nan=False)
        metadata = {"format": FORMAT, "about": text, "sha256": _digest(text, arrays)}
        with atomic_write(folder / CHECKPOINT) as file:
            file.write(safetensors.torch.save(arrays, metadata=metadata))
        self.save_log(folder)

    def save_log(self, folder: Path) -> None:
        """Write the log into a `folder`: with the checkpoint, or after a kill between the two."""
        with atomic_write(folder / LOG, "w") as file:
            file.write(self._log_text())

    def mend(self, folder: Path) -> None:
        """Remove what a killed run left half-written in a `folder`; bring the log up to the checkpoint."""
        remove_temporaries(folder, CHECKPOINT, LOG)
        try:
            up_to_date = (folder / LOG).read_bytes() == self._log_text().encode()
        except FileNotFoundError:
            up_to_date = False
        if self.step > 0 and not up_to_date:
            self.save_log(folder)

    def _log_text(self) -> str:
        return "".join(json.dumps(entry) + "\n" for entry in self.log)

    def restore(self, folder: Path, about: dict, arrays: dict[str, torch.Tensor]) -> None:
        """Go on from a checkpoint that was read from a folder.

        Precision may change, which is said: it rounds otherwise from there on.

        Args:
            folder: for messages.
            about: what `read_checkpoint` says of it.
            arrays: what it holds, by name.

        Raises:
            CheckpointError: if it does not fit.
        """
        saved = {**asdict(about["model"]), **asdict(about["training"])}
        current = {**asdict(self.model.config), **asdict(self.config)}
        different = [name for name in current if current[name] != saved[name] and name != "precision"]
        if different == ["n_games"] and _same_until(about["step"], self.config, about["training"]):
            different = []
        if different:
            differences = ", ".join(
                f"{name} is {saved[name]!r} there and {current[name]!r} here" for name in different
            )
            only_earlier = "n_games may change only before the learning rates begin to fall"
            raise CheckpointError(
                f"{folder / CHECKPOINT} is from another configuration: {differences}"
                + (f" ({only_earlier})" if different == ["n_games"] else "")
            )
        self._load(folder, about, arrays)
        if self.config.precision != saved["precision"]:
            warnings.warn(
                f"{folder / CHECKPOINT} was trained in {saved['precision']}; after {self.games:,} games it "
                f"goes on in {self.config.precision}, which rounds otherwise. Without --precision it is kept",
                stacklevel=4,  # of `train`'s caller
            )

    def _load(self, folder: Path, about: dict, arrays: dict[str, torch.Tensor]) -> None:
        try:
            self._set_state(about, arrays)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder / CHECKPOINT} does not hold what it says: {error}") from error

    def _set_state(self, about: dict, arrays: dict[str, torch.Tensor]) -> None:
        device = next(self.model.parameters()).device
        self.model.load_state_dict(_weights(arrays))
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict] = {}
            for name, value in arrays.items():
                if name.startswith(f"optimizer.{i}."):
                    _, _, index, key = name.split(".")
                    state.setdefault(int(index), {})[key] = value.to(device) if key != "step" else value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(arrays["random"])  # of dropout
        self.step, self.seconds, self.log = about["step"], about["seconds"], about["log"]
        self.start = about["start"]


def _same_until(step: int, *configs: TrainingConfig) -> bool:
    """Whether runs that differ in nothing but `n_games` are the same run up to a step."""
    full_batches = all(step * config.batch_size <= config.n_games for config in configs)
    return full_batches and all(len({config.rate(s) for config in configs}) == 1 for s in range(step))


def _digest(about: str, arrays: dict[str, torch.Tensor]) -> str:
    """SHA-256 of all that a checkpoint holds."""
    digest = hashlib.sha256(about.encode())
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(folder: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """What the checkpoint in a folder says and holds.

    Args:
        folder: of a run.

    Returns:
        Configurations, step and log, by name; and arrays by name.

    Raises:
        CheckpointError: if there is none, or it is truncated, altered or no checkpoint.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise CheckpointError(f"there is no {CHECKPOINT} in {folder}: it is not the folder of a training run")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}): it is truncated, altered, or no checkpoint"
        ) from error
    if metadata.get("format") not in READABLE:
        raise CheckpointError(f"{path} is not a checkpoint of this version of the package's training")
    if metadata.get("sha256") != _digest(metadata.get("about", ""), arrays):
        raise CheckpointError(f"{path} is altered: its contents do not have the SHA-256 that it states")
    try:
        about = json.loads(metadata["about"])
        about |= {"model": GPTConfig(**about["model"]), "training": TrainingConfig(**about["training"])}
        check_weights(about["model"], _weights(arrays))
        if type(about["step"]) is not int or type(about["log"]) is not list:
            raise TypeError("it has no step or no log")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} does not describe a training run: {error}") from error
    return about, arrays


def _weights(arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights among the arrays of a checkpoint."""
    return {name[6:]: value for name, value in arrays.items() if name.startswith("model.")}


def read_run(folder: FilePath) -> TrainingRun:
    """The training run in a folder, as far as its checkpoint goes; its model is in evaluation mode.

    Args:
        folder: that `train` wrote.

    Raises:
        CheckpointError: if there is no checkpoint or it cannot be read.
    """
    about, arrays = read_checkpoint(Path(folder))
    with torch.random.fork_rng([]):  # nothing is trained: the caller's random numbers stay what they were
        run = new_run(GPT(about["model"]), about["training"])
        run._load(Path(folder), about, arrays)
    run.model.eval()
    return run


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder without a checkpoint where one is expected, or with one where a run is to begin.

    Args:
        folder: of the run.
        resume: whether a checkpoint is expected.

    Raises:
        CheckpointError: says what to do instead.
    """
    if resume and not (folder / CHECKPOINT).is_file():
        raise CheckpointError(f"there is no {CHECKPOINT} in {folder}: start without resuming")
    if not resume and (folder / CHECKPOINT).exists():
        raise CheckpointError(f"{folder} already holds a {CHECKPOINT}: resume it, or choose another folder")


def new_run(model: GPT, config: TrainingConfig) -> TrainingRun:
    """A model about to take its first step.

    Args:
        model: with its first weights.
        config: how it will be trained.
    """
    rates = config.learning_rate, config.adamw_learning_rate
    return TrainingRun(model, config, optimizers(model, *rates, config.weight_decay, config.precision))
