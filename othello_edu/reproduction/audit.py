"""The audit: features chosen on some games, reported on others, beside what everybody should compare with.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

import numpy as np
import torch

from ..baselines import nearest_corner_score, occupied_score, ply_score
from ..scoring import auroc_resampled, auroc_within
from .places import PLACES, SIDES
from .results import round_all, rounded
from .samples import Sample

LABELS = ("paper", "sound")
REPORTS = ("all", "within_ply", "within_ply_occupied")
CORNER = "nearest corner taken"


def rivals(sample: Sample) -> dict[str, np.ndarray]:
    """Scores that know nothing of a network, one column for each tile's label.

    Args:
        sample: whose boards are scored.

    Returns:
        By name, float32 [n, 64] each.
    """
    boards = sample.rows(sample.boards)
    return {
        "ply": np.repeat(ply_score(boards), 64, axis=1),
        "tile occupied": occupied_score(boards),
        CORNER: nearest_corner_score(boards),
    }


def resampled(score: np.ndarray, sample: Sample, label: str, report: str, n_resamples: int) -> np.ndarray:
    """AUROC of a score for each tile's stability, in one of the comparisons.

    Resamples of the games are the same every time, so that tables of two scores may be subtracted.

    Args:
        score: real [n, 64], one column for each tile.
        sample: of n rows that count.
        label: "paper" or "sound", see `Sample`.
        report: one of `REPORTS`: over all rows, among those of the same ply, or of these where the tile is
            occupied.
        n_resamples: of the games.

    Returns:
        float64 [1 + n_resamples, 64], on the games as they are, then on each resample.
    """
    return auroc_resampled(
        score,
        getattr(sample, label),
        sample.game,
        seed=0,
        groups=None if report == "all" else sample.ply,
        among=sample.rows(sample.boards) > 0 if report == "within_ply_occupied" else None,
        n_resamples=n_resamples,
    )


def _places(table: np.ndarray) -> dict:
    return {name: _mean_interval(table[:, tiles]) for name, tiles in PLACES.items()}


def audit(
    score: np.ndarray,
    sample: Sample,
    label: str,
    report: str,
    n_resamples: int,
    rival: np.ndarray | None = None,
) -> dict:
    """How well a score tells each tile's stability, in one of the comparisons.

    Args:
        score: real [n, 64], one column for each tile.
        sample: of n rows that count.
        label: "paper" or "sound", see `Sample`.
        report: one of `REPORTS`, see `resampled`.
        n_resamples: of the games.
        rival: `resampled` of another score; then "above" has the difference to it in the same places,
            resample by resample, so that what both owe to the games cancels.

    Returns:
        The AUROC of every tile [64] (null where there is none), and its mean over sides, corners and interior
        with a 95% interval from resampled games.
    """
    table = resampled(score, sample, label, report, n_resamples)
    result = {"tiles": round_all(table[0]), **_places(table)}
    return result if rival is None else result | {"above": _places(table - rival)}


def corner_tables(sample: Sample, n_resamples: int) -> dict[tuple[str, str], np.ndarray]:
    """`resampled` of the strongest score that knows no network.

    Args:
        sample: whose boards are scored.
        n_resamples: of the games.

    Returns:
        By (label, report), float64 [1 + n_resamples, 64] each.
    """
    score = rivals(sample)[CORNER]
    return {
        (label, report): resampled(score, sample, label, report, n_resamples)
        for label in LABELS
        for report in REPORTS
    }


def audit_rivals(sample: Sample, n_resamples: int) -> dict:
    """`audit` of the scores that know nothing of a network.

    Args:
        sample: whose boards are scored.
        n_resamples: of the games.

    Returns:
        `{name: {label: {report: …}}}`.
    """
    return {
        name: {
            label: {report: audit(score, sample, label, report, n_resamples) for report in REPORTS}
            for label in LABELS
        }
        for name, score in rivals(sample).items()
    }


def audit_features(
    tables: dict[str, np.ndarray],
    feature_acts: torch.Tensor,
    sample: Sample,
    new_feature_acts: torch.Tensor,
    new: Sample,
    corner: dict[tuple[str, str], np.ndarray],
    n_games: int,
) -> dict[str, dict]:
    """`audit` of the best feature for each tile, chosen on one sample and reported on another.

    Each comparison chooses by its own AUROC. `chosen` is the mean over sides that the choice itself saw: by
    it, and not by what is reported, stages may be compared to pick one.

    Args:
        tables: `feature_tables` of the sample that is chosen on.
        feature_acts: float [n, f], activations on that sample.
        sample: to choose on.
        new_feature_acts: float [m, f], activations on the other sample.
        new: to report on.
        corner: `corner_tables` of the new sample, to be compared with.
        n_games: among occupied tiles, features are chosen on so many games only.

    Returns:
        `{label: {report: …}}`.
    """
    among_occupied = _auroc_among_occupied(feature_acts, sample, n_games)
    new_scores, result = np.asarray(new_feature_acts), dict[str, dict]()
    for at, label in enumerate(LABELS):
        seen = (tables[label], tables[f"{label}_within_ply"], among_occupied[:, at])
        result[label] = {}
        for report, table in zip(REPORTS, seen, strict=True):
            columns = table.argmax(0)
            rival = corner[label, report]
            entry = audit(new_scores[:, columns], new, label, report, len(rival) - 1, rival)
            entry["chosen"] = rounded(table.max(0)[SIDES].mean())
            result[label][report] = entry | {"features": columns.tolist()}
    return result


def _auroc_among_occupied(feature_acts: torch.Tensor, sample: Sample, n_games: int) -> np.ndarray:
    """AUROC within a ply where the tile is occupied, [f, 2, 64] for paper and sound; 0 for none."""
    used = sample.game < n_games
    feature_acts, ply = feature_acts[torch.from_numpy(used)], sample.ply[used]
    occupied = sample.rows(sample.boards)[used] > 0
    labels = np.stack([sample.paper[used], sample.sound[used]], axis=-1)
    table = np.zeros((feature_acts.shape[1], 2, 64))
    for tile in range(64):
        rows = np.flatnonzero(occupied[:, tile])
        within = auroc_within(feature_acts[rows], labels[rows, tile], ply[rows])
        table[:, :, tile] = np.nan_to_num(within, nan=0.0)
    return table


def _mean_interval(table: np.ndarray) -> dict | None:
    """Mean over tiles that have an AUROC, with its 95% interval, from a table [1 + resamples, k]."""
    table = table[:, ~np.isnan(table[0])]
    if not table.shape[1]:
        return None
    # A resample can miss the few games in which a rare label is true: that tile is left out of it.
    mean = np.nanmean(table, axis=1)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return {"mean": rounded(mean[0]), "low": rounded(low), "high": rounded(high)}
