"""Dictionaries side by side: SAEs of all kinds, rivals and the yardstick by one panel; and sparse probes.

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`; chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

import numpy as np
import torch

from ..activations import mlp_activations
from ..board_metrics import BoardReader, SparseProbe, coverage
from ..dictionaries import Directions, MeanDictionary, panel
from ..directions import both_signs, principal_components, random_directions
from ..probes import LinearProbe, balanced_accuracy
from ..sae import JumpReLU, SparseAutoencoder, TopK
from ..sae_training import linear_fall
from .feature_tables import quality
from .paper import L1
from .results import round_all, rounded
from .samples import PLIES, Sample, first_blocks, sample
from .study import Study

# Tried for SAEs of the paper's kind that are sparse; a squared error weighs more, and so must the price.
PRICES = tuple(0.05 * 10 ** (k / 5) for k in range(10))
PRICES_SQUARED = tuple(0.05 * 10 ** (k / 3) for k in range(10))
SPARSE_K = (1, 4, 16)

# Dictionaries side by side ---------------------------------------------------------------------------


def dictionaries_part(study: Study, stage: int) -> dict:
    """SAEs of every kind, their rivals at the same L0, and the yardstick: panel and board metrics.

    All SAEs are trained on the same games, and all rivals' decoders fitted on the same rows.

    Args:
        study: the run.
        stage: whose streams are described.

    Returns:
        The L0 that was asked for, k, and the numbers of each dictionary by its name.
    """
    d_model, sizes = study.model.config.d_model, study.sizes
    k, n_features = d_model // 4, 2 * d_model
    train = sample(study.split[0][: sizes.dictionary_games], study.protocol)
    choice = sample(study.split[1][: sizes.new_games], study.protocol)  # to choose features, to fit decoders
    new, panel_games = study.new, study.split[2][: sizes.panel_games]
    x, choice_x, new_x = (study.rows(part, stage) for part in (train, choice, new))
    settings = dict(epochs=2 * sizes.sae_epochs, schedule=linear_fall)

    def sparse_relu(prices, squared):
        saes = [
            SparseAutoencoder(d_model, n_features, seed, price, squared) for seed, price in enumerate(prices)
        ]
        study.fit(saes, x, **settings)
        return min(saes, key=lambda sae: abs(quality(sae, choice_x)["l0"] - k))

    def train_on_x(sae):
        return study.fit(sae, x, **settings)

    labels, choice_labels = (torch.from_numpy(part.rows(part.labels)) for part in (train, choice))
    means = MeanDictionary().fit(x, labels)
    least_squares = MeanDictionary(least_squares=True).fit(choice_x, choice_labels)
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
    } | {name: Directions(directions, k).fit(choice_x) for name, directions in rivals.items()}
    result = {}
    for name, dictionary in dictionaries.items():
        result[name] = _board_metrics(_encode(dictionary, choice_x), choice, _encode(dictionary, new_x), new)
        result[name] |= _panel(study.model, dictionary, stage, panel_games)
        if isinstance(dictionary, SparseAutoencoder):
            result[name]["price"] = rounded(dictionary.l1)

    cut = first_blocks(study.model, stage)

    def neurons(games):
        return mlp_activations(cut, games, [stage - 1], PLIES)[0]

    of_neurons = Directions(torch.eye(4 * d_model), k).fit(choice_x, choice.rows(neurons(choice.games)))
    feature_acts = [of_neurons.encode(part.rows(neurons(part.games))) for part in (choice, new)]
    result["MLP neurons"] = _board_metrics(feature_acts[0], choice, feature_acts[1], new)
    result["MLP neurons"] |= _panel(study.model, of_neurons, stage, panel_games, neurons(panel_games))
    truth = torch.from_numpy(sample(panel_games, study.protocol).labels)
    for name, dictionary in (
        ("true attributes, means", means),
        ("true attributes, least squares", least_squares),
    ):
        result[name] = _panel(study.model, dictionary, stage, panel_games, truth)
    random_x = study.rows(train, stage, study.random_model)
    control = study.fit(TopK(d_model, n_features, k), random_x, **settings)
    feature_acts = [_encode(control, study.rows(part, stage, study.random_model)) for part in (choice, new)]
    result["TopK, random weights"] = _board_metrics(feature_acts[0], choice, feature_acts[1], new)
    result["TopK, random weights"] |= _panel(study.random_model, control, stage, panel_games)
    return {"k": k, "dictionaries": result}


def _encode(dictionary, x):
    """The activations of rows, in parts, so that no more than they themselves lie in memory."""
    return torch.cat([dictionary.encode(part) for part in x.split(8192)])


def _board_metrics(
    feature_acts: torch.Tensor, sample: Sample, new_feature_acts: torch.Tensor, new: Sample
) -> dict:
    """Coverage and board reconstruction on new games; features are chosen on the others."""
    labels, new_labels = sample.rows(sample.labels), new.rows(new.labels)
    return {
        "coverage": rounded(coverage(feature_acts, labels, new_feature_acts, new_labels)),
        "board_f1": rounded(BoardReader().fit(feature_acts, labels).score(new_feature_acts, new_labels)),
    }


def _panel(model, dictionary, stage, games, source=None):
    """What the results hold of a dictionary's `Panel`."""
    measured = panel(model, dictionary, stage, games, PLIES, source=source)
    density = np.quantile(measured.density, (0, 0.25, 0.5, 0.75, 1))
    return {
        "l0": rounded(measured.l0),
        "explained_variance": rounded(measured.explained_variance),
        # Of next to nothing, no share: random weights lose little where a stage is replaced by its mean.
        "loss_recovered": rounded(
            measured.loss_recovered if measured.loss_ablated - measured.loss > 0.01 else np.nan
        ),
        "dead_fraction": rounded(measured.dead_fraction),
        "density_quartiles": round_all(density),
    }


