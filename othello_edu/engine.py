"""The rules of Othello on bitboards, compiled by numba.

A position is two 64-bit integers: the discs of the player to move (`own`) and of the opponent
(`opp`). Bit `s` is square `s` (a1 = 0, h1 = 7, a8 = 56), so a step along a row is a shift by 1 and a
step along a column a shift by 8. Smaller boards sit in the middle of the 8x8 grid: their outer ring
is never occupied and `playable` masks it out of the legal moves, so no other code changes.

Everything here works on many games at once and knows nothing about text, labels or models.

See Also:
    Chapter 1, :doc:`/notebooks/01_the_game`.
"""

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.extending import intrinsic

from . import checks
from .errors import OthelloEduError
from .kernels import in_pieces, kernel

BOARD_SIZES = (4, 6, 8)
EMPTY, BLACK, WHITE = 0, 1, 2

U = np.uint64
_ZERO, _ONE, _TWO = U(0), U(1), U(2)
# Discs in columns b..g: the only ones that a horizontal or diagonal run can enclose. Masking the
# edge columns also stops a shifted run from wrapping around to the next row.
_INNER = U(0x7E7E7E7E7E7E7E7E)
_BYTES = U(0x0101010101010101)  # times a byte: that byte eight times
_TOP_BITS = U(0x8080808080808080)


def n_plies(board_size: int) -> int:
    """Moves in a game that fills a board of `board_size`: 60 on 8x8, 32 on 6x6, 12 on 4x4."""
    return check_board_size(board_size) ** 2 - 4


def check_board_size(board_size: int) -> int:
    """Return `board_size` if this package plays on it, else raise OthelloEduError."""
    size = checks.integer("board_size", board_size)
    if size not in BOARD_SIZES:
        raise OthelloEduError(f"board_size is {size}; it must be one of {BOARD_SIZES}")
    return size


def playable_squares(board_size: int) -> np.ndarray:
    """Squares of the centred `board_size` x `board_size` board, int64 [n], ascending.

    Example:
        >>> playable_squares(4)[:5]
        array([18, 19, 20, 21, 26])
    """
    margin = (8 - check_board_size(board_size)) // 2
    inside = np.arange(margin, 8 - margin)
    return (8 * inside[:, None] + inside).ravel()


def to_bits(squares: npt.ArrayLike) -> np.uint64:
    """The bitboard with exactly these squares set.

    Args:
        squares: integers 0..63, of any shape.

    Raises:
        OthelloEduError: for what is no square.

    Example:
        >>> to_bits([0, 3])
        np.uint64(9)
    """
    squares = checks.integers("squares", squares, low=0, high=63)
    return U(sum(1 << square for square in set(np.atleast_1d(squares).tolist())))


PLAYABLE = {size: to_bits(playable_squares(size)) for size in BOARD_SIZES}
START_BLACK = to_bits([28, 35])  # e4, d5
START_WHITE = to_bits([27, 36])  # d4, e5

# SPREAD[byte] is eight bytes, each 0 or 1: one row of a bitboard as one row of an int8 board.
SPREAD = (
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    .view("<u8")
    .ravel()
    .astype(np.uint64)
)


