"""The training loop: a step, and now and then an evaluation and a checkpoint.

Data is generated on the fly and never repeated: step `s` reads random games `s * batch_size …` of the
training seed, whatever the number of threads and processes. `presets` says how to train, `parallel` finds the
gradient, `optimizers` moves the weights, `evaluation` measures them and `checkpoints` keeps them.

See Also:
    Chapter 4, :doc:`/notebooks/04_training`, and chapter 11, :doc:`/notebooks/11_learning_over_time`.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .checkpoints import (
    CHECKPOINT,
    LOG,
    StartingPoint,
    TrainingRun,
    check_folder,
    new_run,
    read_checkpoint,
)
from .errors import CheckpointError, OthelloEduError
from .evaluation import evaluate
from .files import FilePath, locked, make_folder
from .games import Games, random_games, tokens
from .model import GPT, GPTConfig
from .parallel import ALONE, BatchGradient, Processes, fastest_precision
from .presets import EVALUATION_SEED, TARGETS, TRAINING_SEEDS, TrainingConfig

N_AHEAD = 4  # batches that other threads make while a GPU computes


def train(
    model_config: GPTConfig,
    config: TrainingConfig,
    out: FilePath | None = None,
    resume: bool = False,
    device: str = "cpu",
    progress: bool = True,
    on_evaluation: Callable[[TrainingRun], None] | None = None,
    start: StartingPoint | None = None,
    compiled: bool = False,
    processes: Processes = ALONE,
) -> TrainingRun:
    """Train a model from its seed, or go on from the checkpoint in `out`.

    With `out`, a checkpoint and a JSONL log are written there after each evaluation, at the end, and on
    Ctrl-C (KeyboardInterrupt is raised once it is written). On one CPU with one number of threads and
    processes, a resumed run ends in exactly the weights of an uninterrupted one; on another number, or on
    a GPU, it reads the same games and differs by rounding (and, with dropout, by what is dropped). A
    precision other than the checkpoint's is warned of.

    Args:
        model_config: the shape of the network.
        config: how to train.
        out: folder for checkpoint and log; None writes nothing.
        resume: go on from the checkpoint in `out`.
        device: as for torch, such as "cpu" or "cuda".
        progress: show a bar.
        on_evaluation: called with the run after each evaluation.
        start: weights to begin with in place of random ones.
        compiled: through torch.compile.
        processes: as `parallel.joined_processes` yields them; they train one model together, and the first
            evaluates, logs and saves.

    Returns:
        The run, with the trained model in evaluation mode and its log.

    Raises:
        CheckpointError: if `out` holds a checkpoint and `resume` is false, or one that does not fit.
        OthelloEduError: where the device does not exist, another run holds `out`, or the training diverges
            (the last good checkpoint stays).
        OSError: where `out` cannot be written, before the first step.

    Example:
        >>> tiny = GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8)
        >>> config = TrainingConfig(n_games=128, eval_games=10, eval_every=128, precision="float32")
        >>> run = train(tiny, config, progress=False)
        >>> run.games, run.step, run.log[-1]["games"]
        (128, 2, 128)
    """
    if resume and out is None:
        raise OthelloEduError("to resume, name the folder of the checkpoint: out=…")
    folder = None if out is None else Path(out)
    if folder is not None:
        check_folder(folder, resume)
    if start is not None and start.model.config != model_config:
        raise OthelloEduError(
            f"the model to start from is {start.model.config}; this run trains {model_config}"
        )
    torch.manual_seed(config.seed)
    try:
        model = GPT(model_config).to(device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises AssertionError
        raise OthelloEduError(f"cannot train on device {device!r}: {error}") from error
    with _locked_folder(out, resume, processes):
        run = _begin(model, config, folder, resume, start, processes)
        _loop(run, folder, progress, on_evaluation, compiled, processes)
    return run


@contextmanager
def _locked_folder(out: FilePath | None, resume: bool, processes: Processes) -> Iterator[None]:
    """The folder of a run, which can be written and is this run's alone until it ends.

    The first of the processes that train together holds it; where it cannot, none of them begins.
    """
    problem = None
    with ExitStack() as stack:
        if out is not None and processes.first:
            try:
                folder = make_folder(out, CHECKPOINT, LOG)
                stack.enter_context(locked(folder))
                check_folder(folder, resume)  # again: another run may have ended since
            except (OthelloEduError, OSError) as error:
                problem = error
        if processes.any(problem is not None):
            raise problem or OthelloEduError("the first process cannot write the run's folder; it says why")
        yield


def _begin(
    model: GPT,
    config: TrainingConfig,
    folder: Path | None,
    resume: bool,
    start: StartingPoint | None,
    processes: Processes,
) -> TrainingRun:
    """The run at its first step, or where its checkpoint has it; the same in all processes."""
    device = next(model.parameters()).device.type
    checkpoint = read_checkpoint(folder) if folder is not None and resume else None
    if config.precision == "auto":
        if checkpoint is not None:
            precision = checkpoint[0]["training"].precision
        else:  # one for all: bfloat16 only where every machine is faster with it
            slow_bfloat16 = fastest_precision(device) == "float32"
            precision = "float32" if processes.any(slow_bfloat16) else "bfloat16"
        config = replace(config, precision=precision)
    run = new_run(model, config)
    if folder is not None and checkpoint is not None:
        run.restore(folder, *checkpoint)
        if start is not None and run.start != start.card:
            raise CheckpointError(f"{folder / CHECKPOINT} did not start from the model that is named now")
    elif start is not None:
        model.load_state_dict(start.model.state_dict())
        run.start, run.log = start.card, list(start.log)
    if not processes.agree(run.step):
        raise CheckpointError(
            f"the processes do not read the same {CHECKPOINT}: let all of them see one folder {folder}"
        )
    processes.broadcast(run.tensors())
    if folder is not None and processes.first:
        run.mend(folder)
    return run


def _loop(
    run: TrainingRun,
    folder: Path | None,
    progress: bool,
    on_evaluation: Callable[[TrainingRun], None] | None,
    compiled: bool,
    processes: Processes,
) -> None:
    """Step, evaluate and save until all games are read or an interrupt comes."""
    model, config = run.model, run.config
    gradient = BatchGradient(model, config.precision, config.batch_size, compiled, processes)
    held_out = random_games(config.eval_games, EVALUATION_SEED, model.config.board_size)
    # On a CPU the threads that make batches would take the cores from those that compute.
    n_ahead = 0 if gradient.device.type == "cpu" else N_AHEAD
    bar_options = dict(unit=" games", disable=not (progress and processes.first), smoothing=0.02)
    losses, started = [], time.monotonic() - run.seconds
    with (
        _interrupts_wait(processes) as interrupted,
        closing(fresh_batches(run, n_ahead)) as upcoming,
        tqdm(total=config.first_game + config.n_games, initial=run.games, **bar_options) as bar,
    ):
        for inputs, targets in upcoming:
            losses.append(training_step(run, gradient, inputs, targets))
            run.seconds = time.monotonic() - started
            bar.update(run.games - bar.n)
            due = run.games // config.eval_every > (run.games - config.batch_size) // config.eval_every
            if due or run.finished:
                _check_finite(run)
            if processes.first and (due or run.finished):
                run.log.append(_log_entry(run, held_out, losses))
                metrics = run.log[-1]
                bar.set_postfix_str(f"loss {metrics['loss']:.3f}, legal {metrics['legal_rate']:.1%}")
                if on_evaluation is not None:
                    on_evaluation(run)
            if due:
                losses.clear()
                # Processors of different kinds round differently: the first one's weights count.
                processes.broadcast(run.tensors())
            stop = processes.any(bool(interrupted))  # also where the others wait for the evaluation
            if stop:
                _check_finite(run)
            if processes.first and folder is not None and (due or run.finished or stop):
                run.save(folder)
            if stop:
                processes.any(stop)  # nobody leaves before the first has saved, or torchrun would end it
                raise KeyboardInterrupt(
                    f"stopped after {run.games:,} games" + (f"; resume from {folder}" if folder else "")
                )
    model.zero_grad()
    model.eval()


def fresh_batches(
    run: TrainingRun, n_ahead: int = 0
) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
    """The fresh games of each step that a run has left, as tokens and targets.

    Args:
        run: is not changed.
        n_ahead: batches that other threads make while the caller works on one. Batches are the same for
            any number. With some, they lie where a GPU can fetch them by itself, if there is one.

    Yields:
        Tokens int64 [n_games, T], and targets as `presets.TARGETS` makes them.
    """
    config, board_size = run.config, run.model.config.board_size
    pinned = n_ahead > 0 and torch.cuda.is_available()

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        first = step * config.batch_size
        n = min(config.batch_size, config.n_games - first)
        games = random_games(n, TRAINING_SEEDS + config.seed, board_size, first=config.first_game + first)
        inputs, targets = tokens(games), TARGETS[config.targets](games)
        return (inputs.pin_memory(), targets.pin_memory()) if pinned else (inputs, targets)

    steps = range(run.step, config.n_steps)
    if n_ahead == 0:
        yield from map(batch, steps)
        return
    with ThreadPoolExecutor(n_ahead) as pool:
        waiting: deque[Future] = deque()
        for step in steps:
            waiting.append(pool.submit(batch, step))
            if len(waiting) > n_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def training_step(
    run: TrainingRun, gradient: BatchGradient, inputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """One optimiser step on a batch of games.

    Args:
        run: is one step further afterwards.
        gradient: of the run's model.
        inputs: tokens int64 [n_games, T].
        targets: as `BatchGradient` takes them.

    Returns:
        The loss, nats per move.
    """
    config = run.config
    run.model.train()
    loss = gradient(inputs, targets)
    rates = config.learning_rate, config.adamw_learning_rate
    for optimizer, full_rate in zip(run.optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = full_rate * config.rate(run.step)
        optimizer.step()
    run.step += 1
    return loss


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
def _interrupts_wait(processes: Processes) -> Iterator[list]:
    """Ctrl-C (and SIGTERM) end the step in hand first, so that no optimiser is caught half-way.

    Yields a list that is empty until an interrupt arrives. A second Ctrl-C acts at once, but not under
    torchrun, which passes on every signal it gets: there the second one is no impatience.
    """
    interrupted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupted  # only the main thread is told of signals
        return

    def note(number, frame):
        if interrupted and number == signal.SIGINT and processes.n == 1:
            raise KeyboardInterrupt
        interrupted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
