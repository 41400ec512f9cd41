"""Minutes until a network of `small`'s shape is 0.3 nats above the best loss, beside a plain loop.

Run with `python benchmarks/to_loss.py`; let nothing else run. First this trainer, on all legal moves, until
it is there. Then the loop that everybody writes first: AdamW for all weights, clipped gradients, the moves
that were drawn. It gets several times the minutes, its rate comes down to zero in time, and where that is not
enough, it is said how far it got. Both make fresh games as they go; evaluations do not count.
"""

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter

import torch
from torch.nn import functional as F

from othello_edu.checkpoints import new_run
from othello_edu.evaluation import evaluate
from othello_edu.games import next_tokens, random_games, tokens
from othello_edu.model import GPT, GPTConfig
from othello_edu.parallel import BatchGradient, fastest_precision
from othello_edu.presets import EVALUATION_SEED, PRESETS, TRAINING_SEEDS, TrainingConfig
from othello_edu.training import fresh_batches, training_step

GOAL = 0.3  # nats above the best possible loss
GAMES = 96_000  # enough for this trainer; its rates fall during the last 40% of them
PATIENCE = 4  # times as long for the plain loop
EVERY = 4_000  # games from one evaluation to the next


def ours(model_config: GPTConfig, config: TrainingConfig) -> Iterator[GPT]:
    """The model after each step of this trainer, told all legal moves."""
    run = new_run(GPT(model_config), config)
    gradient = BatchGradient(run.model, config.precision, config.batch_size)
    for inputs, targets in fresh_batches(run):
        training_step(run, gradient, inputs, targets)
        yield run.model


def plain(model_config: GPTConfig, config: TrainingConfig) -> Iterator[GPT]:
    """The model after each step of a plain loop, told the moves that were drawn."""
    model = GPT(model_config)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(config.n_steps):
        first = step * config.batch_size
        games = random_games(config.batch_size, TRAINING_SEEDS + config.seed, first=first)
        logits = model(tokens(games))
        targets = next_tokens(games)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1), ignore_index=0)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = 1e-3 * config.rate(step)
        adam.step()
        yield model


def seconds_to_goal(who: str, steps: Iterator[GPT], config: TrainingConfig) -> tuple[float, int, float]:
    """Seconds of training, games, and the excess loss where it stopped: at the goal or at the end."""
    held_out = random_games(500, EVALUATION_SEED)
    seconds, games, excess = 0.0, 0, float("inf")
    start = perf_counter()
    for step, model in enumerate(steps, 1):
        games = step * config.batch_size
        if games // EVERY > (games - config.batch_size) // EVERY or step == config.n_steps:
            seconds += perf_counter() - start
            excess = evaluate(model, held_out)["excess_loss"]
            model.train()
            print(f"  {who}: {seconds / 60:5.1f} min, {games:9,} games, excess {excess:.3f}", flush=True)
            if excess <= GOAL:
                break
            start = perf_counter()
    return seconds, games, excess


def main():
    model_config, config = PRESETS["small"]
    torch.manual_seed(0)
    precision = fastest_precision("cpu")
    config = replace(config, n_games=GAMES, targets="legal", precision=precision)
    seconds, games, excess = seconds_to_goal("this trainer", ours(model_config, config), config)
    if excess > GOAL:
        raise SystemExit(f"this trainer did not reach {GOAL} in {GAMES:,} games: there is nothing to compare")
    torch.manual_seed(0)
    steps = plain(model_config, config)
    start = perf_counter()
    for _ in range(20):
        next(steps)
    rate = 20 * config.batch_size / (perf_counter() - start)
    config = replace(config, n_games=round(PATIENCE * seconds * rate))
    torch.manual_seed(0)
    theirs, read, reached = seconds_to_goal("plain loop", plain(model_config, config), config)
    print(f"this trainer, all legal moves: {GOAL} after {seconds / 60:.1f} minutes and {games:,} games")
    if reached <= GOAL:
        print(f"plain loop, drawn moves: after {theirs / 60:.1f} minutes and {read:,} games")
        print(f"ratio {theirs / seconds:.1f}")
    else:
        print(f"plain loop, drawn moves: at {reached:.3f} after {theirs / 60:.1f} minutes and {read:,} games")
        print(f"ratio above {theirs / seconds:.1f}")


if __name__ == "__main__":
    main()
