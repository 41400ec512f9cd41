"""SAE training: rows per second of `fit`, alone and in stacks, beside SAELens' trainer on the same rows.

Run with `python benchmarks/saes.py`; for the comparison, in an environment that has SAELens
(`.venv-interop/bin/python benchmarks/saes.py`, after `make test-interop`). Both train a TopK autoencoder of
the same shape, on batches of rows from memory, with its auxiliary loss; SAELens also clips gradients and
counts how often each feature fires. Every figure is the median of rounds in which all take their turn.
"""

import importlib.util
from itertools import cycle
from statistics import median
from time import perf_counter

import torch

from othello_edu.sae import SparseAutoencoder, TopK
from othello_edu.sae_training import fit

D_MODEL, N_FEATURES, K, BATCH = 128, 256, 32, 1024
N_ROWS, ROUNDS = 64 * BATCH, 5


def ours(make):
    """One pass over the rows by `fit`."""
    return lambda x: fit(make(), x, epochs=1, batch_size=BATCH)


def saelens(x):
    """One pass over the rows by SAELens' trainer."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=D_MODEL, d_sae=N_FEATURES, k=K))
    config = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=N_ROWS,
        device="cpu",
        autocast=False,
        lr=1e-3,
        lr_end=1e-3,
        lr_scheduler_name="constant",
        lr_warm_up_steps=0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=0,
        n_restart_cycles=1,
        train_batch_size_samples=BATCH,
        dead_feature_window=20,
        feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False),
    )
    order = torch.randperm(len(x)).split(BATCH)
    SAETrainer(config, sae, (x[chosen] for chosen in cycle(order))).fit()


def main() -> None:
    random = torch.Generator().manual_seed(0)
    directions = torch.randn(40, D_MODEL, generator=random)
    x = torch.rand(N_ROWS, 40, generator=random) @ directions + torch.randn(N_ROWS, D_MODEL, generator=random)
    runs = {
        "TopK": (1, ours(lambda: TopK(D_MODEL, N_FEATURES, K))),
        "TopK, stack of 10": (10, ours(lambda: [TopK(D_MODEL, N_FEATURES, K, seed) for seed in range(10)])),
        "paper's": (1, ours(lambda: SparseAutoencoder(D_MODEL, N_FEATURES))),
        "paper's, stack of 10": (
            10,
            ours(lambda: [SparseAutoencoder(D_MODEL, N_FEATURES, seed) for seed in range(10)]),
        ),
    }
    if importlib.util.find_spec("sae_lens"):
        runs["SAELens, TopK"] = (1, saelens)
    else:
        print("SAELens is not installed in this environment: no comparison")
    seconds = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, (_, run) in runs.items():
            start = perf_counter()
            run(x)
            seconds[name].append(perf_counter() - start)
    print(
        f"{D_MODEL} dimensions, {N_FEATURES} features, batches of {BATCH}, {torch.get_num_threads()} threads"
    )
    for name, (n, _) in runs.items():
        print(f"{name:>22}: {n * N_ROWS / median(seconds[name]):12,.0f} rows/s")
    if "SAELens, TopK" in runs:
        ratio = median(seconds["SAELens, TopK"]) / median(seconds["TopK"])
        print(f"TopK, ours beside SAELens: {ratio:.2f} x")


if __name__ == "__main__":
    main()
