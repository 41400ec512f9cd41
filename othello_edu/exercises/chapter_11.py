"""Chapter 11, learning over time: when a curve reaches a level, and which stage comes first."""

import numpy as np

from ._question import Misconception, Question


def games_to_reach(games, values, level):
    reached = values >= level
    if not reached.any():
        return np.nan
    after = reached.argmax()
    if after == 0:
        return float(games[0])
    before = after - 1
    share = (level - values[before]) / (values[after] - values[before])
    return float(games[before] * (games[after] / games[before]) ** share)


def _between_as_on_a_ruler(games, values, level):
    reached = values >= level
    if not reached.any():
        return np.nan
    after = reached.argmax()
    if after == 0:
        return float(games[0])
    before = after - 1
    share = (level - values[before]) / (values[after] - values[before])
    return float(games[before] + share * (games[after] - games[before]))


def _the_snapshot_after(games, values, level):
    reached = values >= level
    return float(games[reached.argmax()]) if reached.any() else np.nan


def _the_snapshot_before(games, values, level):
    reached = values >= level
    return float(games[max(0, reached.argmax() - 1)]) if reached.any() else np.nan


def _the_last_crossing(games, values, level):
    below = np.flatnonzero(values < level)
    if values[-1] < level:
        return np.nan
    if len(below) == 0:
        return float(games[0])
    before = below[-1]
    share = (level - values[before]) / (values[before + 1] - values[before])
    return float(games[before] * (games[before + 1] / games[before]) ** share)


def _the_nearest_snapshot(games, values, level):
    return float(games[np.abs(values - level).argmin()])


def _never_is_the_end(games, values, level):
    answer = games_to_reach(games, values, level)
    return float(games[-1]) if np.isnan(answer) else answer


_GAMES = np.array([1000, 2000, 4000, 16_000, 64_000, 128_000])
_RISE = np.array([0.31, 0.42, 0.40, 0.66, 0.81, 0.86])
_DIP = np.array([0.50, 0.58, 0.52, 0.70, 0.69, 0.74])

q1 = Question(
    title="Games to reach a level",
    answer=games_to_reach,
    cases=[
        (_GAMES, _RISE, 0.5),
        (_GAMES, _RISE, 0.41),
        (_GAMES, _DIP, 0.55),
        (_GAMES, _DIP, 0.4),
        (_GAMES, _DIP, 0.9),
    ],
    misconceptions=[
        Misconception(
            _between_as_on_a_ruler,
            "Between two snapshots you interpolate on a linear axis. The snapshots double and quadruple: "
            "their axis is logarithmic, and half way between 4,000 and 16,000 games on it is 8,000.",
        ),
        Misconception(
            _the_snapshot_after,
            "You give the first snapshot at which the level has been reached. It was reached somewhere "
            "before that one, and how long before depends on how densely somebody chose to take snapshots.",
        ),
        Misconception(
            _the_snapshot_before,
            "You give the last snapshot at which the level had not been reached. It was reached after it.",
        ),
        Misconception(
            _the_last_crossing,
            "You take the last time that the curve comes through the level. A curve may fall below it again; "
            "when it was reached is the first time.",
        ),
        Misconception(
            _the_nearest_snapshot,
            "You give the snapshot whose value is nearest to the level. That may be one long before or after "
            "it was reached, and there is always one, even where the level is never reached.",
        ),
        Misconception(
            _never_is_the_end,
            "Where the level is never reached you answer with the last snapshot. A level that is never "
            "reached then looks like one that is reached late: give `np.nan`.",
        ),
    ],
    advice=(
        "Find the first snapshot that is at the level or above, and the one before it. `np.interp` on the "
        "logarithms of the games does the rest; think of the two cases at the ends first."
    ),
    why=(
        "The first crossing, interpolated where the eye would put it on a logarithmic axis. A level that is "
        "never reached has no time, and NaN keeps it out of every mean."
    ),
)


def order_of_arrival(games, scores):
    halves = [(curve[0] + curve[-1]) / 2 for curve in scores.T]
    times = [games_to_reach(games, curve, half) for curve, half in zip(scores.T, halves, strict=True)]
    return [int(stage) for stage in np.argsort(times, kind="stable")]


def _one_level_for_all(games, scores):
    half = (scores[0].mean() + scores[-1].max()) / 2
    times = [games_to_reach(games, curve, half) for curve in scores.T]
    return [int(stage) for stage in np.argsort(np.nan_to_num(times, nan=np.inf), kind="stable")]


def _half_of_the_end(games, scores):
    times = [games_to_reach(games, curve, curve[-1] / 2) for curve in scores.T]
    return [int(stage) for stage in np.argsort(times, kind="stable")]


def _best_at_the_end(games, scores):
    return [int(stage) for stage in np.argsort(-scores[-1], kind="stable")]


def _last_first(games, scores):
    return order_of_arrival(games, scores)[::-1]


def _steepest_rise(games, scores):
    rises = scores[-1] - scores[0]
    return [int(stage) for stage in np.argsort(-rises, kind="stable")]


_SCORES = np.array(
    [
        [0.60, 0.52, 0.50, 0.30],
        [0.61, 0.55, 0.51, 0.55],
        [0.63, 0.73, 0.55, 0.64],
        [0.68, 0.78, 0.74, 0.66],
        [0.69, 0.84, 0.88, 0.67],
        [0.70, 0.86, 0.95, 0.68],
    ]
)

q2 = Question(
    title="Which stage comes first",
    answer=order_of_arrival,
    cases=[(_GAMES, _SCORES), (_GAMES, _SCORES[:, [2, 1, 3]])],
    misconceptions=[
        Misconception(
            _one_level_for_all,
            "You use one level for all stages. A stage that begins high, as any stage with random weights "
            "may, has then reached it before it has learned anything, and a stage that ends low never "
            "reaches it.",
        ),
        Misconception(
            _half_of_the_end,
            "You ask when a stage has half of its final score. It may have had that at birth: half way is "
            "half way from where it started.",
        ),
        Misconception(
            _best_at_the_end,
            "You order the stages by their final scores. That says how good they are, not when they change.",
        ),
        Misconception(
            _last_first, "Your order is the reverse one: the first in the list should be the earliest."
        ),
        Misconception(
            _steepest_rise,
            "You order the stages by how far they rise. That says how much they rise, not when.",
        ),
    ],
    advice=(
        "For each stage compute its own level, half way between its first and its last score, then use the "
        "function of exercise 1; `np.argsort` turns times into an order."
    ),
    why=(
        "Each stage is measured against its own beginning and its own end. That says when it changed, and "
        "nothing about how good it became; both belong in a report."
    ),
)