@intrinsic
def popcount(typingctx: Any, x: Any) -> tuple[Any, Callable[..., Any]]:
    """Number of set bits of `x`: one machine instruction, which NumPy functions inside numba are not.

    Args:
        typingctx: numba's own; callers give `x` alone.
        x: uint64.
    """
    return nb.uint64(nb.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic
def trailing_zeros(typingctx: Any, x: Any) -> tuple[Any, Callable[..., Any]]:
    """Index of the lowest set bit of `x` (64 for zero).

    Args:
        typingctx: numba's own; callers give `x` alone.
        x: uint64.
    """
    of_zero_too = ir.Constant(ir.IntType(1), 0)
    return nb.uint64(nb.uint64), lambda context, builder, signature, args: builder.cttz(args[0], of_zero_too)


# forceinline: LLVM puts these small functions into the loops that call them, and can then turn a loop over
# many games into vector instructions. (numba's inline="always" does so too, but takes 3x longer to compile.)
@kernel(nb.uint64(nb.uint64, nb.uint64, nb.uint64), forceinline=True)
def _moves_along(own, opp, shift):
    """Ends of the runs of `opp` that start beside `own`, in both directions of one line."""
    double = shift + shift
    up = opp & (own << shift)
    up |= opp & (up << shift)
    pairs = opp & (opp << shift)
    up |= pairs & (up << double)
    up |= pairs & (up << double)
    down = opp & (own >> shift)
    down |= opp & (down >> shift)
    pairs = opp & (opp >> shift)
    down |= pairs & (down >> double)
    down |= pairs & (down >> double)
    return (up << shift) | (down >> shift)


@kernel(nb.uint64(nb.uint64, nb.uint64, nb.uint64), forceinline=True)
def legal_moves(own: np.uint64, opp: np.uint64, playable: np.uint64) -> np.uint64:
    """Bitboard of the squares where the owner of `own` may play.

    Args:
        own: bitboard of the player to move.
        opp: bitboard of the opponent.
        playable: bitboard of all squares of the board, `PLAYABLE[board_size]`.

    Example:
        >>> legal = legal_moves(START_BLACK, START_WHITE, PLAYABLE[8])
        >>> [square for square in range(64) if int(legal) >> square & 1]  # d3, c4, f5, e6
        [19, 26, 37, 44]
    """
    inner = opp & _INNER
    moves = _moves_along(own, inner, U(1))
    moves |= _moves_along(own, opp, U(8))
    moves |= _moves_along(own, inner, U(7))
    moves |= _moves_along(own, inner, U(9))
    return moves & ~(own | opp) & playable


@kernel(nb.uint64(nb.uint64, nb.uint64, nb.uint64, nb.uint64), forceinline=True)
def _flips_along(move, own, opp, shift):
    """Discs of `opp` enclosed between `move` and `own`, in both directions of one line."""
    double = shift + shift
    up = opp & (move << shift)
    up |= opp & (up << shift)
    pairs = opp & (opp << shift)
    up |= pairs & (up << double)
    up |= pairs & (up << double)
    down = opp & (move >> shift)
    down |= opp & (down >> shift)
    pairs = opp & (opp >> shift)
    down |= pairs & (down >> double)
    down |= pairs & (down >> double)
    flipped = up if own & (up << shift) else _ZERO
    return flipped | (down if own & (down >> shift) else _ZERO)


@kernel(nb.uint64(nb.uint64, nb.uint64, nb.uint64), forceinline=True)
def flips(move: np.uint64, own: np.uint64, opp: np.uint64) -> np.uint64:
    """Discs turned over when the owner of `own` plays on the single set bit of `move`, as a bitboard.

    Args:
        move: one bit.
        own: bitboard of the player who moves.
        opp: bitboard of the opponent.

    Returns:
        Zero if the move is illegal (an occupied square must be excluded by the caller).
    """
    inner = opp & _INNER
    return (
        _flips_along(move, own, inner, U(1))
        | _flips_along(move, own, opp, U(8))
        | _flips_along(move, own, inner, U(7))
        | _flips_along(move, own, inner, U(9))
    )


@kernel(nb.uint64(nb.uint64), forceinline=True)
def mix(x: np.uint64) -> np.uint64:
    """SplitMix64's finaliser, which turns neighbouring integers `x` into unrelated ones.

    References:
        Steele, Lea, Flood (2014), Fast Splittable Pseudorandom Number Generators.
    """
    x = (x ^ (x >> U(30))) * U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U(27))) * U(0x94D049BB133111EB)
    return x ^ (x >> U(31))


GOLDEN = U(0x9E3779B97F4A7C15)  # SplitMix64's increment


# _NTH_BIT[8 * byte + n] is the index of the n-th set bit of a byte, counted from 0.
_NTH_BIT = np.array(
    [([bit for bit in range(8) if byte >> bit & 1] + 8 * [0])[:8] for byte in range(256)], np.uint8
).ravel()


@kernel(nb.uint64(nb.uint64, nb.uint64), forceinline=True)
def _nth_bit(bits, n):
    """Index of the n-th set bit, counted from 0, without a loop or a branch: both cost more.

    Broadword selection (Vigna, 2008): eight bytes are counted, and compared with n, all at once.
    """
    counts = bits - ((bits >> _ONE) & U(0x5555555555555555))
    counts = (counts & U(0x3333333333333333)) + ((counts >> _TWO) & U(0x3333333333333333))
    counts = (counts + (counts >> U(4))) & U(0x0F0F0F0F0F0F0F0F)
    up_to = counts * _BYTES  # byte i: set bits in bytes 0..i
    before = popcount(((n * _BYTES | _TOP_BITS) - up_to) & _TOP_BITS) << U(3)  # bits in the bytes below
    n -= ((up_to << U(8)) >> before) & U(0xFF)
    return before + U(_NTH_BIT[(((bits >> before) & U(0xFF)) << U(3)) + n])


