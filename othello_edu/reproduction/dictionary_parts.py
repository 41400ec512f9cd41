"""The parts that set dictionaries side by side: SAEs of all kinds, rivals, the yardstick, sparse probes."""

import numpy as np
import torch

from ..activations import mlp_activations
from ..board_metrics import BoardReader, SparseProbe, coverage
from ..dictionaries import Directions, MeanDictionary, panel
from ..directions import both_signs, principal_components, random_directions
from ..probes import LinearProbe, balanced_accuracy
from ..sae import JumpReLU, SparseAutoencoder, TopK
from ..sae_training import linear_fall
from .context import L1, Run
from .data import PLIES, Sample, first_blocks, sample
from .features import quality
from .results import round_all, rounded

# Tried for SAEs of the paper's kind that are sparse; a squared error weighs more, and so must the price.
PRICES = tuple(0.05 * 10 ** (k / 5) for k in range(10))
PRICES_SQUARED = tuple(0.05 * 10 ** (k / 3) for k in range(10))
SPARSE_K = (1, 4, 16)

# Dictionaries side by side ---------------------------------------------------------------------------


def dictionaries_part(run: Run, stage: int) -> dict:
    """SAEs of every kind, their rivals at the same L0, and the yardstick: panel and board metrics.

    All SAEs are trained on the same games, and all rivals' decoders fitted on the same rows.
    """
    d_model, sizes = run.model.config.d_model, run.sizes
    k, n_features = d_model // 4, 2 * d_model
    train = sample(run.split[0][: sizes.dictionary_games], run.protocol)
    few = sample(run.split[1][: sizes.new_games], run.protocol)  # to choose features, to fit decoders
    new, judged = run.new, run.split[2][: sizes.panel_games]
    x, few_x, new_x = (run.rows(part, stage) for part in (train, few, new))
    settings = dict(epochs=2 * sizes.sae_epochs, schedule=linear_fall)

    def sparse_relu(prices, squared):
        saes = [SparseAutoencoder(d_model, n_features, *each, squared) for each in enumerate(prices)]
        run.fit(saes, x, **settings)
        return min(saes, key=lambda sae: abs(quality(sae, few_x)["l0"] - k))

    def train_on_x(sae):
        return run.fit(sae, x, **settings)

    told, few_told = (torch.from_numpy(part.rows(part.labels)) for part in (train, few))
    means = MeanDictionary().fit(x, told)
    exact = MeanDictionary(least_squares=True).fit(few_x, few_told)
    rivals = {
        "PCA": both_signs(principal_components(x)[0]),
        "residual dimensions": both_signs(torch.eye(d_model)),
        "random directions": random_directions(d_model, n_features, 0),
        "supervised directions": means.directions,
    }
    dictionaries = {
        "ReLU, the paper's price": train_on_x(SparseAutoencoder(d_model, n_features, 0, L1)),
        "ReLU, sparser": sparse_relu(PRICES, False),
        "ReLU, squared error, sparser": sparse_relu(PRICES_SQUARED, True),
        "TopK": train_on_x(TopK(d_model, n_features, k)),
        "TopK, 4 times as many": train_on_x(TopK(d_model, 4 * n_features, k)),
        "JumpReLU": train_on_x(JumpReLU(d_model, n_features, k)),
    } | {name: Directions(directions, k).fit(few_x) for name, directions in rivals.items()}
    result = {}
    for name, one in dictionaries.items():
        result[name] = _board_metrics(_encode(one, few_x), few, _encode(one, new_x), new)
        result[name] |= _panel(run.model, one, stage, judged)
        if isinstance(one, SparseAutoencoder):
            result[name]["price"] = rounded(one.l1)

    cut = first_blocks(run.model, stage)

    def neurons(games):
        return mlp_activations(cut, games, [stage - 1], PLIES)[0]

    of_neurons = Directions(torch.eye(4 * d_model), k).fit(few_x, few.rows(neurons(few.games)))
    codes = [of_neurons.encode(part.rows(neurons(part.games))) for part in (few, new)]
    result["MLP neurons"] = _board_metrics(codes[0], few, codes[1], new)
    result["MLP neurons"] |= _panel(run.model, of_neurons, stage, judged, neurons(judged))
    labels = torch.from_numpy(sample(judged, run.protocol).labels)
    for name, one in (("true attributes, means", means), ("true attributes, least squares", exact)):
        result[name] = _panel(run.model, one, stage, judged, labels)
    control = run.fit(TopK(d_model, n_features, k), run.rows(train, stage, run.random_model), **settings)
    codes = [_encode(control, run.rows(part, stage, run.random_model)) for part in (few, new)]
    result["TopK, random weights"] = _board_metrics(codes[0], few, codes[1], new)
    result["TopK, random weights"] |= _panel(run.random_model, control, stage, judged)
    return {"k": k, "dictionaries": result}


