"""The parts about linear probes: Fig. 2 with its controls and quirks, and Fig. 4."""

from dataclasses import replace

import numpy as np
import torch

from ..baselines import MajorityBaseline
from ..games import random_games, replay
from ..labels import colours, contents_before
from ..probes import LinearProbe, MLPProbe, accuracy, balanced_accuracy, shuffled
from ..sae_training import linear_fall
from ..scoring import bootstrap_interval
from .context import SEED, Run
from .data import PLIES, Sample, sample, until_first_pass
from .features import CLASSES
from .protocol import CORRECTED, COSINE_THRESHOLD, PROBE_QUIRKS, PUBLISHED, Protocol
from .published import BATCH_GAMES, PublishedProbe, batches_of_streams
from .results import round_all, rounded

# Fig. 2: linear probes -------------------------------------------------------------------------------


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


def _questions(sample: Sample) -> dict[str, np.ndarray]:
    """What the probes are asked, {name: int8 [n_games, 52, 64]}."""
    positions = replay(sample.games)

    def mask(truth):
        full = np.full(sample.labels.shape, -1, np.int8)
        full[sample.there] = truth
        return full

    return {
        "mine/theirs": sample.labels,
        "black/white": _window(colours(positions)),
        "previous board": _window(contents_before(positions)),
        "stable_paper": mask(sample.paper),
        "stable_sound": mask(sample.sound),
    }


def probes_part(run: Run, stage: int) -> dict:
    """Probes of one stage, what they are asked, and their controls."""
    sizes = run.sizes
    given = sample(run.split[0][: sizes.probe_fit_games], run.protocol)
    x, new_x = (run.streams(part.games, stage)[None] for part in (given, run.new))
    asked, answers = _questions(given), _questions(run.new)

    def read(probe, labels, kind="mine/theirs", fit_x=x, new_x=new_x):
        return _read(probe.fit(fit_x, labels).predict(new_x)[0], answers[kind])

    main = LinearProbe(epochs=4)
    # Of stability, "balanced" is what to read: most tiles are not stable.
    result = {"mine/theirs": read(main, asked["mine/theirs"])}
    for kind in ("black/white", "previous board", "stable_paper", "stable_sound"):
        result[kind] = read(LinearProbe(epochs=4), asked[kind], kind)
    result["no bias"] = read(LinearProbe(epochs=4, with_bias=False), asked["mine/theirs"])
    result["hidden layer"] = read(MLPProbe(epochs=4), asked["mine/theirs"])
    result["shuffled labels"] = read(LinearProbe(epochs=4), shuffled(asked["mine/theirs"], seed=0))
    random = [run.streams(part.games, stage, run.random_model)[None] for part in (given, run.new)]
    result["random weights"] = read(LinearProbe(epochs=4), asked["mine/theirs"], "mine/theirs", *random)
    for kind in ("stable_paper", "stable_sound"):
        result[f"{kind}, random weights"] = read(LinearProbe(epochs=4), asked[kind], kind, *random)
    del x, random
    halves = [
        LinearProbe(epochs=2).fit(run.streams(half, stage)[None], sample(half, run.protocol).labels).weight[0]
        for half in (run.split[0][::2], run.split[0][1::2])
    ]
    result["agreement of halves"] = _same_directions(*halves)
    run.save(f"probe_{stage}", {"weight": main.weight[0], "bias": main.bias[0]})
    return result


def _centred(weight: torch.Tensor) -> torch.Tensor:
    """A probe's directions [64, 3, d]: what all classes share says nothing and goes."""
    return weight - weight.mean(1, keepdim=True)


def _same_directions(one: torch.Tensor, two: torch.Tensor) -> dict:
    cosines = torch.cosine_similarity(_centred(one), _centred(two), dim=-1)
    return {
        "mean": rounded(cosines.mean()),
        "median": rounded(cosines.median()),
        "above_0.9": rounded((cosines > 0.9).float().mean()),
    }


def majority_part(run: Run) -> dict:
    """The rival that looks at no network, for each question."""
    given = sample(run.split[0][: run.sizes.probe_fit_games], run.protocol)
    asked, answers = _questions(given), _questions(run.new)
    return {
        kind: _read(MajorityBaseline().fit(asked[kind]).predict(len(run.new.games)), answers[kind])
        for kind in asked
    }


