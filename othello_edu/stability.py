"""Which discs can never be turned over again: the paper's rule, a proof, a refutation, and the truth.

Truth: a disc is *stable* if no legal continuation of the game flips it. Deciding that for a whole board
is hopeless in the middle of a game, so the truth is bracketed: `stable_sound` marks discs that are
proven stable, `refuted` those that some continuation was seen to flip, and always::

    proven  ⊆  stable  ⊆  not refuted

`stable_exact` finds the truth itself where few squares are empty. `stable_paper` is another matter: the
rule that Du et al. (arXiv 2501.07108) applied, kept with its defects because their figures rest on it.

Every mask is over squares; the owner of a stable disc is `boards * mask`. A smaller board has its own
border, inside the 8x8 grid.

See Also:
    Chapter 9, :doc:`/notebooks/09_tile_stability`.
"""

from functools import cache
from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from . import checks
from .board import SQUARE_NAMES
from .engine import (
    BLACK,
    GOLDEN,
    PLAYABLE,
    SPREAD,
    WHITE,
    U,
    check_board_size,
    flips,
    legal_moves,
    mix,
    pick_bit,
    playable_squares,
    popcount,
    to_bits,
)
from .errors import OthelloEduError
from .games import Positions
from .kernels import in_pieces, kernel

MAX_EMPTIES_EXACT = 12
# Positions, and games played from them, that one call of a kernel looks at: some milliseconds of work.
_AT_ONCE, _PLAYOUTS_AT_ONCE = 1 << 14, 1 << 12

_ZERO, _ONE = U(0), U(1)
_BYTES = U(0x0101010101010101)
_GATHER = U(0x0102040810204080)  # multiplied, brings the lowest bits of eight bytes into the top byte
_TOP, _BYTE = U(56), U(0xFF)
_NOT_A, _NOT_H, _ALL = U(0xFEFEFEFEFEFEFEFE), U(0x7F7F7F7F7F7F7F7F), U(0xFFFFFFFFFFFFFFFF)


# Boards to bitboards and back ------------------------------------------------------------------------


@kernel()
def _pack(rows, playable, black, white, good):
    for position in range(rows.shape[0]):
        black_bits, white_bits, bad = _ZERO, _ZERO, _ZERO
        for rank in range(8):
            row = rows[position, rank]
            bad |= (row & ~(_BYTES * U(3))) | (row & (row >> _ONE) & _BYTES)  # neither 0 nor 1 nor 2
            black_bits |= (((row & _BYTES) * _GATHER) >> _TOP) << U(8 * rank)
            white_bits |= ((((row >> _ONE) & _BYTES) * _GATHER) >> _TOP) << U(8 * rank)
        black[position], white[position] = black_bits, white_bits
        good[position] = bad == _ZERO and (black_bits | white_bits) & ~playable == _ZERO


@kernel()
def _unpack(masks, rows):
    for position in range(rows.shape[0]):
        for rank in range(8):
            rows[position, rank] = SPREAD[(masks[position] >> U(8 * rank)) & _BYTE]


