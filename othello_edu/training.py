"""The training loop: schedule, evaluation, checkpoints, resume, progress.

Data is generated on the fly and never repeated: step `s` reads random games `s * batch_size …` of the
training seed, whatever the number of threads and processes. `optimizers` moves the weights, `parallel`
finds the gradient.
"""

import hashlib
import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from . import checks
from .errors import CheckpointError, OthelloEduError
from .files import atomic_write, locked, make_folder, remove_temporaries
from .games import PADDING, Games, batches, checked, next_tokens, random_games, replay, tokens
from .labels import legal_distribution, legal_tokens
from .model import GPT, GPTConfig, check_weights, checked_model, in_evaluation_mode
from .optimizers import optimizers
from .parallel import PRECISIONS, BatchGradient, any_process, fastest_precision, of_first, process, share

# Training and evaluation games come from seeds far above those that anybody types, so that a probe
# fitted on `random_games(…, seed=0)` never meets a game that the model was trained on.
TRAINING_SEEDS = 2**32
EVALUATION_SEED = 2**33

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
FORMAT = "othello-edu training checkpoint 4"
READABLE = (FORMAT, "othello-edu training checkpoint 3")  # 3: before `targets`, so drawn moves

# What the network is told about the next move: name -> the targets of a batch of random games.
TARGETS: dict[str, Callable[[Games], torch.Tensor]] = {"move": next_tokens, "legal": legal_distribution}


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. The learning rates warm up, stay, and fall linearly to zero at the end.

    n_games: fresh random games, each read once; first_game: the number of the first one, where the
    weights that training starts from have read those before it. learning_rate: of Muon, per unit of
    RMS-matched update; adamw_learning_rate: of embeddings, biases, LayerNorms and head. warmup_steps:
    steps of linear warm-up. decay: share of the games during which the rates fall. eval_games: games of
    each evaluation, every `eval_every` games; a checkpoint follows each evaluation. precision: of matrix
    products, "float32", "bfloat16", or "auto" for the faster of the two on the machine that starts.
    targets: "move", the next move of the game, or "legal", all legal moves with equal weight: the
    distribution that the next move of a random game is drawn from. Gradient and minimum are the same on
    average; the second is told every continuation where the first is told one.
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
        """Share of the full learning rate at a step, counted from 0."""
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
    "base": (
        GPTConfig(d_model=512),
        TrainingConfig(
            n_games=20_000_000,
            batch_size=512,
            learning_rate=4e-3,
            adamw_learning_rate=1e-3,
            eval_every=400_000,
        ),
    ),
}


@torch.no_grad()
def evaluate(model: GPT, games: Games, batch_size: int = 256) -> dict:
    """How well a model predicts legal moves, over moves 2 to the last of these games.

    Returns loss (nats per move), excess_loss (mean KL divergence from the uniform distribution over
    legal moves, nats: 0 is perfect on random games), legal_rate (the likeliest move is legal),
    legal_mass (probability on legal moves), calibration (see `calibration`), and legal_rate_by_ply, float
    [n_plies]: entry `t` for the prediction of move `t` counted from 0 (NaN at 0 and where no game got
    that far).
    Padding is never a prediction. Raises OthelloEduError if there are no games, none of them has a second
    move, or they are on another board.
    """
    checked(games), checked_model(model)
    batch_size = checks.integer("batch_size", batch_size, 1)
    if games.board_size != model.config.board_size or len(games) == 0:
        raise OthelloEduError(
            f"a model of board size {model.config.board_size} cannot be measured on {games}"
        )
    if not (games.lengths > 1).any():
        raise OthelloEduError(f"{games} has no game with a second move: there is nothing to predict")
    device = next(model.parameters()).device
    rows, counted = [], []
    with in_evaluation_mode(model):
        for batch in batches(games, batch_size):
            targets = next_tokens(batch)
            legal = torch.from_numpy(legal_tokens(replay(batch))[:, :-1])
            logits = model(tokens(batch).to(device)).float().cpu()
            logits[..., PADDING] = -torch.inf
            log_p = logits.log_softmax(-1)
            n_legal = legal.sum(-1)
            likeliest = logits.argmax(-1, keepdim=True)
            allowed = legal.gather(-1, likeliest)[..., 0].float()
            sums = torch.stack(
                [
                    -log_p.gather(-1, targets[..., None])[..., 0],
                    -log_p.masked_fill(~legal, 0).sum(-1) / n_legal - n_legal.log(),
                    allowed,
                    log_p.exp().masked_fill(~legal, 0).sum(-1),
                    log_p.gather(-1, likeliest)[..., 0].exp(),
                    allowed / n_legal,
                ],
                dim=-1,
            ).double()
            rows.append(sums)
            counted.append(targets != PADDING)
    rows, counted = torch.cat(rows), torch.cat(counted)  # (games, T, 6), (games, T)
    means = rows[counted].mean(0).tolist()[:4]
    by_ply = (rows[..., 2].where(counted, 0).sum(0) / counted.sum(0)).numpy()
    names = ("loss", "excess_loss", "legal_rate", "legal_mass")
    return {
        **dict(zip(names, means, strict=True)),
        "calibration": calibration(*rows[counted][:, 4:].T.numpy()),
        "legal_rate_by_ply": np.concatenate([[np.nan], by_ply]),
    }


