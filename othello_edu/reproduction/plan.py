"""The plan of a run: which parts, in which order, for which protocol and size. Each can be resumed by itself.

A part takes a `Study` and returns plain data; `run.py` runs the parts and keeps what they return.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

from collections.abc import Callable

from ..evaluation import evaluate
from .dictionary_comparison import dictionaries_part, sparse_probes_part
from .neurons import neurons_part
from .probing import majority_part, probes_part, published_probes_part
from .protocol import PUBLISHED, SHORT, Protocol, Sizes
from .results import rounded
from .sae_features import control_features_part, features_part, rivals_part, sae_quirks_part
from .study import Study

Part = Callable[[Study], dict]
NO_CLAIM = ("dictionaries", "sae_quirks")  # long parts that no claim rests on


def model_part(study: Study) -> dict:
    """How good is the network that `study` opens: loss, excess loss, legal rate, legal mass."""
    measured = evaluate(study.model, study.split[2])
    names = ("loss", "excess_loss", "legal_rate", "legal_mass")
    return {name: rounded(measured[name]) for name in names}


def parts(protocol: Protocol, n_layer: int, sizes: Sizes) -> dict[str, tuple[Part, float]]:
    """The parts of a run, in the order in which they run. At the short size those of `NO_CLAIM` are left out.

    Args:
        protocol: one of the two.
        n_layer: blocks of the network.
        sizes: how much of everything.

    Returns:
        `{name: (function, share of the time)}`.

    Example:
        >>> from othello_edu.reproduction.protocol import CORRECTED, SHORT
        >>> list(parts(CORRECTED, n_layer=8, sizes=SHORT))[:3]
        ['model', 'rivals', 'majority']
    """
    stages = protocol.stages(n_layer)
    listed: dict[str, tuple[Part, float]] = {"model": (model_part, 0.1), "rivals": (rivals_part, 1.0)}

    def add(name, function, stage, share):
        listed[f"{name}/{stage}"] = (lambda study: function(study, stage), share)

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
    if sizes == SHORT:
        listed = {name: part for name, part in listed.items() if name.split("/")[0] not in NO_CLAIM}
    return listed
