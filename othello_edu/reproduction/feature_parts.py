"""The parts about the paper's SAEs: Figs. 3 and 5, Tables 1-7, quirks, controls, and the audit."""

import torch

from ..sae import SparseAutoencoder
from ..sae_training import linear_fall
from .context import L1, Run
from .data import Sample, sample, streams
from .features import (
    CLOCK_TILES,
    agreement,
    audit_features,
    audit_rivals,
    feature_tables,
    quality,
    summaries,
    tables_of_all_rows,
)
from .protocol import SAE_QUIRKS, Protocol
from .published import PublishedSAE, cycled_rate
from .results import rounded


def _untrained(protocol: Protocol, d_model: int, stage: int, seeds):
    """The SAEs of one stage before training: from the same matrices at all stages, or not."""
    kind = PublishedSAE if protocol.wrong_axis else SparseAutoencoder
    first = 0 if protocol.same_start else 1000 * (stage + 1)
    return [kind(d_model, 2 * d_model, first + seed, L1) for seed in seeds]


def _train_saes(run: Run, stage: int, seeds, model=None, protocol=None, games=None, scale=1.0) -> list:
    """The SAEs of one stage, a seed each, trained together; by default on the run's network, by its
    protocol, on its games. scale: of the streams.
    """
    protocol = protocol or run.protocol
    games = run.games_for(protocol)[0] if games is None else games
    known = None if protocol.ended_rows else sample(games, protocol)

    def rows(epoch):
        x = streams(model or run.model, games, [stage], protocol.dropout, 1 + epoch)[0]
        return scale * (x.flatten(0, 1) if known is None else known.rows(x))

    saes = _untrained(protocol, run.model.config.d_model, stage, seeds)
    schedule = cycled_rate if protocol.cycled_rate else linear_fall
    x = rows if protocol.dropout else rows(0)  # noise is drawn anew in each epoch
    return run.fit(saes, x, run.sizes.sae_epochs, schedule=schedule, weight_decay=protocol.weight_decay)


def _moved(saes: list, protocol: Protocol, stage: int) -> float:
    """Mean |cosine| of each feature with its own beginning: 1 where training has done nothing."""
    starts = _untrained(protocol, saes[0].d_model, stage, range(len(saes)))
    cosines = [
        torch.cosine_similarity(start.directions, sae.directions, dim=0).abs().mean()
        for start, sae in zip(starts, saes, strict=True)
    ]
    return rounded(torch.stack(cosines).detach().mean())


def _score(saes: list, every: torch.Tensor, part: Sample, protocol: Protocol, within=True):
    """`summaries` of the SAEs on streams of all rows [n_games, 52, d_model], and their tables."""
    tables = [feature_tables(sae, part.rows(every), part, within) for sae in saes]
    of_all_rows = None
    if protocol.ended_rows:
        flat = every.flatten(0, 1)
        of_all_rows = [
            tables_of_all_rows(sae, flat, part, table["clock"])
            for sae, table in zip(saes, tables, strict=True)
        ]
    return summaries(tables, of_all_rows), tables


def _audit(run: Run, sae, tables: dict, x, new_x) -> dict:
    codes = sae.encode(x), sae.encode(new_x)
    return audit_features(tables, codes[0], run.score, codes[1], run.new, run.corner, run.sizes.sparse_games)


def features_part(run: Run, stage: int) -> dict:
    """SAEs of one stage: trained, scored for colour and stability, audited, compared with each other."""
    saes = _train_saes(run, stage, range(run.sizes.sae_seeds))
    every, new_x = run.streams(run.score.games, stage), run.rows(run.new, stage)
    x = run.score.rows(every)
    found, tables = _score(saes, every, run.score, run.protocol)
    run.save_tables(f"features_{stage}", tables[0])
    few = x[torch.from_numpy(run.score.game < run.sizes.sparse_games)]
    halves = [_train_saes(run, stage, [50 + at], games=run.split[0][at::2])[0] for at in range(2)]
    return found | {
        "quality": [quality(sae, new_x) for sae in saes],
        "cosine_with_start": _moved(saes, run.protocol, stage),
        "agreement": agreement(saes, few),
        "agreement of halves": agreement(halves, few),
        "audit": _audit(run, saes[0], tables[0], x, new_x),
        "clocks": [
            [entry for entry in of_seed if entry["edge_tiles"] >= CLOCK_TILES]
            for of_seed in found["stability"]["features"]
        ],
    }


def control_features_part(run: Run, stage: int) -> dict:
    """The same on the network with random weights, its streams made as large as the trained ones."""
    model, scale = run.random_model, run.control_scale(stage)
    saes = _train_saes(run, stage, range(run.sizes.control_seeds), model, scale=scale)
    every, new_x = scale * run.streams(run.score.games, stage, model), scale * run.rows(run.new, stage, model)
    found, tables = _score(saes, every, run.score, run.protocol)
    return found | {
        "quality": [quality(sae, new_x) for sae in saes],
        "audit": _audit(run, saes[0], tables[0], run.score.rows(every), new_x),
    }


def sae_quirks_part(run: Run, stage: int) -> dict:
    """What each quirk does to Figs. 3 and 5: SAEs of one stage by the corrected protocol with it alone."""
    result = {}
    for name, protocol in SAE_QUIRKS.items():
        saes = _train_saes(run, stage, range(run.sizes.control_seeds), protocol=protocol)
        scored = sample(run.games_for(protocol)[1], protocol)
        every = streams(run.model, scored.games, [stage], protocol.dropout)[0]
        found, _ = _score(saes, every, scored, protocol, within=False)
        result[name] = {
            "colour_above": found["colour"]["n_above"],
            "colour_top": found["colour"]["top"],
            "stability_above": found["stability"]["n_above"],
            "stability_best": found["stability"]["best"],
            "most_tiles": [of[0]["tiles"] if of else 0 for of in found["stability"]["features"]],
            "quality": [quality(sae, scored.rows(every)) for sae in saes],
            "cosine_with_start": _moved(saes, protocol, stage),
        }
    return result


def rivals_part(run: Run) -> dict:
    """Scores that know nothing of a network, audited as the features are."""
    return audit_rivals(run.new, run.sizes.n_resamples)