@kernel(nb.uint64(nb.uint64, nb.uint64), forceinline=True)
def pick_bit(bits: np.uint64, random: np.uint64) -> np.uint64:
    """One set bit of `bits`, chosen uniformly (bias below `2**-26`); 0 if there is none.

    Args:
        bits: bitboard to choose from.
        random: 64 random bits.
    """
    if bits == _ZERO:
        return _ZERO
    n_bits: np.uint64 = popcount(bits)  # type: ignore[call-arg]  # numba gives it the context
    return _ONE << _nth_bit(bits, ((random >> U(32)) * n_bits) >> U(32))


_LANES = 32  # games played in step by one thread
# What one call of a kernel does: a few milliseconds of work, between which Ctrl-C is heard.
_GAMES_AT_ONCE = 64 * _LANES
_REPLAYED_AT_ONCE = 2048
_PLIES_AT_ONCE = 7


@kernel()
def _random_games(moves, seed, first, playable):
    """Fill int8 [n_games, n_plies]; n_games is a multiple of _LANES.

    Games go in step, a move of each at a time, because the compiler turns a loop that does the same to
    every element of an array into vector instructions: one finds the moves of several games.
    """
    key = mix(seed + GOLDEN)
    for group in range(moves.shape[0] // _LANES):
        start = group * _LANES
        own, opp = np.full(_LANES, START_BLACK), np.full(_LANES, START_WHITE)
        legal, move, state = np.empty((3, _LANES), np.uint64)
        for lane in range(_LANES):
            state[lane] = mix(key + first + U(start + lane))
        for ply in range(moves.shape[1]):
            for lane in range(_LANES):
                legal[lane] = legal_moves(own[lane], opp[lane], playable)
            for lane in range(_LANES):
                if legal[lane] == _ZERO:  # a pass, or, if the opponent cannot move either, the end
                    own[lane], opp[lane] = opp[lane], own[lane]
                    legal[lane] = legal_moves(own[lane], opp[lane], playable)
                state[lane] += GOLDEN
                move[lane] = pick_bit(legal[lane], mix(state[lane]))
                moves[start + lane, ply] = trailing_zeros(move[lane]) if move[lane] else -1
            for lane in range(_LANES):  # after the end nothing is played and nothing turned
                turned = flips(move[lane], own[lane], opp[lane])
                own[lane], opp[lane] = opp[lane] ^ turned, own[lane] | turned | move[lane]


def random_moves(n_games: int, seed: int, board_size: int = 8, first: int = 0) -> np.ndarray:
    """Moves of uniform random legal games `first … first + n_games - 1` of `seed`.

    Game `k` depends on `(seed, k)` alone, whatever the number of threads or of games asked for.

    Args:
        n_games: how many.
        seed: not negative, below `2**64`.
        board_size: 4, 6 or 8.
        first: number of the first game.

    Returns:
        int8 [n_games, n_plies]: squares, -1 after the end of a game.

    Raises:
        OthelloEduError: for what lies outside, and for more games than fit into memory.
    """
    n_games = checks.integer("n_games", n_games, 0)
    seed = checks.seed("seed", seed, 2**64 - 1)
    whole_groups = -(-n_games // _LANES) * _LANES
    # A game's number is a 64-bit one, also of those that fill the last group.
    plies = n_plies(board_size)
    checks.memory(f"{n_games:,} games", 4 * n_games * plies)  # `Games` needs thrice as much to look at them
    first = checks.integer("first", first, 0, 2**64 - 1 - whole_groups)
    moves = np.empty((whole_groups, plies), np.int8)

    def play(games):
        _random_games(moves[games], U(seed), U(first + games.start), PLAYABLE[board_size])

    in_pieces(play, whole_groups, _GAMES_AT_ONCE)
    return moves[:n_games]


@kernel()
def _perft(own, opp, playable, depth):
    if depth == 0:
        return 1
    legal = legal_moves(own, opp, playable)
    if legal == _ZERO:
        if legal_moves(opp, own, playable) == _ZERO:
            return 1
        return _perft(opp, own, playable, depth - 1)
    if depth == 1:
        return nb.int64(popcount(legal))
    leaves = 0
    while legal:
        move = legal & (~legal + _ONE)
        legal ^= move
        turned = flips(move, own, opp)
        leaves += _perft(opp ^ turned, own | turned | move, playable, depth - 1)
    return leaves


MAX_DEPTH = 20  # of perft


def perft(depth: int, board_size: int = 8) -> int:
    """Number of leaves `depth` plies below the start; a pass is a ply, a finished game one leaf.

    The field's check of a move generator: from depth 1 on 8x8, 4, 12, 56, 244, 1396, 8200, 55092 …

    Args:
        depth: in plies; at most `MAX_DEPTH` on 6x6 and 8x8, beyond which the count takes years.
        board_size: 4, 6 or 8.

    Raises:
        OthelloEduError: for a depth that is negative or too large.

    Example:
        >>> [perft(depth) for depth in range(1, 6)]
        [4, 12, 56, 244, 1396]

    See Also:
        Chapter 1, :doc:`/notebooks/01_the_game`.
    """
    size = check_board_size(board_size)
    if size == 4:  # every game is over after 12 moves and as many passes at most
        depth = min(checks.integer("depth", depth, 0), 24)
    else:  # beyond, the count takes years and passes 2**63
        depth = checks.integer("depth", depth, 0, MAX_DEPTH)
    return _leaves(START_BLACK, START_WHITE, PLAYABLE[size], depth)


def _leaves(own: np.uint64, opp: np.uint64, playable: np.uint64, depth: int) -> int:
    """As `_perft`, whose calls it keeps short: a subtree at a time."""
    if depth <= _PLIES_AT_ONCE:
        return int(_perft(own, opp, playable, depth))
    legal = int(legal_moves(own, opp, playable))
    if legal == 0:
        over = legal_moves(opp, own, playable) == _ZERO
        return 1 if over else _leaves(opp, own, playable, depth - 1)
    leaves = 0
    while legal:
        move = U(legal & -legal)
        legal &= legal - 1
        turned = U(flips(move, own, opp))
        leaves += _leaves(opp ^ turned, own | turned | move, playable, depth - 1)
    return leaves


@kernel()
def _replay(playable, moves, boards, legal_out, to_move, valid, illegal):
    for game in range(moves.shape[0]):
        own, opp = START_BLACK, START_WHITE
        mover = BLACK
        legal = legal_moves(own, opp, playable)
        for ply in range(moves.shape[1]):
            square = moves[game, ply]
            if square < 0:
                break
            move = _ONE << U(square & 63)
            if square > 63 or not (legal & move):
                illegal[game] = ply
                break
            turned = flips(move, own, opp)
            own, opp = opp ^ turned, own | turned | move
            mover = 3 - mover
            legal = legal_moves(own, opp, playable)
            if legal == _ZERO:
                passed = legal_moves(opp, own, playable)
                if passed:
                    own, opp, mover, legal = opp, own, 3 - mover, passed
            black, white = (own, opp) if mover == BLACK else (opp, own)
            for rank in range(8):
                at = U(8 * rank)
                boards[game, ply, rank] = (
                    SPREAD[(black >> at) & U(0xFF)] + _TWO * SPREAD[(white >> at) & U(0xFF)]
                )
                legal_out[game, ply, rank] = SPREAD[(legal >> at) & U(0xFF)]
            to_move[game, ply] = mover if legal else 0
            valid[game, ply] = True


def replay_moves(
    moves: npt.ArrayLike, board_size: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Play many games at once; `games.replay` is the same for `Games`.

    Args:
        moves: int8 [n_games, n_plies], squares in the order played, -1 after the end.
        board_size: 4, 6 or 8.

    Returns:
        `(boards, to_move, legal, valid, illegal)`. Row `t` of the first four is the position after move `t`.

        - boards: int8 [n_games, n_plies, 64], 0 empty, 1 black, 2 white.
        - to_move: int8 [n_games, n_plies], 1 black, 2 white, 0 game over.
        - legal: bool [n_games, n_plies, 64].
        - valid: bool [n_games, n_plies], whether move `t` was played.
        - illegal: int8 [n_games], the ply at which a game stopped because its move breaks the rules, -1 for a
          sound game.

    Raises:
        OthelloEduError: for moves that are no squares, or more games than fit into memory (7.8 kB each
            on 8x8).
    """
    # Before they become int8: 293 would become 37.
    moves = checks.integers("moves", moves, "n_games", "n_plies", low=-128, high=127)
    moves = np.ascontiguousarray(moves, np.int8)
    shape = moves.shape
    checks.memory(f"the positions of {len(moves):,} games", (2 * 64 + 2) * moves.size)
    boards = np.zeros((*shape, 8), np.uint64)
    legal = np.zeros((*shape, 8), np.uint64)
    to_move = np.zeros(shape, np.int8)
    valid = np.zeros(shape, np.bool_)
    illegal = np.full(shape[0], -1, np.int8)
    playable = PLAYABLE[check_board_size(board_size)]

    def play(games):
        arrays = moves[games], boards[games], legal[games], to_move[games], valid[games], illegal[games]
        _replay(playable, *arrays)

    in_pieces(play, len(moves), _REPLAYED_AT_ONCE)
    return (
        boards.view(np.int8).reshape(*shape, 64),
        to_move,
        legal.view(np.bool_).reshape(*shape, 64),
        valid,
        illegal,
    )
