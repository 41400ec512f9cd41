"""The parts of a run, each of which can be resumed by itself: what runs, in which order, for which protocol.

A part takes a `Run` and returns plain data; `run.py` runs the parts, keeps what they return, and draws it.
"""

from collections.abc import Callable

from ..evaluation import evaluate
from .context import Run
from .dictionary_parts import dictionaries_part, sparse_probes_part
from .feature_parts import control_features_part, features_part, rivals_part, sae_quirks_part
from .probe_parts import majority_part, neurons_part, probes_part, published_probes_part
from .protocol import PUBLISHED, Protocol
from .results import rounded


def model_part(run: Run) -> dict:
    """How good is the network that is being opened?"""
    measured = evaluate(run.model, run.split[2])
    names = ("loss", "excess_loss", "legal_rate", "legal_mass")
    return {name: rounded(measured[name]) for name in names}


def parts(protocol: Protocol, n_layer: int) -> dict[str, tuple[Callable[[Run], dict], float]]:
    """{name: (function, share of the time)} in the order in which they run."""
    stages = protocol.stages(n_layer)
    listed = {"model": (model_part, 0.1), "rivals": (rivals_part, 1.0)}

    def add(name, function, stage, share):
        listed[f"{name}/{stage}"] = (lambda run: function(run, stage), share)

    if protocol == PUBLISHED:
        listed["published_probes"] = (published_probes_part, 8.0)
    else:
        listed["majority"] = (majority_part, 0.2)
        for stage in stages:
            add("probes", probes_part, stage, 1.0)
    listed["neurons"] = (neurons_part, 0.1)
    for stage in stages:
        add("features", features_part, stage, 4.0)
        add("control_features", control_features_part, stage, 1.5)
    if protocol == PUBLISHED:
        for stage in (1, n_layer // 2):
            add("sae_quirks", sae_quirks_part, stage, 4.0)
    else:
        for stage in sorted({1, n_layer // 2 + 1, n_layer}):
            add("dictionaries", dictionaries_part, stage, 5.0)
            add("sparse_probes", sparse_probes_part, stage, 2.0)
    return listed
