"""Chapter 4, training: the schedule of the learning rate, the legal rate, and what a message pushes."""

import numpy as np
import torch

from ..games import Games, next_tokens, random_games, replay
from ..labels import legal_distribution, legal_tokens
from ._question import Misconception, Question


def rate(step, n_steps, warmup_steps, decay):
    warm = (step + 1) / (warmup_steps + 1)
    cool = (n_steps - step) / (decay * n_steps)
    return min(1.0, warm, cool)


def _product(step, n_steps, warmup_steps, decay):
    warm = (step + 1) / (warmup_steps + 1)
    cool = (n_steps - step) / (decay * n_steps)
    return min(1.0, warm) * min(1.0, cool)


def _above_one(step, n_steps, warmup_steps, decay):
    return min((step + 1) / (warmup_steps + 1), (n_steps - step) / (decay * n_steps))


def _falls_from_the_start(step, n_steps, warmup_steps, decay):
    return min(1.0, (step + 1) / (warmup_steps + 1), (n_steps - step) / n_steps)


def _decay_in_steps(step, n_steps, warmup_steps, decay):
    return min(1.0, (step + 1) / (warmup_steps + 1), (n_steps - step) / decay)


def _no_warm_up(step, n_steps, warmup_steps, decay):
    return min(1.0, (n_steps - step) / (decay * n_steps))


def _first_step_lost(step, n_steps, warmup_steps, decay):
    return min(1.0, step / warmup_steps, (n_steps - step) / (decay * n_steps))


def _last_step_lost(step, n_steps, warmup_steps, decay):
    return min(1.0, (step + 1) / (warmup_steps + 1), (n_steps - 1 - step) / (decay * n_steps))


def _starts_to_fall_at_decay(step, n_steps, warmup_steps, decay):
    cool = (n_steps - step) / ((1 - decay) * n_steps)
    return min(1.0, (step + 1) / (warmup_steps + 1), cool)


q1 = Question(
    title="Warm up, stay, cool down",
    answer=rate,
    cases=[(step, 1000, 100, 0.4) for step in (0, 50, 99, 300, 600, 800, 999)]
    + [(step, 20, 9, 0.8) for step in (0, 7, 10, 19)],
    misconceptions=[
        Misconception(
            _product,
            "You multiply the two ramps. Where they overlap, as in a short run, the rate is then lower than "
            "either of them.",
        ),
        Misconception(
            _above_one, "Your rate rises above 1: the two ramps go on after they have met the ceiling."
        ),
        Misconception(
            _falls_from_the_start,
            "Your rate falls during the whole run. `decay` says during which share of it, at the end.",
        ),
        Misconception(
            _decay_in_steps,
            "Your rate never falls again. Perhaps the second ramp is missing, or it takes `decay` for a "
            "number of steps where it is a share of the run. Wrong units in a schedule fail silently.",
        ),
        Misconception(_no_warm_up, "Your rate is full at the first step. Where is the warm-up?"),
        Misconception(
            _first_step_lost, "At step 0 your rate is 0, so the first batch of games teaches nothing."
        ),
        Misconception(
            _last_step_lost, "At the last step, `n_steps - 1`, your rate is 0: that batch teaches nothing."
        ),
        Misconception(
            _starts_to_fall_at_decay,
            "Your rate stays full for a share `decay` of the run and then falls. `decay` is the share during "
            "which it falls.",
        ),
    ],
    advice=(
        "Write two ramps: one that rises from `1 / (warmup_steps + 1)` at step 0, one that reaches `1 / "
        "(decay * n_steps)` at the last step, `n_steps - 1`. The rate is the smallest of the two and 1."
    ),
    why=(
        "The rate is the smaller of the two ramps, and at most 1. Both are counted in steps, so that the "
        "schedule fits a run of any length."
    ),
)


def legal_rate(logits, games):
    legal = torch.from_numpy(legal_tokens(replay(games))[:, :-1])
    choice = logits[..., 1:].argmax(-1, keepdim=True) + 1
    predicted = next_tokens(games) != 0
    return legal.gather(-1, choice)[..., 0][predicted].float().mean().item()


def _legal_now(games):
    return torch.from_numpy(legal_tokens(replay(games))[:, :-1])


def _padding_may_win(logits, games):
    choice = logits.argmax(-1, keepdim=True)
    return _legal_now(games).gather(-1, choice)[..., 0][next_tokens(games) != 0].float().mean().item()


def _all_rows(logits, games):
    choice = logits[..., 1:].argmax(-1, keepdim=True) + 1
    return _legal_now(games).gather(-1, choice)[..., 0].float().mean().item()


def _token_off_by_one(logits, games):
    choice = logits[..., 1:].argmax(-1, keepdim=True)
    return _legal_now(games).gather(-1, choice)[..., 0][next_tokens(games) != 0].float().mean().item()


def _row_too_late(logits, games):
    legal = torch.from_numpy(legal_tokens(replay(games))[:, 1:])
    choice = logits[..., 1:].argmax(-1, keepdim=True) + 1
    return legal.gather(-1, choice)[..., 0][next_tokens(games) != 0].float().mean().item()


def _move_played(logits, games):
    targets = next_tokens(games)
    choice = logits[..., 1:].argmax(-1) + 1
    return (choice == targets)[targets != 0].float().mean().item()


def _legal_mass(logits, games):
    p = logits[..., 1:].softmax(-1)
    mass = p.masked_fill(~_legal_now(games)[..., 1:], 0).sum(-1)
    return mass[next_tokens(games) != 0].mean().item()


