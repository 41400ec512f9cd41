"""Chapter 9, tile stability: the discs of an edge that nothing can flip, and an AUROC within a ply."""

import numpy as np

from ..scoring import auroc
from ._question import Misconception, Question


def _enclosed(edge, square, colour):
    """Discs of a row of eight that a disc of this colour, put on this square, turns over."""
    turned = set()
    for step in (1, -1):
        run, at = [], square + step
        while 0 <= at < 8 and edge[at] in "XO" and edge[at] != colour:
            run.append(at)
            at += step
        if 0 <= at < 8 and edge[at] == colour:
            turned.update(run)
    return turned


# Nothing of the above is called here: the solution shows this function's own source, and has to be whole.
def survivors(edge):
    def place(square, colour):
        """The edge after a disc is put on a square, and the discs it turns over."""
        turned, after = set(), list(edge)
        for step in (1, -1):
            run, at = [], square + step
            while 0 <= at < 8 and edge[at] not in (".", colour):
                run.append(at)
                at += step
            if 0 <= at < 8 and edge[at] == colour:
                turned.update(run)
        for at in turned | {square}:
            after[at] = colour
        return "".join(after), turned

    safe = {at for at in range(8) if edge[at] != "."}
    for square in range(8):
        if edge[square] == ".":
            for colour in "XO":
                after, turned = place(square, colour)
                safe = (safe - turned) & survivors(after)
    return safe


def _after(edge, square, colour):
    turned = _enclosed(edge, square, colour)
    after = [colour if at == square or at in turned else disc for at, disc in enumerate(edge)]
    return "".join(after), turned


def _next_move_only(edge):
    safe = {at for at in range(8) if edge[at] != "."}
    for square in range(8):
        if edge[square] == ".":
            for colour in "XO":
                safe -= _after(edge, square, colour)[1]
    return safe


def _left_to_right(edge):
    """Fills the empty squares in one order only."""
    safe, square = {at for at in range(8) if edge[at] != "."}, edge.find(".")
    if square >= 0:
        for colour in "XO":
            after, turned = _after(edge, square, colour)
            safe = (safe - turned) & _left_to_right(after)
    return safe


def _taking_turns(edge):
    def go(edge, colour):
        safe = {at for at in range(8) if edge[at] != "."}
        for square in range(8):
            if edge[square] == ".":
                after, turned = _after(edge, square, colour)
                safe = (safe - turned) & go(after, "O" if colour == "X" else "X")
        return safe

    return go(edge, "X") & go(edge, "O")


def _only_moves_that_flip(edge):
    safe = {at for at in range(8) if edge[at] != "."}
    for square in range(8):
        if edge[square] == ".":
            for colour in "XO":
                after, turned = _after(edge, square, colour)
                if turned:
                    safe = (safe - turned) & _only_moves_that_flip(after)
    return safe


def _no_flips(edge):
    """Forgets to turn discs over before it goes on."""
    safe = {at for at in range(8) if edge[at] != "."}
    for square in range(8):
        if edge[square] == ".":
            for colour in "XO":
                turned = _enclosed(edge, square, colour)
                safe = (safe - turned) & _no_flips(edge[:square] + colour + edge[square + 1 :])
    return safe


def _papers_rule(edge):
    marked = {at for at in (0, 7) if edge[at] != "."}
    for at in range(8):
        if edge[at] != "." and marked & {at - 1, at + 1}:
            marked.add(at)
    return marked


def _chains_from_corners(edge):
    """Only discs joined to a corner by discs of their own colour."""
    safe = set()
    for corner, step in ((0, 1), (7, -1)):
        at = corner
        while 0 <= at < 8 and edge[at] != "." and edge[at] == edge[corner]:
            safe.add(at)
            at += step
    return safe


q1 = Question(
    title="What survives on an edge",
    answer=survivors,
    cases=[(edge,) for edge in ("..XXOXOO", "XO.XX.XX", ".XOXOXOX", "XOX..OXX", ".OO.XXXX")],
    misconceptions=[
        Misconception(
            _papers_rule,
            "This is the paper's sweep: occupied, and beside a marked tile. It does not look at colours, and "
            "never asks whether a disc can be enclosed.",
        ),
        Misconception(
            _chains_from_corners,
            "You keep the discs that are joined to a corner by discs of their own colour. All of that is "
            "safe, but a disc can be safe in other ways: where no filling ever encloses it.",
        ),
        Misconception(
            _next_move_only,
            "You look one disc ahead. A disc that nothing flips now may be flipped after the next one; go on "
            "until the edge is full.",
        ),
        Misconception(
            _left_to_right,
            "You fill the empty squares in one fixed order. The order of filling decides what is enclosed.",
        ),
        Misconception(
            _taking_turns,
            "Your colours take turns. On one edge they need not: between two discs of the same colour here, "
            "the opponent plays somewhere else on the board.",
        ),
        Misconception(
            _only_moves_that_flip,
            "You allow only discs that flip something on this edge. A move here may be legal because of what "
            "it flips along another line.",
        ),
        Misconception(
            _no_flips,
            "You put discs down but never turn any over. What is enclosed later depends on the colours after "
            "the flips.",
        ),
    ],
    advice=(
        "Recursion: what survives is what no first disc flips and what survives on every edge that results. "
        "For each empty square and each colour, find the discs turned over, then call the function on the "
        "new edge."
    ),
    why=(
        "Every order, either colour: that is more than a real game can do to an edge, so whatever survives "
        "is proven. The other lines of an edge disc end at the disc itself, and cannot enclose it."
    ),
)


