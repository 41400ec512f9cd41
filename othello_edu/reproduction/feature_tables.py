"""What the SAEs of one stage say about tile colour and stability.

AUROC of every feature for every tile, and what Figs. 3 and 5 and Tables 1-7 make of it.

See Also:
    Chapter 8, :doc:`/notebooks/08_tile_colour`; chapter 9, :doc:`/notebooks/09_tile_stability`.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ..board import SQUARE_NAMES
from ..dictionaries import best_correlations
from ..directions import best_cosines, random_directions
from ..labels import EMPTY, MINE, THEIRS
from ..sae import Autoencoder
from ..scoring import auroc, auroc_within, f1
from .paper import COLOUR_THRESHOLD, STABILITY_THRESHOLD, TABLE_ROWS, TOP_TRIPLES
from .places import EDGE
from .results import round_all, rounded
from .samples import Sample

CLASSES = {"empty": EMPTY, "mine": MINE, "theirs": THEIRS}
# Tiles above the threshold from which on a feature covers many: of the edge, where it may be a clock; of any
# place in Tables 1 and 2.
CLOCK_TILES = 20
MIN_DENSITY = 1e-4  # share of the rows on which a feature must be active to be compared with others


def colour_labels(sample: Sample) -> np.ndarray:
    """What lies where, in rows of `sample` that count, bool [n, 192]: empty on each square, mine, theirs."""
    labels = sample.rows(sample.after)
    return np.concatenate([labels == kind for kind in CLASSES.values()], axis=1)


def all_labels(sample: Sample) -> np.ndarray:
    """`colour_labels` of a `sample`, then `stable_paper`, then `stable_sound`: bool [n, 320]."""
    return np.concatenate([colour_labels(sample), sample.paper, sample.sound], axis=1)


def split_table(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table of all labels, cut into those of each kind.

    Args:
        table: float [f, 320], columns as in `all_labels`.

    Returns:
        Colour [f, 3, 64], paper [f, 64], sound [f, 64]; NaN, where a label never varies, is 0.
    """
    table = np.nan_to_num(table, nan=0.0)
    return table[:, :192].reshape(-1, 3, 64), table[:, 192:256], table[:, 256:]


def colour_summary(tables: list[np.ndarray]) -> dict:
    """Fig. 3 of the SAEs of one stage.

    Args:
        tables: AUROC [f, 3, 64] of each seed.

    Returns:
        Four entries.

        - top [3][64], how often each (class, tile) is among a seed's 50 best triples above 0.7, summed over
          seeds;
        - above [3][64], how many triples pass 0.7 at all, per seed and (class, tile);
        - best [3][64], the mean over seeds of the best AUROC;
        - n_above, how many triples pass, of each seed.
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
    """Fig. 5 and Tables 1-7 of the SAEs of one stage.

    Args:
        tables: AUROC [f, 64] of each seed.
        f1_tables: F1 [f, 64] of each seed.
        clock: each feature's correlation with the ply, [f] of each seed.

    Returns:
        Five entries, each a list over seeds.

        - per_tile [64], features above 0.8 on each tile;
        - n_above, their sum;
        - best, the highest AUROC;
        - features, those above 0.8 on any tile, with their number of tiles and their correlation with the
          ply;
        - pairs, the highest (feature, tile), as in Tables 3-7.
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
        best = np.argsort(-table, axis=None, kind="stable")[:TABLE_ROWS]
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
def quality(sae: Autoencoder, x: torch.Tensor) -> dict:
    """L0, explained variance and dead features.

    Args:
        sae: that is looked at.
        x: float [n, d_model], streams.

    Returns:
        {l0, explained_variance, dead_fraction}.
    """
    feature_acts = sae.encode(x)
    missed = (x - sae.decode(feature_acts)).double().square().sum() / (x - x.mean(0)).double().square().sum()
    active = (feature_acts > 0).double().mean(0)
    return {
        "l0": rounded(active.sum()),
        "explained_variance": rounded(1 - missed),
        "dead_fraction": rounded((active == 0).double().mean()),
    }


