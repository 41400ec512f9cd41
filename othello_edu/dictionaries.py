"""How good is a dictionary of features? The panel of numbers, the rivals, and the yardstick.

A *dictionary* turns a residual stream into activations of features, its *code*, and back: an SAE does, and so
does anything with `encode` and `decode`. An SAE has found something only where it does better than rivals
that had nothing to find, at the same number of active features; `Directions` makes such rivals of PCA, of
single dimensions, of MLP neurons, of random vectors. `MeanDictionary` is the yardstick: it is told the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from . import checks
from .activations import residual_streams
from .errors import OthelloEduError
from .games import PADDING, Games, batches, checked, next_tokens, tokens
from .labels import MINE, THEIRS
from .model import GPT, checked_model
from .sae import keep_largest, random_matrix

_PART = 8192  # rows encoded at a time

# The panel -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Panel:
    """What is reported of every dictionary, never one number alone.

    l0: mean number of active features. explained_variance: 1 − ‖x − x̂‖² / ‖x − mean‖². dead_fraction:
    share of features that are never active on these rows. density: float64 [n_features], share of
    rows on which each feature is active. loss, loss_spliced, loss_ablated: the model's next-move loss
    (nats) as it is, with the reconstruction in place of the stage, and with the stage's mean in its
    place. loss_recovered: share of the way from ablated back to the model's own, 1 is perfect.
    """

    l0: float
    explained_variance: float
    dead_fraction: float
    density: np.ndarray
    loss: float
    loss_spliced: float
    loss_ablated: float

    @property
    def loss_recovered(self) -> float:
        """1 where splicing costs nothing, 0 where it costs what the mean costs; NaN if that is nothing."""
        if self.loss_ablated == self.loss:
            return float("nan")
        return (self.loss_ablated - self.loss_spliced) / (self.loss_ablated - self.loss)


@torch.no_grad()
def panel(
    model: GPT,
    dictionary,
    stage: int,
    games: Games,
    plies: Sequence[int] | None = None,
    batch_size: int = 256,
    source: torch.Tensor | None = None,
) -> Panel:
    """Judge a dictionary of a stage on games that it was not fitted on.

    dictionary: an SAE, or anything with `d_model`, `encode` (rows [n, …] -> code [n, n_features]) and
    `decode` (-> [n, d_model]). plies: which rows are replaced and counted, as in `residual_streams`, all by
    default; give those that the dictionary was fitted on. Of these, every position that is followed by a
    move counts. source: what `encode` reads in place of the stream, [n_games, time, …]: neurons, or labels.

    Raises OthelloEduError for a stage or plies that the model does not have, or another width.
    """
    checked_model(model), checked(games)
    batch_size = checks.integer("batch_size", batch_size, 1)
    if not all(hasattr(dictionary, name) for name in ("d_model", "encode", "decode")):
        shown = checks.shown(dictionary)
        raise OthelloEduError(f"dictionary is {shown}; it must have d_model, encode and decode, as SAEs do")
    if dictionary.d_model != model.config.d_model:
        raise OthelloEduError(
            f"the dictionary reads {dictionary.d_model} dimensions; the model has {model.config.d_model}"
        )
    model.eval()
    time = checks.places("plies", plies, model.config.n_ctx)
    if not time or len(set(time)) < len(time):
        raise OthelloEduError(f"plies are {time}; give at least one, and each of them once")
    x = residual_streams(model, games, [stage], time, batch_size=batch_size)[0]
    source = x if source is None else checks.reals("source", source)
    if source.shape[:2] != x.shape[:2]:
        raise OthelloEduError(
            f"source has shape {list(source.shape)}; these games and plies need {list(x.shape[:2])} + […]"
        )
    counted = next_tokens(games)[:, time] != PADDING
    if not counted.any():
        raise OthelloEduError(f"{games} has no position at these plies that is followed by a move")
    if not checks.is_finite(source[counted]):
        raise OthelloEduError("source holds numbers that are not finite, at positions that count")
    rebuilt = torch.empty_like(x)
    active, n_games = 0.0, max(1, _PART // len(time))
    for start in range(0, len(games), n_games):
        part = slice(start, start + n_games)
        code = dictionary.encode(source[part].flatten(0, 1))
        active = active + (code[counted[part].flatten()] > 0).double().sum(0)
        rebuilt[part] = dictionary.decode(code).view_as(x[part])
    mean = x[counted].mean(0)
    density = (active / int(counted.sum())).numpy()
    squared_error = (x - rebuilt)[counted].double().square().sum()
    replacements = {"loss": None, "loss_spliced": rebuilt, "loss_ablated": mean.expand_as(x)}
    return Panel(
        l0=float(density.sum()),
        explained_variance=1 - float(squared_error / (x[counted] - mean).double().square().sum()),
        dead_fraction=float((density == 0).mean()),
        density=density,
        **{name: _loss(model, games, stage, time, put, batch_size) for name, put in replacements.items()},
    )


def _loss(model, games, stage, time, replacement, batch_size):
    total, count, device = 0.0, 0, next(model.parameters()).device
    for number, batch in enumerate(batches(games, batch_size)):

        def put(value, first=number * batch_size):
            value = value.clone()
            value[:, time] = replacement[first : first + len(value)].to(value)
            return value

        targets = next_tokens(batch)[:, time]
        edits = {} if replacement is None else {("resid_post", stage): put}
        logits = model(tokens(batch).to(device), edits=edits)[:, time].cpu()
        total += F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="sum"
        ).item()
        count += int((targets != PADDING).sum())
    return total / count


# Rivals ----------------------------------------------------------------------------------------------


class Directions:
    """Features that are nothing but directions: the k largest projections of a row are active.

    directions [d_source, n_features], of length 1 each. After `fit`: mean [d_source], and the decoder that
    makes the most of the code: weight [n_features, d_model] and centre [d_model], by least squares.
    """

    def __init__(self, directions: torch.Tensor, k: int):
        directions, k = _finite("directions", directions, "d_source", "n_features"), checks.integer("k", k)
        if not 1 <= k <= directions.shape[1]:
            raise OthelloEduError(f"k is {k}; there are {directions.shape[1]} directions")
        self.directions, self.k = directions.float(), k

    def fit(self, x: torch.Tensor, source: torch.Tensor | None = None) -> "Directions":
        """x [n, d_model]: streams to rebuild. source [n, d_source]: what is read, x itself by default."""
        x = _finite("x", x, "n", "d_model")
        source = x if source is None else _finite("source", source, len(x), len(self.directions))
        checks.shape("source", source, len(x), len(self.directions))
        self.mean = source.mean(0)
        self.weight, self.centre = _least_squares(map(self.encode, source.split(_PART)), x.split(_PART))
        return self

    @property
    def d_model(self) -> int:
        """Dimensions that it writes."""
        return self.weight.shape[1]

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """[n, d_source] -> [n, n_features], at most k above 0."""
        source = checks.reals("source", source, "…", len(self.directions))
        return keep_largest((source - self.mean) @ self.directions, self.k)

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """[n, n_features] -> [n, d_model]."""
        return code @ self.weight + self.centre


def both_signs(directions: torch.Tensor) -> torch.Tensor:
    """Each direction, and then each one's opposite: [d, n] -> [d, 2 n]. Activations are never negative."""
    directions = checks.reals("directions", directions, "d", "n")
    return torch.cat([directions, -directions], dim=1)


