"""Chapter 7, sparse autoencoders: the loss that trains them, and features that come twice."""

import torch
from torch.nn import functional as F

from ._question import Misconception, Question


def sae_loss(x, W, b, l1):
    d, n = W.shape
    h = (x @ W + b).relu()
    error = (x - h @ W.T).norm(dim=1)
    return (error / d + l1 * h.sum(1) / n).mean()


def _loss(x, W, b, l1, d=None, n=None, error=None, h=None):
    h = (x @ W + b).relu() if h is None else h
    error = torch.linalg.vector_norm if error is None else error
    lengths = error(x - h @ W.T, dim=1)
    return (lengths / (d or W.shape[0]) + l1 * h.sum(1) / (n or W.shape[1])).mean()


def _squared(x, W, b, l1):
    return _loss(x, W, b, l1, error=lambda difference, dim: difference.square().sum(dim))


def _absolute(x, W, b, l1):
    return _loss(x, W, b, l1, error=lambda difference, dim: difference.abs().sum(dim))


def _no_relu(x, W, b, l1):
    return _loss(x, W, b, l1, h=x @ W + b)


def _no_bias(x, W, b, l1):
    return _loss(x, W, b, l1, h=(x @ W).relu())


def _bias_after_the_relu(x, W, b, l1):
    return _loss(x, W, b, l1, h=(x @ W).relu() + b)


def _not_divided(x, W, b, l1):
    return _loss(x, W, b, l1, d=1, n=1)


def _error_not_divided(x, W, b, l1):
    return _loss(x, W, b, l1, d=1)


def _activity_not_divided(x, W, b, l1):
    return _loss(x, W, b, l1, n=1)


def _counted(x, W, b, l1):
    h = (x @ W + b).relu()
    return _loss(x, W, b, l1) + l1 * ((h > 0).float().mean() - h.mean())


def _one_length_for_all(x, W, b, l1):
    h = (x @ W + b).relu()
    return (x - h @ W.T).norm() / W.shape[0] + l1 * h.mean()


def _summed(x, W, b, l1):
    return len(x) * _loss(x, W, b, l1)


def _no_price(x, W, b, l1):
    return _loss(x, W, b, 0.0)


def _autoencoders():
    random = torch.Generator().manual_seed(7)
    return [
        (
            3 * torch.randn(rows, d, generator=random),
            F.normalize(torch.randn(d, n, generator=random), dim=0),
            -torch.rand(n, generator=random),
            l1,
        )
        for rows, d, n, l1 in ((6, 4, 7, 0.5), (5, 3, 5, 0.077), (1, 8, 16, 1.0))
    ]


q1 = Question(
    title="Two complaints",
    answer=sae_loss,
    cases=_autoencoders(),
    tolerance=1e-5,
    misconceptions=[
        Misconception(
            _squared,
            "You square the error. This loss takes its length: the root of the sum of the squares, for each "
            "row.",
        ),
        Misconception(
            _absolute,
            "You add up absolute differences. The length of an error is the root of the sum of squares.",
        ),
        Misconception(
            _no_relu, "Your features can be negative. What is below zero has to become zero, by the ReLU."
        ),
        Misconception(_no_bias, "You leave out the bias, so every feature is active on half of all points."),
        Misconception(
            _bias_after_the_relu,
            "You add the bias after the ReLU. A feature is then never silent. The bias inside the ReLU "
            "decides where it is silent.",
        ),
        Misconception(_not_divided, "Neither term is divided by its size, `d` or `n`."),
        Misconception(_error_not_divided, "The error is not divided by the number of dimensions."),
        Misconception(_activity_not_divided, "The activity is not divided by the number of features."),
        Misconception(
            _counted,
            "You charge for the number of active features, which has no slope to descend. The loss charges "
            "for how active they are.",
        ),
        Misconception(
            _one_length_for_all,
            "You take one length of all rows together. Each row has an error of its own; average their "
            "lengths.",
        ),
        Misconception(_summed, "You add up the rows. Average them, or the loss grows with the batch."),
        Misconception(_no_price, "The price of activity is missing."),
    ],
    advice=(
        "First `h`, then the reconstruction with `W.T`. The error of each row is "
        "`(x - reconstruction).norm(dim=1)`, and its activity is `h.sum(1)`."
    ),
    why=(
        "The length of each row's error, per dimension, and the activity of its features, per feature; then "
        "the average over rows."
    ),
)


def twin(directions, others):
    cosine = F.normalize(directions, dim=0).T @ F.normalize(others, dim=0)
    return cosine.max(dim=1).values


def _not_scaled(directions, others):
    return (directions.T @ others).max(dim=1).values


def _rows_scaled(directions, others):
    return (F.normalize(directions, dim=1).T @ F.normalize(others, dim=1)).max(dim=1).values


def _other_way_round(directions, others):
    return twin(others, directions)


def _either_sign(directions, others):
    return (F.normalize(directions, dim=0).T @ F.normalize(others, dim=0)).abs().max(dim=1).values


def _same_number(directions, others):
    return (F.normalize(directions, dim=0) * F.normalize(others, dim=0)).sum(dim=0)


def _average(directions, others):
    return (F.normalize(directions, dim=0).T @ F.normalize(others, dim=0)).mean(dim=1)


def _which_one(directions, others):
    return (F.normalize(directions, dim=0).T @ F.normalize(others, dim=0)).argmax(dim=1)


def _dictionaries():
    random = torch.Generator().manual_seed(8)
    pairs = [torch.randn(2, d, n, generator=random) for d, n in ((4, 6), (3, 9), (5, 5))]
    for directions, others in pairs:
        others[:, 1] = 2 * directions[:, 0]  # a twin of another length and number
        others[:, 2] = -directions[:, 3]  # an opposite
    return [(directions, others) for directions, others in pairs]


q2 = Question(
    title="Have we met before?",
    answer=twin,
    cases=_dictionaries(),
    tolerance=1e-5,
    misconceptions=[
        Misconception(
            _not_scaled,
            "You compare dot products. A long column then looks like a twin of every feature; a cosine "
            "divides by both lengths.",
        ),
        Misconception(_rows_scaled, "You scale the rows. A feature is a column here."),
        Misconception(
            _other_way_round,
            "You answer for the features of `others`. The question is which features of `directions` have a "
            "twin.",
        ),
        Misconception(
            _either_sign,
            "You let an opposite direction count as a twin. Its feature is active where this one is silent.",
        ),
        Misconception(
            _same_number,
            "You compare features of the same number. Numbers mean nothing across seeds: look through all.",
        ),
        Misconception(
            _average,
            "You average over the features of `others`. A feature needs one twin; it need not resemble all "
            "features.",
        ),
        Misconception(_which_one, "You return which feature is nearest; the question is how near it is."),
    ],
    advice=(
        "`F.normalize(directions, dim=0)` gives each column length one. Do the same with `others`: the "
        "product of the first, transposed, and the second holds the cosine of every pair. Take the largest "
        "of each row."
    ),
    why=(
        "Columns of length one, every pair at once, and the best partner for each feature of `directions`. "
        "Signs count, numbers of features do not."
    ),
)
