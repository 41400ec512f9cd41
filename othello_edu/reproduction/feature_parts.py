"""The parts about the paper's SAEs: Figs. 3 and 5, Tables 1-7, quirks, controls, and the audit."""

from dataclasses import replace

import torch

from ..sae import SparseAutoencoder, linear_fall
from .context import L1, Run, quality
from .data import sample, streams
from .features import CLOCK_TILES, agreement, audit_features, audit_rivals, rounded, score_features
from .protocol import CORRECTED, SAE_QUIRKS, Protocol
from .published import PublishedSAE, cycled_rate


def _train_saes(run: Run, stage: int, seeds, model=None, protocol=None, games=None, scale=1.0) -> list:
    """The SAEs of one stage, a seed each, trained together. scale: of the streams."""
    protocol = protocol or run.protocol
    games = run.games_for(protocol)[0] if games is None else games
    d_model = run.model.config.d_model
    seeds = list(seeds) if protocol.same_start else [1000 * (stage + 1) + seed for seed in seeds]
    kind = PublishedSAE if protocol.wrong_axis else SparseAutoencoder
    stack = kind(d_model, 2 * d_model, seeds, L1)
    known = None if protocol.ended_rows else sample(games, protocol)

    def rows(epoch):
        x = streams(model or run.model, games, [stage], protocol.dropout, 1000 + epoch)[0]
        return scale * (x.flatten(0, 1) if known is None else known.rows(x))

    schedule = cycled_rate if protocol.cycled_rate else linear_fall
    x = rows if protocol.dropout else rows(0)  # noise is drawn anew in each epoch
    run.fit(stack, x, run.sizes.sae_epochs, schedule=schedule, weight_decay=protocol.weight_decay)
    return stack.unstack()


def _moved(saes: list, protocol: Protocol, stage: int) -> float:
    """Mean |cosine| of each feature with its own beginning: 1 where training has done nothing."""
    cosines = []
    for seed, sae in enumerate(saes):
        seed = seed if protocol.same_start else 1000 * (stage + 1) + seed
        kind = PublishedSAE if protocol.wrong_axis else SparseAutoencoder
        start = kind(*sae.directions.shape, seed).directions.detach()
        cosines.append(torch.cosine_similarity(start, sae.directions, dim=0).abs().mean())
    return rounded(torch.stack(cosines).mean())


def features_part(run: Run, stage: int) -> dict:
    """SAEs of one stage: trained, scored for colour and stability, audited, compared with each other."""
    sizes = run.sizes
    saes = _train_saes(run, stage, range(sizes.sae_seeds))
    run.save(f"saes_{stage}", {f"{at}.{key}": t for at, sae in enumerate(saes) for key, t in _state(sae)})
    every = run.streams(run.score.games, stage, seed=len(run.score.games))
    x, new_x = run.score.rows(every), run.rows(run.new, stage)
    all_rows = every.flatten(0, 1) if run.protocol.ended_rows else None
    found, tables = score_features(saes, x, run.score, all_rows=all_rows)
    run.save_tables(f"features_{stage}", tables)
    result = {"quality": [quality(sae, new_x) for sae in saes]}
    result |= {"cosine_with_start": _moved(saes, run.protocol, stage), **found}
    few = x[torch.from_numpy(run.score.game < sizes.sparse_games)]
    result["agreement"] = agreement(saes, few)
    halves = [_train_saes(run, stage, [50 + at], games=run.split[0][at::2])[0] for at in range(2)]
    result["agreement of halves"] = agreement(halves, few)
    result["audit"] = _audit(run, saes[0], x, new_x)
    result["clocks"] = [
        [entry for entry in of_seed if entry["edge_tiles"] >= CLOCK_TILES]
        for of_seed in result["stability"]["features"]
    ]
    return result


def _audit(run: Run, sae, x, new_x) -> dict:
    codes = sae.encode(x), sae.encode(new_x)
    return audit_features(
        codes[0], run.score, codes[1], run.new, run.sizes.n_resamples, run.sizes.sparse_games
    )


def _state(sae):
    return [("weight", sae.directions.detach()), ("bias", sae.bias.detach())]


def control_features_part(run: Run, stage: int) -> dict:
    """The same on the network with random weights, its streams made as large as the trained ones."""
    model, scale = run.random_model, run.control_scale(stage)
    saes = _train_saes(run, stage, range(run.sizes.control_seeds), model, scale=scale)
    every = scale * run.streams(run.score.games, stage, model, seed=len(run.score.games))
    x, new_x = run.score.rows(every), scale * run.rows(run.new, stage, model)
    all_rows = every.flatten(0, 1) if run.protocol.ended_rows else None
    found, _ = score_features(saes, x, run.score, all_rows=all_rows)
    result = {"quality": [quality(sae, new_x) for sae in saes], **found}
    result["audit"] = _audit(run, saes[0], x, new_x)
    return result


def sae_quirks_part(run: Run, stage: int) -> dict:
    """What each quirk does to Figs. 3 and 5: SAEs of one stage by the corrected protocol with it alone."""
    result = {}
    for name, quirk in SAE_QUIRKS.items():
        protocol = replace(CORRECTED, **quirk)
        saes = _train_saes(run, stage, range(run.sizes.control_seeds), protocol=protocol)
        scored = sample(run.games_for(protocol)[1], protocol)
        every = streams(run.model, scored.games, [stage], protocol.dropout, 1)[0]
        all_rows = every.flatten(0, 1) if protocol.ended_rows else None
        found, _ = score_features(saes, scored.rows(every), scored, within=False, all_rows=all_rows)
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
