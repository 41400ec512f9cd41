"""How well a number predicts a label: AUROC and F1 of every score against every label, and their controls.

A score is one number per position (the activation of a feature, say) and a label one fact per position (is
d3 mine?). AUROC is the chance that a position where the label is true scores higher than one where it is
false, ties counting half: 0.5 is guessing, 1 is perfect, below 0.5 predicts the opposite.

A high AUROC alone says little. Compare it with the simple scores of `baselines`; look again within
positions of the same ply (`auroc_within`); and take its uncertainty from games, never from positions, since
the positions of one game are much alike (`bootstrap_interval`).

See Also:
    Chapter 8, :doc:`/notebooks/08_tile_colour`, and chapter 9, :doc:`/notebooks/09_tile_stability`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from . import checks
from .errors import OthelloEduError
from .kernels import kernel, n_threads

_BLOCK = 1 << 22  # scores ranked at a time: two float64 arrays of 32 MiB
_ROWS = 1 << 13  # rows of labels turned into floats at a time
_SMALL = 1 << 16  # a block of no more scores than this is ranked in one thread
_PIECE = 16  # columns that a thread ranks at a time: handing over one by one would take longer than the work


def _checked_labels(labels: npt.ArrayLike, n: int) -> np.ndarray:
    labels = checks.flags("labels", labels, hint="`contents == MINE`")
    if labels.ndim != 2 or len(labels) != n:
        raise OthelloEduError(
            f"labels have shape {list(labels.shape)}; with {n} rows of scores they must be [{n}, k]"
        )
    return labels


def _checked_scores(scores: npt.ArrayLike, name: str = "scores") -> np.ndarray:
    scores = checks.array(name, scores)
    if scores.ndim != 2:
        raise OthelloEduError(
            f"{name} have shape {list(scores.shape)}; they must be [n, f], one row per position"
        )
    if scores.dtype.kind not in "fiub":
        raise OthelloEduError(f"{name} are {scores.dtype}; they must be real numbers")
    if _fits_float64(scores):
        return scores
    return np.unique(scores, return_inverse=True)[1].reshape(scores.shape)  # ranks compare as they do


def _fits_float64(scores: np.ndarray) -> bool:
    """Whether float64, in which scores are compared, tells all of them apart."""
    if scores.dtype.itemsize < 8 or scores.dtype == np.float64 or not scores.size:
        return True
    if scores.dtype.kind == "f":  # longer ones; what is not finite is refused by name later on
        return not np.isfinite(scores).all()
    return -(2**53) <= int(scores.min()) and int(scores.max()) <= 2**53


# AUROC -----------------------------------------------------------------------------------------------


@kernel()
def _average_ranks(values, rows, n_zero, ranks):
    """Write ranks (from 1) of sorted values without zeros; the `n_zero` zeros are all other rows."""
    start, n_negative = 0, 0
    while start < len(values):
        end = start + 1
        while end < len(values) and values[end] == values[start]:
            end += 1
        n_negative = end if values[start] < 0 else n_negative
        rank = (start + end + 1) / 2 + (n_zero if values[start] > 0 else 0)
        for at in range(start, end):
            ranks[rows[at]] = rank
        start = end
    return n_negative


def _rank(column, ranks):
    """Average ranks of one column of scores, [n]. Zeros, most of a sparse feature, need no sorting."""
    rows = np.flatnonzero(column)
    values, n_zero = column[rows], len(column) - len(rows)
    order = np.argsort(values)
    n_negative = _average_ranks(values[order], rows[order], n_zero, ranks)
    ranks[column == 0] = n_negative + (n_zero + 1) / 2


def _rank_columns(columns, ranks):
    for column, ranks_of_column in zip(columns, ranks, strict=True):
        _rank(column, ranks_of_column)


def _wins(
    scores: np.ndarray, labels: np.ndarray, threads: ThreadPoolExecutor
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (true, false) in which the true one scores higher, ties half, [f, k]; and all pairs, [k].

    Sums of ranks are multiples of a half far below 2**53, so that float64 holds them exactly.
    """
    n, n_features = scores.shape
    n_true = labels.sum(axis=0)
    wins = np.zeros((n_features, labels.shape[1]))
    size = max(1, _BLOCK // max(n, 1))
    for start in range(0, n_features, size):
        columns = np.ascontiguousarray(scores[:, start : start + size].T)
        columns = columns.astype(np.float64) if columns.dtype not in (np.float32, np.float64) else columns
        if not np.isfinite(columns).all():
            column, row = np.argwhere(~np.isfinite(columns))[0]
            value = columns[column, row]
            raise OthelloEduError(
                f"the score in row {row}, column {start + column} is {value}: AUROC needs finite scores"
            )
        ranks = np.empty(columns.shape)
        pieces = [slice(first, first + _PIECE) for first in range(0, len(columns), _PIECE)]
        rank = threads.map if columns.size > _SMALL else map  # handing over takes longer than a small sort
        list(rank(_rank_columns, [columns[piece] for piece in pieces], [ranks[piece] for piece in pieces]))
        for row in range(0, n, _ROWS):
            rows = slice(row, row + _ROWS)
            wins[start : start + size] += ranks[:, rows] @ labels[rows].astype(np.float64)
    return wins - n_true * (n_true + 1) / 2, n_true * (n - n_true)


def _threads() -> ThreadPoolExecutor:
    """Threads to rank columns: NumPy sorts, and kernels rank, without Python's lock."""
    return ThreadPoolExecutor(n_threads())


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotients, NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return numerator / denominator


def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> np.ndarray:
    """AUROC of every score against every label.

    Exact, ties included: computed from average ranks, equal to scikit-learn's `roc_auc_score`. Works on
    blocks of scores, so memory beyond the inputs stays near 100 MB.

    Args:
        scores: real [n, f], a row for each position, as a NumPy array or a torch tensor.
        labels: bool [n, k], likewise.

    Returns:
        float64 [f, k]; NaN where a label is constant.

    Raises:
        OthelloEduError: for shapes that do not fit, labels that are not bool, scores that are not finite.

    References:
        Mann and Whitney (1947).

    Example:
        >>> import numpy as np
        >>> import othello_edu as oe
        >>> scores = np.array([[0.1], [0.4], [0.4], [0.9]])
        >>> oe.auroc(scores, np.array([[False], [False], [True], [True]]))
        array([[0.875]])

    See Also:
        Chapter 8, :doc:`/notebooks/08_tile_colour`.
    """
    scores = _checked_scores(scores)
    with _threads() as threads:
        return _ratio(*_wins(scores, _checked_labels(labels, len(scores)), threads))


def auroc_within(scores: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike) -> np.ndarray:
    """AUROC among positions of the same group only: a score that merely tells the groups apart gets 0.5.

    It is the average over groups, each weighted by its number of (true, false) pairs.

    Args:
        scores: real [n, f], as for `auroc`.
        labels: bool [n, k], as for `auroc`.
        groups: integers [n], the ply of each position for instance.

    Returns:
        float64 [f, k]; NaN where no group has both true and false labels.

    Raises:
        OthelloEduError: as `auroc`, and for groups that do not fit.

    Example:
        The score rises with the ply, as the label does; within a ply it says nothing.

        >>> plies = np.array([1, 1, 1, 9, 9, 9])
        >>> labels = np.array([False, True, False, True, False, True])[:, None]
        >>> auroc(plies[:, None], labels).round(2), auroc_within(plies[:, None], labels, plies)
        (array([[0.67]]), array([[0.5]]))

    See Also:
        Chapter 9, :doc:`/notebooks/09_tile_stability`.
    """
    scores = _checked_scores(scores)
    labels = _checked_labels(labels, len(scores))
    groups = checks.integers("groups", groups, len(scores))
    wins, pairs = np.zeros((scores.shape[1], labels.shape[1])), np.zeros(labels.shape[1])
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    with _threads() as threads:
        for rows in np.split(order, starts):
            more_wins, more_pairs = _wins(scores[rows], labels[rows], threads)
            wins += more_wins
            pairs += more_pairs
    return _ratio(wins, pairs)


@kernel()
def _weighted_wins(values, labels, groups, games, weights, wins, pairs):
    """Pairs (true, false) of one group won by the true one, ties half, under each set of weights of games.

    The rows are sorted by group, then by value. weights [n_sets, n_games]; wins, pairs [n_sets] are written.
    """
    for draw in range(len(weights)):
        weight = weights[draw]
        won = compared = 0.0
        start = 0
        while start < len(values):
            group, end = groups[start], start
            sum_true = sum_false = 0.0  # weights of the rows of this group so far
            while end < len(values) and groups[end] == group:
                value, tied_true, tied_false = values[end], 0.0, 0.0  # weights of the rows with this value
                while end < len(values) and groups[end] == group and values[end] == value:
                    if labels[end]:
                        tied_true += weight[games[end]]
                    else:
                        tied_false += weight[games[end]]
                    end += 1
                won += tied_true * (sum_false + tied_false / 2)
                sum_false += tied_false
                sum_true += tied_true
            compared += sum_false * sum_true
            start = end
        wins[draw], pairs[draw] = won, compared


def auroc_resampled(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    games: npt.ArrayLike,
    seed: int,
    groups: npt.ArrayLike | None = None,
    among: npt.ArrayLike | None = None,
    n_resamples: int = 500,
) -> np.ndarray:
    """AUROC of each score against its own label, again and again on resampled games.

    The mean over labels, its interval, the difference of two scores: all can be had from the rows of the
    result, as long as the seed is the same. Each column is sorted once, whatever `n_resamples`.

    Args:
        scores: real [n, k], as a NumPy array or a torch tensor.
        labels: bool [n, k]; column `i` is the label of score `i`.
        games: integers [n] from 0, the game of each row: games are drawn with replacement, whole, as in
            `bootstrap_interval`.
        seed: of the drawing.
        groups: integers [n]; only positions of the same group are compared, as in `auroc_within`.
        among: bool [n, k], the rows that count for each label; by default all.
        n_resamples: how often games are drawn.

    Returns:
        float64 [1 + n_resamples, k]. The first row is the AUROC on the games as they are, each other one that
        on a resample. NaN where a label is constant.

    Raises:
        OthelloEduError: for shapes and types that do not fit, scores that are not finite, and numbers of
            games so large that the resamples do not fit into memory.

    See Also:
        Chapter 9, :doc:`/notebooks/09_tile_stability`.
    """
    scores = _checked_scores(scores)
    labels = _checked_labels(labels, len(scores))
    # The kernel looks games up by their number and checks nothing.
    games = checks.integers("games", games, len(scores), low=0, high=2**63 - 2).astype(np.int64)
    groups = np.zeros(len(scores), np.int64) if groups is None else groups
    groups = checks.integers("groups", groups, len(scores))
    among = np.ones(labels.shape, bool) if among is None else checks.flags("among", among, hint="`valid`")
    seed, n_resamples = checks.seed("seed", seed), checks.integer("n_resamples", n_resamples, 0)
    if scores.shape != labels.shape or among.shape != labels.shape:
        raise OthelloEduError(
            f"scores have shape {list(scores.shape)}, labels {list(labels.shape)} and among "
            f"{list(among.shape)}; each score has its own label, so they must be the same"
        )
    if not np.isfinite(scores).all():
        raise OthelloEduError("AUROC needs finite scores")
    n_games = int(games.max()) + 1 if len(games) else 0
    checks.memory(
        f"{n_resamples} resamples of {n_games:,} games",
        16 * (n_resamples + 1) * n_games,
        "number the games from 0, without gaps, or ask for fewer resamples",
    )
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n_games, np.full(n_games, 1 / max(n_games, 1)), n_resamples)
    weights = np.concatenate([np.ones((1, n_games)), drawn])
    wins, pairs = np.zeros((2, scores.shape[1], len(weights)))

    def column(at):
        rows = np.flatnonzero(among[:, at])
        rows = rows[np.lexsort((scores[rows, at], groups[rows]))]
        value = scores[rows, at].astype(np.float64)
        _weighted_wins(value, labels[rows, at], groups[rows], games[rows], weights, wins[at], pairs[at])

    with _threads() as threads:
        list(threads.map(column, range(scores.shape[1])))
    return _ratio(wins, pairs).T