def feature_tables(
    sae: Autoencoder, x: torch.Tensor, sample: Sample, within: bool = True
) -> dict[str, np.ndarray]:
    """Every feature's AUROC for every tile.

    Args:
        sae: that is looked at.
        x: float [n, d_model], streams of the sample's rows that count.
        sample: with the labels.
        within: within a ply, too.

    Returns:
        By name, colour [f, 3, 64], paper and sound [f, 64]; the same with "_within_ply" added, if asked for;
        f1 [f, 64] of being active, for the paper's label; clock [f], the correlation with the ply.
    """
    feature_acts, labels = sae.encode(x), all_labels(sample)
    tables = dict(zip(("colour", "paper", "sound"), split_table(auroc(feature_acts, labels)), strict=True))
    if within:
        names = ("colour_within_ply", "paper_within_ply", "sound_within_ply")
        tables |= dict(zip(names, split_table(auroc_within(feature_acts, labels, sample.ply)), strict=True))
    tables["f1"] = f1((feature_acts > 0).numpy(), sample.paper)
    tables["clock"] = _correlation(feature_acts, torch.from_numpy(sample.ply).float())
    return tables


def tables_of_all_rows(
    sae: Autoencoder, x: torch.Tensor, sample: Sample, clock: np.ndarray
) -> dict[str, np.ndarray]:
    """paper, f1 and clock as in `feature_tables`, as the paper's code has them: rows after the end count too.

    Args:
        sae: that is looked at.
        x: float `[n_games * 52, d_model]`, streams of all rows.
        sample: with the labels.
        clock: [f], taken from `feature_tables`.

    Returns:
        By name, paper and f1 [f, 64], clock [f].
    """
    feature_acts, label = sae.encode(x), sample.paper_of_all_rows
    table = np.nan_to_num(auroc(feature_acts, label), nan=0.0)
    return {"paper": table, "f1": f1((feature_acts > 0).numpy(), label), "clock": clock}


def summaries(
    tables: list[dict[str, np.ndarray]], of_all_rows: list[dict[str, np.ndarray]] | None = None
) -> dict:
    """Figs. 3 and 5 of the SAEs of one stage.

    Args:
        tables: `feature_tables` of each SAE.
        of_all_rows: `tables_of_all_rows` of each; then "stability" is of these, and "stability_played" of the
            others.

    Returns:
        By name, `colour_summary` and `stability_summary` of them, and counts for the sound label.
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


def agreement(saes: Sequence[Autoencoder], x: torch.Tensor) -> dict:
    """How much SAEs agree: of each feature of the first, its best match in the others.

    Args:
        saes: at least two.
        x: float [n, d_model], streams.

    Returns:
        Mean, median and share above 0.9, over features that are active on more than one row in 10,000, by
        cosine of directions and by correlation of activations on rows x, and of the cosine that random
        directions of the same number reach.
    """
    acts_of_each = [sae.encode(x) for sae in saes]
    alive = [(feature_acts > 0).float().mean(0) > MIN_DENSITY for feature_acts in acts_of_each]
    of_directions, of_activations = [], []
    for sae, feature_acts, lives in zip(saes[1:], acts_of_each[1:], alive[1:], strict=True):
        first = saes[0].directions[:, alive[0]]
        of_directions.append(best_cosines(first, sae.directions[:, lives]))
        of_activations.append(best_correlations(acts_of_each[0][:, alive[0]], feature_acts[:, lives]))
    d_model, n = saes[0].directions.shape
    chance = best_cosines(random_directions(d_model, n, 1), random_directions(d_model, n, 2))
    cosines, correlations = torch.cat(of_directions), torch.cat(of_activations)
    return {
        "cosine": _summary(cosines),
        "correlation": _summary(correlations[~correlations.isnan()]),
        "cosine_of_random": _summary(chance),
    }


def _summary(values: torch.Tensor) -> dict:
    return {
        "mean": rounded(values.mean()),
        "median": rounded(values.median()),
        "above_0.9": rounded((values > 0.9).float().mean()),
    }


def _correlation(feature_acts: torch.Tensor, ply: torch.Tensor) -> np.ndarray:
    """Pearson's correlation of every feature with the ply, [f]; 0 for a feature that is constant."""
    centred, ply = feature_acts - feature_acts.mean(0), ply - ply.mean()
    length = torch.linalg.vector_norm(centred, dim=0) * torch.linalg.vector_norm(ply)
    return torch.where(length > 0, (ply @ centred) / length.clamp(min=1e-12), 0.0).numpy()
