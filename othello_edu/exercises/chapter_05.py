"""Chapter 5, linear probes: what is left without the easy squares, and the score of not looking."""

import numpy as np

from ..games import random_games, replay
from ..labels import contents
from ._question import Misconception, Question


def accuracy_on_discs(predicted, labels):
    occupied = labels > 0
    return (predicted == labels)[occupied].mean()


def _on_all_squares(predicted, labels):
    return (predicted == labels)[labels >= 0].mean()


def _masked_count_as_discs(predicted, labels):
    return (predicted == labels)[labels != 0].mean()


def _where_it_sees_discs(predicted, labels):
    return (predicted == labels)[(predicted > 0) & (labels >= 0)].mean()


def _where_both_are_discs(predicted, labels):
    return (predicted == labels)[(predicted > 0) & (labels > 0)].mean()


def _any_disc_will_do(predicted, labels):
    return (predicted > 0)[labels > 0].mean()


def _share_of_all_squares(predicted, labels):
    return ((predicted == labels) & (labels > 0)).sum() / (labels >= 0).sum()


def _guesses_and_truth(seed):
    """The contents of some short and some long games, and a reading of them with mistakes of every kind."""
    random = np.random.default_rng(seed)
    games = random_games(200, seed)
    labels = contents(replay(games[np.argsort(games.lengths, kind="stable")[[0, 1, -1]]]))
    mistaken = random.random(labels.shape) < 0.3
    return np.where(mistaken, random.integers(0, 3, labels.shape), labels).astype(np.int8), labels


q1 = Question(
    title="The score on discs",
    answer=accuracy_on_discs,
    cases=[_guesses_and_truth(51), _guesses_and_truth(52)],
    misconceptions=[
        Misconception(
            _on_all_squares,
            "You count the empty squares as well. They are most of the board early in a game and nearly "
            "always read correctly, which is what this score is meant to leave out.",
        ),
        Misconception(
            _masked_count_as_discs,
            "You take every label other than 0 for a disc. Where nobody is to move the label is -1: such "
            "rows are masked, and no prediction can agree with them.",
        ),
        Misconception(
            _where_it_sees_discs,
            "You look where the probe says that there is a disc. Then the discs that it takes for empty "
            "squares are not counted against it: choose the squares by the truth.",
        ),
        Misconception(
            _where_both_are_discs,
            "You leave out the discs that the probe takes for empty squares. They are mistakes too.",
        ),
        Misconception(
            _any_disc_will_do,
            "You count a disc as read correctly whoever it belongs to. Mine and theirs are different "
            "answers.",
        ),
        Misconception(
            _share_of_all_squares,
            "You divide by all squares. Of the discs, how many are read correctly? Divide by the discs.",
        ),
    ],
    advice=(
        "Make a mask of the squares that hold a disc, from `labels` alone; `(predicted == labels)[mask]` "
        "then holds one True or False for each disc."
    ),
    why=(
        "The truth decides which squares count, not the prediction. On these squares a probe has to know who "
        "turned what over; the transcript alone tells that a square is taken."
    ),
)


def score_of_guessing(train, test):
    counts = np.stack([(train == kind).sum(axis=0) for kind in range(3)])
    guess = counts.argmax(axis=0)
    return (guess == test)[test >= 0].mean()


def _chosen_on_the_test(train, test):
    return score_of_guessing(test, test)


def _scored_on_the_training(train, test):
    return score_of_guessing(train, train)


def _one_guess_a_square(train, test):
    counts = np.stack([(train == kind).sum(axis=(0, 1)) for kind in range(3)])
    return (counts.argmax(axis=0) == test)[test >= 0].mean()


def _one_guess_a_ply(train, test):
    counts = np.stack([(train == kind).sum(axis=(0, 2)) for kind in range(3)])
    return (counts.argmax(axis=0)[:, None] == test)[test >= 0].mean()


def _one_guess(train, test):
    counts = [(train == kind).sum() for kind in range(3)]
    return (np.argmax(counts) == test)[test >= 0].mean()


def _masked_are_wrong(train, test):
    counts = np.stack([(train == kind).sum(axis=0) for kind in range(3)])
    return (counts.argmax(axis=0) == test).mean()


def _rounded_mean(train, test):
    mean = np.ma.masked_less(train, 0).mean(axis=0).filled(0)
    return (np.rint(mean) == test)[test >= 0].mean()


def _contents_of(n_games, seed):
    return contents(replay(random_games(n_games, seed)))


q2 = Question(
    title="The score of not looking",
    answer=score_of_guessing,
    cases=[(_contents_of(31, 53), _contents_of(12, 54)), (_contents_of(60, 55), _contents_of(5, 56))],
    misconceptions=[
        Misconception(
            _chosen_on_the_test,
            "You choose the guesses on the games that you score them on. They fit those games better than "
            "new ones. Choose the guesses, like everything else that is fitted, on the training games.",
        ),
        Misconception(
            _scored_on_the_training,
            "You score the guesses on the games that they were chosen on. The test games are there for that.",
        ),
        Misconception(
            _one_guess_a_square,
            "You guess the same for a square throughout the game. At the first move a corner is empty, at "
            "the last it is not: choose one guess for each square *at each ply*.",
        ),
        Misconception(
            _one_guess_a_ply,
            "You make one guess for the whole board at each ply. The centre fills up long before the "
            "corners.",
        ),
        Misconception(
            _one_guess,
            "You guess the same for every square at every ply. Without the network you still know the "
            "square and the number of the move.",
        ),
        Misconception(
            _masked_are_wrong,
            "You count the masked rows (label -1) as mistakes. They have no right answer: leave them out.",
        ),
        Misconception(
            _rounded_mean,
            "You average the labels. They are names, not amounts: half empty and half theirs is not mine.",
        ),
    ],
    advice=(
        "Count, over the training games only, how often each kind lies on each square at each ply: an array "
        "`[3, time, 64]`. The largest count is the guess; compare it with every test game."
    ),
    why=(
        "A table with one entry for each square and ply uses no network and no move. A probe deserves "
        "credit only for what it scores above this table on unseen games. The package calls it "
        "`MajorityBaseline`."
    ),
)
