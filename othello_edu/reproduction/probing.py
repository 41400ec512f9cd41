"""Fig. 2: linear probes at each stage, with their controls and with the quirks of the published ones.

See Also:
    Chapter 5, :doc:`/notebooks/05_linear_probes`; chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

import numpy as np
import torch

from ..baselines import MajorityBaseline
from ..games import random_games, replay
from ..labels import colours, contents_before
from ..probes import LinearProbe, MLPProbe, accuracy, balanced_accuracy, shuffled
from ..sae_training import linear_fall
from ..scoring import bootstrap_interval
from .paper import BATCH_GAMES
from .protocol import CORRECTED, PROBE_QUIRKS, PUBLISHED
from .quirks import PublishedProbe, batches_of_streams
from .results import round_all, rounded
from .samples import PLIES, Sample, sample, until_first_pass
from .study import SEED, Study


def _of_games(shares: np.ndarray) -> dict:
    """Mean over games and its 95% interval, from [n_games]."""
    low, high = bootstrap_interval(shares, len(shares), seed=0)
    return {"accuracy": rounded(shares.mean()), "low": rounded(low), "high": rounded(high)}


def _read(predicted: np.ndarray, labels: np.ndarray) -> dict:
    """What is reported of a reading int8 [n_games, 52, 64]."""
    return {
        **_of_games(accuracy(predicted, labels, by="game")),
        "balanced": rounded(balanced_accuracy(predicted, labels)),
        "by_ply": round_all(accuracy(predicted, labels, by="ply")),
        "by_square": round_all(accuracy(predicted, labels, by="square")),
    }


def _window(labels: np.ndarray) -> np.ndarray:
    return labels[:, PLIES.start : PLIES.stop]


def _labels(sample: Sample) -> dict[str, np.ndarray]:
    """The labels that probes are fitted to, {name: int8 [n_games, 52, 64]}."""
    positions = replay(sample.games)

    def mask(truth):
        full = np.full(sample.labels.shape, -1, np.int8)
        full[sample.valid] = truth
        return full

    return {
        "mine/theirs": sample.labels,
        "black/white": _window(colours(positions)),
        "previous board": _window(contents_before(positions)),
        "stable_paper": mask(sample.paper),
        "stable_sound": mask(sample.sound),
    }


def probes_part(study: Study, stage: int) -> dict:
    """Probes of one stage, one for each kind of label, and their controls. Their weights are saved.

    Args:
        study: the run.
        stage: whose streams are read.

    Returns:
        For each probe, accuracy with its interval, by ply and by square, and balanced accuracy.
    """
    sizes = study.sizes
    train = sample(study.split[0][: sizes.probe_fit_games], study.protocol)
    x, new_x = (study.streams(part.games, stage)[None] for part in (train, study.new))
    train_labels, new_labels = _labels(train), _labels(study.new)

    def read(probe, labels, kind="mine/theirs", fit_x=x, new_x=new_x):
        return _read(probe.fit(fit_x, labels).predict(new_x)[0], new_labels[kind])

    main = LinearProbe(epochs=4)
    # Of stability, "balanced" is what to read: most tiles are not stable.
    result = {"mine/theirs": read(main, train_labels["mine/theirs"])}
    for kind in ("black/white", "previous board", "stable_paper", "stable_sound"):
        result[kind] = read(LinearProbe(epochs=4), train_labels[kind], kind)
    result["no bias"] = read(LinearProbe(epochs=4, with_bias=False), train_labels["mine/theirs"])
    result["hidden layer"] = read(MLPProbe(), train_labels["mine/theirs"])
    result["shuffled labels"] = read(LinearProbe(epochs=4), shuffled(train_labels["mine/theirs"], seed=0))
    random = [study.streams(part.games, stage, study.random_model)[None] for part in (train, study.new)]
    result["random weights"] = read(
        LinearProbe(epochs=4), train_labels["mine/theirs"], "mine/theirs", *random
    )
    for kind in ("stable_paper", "stable_sound"):
        result[f"{kind}, random weights"] = read(LinearProbe(epochs=4), train_labels[kind], kind, *random)
    del x, random  # the streams below need their memory
    halves = [sample(study.split[0][at::2], study.protocol) for at in range(2)]
    probes = [
        LinearProbe(epochs=2).fit(study.streams(half.games, stage)[None], half.labels) for half in halves
    ]
    result["agreement of halves"] = _same_directions(*(probe.weight[0] for probe in probes))
    study.save(f"probe_{stage}", {"weight": main.weight[0], "bias": main.bias[0]})
    return result


def centred(weight: torch.Tensor) -> torch.Tensor:
    """A probe's directions, `weight` [64, 3, d]: what all classes share says nothing and goes."""
    return weight - weight.mean(1, keepdim=True)


def _same_directions(weight: torch.Tensor, weight_again: torch.Tensor) -> dict:
    """Cosines between the directions [64, 3, d] that two probes have for the same squares and classes."""
    cosines = torch.cosine_similarity(centred(weight), centred(weight_again), dim=-1)
    return {
        "mean": rounded(cosines.mean()),
        "median": rounded(cosines.median()),
        "above_0.9": rounded((cosines > 0.9).float().mean()),
    }


def majority_part(study: Study) -> dict:
    """The rival that looks at no network, for each question that probes of a `study` are asked."""
    train = sample(study.split[0][: study.sizes.probe_fit_games], study.protocol)
    train_labels, new_labels = _labels(train), _labels(study.new)
    return {
        kind: _read(
            MajorityBaseline().fit(train_labels[kind]).predict(len(study.new.games)), new_labels[kind]
        )
        for kind in train_labels
    }


def published_probes_part(study: Study) -> dict:
    """Fig. 2 as published, and which of its quirks matter. Weights of the probes with all quirks are saved.

    Args:
        study: the run, by the published protocol.

    Returns:
        `{quirk: accuracy of each stage}`.
    """
    stages, d_model = study.protocol.stages(study.model.config.n_layer), study.model.config.d_model
    games = until_first_pass(random_games(study.sizes.probe_games, SEED + 1))
    n_steps = -(-len(games) // BATCH_GAMES)
    results = {}
    # Probes that see the same streams take turns on each batch.
    for dropout in (CORRECTED.dropout, PUBLISHED.dropout):
        probes = {
            name: PublishedProbe(len(stages), d_model, quirk.norm_over_time, quirk.cycled_rate)
            for name, quirk in PROBE_QUIRKS.items()
            if quirk.dropout == dropout
        }
        for x, labels in batches_of_streams(study.model, games, stages, dropout, SEED):
            for name, probe in probes.items():
                fall = linear_fall(probe.n_steps, n_steps)
                probe.step(x, labels[PROBE_QUIRKS[name].labels_before], fall)
        shares: dict[str, list[torch.Tensor]] = {name: [] for name in probes}
        for x, labels in batches_of_streams(study.model, study.split[2], stages, dropout, SEED + len(games)):
            for name, probe in probes.items():
                shares[name].append(probe.accuracy(x, labels[PROBE_QUIRKS[name].labels_before]))
        for name, of_games in shares.items():
            results[name] = [_of_games(row) for row in torch.cat(of_games, 1).numpy()]
        if "all" in probes:
            for at, stage in enumerate(stages):
                study.save(f"probe_{stage}", {"weight": probes["all"].weight[at]})
    return {name: results[name] for name in PROBE_QUIRKS}
