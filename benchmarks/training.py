"""Training: tokens per second of each preset's step, as a share of this machine's matrix-product peak.

Run with `python benchmarks/training.py`. The peak is measured in the same run, on large square matrices; the
operations counted are those of the matrix products alone, so the share is an underestimate of the work done.
"""

from dataclasses import replace
from time import perf_counter

import torch

from othello_edu.model import GPT
from othello_edu.training import PRESETS, TrainingRun, optimizers, training_step


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


def main():
    peak = matrix_product_peak()
    print(f"matrix products reach {peak / 1e9:.0f} GFLOP/s on {torch.get_num_threads()} thread(s)")
    for name in ("mini", "small"):
        model_config, config = PRESETS[name]
        config = replace(config, eval_games=1)
        torch.manual_seed(0)
        model = GPT(model_config)
        run = TrainingRun(model, config, optimizers(model, config))
        training_step(run, "cpu")  # allocates the optimisers' state
        n_steps = 10
        start = perf_counter()
        for _ in range(n_steps):
            training_step(run, "cpu")
        seconds = perf_counter() - start
        tokens = n_steps * config.batch_size * model_config.n_ctx
        multiplied = sum(p.numel() for p in model.parameters() if p.ndim == 2)
        multiplied -= model.token_embedding.weight.numel() + model.position_embedding.weight.numel()
        share = 6 * multiplied * tokens / seconds / peak  # 2 forward and 4 backward for each weight
        print(
            f"{name:6s} {tokens / seconds:9,.0f} tokens/s, "
            f"{n_steps * config.batch_size / seconds:7,.1f} games/s, {share:.0%} of the peak"
        )


if __name__ == "__main__":
    main()
