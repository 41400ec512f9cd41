"""Dictionaries side by side: SAEs of all kinds, rivals and the yardstick by one panel; and sparse probes.

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`; chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

import numpy as np
import torch

from ..activations import mlp_activations
from ..board_metrics import BoardReader, SparseProbe, coverage, description_bits, properties
from ..dictionaries import Cut, Directions, MeanDictionary, at_l0, panel
from ..directions import best_cosines, both_signs, principal_components, random_directions, stretched
from ..planted import planted_streams
from ..probes import LinearProbe, balanced_accuracy
from ..sae import JumpReLU, SparseAutoencoder, TopK, keep_largest
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
# Many small steps at a high rate: a TopK was further after 1,000 of these steps than after 1,600 steps of
# 1,024 rows at a third of the rate (explained variance and board F1 of `small`, stage 5).
TRAINING = dict(batch_size=256, learning_rate=3e-3, schedule=linear_fall)
SHORTER = (16, 4, 1)  # the training-length curve: this fraction of the steps, each a run of its own
PLANTED_GAMES = 4_000  # to train on in the planted stream
PRECISION = 1 / 32  # of activations, for bits: of the stream's typical distance from its mean

# Dictionaries side by side ---------------------------------------------------------------------------


def _trained(study, sae, x, n_steps):
    """Trained for so many steps: on some of the rows, or on all of them more than once."""
    n = n_steps * TRAINING["batch_size"]
    if n < len(x):
        x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:n]]
    return study.fit(sae, x, epochs=max(1, round(n / len(x))), **TRAINING)


def _kinds(d_model, k):
    """The SAEs whose training is followed, by name."""
    n_features = 2 * d_model
    return {
        "ReLU, the paper's price": lambda: SparseAutoencoder(d_model, n_features, 0, L1),
        "TopK": lambda: TopK(d_model, n_features, k),
        "TopK, 4 times as many": lambda: TopK(d_model, 4 * n_features, k),
        "JumpReLU": lambda: JumpReLU(d_model, n_features, k),
    }


def dictionaries_part(study: Study, stage: int) -> dict:
    """SAEs of every kind, their rivals at the same L0, and the yardstick; longer training; a planted board.

    All SAEs are trained on the same games for the same number of steps, and all rivals' decoders fitted on
    the same rows. `at_l0` brings every dictionary to k active features a row, on games that nothing is
    reported of; only "ReLU, the paper's price" is reported as it is too.

    Args:
        study: the run.
        stage: whose streams are described.

    Returns:
        By name:

        - k, the L0 of all, and steps, of training;
        - dictionaries, the numbers of each by its name;
        - training, `{kind: {steps: numbers}}`, each length a run of its own;
        - planted, `_planted_board`: the same on a stream in which the board was planted.
    """
    d_model, sizes = study.model.config.d_model, study.sizes
    k, n_features, n_steps = d_model // 4, 2 * d_model, sizes.dictionary_steps
    train = sample(study.split[0][: sizes.dictionary_games], study.protocol)
    choice = sample(study.split[1][: sizes.new_games], study.protocol)  # to choose features, to fit decoders
    new, panel_games = study.new, study.split[2][: sizes.panel_games]
    x, choice_x, new_x = (study.rows(part, stage) for part in (train, choice, new))
    labels, choice_labels = (torch.from_numpy(part.rows(part.labels)) for part in (train, choice))
    kinds = _kinds(d_model, k)

    def sparse_relu(prices, squared):
        """A little denser than k by its price, found in short runs, so that a cut can make it k."""
        tried = [
            SparseAutoencoder(d_model, n_features, seed, price, squared) for seed, price in enumerate(prices)
        ]
        _trained(study, tried, x, max(1, n_steps // 8))
        l0s = [quality(sae, choice_x)["l0"] for sae in tried]
        dense = [price for price, l0 in zip(prices, l0s, strict=True) if l0 >= 1.25 * k]
        price = max(dense, default=prices[0])
        return _trained(study, SparseAutoencoder(d_model, n_features, 0, price, squared), x, n_steps)

    training, trained = _training_lengths(study, kinds, k, x, (choice_x, choice), (new_x, new))
    means = MeanDictionary().fit(x, labels)
    least_squares = MeanDictionary(least_squares=True).fit(choice_x, choice_labels)
    rivals = {
        "PCA": both_signs(principal_components(x)[0]),
        "residual dimensions": both_signs(torch.eye(d_model)),
        "random directions": random_directions(d_model, n_features, 0),
        "supervised directions": means.directions,
    }
    dictionaries = (
        {name: at_l0(sae, choice_x, k) for name, sae in trained.items()}
        | {
            "ReLU, sparser": at_l0(sparse_relu(PRICES, False), choice_x, k),
            "ReLU, squared error, sparser": at_l0(sparse_relu(PRICES_SQUARED, True), choice_x, k),
        }
        | {name: _directions_at(directions, choice_x, k) for name, directions in rivals.items()}
    )
    as_it_is = trained["ReLU, the paper's price"]
    dictionaries = {"ReLU, the paper's price, as it is": Cut(as_it_is, 0.0)} | dictionaries
    result = {}
    for name, cut in dictionaries.items():
        acts = _encode(cut, choice_x), _encode(cut, new_x)
        result[name] = _board_metrics(acts[0], choice, acts[1], new) | _bits(cut, acts[1], choice_x)
        result[name] |= _panel(study.model, cut, stage, panel_games)
        if isinstance(cut.dictionary, SparseAutoencoder):
            result[name]["price"] = rounded(cut.dictionary.l1)
    result["linear reading"] = _linear_reading(choice_x, choice, new_x, new, k)

    blocks = first_blocks(study.model, stage)

    def neurons(games):
        return mlp_activations(blocks, games, [stage - 1], PLIES)[0]

    read = [part.rows(neurons(part.games)) for part in (choice, new)]
    of_neurons = at_l0(Directions(torch.eye(4 * d_model), k).fit(choice_x, read[0]), read[0], k)
    acts = of_neurons.encode(read[0]), of_neurons.encode(read[1])
    result["MLP neurons"] = _board_metrics(acts[0], choice, acts[1], new)
    result["MLP neurons"] |= _bits(of_neurons, acts[1], choice_x)
    result["MLP neurons"] |= _panel(study.model, of_neurons, stage, panel_games, neurons(panel_games))
    truth = torch.from_numpy(sample(panel_games, study.protocol).labels)
    for name, dictionary in (
        ("true attributes, means", means),
        ("true attributes, least squares", least_squares),
    ):
        result[name] = _panel(study.model, dictionary, stage, panel_games, truth)
        facts = dictionary.encode(torch.from_numpy(new.rows(new.labels)))
        result[name]["bits"] = rounded(description_bits(facts, 1.0))
    control = _trained(study, kinds["TopK"](), study.rows(train, stage, study.random_model), n_steps)
    random_x = [study.rows(part, stage, study.random_model) for part in (choice, new)]
    control = at_l0(control, random_x[0], k)
    acts = _encode(control, random_x[0]), _encode(control, random_x[1])
    result["TopK, random weights"] = _board_metrics(acts[0], choice, acts[1], new)
    result["TopK, random weights"] |= _bits(control, acts[1], random_x[0])
    result["TopK, random weights"] |= _panel(study.random_model, control, stage, panel_games)
    planted = _planted_board(study, kinds, k, (x, train), (choice_x, choice), (new_x, new))
    return {"k": k, "steps": n_steps, "dictionaries": result, "training": training, "planted": planted}


def _training_lengths(study, kinds, k, x, choice, new, atoms=None):
    """`{kind: {steps: numbers}}` at the same L0, and what was trained longest, by kind.

    `choice` and `new` are rows and their sample; with `atoms` [d_model, n], how many of them were found too.
    """
    (choice_x, of_choice), (new_x, of_new) = choice, new
    curves, last = {}, {}
    for name, make in kinds.items():
        curves[name] = {}
        for part in SHORTER:
            n_steps = max(1, study.sizes.dictionary_steps // part)
            last[name] = _trained(study, make(), x, n_steps)
            cut = at_l0(last[name], choice_x, k)
            acts = _encode(cut, choice_x), _encode(cut, new_x)
            measured = _board_metrics(acts[0], of_choice, acts[1], of_new)
            measured |= _quality(cut, acts[1], new_x)
            if atoms is not None:
                measured |= _found(atoms, last[name].directions)
            curves[name][str(n_steps)] = measured
    return curves, last


def _planted_board(study, kinds, k, train, choice, new):
    """The same dictionaries on a stream of the same mean and covariance, made of a board, a clock and noise.

    Returns:
        By name: share, of the variance that is not noise; training, as in `dictionaries_part`, with what was
        found of the atoms; and what finds nothing and all: "random directions" (their cosines have to be
        beaten) and "linear reading".
    """
    n_train = min(len(train[0]), PLANTED_GAMES * len(PLIES))
    parts = [(train[0][:n_train], *(part[:n_train] for part in _truth(train[1])))]
    parts += [(x, *_truth(of)) for x, of in (choice, new)]
    x, labels, ply = (torch.cat([torch.as_tensor(part[i]) for part in parts]) for i in range(3))
    planted = planted_streams(x, labels.numpy(), ply)
    rows = planted.x.split([len(part[0]) for part in parts])
    judges = (rows[1], choice[1]), (rows[2], new[1])
    curves, _ = _training_lengths(study, kinds, k, rows[0], *judges, planted.atoms)
    chance = Directions(random_directions(x.shape[1], 2 * x.shape[1], 0), k).fit(rows[1])
    acts = [chance.encode(part) for part in rows[1:]]
    of_chance = _board_metrics(acts[0], choice[1], acts[1], new[1])
    of_chance |= _quality(chance, acts[1], rows[2]) | _found(planted.atoms, stretched(chance.W_enc, rows[1]))
    return {
        "share": rounded(planted.share),
        "training": curves,
        "random directions": of_chance,
        "linear reading": _linear_reading(*judges[0], *judges[1], k),
    }


def _truth(of):
    return of.rows(of.labels), of.ply


def _found(atoms, directions):
    """How near a dictionary's directions come to the planted ones: best cosines of these."""
    cosines = best_cosines(atoms, directions)
    return {"cosine": rounded(cosines.mean()), "found": rounded((cosines > 0.9).float().mean())}


