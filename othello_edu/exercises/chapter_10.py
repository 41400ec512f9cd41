"""Chapter 10, auditing a claim: a verdict from paired differences, and agreement above chance."""

import numpy as np

from ._question import Misconception, Question


def verdict(ours, rival):
    low, high = np.quantile(ours[1:] - rival[1:], [0.025, 0.975])
    return "ahead" if low > 0 else "behind" if high < 0 else "undecided"


def _ends(values, tail=0.025):
    return np.quantile(values, [tail, 1 - tail])


def _word(low, high):
    return "ahead" if low > 0 else "behind" if high < 0 else "undecided"


def _intervals_apart(ours, rival):
    our_low, our_high = _ends(ours[1:])
    low, high = _ends(rival[1:])
    return "ahead" if our_low > high else "behind" if our_high < low else "undecided"


def _means_only(ours, rival):
    return "ahead" if ours[0] > rival[0] else "behind" if ours[0] < rival[0] else "undecided"


def _against_the_mean(ours, rival):
    return _word(*(_ends(ours[1:]) - rival[0]))


def _unpaired(ours, rival):
    return _word(*_ends(ours[1:] - np.roll(rival[1:], 1)))


def _standard_error(ours, rival):
    """Divides by the root of the number of resamples, as if each were a new game."""
    difference = ours[1:] - rival[1:]
    error = 2 * difference.std() / len(difference) ** 0.5
    return _word(difference.mean() - error, difference.mean() + error)


def _one_standard_deviation(ours, rival):
    return _word(*_ends(ours[1:] - rival[1:], 0.16))


def _every_resample(ours, rival):
    return _word(*_ends(ours[1:] - rival[1:], 0.0))


def _other_way(ours, rival):
    return verdict(rival, ours)


def _resampled(seed, gap, noise, shared=0.02):
    """Two scores over 400 resamples of the same games: what the games do to both, and to each alone."""
    random = np.random.default_rng(seed)
    games = shared * random.normal(size=401)
    ours, rival = 0.75 + gap + games, 0.75 + games
    ours = ours + noise * random.normal(size=401)
    ours[0], rival[0] = 0.75 + gap, 0.75
    return ours, rival


q1 = Question(
    title="Ahead, behind or undecided",
    answer=verdict,
    cases=[
        # From a gap that nobody can miss, down to one that only a mistake finds.
        _resampled(seed, gap, 0.004)
        for seed, gap in enumerate((-0.1, 0.066, -0.045, 0.015, -0.0095, 0.0055, 0.002, 0.0002))
    ],
    misconceptions=[
        Misconception(
            _intervals_apart,
            "You ask whether the two intervals lie apart. Both move together when the games change; the "
            "part that comes from the games cancels in the difference, and only there.",
        ),
        Misconception(
            _means_only,
            "You compare the two scores on the games as they are. Other games would have given other scores: "
            "that is what the resamples are for.",
        ),
        Misconception(
            _against_the_mean,
            "You compare our interval with one number of the rival. The rival's score depends on the "
            "games, too.",
        ),
        Misconception(
            _unpaired,
            "Your differences are of different resamples. Subtract row by row: row i of both is the same "
            "draw of games.",
        ),
        Misconception(
            _standard_error,
            "You divide by the root of the number of resamples. Then a thousand resamples would prove "
            "anything; the spread of the resamples is itself the uncertainty.",
        ),
        Misconception(
            _one_standard_deviation,
            "Your interval holds about two thirds of the resamples. It should hold 95%.",
        ),
        Misconception(
            _every_resample,
            "You demand that every resample agrees. That depends on how many there are; use the middle 95%.",
        ),
        Misconception(_other_way, "You have the two the other way round: ahead means that *ours* is higher."),
    ],
    advice=(
        "Leave row 0 out. Subtract the rest row by row, take the quantiles 0.025 and 0.975 of the "
        "differences, and look at which side of 0 they lie."
    ),
    why=(
        "Hard games are hard for both scores. In the difference of the same draw, that cancels; what is "
        "left is the difference between the two scores."
    ),
)


