"""Which settings of the training learn most in a minute? Writes book/sweep.json, for the page that shows it.

    .venv/bin/python tools/sweep.py --preset mini --games 150000
    .venv/bin/python tools/sweep.py --preset small --targets legal --games 180000

One setting at a time is changed from the preset's. Every run gets the time that the preset takes for so many
games: its speed is measured beside the preset's, in turns, and decides how many games it reads, so that a
slower minute of the machine favours nobody and the learning rates fall to zero in time. Let nothing else run.
Results are added to the file as they come; a row that is there is not made again.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from statistics import median

import torch
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from othello_edu.checkpoints import new_run
from othello_edu.evaluation import evaluate
from othello_edu.files import atomic_write
from othello_edu.games import random_games
from othello_edu.model import GPT
from othello_edu.parallel import BatchGradient, fastest_precision
from othello_edu.presets import EVALUATION_SEED, PRESETS, TARGETS
from othello_edu.training import fresh_batches, training_step

RESULTS = Path(__file__).parent.parent / "book" / "sweep.json"

# What is changed from the preset, one thing in a row. Rates and shapes are multiples of the preset's.
# "averaged" is the share of the steps, at the end, whose weights are averaged.
CHANGES = {
    "as the preset": {},
    "batch of 32 games": {"batch_size": 32},
    "batch of 128 games": {"batch_size": 128},
    "Muon at a quarter of the rate": {"learning_rate": 0.25},
    "Muon at half the rate": {"learning_rate": 0.5},
    "Muon at twice the rate": {"learning_rate": 2.0},
    "AdamW's part at half the rate": {"adamw_learning_rate": 0.5},
    "AdamW's part at twice the rate": {"adamw_learning_rate": 2.0},
    "no weight decay": {"weight_decay": 0.0},
    "weight decay 0.3": {"weight_decay": 0.3},
    "no warm-up": {"warmup_steps": 0},
    "warm-up of 300 steps": {"warmup_steps": 300},
    "rates fall during the last 40%": {"decay": 0.4},
    "rates fall throughout": {"decay": 1.0},
    "half as many blocks": {"n_layer": 0.5},
    "half as many blocks again": {"n_layer": 1.5},
    "twice as many blocks": {"n_layer": 2.0},
    "three quarters of the width": {"d_model": 0.75},
    "half the width again": {"d_model": 1.5},
    "twice the width": {"d_model": 2.0},
    "half as many blocks, twice the width": {"n_layer": 0.5, "d_model": 2.0},
    "rates stay, mean of the last weights": {"decay": 0.0, "averaged": 0.2},
    "AdamW alone, 0.001": {"adamw_only": 1e-3},
    "AdamW alone, 0.003": {"adamw_only": 3e-3},
}
SHAPE = ("n_layer", "d_model")
FACTORS = ("learning_rate", "adamw_learning_rate", *SHAPE)
SAME_SPEED = {"learning_rate", "adamw_learning_rate", "weight_decay", "warmup_steps", "decay", "averaged"}


@cache
def precision() -> str:
    """Of all runs: measured once."""
    return fastest_precision("cpu")


def configuration(name_of_preset: str, targets: str, changes: dict):
    model_config, config = PRESETS[name_of_preset]
    preset = asdict(model_config) | asdict(config)
    values = {name: preset[name] * value if name in FACTORS else value for name, value in changes.items()}
    shape = {name: round(values.pop(name)) for name in SHAPE if name in values}
    values.pop("averaged", None)
    if rate := values.pop("adamw_only", None):
        values |= {"learning_rate": rate, "adamw_learning_rate": rate}
    config = replace(config, precision=precision(), targets=targets, **values)
    return replace(model_config, **shape), config


def start(preset: str, targets: str, changes: dict, n_games: int | None = None):
    """A run with its first step before it, and what finds its gradients."""
    model_config, config = configuration(preset, targets, changes)
    config = config if n_games is None else replace(config, n_games=n_games)
    torch.manual_seed(config.seed)
    run = new_run(GPT(model_config), config)
    if "adamw_only" in changes:
        matrices = run.optimizers[0].param_groups[0]["params"]
        decay = config.weight_decay
        run.optimizers[0] = torch.optim.AdamW(matrices, betas=(0.9, 0.98), weight_decay=decay, fused=True)
    return run, BatchGradient(run.model, config.precision, config.batch_size)


def relative_speed(preset: str, targets: str, changes: dict, rounds: int = 12, steps: int = 6) -> float:
    """Games a second, as a multiple of the preset's; the two take turns."""
    if set(changes) <= SAME_SPEED:
        return 1.0
    seconds = {"preset": [], "changed": []}
    runs = {"preset": start(preset, targets, {}), "changed": start(preset, targets, changes)}
    batches = {who: fresh_batches(run) for who, (run, _) in runs.items()}
    for _ in range(rounds):
        for who, (run, gradient) in runs.items():
            began = time.perf_counter()
            for _ in range(steps):
                training_step(run, gradient, *next(batches[who]))
            seconds[who].append((time.perf_counter() - began) / (steps * run.config.batch_size))
    return median(seconds["preset"]) / median(seconds["changed"])


def one_run(preset: str, targets: str, changes: dict, n_games: int) -> dict:
    """Train for the preset's time for `n_games`, and measure on games that nothing was trained on."""
    speed = relative_speed(preset, targets, changes)
    run, gradient = start(preset, targets, changes, round(n_games * speed))
    mean = AveragedModel(run.model) if "averaged" in changes else None
    with tqdm(total=run.config.n_games, unit=" games") as bar:
        for batch in fresh_batches(run):
            training_step(run, gradient, *batch)
            bar.update(run.games - bar.n)
            if mean and run.step > (1 - changes["averaged"]) * run.config.n_steps:
                mean.update_parameters(run.model)
    model = mean.module if mean else run.model
    measured = evaluate(model, random_games(1000, EVALUATION_SEED + 2, model.config.board_size))
    return {
        "relative_speed": round(speed, 3),
        "games": run.games,
        "seconds": round(bar.format_dict["elapsed"]),
        **{name: round(measured[name], 4) for name in ("excess_loss", "legal_rate", "legal_mass")},
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="mini")
    parser.add_argument("--targets", choices=TARGETS, default="move", help="what the network is told")
    parser.add_argument("--games", type=int, default=150_000, help="of the preset; others get as much time")
    parser.add_argument("--only", nargs="*", choices=CHANGES, default=list(CHANGES), help="some of the rows")
    arguments = parser.parse_args(argv)
    preset, targets = arguments.preset, arguments.targets
    settings = {"preset": preset, "targets": targets, "preset_games": arguments.games}
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {row["change"] for row in results if settings.items() <= row.items()}
    for name in arguments.only:
        if name in done:
            continue
        row = {**settings, "change": name, **one_run(preset, targets, CHANGES[name], arguments.games)}
        row["machine"] = f"{platform.machine()}, {torch.get_num_threads()} threads, {precision()}"
        print(json.dumps(row), flush=True)
        results.append(row)
        with atomic_write(RESULTS, "w") as file:
            file.write("[\n" + ",\n".join(" " + json.dumps(row) for row in results) + "\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
