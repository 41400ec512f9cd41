"""AUROC and F1 of every feature against every tile label: the time beside a loop over scikit-learn.

Run with `python benchmarks/scoring.py`. The loop is timed on a few features and labels and its whole cost
extrapolated, which the output says: in full it takes hours.
"""

from time import perf_counter

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from othello_edu.kernels import n_threads
from othello_edu.scoring import auroc, f1

N_POSITIONS, N_FEATURES, N_LABELS = 104_000, 1024, 192  # the paper's boards; 64 tiles x 3 contents
N_TIMED = 4  # features and labels of the loop


def timed(function):
    start = perf_counter()
    result = function()
    return result, perf_counter() - start


def compare(name, score, reference, features, labels):
    """One table of all features and labels, against a loop of `reference(label, feature)` over a few."""
    pairs = [(feature, label) for feature in range(N_TIMED) for label in range(N_TIMED)]
    table, seconds = timed(lambda: score(features, labels))
    expected, loop_seconds = timed(lambda: [reference(labels[:, k], features[:, f]) for f, k in pairs])
    loop_seconds *= table.size / len(pairs)
    difference = np.abs(table[:N_TIMED, :N_TIMED].ravel() - expected).max()
    print(
        f"{name:14s}{seconds:6.1f} s; scikit-learn loop {loop_seconds:9,.0f} s (extrapolated); "
        f"ratio {loop_seconds / seconds:6,.0f}; largest difference {difference:.1e}"
    )


def main():
    rng = np.random.default_rng(0)
    labels = rng.random((N_POSITIONS, N_LABELS), dtype=np.float32) < 0.3
    features = rng.standard_normal((N_POSITIONS, N_FEATURES), dtype=np.float32)
    auroc(features[:100, :2], labels[:100])  # compiles
    print(
        f"{N_FEATURES:,} features x {N_LABELS} labels x {N_POSITIONS:,} positions, "
        f"{n_threads()} thread(s); scikit-learn timed on {N_TIMED} x {N_TIMED} and extrapolated"
    )
    compare("AUROC, dense", auroc, roc_auc_score, features, labels)
    features -= 1.3  # one in ten stays positive, as among the features of a sparse autoencoder
    np.maximum(features, 0, out=features)
    compare("AUROC, sparse", auroc, roc_auc_score, features, labels)
    compare("F1", f1, f1_score, features > 0, labels)


if __name__ == "__main__":
    main()