def _bitboards(boards: npt.ArrayLike, board_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Boards [..., 64] as two bitboards each, uint64 [n]; refuses what is not a board of this size."""
    playable = PLAYABLE[check_board_size(board_size)]
    boards = checks.array("boards", boards)
    if boards.shape[-1:] != (64,) or not np.issubdtype(boards.dtype, np.integer):
        raise OthelloEduError(f"boards must be integers [..., 64], not {boards.dtype} {list(boards.shape)}")
    flat = boards.reshape(-1, 64)
    narrow = flat if flat.dtype == np.int8 else np.where((flat < 0) | (flat > 2), -1, flat)
    rows = np.ascontiguousarray(narrow, np.int8).view(np.uint64)
    black, white = np.empty((2, len(rows)), np.uint64)
    good = np.empty(len(rows), bool)
    in_pieces(lambda at: _pack(rows[at], playable, black[at], white[at], good[at]), len(rows), _AT_ONCE)
    if not good.all():
        position = int(np.argmin(good))
        outside = ~np.isin(np.arange(64), playable_squares(board_size))
        bad = (flat[position] < 0) | (flat[position] > 2) | (outside & (flat[position] != 0))
        square = int(np.argmax(bad))
        raise OthelloEduError(
            f"position {position}, {SQUARE_NAMES[square]}: {flat[position, square]} does not belong "
            f"on a {board_size}x{board_size} board: 0 empty, 1 black, 2 white, and 0 outside the border"
        )
    return black, white


def _as_mask(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bitboards uint64 [n] as bool of `shape` [..., 64]."""
    rows = np.empty((len(bits), 8), np.uint64)
    in_pieces(lambda at: _unpack(bits[at], rows[at]), len(bits), _AT_ONCE)
    return rows.view(np.bool_).reshape(shape)


# The paper's rule ------------------------------------------------------------------------------------


@cache
def _paper_edges(board_size: int) -> np.ndarray:
    """Tiles the paper's sweep marks on one edge, uint8 [256], by the byte of its occupied tiles."""
    first, last = (8 - board_size) // 2, 7 - (8 - board_size) // 2
    marked = np.zeros(256, np.uint8)
    for occupied in range(256):
        marks = occupied & (1 << first | 1 << last)
        for tile in range(first, last + 1):
            neighbours = marks & ((1 << tile) >> 1 | (1 << tile) << 1)
            if occupied >> tile & 1 and neighbours:
                marks |= 1 << tile  # counts at once, for the very next tile
        marked[occupied] = marks
    return marked


@kernel()
def _stable_paper(black, white, edges, first, last, out):
    for position in range(black.shape[0]):
        occupied = black[position] | white[position]
        marks = _ZERO
        for line in (first, last):
            rank, file = U(8 * line), U(line)
            marks |= U(edges[(occupied >> rank) & _BYTE]) << rank
            on_file = (((occupied >> file) & _BYTES) * _GATHER) >> _TOP
            marks |= SPREAD[edges[on_file]] << file
        out[position] = marks


def stable_paper(boards: npt.ArrayLike, board_size: int = 8) -> np.ndarray:
    """Tiles that the paper's rule calls stable.

    Colours are ignored and a mark counts at once: occupied corners; then ranks 1 and 8, a to h; then files
    a and h, 1 to 8: an occupied tile is marked if the previous or the next tile on that edge is marked; then
    occupied interior tiles all of whose eight neighbours are marked. Kept exact, defects included:

    - marked tiles may well be flipped (a white disc beside a black corner is marked);
    - the sweep runs one way, so that marks spread all along an edge from a1 but one tile only from h1;
    - no interior tile is ever marked, since the first would need a marked interior neighbour: that step is
      left out here, and a test that spells it out shows that it changes nothing.

    Args:
        boards: int [..., 64], 0 empty, 1 black, 2 white.
        board_size: 4, 6 or 8.

    Returns:
        bool [..., 64].

    Raises:
        OthelloEduError: for a board that is not one of `board_size`.

    References:
        Du et al., How GPT Learns Layer by Layer (arXiv 2501.07108), the rule as their code applies it.

    Example:
        >>> board = np.zeros(64, int)
        >>> board[[0, 1, 2]] = 1, 2, 1  # black a1, white b1, black c1
        >>> np.flatnonzero(stable_paper(board))
        array([0, 1, 2])

    See Also:
        Chapter 9, :doc:`/notebooks/09_tile_stability`, and chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
    """
    black, white = _bitboards(boards, board_size)
    first = (8 - board_size) // 2
    marks = np.empty(len(black), np.uint64)
    edges = _paper_edges(board_size)

    def mark(at):
        _stable_paper(black[at], white[at], edges, first, 7 - first, marks[at])

    in_pieces(mark, len(marks), _AT_ONCE)
    return _as_mask(marks, np.shape(boards))


# Proven stable ---------------------------------------------------------------------------------------


@kernel()
def _edge_flips(square, own, opp, step):
    """Discs of `opp` on a line of eight bits that a disc of `own` on `square` turns over one way."""
    turned, at = 0, square + step
    while 0 <= at < 8 and opp >> at & 1:
        turned |= 1 << at
        at += step
    return turned if 0 <= at < 8 and own >> at & 1 else 0


@kernel()
def _fill_edges(line, table):
    # A disc only ever adds to the occupied squares, so going down through the subsets of the line meets
    # every successor of a state before the state itself.
    occupied = line
    while True:
        black = occupied
        while True:
            white = occupied ^ black
            stable = occupied
            for square in range(8):
                if (line & ~occupied) >> square & 1:
                    disc = 1 << square
                    turned = _edge_flips(square, black, white, 1) | _edge_flips(square, black, white, -1)
                    stable &= ~turned & table[black | turned | disc, white & ~turned]
                    turned = _edge_flips(square, white, black, 1) | _edge_flips(square, white, black, -1)
                    stable &= ~turned & table[black & ~turned, white | turned | disc]
            table[black, white] = stable & occupied
            if black == 0:
                break
            black = (black - 1) & occupied
        if occupied == 0:
            break
        occupied = (occupied - 1) & line


@cache
def _stable_edges(board_size: int) -> np.ndarray:
    """Discs of an edge that survive every way of filling it, uint8 [256, 256] by black and white bytes.

    Every order, either colour on any empty square, with the flips along the edge: more than any game can
    do, for all the other lines of an edge disc end at the border.
    """
    first = (8 - board_size) // 2
    table = np.zeros((256, 256), np.uint8)
    _fill_edges(((1 << board_size) - 1) << first, table)
    return table


@cache
def _at_border(board_size: int) -> np.ndarray:
    """Squares with the border as a neighbour on a row, a column, and each diagonal, uint64 [4]."""
    first, squares = (8 - board_size) // 2, playable_squares(board_size)
    row, column = squares // 8, squares % 8
    sides, ends = np.isin(column, (first, 7 - first)), np.isin(row, (first, 7 - first))
    return np.array([to_bits(squares[at]) for at in (sides, ends, sides | ends, sides | ends)], np.uint64)


@nb.njit(inline="always")
def _smear(bits, shift, up_mask, down_mask):
    """All squares of the lines (in one direction) that hold a set bit; the masks stop wrapping around."""
    up, open_up = bits, up_mask
    down, open_down = bits, down_mask
    for _ in range(3):  # one step, two steps, four steps
        up |= open_up & (up << shift)
        open_up &= open_up << shift
        down |= open_down & (down >> shift)
        open_down &= open_down >> shift
        shift += shift
    return up | down


@nb.njit(inline="always")
def _beside(bits, shift):
    # Neighbours that wrap around to the next row are at the border, where the line is safe anyway.
    return (bits << shift) | (bits >> shift)


@kernel()
def _sound(black, white, playable, border, edges, first, last):
    """Discs proven stable: the least fixed point described in `stable_sound`."""
    occupied = black | white
    empty = playable & ~occupied
    # On each of its four lines, where is a disc safe whatever its neighbours are?
    row = border[0] | ~_smear(empty, _ONE, _NOT_A, _NOT_H)
    column = border[1] | ~_smear(empty, U(8), _ALL, _ALL)
    falling = border[2] | ~_smear(empty, U(7), _NOT_H, _NOT_A)
    rising = border[3] | ~_smear(empty, U(9), _NOT_A, _NOT_H)

    proven = occupied & row & column & falling & rising
    for line in (first, last):
        rank, file = U(8 * line), U(line)
        proven |= U(edges[(black >> rank) & _BYTE, (white >> rank) & _BYTE]) << rank
        black_file = (((black >> file) & _BYTES) * _GATHER) >> _TOP
        white_file = (((white >> file) & _BYTES) * _GATHER) >> _TOP
        proven |= SPREAD[edges[black_file, white_file]] << file
    if proven == _ZERO:
        return _ZERO

    proven_black, proven_white = proven & black, proven & white
    while True:
        proven_black |= (
            black
            & (row | _beside(proven_black, _ONE))
            & (column | _beside(proven_black, U(8)))
            & (falling | _beside(proven_black, U(7)))
            & (rising | _beside(proven_black, U(9)))
        )
        proven_white |= (
            white
            & (row | _beside(proven_white, _ONE))
            & (column | _beside(proven_white, U(8)))
            & (falling | _beside(proven_white, U(7)))
            & (rising | _beside(proven_white, U(9)))
        )
        if proven_black | proven_white == proven:
            return proven
        proven = proven_black | proven_white


@kernel()
def _stable_sound(black, white, playable, border, edges, first, last, out):
    for position in range(black.shape[0]):
        out[position] = _sound(black[position], white[position], playable, border, edges, first, last)


def _sound_bits(black: np.ndarray, white: np.ndarray, board_size: int) -> np.ndarray:
    first = (8 - board_size) // 2
    out = np.empty(len(black), np.uint64)
    tables = _at_border(board_size), _stable_edges(board_size)

    def prove(at):
        _stable_sound(black[at], white[at], PLAYABLE[board_size], *tables, first, 7 - first, out[at])

    in_pieces(prove, len(out), _AT_ONCE)
    return out


def stable_sound(boards: npt.ArrayLike, board_size: int = 8) -> np.ndarray:
    """Discs proven stable: none of them can ever be flipped.

    The least fixed point of two rules. A disc is proven if on each of its four lines either the line is full,
    or one of its two neighbours there is the border or a proven disc of its own colour. A disc of an edge is
    proven if it survives every way of filling that edge: any empty square, either colour, any order.

    Why it holds: to be flipped, a disc must lie in a run between a new disc and an old one. A full line takes
    no new disc. A run has no end at the border, and cannot hold or end on the proven neighbour unless that
    was flipped before. What is not marked may still be stable: a lower estimate, as in the engine Edax.

    Args:
        boards: int [..., 64], 0 empty, 1 black, 2 white.
        board_size: 4, 6 or 8.

    Returns:
        bool [..., 64].

    Raises:
        OthelloEduError: for a board that is not one of `board_size`.

    Example:
        >>> board = np.zeros(64, int)
        >>> board[[0, 1, 2]] = 1, 2, 1  # black a1, white b1, black c1
        >>> np.flatnonzero(stable_sound(board))  # white d1 turns c1 over, and then b1 is in danger
        array([0])

    See Also:
        Chapter 9, :doc:`/notebooks/09_tile_stability`.
    """
    return _as_mask(_sound_bits(*_bitboards(boards, board_size), board_size), np.shape(boards))


# Refuted by play -------------------------------------------------------------------------------------


@kernel()
def _seeking_move(legal, own, opp, sought, random):
    """The legal move that flips most of the sought discs; a random one if none flips any."""
    best = pick_bit(legal, random)
    most = popcount(flips(best, own, opp) & sought)
    while legal:
        move = legal & (~legal + _ONE)
        legal ^= move
        gain = popcount(flips(move, own, opp) & sought)
        if gain > most:
            best, most = move, gain
    return best


@kernel()
def _refuted(black, white, to_move, sought, out, n_playouts, seed, first, playable):
    key = mix(seed + GOLDEN)
    for position in range(black.shape[0]):
        flipped = _ZERO
        state = mix(key + first + U(position))
        for playout in range(n_playouts):
            if to_move[position] == 0 or sought[position] & ~flipped == _ZERO:
                break
            own, opp = black[position], white[position]
            if to_move[position] == WHITE:
                own, opp = opp, own
            while True:
                legal = legal_moves(own, opp, playable)
                if legal == _ZERO:
                    own, opp = opp, own
                    legal = legal_moves(own, opp, playable)
                    if legal == _ZERO:
                        break
                state += GOLDEN
                if playout & 1:
                    move = _seeking_move(legal, own, opp, sought[position] & ~flipped, mix(state))
                else:
                    move = pick_bit(legal, mix(state))
                turned = flips(move, own, opp)
                flipped |= turned
                own, opp = opp ^ turned, own | turned | move
        out[position] = flipped & (black[position] | white[position])


def refuted(
    boards: npt.ArrayLike,
    to_move: npt.ArrayLike,
    n_playouts: int,
    seed: int,
    board_size: int = 8,
    sought: npt.ArrayLike | None = None,
) -> np.ndarray:
    """Discs that some legal continuation was seen to flip: certainly not stable.

    Each position is played to its end `n_playouts` times, by turns uniformly at random and seeking: the move
    that flips most of the discs still to be refuted. Playing stops when no sought disc is left. Position `i`
    (in flattened order) depends on `(seed, i)` alone, whatever the number of threads.

    Args:
        boards: int [..., 64], 0 empty, 1 black, 2 white.
        to_move: int [...], 1 black, 2 white, 0 nobody (refutes nothing).
        n_playouts: games from each position.
        seed: not negative, below `2**64`.
        board_size: 4, 6 or 8.
        sought: bool [..., 64], the discs to be refuted; by default those that are not proven stable. Give it
            the discs that a rule of your own calls stable, to look for a counterexample.

    Returns:
        bool [..., 64].

    Raises:
        OthelloEduError: for shapes that do not fit or a board that is not one of `board_size`.

    Example:
        >>> from othello_edu.board import Board
        >>> board = Board.from_moves("f5d6")
        >>> flipped = refuted(board.contents, board.to_move, n_playouts=100, seed=0)
        >>> int(flipped.sum()), board.count(1) + board.count(2)  # so early, nothing is safe
        (6, 6)

    See Also:
        Chapter 9, :doc:`/notebooks/09_tile_stability`.
    """
    black, white = _bitboards(boards, board_size)
    shape = np.shape(boards)
    to_move = _movers(to_move, shape[:-1])
    n_playouts = checks.integer("n_playouts", n_playouts, 0, 2**63 - 1)
    seed = checks.seed("seed", seed, 2**64 - 1)
    if sought is None:
        sought_bits = (black | white) & ~_sound_bits(black, white, board_size)
    else:
        sought = checks.flags("sought", sought, hint="`stable_paper(boards)`")
        if sought.shape != shape:
            raise OthelloEduError(f"sought has shape {sought.shape}, boards {shape}: they must be the same")
        sought_bits = _bitboards(sought.astype(np.int8), 8)[0] & (black | white)
    out = np.empty(len(black), np.uint64)

    def play(at):
        arrays = black[at], white[at], to_move[at], sought_bits[at], out[at]
        _refuted(*arrays, n_playouts, U(seed), U(at.start), PLAYABLE[board_size])

    in_pieces(play, len(out), max(1, _PLAYOUTS_AT_ONCE // max(1, n_playouts)))
    return _as_mask(out, shape)


def _movers(to_move: npt.ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Whose turn it is at every position, int8 [n]."""
    to_move = checks.integers("to_move", to_move)
    if to_move.shape != shape:
        raise OthelloEduError(f"to_move has shape {to_move.shape}; the boards need {shape}")
    if not np.isin(to_move, (0, BLACK, WHITE)).all():
        raise OthelloEduError("to_move must be 1 (black), 2 (white) or 0 (nobody)")
    return to_move.astype(np.int8).ravel()


# The truth, near the end -----------------------------------------------------------------------------


@kernel()
def _slot(table, own, opp):
    """Where a position is in an open-addressing table, or the free slot where it belongs."""
    last = U(len(table) - 1)
    slot = mix(own ^ mix(opp + GOLDEN)) & last
    while table[slot, 0] | table[slot, 1] and (table[slot, 0] != own or table[slot, 1] != opp):
        slot = (slot + _ONE) & last
    return slot


@kernel()
def _play_every_move(layer, playable):
    """All positions one move after those of `layer` [n, 2], each once, and every disc flipped on the way."""
    flipped, count = _ZERO, 0
    table = np.zeros((1024, 2), np.uint64)  # own, opp; no position is empty, so zero means free
    for parent in range(len(layer)):
        own, opp = layer[parent]
        legal = legal_moves(own, opp, playable)
        while legal:
            move = legal & (~legal + _ONE)
            legal ^= move
            turned = flips(move, own, opp)
            flipped |= turned
            next_own, next_opp = opp ^ turned, own | turned | move
            if legal_moves(next_own, next_opp, playable) == _ZERO:
                next_own, next_opp = next_opp, next_own  # a pass, or the end, where neither can move
            slot = _slot(table, next_own, next_opp)
            if table[slot, 0] | table[slot, 1] == _ZERO:
                table[slot, 0], table[slot, 1] = next_own, next_opp
                count += 1
                if 2 * count > len(table):
                    larger = np.zeros((2 * len(table), 2), np.uint64)
                    for old in range(len(table)):
                        if table[old, 0] | table[old, 1]:
                            larger[_slot(larger, table[old, 0], table[old, 1])] = table[old]
                    table = larger
    reached = np.empty((count, 2), np.uint64)
    count = 0
    for slot in range(len(table)):
        if table[slot, 0] | table[slot, 1]:
            reached[count] = table[slot]
            count += 1
    return reached, flipped


def stable_exact(board: npt.ArrayLike, to_move: int, board_size: int = 8) -> np.ndarray:
    """The truth: discs that no legal continuation flips.

    Visits every position that can be reached, move by move. Different orders of the same moves often meet in
    the same position, which is visited once. With nobody to move every disc is stable.

    Args:
        board: int [64], 0 empty, 1 black, 2 white.
        to_move: 1 black, 2 white, 0 nobody.
        board_size: 4, 6 or 8.

    Returns:
        bool [64].

    Raises:
        OthelloEduError: if more than 12 squares are empty: there would be too many positions to visit. Every
            position on 4x4 is within reach.

    Example:
        >>> from othello_edu.board import Board
        >>> board = Board.from_moves("c4c3d3e3f5d6f4f3c5", board_size=4)
        >>> proven = stable_sound(board.contents, board_size=4)
        >>> stable = stable_exact(board.contents, board.to_move, board_size=4)
        >>> int(proven.sum()), int(stable.sum())
        (5, 6)

    See Also:
        Chapter 9, :doc:`/notebooks/09_tile_stability`.
    """
    black, white = _bitboards(board, board_size)
    if np.shape(board) != (64,):
        raise OthelloEduError(f"stable_exact takes one board [64], not {list(np.shape(board))}")
    mover = _movers(to_move, ())[0]
    own, opp = (white[0], black[0]) if mover == WHITE else (black[0], white[0])
    playable, occupied = PLAYABLE[board_size], own | opp
    n_empty = int(playable & ~occupied).bit_count()
    if n_empty > MAX_EMPTIES_EXACT:
        raise OthelloEduError(
            f"{n_empty} squares are empty; an exhaustive search is limited to {MAX_EMPTIES_EXACT}: "
            "bracket the truth with stable_sound and refuted instead"
        )
    flipped = _ZERO
    if mover and legal_moves(own, opp, playable) == _ZERO:
        own, opp = opp, own
    layer = np.array([[own, opp]] if mover else np.empty((0, 2)), np.uint64)
    while len(layer):
        layer, turned = _play_every_move(layer, playable)
        flipped |= turned
    return _as_mask(np.array([occupied & ~flipped], np.uint64), (64,))


# How much is known -----------------------------------------------------------------------------------


class Bracket(NamedTuple):
    """Shares of the occupied tiles at each ply: they add up to one.

    NaN at a ply that no game reached with a player to move.

    Attributes:
        proven: float64 [n_plies], proven stable.
        refuted: float64 [n_plies], seen to be flipped.
        width: float64 [n_plies], neither, so that nobody knows.
    """

    proven: np.ndarray
    refuted: np.ndarray
    width: np.ndarray


def bracket(positions: Positions, n_playouts: int, seed: int) -> Bracket:
    """How closely `stable_sound` and `refuted` enclose the truth, by ply.

    Only positions with a player to move count: in a finished game there is nothing left to enclose.

    Args:
        positions: as `replay(games)` returns them.
        n_playouts: games from each position.
        seed: of `refuted`.

    Returns:
        The shares of the occupied tiles.
    """
    checks.kind_of("positions", positions, Positions, "Positions, as `replay(games)` returns them")
    size, has_mover = positions.board_size, positions.to_move > 0
    occupied = (positions.boards > 0) & has_mover[..., None]
    proven = stable_sound(positions.boards, size) & occupied
    flipped = refuted(positions.boards, positions.to_move, n_playouts, seed, size)
    tiles = occupied.sum(axis=(0, 2))
    with np.errstate(invalid="ignore"):
        shares = [mask.sum(axis=(0, 2)) / tiles for mask in (proven, flipped, occupied & ~proven & ~flipped)]
    return Bracket(*shares)