# SAE against probe, on equal terms -------------------------------------------------------------------


def sparse_probes_part(study: Study, stage: int) -> dict:
    """How well k features read the board, beside the linear probe on the same rows.

    Args:
        study: the run.
        stage: whose streams are read.

    Returns:
        `{source of features: {k: {accuracy, balanced}}}`.
    """
    d_model = study.model.config.d_model
    train = sample(study.split[0][: study.sizes.dictionary_games], study.protocol)
    fitted = sample(study.split[0][: study.sizes.sparse_games], study.protocol)
    x, new_x = study.rows(fitted, stage), study.rows(study.new, stage)
    train_x = study.rows(train, stage)
    settings = dict(epochs=2 * study.sizes.sae_epochs, schedule=linear_fall)
    topk = study.fit(TopK(d_model, 2 * d_model, d_model // 4), train_x, **settings)
    of_paper = study.fit(SparseAutoencoder(d_model, 2 * d_model, 0, L1), train_x, **settings)
    cut = first_blocks(study.model, stage)
    sources = {
        "paper's SAE": (of_paper.encode(x), of_paper.encode(new_x)),
        "TopK SAE": (topk.encode(x), topk.encode(new_x)),
        "MLP neurons": tuple(
            part.rows(mlp_activations(cut, part.games, [stage - 1], PLIES)[0]) for part in (fitted, study.new)
        ),
        "residual dimensions": (x, new_x),
        "random directions": tuple(part @ random_directions(d_model, 2 * d_model, 0) for part in (x, new_x)),
    }
    labels, new_labels = fitted.rows(fitted.labels), study.new.rows(study.new.labels)

    def shares(read):
        right = read == new_labels
        return {"accuracy": rounded(right.mean()), "balanced": rounded(balanced_accuracy(read, new_labels))}

    result = {
        name: {
            str(k): shares(SparseProbe(k).fit(feature_acts, labels).predict(new_feature_acts))
            for k in SPARSE_K
        }
        for name, (feature_acts, new_feature_acts) in sources.items()
    }
    result["linear probe"] = {"all": shares(LinearProbe().fit(x[None], labels).predict(new_x[None])[0])}
    return result