def above_chance(a, b, chance):
    def best(left, right):
        left = left / np.linalg.norm(left, axis=0)
        right = right / np.linalg.norm(right, axis=0)
        return (left.T @ right).max(axis=1).mean()

    luck = best(a, chance)
    return (best(a, b) - luck) / (1 - luck)


def _unit(directions):
    return directions / np.linalg.norm(directions, axis=0)


def _best(a, b):
    return (_unit(a).T @ _unit(b)).max(axis=1).mean()


def _scaled(value, luck):
    return (value - luck) / (1 - luck)


def _without_chance(a, b, chance):
    return _best(a, b)


def _only_subtracted(a, b, chance):
    return _best(a, b) - _best(a, chance)


def _same_number(a, b, chance):
    """Compares feature i with feature i."""
    n = min(a.shape[1], b.shape[1])
    return _scaled((_unit(a)[:, :n] * _unit(b)[:, :n]).sum(axis=0).mean(), _best(a, chance))


def _mean_of_all(a, b, chance):
    return _scaled((_unit(a).T @ _unit(b)).mean(), (_unit(a).T @ _unit(chance)).mean())


def _not_normalised(a, b, chance):
    return _scaled((a.T @ b).max(axis=1).mean(), (a.T @ chance).max(axis=1).mean())


def _from_the_other_side(a, b, chance):
    return _scaled(_best(b, a), _best(a, chance))


def _either_sign(a, b, chance):
    def best(left, right):
        return np.abs(_unit(left).T @ _unit(right)).max(axis=1).mean()

    return _scaled(best(a, b), best(a, chance))


def _three_dictionaries(seed, n_shared):
    """Two dictionaries of 12 dimensions that share some directions, and a random one."""
    random = np.random.default_rng(seed)
    a, b, chance = (random.normal(size=(12, n)) for n in (20, 24, 24))
    at = random.permutation(24)[:n_shared]
    b[:, at] = 3 * a[:, :n_shared]
    b[:, (at[0] + 1) % 24] = -2 * a[:, -1]
    return a, b, chance


q2 = Question(
    title="Above chance",
    answer=above_chance,
    cases=[_three_dictionaries(11, 6), _three_dictionaries(12, 14), _three_dictionaries(13, 1)],
    misconceptions=[
        Misconception(
            _without_chance,
            "This is the mean of the best matches. The best of many random directions is far above 0, too: "
            "subtract it.",
        ),
        Misconception(
            _only_subtracted,
            "You subtract what luck gets, but do not rescale. Identical dictionaries should get 1.",
        ),
        Misconception(
            _same_number,
            "You compare feature i of one with feature i of the other. The order of features is arbitrary: "
            "look for the best match anywhere.",
        ),
        Misconception(
            _mean_of_all,
            "You take the mean over all pairs. Nearly all pairs have nothing to do with each other, in any "
            "two dictionaries.",
        ),
        Misconception(
            _not_normalised,
            "You forgot to divide by the lengths. A cosine is the dot product of *unit* vectors.",
        ),
        Misconception(
            _from_the_other_side,
            "You look for matches of the features of b. The question is whether *a's* features have a match.",
        ),
        Misconception(
            _either_sign,
            "You count opposite directions as a match. A feature adds its direction, with an activation that "
            "is never negative: its opposite is another feature.",
        ),
    ],
    advice=(
        "Bring all columns to length 1. `one.T @ other` holds the cosines of all pairs; take the best of "
        "each row, and their mean. Do it for a with b and for a with chance, and rescale so that luck "
        "becomes 0 and 1 stays 1."
    ),
    why=(
        "The best of many numbers is large by itself. A number that says 0 for luck and 1 for identity can "
        "be compared between dictionaries of different sizes, and with probes, where no best match is "
        "chosen."
    ),
)