def _flawless_games(logits, games):
    choice = logits[..., 1:].argmax(-1, keepdim=True) + 1
    right = _legal_now(games).gather(-1, choice)[..., 0] | (next_tokens(games) == 0)
    return right.all(-1).float().mean().item()


def _mean_of_games(logits, games):
    choice = logits[..., 1:].argmax(-1, keepdim=True) + 1
    predicted = next_tokens(games) != 0
    right = _legal_now(games).gather(-1, choice)[..., 0] & predicted
    return (right.sum(-1) / predicted.sum(-1)).mean().item()


def _guesses(seed):
    """4x4 games, some of them short, and logits that often but not always prefer a legal move."""
    games = random_games(40, seed, board_size=4)
    shortest = np.argsort(games.lengths)[:20]
    games = Games(games.moves[shortest], 4)
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(20, 11, 13, generator=random) + 3 * _legal_now(games)
    logits[0] = 5.0 * _legal_now(games)[0]  # one game without a fault
    logits[..., 0] += 3  # padding would often win
    return logits, games


q2 = Question(
    title="The legal rate",
    answer=legal_rate,
    cases=[_guesses(41), _guesses(42)],
    misconceptions=[
        Misconception(
            _padding_may_win,
            "You let padding compete. Token 0 is no move; it must never be the prediction.",
        ),
        Misconception(
            _all_rows,
            "You also count rows where no move follows: the ends of short games. Nothing is legal there, so "
            "every one of them counts as a fault.",
        ),
        Misconception(
            _token_off_by_one,
            "You dropped the column of padding and then read the position of the largest logit as a token. "
            "It is one too small: you test the neighbouring square.",
        ),
        Misconception(
            _row_too_late,
            "You compare with the legal moves one row later, after the move has been played. Row `t` of the "
            "labels belongs to column `t` of the logits.",
        ),
        Misconception(
            _move_played,
            "You test whether the first choice is the move that was played. Several moves are legal, and the "
            "games choose among them at random.",
        ),
        Misconception(
            _legal_mass,
            "That is the legal mass: the probability on all legal moves. The legal rate looks at the first "
            "choice only.",
        ),
        Misconception(
            _flawless_games, "You count the games without a fault. The legal rate counts predictions."
        ),
        Misconception(
            _mean_of_games,
            "You average the rates of the games. A short game then weighs as much as a long one; every "
            "prediction should weigh the same.",
        ),
    ],
    advice=(
        "`labels.legal_tokens(oe.replay(games))[:, :-1]` says which tokens are legal, with the same rows as "
        "the logits. A prediction exists where `oe.next_tokens(games)` is not 0. Take the largest logit "
        "among tokens 1 and up."
    ),
    why=(
        "For each move to predict, one test: is the token with the largest logit, padding aside, legal in "
        "the position that has been read?"
    ),
)


def push(logits, told):
    return logits.softmax(-1) * told.sum(-1, keepdim=True) - told


def _push_up(logits, told):
    return told - logits.softmax(-1)


def _push_where_nothing_is_told(logits, told):
    return logits.softmax(-1) - told


def _push_up_where_told(logits, told):
    return told - logits.softmax(-1) * told.sum(-1, keepdim=True)


def _push_of_logits(logits, told):
    return logits * told.sum(-1, keepdim=True) - told


def _push_of_logarithms(logits, told):
    return -told / logits.softmax(-1)


def _push_of_the_told_alone(logits, told):
    return (logits.softmax(-1) - told) * (told > 0)


def _messages(seed):
    """Logits for short 4x4 games, and what two teachers say of the same rows."""
    logits, games = _guesses(seed)
    logits, games = logits[:4], games[:4]
    played = torch.nn.functional.one_hot(next_tokens(games), logits.shape[-1]).float()
    played[..., 0] = 0
    return [(logits, legal_distribution(games)), (logits, played)]


q3 = Question(
    title="What a message pushes",
    answer=push,
    cases=[*_messages(43), *_messages(44)],
    misconceptions=[
        Misconception(
            _push_up_where_told,
            "Your signs are those of the way in which the logits should move. The gradient points the other "
            "way, uphill; the optimiser turns it round.",
        ),
        Misconception(
            _push_where_nothing_is_told,
            "Your rows after the end of a game push every logit. Where no move follows nothing is told, and "
            "nothing is pushed.",
        ),
        Misconception(
            _push_up,
            "Two things at once. The sign is that of the way the logits should move, and the gradient points "
            "uphill; and rows where nothing is told push as well.",
        ),
        Misconception(_push_of_logits, "You subtract from the logits. Turn them into probabilities first."),
        Misconception(
            _push_of_logarithms,
            "That is the slope with respect to the probabilities. A logit changes all probabilities of its "
            "row, since they add up to 1.",
        ),
        Misconception(
            _push_of_the_told_alone,
            "You push only the moves that are told. The others are pushed too: they get probability that "
            "somebody has to lose.",
        ),
    ],
    advice=(
        "Put the logits into the loss of a row: minus the sum of `told * logits`, plus the logarithm of the "
        "sum of `logits.exp()`, where `told` adds up to 1. What is the slope of each part along one logit?"
    ),
    why=(
        "Each probability is compared with what was told. Told the move that was drawn, every *other* legal "
        "move is pushed down, however good the network is. Told all legal moves, nothing is pushed any more "
        "once the probabilities are right."
    ),
)
