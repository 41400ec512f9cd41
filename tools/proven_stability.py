"""What does the stream know of proven stability beyond the true board? Writes results/proven_stability.json.

    .venv/bin/python tools/proven_stability.py

Every reader is fitted on the same games, asked the same question (is this disc proven stable, on tiles that
are taken) and judged on the same other games by chapter 9's strictest comparison: AUROC at the same move
among boards where the tile is taken. Rivals read the true board, never the network. Two made-up streams show
what the instrument finds: in one, all that is not linear in the true board comes from another game; in the
other, proven stability of a few tiles was added to that, with noise, one direction each.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from othello_edu.activations import residual_streams
from othello_edu.board import parse_square
from othello_edu.engine import EMPTY
from othello_edu.files import atomic_write
from othello_edu.games import Games, random_games, replay
from othello_edu.labels import contents
from othello_edu.model import GPT
from othello_edu.pretrained import load_pretrained
from othello_edu.probes import LinearProbe
from othello_edu.reproduction.places import INTERIOR, SIDES
from othello_edu.reproduction.results import rounded
from othello_edu.reproduction.run import fingerprint
from othello_edu.scoring import auroc_resampled
from othello_edu.stability import stable_sound

RESULTS = Path(__file__).parent.parent / "results" / "proven_stability.json"
MODEL = "small"
PLIES = range(4, 56)  # rows: the boards after moves 5 to 56, as in chapter 9
SEEDS = {"fit": 911, "choose": 912, "judge": 913}
GAMES = {"fit": 2000, "choose": 250, "judge": 500}
SIZES = {"linear": (250, 500, 1000, 2000), "hidden layers": (500, 2000)}  # games that are fitted on
EPOCHS = {"linear": (3, 6, 12), "hidden layers": (5, 10, 20)}  # differences are of the longest, on all games
WHO_READS = {
    "linear": ("the stream", "taken tiles", "colours", "colours and legal moves"),
    "hidden layers": ("the stream", "colours"),
}
DIFFERENCES = [
    ("the stream, linear", "taken tiles, linear"),
    ("the stream, linear", "colours, linear"),
    ("the stream, linear", "colours and legal moves, linear"),
    ("the stream, linear", "colours, hidden layers"),
    ("the stream, hidden layers", "colours, hidden layers"),
    ("without, linear", "colours, linear"),
    ("planted, linear", "colours, linear"),
]
PLACES = {"sides": SIDES, "inside": INTERIOR}
PLANTED = [parse_square(name) for name in ("d1", "h5", "e8", "a4", "c2", "f3", "c6", "f7")]
N_RESAMPLES = 200


class Sample:
    """Games that last long enough, and what is true at each of their positions, one row each.

    Attributes:
        taken: bool [n, 64].
        stable: bool [n, 64], proven stable.
        labels: int8 [n, 64], 1 proven stable, 0 not, -1 where the tile is empty.
        facts: float32 [n, k], by name: what a rival reads of the true board.
        ply, game: int [n].
    """

    def __init__(self, games: Games):
        self.games = games[games.lengths >= PLIES.stop]
        positions = replay(self.games)
        boards = positions.boards[:, PLIES].reshape(-1, 64)
        self.taken, self.stable = boards != EMPTY, stable_sound(boards)
        self.labels = np.where(self.taken, self.stable, -1).astype(np.int8)
        owner = contents(positions)[:, PLIES].reshape(-1, 64, 1)
        n_plies = len(PLIES)
        self.ply = np.tile(np.arange(n_plies), len(self.games))
        self.game = np.repeat(np.arange(len(self.games)), n_plies)
        moves_played = np.eye(n_plies)[self.ply]
        colours = np.hstack([(owner == np.arange(3)).reshape(-1, 192), moves_played])
        self.facts = {
            "taken tiles": np.hstack([self.taken, moves_played]),
            "colours": colours,
            "colours and legal moves": np.hstack([colours, positions.legal[:, PLIES].reshape(-1, 64)]),
        }
        self.facts = {name: torch.tensor(array, dtype=torch.float32) for name, array in self.facts.items()}

    def rows(self, n_games: int) -> slice:
        """Rows of the first games."""
        return slice(0, n_games * len(PLIES))


def linear(x, labels, new_x, epochs):
    """Scores of a linear probe for the labels, [m, 64]."""
    logits = LinearProbe(epochs=epochs).fit(x[None], labels).logits(new_x[None])[0]
    return (logits[..., 1] - logits[..., 0]).numpy()


def hidden_layers(x, labels, new_x, epochs, width=512):
    """Scores of a network with two hidden layers, [m, 64]."""
    torch.manual_seed(0)
    mean, spread = x.mean(0), x.std(0).clamp(min=1e-2)
    x, new_x = (x - mean) / spread, (new_x - mean) / spread
    net = torch.nn.Sequential(
        *(torch.nn.Linear(x.shape[1], width), torch.nn.ReLU()),
        *(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 64)),
    )
    y = torch.from_numpy(labels).float()
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    n_steps = epochs * -(-len(x) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, n_steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(256):
            known = y[rows] >= 0
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x[rows])[known], y[rows][known])
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
    with torch.no_grad():
        return net(new_x).numpy()


READERS = {"linear": linear, "hidden layers": hidden_layers}


def judged(scores: np.ndarray, sample: Sample, n_resamples: int = N_RESAMPLES) -> np.ndarray:
    """AUROC at the same move where the tile is taken, [1 + resamples, 64]; always the same draws of games."""
    return auroc_resampled(
        scores, sample.stable, sample.game, 0, sample.ply, among=sample.taken, n_resamples=n_resamples
    )


def summary(table: np.ndarray, tiles) -> dict:
    """Mean over tiles of a table [1 + resamples, 64], and its 95% interval."""
    mean = np.nanmean(table[:, tiles], axis=1)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return {"mean": rounded(mean[0]), "low": rounded(low), "high": rounded(high)}


def of_places(table: np.ndarray) -> dict:
    return {name: summary(table, tiles) for name, tiles in PLACES.items()}


def made_up_streams(streams: dict, samples: dict[str, Sample]) -> dict[str, dict]:
    """Two streams like a true one: without and with proven stability.

    The part of the stream that is linear in colours and plies stays; the rest is that of the next game at the
    same ply, which has the same spread and knows nothing of this game.

    Args:
        streams: float32 [n, d] of "fit" and "judge".
        samples: likewise.

    Returns:
        By name, streams like those given.
    """
    facts = {part: samples[part].facts["colours"] for part in streams}
    solution = torch.linalg.lstsq(facts["fit"], streams["fit"], driver="gelsd").solution
    random = torch.Generator().manual_seed(0)
    d_model = streams["fit"].shape[1]
    directions = torch.nn.functional.normalize(torch.randn(len(PLANTED), d_model, generator=random), dim=1)
    length = (streams["fit"] - streams["fit"].mean(0)).norm(dim=1).mean()
    without, planted = {}, {}
    for part, stream in streams.items():
        read = facts[part] @ solution
        without[part] = read + (stream - read).roll(len(PLIES), 0)
        stable = torch.from_numpy(samples[part].stable[:, PLANTED]).float()
        noisy = stable + 0.5 * torch.randn(stable.shape, generator=random)
        planted[part] = without[part] + length * noisy @ directions
    return {"without": without, "planted": planted}


def measure(model: GPT, games=GAMES, sizes=SIZES, epochs=EPOCHS) -> dict:
    """All that is measured on one network: see the head of this file."""
    samples = {part: Sample(random_games(n, seed=SEEDS[part])) for part, n in games.items()}
    fit, choose, judge = samples.values()
    stages = range(model.config.n_layer + 1)
    streams = {part: residual_streams(model, of.games, stages, PLIES) for part, of in samples.items()}
    streams = {part: of.flatten(1, 2).float() for part, of in streams.items()}

    of_stages = []
    for stage in stages:
        both = torch.cat([streams["choose"][stage], streams["judge"][stage]])
        scores = linear(streams["fit"][stage], fit.labels, both, epochs["linear"][-1])
        on_choose, on_judge = np.split(scores, [len(choose.ply)])
        chosen_by = np.nanmean(judged(on_choose, choose, 0)[0, np.hstack([SIDES, INTERIOR])])
        of_stages.append({"chosen_by": rounded(chosen_by)} | of_places(judged(on_judge, judge)))
        print("stage", stage, of_stages[-1], flush=True)
    best = int(np.argmax([of["chosen_by"] for of in of_stages]))

    inputs = {"the stream": {part: streams[part][best] for part in ("fit", "judge")}}
    inputs |= {name: {part: samples[part].facts[name] for part in inputs["the stream"]} for name in fit.facts}
    made_up = made_up_streams(inputs["the stream"], samples)
    readings, tables = [], {}

    def read(name, x, reader, n_games, n_epochs):
        rows = fit.rows(n_games)
        scores = READERS[reader](x["fit"][rows], fit.labels[rows], x["judge"], n_epochs)
        tables[name, reader] = judged(scores, judge)
        readings.append({"reads": name, "reader": reader, "games": n_games, "epochs": n_epochs})
        readings[-1] |= of_places(tables[name, reader])
        print(readings[-1], flush=True)

    for reader, names in WHO_READS.items():
        for name in names:
            for n_games in sizes[reader][:-1]:
                read(name, inputs[name], reader, n_games, epochs[reader][-1])
            for n_epochs in epochs[reader]:
                read(name, inputs[name], reader, sizes[reader][-1], n_epochs)
    for name, streams_of_it in made_up.items():
        read(name, streams_of_it, "linear", sizes["linear"][-1], epochs["linear"][-1])
    known = {f"{name}, {reader}": table for (name, reader), table in tables.items()}
    return {
        "games": {part: len(of.games) for part, of in samples.items()},
        "stages": of_stages,
        "best_stage": best,
        "readings": readings,
        "differences": {
            f"{one} - {other}": of_places(known[one] - known[other])
            | {"planted": summary(known[one] - known[other], PLANTED)}
            for one, other in DIFFERENCES
        },
    }


def main() -> int:
    model = load_pretrained(MODEL)
    results = {"model": MODEL, "weights_sha256": fingerprint(model)} | measure(model)
    with atomic_write(RESULTS, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
