"""The parts of a run, each of which can be resumed by itself. A part takes a `Run` and returns plain data.

`PARTS` names them in order for each protocol; `run.py` runs them, keeps what they return, and draws it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch

from ..activations import mlp_activations
from ..board_metrics import SparseProbe, board_reader, coverage
from ..dictionaries import (
    Directions,
    MeanDictionary,
    both_signs,
    panel,
    principal_directions,
    random_directions,
)
from ..errors import OthelloEduError
from ..files import atomic_write
from ..games import Games, random_games, replay, split_games
from ..labels import colours, contents_before
from ..model import GPT
from ..probes import LinearProbe, MajorityBaseline, MLPProbe, accuracy, shuffled
from ..sae import JumpReLU, SparseAutoencoder, TopK, fit, linear_fall
from ..scoring import bootstrap_interval
from ..training import evaluate
from .data import PLIES, Sample, first_blocks, sample, streams, until_first_pass
from .features import (
    CLASSES,
    CLOCK_TILES,
    agreement,
    audit_features,
    audit_rivals,
    round_all,
    rounded,
    score_features,
)
from .protocol import CORRECTED, COSINE_THRESHOLD, SAE_QUIRKS, Protocol, Sizes
from .published import (
    BATCH_GAMES,
    PublishedProbe,
    PublishedSAE,
    batches_of_streams,
    cycled_rate,
)

SEED = 41  # of the games of a run
RANDOM_SEED = 10**6  # of the random weights: not that of any network's own beginning
L1 = 0.077  # the paper's price
# Tried for SAEs of the paper's kind that are sparse; a squared error weighs more, and so must the price.
PRICES = tuple(0.05 * 10 ** (k / 5) for k in range(10))
PRICES_SQUARED = tuple(0.05 * 10 ** (k / 3) for k in range(10))
SPARSE_K = (1, 4, 16)
TABLES = "tables"


@dataclass(eq=False)
class Run:
    """What every part needs: the network, the protocol, the sizes, and a folder for trained parts."""

    model: GPT
    protocol: Protocol
    sizes: Sizes
    work: Path

    @cached_property
    def random_model(self) -> GPT:
        """The control: the same shape with random weights."""
        with torch.random.fork_rng([]):
            torch.manual_seed(RANDOM_SEED)
            return GPT(self.model.config).to(next(self.model.parameters()).device).eval()

    @cached_property
    def split(self) -> tuple[Games, Games, Games]:
        """Games to fit on, to score and choose on, and new ones to report on; no game is in two."""
        return self.games_for(self.protocol)

    def games_for(self, protocol: Protocol) -> tuple[Games, Games, Games]:
        """`split`, as another protocol would cut the games."""
        sizes = self.sizes
        games = split_games(sizes.train_games, sizes.score_games, sizes.new_games, seed=SEED)
        return tuple(map(until_first_pass, games)) if protocol.cut_at_pass else games

    @cached_property
    def score(self) -> Sample:
        """The games on which features are scored and chosen, the paper's 104,000 boards."""
        return sample(self.split[1], self.protocol)

    @cached_property
    def new(self) -> Sample:
        """The games on which chosen things are reported."""
        return sample(self.split[2], self.protocol)

    def streams(self, games: Games, stage: int, model: GPT | None = None, seed: int = 0) -> torch.Tensor:
        """Streams of one stage as the protocol sees them, [n_games, 52, d_model]."""
        return streams(model or self.model, games, [stage], self.protocol.dropout, seed)[0]

    def control_scale(self, stage: int) -> float:
        """What makes the random network's streams of a stage as large as the trained one's.

        The paper's price of activity and its first biases are meant for streams of a certain size.
        """
        games = self.split[1][:50]
        sizes = [self.streams(games, stage, model).square().mean() for model in (None, self.random_model)]
        return float((sizes[0] / sizes[1]).sqrt())

    def fit(self, sae, x, *arguments, **settings):
        """`sae.fit` on the network's device; the SAE comes back to the processor."""
        device = next(self.model.parameters()).device
        moved = (lambda epoch: x(epoch).to(device)) if callable(x) else x.to(device)
        return fit(sae, moved, *arguments, **settings).cpu()

    def rows(self, sample: Sample, stage: int, model: GPT | None = None) -> torch.Tensor:
        """Streams of a sample's rows that count, [n, d_model]."""
        return sample.rows(self.streams(sample.games, stage, model, seed=len(sample.games)))

    def save(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """Keep tensors for later parts."""
        self.work.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.work / f"{name}.safetensors") as file:
            file.write(safetensors.torch.save({key: value.contiguous() for key, value in tensors.items()}))

    def save_tables(self, name: str, tables: dict[str, np.ndarray]) -> None:
        """Keep AUROC tables beside the results, as float16: four digits are more than they are worth."""
        folder = self.work.parent / TABLES
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / f"{name}.npz") as file:
            np.savez_compressed(file, **{key: table.astype(np.float16) for key, table in tables.items()})

    def load(self, name: str) -> dict[str, torch.Tensor]:
        """Tensors of an earlier part."""
        path = self.work / f"{name}.safetensors"
        try:
            return safetensors.torch.load(path.read_bytes())
        except (OSError, safetensors.SafetensorError) as error:
            raise OthelloEduError(
                f"{path} of an earlier part cannot be read ({error}); "
                f"delete {self.work.parent / 'parts'} and run again"
            ) from error


