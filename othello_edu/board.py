"""`Board`: one immutable position that a person can read, print and play on; squares and notation.

See Also:
    Chapter 1, :doc:`/notebooks/01_the_game`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from . import checks, engine
from .drawing import BoardPanel, boards_svg
from .engine import BLACK, EMPTY, WHITE, U, check_board_size
from .errors import IllegalMoveError, OthelloEduError

SQUARE_NAMES = tuple(f"{column}{row}" for row in range(1, 9) for column in "abcdefgh")
PLAYER_NAMES = {EMPTY: "nobody", BLACK: "black", WHITE: "white"}
_OUTSIDE = {size: ~int(bits) for size, bits in engine.PLAYABLE.items()}
DISC_MARKS = ".XO"  # empty, black, white: the field's usual letters


def square_name(square: int) -> str:
    """The name of a `square`: `0 -> "a1"`, `7 -> "h1"`, `63 -> "h8"`; letter = column, digit = row.

    Raises:
        OthelloEduError: for what is no integer 0..63.

    Example:
        >>> square_name(37)
        'f5'
    """
    square = checks.integer("square", square)
    if not 0 <= square < 64:
        raise OthelloEduError(f"square {square} is not on the board: squares are numbered 0 to 63")
    return SQUARE_NAMES[square]


def parse_square(square: str | int) -> int:
    """The number of a `square`: `"f5" -> 37`. An integer 0..63 is returned as it is.

    Raises:
        OthelloEduError: for anything else.

    Example:
        >>> parse_square("f5")
        37
    """
    if isinstance(square, str):
        if square.lower() in SQUARE_NAMES:
            return SQUARE_NAMES.index(square.lower())
        raise OthelloEduError(f"{square!r} is not a square: write a letter a-h and a digit 1-8, as in 'f5'")
    if isinstance(square, bool) or not isinstance(square, (int, np.integer)):
        shown = checks.shown(square)
        raise OthelloEduError(f"{shown} is not a square: give its name, as in 'f5', or a number 0 to 63")
    square_name(square)
    return int(square)


# A game as people write it. `widgets/othello.js` reads by the same rules: who changes one changes both.
# Whatever is not a separator is a word; a word of none of the named kinds is refused.
_SPACE = r"\s\ufeff"  # what Python and JavaScript, each a little differently, take for white space
_SCORE = r"[0-9]{1,2}(?:/2)?"
TRANSCRIPT_WORD = re.compile(
    r"(?P<square>[a-h][1-8])|(?P<passed>--|pass|pa|ps)"
    rf"|(?P<number>[0-9]+[{_SPACE}]*\.+)"
    rf"|(?P<result>(?:\*|{_SCORE}-{_SCORE})(?![^{_SPACE},;|]))"
    rf"|[^{_SPACE},;|-]+"
)
_SQUARES = {name: square for square, name in enumerate(SQUARE_NAMES)}


def parse_transcript(text: str) -> tuple[list[int], list[int]]:
    """Squares of one game as people write it, and before which ply each written pass stands.

    Whether moves and passes are legal only playing them can tell.

    Args:
        text: squares in any case, together or apart (spaces, `,` `;` `|` `-`), with or without move numbers
            (`1.`), passes (`--`, `pa`, `ps`, `pass`), a result at the end (`40-24`, `1-0`, `1/2-1/2`, `*`)
            and a comment (`#` to the end of the line).

    Raises:
        OthelloEduError: names the ply and the word.

    Example:
        >>> parse_transcript("1. f5 d6 2. C3 40-24")
        ([37, 43, 18], [])
    """
    if not isinstance(text, str):
        raise OthelloEduError(f"a transcript is text such as 'f5d6c3', not {type(text).__name__}")
    moves, passes, result = [], [], None
    for match in TRANSCRIPT_WORD.finditer(re.sub(r"#[^\n]*", " ", text.lower())):
        kind, word = match.lastgroup, match[0]
        if result is not None:
            raise OthelloEduError(f"ply {len(moves)}: {word[:20]!r} follows the result {result}")
        if kind == "square":
            moves.append(_SQUARES[word])
        elif kind == "passed":
            passes.append(len(moves))
        elif kind == "result":
            result = word
        elif kind != "number":
            raise OthelloEduError(f"ply {len(moves)}: {word[:20]!r} is neither a square nor a pass")
    return moves, passes


def passes_allowed(before: int, after: int) -> int:
    """How many passes may be written behind a move: that which the rules force, or both at the end.

    Args:
        before: the player to move before it, as in `Board.to_move`.
        after: the player to move after it.
    """
    return 2 if after == EMPTY else int(before == after)


def squares_of(bits: int | np.uint64) -> tuple[int, ...]:
    """Squares set in a bitboard, `bits`, ascending.

    Example:
        >>> squares_of(0b1001)
        (0, 3)
    """
    bits = checks.integer("bits", bits, 0, 2**64 - 1)
    return tuple(square for square in range(64) if bits >> square & 1)


@dataclass(frozen=True)
class Board:
    """One position: who has which squares, and who is to move. Playing returns a new Board.

    Attributes:
        black: bitboard of black's discs (bit `s` is square `s`).
        white: bitboard of white's discs.
        to_move: 1 black, 2 white, 0 game over.
        board_size: 4, 6 or 8; smaller boards sit in the middle of the 8x8 grid.

    Raises:
        OthelloEduError: where two discs share a square, or one is outside the board.

    Example:
        >>> board = Board.start().play("f5")
        >>> board.legal_moves
        ('f4', 'd6', 'f6')
        >>> print(board)
          a b c d e f g h
        1 . . . . . . . .
        2 . . . . . . . .
        3 . . . . . . . .
        4 . . . O X · . .
        5 . . . X X X . .
        6 . . . · . · . .
        7 . . . . . . . .
        8 . . . . . . . .
        white to move  X 4  O 1

    See Also:
        Chapter 1, :doc:`/notebooks/01_the_game`.
    """

    black: int
    white: int
    to_move: int = BLACK
    board_size: int = 8

    def __post_init__(self):
        black, white, to_move, size = self.black, self.white, self.to_move, self.board_size
        # A board is made for every move played: one that is sound is let through quickly.
        if type(black) is type(white) is type(to_move) is type(size) is int and size in _OUTSIDE:
            if not (black & white or (black | white) & _OUTSIDE[size]) and EMPTY <= to_move <= WHITE:
                return
        size = check_board_size(size)
        for name, high in (("black", 2**64 - 1), ("white", 2**64 - 1), ("to_move", WHITE)):
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), 0, high))
        object.__setattr__(self, "board_size", size)
        for bits, reason in (
            (self.black & self.white, "holds a black and a white disc"),
            ((self.black | self.white) & _OUTSIDE[size], f"is outside the {size}x{size} board"),
        ):
            if bits:
                raise OthelloEduError(f"{SQUARE_NAMES[squares_of(bits)[0]]} {reason}")

    @classmethod
    def start(cls, board_size: int = 8) -> "Board":
        """The start: d4 and e5 white, e4 and d5 black, black to move.

        Args:
            board_size: 4, 6 or 8.
        """
        check_board_size(board_size)
        return cls(int(engine.START_BLACK), int(engine.START_WHITE), BLACK, board_size)

    @classmethod
    def parse(cls, text: str, to_move: int | None = None, board_size: int = 8) -> "Board":
        """Read a picture of a board, as `print(board)` writes it.

        Args:
            text: X or `*` black, O or 0 white, `.`, `-` or `·` empty, rows from the top.
            to_move: 1 black, 2 white, 0 game over. If neither this nor the picture's last line ("white to
                move") says whose turn it is, black moves; a player without a move is skipped.
            board_size: 4, 6 or 8.

        Raises:
            OthelloEduError: for a picture of another size, or of something else.

        Example:
            >>> board = Board.start(4)
            >>> Board.parse(str(board), board_size=4) == board
            True
        """
        size = check_board_size(board_size)
        checks.kind_of("text", text, str, "the picture of a board, one line a row")
        cells: list[str] = []
        stated = None
        for line in text.strip().splitlines():
            line = "".join(line.split()).lower()
            if line.startswith(("black", "white", "gameover")):
                stated = {"b": BLACK, "w": WHITE, "g": EMPTY}[line[0]]
            elif line[:1] not in ("a", "b", "c"):  # the column letters above the picture
                cells.extend(line.strip("12345678"))
        if len(cells) != size * size:
            raise OthelloEduError(
                f"a board of {size}x{size} has {size * size} squares; this picture has {len(cells)}"
            )
        kinds = {**dict.fromkeys(".-·", EMPTY), **dict.fromkeys("x*", BLACK), **dict.fromkeys("o0", WHITE)}
        for at, mark in enumerate(cells):
            if mark not in kinds:
                raise OthelloEduError(f"{mark!r} in row {at // size + 1} of the picture is not X, O or '.'")
        contents = np.zeros(64, np.int8)
        contents[engine.playable_squares(size)] = [kinds[mark] for mark in cells]
        to_move = to_move if to_move is not None else BLACK if stated is None else stated
        return cls.from_contents(contents, to_move, size)

    @classmethod
    def from_contents(cls, contents: npt.ArrayLike, to_move: int = BLACK, board_size: int = 8) -> "Board":
        """The position with these discs.

        Args:
            contents: int [64], 0 empty, 1 black, 2 white.
            to_move: 1 black, 2 white, 0 game over. A player without a move is skipped.
            board_size: 4, 6 or 8.

        Raises:
            OthelloEduError: for what is no board of this size, and if a game that is said to be over is not.
        """
        contents = checks.array("contents", contents)
        if contents.shape != (64,):
            raise OthelloEduError(f"a board has shape (64,), not {contents.shape}")
        if not np.isin(contents, (EMPTY, BLACK, WHITE)).all():
            raise OthelloEduError("contents must be 0 (empty), 1 (black) or 2 (white) on every square")
        to_move = checks.integer("to_move", to_move)
        if to_move not in PLAYER_NAMES:
            raise OthelloEduError(f"to_move is {to_move!r}; it must be 1 (black), 2 (white) or 0 (game over)")
        black = engine.to_bits(np.flatnonzero(contents == BLACK))
        white = engine.to_bits(np.flatnonzero(contents == WHITE))
        outside = squares_of((black | white) & ~engine.PLAYABLE[check_board_size(board_size)])
        if outside:
            raise OthelloEduError(
                f"{SQUARE_NAMES[outside[0]]} is outside the {board_size}x{board_size} board"
            )
        board = cls(int(black), int(white), to_move or BLACK, board_size)._skip_passes()
        if to_move == EMPTY and not board.is_over:
            can = f"{PLAYER_NAMES[board.to_move]} can play {', '.join(board.legal_moves)}"
            raise OthelloEduError(f"to_move is 0, for a game that is over, but {can}\n{board}")
        return board

    @classmethod
    def from_moves(cls, moves: str | Iterable[str | int], board_size: int = 8) -> "Board":
        """The position after these moves.

        Args:
            moves: a transcript (see `parse_transcript`) or a sequence of squares or names.
            board_size: 4, 6 or 8.

        Raises:
            IllegalMoveError: for a move, or a pass that a transcript writes, against the rules.
            OthelloEduError: for what are no moves.

        Example:
            >>> Board.from_moves("f5d6c3").legal_moves
            ('d3', 'f3', 'f4', 'g5')
        """
        checks.kind_of("moves", moves, Iterable, "a transcript, or squares in the order played")
        moves, passes = parse_transcript(moves) if isinstance(moves, str) else (moves, [])
        board, allowed = cls.start(board_size), 0
        for ply, move in enumerate([*moves, None]):
            if passes.count(ply) > allowed:
                raise IllegalMoveError(board.why_no_pass())
            if move is not None:
                before, board = board.to_move, board.play(move)
                allowed = passes_allowed(before, board.to_move)
        return board

    def why_no_pass(self) -> str:
        """What is wrong with a pass in this position, for the message of an error."""
        may = ", ".join(self.legal_moves) or "nothing"
        return f"{PLAYER_NAMES[self.to_move]} passes but can play {may}\n{self}"

    def _own_and_opponent(self):
        pair = (self.black, self.white) if self.to_move == BLACK else (self.white, self.black)
        return U(pair[0]), U(pair[1])

    def _skip_passes(self) -> "Board":
        for to_move in (self.to_move, 3 - self.to_move):
            same = to_move == self.to_move
            board = self if same else Board(self.black, self.white, to_move, self.board_size)
            if board.legal_bits:
                return board
        return Board(self.black, self.white, EMPTY, self.board_size)

    @cached_property
    def legal_bits(self) -> int:
        """Bitboard of the squares where the player to move may play."""
        if self.to_move == EMPTY:
            return 0
        return int(engine.legal_moves(*self._own_and_opponent(), engine.PLAYABLE[self.board_size]))

    @property
    def legal_moves(self) -> tuple[str, ...]:
        """Names of the squares where the player to move may play, in square order."""
        return tuple(SQUARE_NAMES[square] for square in squares_of(self.legal_bits))

    @property
    def is_over(self) -> bool:
        """True when neither player can move."""
        return self.to_move == EMPTY

    @property
    def contents(self) -> np.ndarray:
        """What is on every square, int8 [64], 0 empty, 1 black, 2 white."""
        board = np.zeros(64, np.int8)
        board[list(squares_of(self.black))] = BLACK
        board[list(squares_of(self.white))] = WHITE
        return board

    def count(self, player: int) -> int:
        """Number of discs of a `player` (1 black, 2 white), or of empty playable squares (0)."""
        player = checks.integer("player", player, EMPTY, WHITE)
        if player == EMPTY:
            return self.board_size**2 - self.count(BLACK) - self.count(WHITE)
        return (self.black if player == BLACK else self.white).bit_count()

    def flips(self, square: str | int) -> tuple[str, ...]:
        """Names of the discs that the player to move would turn over by playing on a `square`.

        Raises:
            IllegalMoveError: where that is no legal move.
        """
        square = self._require_legal(square)
        return tuple(
            SQUARE_NAMES[s] for s in squares_of(engine.flips(U(1 << square), *self._own_and_opponent()))
        )

    def play(self, square: str | int) -> "Board":
        """The position after a move on `square`, passes included.

        Raises:
            IllegalMoveError: says why the move is none, and shows the board.
        """
        square = self._require_legal(square)
        own, opp = self._own_and_opponent()
        move = U(1 << square)
        turned = engine.flips(move, own, opp)
        own, opp = int(own | turned | move), int(opp ^ turned)
        black, white = (own, opp) if self.to_move == BLACK else (opp, own)
        return Board(black, white, 3 - self.to_move, self.board_size)._skip_passes()

    def _require_legal(self, square: str | int) -> int:
        square = parse_square(square)
        if self.legal_bits >> square & 1:
            return square
        name = SQUARE_NAMES[square]
        if self.is_over:
            reason = "the game is over"
        elif (self.black | self.white) >> square & 1:
            reason = f"{name} is occupied"
        elif not int(engine.PLAYABLE[self.board_size]) >> square & 1:
            reason = f"{name} is outside the {self.board_size}x{self.board_size} board"
        else:
            reason = f"{name} would turn over no disc"
        may = ", ".join(self.legal_moves) or "nothing"
        raise IllegalMoveError(
            f"{PLAYER_NAMES[self.to_move]} cannot play {name}: {reason} (legal: {may})\n{self}"
        )

    def __str__(self) -> str:
        margin = (8 - self.board_size) // 2
        inside = range(margin, 8 - margin)
        contents = self.contents
        legal = self.legal_bits
        lines = ["  " + " ".join("abcdefgh"[column] for column in inside)]
        for row in inside:
            marks = []
            for square in (8 * row + column for column in inside):
                marks.append("·" if legal >> square & 1 else DISC_MARKS[contents[square]])
            lines.append(f"{row + 1} " + " ".join(marks))
        state = "game over" if self.is_over else f"{PLAYER_NAMES[self.to_move]} to move"
        lines.append(f"{state}  X {self.count(BLACK)}  O {self.count(WHITE)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        discs = f"black={self.black:#x}, white={self.white:#x}"
        return f"Board({discs}, to_move={self.to_move}, board_size={self.board_size})"

    def _repr_svg_(self) -> str:
        return self.svg()

    def svg(self, width: int = 320) -> str:
        """The board as SVG, `width` pixels wide: discs, names of squares, and a dot on every legal move."""
        checks.integer("width", width, 1)
        state = "game over" if self.is_over else f"{PLAYER_NAMES[self.to_move]} to move"
        description = f"Othello board: black {self.count(BLACK)}, white {self.count(WHITE)}, {state}"
        panel = BoardPanel(self.contents, legal=squares_of(self.legal_bits))
        return boards_svg([panel], description, self.board_size, width=width)
