"""The parts of a run, each of which can be resumed by itself. A part takes a `Run` and returns plain data.

`PARTS` names them in order for each protocol; `run.py` runs them, keeps what they return, and draws it.
"""

from collections.abc import Callable
from dataclasses import dataclass
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
from .data import PLIES, Sample, first_blocks, sample, streams
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
from .protocol import COSINE_THRESHOLD, Protocol, Sizes
from .published import (
    BATCH_GAMES,
    RATE,
    WEIGHT_DECAY,
    PublishedProbe,
    PublishedSAE,
    batches_of_streams,
    cycled_rate,
)

SEED = 41  # of the games of a run
L1 = 0.077  # the paper's price
PRICES = (0.077, 0.12, 0.2, 0.3, 0.45, 0.7, 1.0)  # tried for an SAE of the paper's kind that is sparse
SPARSE_K = (1, 4, 16)


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
            torch.manual_seed(0)
            return GPT(self.model.config).to(next(self.model.parameters()).device).eval()

    @cached_property
    def split(self) -> tuple[Games, Games, Games]:
        """Games to fit on, to score and choose on, and new ones to report on; no game is in two."""
        sizes = self.sizes
        return split_games(sizes.train_games, sizes.score_games, sizes.new_games, seed=SEED)

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
    on_discs = np.where(labels > 0, labels, -1)
    return {
        **_of_games(accuracy(predicted, labels, by="game")),
        "discs": rounded(accuracy(predicted, on_discs)),
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

    def read(probe, labels, kind="mine/theirs", x=x, new_x=new_x):
        return _read(probe.fit(x, labels).predict(new_x)[0], answers[kind])

    main = LinearProbe(epochs=4)
    result = {"mine/theirs": read(main, asked["mine/theirs"])}
    for kind in ("black/white", "previous board", "stable_paper", "stable_sound"):
        result[kind] = read(LinearProbe(epochs=4), asked[kind], kind)
    result["no bias"] = read(LinearProbe(epochs=4, with_bias=False), asked["mine/theirs"])
    result["hidden layer"] = read(MLPProbe(epochs=4), asked["mine/theirs"])
    result["shuffled labels"] = read(LinearProbe(epochs=4), shuffled(asked["mine/theirs"], seed=0))
    random = (run.streams(part.games, stage, run.random_model)[None] for part in (given, run.new))
    result["random weights"] = read(LinearProbe(epochs=4), asked["mine/theirs"], "mine/theirs", *random)
    halves = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        halves.append(LinearProbe(epochs=4).fit(x[:, half], asked["mine/theirs"][half]).weight[0])
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
    games = random_games(run.sizes.probe_games, SEED + 1)
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
    corrected, a neuron's direction includes the gain of the LayerNorm before it. `threshold` scales the
    paper's 0.2, for 512 dimensions, to this width: the cosine that is as rare between random directions.
    """
    d_model = run.model.config.d_model
    scaled = COSINE_THRESHOLD * (512 / d_model) ** 0.5
    kind = CLASSES["empty" if run.protocol.probe_of_empty else "mine"]
    counts, at_scaled, chance, chance_scaled = [], [], [], []
    for index, block in enumerate(run.model.blocks):
        probe = run.load(f"probe_{index}")["weight"]
        reads = block.mlp.up.weight.detach().cpu()
        if run.protocol.neurons_by_dimension:
            reads = reads / reads.norm(dim=0, keepdim=True)
            directions = probe[:, kind]
        else:
            reads = torch.nn.functional.normalize(reads * block.ln_2.weight.detach().cpu(), dim=1)
            directions = _centred(probe)[:, kind]
        directions = torch.nn.functional.normalize(directions, dim=1)
        shuffled_reads = reads[:, torch.randperm(d_model, generator=torch.Generator().manual_seed(0))]
        for neurons, of, of_scaled in ((reads, counts, at_scaled), (shuffled_reads, chance, chance_scaled)):
            cosines = (neurons @ directions.T).abs()
            of.append((cosines > COSINE_THRESHOLD).sum(0).tolist())
            of_scaled.append((cosines > scaled).sum(0).tolist())
    return {
        "threshold": COSINE_THRESHOLD,
        "threshold_scaled": rounded(scaled),
        "per_tile": counts,
        "per_tile_scaled": at_scaled,
        "per_tile_shuffled": chance,
        "per_tile_shuffled_scaled": chance_scaled,
    }


# Figs. 3 and 5: SAEs ---------------------------------------------------------------------------------


def _train_saes(run: Run, stage: int, n: int, model: GPT | None = None) -> list:
    """The SAEs of one stage, a seed each, trained together."""
    sizes, protocol = run.sizes, run.protocol
    d_model, games = run.model.config.d_model, run.split[0]
    if protocol.wrong_axis:
        stack = PublishedSAE(d_model, 2 * d_model, range(n), L1)
        rows = len(PLIES) * BATCH_GAMES

        def anew(epoch):
            return run.streams(games, stage, model, seed=1000 + epoch)

        run.fit(stack, anew, sizes.sae_epochs, rows, RATE, 1337, cycled_rate, WEIGHT_DECAY)
    else:
        stack = SparseAutoencoder(d_model, 2 * d_model, [100 * stage + seed for seed in range(n)], L1)
        known = sample(games, protocol)
        run.fit(stack, run.rows(known, stage, model), sizes.sae_epochs, schedule=linear_fall)
    return stack.unstack()


def features_part(run: Run, stage: int) -> dict:
    """SAEs of one stage: trained, scored for colour and stability, audited, compared with each other."""
    saes = _train_saes(run, stage, run.sizes.sae_seeds)
    run.save(f"saes_{stage}", {f"{at}.{key}": t for at, sae in enumerate(saes) for key, t in _state(sae)})
    x, new_x = run.rows(run.score, stage), run.rows(run.new, stage)
    quality = [_quality(sae, new_x) for sae in saes]
    result = {"quality": quality, **score_features(saes, x, run.score)}
    few = run.score.game < run.sizes.sparse_games
    result["agreement"] = agreement(saes, x[few])
    result["audit"] = audit_features(
        saes[0].encode(x), run.score, saes[0].encode(new_x), run.new, run.sizes.n_resamples
    )
    result["clocks"] = [
        [entry for entry in found if entry["edge_tiles"] >= CLOCK_TILES]
        for found in result["stability"]["features"]
    ]
    return result


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
    """The same SAEs and scores on the network with random weights."""
    saes = _train_saes(run, stage, run.sizes.control_seeds, run.random_model)
    x, new_x = (run.rows(part, stage, run.random_model) for part in (run.score, run.new))
    result = {"quality": [_quality(sae, new_x) for sae in saes], **score_features(saes, x, run.score)}
    result["audit"] = audit_features(
        saes[0].encode(x), run.score, saes[0].encode(new_x), run.new, run.sizes.n_resamples
    )
    return result


def rivals_part(run: Run) -> dict:
    """Scores that know nothing of a network, audited as the features are."""
    return audit_rivals(run.new, run.sizes.n_resamples)


# Dictionaries side by side ---------------------------------------------------------------------------


def dictionaries_part(run: Run, stage: int) -> dict:
    """SAEs of every kind, their rivals at the same L0, and the yardstick: panel and board metrics."""
    d_model, sizes = run.model.config.d_model, run.sizes
    k, n_features = d_model // 4, 2 * d_model
    train = sample(run.split[0][: sizes.dictionary_games], run.protocol)
    few = sample(run.split[1][: sizes.new_games], run.protocol)  # to learn which features speak for what
    new, judged = run.new, run.split[2][: sizes.panel_games]
    x, few_x, new_x = (run.rows(part, stage) for part in (train, few, new))
    settings = dict(epochs=sizes.sae_epochs, schedule=linear_fall)

    def sparse_relu(squared):
        stack = SparseAutoencoder(d_model, n_features, range(len(PRICES)), PRICES, squared)
        saes = run.fit(stack, x, **settings).unstack()
        return min(saes, key=lambda sae: abs(_quality(sae, few_x)["l0"] - k))

    told = torch.from_numpy(train.rows(train.labels)).long()
    means, exact = MeanDictionary().fit(x, told), MeanDictionary(least_squares=True).fit(x, told)
    dictionaries = {
        "paper's SAE": _load_saes(run, stage)[0],
        "ReLU, sparser": sparse_relu(False),
        "ReLU, squared error": sparse_relu(True),
        "TopK": run.fit(TopK(d_model, n_features, k), x, **settings),
        "TopK, 4 times as many": run.fit(TopK(d_model, 4 * n_features, k), x, **settings),
        "JumpReLU": run.fit(JumpReLU(d_model, n_features, k), x, **settings),
        "PCA": Directions(principal_directions(x), k).fit(x),
        "residual dimensions": Directions(both_signs(torch.eye(d_model)), k).fit(x),
        "random directions": Directions(random_directions(d_model, n_features, 0), k).fit(x),
        "supervised directions": Directions(means.atoms, k).fit(x),
    }
    result = {
        name: _board_metrics(one.encode(few_x), few, one.encode(new_x), new)
        | _panel(run.model, one, stage, judged)
        for name, one in dictionaries.items()
    }

    cut = first_blocks(run.model, stage)

    def neurons(games):
        return mlp_activations(cut, games, [stage - 1], PLIES)[0]

    of_neurons = Directions(torch.eye(4 * d_model), k).fit(few_x, few.rows(neurons(few.games)))
    codes = (of_neurons.encode(part.rows(neurons(part.games))) for part in (few, new))
    result["MLP neurons"] = _board_metrics(next(codes), few, next(codes), new) | _panel(
        run.model, of_neurons, stage, judged, neurons(judged)
    )
    labels = torch.from_numpy(sample(judged, run.protocol).labels).long()
    for name, one in (("true attributes, means", means), ("true attributes, least squares", exact)):
        result[name] = _panel(run.model, one, stage, judged, labels)
    control = run.fit(TopK(d_model, n_features, k), run.rows(train, stage, run.random_model), **settings)
    codes = (control.encode(run.rows(part, stage, run.random_model)) for part in (few, new))
    result["TopK, random weights"] = _board_metrics(next(codes), few, next(codes), new) | _panel(
        run.random_model, control, stage, judged
    )
    return {"k": k, "dictionaries": result}


def _board_metrics(code, sample: Sample, new_code, new: Sample) -> dict:
    """Coverage and board reconstruction on new games; the reader is made on the others."""
    new_labels = new.rows(new.labels)
    return {
        "coverage": rounded(coverage(new_code, new_labels)),
        "board_f1": rounded(board_reader(code, sample.rows(sample.labels)).score(new_code, new_labels)),
    }


def _panel(model, dictionary, stage, games, source=None) -> dict:
    found = panel(model, dictionary, stage, games, PLIES, source=source)
    density = np.quantile(found.density, (0, 0.25, 0.5, 0.75, 1))
    return {
        "l0": rounded(found.l0),
        "explained_variance": rounded(found.explained_variance),
        "loss_recovered": rounded(found.loss_recovered),
        "dead_fraction": rounded(found.dead_fraction),
        "density_quartiles": round_all(density),
    }


def _load_saes(run: Run, stage: int) -> list[SparseAutoencoder]:
    tensors = run.load(f"saes_{stage}")
    saes = []
    for at in range(run.sizes.sae_seeds):
        weight, bias = tensors[f"{at}.weight"], tensors[f"{at}.bias"]
        sae = SparseAutoencoder(*weight.shape).requires_grad_(False)
        sae.weight.copy_(weight)
        sae.bias.copy_(bias)
        saes.append(sae.eval())
    return saes


# SAE against probe, on equal terms -------------------------------------------------------------------


def sparse_probes_part(run: Run, stage: int) -> dict:
    """How well k features read the board, {source: {k: …}}, beside the linear probe on the same rows."""
    d_model = run.model.config.d_model
    train = sample(run.split[0][: run.sizes.dictionary_games], run.protocol)
    given = sample(run.split[0][: run.sizes.sparse_games], run.protocol)
    x, new_x = run.rows(given, stage), run.rows(run.new, stage)
    topk = TopK(d_model, 2 * d_model, d_model // 4)
    run.fit(topk, run.rows(train, stage), epochs=run.sizes.sae_epochs, schedule=linear_fall)
    of_paper, cut = _load_saes(run, stage)[0], first_blocks(run.model, stage)
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
        return {"accuracy": rounded(right.mean()), "discs": rounded(right[answers > 0].mean())}

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
    if not protocol.wrong_axis:
        for stage in sorted({1, n_layer // 2 + 1, n_layer}):
            add("dictionaries", dictionaries_part, stage, 5.0)
            add("sparse_probes", sparse_probes_part, stage, 2.0)
    return listed
