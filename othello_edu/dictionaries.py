"""How good is a dictionary of features? The panel of numbers, the rivals, and the yardstick.

A *dictionary* turns a residual stream into activations of features and back: an SAE does, and so does
anything with `encode` and `decode`. An SAE has found something only where it does better than rivals that
had nothing to find, at the same number of active features; `Directions` makes such rivals of PCA, of single
dimensions, of MLP neurons, of random vectors. `MeanDictionary` is the yardstick: it is told the truth. Names
and shapes are those of SAEs: W_dec [n_features, d_model] and b_dec [d_model] rebuild a stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from . import checks
from .activations import residual_streams
from .directions import finite_rows
from .errors import OthelloEduError
from .games import PADDING, Games, batches, checked, next_tokens, tokens
from .labels import MINE, THEIRS
from .model import GPT, checked_model
from .sae import keep_largest

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

    dictionary: an SAE, or anything with `d_model`, `encode` (rows [n, …] -> feature_acts [n, n_features]) and
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
        feature_acts = dictionary.encode(source[part].flatten(0, 1))
        active = active + (feature_acts[counted[part].flatten()] > 0).double().sum(0)
        rebuilt[part] = dictionary.decode(feature_acts).view_as(x[part])
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

    directions [d_source, n_features], of length 1 each, become W_enc. After `fit`: mean [d_source], which is
    taken away from what is read, and the decoder that makes the most of the activations by least squares:
    W_dec [n_features, d_model] and b_dec [d_model].
    """

    def __init__(self, directions: torch.Tensor, k: int):
        directions, k = (
            finite_rows("directions", directions, "d_source", "n_features"),
            checks.integer("k", k),
        )
        if not 1 <= k <= directions.shape[1]:
            raise OthelloEduError(f"k is {k}; there are {directions.shape[1]} directions")
        self.W_enc, self.k = directions.float(), k

    def fit(self, x: torch.Tensor, source: torch.Tensor | None = None) -> "Directions":
        """x [n, d_model]: streams to rebuild. source [n, d_source]: what is read, x itself by default."""
        x = finite_rows("x", x, "n", "d_model")
        source = x if source is None else finite_rows("source", source, len(x), len(self.W_enc))
        checks.shape("source", source, len(x), len(self.W_enc))
        self.mean = source.mean(0)
        self.W_dec, self.b_dec = _least_squares(map(self.encode, source.split(_PART)), x.split(_PART))
        return self

    @property
    def d_model(self) -> int:
        """Dimensions that it writes."""
        return self.W_dec.shape[1]

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """[n, d_source] -> [n, n_features], at most k above 0."""
        source = checks.reals("source", source, "…", len(self.W_enc))
        return keep_largest((source - self.mean) @ self.W_enc, self.k)

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """[n, n_features] -> [n, d_model]."""
        return feature_acts @ self.W_dec + self.b_dec


def _contents(labels, *axes) -> torch.Tensor:
    """Contents of squares as a tensor; masked ones (-1) are neither mine nor theirs."""
    checked = checks.integers("labels", labels, *axes, low=-1, high=THEIRS)
    return labels if torch.is_tensor(labels) else torch.from_numpy(np.ascontiguousarray(checked))


class MeanDictionary:
    """A dictionary that is told what lies where: its activations are the truth, its directions means.

    One feature for each square and content (mine, theirs), active where that is so; what it adds is the mean
    of the streams where it is, less the mean of all (Makelov et al., 2024). `least_squares` takes what
    rebuilds the streams best instead: means count what squares have in common once for each of them.

    After `fit`: W_dec [2 · n_squares, d_model], b_dec [d_model]. Features: all mine, then all theirs.
    """

    def __init__(self, least_squares: bool = False):
        self.least_squares = checks.kind_of("least_squares", least_squares, bool, "True or False")

    def fit(self, x: torch.Tensor, labels: torch.Tensor) -> "MeanDictionary":
        """x [n, d_model]; labels int [n, n_squares], contents in 0..2, none of them masked."""
        x = finite_rows("x", x, "n", "d_model")
        labels = _contents(labels, len(x), "n_squares")
        if self.least_squares:
            parts = map(self.encode, labels.split(_PART))
            self.W_dec, self.b_dec = _least_squares(parts, x.split(_PART))
            return self
        feature_acts = self.encode(labels)
        self.b_dec = x.mean(0)
        count = feature_acts.sum(0)[:, None]
        # An attribute that is never there adds nothing.
        self.W_dec = torch.where(count > 0, feature_acts.T @ x / count.clamp(min=1) - self.b_dec, 0.0)
        return self

    @property
    def d_model(self) -> int:
        """Dimensions that it writes."""
        return self.W_dec.shape[1]

    @property
    def directions(self) -> torch.Tensor:
        """Where each feature points, a column of length 1 each, [d_model, 2 · n_squares]."""
        return F.normalize(self.W_dec.T, dim=0)

    def encode(self, labels: torch.Tensor) -> torch.Tensor:
        """[n, n_squares] -> [n, 2 · n_squares], 0 or 1."""
        labels = _contents(labels, "…", "n_squares")
        return torch.cat([labels == MINE, labels == THEIRS], dim=-1).float()

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """[n, 2 · n_squares] -> [n, d_model]."""
        return feature_acts @ self.W_dec + self.b_dec


def _least_squares(parts, xs) -> tuple[torch.Tensor, torch.Tensor]:
    """W_dec [n_features, d_model] and b_dec [d_model] with the smallest ‖feature_acts W_dec + b_dec − x‖²."""
    squares = products = 0.0
    for feature_acts, x in zip(parts, xs, strict=True):
        with_one = torch.cat([feature_acts, torch.ones(len(x), 1)], dim=1).double()
        squares = squares + with_one.T @ with_one
        products = products + with_one.T @ x.double()
    # Features can depend on each other or be silent: the smallest of the solutions.
    solution = (torch.linalg.pinv(squares, hermitian=True, rtol=1e-8) @ products).float()
    return solution[:-1], solution[-1]


# Agreement -------------------------------------------------------------------------------------------


def best_correlations(feature_acts: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """For each feature, its largest correlation with any of another dictionary's, on the same rows.

    feature_acts [n, f], others [n, g] -> [f]. NaN for a feature that is constant on these rows. It compares
    when features are active, where `directions.best_cosines` compares what they write.
    """
    feature_acts = finite_rows("feature_acts", feature_acts, "n", "f")
    others = finite_rows("others", others, "n", "g")
    if len(feature_acts) != len(others):
        raise OthelloEduError(
            f"feature_acts and others have {len(feature_acts)} and {len(others)} rows; "
            "they must be the same rows"
        )

    def standard(acts):
        centred = acts - acts.mean(0)
        length = torch.linalg.vector_norm(centred, dim=0)
        return centred / length, length > 0

    (standard_acts, varies), (standard_others, others_vary) = standard(feature_acts), standard(others)
    table = standard_acts.T @ standard_others[:, others_vary]
    best = table.amax(1) if table.shape[1] else table.new_full((len(table),), torch.nan)
    return torch.where(varies, best, torch.nan)
