"""Chapter 6, does it use its board: counting wrong moves, and pushing a stream to the other side."""

import numpy as np

from ._question import Misconception, Question


def wrong_moves(probability, legal):
    n_legal = legal.sum()
    chosen = np.zeros_like(legal)
    chosen[np.argsort(probability)[::-1][:n_legal]] = True
    return int((chosen != legal).sum())


def _illegal_only(probability, legal):
    return wrong_moves(probability, legal) // 2


def _first_choice(probability, legal):
    return int(not legal[np.argmax(probability)])


def _more_than_its_share(probability, legal):
    return int(((probability > 1 / len(probability)) != legal).sum())


def _more_than_half_its_share(probability, legal):
    return int(((probability > 0.5 / legal.sum()) != legal).sum())


def _least_likely(probability, legal):
    return wrong_moves(-probability, legal)


def _right_moves(probability, legal):
    return int(legal.sum()) - _illegal_only(probability, legal)


def _a_guess(seed, n_legal):
    """Probabilities of 60 moves that lean towards the legal ones, and which those are."""
    random = np.random.default_rng(seed)
    legal = np.zeros(60, bool)
    legal[random.choice(60, n_legal, replace=False)] = True
    probability = np.exp(1.5 * random.normal(size=60) + 2 * legal)
    return probability / probability.sum(), legal


q1 = Question(
    title="Count the wrong moves",
    answer=wrong_moves,
    cases=[_a_guess(61, 9), _a_guess(62, 14), _a_guess(63, 4)],
    misconceptions=[
        Misconception(
            _illegal_only,
            "You count the illegal moves among those chosen. Each of them has kept a legal move out, and "
            "that is a mistake as well: the published count has both.",
        ),
        Misconception(
            _first_choice,
            "You look at the first choice only. It can stay legal on both boards, and then the count would "
            "not change with an edit at all.",
        ),
        Misconception(
            _more_than_its_share,
            "You choose every move that is likelier than one in sixty. How many that makes depends on how "
            "sure the network is; choose as many moves as are legal.",
        ),
        Misconception(
            _more_than_half_its_share,
            "You choose by a threshold. How many moves pass it depends on how sure the network is; choose as "
            "many moves as are legal.",
        ),
        Misconception(
            _least_likely, "You take the least likely moves: `argsort` puts the smallest number first."
        ),
        Misconception(_right_moves, "You count the moves that are right. Count the wrong ones."),
    ],
    advice=(
        "Let `k` be the number of legal moves. Mark the `k` likeliest moves in a second mask; a move is "
        "wrong where the two masks differ."
    ),
    why=(
        "With as many moves chosen as are legal, every illegal one has displaced a legal one, so the count "
        "is even, and zero only if the legal moves are exactly the likeliest ones."
    ),
)


def push(stream, reading, offset, writing, strength):
    margin = stream @ reading + offset
    gain = reading @ writing
    return stream - (1 + strength) * margin / gain * writing


def _without_offset(stream, reading, offset, writing, strength):
    return push(stream, reading, 0.0, writing, strength)


def _by_its_own_length(stream, reading, offset, writing, strength):
    margin = stream @ reading + offset
    return stream - (1 + strength) * margin / (writing @ writing) * writing


def _by_the_length_of_reading(stream, reading, offset, writing, strength):
    margin = stream @ reading + offset
    return stream - (1 + strength) * margin / (reading @ reading) * writing


def _along_reading(stream, reading, offset, writing, strength):
    return push(stream, reading, offset, reading, strength)


def _too_short(stream, reading, offset, writing, strength):
    return push(stream, reading, offset, writing, strength - 1)


def _away(stream, reading, offset, writing, strength):
    return 2 * stream - push(stream, reading, offset, writing, strength)


def _only_the_step(stream, reading, offset, writing, strength):
    return push(stream, reading, offset, writing, strength) - stream


def _a_stream(seed, offset, strength):
    random = np.random.default_rng(seed)
    reading = random.normal(size=6)
    writing = 0.5 * reading + random.normal(size=6)
    return random.normal(size=6), reading, offset, writing, strength


q2 = Question(
    title="To the other side",
    answer=push,
    cases=[_a_stream(64, -2.0, 1.0), _a_stream(65, 1.5, 0.0), _a_stream(66, 0.7, 2.0)],
    misconceptions=[
        Misconception(
            _without_offset,
            "You leave out the offset when you measure the margin. The boundary of the probe does not pass "
            "through the origin.",
        ),
        Misconception(
            _by_its_own_length,
            "You divide by the squared length of `writing`. That would be right if the probe read along the "
            "same direction; what matters is by how much one step of `writing` moves the *reading*.",
        ),
        Misconception(
            _by_the_length_of_reading,
            "You divide by the squared length of `reading`, as if you were stepping along it. You step along "
            "`writing`: by how much does one step of it move the reading?",
        ),
        Misconception(
            _along_reading,
            "You step along `reading`. The margin comes out right, but the stream goes where the probe "
            "looks, not where discs are written.",
        ),
        Misconception(
            _too_short,
            "Your step is one margin too short: the first margin only takes the stream to the boundary. A "
            "strength of 0 should end there, a strength of 1 as far behind it.",
        ),
        Misconception(_away, "You step away from the boundary: the margin grows instead of changing sign."),
        Misconception(_only_the_step, "You return the step. Add it to the stream."),
    ],
    advice=(
        "After a step of length `a` the margin is `margin + a * (reading @ writing)`. It should be "
        "`-strength * margin`. Solve for `a`."
    ),
    why=(
        "The margin changes by `reading @ writing` for each unit of `writing`, whatever the lengths of the "
        "two, so this step takes it from `margin` to `-strength * margin` exactly."
    ),
)
