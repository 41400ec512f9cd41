"""Othello written slowly and plainly, square by square, for the bitboards to agree with.

A position is a dictionary from (column, row), each 1 to 8, to "X" (black) or "O" (white); empty squares
are missing. A board of 6x6 or 4x4 is the middle of the 8x8 one.
"""

STEPS = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)]
OTHER = {"X": "O", "O": "X"}


def squares(size):
    """All squares of the board, rank by rank."""
    low, high = 5 - size // 2, 4 + size // 2
    return [(column, row) for row in range(low, high + 1) for column in range(low, high + 1)]


def name(square):
    return "abcdefgh"[square[0] - 1] + str(square[1])


def number(square):
    return 8 * (square[1] - 1) + square[0] - 1


def start():
    return {(4, 4): "O", (5, 5): "O", (5, 4): "X", (4, 5): "X"}


def turned_over(position, square, player):
    """The discs that a player turns over by playing on a square, in all eight directions."""
    if square in position:
        return set()
    turned = set()
    for x, y in STEPS:
        run, at = [], (square[0] + x, square[1] + y)
        while position.get(at) == OTHER[player]:
            run.append(at)
            at = (at[0] + x, at[1] + y)
        if position.get(at) == player:
            turned.update(run)
    return turned


def legal(position, player, size):
    """Squares where a player may play: those where at least one disc turns."""
    return [square for square in squares(size) if turned_over(position, square, player)]


def play(position, square, player):
    return {**position, **dict.fromkeys(turned_over(position, square, player) | {square}, player)}


def next_player(position, mover, size):
    """Who plays after `mover` has: the opponent, `mover` again if the opponent must pass, or nobody."""
    for player in (OTHER[mover], mover):
        if legal(position, player, size):
            return player
    return None


def game(choose, size):
    """Play to the end; `choose(legal squares)` gives each move. Yields (square, position, next player)."""
    position, player = start(), "X"
    while player:
        square = choose(legal(position, player, size))
        position = play(position, square, player)
        player = next_player(position, player, size)
        yield square, position, player


def perft(depth, size, position=None, player="X"):
    """Leaves `depth` plies below; a pass is a ply, a finished game one leaf."""
    position = position or start()
    if depth == 0:
        return 1
    moves = legal(position, player, size)
    if moves:
        return sum(perft(depth - 1, size, play(position, move, player), OTHER[player]) for move in moves)
    if legal(position, OTHER[player], size):
        return perft(depth - 1, size, position, OTHER[player])
    return 1


# The random numbers of a game: SplitMix64 (Steele, Lea and Flood, 2014), in exact integers

MASK, GOLDEN = 2**64 - 1, 0x9E3779B97F4A7C15


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def random_chooser(seed, k):
    """How game `k` of a seed chooses among the legal squares: in square order, by 32 random bits."""
    state = mix((mix((seed + GOLDEN) & MASK) + k) & MASK)

    def choose(options):
        nonlocal state
        state = (state + GOLDEN) & MASK
        return options[(mix(state) >> 32) * len(options) >> 32]

    return choose
