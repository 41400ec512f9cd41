"""Fig. 4: MLP neurons beside the probes' directions. The probes are those that `probing.py` has saved.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

from dataclasses import replace

import torch
from torch.nn import functional as F

from .feature_tables import CLASSES
from .paper import COSINE_THRESHOLD
from .probing import centred
from .protocol import Protocol
from .results import round_all, rounded
from .study import Study


def neurons_part(study: Study) -> dict:
    """How many neurons of each block read along the probe's direction of each tile.

    Block b (counted from 1) is paired with the probe of stage b − 1, the stream that the block reads. As
    corrected, a neuron's direction includes the gain of the LayerNorm before it.

    Args:
        study: the run, whose probes are there.

    Returns:
        Counts by block and tile.

        - per_tile, above the paper's threshold;
        - per_tile_scaled, above threshold_scaled: the paper's 0.2, for 512 dimensions, at this width, the
          cosine that is as rare between random directions;
        - per_tile_shuffled and per_tile_shuffled_scaled, the same with the dimensions of every neuron in
          another order, the mean of ten;
        - variants, the protocol with the other probe, or normalised along the other axis: neurons counted in
          each block at the scaled threshold.
    """
    protocol = study.protocol
    result = _neurons(study, protocol)
    result["variants"] = {}
    for empty in (False, True):
        for by_dimension in (False, True):
            variant = replace(protocol, probe_of_empty=empty, neurons_by_dimension=by_dimension)
            name = f"{'empty' if empty else 'mine'}, {'by dimension' if by_dimension else 'by neuron'}"
            result["variants"][name] = [sum(tiles) for tiles in _neurons(study, variant)["per_tile_scaled"]]
    return result


def _neurons(study: Study, protocol: Protocol) -> dict:
    d_model = study.model.config.d_model
    scaled = COSINE_THRESHOLD * (512 / d_model) ** 0.5
    kind = CLASSES["empty" if protocol.probe_of_empty else "mine"]
    counts, at_scaled, chance, chance_scaled = [], [], [], []
    random = torch.Generator().manual_seed(0)
    weights = study.model.state_dict()
    for block in range(study.model.config.n_layer):
        probe = study.load(f"probe_{block}")["weight"]  # of the stage before it, which has its number
        reads = weights[f"blocks.{block}.mlp.up.weight"].cpu()
        if protocol.neurons_by_dimension:
            reads = reads / reads.norm(dim=0, keepdim=True)
            directions = probe[:, kind]
        else:
            reads = F.normalize(reads * weights[f"blocks.{block}.ln_2.weight"].cpu(), dim=1)
            directions = centred(probe)[:, kind]
        directions = F.normalize(directions, dim=1)
        cosines = (reads @ directions.T).abs()
        counts.append((cosines > COSINE_THRESHOLD).sum(0).tolist())
        at_scaled.append((cosines > scaled).sum(0).tolist())
        orders = [torch.randperm(d_model, generator=random) for _ in range(10)]
        mixed = torch.stack([(reads[:, order] @ directions.T).abs() for order in orders])
        chance.append(round_all((mixed > COSINE_THRESHOLD).sum(1).double().mean(0)))
        chance_scaled.append(round_all((mixed > scaled).sum(1).double().mean(0)))
    return {
        "threshold": COSINE_THRESHOLD,
        "threshold_scaled": rounded(scaled),
        "per_tile": counts,
        "per_tile_scaled": at_scaled,
        "per_tile_shuffled": chance,
        "per_tile_shuffled_scaled": chance_scaled,
    }