# F1 --------------------------------------------------------------------------------------------------


def f1(active: npt.ArrayLike, labels: npt.ArrayLike) -> np.ndarray:
    """F1 of every yes-or-no prediction against every label.

    It is the harmonic mean of precision (how often an active feature is right) and recall (how many of the
    true positions it finds).

    Args:
        active: bool [n, f], as a NumPy array or a torch tensor.
        labels: bool [n, k], likewise.

    Returns:
        float64 [f, k]. Zero where a feature is never active and a label never true, as in scikit-learn's
        `f1_score`.

    Raises:
        OthelloEduError: for shapes or types that do not fit.

    Example:
        One of two alarms is right, and one of two true positions is found.

        >>> f1(np.array([[True], [True], [False]]), np.array([[True], [False], [True]]))
        array([[0.5]])

    See Also:
        Chapter 8, :doc:`/notebooks/08_tile_colour`.
    """
    active = _checked_scores(active, "active")
    if active.dtype != np.bool_:
        raise OthelloEduError(f"active is {active.dtype}; it must be bool, as in `features > threshold`")
    labels = _checked_labels(labels, len(active))
    true_positives = np.zeros((active.shape[1], labels.shape[1]))
    for row in range(0, len(active), _ROWS):
        rows = slice(row, row + _ROWS)
        counts = active[rows].T.astype(np.float32) @ labels[rows].astype(np.float32)  # exact: below 2**24
        true_positives += counts
    n_predicted_and_true = active.sum(axis=0)[:, None] + labels.sum(axis=0)
    return 2 * true_positives / np.maximum(n_predicted_and_true, 1)


