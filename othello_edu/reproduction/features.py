"""What the SAEs of one stage say about tile colour and stability: Figs. 3 and 5, Tables 1-7, the audit."""

import numpy as np
import torch

from ..baselines import nearest_corner_score, occupied_score, ply_score
from ..board import SQUARE_NAMES
from ..dictionaries import best_correlations
from ..directions import best_cosines, random_directions
from ..labels import EMPTY, MINE, THEIRS
from ..scoring import auroc, auroc_resampled, auroc_within, f1
from .data import Sample
from .protocol import COLOUR_THRESHOLD, STABILITY_THRESHOLD, TOP_TRIPLES
from .results import round_all, rounded

CLASSES = {"empty": EMPTY, "mine": MINE, "theirs": THEIRS}
GRID = np.arange(64).reshape(8, 8)
INTERIOR = GRID[1:-1, 1:-1].ravel()
EDGE = np.setdiff1d(GRID, INTERIOR)
CORNERS = np.array([0, 7, 56, 63])
SIDES = np.setdiff1d(EDGE, CORNERS)
CLOCK_TILES = 20  # edge tiles above the threshold from which on a feature is looked at as a clock
_TOP_PAIRS = 20  # rows of a table, as many as the paper's


def colour_labels(sample: Sample) -> np.ndarray:
    """bool [n, 192]: empty on each square, then mine, then theirs."""
    labels = sample.rows(sample.after)
    return np.concatenate([labels == kind for kind in CLASSES.values()], axis=1)


def all_labels(sample: Sample) -> np.ndarray:
    """bool [n, 320]: `colour_labels`, then `stable_paper`, then `stable_sound`."""
    return np.concatenate([colour_labels(sample), sample.paper, sample.sound], axis=1)


