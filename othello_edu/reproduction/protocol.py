"""The two protocols, and how much data each part of a run gets.

*published* is what the paper's public code does (Du et al., 2025, arXiv 2501.07108), quirks included.
*corrected* asks the same questions with the quirks mended. Both read plies 4 to 55 of random games: 52
boards a game, the paper's window.

What remains different from the paper in both: the network (smaller, without tokens for the end of a game),
and the number of games. The paper's probes read 100,000 games in batches of 64, as the published protocol's
do at full size; how many its SAEs read is not known, and here they take batches of 1,024 rows. The paper's
code counts Fig. 3 above 0.9, its text says 0.7, which is taken here. Accuracy is a mean over games, so that
games can be resampled.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

from dataclasses import dataclass, replace

LAST_CLAIMED = 7  # the paper's claims are about layers 1 to 7


@dataclass(frozen=True)
class Protocol:
    """One way to run the paper's experiments.

    Attributes:
        name: "published" or "corrected"; protocols with single quirks keep the name of the second.
        labels_before: labels of probes and of stability describe the board *before* the move that was just
            read, as its player saw it (labels of Fig. 3 describe the board after it, in the paper too).
        cut_at_pass: games end where a player cannot move, even if the other could.
        ended_rows: rows after the end of a game count, as boards all of whose edge tiles are stable (a mask
            of −100 is "not empty" to the paper's rule), and SAEs are trained on them.
        dropout: rate at which the network drops activations while it is being studied (0.2 in the paper's
            code, which never leaves training mode).
        norm_over_time: the probe sees streams through a LayerNorm over time and dimensions together, so that
            row t depends on later moves.
        cycled_rate: the learning rate of probes and SAEs swings between its value and nearly zero every 20
            steps.
        wrong_axis: the SAE's matrix has unit rows (one a dimension) where unit columns (one a feature) are
            meant, and a random bias to begin with.
        same_start: the SAEs of all stages begin with the same matrix.
        weight_decay: of AdamW.
        neurons_by_dimension: Fig. 4 normalises neurons' weights along the wrong axis.
        probe_of_empty: Fig. 4 takes the probe for "empty", where the text says "mine".
        last_stage: is the stage after the last block looked at?
    """

    name: str
    labels_before: bool = False
    cut_at_pass: bool = False
    ended_rows: bool = False
    dropout: float = 0.0
    norm_over_time: bool = False
    cycled_rate: bool = False
    wrong_axis: bool = False
    same_start: bool = False
    weight_decay: float = 0.0
    neurons_by_dimension: bool = False
    probe_of_empty: bool = False
    last_stage: bool = True

    def stages(self, n_layer: int) -> list[int]:
        """Stages that are looked at, of a network of `n_layer` blocks."""
        return list(range(n_layer + self.last_stage))


CORRECTED = Protocol("corrected")
PUBLISHED = Protocol(
    "published",
    labels_before=True,
    cut_at_pass=True,
    ended_rows=True,
    dropout=0.2,
    norm_over_time=True,
    cycled_rate=True,
    wrong_axis=True,
    same_start=True,
    weight_decay=0.01,
    neurons_by_dimension=True,
    probe_of_empty=True,
    last_stage=False,
)
PROTOCOLS = {protocol.name: protocol for protocol in (PUBLISHED, CORRECTED)}


def _corrected_but(**changes):
    return replace(CORRECTED, **changes)


# Quirks one at a time on top of the corrected protocol: of the published probe, and of the SAEs.
_NONE, _DROPOUT = _corrected_but(), _corrected_but(dropout=0.2)
_BEFORE, _CYCLED = _corrected_but(labels_before=True), _corrected_but(cycled_rate=True)
PROBE_QUIRKS: dict[str, Protocol] = {
    "none": _NONE,
    "labels before the move": _BEFORE,
    "LayerNorm over time": _corrected_but(norm_over_time=True),
    "cycled learning rate": _CYCLED,
    "dropout on": _DROPOUT,
    "all": PUBLISHED,
}
SAE_QUIRKS: dict[str, Protocol] = {
    "none": _NONE,
    "dropout on": _DROPOUT,
    "wrong axis": _corrected_but(wrong_axis=True),
    "cycled learning rate": _CYCLED,
    "labels before the move": _BEFORE,
    "rows after the end": _corrected_but(ended_rows=True, cut_at_pass=True),
}


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Games count games; each gives 52 boards.

    Attributes:
        train_games: to fit SAEs on.
        score_games: to score features on, the paper's 2,000.
        new_games: to report on what was chosen on the score games.
        panel_games: to splice reconstructions into.
        sae_seeds: SAEs of each stage, the paper's 10.
        control_seeds: SAEs of the random-weights network, and of single quirks.
        sae_epochs: the paper's 4.
        probe_games: of the published probe, which reads each game once.
        probe_fit_games: of the corrected one.
        dictionary_games: to train the dictionaries on that are set side by side.
        dictionary_steps: of 256 rows, of their training.
        sparse_games: of probes of k features, and of choices among occupied tiles.
        n_resamples: of the games, for intervals.
    """

    train_games: int = 10_000
    score_games: int = 2_000
    new_games: int = 1_000
    panel_games: int = 300
    sae_seeds: int = 10
    control_seeds: int = 2
    sae_epochs: int = 4
    probe_games: int = 100_000
    probe_fit_games: int = 2_000
    dictionary_games: int = 10_000
    dictionary_steps: int = 6_000
    sparse_games: int = 500
    n_resamples: int = 200


FULL = Sizes()
# For each of several networks: what claims about GPTs need, and no more.
SHORT = Sizes(
    train_games=4_000,
    panel_games=200,
    sae_seeds=2,
    control_seeds=1,
    probe_games=20_000,
    probe_fit_games=1_000,
    dictionary_games=4_000,
    dictionary_steps=2_000,
    n_resamples=100,
)
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
    dictionary_steps=24,
    sparse_games=30,
    n_resamples=20,
)
SIZES = {"full": FULL, "short": SHORT, "quick": QUICK}
