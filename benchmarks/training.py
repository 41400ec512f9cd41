"""Training: tokens per second of a preset's step, beside a plain loop and this machine's matrix-product peak.

Run with `python benchmarks/training.py`. The plain loop trains the same network as short training scripts do
(nanoGPT, for one): games from memory, AdamW for everything, clipped gradients. It makes no games and has a
cheaper optimiser, which learns less from each game; `othello_edu.training` has to make up for both. The peak
is measured in the same run, on large square matrices; the operations counted are those of the weights' matrix
products alone, so the share is an underestimate of the work done.
"""

from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter

import torch
from torch.nn import functional as F

from othello_edu.checkpoints import new_run
from othello_edu.games import next_tokens, random_games, tokens
from othello_edu.model import GPT
from othello_edu.parallel import BatchGradient, fastest_precision
from othello_edu.presets import PRESETS
from othello_edu.training import fresh_batches, training_step


def matrix_product_peak(size: int = 1536, repeats: int = 10) -> float:
    """Floating-point operations per second of a float32 product of square matrices."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.mm(a, b)
    times = []
    for _ in range(repeats):
        start = perf_counter()
        torch.mm(a, b)
        times.append(perf_counter() - start)
    return 2 * size**3 / min(times)


def our_step(model_config, config, targets="move"):
    """One step of `othello_edu.training`, as a function without arguments."""
    config = replace(config, targets=targets)
    run = new_run(GPT(model_config), replace(config, precision=fastest_precision("cpu")))
    gradient = BatchGradient(run.model, run.config.precision, config.batch_size)
    batches = fresh_batches(run)
    return lambda: training_step(run, gradient, *next(batches))


def plain_step(model_config, config):
    """One step of the loop that everybody writes first."""
    model = GPT(model_config)
    games = random_games(4096, 0, model_config.board_size)
    inputs, targets = tokens(games), next_tokens(games)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def step():
        chosen = torch.randint(len(games), (config.batch_size,))
        logits = model(inputs[chosen])
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets[chosen].view(-1), ignore_index=0)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()

    return step


def compare(steps: dict, rounds: int = 12) -> dict[str, float]:
    """Median seconds of each step; the steps take turns, so that a disturbance meets all of them."""
    times = {name: [] for name in steps}
    for step in steps.values():
        step()  # allocates the optimiser's state
    for _ in range(rounds):
        for name, step in steps.items():
            start = perf_counter()
            step()
            times[name].append(perf_counter() - start)
    return {name: median(durations) for name, durations in times.items()}


def main():
    peak = matrix_product_peak()
    print(f"matrix products reach {peak / 1e9:.0f} GFLOP/s on {torch.get_num_threads()} thread(s)")
    for name in ("mini", "small"):
        model_config, config = PRESETS[name]
        config = replace(config, eval_games=1)
        torch.manual_seed(0)
        makers = {
            "this trainer": our_step,
            "all legal": partial(our_step, targets="legal"),
            "plain loop": plain_step,
        }
        seconds = compare({who: make(model_config, config) for who, make in makers.items()})
        model = GPT(model_config)
        multiplied = sum(p.numel() for p in model.parameters() if p.ndim == 2)
        multiplied -= model.token_embedding.weight.numel() + model.position_embedding.weight.numel()
        n_tokens = config.batch_size * model_config.n_ctx
        for who, step_seconds in seconds.items():
            # Of each weight, 2 operations forward and 4 backward.
            share = 6 * multiplied * n_tokens / step_seconds / peak
            print(
                f"{name:6s} {who:13s} {n_tokens / step_seconds:9,.0f} tokens/s, "
                f"{config.batch_size / step_seconds:7,.1f} games/s, {share:.0%} of the peak"
            )
        print(f"{name:6s} ratio {seconds['plain loop'] / seconds['this trainer']:.2f}")
        cost = seconds["all legal"] / seconds["this trainer"] - 1
        print(f"{name:6s} targets of all legal moves: {cost:+.1%} of a step")


if __name__ == "__main__":
    main()