# The network itself ----------------------------------------------------------------------------------


def model_part(run: Run) -> dict:
    """How good is the network that is being opened?"""
    measured = evaluate(run.model, run.split[2])
    names = ("loss", "excess_loss", "legal_rate", "legal_mass")
    return {name: round(measured[name], 5) for name in names}


# Fig. 2: linear probes -------------------------------------------------------------------------------


def _of_games(shares: np.ndarray) -> dict:
    """Mean over games and its 95% interval, from [n_games]."""
    low, high = bootstrap_interval(shares, len(shares), seed=0)
    return {"accuracy": rounded(shares.mean()), "low": rounded(low), "high": rounded(high)}


def _read(predicted: np.ndarray, labels: np.ndarray) -> dict:
    """What is reported of a reading int8 [n_games, 52, 64]."""
    return {
        **_of_games(accuracy(predicted, labels, by="game")),
        "balanced": rounded(balanced(predicted, labels)),
        "by_ply": round_all(accuracy(predicted, labels, by="ply")),
        "by_square": round_all(accuracy(predicted, labels, by="square")),
    }


def balanced(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Balanced accuracy: the mean over classes of the share of its squares that are read as it."""
    right = predicted == labels
    return float(np.mean([right[labels == kind].mean() for kind in np.unique(labels[labels >= 0])]))


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


@dataclass(frozen=True)
class Quirks:
    """Which of the published probe's quirks are on."""

    labels_before: bool = False
    norm_over_time: bool = False
    cycled: bool = False
    dropout: float = 0.0


QUIRKS = {
    "none": Quirks(),
    "labels before the move": Quirks(labels_before=True),
    "LayerNorm over time": Quirks(norm_over_time=True),
    "cycled learning rate": Quirks(cycled=True),
    "dropout on": Quirks(dropout=0.2),
    "all": Quirks(True, True, True, 0.2),
}


def published_probes_part(run: Run) -> dict:
    """Fig. 2 as published, and which of its quirks matter: {quirk: accuracy of each stage}."""
    stages = run.protocol.stages(run.model.config.n_layer)
    games = until_first_pass(random_games(run.sizes.probe_games, SEED + 1))
    n_steps = -(-len(games) // BATCH_GAMES)
    results = {}
    # Probes that see the same streams take turns on each batch.
    for dropout in (0.0, 0.2):
        probes = {
            name: PublishedProbe(len(stages), run.model.config.d_model, quirks.norm_over_time, quirks.cycled)
            for name, quirks in QUIRKS.items()
            if quirks.dropout == dropout
        }
        for x, labels in batches_of_streams(run.model, games, stages, dropout, SEED):
            for name, probe in probes.items():
                fall = linear_fall(probe.n_steps, n_steps)
                probe.step(x, labels[QUIRKS[name].labels_before], fall)
        shares = {name: [] for name in probes}
        for x, labels in batches_of_streams(run.model, run.split[2], stages, dropout, SEED + len(games)):
            for name, probe in probes.items():
                shares[name].append(probe.accuracy(x, labels[QUIRKS[name].labels_before]))
        for name, of_games in shares.items():
            results[name] = [_of_games(row) for row in torch.cat(of_games, 1).numpy()]
    for at, stage in enumerate(stages):
        run.save(f"probe_{stage}", {"weight": probes["all"].weight[at]})
    return {name: results[name] for name in QUIRKS}


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


# Figs. 3 and 5: SAEs ---------------------------------------------------------------------------------


def _train_saes(
    run: Run,
    stage: int,
    seeds,
    model: GPT | None = None,
    protocol: Protocol | None = None,
    games=None,
    scale=1.0,
) -> list:
    """The SAEs of one stage, a seed each, trained together. scale: of the streams."""
    protocol = protocol or run.protocol
    games = run.games_for(protocol)[0] if games is None else games
    d_model = run.model.config.d_model
    seeds = list(seeds) if protocol.same_start else [1000 * (stage + 1) + seed for seed in seeds]
    kind = PublishedSAE if protocol.wrong_axis else SparseAutoencoder
    stack = kind(d_model, 2 * d_model, seeds, L1)
    known = None if protocol.ended_rows else sample(games, protocol)

    def rows(epoch):
        x = streams(model or run.model, games, [stage], protocol.dropout, 1000 + epoch)[0]
        return scale * (x.flatten(0, 1) if known is None else known.rows(x))

    schedule = cycled_rate if protocol.cycled_rate else linear_fall
    x = rows if protocol.dropout else rows(0)  # noise is drawn anew in each epoch
    run.fit(stack, x, run.sizes.sae_epochs, schedule=schedule, weight_decay=protocol.weight_decay)
    return stack.unstack()


def _moved(saes: list, protocol: Protocol, stage: int) -> float:
    """Mean |cosine| of each feature with its own beginning: 1 where training has done nothing."""
    cosines = []
    for seed, sae in enumerate(saes):
        seed = seed if protocol.same_start else 1000 * (stage + 1) + seed
        kind = PublishedSAE if protocol.wrong_axis else SparseAutoencoder
        start = kind(*sae.directions.shape, seed).directions.detach()
        cosines.append(torch.cosine_similarity(start, sae.directions, dim=0).abs().mean())
    return rounded(torch.stack(cosines).mean())


def features_part(run: Run, stage: int) -> dict:
    """SAEs of one stage: trained, scored for colour and stability, audited, compared with each other."""
    sizes = run.sizes
    saes = _train_saes(run, stage, range(sizes.sae_seeds))
    run.save(f"saes_{stage}", {f"{at}.{key}": t for at, sae in enumerate(saes) for key, t in _state(sae)})
    every = run.streams(run.score.games, stage, seed=len(run.score.games))
    x, new_x = run.score.rows(every), run.rows(run.new, stage)
    all_rows = every.flatten(0, 1) if run.protocol.ended_rows else None
    quality = [_quality(sae, new_x) for sae in saes]
    found, tables = score_features(saes, x, run.score, all_rows=all_rows)
    run.save_tables(f"features_{stage}", tables)
    result = {"quality": quality, "cosine_with_start": _moved(saes, run.protocol, stage), **found}
    few = x[torch.from_numpy(run.score.game < sizes.sparse_games)]
    result["agreement"] = agreement(saes, few)
    halves = [_train_saes(run, stage, [50 + at], games=run.split[0][at::2])[0] for at in range(2)]
    result["agreement of halves"] = agreement(halves, few)
    result["audit"] = _audit(run, saes[0], x, new_x)
    result["clocks"] = [
        [entry for entry in of_seed if entry["edge_tiles"] >= CLOCK_TILES]
        for of_seed in result["stability"]["features"]
    ]
    return result


def _audit(run: Run, sae, x, new_x) -> dict:
    codes = sae.encode(x), sae.encode(new_x)
    return audit_features(
        codes[0], run.score, codes[1], run.new, run.sizes.n_resamples, run.sizes.sparse_games
    )


def _state(sae):
    return [("weight", sae.directions.detach()), ("bias", sae.bias.detach())]


@torch.no_grad()
def _quality(sae, x: torch.Tensor) -> dict:
    """L0, explained variance and dead features on rows x."""
    code = sae.encode(x)
    missed = (x - sae.decode(code)).double().square().sum() / (x - x.mean(0)).double().square().sum()
    active = (code > 0).double().mean(0)
    return {
        "l0": rounded(active.sum()),
        "explained_variance": rounded(1 - missed),
        "dead_fraction": rounded((active == 0).double().mean()),
    }


def control_features_part(run: Run, stage: int) -> dict:
    """The same on the network with random weights, its streams made as large as the trained ones."""
    model, scale = run.random_model, run.control_scale(stage)
    saes = _train_saes(run, stage, range(run.sizes.control_seeds), model, scale=scale)
    every = scale * run.streams(run.score.games, stage, model, seed=len(run.score.games))
    x, new_x = run.score.rows(every), scale * run.rows(run.new, stage, model)
    all_rows = every.flatten(0, 1) if run.protocol.ended_rows else None
    found, _ = score_features(saes, x, run.score, all_rows=all_rows)
    result = {"quality": [_quality(sae, new_x) for sae in saes], **found}
    result["audit"] = _audit(run, saes[0], x, new_x)
    return result


def sae_quirks_part(run: Run, stage: int) -> dict:
    """What each quirk does to Figs. 3 and 5: SAEs of one stage by the corrected protocol with it alone."""
    result = {}
    for name, quirk in SAE_QUIRKS.items():
        protocol = replace(CORRECTED, **quirk)
        saes = _train_saes(run, stage, range(run.sizes.control_seeds), protocol=protocol)
        scored = sample(run.games_for(protocol)[1], protocol)
        every = streams(run.model, scored.games, [stage], protocol.dropout, 1)[0]
        all_rows = every.flatten(0, 1) if protocol.ended_rows else None
        found, _ = score_features(saes, scored.rows(every), scored, within=False, all_rows=all_rows)
        result[name] = {
            "colour_above": found["colour"]["n_above"],
            "colour_top": found["colour"]["top"],
            "stability_above": found["stability"]["n_above"],
            "stability_best": found["stability"]["best"],
            "most_tiles": [of[0]["tiles"] if of else 0 for of in found["stability"]["features"]],
            "quality": [_quality(sae, scored.rows(every)) for sae in saes],
            "cosine_with_start": _moved(saes, protocol, stage),
        }
    return result


def rivals_part(run: Run) -> dict:
    """Scores that know nothing of a network, audited as the features are."""
    return audit_rivals(run.new, run.sizes.n_resamples)


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
        stack = SparseAutoencoder(d_model, n_features, range(len(prices)), prices, squared)
        saes = run.fit(stack, x, **settings).unstack()
        return min(saes, key=lambda sae: abs(_quality(sae, few_x)["l0"] - k))

    def train_on_x(sae):
        return run.fit(sae, x, **settings)

    told, few_told = (torch.from_numpy(part.rows(part.labels)) for part in (train, few))
    means = MeanDictionary().fit(x, told)
    exact = MeanDictionary(least_squares=True).fit(few_x, few_told)
    rivals = {
        "PCA": principal_directions(x),
        "residual dimensions": both_signs(torch.eye(d_model)),
        "random directions": random_directions(d_model, n_features, 0),
        "supervised directions": means.atoms,
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
        if isinstance(one, SparseAutoencoder) and hasattr(one, "l1"):
            result[name]["price"] = rounded(one.l1) if name.startswith("ReLU") else None

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
        "board_f1": rounded(board_reader(code, labels).score(new_code, new_labels)),
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
        return {"accuracy": rounded(right.mean()), "balanced": rounded(balanced(read, answers))}

    result = {
        name: {str(k): shares(SparseProbe(k).fit(code, labels).predict(new_code)) for k in SPARSE_K}
        for name, (code, new_code) in sources.items()
    }
    result["linear probe"] = {"all": shares(LinearProbe().fit(x[None], labels).predict(new_x[None])[0])}
    return result


# The list --------------------------------------------------------------------------------------------


def parts(protocol: Protocol, n_layer: int) -> dict[str, tuple[Callable[[Run], dict], float]]:
    """{name: (function, share of the time)} in the order in which they run."""
    stages = protocol.stages(n_layer)
    listed = {"model": (model_part, 0.1), "rivals": (rivals_part, 1.0)}

    def add(name, function, stage, share):
        listed[f"{name}/{stage}"] = (lambda run: function(run, stage), share)

    if protocol.norm_over_time:
        listed["published_probes"] = (published_probes_part, 8.0)
    else:
        listed["majority"] = (majority_part, 0.2)
        for stage in stages:
            add("probes", probes_part, stage, 1.0)
    listed["neurons"] = (neurons_part, 0.1)
    for stage in stages:
        add("features", features_part, stage, 4.0)
        add("control_features", control_features_part, stage, 1.5)
    if protocol.wrong_axis:
        for stage in (1, n_layer // 2):
            add("sae_quirks", sae_quirks_part, stage, 4.0)
    else:
        for stage in sorted({1, n_layer // 2 + 1, n_layer}):
            add("dictionaries", dictionaries_part, stage, 5.0)
            add("sparse_probes", sparse_probes_part, stage, 2.0)
    return listed
