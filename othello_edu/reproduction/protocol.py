"""The two protocols, and how much data each part of a run gets.

*published* is what the paper's public code does (Du et al., 2025, arXiv 2501.07108), quirks included.
*corrected* asks the same questions with the quirks mended. Both read plies 4 to 55 of random games: 52
boards a game, the paper's window.
"""

from dataclasses import dataclass

FIRST_PLY, LAST_PLY = 4, 55
COLOUR_THRESHOLD, STABILITY_THRESHOLD = 0.7, 0.8  # of AUROC: Fig. 3, and Fig. 5 with Tables 1-7
COSINE_THRESHOLD = 0.2  # Fig. 4
TOP_TRIPLES = 50  # Fig. 3


@dataclass(frozen=True)
class Protocol:
    """One way to run the paper's experiments.

    labels_before: labels describe the board *before* the move that was just read, as its player saw it.
    dropout: rate at which the network drops activations while it is being studied (0.2 in the paper's code,
    which never leaves training mode). norm_over_time: the probe sees streams through a LayerNorm over time
    and dimensions together, so that row t depends on later moves. cycled_rate: the learning rate of probes
    and SAEs swings between its value and nearly zero every 20 steps. wrong_axis: the SAE's matrix has unit
    rows (one a dimension) where unit columns (one a feature) are meant. same_start: the SAEs of all stages
    begin with the same matrix. neurons_by_dimension: Fig. 4 normalises neurons' weights along the wrong axis.
    probe_of_empty: Fig. 4 takes the probe for "empty", where the text says "mine". last_stage: is the stage
    after the last block looked at?
    """

    name: str
    labels_before: bool
    dropout: float
    norm_over_time: bool
    cycled_rate: bool
    wrong_axis: bool
    same_start: bool
    neurons_by_dimension: bool
    probe_of_empty: bool
    last_stage: bool

    def stages(self, n_layer: int) -> list[int]:
        """Stages that are looked at, of a network of `n_layer` blocks."""
        return list(range(n_layer + self.last_stage))


PUBLISHED = Protocol("published", True, 0.2, True, True, True, True, True, True, last_stage=False)
CORRECTED = Protocol("corrected", False, 0.0, False, False, False, False, False, False, last_stage=True)
PROTOCOLS = {protocol.name: protocol for protocol in (PUBLISHED, CORRECTED)}


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Games count games; each gives 52 boards.

    train_games: to fit probes and SAEs on. score_games: to score features on, the paper's 2,000. new_games:
    to report on what was chosen on the score games. panel_games: to splice reconstructions into. sae_seeds:
    the paper's 10. control_seeds: SAEs of the random-weights network. sae_epochs: the paper's 4.
    probe_games: of the published probe, which reads each game once; probe_fit_games: of the corrected one.
    dictionary_games: of the dictionaries that are set side by side. sparse_games: of probes of k features.
    """

    train_games: int = 10_000
    score_games: int = 2_000
    new_games: int = 1_000
    panel_games: int = 300
    sae_seeds: int = 10
    control_seeds: int = 2
    sae_epochs: int = 4
    probe_games: int = 40_000
    probe_fit_games: int = 2_000
    dictionary_games: int = 4_000
    sparse_games: int = 500
    n_resamples: int = 200


FULL = Sizes()
# Not enough for any conclusion: whether everything runs.
QUICK = Sizes(
    train_games=120,
    score_games=60,
    new_games=40,
    panel_games=10,
    sae_seeds=2,
    control_seeds=1,
    sae_epochs=1,
    probe_games=128,
    probe_fit_games=60,
    dictionary_games=80,
    sparse_games=30,
    n_resamples=20,
)