def calibration(confidence: np.ndarray, truth: np.ndarray, n_bins: int = 10) -> dict:
    """How far a stated probability can be believed, in bins of equal width.

    confidence [n]: the probability that a model gives its likeliest move. truth [n]: the probability
    with which that move is played, known exactly on random games: 1 / legal moves, or 0 if it is
    illegal. Returns, bin by bin where there is anything, lists n, confidence and truth (means), and
    error: the mean absolute difference of the two, weighted by n (expected calibration error, Guo et
    al., 2017).
    """
    n_bins = checks.integer("n_bins", n_bins, 1)
    confidence = checks.reals("confidence", confidence, "n").numpy()
    truth = checks.reals("truth", truth, len(confidence)).numpy()
    if len(truth) == 0:
        raise OthelloEduError("confidence is empty: there is nothing to calibrate")
    bins = np.clip(np.nan_to_num(confidence * n_bins), 0, n_bins - 1).astype(int)
    n = np.bincount(bins, minlength=n_bins)
    used = n > 0
    means = [np.bincount(bins, x, n_bins)[used] / n[used] for x in (confidence, truth)]
    error = np.average(np.abs(means[0] - means[1]), weights=n[used])
    listed = [mean.round(5).tolist() for mean in means]
    return {"error": float(error), "n": n[used].tolist(), "confidence": listed[0], "truth": listed[1]}


@dataclass(frozen=True)
class StartingPoint:
    """A trained model to go on from, with the part of its card that tells its history, and its log."""

    model: GPT
    card: dict
    log: list[dict]


