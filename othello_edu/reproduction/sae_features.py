"""Figs. 3 and 5, Tables 1-7: the paper's SAEs trained, scored and audited, with their quirks and controls.

See Also:
    Chapter 8, :doc:`/notebooks/08_tile_colour`; chapter 9, :doc:`/notebooks/09_tile_stability`; chapter 10,
    :doc:`/notebooks/10_auditing_a_claim`.
"""

from collections.abc import Iterable

import numpy as np
import torch

from ..games import Games
from ..model import GPT
from ..sae import SparseAutoencoder
from ..sae_training import linear_fall
from .audit import audit_features, audit_rivals
from .feature_tables import CLOCK_TILES, agreement, feature_tables, quality, summaries, tables_of_all_rows
from .paper import L1
from .protocol import SAE_QUIRKS, Protocol
from .quirks import PublishedSAE, cycled_rate
from .results import rounded
from .samples import Sample, sample, streams
from .study import Study


def _untrained(protocol: Protocol, d_model: int, stage: int, seeds: Iterable[int]) -> list[SparseAutoencoder]:
    """The SAEs of one stage before training: from the same matrices at all stages, or not."""
    kind = PublishedSAE if protocol.wrong_axis else SparseAutoencoder
    first = 0 if protocol.same_start else 1000 * (stage + 1)
    return [kind(d_model, 2 * d_model, first + seed, L1) for seed in seeds]


def _train_saes(
    study: Study,
    stage: int,
    seeds: Iterable[int],
    model: GPT | None = None,
    protocol: Protocol | None = None,
    games: Games | None = None,
    scale: float = 1.0,
) -> list[SparseAutoencoder]:
    """The SAEs of one stage, a seed each, trained together; by default on the study's network, by its
    protocol, on its games. scale: of the streams.
    """
    protocol = protocol or study.protocol
    games = study.games_for(protocol)[0] if games is None else games
    # Of which rows count, the published protocol knows nothing.
    labelled = None if protocol.ended_rows else sample(games, protocol)

    def rows(epoch):
        x = streams(model or study.model, games, [stage], protocol.dropout, 1 + epoch)[0]
        return scale * (x.flatten(0, 1) if labelled is None else labelled.rows(x))

    saes = _untrained(protocol, study.model.config.d_model, stage, seeds)
    schedule = cycled_rate if protocol.cycled_rate else linear_fall
    x = rows if protocol.dropout else rows(0)  # noise is drawn anew in each epoch
    settings = dict(epochs=study.sizes.sae_epochs, schedule=schedule, weight_decay=protocol.weight_decay)
    return study.fit(saes, x, **settings)


def _moved(saes: list[SparseAutoencoder], protocol: Protocol, stage: int) -> float | None:
    """Mean |cosine| of each feature with its own beginning: 1 where training has done nothing."""
    starts = _untrained(protocol, saes[0].d_model, stage, range(len(saes)))
    cosines = [
        torch.cosine_similarity(start.directions, sae.directions, dim=0).abs().mean()
        for start, sae in zip(starts, saes, strict=True)
    ]
    return rounded(torch.stack(cosines).detach().mean())


def _score(
    saes: list[SparseAutoencoder],
    all_x: torch.Tensor,
    part: Sample,
    protocol: Protocol,
    within: bool = True,
) -> tuple[dict, list[dict[str, np.ndarray]]]:
    """`summaries` of the SAEs on streams of all rows [n_games, 52, d_model], and their tables."""
    tables = [feature_tables(sae, part.rows(all_x), part, within) for sae in saes]
    of_all_rows = None
    if protocol.ended_rows:
        flat = all_x.flatten(0, 1)
        of_all_rows = [
            tables_of_all_rows(sae, flat, part, table["clock"])
            for sae, table in zip(saes, tables, strict=True)
        ]
    return summaries(tables, of_all_rows), tables