def published_probes_part(run: Run) -> dict:
    """Fig. 2 as published, and which of its quirks matter: {quirk: accuracy of each stage}."""
    stages, d_model = run.protocol.stages(run.model.config.n_layer), run.model.config.d_model
    games = until_first_pass(random_games(run.sizes.probe_games, SEED + 1))
    n_steps = -(-len(games) // BATCH_GAMES)
    results = {}
    # Probes that see the same streams take turns on each batch.
    for dropout in (CORRECTED.dropout, PUBLISHED.dropout):
        probes = {
            name: PublishedProbe(len(stages), d_model, quirk.norm_over_time, quirk.cycled_rate)
            for name, quirk in PROBE_QUIRKS.items()
            if quirk.dropout == dropout
        }
        for x, labels in batches_of_streams(run.model, games, stages, dropout, SEED):
            for name, probe in probes.items():
                fall = linear_fall(probe.n_steps, n_steps)
                probe.step(x, labels[PROBE_QUIRKS[name].labels_before], fall)
        shares = {name: [] for name in probes}
        for x, labels in batches_of_streams(run.model, run.split[2], stages, dropout, SEED + len(games)):
            for name, probe in probes.items():
                shares[name].append(probe.accuracy(x, labels[PROBE_QUIRKS[name].labels_before]))
        for name, of_games in shares.items():
            results[name] = [_of_games(row) for row in torch.cat(of_games, 1).numpy()]
    for at, stage in enumerate(stages):
        run.save(f"probe_{stage}", {"weight": probes["all"].weight[at]})
    return {name: results[name] for name in PROBE_QUIRKS}


# Fig. 4: MLP neurons beside probe directions ---------------------------------------------------------


def neurons_part(run: Run) -> dict:
    """How many neurons of each block read along the probe's direction of each tile.

    Block b (counted from 1) is paired with the probe of stage b − 1, the stream that the block reads. As
    corrected, a neuron's direction includes the gain of the LayerNorm before it. threshold_scaled is the
    paper's 0.2, for 512 dimensions, at this width: the cosine that is as rare between random directions.
    `shuffled`: the same with the dimensions of every neuron in another order, the mean of ten. `variants`:
    the protocol with the other probe, or normalised along the other axis: neurons counted in each block at
    the scaled threshold.
    """
    protocol = run.protocol
    result = _neurons(run, protocol)
    result["variants"] = {}
    for empty in (False, True):
        for by_dimension in (False, True):
            other = replace(protocol, probe_of_empty=empty, neurons_by_dimension=by_dimension)
            name = f"{'empty' if empty else 'mine'}, {'by dimension' if by_dimension else 'by neuron'}"
            result["variants"][name] = [sum(tiles) for tiles in _neurons(run, other)["per_tile_scaled"]]
    return result


def _neurons(run: Run, protocol: Protocol) -> dict:
    d_model = run.model.config.d_model
    scaled = COSINE_THRESHOLD * (512 / d_model) ** 0.5
    kind = CLASSES["empty" if protocol.probe_of_empty else "mine"]
    counts, at_scaled, chance, chance_scaled = [], [], [], []
    random = torch.Generator().manual_seed(0)
    for index, block in enumerate(run.model.blocks):
        probe = run.load(f"probe_{index}")["weight"]
        reads = block.mlp.up.weight.detach().cpu()
        if protocol.neurons_by_dimension:
            reads = reads / reads.norm(dim=0, keepdim=True)
            directions = probe[:, kind]
        else:
            reads = torch.nn.functional.normalize(reads * block.ln_2.weight.detach().cpu(), dim=1)
            directions = _centred(probe)[:, kind]
        directions = torch.nn.functional.normalize(directions, dim=1)
        cosines = (reads @ directions.T).abs()
        counts.append((cosines > COSINE_THRESHOLD).sum(0).tolist())
        at_scaled.append((cosines > scaled).sum(0).tolist())
        orders = [torch.randperm(d_model, generator=random) for _ in range(10)]
        mixed = torch.stack([(reads[:, order] @ directions.T).abs() for order in orders])
        chance.append(round_all((mixed > COSINE_THRESHOLD).sum(1).double().mean(0)))
        chance_scaled.append(round_all((mixed > scaled).sum(1).double().mean(0)))
    return {
        "threshold": COSINE_THRESHOLD,
        "threshold_scaled": rounded(scaled),
        "per_tile": counts,
        "per_tile_scaled": at_scaled,
        "per_tile_shuffled": chance,
        "per_tile_shuffled_scaled": chance_scaled,
    }