@dataclass
class TrainingRun:
    """A model in training: what a checkpoint holds.

    `log` is a list of dicts, one per evaluation. `start` is the card of the model whose weights this
    run started from, if it did not start from random ones.
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

    def share(self) -> None:
        """Give all processes that train together the weights and the optimisers' state of the first."""
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        share([*self.model.parameters(), *(value for state in states for value in state.values())])

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the log, each atomically: the last good one survives anything."""
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
        """Write the log: with the checkpoint, or after a kill between the two."""
        with atomic_write(folder / LOG, "w") as file:
            file.write(self._log_text())

    def mend(self, folder: Path) -> None:
        """Remove what a killed run has left half-written, and bring its log up to its checkpoint."""
        remove_temporaries(folder, CHECKPOINT, LOG)
        try:
            whole = (folder / LOG).read_bytes() == self._log_text().encode()
        except FileNotFoundError:
            whole = False
        if self.step > 0 and not whole:
            self.save_log(folder)

    def _log_text(self) -> str:
        return "".join(json.dumps(entry) + "\n" for entry in self.log)

    def restore(self, folder: Path, about: dict, arrays: dict[str, torch.Tensor]) -> None:
        """Go on from a checkpoint that was read from a folder. Raises CheckpointError if it does not fit.

        Precision may change, which is said: it rounds otherwise from there on.
        """
        there = {**asdict(about["model"]), **asdict(about["training"])}
        here = {**asdict(self.model.config), **asdict(self.config)}
        different = [name for name in here if here[name] != there[name] and name != "precision"]
        if different == ["n_games"] and _same_until(about["step"], self.config, about["training"]):
            different = []
        if different:
            listed = ", ".join(
                f"{name} is {there[name]!r} there and {here[name]!r} here" for name in different
            )
            only_earlier = "n_games may change only before the learning rates begin to fall"
            raise CheckpointError(
                f"{folder / CHECKPOINT} is from another configuration: {listed}"
                + (f" ({only_earlier})" if different == ["n_games"] else "")
            )
        self._take(folder, about, arrays)
        if self.config.precision != there["precision"]:
            warnings.warn(
                f"{folder / CHECKPOINT} was trained in {there['precision']}; after {self.games:,} games it "
                f"goes on in {self.config.precision}, which rounds otherwise. Without --precision it is kept",
                stacklevel=4,  # of `train`'s caller
            )

    def _take(self, folder: Path, about: dict, arrays: dict[str, torch.Tensor]) -> None:
        try:
            self._set_state(about, arrays)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder / CHECKPOINT} does not hold what it says: {error}") from error

    def _set_state(self, about: dict, arrays: dict[str, torch.Tensor]) -> None:
        device = next(self.model.parameters()).device
        self.model.load_state_dict(_model_of(arrays))
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict] = {}
            for name, value in arrays.items():
                if name.startswith(f"optimizer.{i}."):
                    _, _, index, key = name.split(".")
                    state.setdefault(int(index), {})[key] = value.to(device) if key != "step" else value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(arrays["random"])
        self.step, self.seconds, self.log = about["step"], about["seconds"], about["log"]
        self.start = about["start"]


def _same_until(step: int, *configs: TrainingConfig) -> bool:
    """Whether runs that differ in nothing but `n_games` are the same run up to a step."""
    whole_batches = all(step * config.batch_size <= config.n_games for config in configs)
    return whole_batches and all(len({config.rate(s) for config in configs}) == 1 for s in range(step))


def _digest(about: str, arrays: dict[str, torch.Tensor]) -> str:
    """SHA-256 of all that a checkpoint holds."""
    digest = hashlib.sha256(about.encode())
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _read_checkpoint(folder: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    path = folder / CHECKPOINT
    if not path.is_file():
        raise CheckpointError(f"there is no {CHECKPOINT} in {folder}: start without resuming")
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
        check_weights(about["model"], _model_of(arrays))
        if type(about["step"]) is not int or type(about["log"]) is not list:
            raise TypeError("it has no step or no log")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} does not describe a training run: {error}") from error
    return about, arrays


def _model_of(arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights among the arrays of a checkpoint."""
    return {name[6:]: value for name, value in arrays.items() if name.startswith("model.")}


def read_run(folder: str | Path) -> TrainingRun:
    """The training run in a folder, as far as its checkpoint goes; its model is in evaluation mode.

    Raises CheckpointError if there is none or it cannot be read.
    """
    about, arrays = _read_checkpoint(Path(folder))
    config, model = about["training"], GPT(about["model"])
    run = new_run(model, config)
    run._take(Path(folder), about, arrays)
    model.eval()
    return run


def new_run(model: GPT, config: TrainingConfig) -> TrainingRun:
    """A model about to take its first step."""
    rates = config.learning_rate, config.adamw_learning_rate
    return TrainingRun(model, config, optimizers(model, *rates, config.weight_decay, config.precision))