def _audit(
    study: Study,
    sae: SparseAutoencoder,
    tables: dict[str, np.ndarray],
    x: torch.Tensor,
    new_x: torch.Tensor,
) -> dict:
    """`audit_features` of one SAE, chosen on streams x and reported on new ones."""
    feature_acts, new_feature_acts = sae.encode(x), sae.encode(new_x)
    n_games = study.sizes.sparse_games
    return audit_features(
        tables, feature_acts, study.score, new_feature_acts, study.new, study.corner, n_games
    )


def features_part(study: Study, stage: int) -> dict:
    """SAEs of one stage: trained, scored for colour and stability, audited, compared with each other.

    Args:
        study: the run.
        stage: whose streams are described.

    Returns:
        `summaries` of the SAEs, their quality, agreement and audit, and features that could be clocks.
    """
    saes = _train_saes(study, stage, range(study.sizes.sae_seeds))
    all_x, new_x = study.streams(study.score.games, stage), study.rows(study.new, stage)
    x = study.score.rows(all_x)
    scores, tables = _score(saes, all_x, study.score, study.protocol)
    study.save_tables(f"features_{stage}", tables[0])
    shared_x = x[torch.from_numpy(study.score.game < study.sizes.sparse_games)]
    halves = [_train_saes(study, stage, [50 + at], games=study.split[0][at::2])[0] for at in range(2)]
    return scores | {
        "quality": [quality(sae, new_x) for sae in saes],
        "cosine_with_start": _moved(saes, study.protocol, stage),
        "agreement": agreement(saes, shared_x),
        "agreement of halves": agreement(halves, shared_x),
        "audit": _audit(study, saes[0], tables[0], x, new_x),
        "clocks": [
            [entry for entry in of_seed if entry["edge_tiles"] >= CLOCK_TILES]
            for of_seed in scores["stability"]["features"]
        ],
    }


def control_features_part(study: Study, stage: int) -> dict:
    """`features_part` on the network with random weights, its streams made as large as the trained ones.

    Args:
        study: the run.
        stage: whose streams are described.

    Returns:
        `summaries` of the SAEs, their quality and audit.
    """
    model, scale = study.random_model, study.control_scale(stage)
    saes = _train_saes(study, stage, range(study.sizes.control_seeds), model, scale=scale)
    all_x = scale * study.streams(study.score.games, stage, model)
    new_x = scale * study.rows(study.new, stage, model)
    scores, tables = _score(saes, all_x, study.score, study.protocol)
    return scores | {
        "quality": [quality(sae, new_x) for sae in saes],
        "audit": _audit(study, saes[0], tables[0], study.score.rows(all_x), new_x),
    }


def sae_quirks_part(study: Study, stage: int) -> dict:
    """What each quirk does to Figs. 3 and 5: SAEs of one stage by the corrected protocol with it alone.

    Args:
        study: the run.
        stage: whose streams are described.

    Returns:
        `{quirk: numbers}`.
    """
    result = {}
    for name, protocol in SAE_QUIRKS.items():
        saes = _train_saes(study, stage, range(study.sizes.control_seeds), protocol=protocol)
        scored = sample(study.games_for(protocol)[1], protocol)
        all_x = streams(study.model, scored.games, [stage], protocol.dropout)[0]
        scores, _ = _score(saes, all_x, scored, protocol, within=False)
        result[name] = {
            "colour_above": scores["colour"]["n_above"],
            "colour_top": scores["colour"]["top"],
            "stability_above": scores["stability"]["n_above"],
            "stability_best": scores["stability"]["best"],
            "most_tiles": [of[0]["tiles"] if of else 0 for of in scores["stability"]["features"]],
            "quality": [quality(sae, scored.rows(all_x)) for sae in saes],
            "cosine_with_start": _moved(saes, protocol, stage),
        }
    return result


def rivals_part(study: Study) -> dict:
    """Scores that know nothing of a network, audited on the new games of a `study` as the features are."""
    return audit_rivals(study.new, study.sizes.n_resamples)
