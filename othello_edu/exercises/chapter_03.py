"""Chapter 3, a GPT by hand: an attention pattern, and LayerNorm."""

import math

import torch

from ._question import Misconception, Question


def attention_pattern(query, key):
    scores = query @ key.T / math.sqrt(query.shape[-1])
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1)


def _pattern(query, key, scale=None, hidden=-math.inf, diagonal=1, axis=-1):
    scores = query @ key.T / (math.sqrt(query.shape[-1]) if scale is None else scale)
    future = torch.ones_like(scores, dtype=torch.bool).triu(diagonal)
    return scores.masked_fill(future, hidden).softmax(axis)


def _no_mask(query, key):
    return _pattern(query, key, diagonal=query.shape[0])


def _zero_before_softmax(query, key):
    return _pattern(query, key, hidden=0.0)


def _zero_after_softmax(query, key):
    return _no_mask(query, key).tril()


def _no_scale(query, key):
    return _pattern(query, key, scale=1)


def _scale_without_root(query, key):
    return _pattern(query, key, scale=query.shape[-1])


def _columns(query, key):
    return _pattern(query, key, axis=0)


def _past_hidden(query, key):
    scores = query @ key.T / math.sqrt(query.shape[-1])
    past = torch.ones_like(scores, dtype=torch.bool).tril(-1)
    return scores.masked_fill(past, -math.inf).softmax(-1)


def _itself_hidden(query, key):
    return _pattern(query, key, diagonal=0)


def _roles_swapped(query, key):
    return _pattern(key, query)


def _heads():
    random = torch.Generator().manual_seed(3)
    return [
        tuple(2 * torch.randn(moves, size, generator=random) for _ in range(2))
        for moves, size in ((5, 4), (3, 2), (7, 8))
    ]


q1 = Question(
    title="Attention, in four lines",
    answer=attention_pattern,
    cases=_heads(),
    tolerance=1e-5,
    misconceptions=[
        Misconception(
            _zero_before_softmax,
            "You mask by setting scores to 0. Softmax gives a score of 0 a share like any other, so the "
            "future is still looked at.",
        ),
        Misconception(
            _zero_after_softmax,
            "You mask after the softmax. The future has then already taken part of each row, and what is "
            "left no longer adds up to one.",
        ),
        Misconception(
            _no_mask, "Every move looks at every move, the later ones included. Where is the mask?"
        ),
        Misconception(
            _past_hidden,
            "Your mask hides the past and shows the future. Row `i` looks, column `j` is looked at.",
        ),
        Misconception(
            _itself_hidden,
            "Your mask hides each move from itself as well. The first move then has nothing to look at, and "
            "its row is no longer a set of shares.",
        ),
        Misconception(
            _no_scale, "The scores are not divided by anything, so large heads attend more sharply."
        ),
        Misconception(
            _scale_without_root,
            "You divide by the size of the head. A dot product of random vectors grows with the root of it.",
        ),
        Misconception(
            _columns,
            "Your columns add up to one, not your rows. Each row shares out the attention of the move that "
            "looks.",
        ),
        Misconception(
            _roles_swapped,
            "Queries and keys have changed places. Row `i` belongs to the query of move `i`.",
        ),
    ],
    advice=(
        "Scores first: `query @ key.T`, divided by the root of the head's size. Then "
        "`masked_fill` with minus infinity above the diagonal (`triu(1)` finds it), then `softmax(-1)`."
    ),
    why=(
        "A score of minus infinity has the exponential 0, so the future gets no share, and the softmax "
        "divides what is left among the past and the present."
    ),
)


def normalise(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def _over_moves(x):
    return normalise(x.T).T


def _over_everything(x):
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt()


def _unbiased(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()


def _by_variance(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5)


def _not_centred(x):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def _spread_only(x):
    centred = x - x.mean(-1, keepdim=True)
    return x / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def _no_epsilon(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / centred.square().mean(-1, keepdim=True).sqrt()


def _streams():
    random = torch.Generator().manual_seed(4)
    ordinary = 3 * torch.randn(5, 8, generator=random) + 1
    nearly_equal = 1 + 1e-3 * torch.randn(2, 4, generator=random)  # here epsilon decides
    return [(ordinary,), (nearly_equal,)]


q2 = Question(
    title="Whose mean?",
    answer=normalise,
    cases=_streams(),
    tolerance=1e-4,
    misconceptions=[
        Misconception(
            _over_moves,
            "You take mean and spread over the moves of the game. Each move is then rescaled by what comes "
            "after it: the network would see the future.",
        ),
        Misconception(
            _over_everything,
            "You take one mean and one spread of the whole table. Every move is then rescaled by all moves, "
            "the later ones included.",
        ),
        Misconception(
            _unbiased,
            "You divide by d - 1, which `torch.var` does unless told otherwise. LayerNorm divides by d.",
        ),
        Misconception(
            _by_variance, "You divide by the variance; its root, the standard deviation, is meant."
        ),
        Misconception(
            _not_centred,
            "You leave the mean in. That is a different method, RMSNorm, which later networks use.",
        ),
        Misconception(
            _spread_only, "You compute the spread around the mean, but you do not subtract the mean from x."
        ),
        Misconception(
            _no_epsilon,
            "You leave out epsilon. Where all numbers of a move are nearly equal, your result explodes.",
        ),
    ],
    advice=(
        "Each row is one move and is treated alone: `x.mean(-1, keepdim=True)`. The variance is the mean of "
        "the squared differences, and epsilon is added to it before the root."
    ),
    why=(
        "Mean and variance run over the dimensions of one move. Nothing passes between moves here; only "
        "attention does that, and only forwards in time."
    ),
)