def principal_directions(x: torch.Tensor) -> torch.Tensor:
    """Both signs of the principal components of rows x [n, d], largest first, [d, 2 d]."""
    x = _finite("x", x, "n", "d")
    x = (x - x.mean(0)).double()
    return both_signs(torch.linalg.eigh(x.T @ x).eigenvectors.flip(1).float())


def random_directions(d: int, n: int, seed: int) -> torch.Tensor:
    """n random directions [d, n] of length 1."""
    return F.normalize(random_matrix(d, n, checks.seed("seed", seed)), dim=0)


def _finite(name, values, *axes) -> torch.Tensor:
    """Finite floats of a shape, with at least one row."""
    values = checks.reals(name, values, *axes)
    if len(values) == 0:
        raise OthelloEduError(f"{name} have no rows; at least one is needed")
    return checks.finite(name, values if values.dtype.is_floating_point else values.float())


def _contents(labels, *axes) -> torch.Tensor:
    """Contents of squares as a tensor; masked ones (-1) are neither mine nor theirs."""
    checked = checks.integers("labels", labels, *axes, low=-1, high=THEIRS)
    return labels if torch.is_tensor(labels) else torch.from_numpy(np.ascontiguousarray(checked))


class MeanDictionary:
    """A dictionary that is told what lies where: its code is the truth, its atoms are means.

    One feature for each square and content (mine, theirs), active where that is so; its atom is the mean of
    the streams where it is, less the mean of all (Makelov et al., 2024). `least_squares` takes the atoms
    that rebuild the streams best instead: means count what squares have in common once for each of them.

    After `fit`: weight [2 · n_squares, d_model], centre [d_model]. Features: all mine, then all theirs.
    """

    def __init__(self, least_squares: bool = False):
        self.least_squares = checks.kind_of("least_squares", least_squares, bool, "True or False")

    def fit(self, x: torch.Tensor, labels: torch.Tensor) -> "MeanDictionary":
        """x [n, d_model]; labels int [n, n_squares], contents in 0..2, none of them masked."""
        x = _finite("x", x, "n", "d_model")
        labels = _contents(labels, len(x), "n_squares")
        if self.least_squares:
            codes = map(self.encode, labels.split(_PART))
            self.weight, self.centre = _least_squares(codes, x.split(_PART))
            return self
        code = self.encode(labels)
        self.centre = x.mean(0)
        count = code.sum(0)[:, None]
        # An attribute that is never there adds nothing.
        self.weight = torch.where(count > 0, code.T @ x / count.clamp(min=1) - self.centre, 0.0)
        return self

    @property
    def d_model(self) -> int:
        """Dimensions that it writes."""
        return self.weight.shape[1]

    @property
    def atoms(self) -> torch.Tensor:
        """The atoms as directions of length 1, [d_model, 2 · n_squares], for `Directions`."""
        return F.normalize(self.weight.T, dim=0)

    def encode(self, labels: torch.Tensor) -> torch.Tensor:
        """[n, n_squares] -> [n, 2 · n_squares], 0 or 1."""
        labels = _contents(labels, "…", "n_squares")
        return torch.cat([labels == MINE, labels == THEIRS], dim=-1).float()

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """[n, 2 · n_squares] -> [n, d_model]."""
        return code @ self.weight + self.centre