# Uncertainty -----------------------------------------------------------------------------------------


def bootstrap_interval(
    statistic: Callable[[np.ndarray], npt.ArrayLike] | npt.ArrayLike,
    n_games: int,
    seed: int,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence interval of a statistic by resampling games.

    Games are drawn with replacement, whole: the positions of one game resemble each other, and resampling
    them would claim far more certainty than there is. The interval runs between percentiles of the resampled
    statistic.

    Args:
        statistic: a function from game numbers, int64 [n_games] with repeats, to a number or array; or one
            value per game, real [n_games, …], whose mean is meant.
        n_games: how many games there are, and how many each resample draws.
        seed: of the drawing.
        n_resamples: how often games are drawn.
        level: share of the resamples that the interval holds, between 0 and 1.

    Returns:
        The low and the high end, each shaped like the statistic; NaN where any resample gives NaN.

    Raises:
        OthelloEduError: if there are no games, `level` is not between 0 and 1, or values per game are of
            another number of games.

    References:
        Efron (1979).

    Example:
        >>> won = np.arange(100) < 50  # half of 100 games
        >>> low, high = bootstrap_interval(won.astype(float), 100, seed=0)
        >>> bool(0.35 < low < 0.5 < high < 0.65)
        True

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """
    n_games = checks.integer("n_games", n_games, 1)
    n_resamples = checks.integer("n_resamples", n_resamples, 1)
    level, seed = checks.number("level", level, above=0, below=1), checks.seed("seed", seed)
    if callable(statistic):
        of_games = statistic
    else:
        per_game = checks.reals("statistic", statistic).numpy()
        if per_game.shape[:1] != (n_games,):
            raise OthelloEduError(
                f"the statistic has shape {list(per_game.shape)}; it must be [{n_games}, …]"
            )

        def of_games(games: np.ndarray) -> npt.ArrayLike:
            return per_game[games].mean(axis=0)

    checks.memory(f"resamples of {n_games:,} games", 16 * n_games)
    rng = np.random.default_rng(seed)
    resampled = np.array([of_games(rng.integers(0, n_games, n_games)) for _ in range(n_resamples)])
    low, high = np.quantile(resampled, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return low, high
