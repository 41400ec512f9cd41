"""Chapter 8, tile colour: AUROC as duels, and a feature that is chosen here and scored there."""

import numpy as np

from ..scoring import auroc
from ._question import Misconception, Question


def duels(scores, labels):
    true, false = scores[labels], scores[~labels]
    wins = (true[:, None] > false).sum()
    ties = (true[:, None] == false).sum()
    return (wins + ties / 2) / (len(true) * len(false))


def _ties_lost(scores, labels):
    true, false = scores[labels], scores[~labels]
    return (true[:, None] > false).mean()


def _ties_won(scores, labels):
    true, false = scores[labels], scores[~labels]
    return (true[:, None] >= false).mean()


def _ties_left_out(scores, labels):
    true, false = scores[labels], scores[~labels]
    wins = (true[:, None] > false).sum()
    return wins / (wins + (true[:, None] < false).sum())


def _other_side(scores, labels):
    return duels(scores, ~labels)


def _everybody_against_everybody(scores, labels):
    return duels(scores, labels) * labels.sum() * (~labels).sum() / len(labels) ** 2


def _share_right(scores, labels):
    return ((scores > 0) == labels).mean()


def _half_the_other_way(scores, labels):
    return max(duels(scores, labels), duels(scores, ~labels))


def _activations(seed, n, base_rate, rounded):
    """A sparse feature that says a little about a label, as most of this chapter's features do."""
    random = np.random.default_rng(seed)
    labels = random.random(n) < base_rate
    scores = np.maximum(random.normal(size=n) + (0.8 if seed % 2 else -0.8) * labels, 0)
    return scores.round(rounded), labels


q1 = Question(
    title="Count the duels",
    answer=duels,
    cases=[_activations(81, 40, 0.5, 1), _activations(82, 60, 0.2, 1), _activations(83, 9, 0.4, 0)],
    misconceptions=[
        Misconception(
            _ties_lost,
            "You give ties to the other side. Where a feature is silent on both positions, neither side has "
            "lost: a feature that is silent everywhere would get 0 and seem to know the opposite.",
        ),
        Misconception(
            _ties_won,
            "You count ties as wins. A feature that is silent everywhere would then be perfect.",
        ),
        Misconception(
            _ties_left_out,
            "You leave the ties out. A feature that is active at one of a thousand positions, and right "
            "there, would then be perfect, although it says nothing about the remaining 999.",
        ),
        Misconception(
            _other_side,
            "Your duels are won by the positions where the label is false. Which side should score higher?",
        ),
        Misconception(
            _everybody_against_everybody,
            "You divide by all pairs of positions. Only pairs of one true and one false position duel.",
        ),
        Misconception(
            _share_right,
            "You compare `scores > 0` with the label and count agreements. That is the accuracy at one "
            "threshold; it moves with the base rate and with the threshold.",
        ),
        Misconception(
            _half_the_other_way,
            "You take the better of the two directions. A feature that is active where the tile is not mine "
            "is below one half, and should be: the sign is part of what it tells.",
        ),
    ],
    advice=(
        "`scores[labels]` and `scores[~labels]` are the two teams. `true[:, None] > false` is the table of "
        "all duels at once; `==` in place of `>` gives the ties."
    ),
    why=(
        "Every true position meets every false one. A win counts one, a tie one half, and the mean over all "
        "duels is the AUROC. `auroc` gets the same number from ranks, without listing the duels."
    ),
)


def chosen_and_scored(train_scores, train_labels, test_scores, test_labels):
    best = auroc(train_scores, train_labels[:, None])[:, 0].argmax()
    return auroc(test_scores[:, [best]], test_labels[:, None])[0, 0]


def _best_on_test(train_scores, train_labels, test_scores, test_labels):
    return auroc(test_scores, test_labels[:, None]).max()


def _scored_where_chosen(train_scores, train_labels, test_scores, test_labels):
    return auroc(train_scores, train_labels[:, None]).max()


def _roles_swapped(train_scores, train_labels, test_scores, test_labels):
    return chosen_and_scored(test_scores, test_labels, train_scores, train_labels)


def _all_together(train_scores, train_labels, test_scores, test_labels):
    scores, labels = np.concatenate([train_scores, test_scores]), np.concatenate([train_labels, test_labels])
    return auroc(scores, labels[:, None]).max()


def _average_of_all(train_scores, train_labels, test_scores, test_labels):
    return auroc(test_scores, test_labels[:, None]).mean()


def _most_active(train_scores, train_labels, test_scores, test_labels):
    best = train_scores[train_labels].mean(axis=0).argmax()
    return auroc(test_scores[:, [best]], test_labels[:, None])[0, 0]


def _dictionary(seed):
    """Train and test scores of 40 features, of which a few say something about the label."""
    random = np.random.default_rng(seed)
    strength = np.where(random.random(40) < 0.2, random.random(40), 0)
    volume = random.permutation(40) / 10  # loud features are not the good ones
    sides = []
    for n in (30, 200):
        labels = random.random(n) < 0.4
        scores = np.maximum(random.normal(size=(n, 40)) + strength * labels[:, None] + volume, 0)
        sides += [scores, labels]
    return tuple(sides)


q2 = Question(
    title="Chosen here, scored there",
    answer=chosen_and_scored,
    cases=[_dictionary(84), _dictionary(85), _dictionary(86)],
    misconceptions=[
        Misconception(
            _best_on_test,
            "You look for the best feature on the test games. Then the test games have been used to choose, "
            "and the score on them includes the luck of the winner.",
        ),
        Misconception(
            _scored_where_chosen,
            "You report the score on the games on which the feature won. The winner of many tries was lucky "
            "as well as good, and only new games can tell how much of each.",
        ),
        Misconception(
            _roles_swapped,
            "You choose on the test games and score on the train games. It is the other way round.",
        ),
        Misconception(
            _all_together,
            "You put all games together. The winner is then scored on the very games that made it win.",
        ),
        Misconception(
            _average_of_all,
            "This is the average over all features on the test games. Score the chosen feature only.",
        ),
        Misconception(
            _most_active,
            "You choose the feature that is most active where the label is true. It may be as active where "
            "it is false: choose by AUROC.",
        ),
    ],
    advice=(
        "Two steps, on two sets of games. `auroc(train_scores, train_labels[:, None])[:, 0].argmax()` names "
        "a feature. What is the AUROC of this feature on the test games?"
    ),
    why=(
        "The test games did not take part in the choice, so its score does not include the luck that helped "
        "the winner to win."
    ),
)