def train(
    model_config: GPTConfig,
    config: TrainingConfig,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    progress: bool = True,
    on_evaluation: Callable[[TrainingRun], None] | None = None,
    start: StartingPoint | None = None,
    compiled: bool = False,
) -> TrainingRun:
    """Train a model from its seed, or go on from the checkpoint in `out`.

    With `out`, a checkpoint and a JSONL log are written there after each evaluation, at the end, and on
    Ctrl-C (KeyboardInterrupt is raised once it is written). On one CPU with one number of threads and
    processes, a resumed run ends in exactly the weights of an uninterrupted one; on another number, or on
    a GPU, it reads the same games and differs by rounding. start: weights to begin with in place of
    random ones. compiled: through torch.compile.

    Processes started by `torchrun` and joined in `parallel.process_group` train one model together; the
    first evaluates, logs and saves. Raises CheckpointError if `out` holds a checkpoint and `resume` is
    false, or one that does not fit; OthelloEduError where the device does not exist, another run holds
    `out`, or the training diverges (the last good checkpoint stays); OSError where `out` cannot be
    written, before the first step. A precision other than the checkpoint's is warned of.
    """
    if resume and out is None:
        raise OthelloEduError("to resume, name the folder of the checkpoint: out=…")
    folder = None if out is None else Path(out)
    if folder is not None:
        _check_checkpoint(folder, resume)
    if start is not None and start.model.config != model_config:
        raise OthelloEduError(
            f"the model to start from is {start.model.config}; this run trains {model_config}"
        )
    torch.manual_seed(config.seed)
    try:
        model = GPT(model_config).to(device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises AssertionError
        raise OthelloEduError(f"cannot train on device {device!r}: {error}") from error
    with _held(out, resume):
        run = _begin(model, config, folder, resume, start)
        _train(run, folder, progress, on_evaluation, compiled)
    return run


def _check_checkpoint(folder: Path, resume: bool) -> None:
    """Whether there is a checkpoint where one is expected, and none where a run is to begin."""
    if resume and not (folder / CHECKPOINT).is_file():
        raise CheckpointError(f"there is no {CHECKPOINT} in {folder}: start without resuming")
    if not resume and (folder / CHECKPOINT).exists():
        raise CheckpointError(f"{folder} already holds a {CHECKPOINT}: resume it, or choose another folder")


@contextmanager
def _held(out: str | Path | None, resume: bool) -> Iterator[None]:
    """The folder of a run, which can be written and is this run's alone until it ends.

    The first of the processes that train together holds it; where it cannot, none of them begins.
    """
    problem = None
    with ExitStack() as held:
        if out is not None and process()[0] == 0:
            try:
                folder = make_folder(out, CHECKPOINT, LOG)
                held.enter_context(locked(folder))
                _check_checkpoint(folder, resume)  # again: another run may have ended since
            except (OthelloEduError, OSError) as error:
                problem = error
        if any_process(problem is not None):
            raise problem or OthelloEduError("the first process cannot write the run's folder; it says why")
        yield


def _begin(
    model: GPT, config: TrainingConfig, folder: Path | None, resume: bool, start: StartingPoint | None
) -> TrainingRun:
    """The run at its first step, or where its checkpoint has it; the same in all processes."""
    device = next(model.parameters()).device.type
    checkpoint = _read_checkpoint(folder) if resume else None
    if config.precision == "auto":
        precision = checkpoint[0]["training"].precision if resume else fastest_precision(device)
        config = replace(config, precision=precision)
    run = new_run(model, config)
    if resume:
        run.restore(folder, *checkpoint)
        if start is not None and run.start != start.card:
            raise CheckpointError(f"{folder / CHECKPOINT} did not start from the model that is named now")
    elif start is not None:
        model.load_state_dict(start.model.state_dict())
        run.start, run.log = start.card, list(start.log)
    if any_process(run.step != of_first(run.step)):
        raise CheckpointError(
            f"the processes do not read the same {CHECKPOINT}: let all of them see one folder {folder}"
        )
    run.share()
    if folder is not None and process()[0] == 0:
        run.mend(folder)
    return run


def _train(
    run: TrainingRun,
    folder: Path | None,
    progress: bool,
    on_evaluation: Callable[[TrainingRun], None] | None,
    compiled: bool,
) -> None:
    """Step, evaluate and save until all games are read or an interrupt comes."""
    model, config = run.model, run.config
    first = process()[0] == 0
    gradient = BatchGradient(model, config.precision, config.batch_size, compiled)
    held_out = random_games(config.eval_games, EVALUATION_SEED, model.config.board_size)
    shown = dict(unit=" games", disable=not (progress and first), smoothing=0.02)
    losses, before = [], time.monotonic() - run.seconds
    with (
        _interrupts_wait() as interrupted,
        tqdm(total=config.first_game + config.n_games, initial=run.games, **shown) as bar,
    ):
        while not run.finished:
            losses.append(training_step(run, gradient))
            run.seconds = time.monotonic() - before
            bar.update(run.games - bar.n)
            due = run.games // config.eval_every > (run.games - config.batch_size) // config.eval_every
            if due or run.finished:
                _check_finite(run)
            if first and (due or run.finished):
                run.log.append(_log_entry(run, held_out, losses))
                metrics = run.log[-1]
                bar.set_postfix_str(f"loss {metrics['loss']:.3f}, legal {metrics['legal_rate']:.1%}")
                if on_evaluation is not None:
                    on_evaluation(run)
            if due:
                losses.clear()
                run.share()  # processors of different kinds round differently: the first one's weights count
            stop = any_process(bool(interrupted))  # also where the others wait for the evaluation
            if stop:
                _check_finite(run)
            if first and folder is not None and (due or run.finished or stop):
                run.save(folder)
            if stop:
                any_process(stop)  # nobody leaves before the first has saved, or torchrun would end it
                raise KeyboardInterrupt(
                    f"stopped after {run.games:,} games" + (f"; resume from {folder}" if folder else "")
                )
    model.zero_grad()
    model.eval()


def _log_entry(run: TrainingRun, held_out: Games, losses: list[torch.Tensor]) -> dict:
    metrics = evaluate(run.model, held_out)
    rates, _ = metrics.pop("legal_rate_by_ply").tolist(), metrics.pop("calibration")
    return {
        "step": run.step,
        "games": run.games,
        "seconds": round(run.seconds, 1),
        "train_loss": torch.stack(losses).mean().item(),
        **metrics,
        "legal_rate_by_ply": [None if np.isnan(rate) else round(rate, 4) for rate in rates],
    }


def _check_finite(run: TrainingRun) -> None:
    """Before weights are measured or written over good ones. A loss of NaN makes weights of NaN."""
    if not all(parameter.isfinite().all() for parameter in run.model.parameters()):
        raise OthelloEduError(
            f"the training has diverged: weights are no longer finite after {run.games:,} games; "
            "lower the learning rate"
        )


@contextmanager
def _interrupts_wait() -> Iterator[list]:
    """Ctrl-C (and SIGTERM) end the step in hand first, so that no optimiser is caught half-way.

    Yields a list that is empty until an interrupt arrives. A second Ctrl-C acts at once, but not under
    torchrun, which passes on every signal it gets: there the second one is no impatience.
    """
    interrupted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupted  # only the main thread is told of signals
        return

    def note(number, frame):
        if interrupted and number == signal.SIGINT and process()[1] == 1:
            raise KeyboardInterrupt
        interrupted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def training_step(run: TrainingRun, gradient: BatchGradient) -> torch.Tensor:
    """One optimiser step on the next fresh games; returns the loss in nats per move."""
    config, model = run.config, run.model
    model.train()
    n = min(config.batch_size, config.first_game + config.n_games - run.games)
    games = random_games(n, TRAINING_SEEDS + config.seed, model.config.board_size, first=run.games)
    loss = gradient(tokens(games), TARGETS[config.targets](games))
    rates = config.learning_rate, config.adamw_learning_rate
    for optimizer, full_rate in zip(run.optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = full_rate * config.rate(run.step)
        optimizer.step()
    run.step += 1
    return loss
