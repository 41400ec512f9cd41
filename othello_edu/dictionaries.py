"""How good is a dictionary of features? The panel of numbers, the rivals, and the yardstick.

A *dictionary* turns a residual stream into activations of features and back: an SAE does, and so does
anything with `encode` and `decode`. An SAE has found something only where it does better than rivals that
had nothing to find, at the same number of active features; `Directions` makes such rivals of PCA, of single
dimensions, of MLP neurons, of random vectors. `MeanDictionary` is the yardstick: it is told the truth. Names
and shapes are those of SAEs: W_dec [n_features, d_model] and b_dec [d_model] rebuild a stream.

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
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


class _Dictionary(Protocol):
    """What can be judged: an SAE, `Directions`, `MeanDictionary`, or anything else that has these three."""

    @property
    def d_model(self) -> int:
        """Dimensions of the stream that it rebuilds."""

    def encode(self, rows: torch.Tensor, /) -> torch.Tensor:
        """Activations of what it reads, `rows` [n, …] -> [n, n_features]."""

    def decode(self, feature_acts: torch.Tensor, /) -> torch.Tensor:
        """The streams that `feature_acts` [n, n_features] describe, [n, d_model]."""


def _checked_dictionary(dictionary: _Dictionary) -> _Dictionary:
    if not all(hasattr(dictionary, name) for name in ("d_model", "encode", "decode")):
        shown = checks.shown(dictionary)
        raise OthelloEduError(f"dictionary is {shown}; it must have d_model, encode and decode, as SAEs do")
    return dictionary


@dataclass(frozen=True)
class Panel:
    """What is reported of every dictionary, never one number alone.

    Attributes:
        l0: mean number of active features.
        explained_variance: `1 − ‖x − x̂‖² / ‖x − mean‖²`.
        dead_fraction: share of features that are never active on these rows.
        density: float64 [n_features], share of rows on which each feature is active.
        loss: the model's next-move loss (nats) as it is.
        loss_spliced: that loss with the reconstruction in place of the stage.
        loss_ablated: that loss with the stage's mean in its place.
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
        """Share of the way from the ablated loss back to the model's own.

        1 where splicing costs nothing, 0 where it costs what the mean costs; NaN if that is nothing.
        """
        if self.loss_ablated == self.loss:
            return float("nan")
        return (self.loss_ablated - self.loss_spliced) / (self.loss_ablated - self.loss)