def _quality(dictionary, feature_acts, x):
    error = sum(
        float((part - dictionary.decode(acts)).square().sum())
        for part, acts in zip(x.split(8192), feature_acts.split(8192), strict=True)
    )
    return {
        "l0": rounded((feature_acts > 0).float().sum(1).mean()),
        "explained_variance": rounded(1 - error / float((x - x.mean(0)).square().sum())),
    }


def _linear_reading(x, sample, new_x, new, k):
    """A code that was told what to read: each fact by least squares, the k largest of a row.

    What it reaches is what the measures can show of this stream, where each feature reads one direction.
    """
    facts = torch.from_numpy(properties(sample.rows(sample.labels))).double()
    with_one = [torch.cat([rows, torch.ones(len(rows), 1)], 1).double() for rows in (x, new_x)]
    weight = torch.linalg.pinv(with_one[0].T @ with_one[0], hermitian=True) @ (with_one[0].T @ facts)
    acts = [keep_largest((rows @ weight).float(), k) for rows in with_one]
    return _board_metrics(acts[0], sample, acts[1], new)


def _directions_at(directions, x, k):
    """`Directions` with k active features of a row on average: more where some rows have fewer above 0."""
    some = x[:: max(1, len(x) // 8192)]
    for most in range(k, directions.shape[1] + 1):
        rival = Directions(directions, most).fit(some)
        if (rival.encode(some) > 0).float().sum(1).mean() >= k * 0.9999:
            break
    return at_l0(Directions(directions, most).fit(x), x, k)


def _bits(cut, new_feature_acts, x):
    """Bits a row, where each activation is as precise as the others, measured along the stream."""
    spread = (x - x.mean(0)).square().sum(1).mean().sqrt()
    lengths = torch.linalg.vector_norm(cut.dictionary.W_dec, dim=1).clamp(min=1e-6 * spread)
    return {"bits": rounded(description_bits(new_feature_acts, PRECISION * spread / lengths))}


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
    kinds, n_steps = _kinds(d_model, d_model // 4), study.sizes.dictionary_steps
    topk, of_paper = (
        _trained(study, kinds[name](), train_x, n_steps) for name in ("TopK", "ReLU, the paper's price")
    )
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