def auroc_same_ply(score, label, ply):
    won, pairs = 0.0, 0
    for move in np.unique(ply):
        now = ply == move
        true, false = score[now & label], score[now & ~label]
        won += (true[:, None] > false).sum() + (true[:, None] == false).sum() / 2
        pairs += len(true) * len(false)
    return won / pairs


def _all_positions(score, label, ply):
    return float(auroc(score[:, None], label[:, None])[0, 0])


def _each_ply(score, label, ply):
    """AUROC of every ply that has both kinds of positions, and how many positions and pairs it has."""
    for move in np.unique(ply):
        now = ply == move
        n_true = int(label[now].sum())
        if 0 < n_true < now.sum():
            yield _all_positions(score[now], label[now], ply), now.sum(), n_true * (now.sum() - n_true)


def _mean_of_plies(score, label, ply):
    return float(np.mean([value for value, _, _ in _each_ply(score, label, ply)]))


def _weighted_by_positions(score, label, ply):
    values, positions, _ = zip(*_each_ply(score, label, ply), strict=True)
    return float(np.average(values, weights=positions))


def _half_for_constant_plies(score, label, ply):
    values = {move: 0.5 for move in np.unique(ply)}
    for move in values:
        now = ply == move
        if label[now].any() and not label[now].all():
            values[move] = _all_positions(score[now], label[now], ply)
    return float(np.mean(list(values.values())))


def _centred_by_ply(score, label, ply):
    centred = score.astype(float)
    for move in np.unique(ply):
        centred[ply == move] -= centred[ply == move].mean()
    return _all_positions(centred, label, ply)


def _ties_count_for_nothing(score, label, ply):
    won, pairs = 0.0, 0
    for move in np.unique(ply):
        now = ply == move
        true, false = score[now & label], score[now & ~label]
        won += (true[:, None] > false).sum()
        pairs += len(true) * len(false)
    return won / pairs


def _ties_count_in_full(score, label, ply):
    return auroc_same_ply(score, label, ply) * 2 - _ties_count_for_nothing(score, label, ply)


def _the_other_way(score, label, ply):
    return auroc_same_ply(-score, label, ply)


def _a_feature(seed):
    """A feature that mostly counts moves, on 90 positions; the label grows commoner as the game goes on."""
    random = np.random.default_rng(seed)
    ply = random.integers(10, 16, 90)
    label = random.random(90) < (ply - 9.5) / 7
    label[ply == 10] = False  # nothing is stable yet: no pairs here
    score = np.maximum(np.round(ply - 11 + 1.5 * label + 2 * random.normal(size=90)), 0)
    return score, label, ply


q2 = Question(
    title="The same move number",
    answer=auroc_same_ply,
    cases=[_a_feature(91), _a_feature(92), _a_feature(93)],
    misconceptions=[
        Misconception(
            _all_positions,
            "This is the ordinary AUROC: it compares positions of different plies as well, and there the ply "
            "itself decides.",
        ),
        Misconception(
            _mean_of_plies,
            "You give every ply the same weight. A ply with two comparable pairs then counts as much as one "
            "with two thousand.",
        ),
        Misconception(
            _weighted_by_positions,
            "You weight each ply by its positions. What is compared are pairs, and a ply where the label is "
            "nearly always false has many positions but few pairs.",
        ),
        Misconception(
            _half_for_constant_plies,
            "You enter 0.5 for a ply where the label never changes. Such a ply has no pairs: it says nothing "
            "at all, which is not the same as guessing.",
        ),
        Misconception(
            _centred_by_ply,
            "You subtract each ply's mean and then compare across plies. That takes away the mean only; the "
            "spread and the base rate still differ from ply to ply.",
        ),
        Misconception(
            _ties_count_for_nothing,
            "A tie counts for nothing here. A feature is silent on many positions, and between two silent "
            "ones it guesses: half a win.",
        ),
        Misconception(
            _ties_count_in_full, "A tie counts as a win here. Between equal scores it is a guess: half."
        ),
        Misconception(
            _the_other_way, "You count how often the position where the label is *false* scores higher."
        ),
    ],
    advice=(
        "For each ply, take the scores where the label is true and where it is false. Compare every one of "
        "the first with every one of the second, `true[:, None] > false`, half for ties. Add up wins and "
        "pairs over the plies, and divide once, at the end."
    ),
    why=(
        "Only pairs of the same ply are compared, so a score that merely counts moves ties with itself in "
        "every pair and gets exactly 0.5."
    ),
)
