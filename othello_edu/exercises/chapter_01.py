"""Chapter 1, the game: squares as bits, and what perft counts."""

from ._question import Misconception, Question

_A_FILE, _H_FILE = 0x0101010101010101, 0x8080808080808080
_ALL = 0xFFFFFFFFFFFFFFFF


def east(bits):
    h_file = 0x8080808080808080
    return (bits & ~h_file) << 1


def _wraps_around(bits):
    return (bits << 1) & _ALL


def _grows(bits):
    return bits << 1


def _masks_too_late(bits):
    return (bits << 1) & ~_H_FILE & _ALL


def _west(bits):
    return (bits & ~_A_FILE) >> 1


def _south(bits):
    return (bits << 8) & _ALL


q1 = Question(
    title="One step to the right",
    answer=east,
    cases=[(1 << 3,), (1 << 6,), (1 << 7,), (1 << 63,), (_A_FILE,), (_H_FILE | 1 << 30,), (_ALL,), (0,)],
    misconceptions=[
        Misconception(
            _wraps_around,
            "Your squares leave the board at the right edge and come back on the left, one row further "
            "down: h1 is bit 7 and a2 is bit 8. A shift does not stop at the end of a row; you have to mask "
            "it.",
        ),
        Misconception(
            _grows,
            "Your squares leave the board at the right edge and come back on the left, one row further "
            "down, and h8 becomes bit 64, which is no square at all. Python's integers have no highest bit.",
        ),
        Misconception(
            _masks_too_late,
            "You take away the h-file after the step. By then it holds what came from the g-file, which was "
            "right, and what left h1 already stands on a2. Which squares must not take the step?",
        ),
        Misconception(_west, "That is a step to the left: columns count up from a to h, and so do the bits."),
        Misconception(
            _south, "A shift by 8 is a step down, to the next row. Neighbours in a row differ by 1."
        ),
    ],
    advice=(
        "A shift by one moves every square. Only the squares of one file go wrong, so remove those first: "
        "the mask of a file is eight bits, eight apart."
    ),
    why=(
        "Squares on the h-file have nothing to their right, so they are masked out before the shift. The "
        "package masks the edge files for the same reason, once for all directions that change the column."
    ),
)

q2 = Question(
    title="Paths and positions",
    answer=1288,
    misconceptions=[
        Misconception(
            1396,
            "That is `perft(5)`: it counts sequences of moves. Two sequences can lead to the same position, "
            "and then it is counted twice.",
        ),
        Misconception(
            236, "That is one move too few: the start is the position after no move, not after one."
        ),
        Misconception(
            7092, "That is one move too many: the start is the position after no move, not after one."
        ),
        Misconception(
            1595,
            "You counted every position on the way. The question asks for those after exactly five moves.",
        ),
        Misconception(
            1594,
            "You counted every position on the way. The question asks for those after exactly five moves.",
        ),
    ],
    advice=(
        "A `Board` can be an element of a Python set, and a set keeps equal ones once. Start from "
        "`{oe.Board.start()}` and make the set of all boards one move later, five times."
    ),
    why=(
        "There are fewer positions than sequences, because some sequences meet again: a transposition. The "
        "network of this course reads the sequence; which moves are legal next depends on the position alone."
    ),
    code="""
positions = {oe.Board.start()}
for _ in range(5):
    positions = {board.play(move) for board in positions for move in board.legal_moves}
len(positions)
""",
)