def split_table(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[f, 320] -> colour [f, 3, 64], paper [f, 64], sound [f, 64]; NaN, where a label never varies, is 0."""
    table = np.nan_to_num(table, nan=0.0)
    return table[:, :192].reshape(-1, 3, 64), table[:, 192:256], table[:, 256:]


def colour_summary(tables: list[np.ndarray]) -> dict:
    """Fig. 3 of the SAEs of one stage. tables: AUROC [f, 3, 64] of each seed.

    top: how often each (class, tile) is among a seed's 50 best triples above 0.7, summed over seeds, [3][64].
    above: how many triples pass 0.7 at all, per seed and (class, tile). best: mean over seeds of the best
    AUROC. n_above: of each seed.
    """
    top, above = np.zeros((3, 64), int), np.zeros((3, 64))
    for table in tables:
        flat = table.reshape(-1)
        first = np.argpartition(flat, -TOP_TRIPLES)[-TOP_TRIPLES:]
        first = first[flat[first] > COLOUR_THRESHOLD]
        np.add.at(top.reshape(-1), first % (3 * 64), 1)
        above += (table > COLOUR_THRESHOLD).sum(0)
    return {
        "top": top.tolist(),
        "above": round_all(above / len(tables)),
        "best": round_all(np.mean([table.max(0) for table in tables], axis=0)),
        "n_above": [int((table > COLOUR_THRESHOLD).sum()) for table in tables],
    }


def stability_summary(tables: list[np.ndarray], f1_tables: list[np.ndarray], clock: list[np.ndarray]) -> dict:
    """Fig. 5 and Tables 1-7 of one stage. tables, f1_tables: [f, 64] of each seed; clock: each feature's
    correlation with the ply, [f] of each seed.

    per_tile: features above 0.8 on each tile, of each seed. features: those with any, with their number of
    tiles and their correlation with the ply. pairs: the highest (feature, tile), as in Tables 3-7.
    """
    per_tile, features, pairs = [], [], []
    for table, f1s, correlation in zip(tables, f1_tables, clock, strict=True):
        high = table > STABILITY_THRESHOLD
        per_tile.append(high.sum(0).tolist())
        count = high.sum(1)
        features.append(
            [
                {
                    "feature": int(feature),
                    "tiles": int(count[feature]),
                    "edge_tiles": int(high[feature, EDGE].sum()),
                    "correlation_with_ply": rounded(correlation[feature]),
                }
                for feature in np.argsort(-count, kind="stable")
                if count[feature]
            ]
        )
        best = np.argsort(-table, axis=None, kind="stable")[:_TOP_PAIRS]
        pairs.append(
            [
                {
                    "feature": int(feature),
                    "tile": SQUARE_NAMES[tile],
                    "auroc": rounded(table[feature, tile]),
                    "f1": rounded(f1s[feature, tile]),
                }
                for feature, tile in zip(*np.unravel_index(best, table.shape), strict=True)
            ]
        )
    return {
        "per_tile": per_tile,
        "n_above": [int(sum(tiles)) for tiles in per_tile],
        "best": [rounded(table.max()) for table in tables],
        "features": features,
        "pairs": pairs,
    }


@torch.no_grad()
def quality(sae, x: torch.Tensor) -> dict:
    """L0, explained variance and dead features on rows x."""
    code = sae.encode(x)
    missed = (x - sae.decode(code)).double().square().sum() / (x - x.mean(0)).double().square().sum()
    active = (code > 0).double().mean(0)
    return {
        "l0": rounded(active.sum()),
        "explained_variance": rounded(1 - missed),
        "dead_fraction": rounded((active == 0).double().mean()),
    }


def feature_tables(sae, x: torch.Tensor, sample: Sample, within: bool = True) -> dict[str, np.ndarray]:
    """Every feature's AUROC for every tile, on streams x [n, d_model] of the sample's rows that count.

    colour [f, 3, 64], paper and sound [f, 64]; the same with "_within_ply" added, if asked for; f1 [f, 64] of
    being active, for the paper's label; clock [f], the correlation with the ply.
    """
    code, labels = sae.encode(x), all_labels(sample)
    tables = dict(zip(("colour", "paper", "sound"), split_table(auroc(code, labels)), strict=True))
    if within:
        names = ("colour_within_ply", "paper_within_ply", "sound_within_ply")
        tables |= dict(zip(names, split_table(auroc_within(code, labels, sample.ply)), strict=True))
    tables["f1"] = f1((code > 0).numpy(), sample.paper)
    tables["clock"] = _correlation(code, torch.from_numpy(sample.ply).float())
    return tables


def tables_of_all_rows(sae, x: torch.Tensor, sample: Sample, clock: np.ndarray) -> dict[str, np.ndarray]:
    """paper, f1 and clock as in `feature_tables`, as the paper's code has them: rows after the end count too.

    x: streams [n_games * 52, d_model] of all rows.
    """
    code, label = sae.encode(x), sample.paper_of_all_rows
    table = np.nan_to_num(auroc(code, label), nan=0.0)
    return {"paper": table, "f1": f1((code > 0).numpy(), label), "clock": clock}


def summaries(tables: list[dict], of_all_rows: list[dict] | None = None) -> dict:
    """Figs. 3 and 5 of the SAEs of one stage, from their `feature_tables`.

    of_all_rows: their `tables_of_all_rows`; then "stability" is of these, and "stability_played" of the
    others.
    """

    def each(name, of=tables):
        return [table[name] for table in of]

    def stability(of):
        return stability_summary(each("paper", of), each("f1", of), each("clock", of))

    result = {
        "colour": colour_summary(each("colour")),
        "stability": stability(of_all_rows or tables),
        "sound": {"n_above": [int((table > STABILITY_THRESHOLD).sum()) for table in each("sound")]},
    }
    if of_all_rows:
        result["stability_played"] = stability(tables)
    if "paper_within_ply" in tables[0]:
        high = [table > STABILITY_THRESHOLD for table in each("paper_within_ply")]
        result["colour_within_ply"] = colour_summary(each("colour_within_ply"))
        result["stability_within_ply"] = {
            "per_tile": [table.sum(0).tolist() for table in high],
            "n_above": [int(table.sum()) for table in high],
        }
    return result


# The audit: chosen on some games, reported on others, beside what everybody should compare with ------------

LABELS = ("paper", "sound")
REPORTS = ("all", "within_ply", "within_ply_occupied")
CORNER = "nearest corner taken"


def rivals(sample: Sample) -> dict[str, np.ndarray]:
    """Scores that know nothing of a network, float32 [n, 64] each, one column for each tile's label."""
    boards = sample.rows(sample.boards)
    return {
        "ply": np.repeat(ply_score(boards), 64, axis=1),
        "tile occupied": occupied_score(boards),
        CORNER: nearest_corner_score(boards),
    }


def resampled(score: np.ndarray, sample: Sample, label: str, report: str, n_resamples: int) -> np.ndarray:
    """AUROC of score [n, 64] for each tile's stability, in one of the comparisons.

    Returns float64 [1 + n_resamples, 64]: on the games as they are, then on each resample. These are the
    same every time, so that tables of two scores may be subtracted.
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


PLACES = {"sides": SIDES, "corners": CORNERS, "interior": INTERIOR}


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
    """How well score [n, 64] tells each tile's stability ("paper" or "sound"), in one of the comparisons.

    The AUROC of every tile [64] (null where there is none), and its mean over sides, corners and interior
    with a 95% interval from resampled games. rival: `resampled` of another score; then "above" has the
    difference to it in the same places, resample by resample, so that what both owe to the games cancels.
    """
    table = resampled(score, sample, label, report, n_resamples)
    found = {"tiles": round_all(table[0]), **_places(table)}
    return found if rival is None else found | {"above": _places(table - rival)}


def corner_tables(sample: Sample, n_resamples: int) -> dict[tuple[str, str], np.ndarray]:
    """`resampled` of the strongest score that knows no network, {(label, report): [1 + n_resamples, 64]}."""
    score = rivals(sample)[CORNER]
    return {
        (label, report): resampled(score, sample, label, report, n_resamples)
        for label in LABELS
        for report in REPORTS
    }


def audit_rivals(sample: Sample, n_resamples: int) -> dict:
    """`audit` of the scores that know nothing of a network: {name: {label: {report: …}}}."""
    return {
        name: {
            label: {report: audit(score, sample, label, report, n_resamples) for report in REPORTS}
            for label in LABELS
        }
        for name, score in rivals(sample).items()
    }


def audit_features(
    tables: dict, code, sample: Sample, new_code, new: Sample, corner: dict, n_games: int
) -> dict:
    """`audit` of the best feature for each tile, chosen on the code of one sample, reported on another's.

    tables: `feature_tables` of that code. corner: `corner_tables` of the new sample, to be compared with.
    Each comparison chooses by its own AUROC (among occupied tiles, on the first n_games games only).
    `chosen` is the mean over sides that the choice itself saw: by it, and not by what is reported, stages may
    be compared to pick one.
    """
    among_occupied = _auroc_among_occupied(code, sample, n_games)
    new_code, result = np.asarray(new_code), {}
    for at, label in enumerate(LABELS):
        seen = (tables[label], tables[f"{label}_within_ply"], among_occupied[:, at])
        result[label] = {}
        for report, table in zip(REPORTS, seen, strict=True):
            columns = table.argmax(0)
            rival = corner[label, report]
            found = audit(new_code[:, columns], new, label, report, len(rival) - 1, rival)
            found["chosen"] = rounded(table.max(0)[SIDES].mean())
            result[label][report] = found | {"features": columns.tolist()}
    return result


def _auroc_among_occupied(code, sample: Sample, n_games: int) -> np.ndarray:
    """AUROC within a ply among boards where the tile is occupied, [f, 2, 64] for paper and sound; 0 for
    none.
    """
    few = sample.game < n_games
    code, ply = code[torch.from_numpy(few)], sample.ply[few]
    occupied = sample.rows(sample.boards)[few] > 0
    labels = np.stack([sample.paper[few], sample.sound[few]], axis=-1)
    table = np.zeros((code.shape[1], 2, 64))
    for tile in range(64):
        rows = np.flatnonzero(occupied[:, tile])
        table[:, :, tile] = np.nan_to_num(auroc_within(code[rows], labels[rows, tile], ply[rows]), nan=0.0)
    return table


def agreement(saes: list, x: torch.Tensor, l0_floor: float = 1e-4) -> dict:
    """How much SAEs agree: of each feature of the first, its best match in the others.

    Means over features that are ever active, by cosine of directions and by correlation of activations on
    rows x, and the cosine that random directions of the same number reach.
    """
    codes = [sae.encode(x) for sae in saes]
    alive = [(code > 0).float().mean(0) > l0_floor for code in codes]
    cosines, correlations = [], []
    for sae, code, lives in zip(saes[1:], codes[1:], alive[1:], strict=True):
        first = saes[0].directions[:, alive[0]]
        cosines.append(best_cosines(first, sae.directions[:, lives]))
        correlations.append(best_correlations(codes[0][:, alive[0]], code[:, lives]))
    d_model, n = saes[0].directions.shape
    chance = best_cosines(random_directions(d_model, n, 1), random_directions(d_model, n, 2))
    cosines, correlations = torch.cat(cosines), torch.cat(correlations)
    return {
        "cosine": _three(cosines),
        "correlation": _three(correlations[~correlations.isnan()]),
        "cosine_of_random": _three(chance),
    }


def _three(values) -> dict:
    return {
        "mean": rounded(values.mean()),
        "median": rounded(values.median()),
        "above_0.9": rounded((values > 0.9).float().mean()),
    }


def _correlation(code, ply) -> np.ndarray:
    """Pearson's correlation of every feature with the ply, [f]; 0 for a feature that is constant."""
    centred, ply = code - code.mean(0), ply - ply.mean()
    length = torch.linalg.vector_norm(centred, dim=0) * torch.linalg.vector_norm(ply)
    return torch.where(length > 0, (ply @ centred) / length.clamp(min=1e-12), 0.0).numpy()


def _mean_interval(table) -> dict | None:
    """Mean over tiles that have an AUROC, with its 95% interval, from a table [1 + resamples, k]."""
    table = table[:, ~np.isnan(table[0])]
    if not table.shape[1]:
        return None
    # A resample can miss the few games in which a rare label is true: that tile is left out of it.
    mean = np.nanmean(table, axis=1)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return {"mean": rounded(mean[0]), "low": rounded(low), "high": rounded(high)}