def _encode(dictionary, x: torch.Tensor) -> torch.Tensor:
    """The code of rows, in parts, so that no more than the code itself lies in memory."""
    return torch.cat([dictionary.encode(part) for part in x.split(8192)])


def _board_metrics(code, sample: Sample, new_code, new: Sample) -> dict:
    """Coverage and board reconstruction on new games; features are chosen on the others."""
    labels, new_labels = sample.rows(sample.labels), new.rows(new.labels)
    return {
        "coverage": rounded(coverage(code, labels, new_code, new_labels)),
        "board_f1": rounded(BoardReader().fit(code, labels).score(new_code, new_labels)),
    }


def _panel(model, dictionary, stage, games, source=None) -> dict:
    found = panel(model, dictionary, stage, games, PLIES, source=source)
    density = np.quantile(found.density, (0, 0.25, 0.5, 0.75, 1))
    return {
        "l0": rounded(found.l0),
        "explained_variance": rounded(found.explained_variance),
        # Of next to nothing, no share: random weights lose little where a stage is replaced by its mean.
        "loss_recovered": rounded(found.loss_recovered if found.loss_ablated - found.loss > 0.01 else np.nan),
        "dead_fraction": rounded(found.dead_fraction),
        "density_quartiles": round_all(density),
    }


# SAE against probe, on equal terms -------------------------------------------------------------------


def sparse_probes_part(run: Run, stage: int) -> dict:
    """How well k features read the board, {source: {k: …}}, beside the linear probe on the same rows."""
    d_model = run.model.config.d_model
    train = sample(run.split[0][: run.sizes.dictionary_games], run.protocol)
    given = sample(run.split[0][: run.sizes.sparse_games], run.protocol)
    x, new_x = run.rows(given, stage), run.rows(run.new, stage)
    train_x = run.rows(train, stage)
    settings = dict(epochs=2 * run.sizes.sae_epochs, schedule=linear_fall)
    topk = run.fit(TopK(d_model, 2 * d_model, d_model // 4), train_x, **settings)
    of_paper = run.fit(SparseAutoencoder(d_model, 2 * d_model, 0, L1), train_x, **settings)
    cut = first_blocks(run.model, stage)
    sources = {
        "paper's SAE": (of_paper.encode(x), of_paper.encode(new_x)),
        "TopK SAE": (topk.encode(x), topk.encode(new_x)),
        "MLP neurons": tuple(
            part.rows(mlp_activations(cut, part.games, [stage - 1], PLIES)[0]) for part in (given, run.new)
        ),
        "residual dimensions": (x, new_x),
        "random directions": tuple(part @ random_directions(d_model, 2 * d_model, 0) for part in (x, new_x)),
    }
    labels, answers = given.rows(given.labels), run.new.rows(run.new.labels)

    def shares(read):
        right = read == answers
        return {"accuracy": rounded(right.mean()), "balanced": rounded(balanced_accuracy(read, answers))}

    result = {
        name: {str(k): shares(SparseProbe(k).fit(code, labels).predict(new_code)) for k in SPARSE_K}
        for name, (code, new_code) in sources.items()
    }
    result["linear probe"] = {"all": shares(LinearProbe().fit(x[None], labels).predict(new_x[None])[0])}
    return result
