"""Do two ways of teaching leave the same network? The test was written down before any network was compared.

Networks of one shape that are equally far from the best loss form two *arms*: one was taught the move that
was drawn, the other all legal moves. `measure` describes one network in numbers and curves, `similarities`
compares networks in pairs. `compare` asks of each measure whether the arms differ by more than the seeds do:
the networks are dealt into two groups in every possible way, and the arms *differ* if no other way sets the
groups as far apart. With three networks an arm there are ten ways: one measure in ten differs by chance.

A difference that was not found may still be there. So each measure has a size, set in advance, from which a
difference matters, and a difference is planted in the measured values to learn from which size it is found.

See Also:
    Chapter 4, :doc:`/notebooks/04_training`; the page :doc:`/book/two_teachers`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch

from ..dictionaries import panel
from ..errors import OthelloEduError
from ..evaluation import evaluate
from ..games import Games, random_games, replay, split_games
from ..interventions import board_directions, probe_edits, random_edits, run_cases, sample_cases, wrong_moves
from ..labels import EMPTY, MINE, THEIRS, colours
from ..model import GPT
from ..probes import LinearProbe, accuracy
from ..sae import TopK
from ..sae_training import fit, linear_fall
from .probing import centred
from .protocol import CORRECTED
from .results import round_all
from .samples import PLIES, Sample, sample, streams

SEED = 43  # of the games: those of a reproduction are others
FIT_GAMES, NEW_GAMES, LOSS_GAMES, N_CASES = 1000, 300, 2000, 300
SAE_STAGES, SAE_KS = (2, 4, 6), (8, 16, 32, 64)
CHANCE = 0.1  # of two arms that differ in nothing, so many measures are called different

AGREE, SLIGHTLY, DIFFER, UNCLEAR = "agree", "differ slightly", "differ", "unclear"


@dataclass(frozen=True)
class Measure:
    """What is compared.

    Attributes:
        says: what it is, for a table.
        matters: the size, in units of the measure, from which a difference changes what is said.
    """

    says: str
    matters: float


MEASURES = {
    "excess_loss": Measure("excess loss, nats (the networks were matched in it)", 0.01),
    "legal_rate": Measure("legal rate", 0.005),
    "legal_mass": Measure("legal mass", 0.01),
    "calibration": Measure("calibration error", 0.01),
    "all_squares": Measure("probe accuracy by stage, all squares", 0.01),
    "discs": Measure("probe accuracy by stage, occupied squares alone", 0.01),
    "mine_above_colours": Measure("mine/theirs above black/white, by stage", 0.02),
    "halves": Measure("cosine of probes of two halves of the games, by stage", 0.05),
    "reading_writing": Measure("cosine of reading and writing, by stage", 0.05),
    "edited_board": Measure("wrong moves on the edited board less those without a push, by stage", 0.2),
    "true_board": Measure("wrong moves on the true board less those without a push, by stage", 0.2),
    "random_push": Measure("the same on the true board, random pushes", 0.2),
    "sae_variance": Measure("variance that SAEs explain, by stage and L0", 0.01),
    "sae_loss": Measure("loss that SAEs recover, by stage and L0", 0.02),
    "readings": Measure("similarity of probe subspaces across and within arms, by stage", 0.05),
}


# Of one network --------------------------------------------------------------------------------------


def measure(model: GPT) -> dict[str, list[float]]:
    """Everything that is measured of one network alone.

    Args:
        model: of the 8x8 board.

    Returns:
        Of each of `MEASURES` but those of pairs a curve; a single number is a curve of one point.
    """
    torch.manual_seed(0)
    to_fit, new, pushed = _samples()
    stages = range(model.config.n_layer + 1)
    x, new_x = (streams(model, part.games, stages) for part in (to_fit, new))
    probe = LinearProbe(epochs=4).fit(x, to_fit.labels)
    of_colours = LinearProbe(epochs=4).fit(x, _colours(to_fit)).predict(new_x)
    all_squares = _by_stage(accuracy, probe.predict(new_x), new.labels)
    result = _of_loss(model) | {
        "all_squares": all_squares,
        "discs": _by_stage(accuracy, probe.predict(new_x), np.where(new.labels == EMPTY, -1, new.labels)),
        "mine_above_colours": all_squares - _by_stage(accuracy, of_colours, _colours(new)),
        "halves": _of_halves(x, to_fit.labels),
    }
    result |= _of_pushes(model, probe, board_directions(x, to_fit.labels), pushed.games)
    result |= _of_saes(model, x, to_fit, new.games)
    return {name: round_all(np.atleast_1d(np.asarray(values))) for name, values in result.items()}


def _samples() -> list[Sample]:
    """Games to fit on, to judge on, and to push in."""
    return [sample(games, CORRECTED) for games in split_games(FIT_GAMES, NEW_GAMES, NEW_GAMES, seed=SEED)]


def _colours(part: Sample) -> np.ndarray:
    return colours(replay(part.games))[:, PLIES.start : PLIES.stop]


def _by_stage(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray], predicted: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    return np.array([score(of_stage, labels) for of_stage in predicted])


def _of_loss(model: GPT) -> dict:
    measured = evaluate(model, random_games(LOSS_GAMES, SEED + 1))
    numbers = {name: measured[name] for name in ("excess_loss", "legal_rate", "legal_mass")}
    return numbers | {"calibration": measured["calibration"]["error"]}


def _of_halves(x: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    first, second = (LinearProbe(epochs=4).fit(x[:, at::2], labels[at::2]).weight for at in range(2))
    pairs = zip(first, second, strict=True)
    return torch.stack([torch.cosine_similarity(centred(a), centred(b), dim=-1).mean() for a, b in pairs])


def _of_pushes(model: GPT, probe: LinearProbe, written: torch.Tensor, games: Games) -> dict:
    """Chapter 6 at every stage: one disc is turned over in the stream, along the writing."""
    cases = sample_cases(replay(games), N_CASES, seed=0)

    def wrong(logits):
        return [wrong_moves(logits, legal).mean() for legal in (cases.legal_after, cases.legal_before)]

    nothing = np.array(wrong(run_cases(model, games, cases).logits))
    pushed, at_random = [], []
    for stage in range(len(probe.weight)):
        edits = probe_edits(probe, cases, [stage], along=written)
        logits, pushes = run_cases(model, games, cases, edits)
        pushed.append(wrong(logits) - nothing)
        control = random_edits(cases, pushes, seed=stage)
        at_random.append(wrong(run_cases(model, games, cases, control).logits) - nothing)
    reading, writing = (along[:, :, THEIRS] - along[:, :, MINE] for along in (probe.weight, written))
    return {
        "edited_board": np.array(pushed)[:, 0],
        "true_board": np.array(pushed)[:, 1],
        "random_push": np.array(at_random)[:, 1],
        "reading_writing": torch.cosine_similarity(reading, writing, dim=-1).mean(-1),
    }


def _of_saes(model: GPT, x: torch.Tensor, to_fit: Sample, new: Games) -> dict:
    """The curve of L0 against explained variance, and against the loss with the reconstruction put in."""
    d_model = model.config.d_model
    variance, loss = [], []
    for stage in SAE_STAGES:
        rows = to_fit.rows(x[stage])
        for k in SAE_KS:
            of_sae = panel(model, fit(TopK(d_model, 2 * d_model, k), rows, schedule=linear_fall), stage, new)
            variance.append(of_sae.explained_variance)
            loss.append(of_sae.loss_recovered)
    return {"sae_variance": variance, "sae_loss": loss}


# Of pairs --------------------------------------------------------------------------------------------


def similarities(models: Sequence[GPT]) -> np.ndarray:
    """How alike are the subspaces in which the networks keep their boards?

    Networks have no axes in common, so the subspaces are compared by what is in them: the 64 readings of mine
    against theirs, on the same positions. The canonical correlations of two sets of readings are 1 where each
    is a linear function of the other.

    Args:
        models: of the 8x8 board and one depth.

    Returns:
        float [n_models, n_models, n_layer + 1], mean squared canonical correlations, symmetric.
    """
    to_fit, new, _ = _samples()
    bases = []  # for each network and stage, orthonormal columns that span its readings
    for model in models:
        stages = range(model.config.n_layer + 1)
        weight = LinearProbe(epochs=4).fit(streams(model, to_fit.games, stages), to_fit.labels).weight
        readings = [
            new.rows(x) @ (of_stage[:, MINE] - of_stage[:, THEIRS]).T
            for x, of_stage in zip(streams(model, new.games, stages), weight, strict=True)
        ]
        bases.append([torch.linalg.qr(read.double() - read.double().mean(0)).Q for read in readings])

    def alike(ours, theirs):
        return [float((a.T @ b).square().sum() / b.shape[1]) for a, b in zip(ours, theirs, strict=True)]

    return np.array([[alike(ours, theirs) for theirs in bases] for ours in bases])


# The test --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """The two arms in one measure.

    Attributes:
        means: two curves [2, m]: the mean of each arm; of pairs, the mean within arms and across.
        difference: root of the mean squared difference of the two curves; of pairs, how much less alike are
            networks of different arms.
        spread: the same root for the two networks of one arm that are furthest apart; of pairs, from the most
            to the least alike.
        p: share of the ways to deal the networks that set the groups at least as far apart.
        found_from: the size of a constant difference from which it is found, when it is planted into these
            values once the arms' own difference is taken out.
        outcome: "differ" or "differ slightly" (found; at least of, or below, the size that matters), "agree"
            (none found, and one that matters would have been) or "unclear" (none found; it might be missed).
    """

    means: np.ndarray
    difference: float
    spread: float
    p: float
    found_from: float
    outcome: str


def compare(values: npt.ArrayLike, n_first: int, matters: float) -> Comparison:
    """Do two arms differ in a measure?

    Args:
        values: float [n, m], a curve of each network, those of the first arm first.
        n_first: networks of the first arm.
        matters: the size from which a difference matters.

    Returns:
        The comparison.

    Raises:
        OthelloEduError: with fewer than three networks in an arm: then no difference could be told.

    Example:
        >>> compare([[0.0], [1.0], [2.0], [7.0], [8.0], [9.0]], n_first=3, matters=1).outcome
        'differ'
        >>> compare([[0.0], [1.0], [2.0], [0.5], [1.5], [2.0]], n_first=3, matters=1).outcome
        'unclear'
    """
    values = np.asarray(values, float)
    first = _first(len(values), n_first)
    means = np.stack([values[first].mean(0), values[~first].mean(0)])

    def apart(values, group):
        return _size(values[~group].mean(0) - values[group].mean(0))

    def planted(size):
        return values - np.where(first[:, None], means[0], means[1] - size)

    pairs = [(a, b) for arm in (values[first], values[~first]) for a, b in combinations(arm, 2)]
    spread = max(_size(a - b) for a, b in pairs)
    return _judged(values, apart, planted, first, matters, means=means, spread=spread)


def compare_pairs(table: npt.ArrayLike, n_first: int, matters: float) -> Comparison:
    """Are networks of different arms less alike than those of one arm?

    Args:
        table: float [n, n, m], how alike two networks are, symmetric.
        n_first: networks of the first arm, which come first.
        matters: the size from which a difference matters.

    Returns:
        The comparison.

    Raises:
        OthelloEduError: with fewer than three networks in an arm.
    """
    table = np.asarray(table, float)
    first = _first(len(table), n_first)
    pairs = ~np.eye(len(table), dtype=bool)

    def within_and_across(table, group):
        same = group[:, None] == group
        return np.stack([table[same & pairs].mean(0), table[~same].mean(0)])

    def less_alike(table, group):
        within, across = within_and_across(table, group)
        return float((within - across).mean())

    def planted(size):
        across = (first[:, None] != first)[..., None]
        return table + np.where(across, less_alike(table, first) - size, 0)

    means, spread = within_and_across(table, first), float(np.ptp(table[pairs].mean(-1)))
    return _judged(table, less_alike, planted, first, matters, means=means, spread=spread)


def _first(n: int, n_first: int) -> np.ndarray:
    if min(n_first, n - n_first) < 3:
        raise OthelloEduError(f"the arms have {n_first} and {n - n_first} networks: each needs three")
    return np.arange(n) < n_first


def _size(curve: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(curve))))


def _judged(
    values: np.ndarray,
    apart: Callable[[np.ndarray, np.ndarray], float],
    planted: Callable[[float], np.ndarray],
    first: np.ndarray,
    matters: float,
    means: np.ndarray,
    spread: float,
) -> Comparison:
    """What `values` say of two arms, given how far `apart` they set two groups."""

    def p(values):
        """The share of ways to deal the networks; two ways that swap the groups count as one."""
        real = apart(values, first)
        by_chance = [apart(values, group) for group in _ways(first)]
        return np.mean([value >= real - 1e-12 * abs(real) for value in by_chance])

    difference, of_chance = apart(values, first), p(values)
    missed, found_from = 0.0, 1e-6
    while p(planted(found_from)) > CHANCE:
        missed, found_from = found_from, 2 * found_from
    while found_from > 1.01 * missed and found_from > 1e-6:
        middle = (missed + found_from) / 2
        if p(planted(middle)) > CHANCE:
            missed = middle
        else:
            found_from = middle
    if of_chance <= CHANCE:
        outcome = DIFFER if difference >= matters else SLIGHTLY
    else:
        outcome = AGREE if found_from <= matters else UNCLEAR
    return Comparison(means, difference, spread, float(of_chance), found_from, outcome)


def _ways(first: np.ndarray) -> Iterator[np.ndarray]:
    """Every way to deal as many networks, as `first` is one; of arms of one size, each only once."""
    n, n_first = len(first), int(first.sum())
    for chosen in combinations(range(n), n_first):
        if 2 * n_first != n or 0 in chosen:
            yield np.isin(np.arange(n), chosen)