@torch.no_grad()
def panel(
    model: GPT,
    dictionary: _Dictionary,
    stage: int,
    games: Games,
    plies: Sequence[int] | None = None,
    batch_size: int = 256,
    source: torch.Tensor | None = None,
) -> Panel:
    """Judge a dictionary of a stage on games that it was not fitted on.

    Args:
        model: the network.
        dictionary: an SAE, or anything with `d_model`, `encode` (rows [n, …] -> feature_acts [n, n_features])
            and `decode` (-> [n, d_model]).
        stage: 0 for the embedding, l for after block l.
        games: to judge on.
        plies: which rows are replaced and counted, as in `residual_streams`, all by default; give those that
            the dictionary was fitted on. Of these, every position that is followed by a move counts.
        batch_size: games that the model reads at a time.
        source: what `encode` reads in place of the stream, [n_games, time, …]: neurons, or labels.

    Returns:
        The `Panel` of the dictionary.

    Raises:
        OthelloEduError: for a stage or plies that the model does not have, or another width.

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
    """
    checked_model(model), checked(games)
    batch_size = checks.integer("batch_size", batch_size, 1)
    if _checked_dictionary(dictionary).d_model != model.config.d_model:
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
    active, n_games = torch.tensor(0.0, dtype=torch.float64), max(1, _PART // len(time))
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

    The directions become W_enc. After `fit`: mean [d_source], which is taken away from what is read, and the
    decoder that makes the most of the activations by least squares: W_dec [n_features, d_model] and b_dec
    [d_model].

    Args:
        directions: real [d_source, n_features], finite, of length 1 each.
        k: active features of a row, at most; 1 to n_features.

    Raises:
        OthelloEduError: for arguments that are none of this.
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
        """Fit the decoder.

        Args:
            x: real [n, d_model], finite: streams to rebuild.
            source: real [n, d_source], finite: what is read, x itself by default.

        Returns:
            Itself.

        Raises:
            OthelloEduError: for shapes that do not fit, no rows, and numbers that are not finite.
        """
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
        """Activations, at most k of a row above 0.

        Args:
            source: real [n, d_source].

        Returns:
            [n, n_features].
        """
        source = checks.reals("source", source, "…", len(self.W_enc))
        return keep_largest((source - self.mean) @ self.W_enc, self.k)

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """The streams that `feature_acts` [n, n_features] describe, [n, d_model]."""
        return feature_acts @ self.W_dec + self.b_dec


def _contents(labels: npt.ArrayLike | torch.Tensor, *axes: int | str) -> torch.Tensor:
    """Contents of squares as a tensor; masked ones (-1) are neither mine nor theirs."""
    checked = checks.integers("labels", labels, *axes, low=-1, high=THEIRS)
    return labels if torch.is_tensor(labels) else torch.from_numpy(np.ascontiguousarray(checked))


class Cut:
    """A dictionary whose weak activations are silenced; `at_l0` makes it.

    Args:
        dictionary: an SAE, `Directions`, or anything else that can be judged.
        cut: what an activation must exceed to stay, at least 0.

    Raises:
        OthelloEduError: for arguments that are none of this.
    """

    def __init__(self, dictionary: _Dictionary, cut: float):
        self.dictionary, self.cut = _checked_dictionary(dictionary), checks.number("cut", cut, low=0)

    @property
    def d_model(self) -> int:
        """Dimensions that it writes."""
        return self.dictionary.d_model

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """Activations of the dictionary for `source` [n, …] where they exceed the cut, [n, n_features]."""
        feature_acts = self.dictionary.encode(source)
        return feature_acts * (feature_acts > self.cut)

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """The streams that `feature_acts` [n, n_features] describe, [n, d_model]."""
        return self.dictionary.decode(feature_acts)


@torch.no_grad()
def at_l0(dictionary: _Dictionary, source: torch.Tensor, l0: float) -> Cut:
    """A dictionary with exactly so many active features a row, on average over these rows.

    Numbers of dictionaries can be compared only at the same L0, and neither a price nor a threshold that is
    learned gives the L0 that was asked for. One threshold for all features, above which an activation stays,
    does; rows keep different numbers of features, as they do by a price. It leaves the directions alone and
    can only silence: train a little too dense, not too sparse.

    Args:
        dictionary: an SAE, `Directions`, or anything else that can be judged.
        source: real [n, …], finite: what it reads. Other rows than those that it is then judged on.
        l0: how many active features a row, above 0.

    Returns:
        The dictionary behind a cut. Activations that are equal to the cut are silent too. It is 0 where no
        more features are active than asked.

    Raises:
        OthelloEduError: for what is no dictionary, no rows, and numbers that are not finite or in range.

    Example:
        >>> x = torch.tensor([[4.0, 3.0, 2.0], [1.0, 0.5, 0.2]])
        >>> cut = at_l0(Directions(torch.eye(3), 3).fit(x), x + 9, l0=1)
        >>> (cut.encode(x + 9) > 0).sum().item()
        2

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
    """
    _checked_dictionary(dictionary)
    source = checks.finite("source", checks.reals("source", source))
    if source.ndim < 2 or not len(source):
        raise OthelloEduError(f"source has shape {list(source.shape)}; it must be rows, [n, …]")
    n_kept = round(checks.number("l0", l0, above=0) * len(source))
    active = torch.cat([acts[acts > 0] for acts in map(dictionary.encode, source.split(_PART))])
    if len(active) <= n_kept:
        return Cut(dictionary, 0.0)
    return Cut(dictionary, float(np.partition(active.numpy(), -n_kept - 1)[-n_kept - 1]))


class MeanDictionary:
    """A dictionary that is told what lies where: its activations are the truth, its directions means.

    One feature for each square and content (mine, theirs), active where that is so; what it adds is the mean
    of the streams where it is, less the mean of all. Features: all mine, then all theirs.

    After `fit`: W_dec [2 · n_squares, d_model], b_dec [d_model].

    Args:
        least_squares: take what rebuilds the streams best instead; means count what squares have in common
            once for each of them.

    References:
        Makelov et al. (2024).
    """

    def __init__(self, least_squares: bool = False):
        self.least_squares = checks.kind_of("least_squares", least_squares, bool, "True or False")

    def fit(self, x: torch.Tensor, labels: torch.Tensor) -> "MeanDictionary":
        """Find what each feature adds.

        Args:
            x: real [n, d_model], finite: streams to rebuild.
            labels: int [n, n_squares], contents in 0..2, none of them masked.

        Returns:
            Itself.

        Raises:
            OthelloEduError: for shapes that do not fit, no rows, and numbers that are not finite.
        """
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
        """The truth as activations.

        Args:
            labels: int [n, n_squares], contents in 0..2, or −1 for neither.

        Returns:
            float32 [n, 2 · n_squares], 0 or 1.
        """
        labels = _contents(labels, "…", "n_squares")
        return torch.cat([labels == MINE, labels == THEIRS], dim=-1).float()

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """The streams that `feature_acts` [n, 2 · n_squares] describe, [n, d_model]."""
        return feature_acts @ self.W_dec + self.b_dec


def _least_squares(
    parts: Iterable[torch.Tensor], xs: Iterable[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """W_dec [n_features, d_model] and b_dec [d_model] with the smallest ‖feature_acts W_dec + b_dec − x‖²."""
    squares = products = torch.tensor(0.0, dtype=torch.float64)
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

    It compares when features are active, where `directions.best_cosines` compares what they write.

    Args:
        feature_acts: real [n, f], finite.
        others: real [n, g], finite, the same rows.

    Returns:
        float [f]. NaN for a feature that is constant on these rows.

    Raises:
        OthelloEduError: for shapes that do not fit, no rows, and numbers that are not finite.

    Example:
        >>> mine = torch.tensor([[0.0, 5.0], [1.0, 5.0], [0.0, 5.0]])
        >>> [round(value, 2) for value in best_correlations(mine, 2 * mine).tolist()]
        [1.0, nan]
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