def _least_squares(codes, xs) -> tuple[torch.Tensor, torch.Tensor]:
    """weight [n_features, d_model] and centre [d_model] with the smallest ‖code weight + centre − x‖²."""
    squares = products = 0.0
    for code, x in zip(codes, xs, strict=True):
        with_one = torch.cat([code, torch.ones(len(code), 1)], dim=1).double()
        squares = squares + with_one.T @ with_one
        products = products + with_one.T @ x.double()
    # Features can depend on each other or be silent: the smallest of the solutions.
    solution = (torch.linalg.pinv(squares, hermitian=True, rtol=1e-8) @ products).float()
    return solution[:-1], solution[-1]


# Agreement -------------------------------------------------------------------------------------------


def best_cosines(directions: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """For each direction, the largest cosine with any of the others: [d, n], [d, m] -> [n]."""
    directions = _finite("directions", directions, "d", "n")
    others = _finite("others", others, len(directions), "m")
    if others.shape[1] == 0:
        raise OthelloEduError("others hold no directions to compare with")
    return (F.normalize(directions, dim=0).T @ F.normalize(others, dim=0)).amax(1)


def best_correlations(code: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """For each feature, its largest correlation with any of the other code's, on the same rows.

    code [n, f], other [n, g] -> [f]. NaN for a feature that is constant on these rows.
    """
    code, other = _finite("code", code, "n", "f"), _finite("other", other, "n", "g")
    if len(code) != len(other):
        raise OthelloEduError(f"the codes have {len(code)} and {len(other)} rows; they must be the same rows")

    def standard(code):
        centred = code - code.mean(0)
        length = torch.linalg.vector_norm(centred, dim=0)
        return centred / length, length > 0

    (one, varies), (two, other_varies) = standard(code), standard(other)
    table = one.T @ two[:, other_varies]
    best = table.amax(1) if table.shape[1] else table.new_full((len(table),), torch.nan)
    return torch.where(varies, best, torch.nan)
