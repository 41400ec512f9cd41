"""`Games`: many games as one array. Generation, replay, splits by game, and tokens.

A pass is not a move: a player without a legal move is skipped, and whose turn it is comes from
replaying the game, never from the parity of the ply.

See Also:
    Chapter 2, :doc:`/notebooks/02_games_as_text`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from . import checks, engine
from .board import SQUARE_NAMES, Board, parse_square, parse_transcript, passes_allowed
from .engine import BLACK, EMPTY, WHITE, check_board_size, n_plies, playable_squares
from .errors import IllegalMoveError, OthelloEduError

# The four centre squares hold discs from the start, so they are never a move and need no token.
CENTRE = (27, 28, 35, 36)
PADDING = 0
_AT_ONCE = 4096  # games replayed together: 30 MB of positions

_Index = int | slice | Sequence[int] | Sequence[bool] | np.ndarray


@dataclass(frozen=True, eq=False)
class Games:
    """Many games as one array.

    Attributes:
        moves: int8 [n_games, n_plies], squares 0..63 in the order played, -1 after the end of a game.
        board_size: 4, 6 or 8.

    Raises:
        OthelloEduError: for another shape, for what are no squares, and for a move after the end of a game.

    Example:
        >>> games = Games.from_transcripts(["f5d6c3", "f5f6"])
        >>> games, games.lengths
        (Games(2 games on 8x8), array([3, 2]))
        >>> games[1].moves[0, :3]
        array([37, 45, -1], dtype=int8)

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """

    moves: np.ndarray
    board_size: int = 8

    def __post_init__(self):
        moves, plies = checks.array("moves", self.moves), n_plies(self.board_size)
        if moves.ndim != 2 or moves.shape[1] != plies:
            raise OthelloEduError(
                f"moves has shape {moves.shape}; games on a {self.board_size}x{self.board_size} board "
                f"need [n_games, {plies}]"
            )
        if moves.size and not (
            np.issubdtype(moves.dtype, np.integer) and -1 <= moves.min() and moves.max() < 64
        ):
            raise OthelloEduError("moves must be integers: squares 0..63, and -1 after the end of a game")
        resumed = (moves[:, :-1] < 0) & (moves[:, 1:] >= 0)
        if resumed.any():
            game, ply = np.argwhere(resumed)[0]
            raise OthelloEduError(f"game {game} has a move at ply {ply + 1} after it ended at ply {ply}")
        object.__setattr__(self, "moves", moves.astype(np.int8, copy=False))

    @classmethod
    def from_transcripts(cls, transcripts: Iterable[str], board_size: int = 8) -> "Games":
        """Games from text, each checked by playing it.

        Args:
            transcripts: strings such as `"f5d6c3"` or `"1. f5 d6 2. c3"`. What may be written beside the
                squares, `board.parse_transcript` says.
            board_size: 4, 6 or 8.

        Raises:
            OthelloEduError: for what is no transcript; names the game and the ply.
            IllegalMoveError: for a move or a written pass against the rules; names the game and the ply.
        """
        if isinstance(transcripts, str) or not isinstance(transcripts, Iterable):
            kind = type(transcripts).__name__
            raise OthelloEduError(f"transcripts must be a list of them, such as ['f5d6c3'], not {kind}")
        return games_from_texts(list(transcripts), "game {}".format, board_size)

    def __len__(self) -> int:
        return len(self.moves)

    def __getitem__(self, index: _Index) -> "Games":
        """Some of the games: a slice, an index array, a mask, or one number (one game)."""
        try:
            chosen = self.moves[index]
        except IndexError as error:
            raise OthelloEduError(f"{self!r}[{checks.shown(index)}]: {error}") from None
        if chosen.ndim not in (1, 2):
            raise OthelloEduError(f"{self!r}[{checks.shown(index)}] chooses no games: give numbers of games")
        return Games(chosen[None] if chosen.ndim == 1 else chosen, self.board_size)

    def __repr__(self) -> str:
        return f"Games({len(self):,} games on {self.board_size}x{self.board_size})"

    @property
    def lengths(self) -> np.ndarray:
        """Number of moves of each game, int64 [n_games]."""
        return (self.moves >= 0).sum(axis=1)

    def transcript(self, game: int) -> str:
        """One game as text, `"f5d6c3…"`; `game` is its number."""
        return "".join(SQUARE_NAMES[square] for square in self.moves[self._number(game)] if square >= 0)

    def board(self, game: int, ply: int | None = None) -> Board:
        """The position of a game after one of its moves, or after its last.

        Args:
            game: its number.
            ply: of the move, counted from 0; -1 is the start, None the end.
        """
        played = self.moves[self._number(game)]
        played = played[played >= 0]
        if ply is not None:
            played = played[: checks.integer("ply", ply, -1, n_plies(self.board_size) - 1) + 1]
        return Board.from_moves(played, self.board_size)

    def _number(self, game: int) -> int:
        return checks.integer("game", game, -len(self), len(self) - 1)


@dataclass(frozen=True, eq=False)
class Positions:
    """Every position of many games; row `t` is the board *after* move `t` has been played.

    Attributes:
        boards: int8 [n_games, n_plies, 64], 0 empty, 1 black, 2 white.
        to_move: int8 [n_games, n_plies], 1 black, 2 white, 0 when the game is over.
        legal: bool [n_games, n_plies, 64], the moves of the player to move.
        valid: bool [n_games, n_plies], True where move `t` was played. Other rows hold 0 and False.
        board_size: 4, 6 or 8.

    Raises:
        OthelloEduError: for arrays whose shapes do not fit.

    Example:
        >>> positions = replay(random_games(100, seed=0))
        >>> positions.boards.shape, positions.legal.dtype, len(positions[:10])
        ((100, 60, 64), dtype('bool'), 10)

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """

    boards: np.ndarray
    to_move: np.ndarray
    legal: np.ndarray
    valid: np.ndarray
    board_size: int = 8

    def __post_init__(self):
        # Shapes only: `replay` makes many of these, and their contents are its own.
        n_games, plies, _ = checks.shape("boards", self.boards, "n_games", "n_plies", 64).shape
        checks.shape("to_move", self.to_move, n_games, plies)
        checks.shape("legal", self.legal, n_games, plies, 64)
        checks.shape("valid", self.valid, n_games, plies)
        check_board_size(self.board_size)

    def __len__(self) -> int:
        return len(self.boards)

    def __getitem__(self, games: _Index) -> "Positions":
        """The positions of some of the games (a slice, a mask or an index array)."""
        return Positions(
            self.boards[games], self.to_move[games], self.legal[games], self.valid[games], self.board_size
        )


def checked(games: Games, name: str = "games") -> Games:
    """The games, if that is what they are.

    Args:
        games: whatever was given.
        name: of the argument, as the message shows it.

    Raises:
        OthelloEduError: if they are something else.
    """
    return checks.kind_of(name, games, Games, "Games, as `random_games` and `read_pgn` return them")


def replay(games: Games) -> Positions:
    """Play every game and keep every position.

    Args:
        games: n_games of them.

    Returns:
        The positions after every move.

    Raises:
        IllegalMoveError: names the first illegal game, its ply, the square, and the board.
        OthelloEduError: where the positions do not fit into memory (7.8 kB a game on 8x8).

    Example:
        >>> positions = replay(Games.from_transcripts(["f5d6c3"]))
        >>> positions.boards.shape, positions.to_move[0, :4], int(positions.valid[0].sum())
        ((1, 60, 64), array([2, 1, 2, 0], dtype=int8), 3)

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    checked(games)
    boards, to_move, legal, valid, illegal = engine.replay_moves(games.moves, games.board_size)
    if (illegal >= 0).any():
        game = int(np.argmax(illegal >= 0))
        ply = int(illegal[game])
        before = Board.from_moves(games.moves[game, :ply], games.board_size)
        try:
            before.play(int(games.moves[game, ply]))
        except IllegalMoveError as reason:
            raise IllegalMoveError(f"game {game}, ply {ply}: {reason}") from None
    return Positions(boards, to_move, legal, valid, games.board_size)


def replay_in_parts(
    games: Games,
    where: Callable[[int], str] = "game {}".format,
    error: type[OthelloEduError] = IllegalMoveError,
) -> Iterator[Positions]:
    """Replay some thousands of games at a time.

    Args:
        games: all of them.
        where: gives the words with which a message names a game, from its number.
        error: the exception that is raised.

    Yields:
        The positions of one part after another.

    Raises:
        IllegalMoveError: or another `error`, for a game that breaks the rules.
    """
    for start in range(0, len(games), _AT_ONCE):
        part = games[start : start + _AT_ONCE]
        boards, to_move, legal, valid, illegal = engine.replay_moves(part.moves, games.board_size)
        if (illegal >= 0).any():
            game = int(np.argmax(illegal >= 0))
            ply = int(illegal[game])
            try:
                Board.from_moves(part.moves[game, : ply + 1], games.board_size)
            except IllegalMoveError as reason:
                raise error(f"{where(start + game)}, ply {ply}: {reason}") from None
        yield Positions(boards, to_move, legal, valid, games.board_size)


def final_scores(games: Games) -> np.ndarray:
    """Discs of black and of white at the end of each game.

    When a game is over its empty squares count for the winner (half each in a draw), as tournaments
    score it, so the two add up to the whole board; in an unfinished game they are the discs so far.

    Args:
        games: n_games of them.

    Returns:
        int64 [n_games, 2].

    Raises:
        IllegalMoveError: for a game that breaks the rules.
    """
    scores = [np.zeros((0, 2), np.int64)]
    for positions in replay_in_parts(checked(games)):
        played = positions.valid.sum(axis=1)
        last = np.arange(len(played)), played - 1
        boards, over = positions.boards[last], (positions.to_move[last] == EMPTY) & (played > 0)
        discs = np.stack([(boards == player).sum(axis=1) for player in (BLACK, WHITE)], axis=1)
        discs[played == 0] = 2
        empty = np.where(over, games.board_size**2 - discs.sum(axis=1), 0)
        share = np.sign(discs - discs[:, ::-1]) + 1  # 2 to the winner, 0 to the loser, 1 each in a draw
        scores.append(discs + share * empty[:, None] // 2)
    return np.concatenate(scores)


def games_from_texts(texts: Sequence[str], where: Callable[[int], str], board_size: int) -> Games:
    """Games from one text each (`board.parse_transcript`), every move and every written pass played.

    Args:
        texts: one a game.
        where: gives the words with which a message names a game, from its number.
        board_size: 4, 6 or 8.

    Raises:
        OthelloEduError: for what is no transcript.
        IllegalMoveError: for a move or a written pass against the rules.
    """
    max_moves = n_plies(check_board_size(board_size))
    passes: dict[int, list[int]] = {}
    moves = np.full((len(texts), max_moves), -1, np.int8)
    for game, text in enumerate(texts):
        try:
            squares, written = parse_transcript(text)
        except OthelloEduError as reason:
            raise OthelloEduError(f"{where(game)}, {reason}") from None
        if len(squares) > max_moves:
            size = f"{board_size}x{board_size}"
            raise OthelloEduError(f"{where(game)} has {len(squares)} moves; {size} has room for {max_moves}")
        moves[game, : len(squares)] = squares
        if written:
            passes[game] = written
    games, first = Games(moves, board_size), 0
    for positions in replay_in_parts(games, where):
        for game in range(first, first + len(positions)):
            if game in passes:
                _check_passes(games, game, passes[game], positions.to_move[game - first], where)
        first += len(positions)
    return games


def _check_passes(
    games: Games, game: int, passes: list[int], to_move: np.ndarray, where: Callable[[int], str]
) -> None:
    """Every pass that a text writes must be one that the rules force."""
    turns = [BLACK, *to_move.tolist()]
    for ply in sorted(set(passes)):
        if passes.count(ply) > (passes_allowed(*turns[ply - 1 : ply + 1]) if ply else 0):
            board = Board.from_moves(games.moves[game, :ply], games.board_size)
            raise IllegalMoveError(f"{where(game)}, ply {ply}: {board.why_no_pass()}")


def random_games(n_games: int, seed: int, board_size: int = 8, first: int = 0) -> Games:
    """Games `first … first + n_games - 1` of `seed`, each move uniform over the legal ones.

    Game `k` depends on `(seed, k)` alone: the same whatever the number of threads or games asked for.

    Args:
        n_games: how many.
        seed: not negative, below `2**64`.
        board_size: 4, 6 or 8.
        first: number of the first game.

    Raises:
        OthelloEduError: for what lies outside, and for more games than fit into memory.

    Example:
        >>> games = random_games(1000, seed=0)
        >>> games, games.moves.shape
        (Games(1,000 games on 8x8), (1000, 60))
        >>> bool((random_games(10, seed=0).moves == games.moves[:10]).all())
        True

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    return Games(engine.random_moves(n_games, seed, board_size, first), board_size)


def without_duplicates(games: Games, excluded: Games | None = None) -> Games:
    """The games that occur for the first time, in order, and that are not among `excluded`.

    Args:
        games: n_games of them.
        excluded: on the same board.

    Raises:
        OthelloEduError: where the two are on different boards.
    """
    checked(games)
    earlier = checked(excluded, "excluded").moves if excluded is not None else games.moves[:0]
    if earlier.shape[1] != games.moves.shape[1]:
        raise OthelloEduError(
            f"games are on {games.board_size}x{games.board_size}, excluded on another board"
        )
    all_moves = np.concatenate([earlier, games.moves])
    _, first = np.unique(all_moves, axis=0, return_index=True)
    return games[np.sort(first[first >= len(earlier)]) - len(earlier)]


def split_games(
    n_train: int, n_validation: int, n_test: int, seed: int, board_size: int = 8
) -> tuple[Games, Games, Games]:
    """Train, validation and test games from three disjoint seeds, with no game in two of them.

    Duplicates are replaced by further games of the same seed, so the sizes are exact.

    Args:
        n_train: games of the first part.
        n_validation: games of the second.
        n_test: games of the third.
        seed: of all three.
        board_size: 4, 6 or 8.

    Raises:
        OthelloEduError: if the board does not have that many different games to give, or they do not fit
            into memory.

    Example:
        >>> [len(part) for part in split_games(80, 10, 10, seed=0)]
        [80, 10, 10]

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    sizes = [
        checks.integer(name, size, 0)
        for name, size in (("n_train", n_train), ("n_validation", n_validation), ("n_test", n_test))
    ]
    seed = checks.seed("seed", seed, 2**62)
    checks.memory(f"{sum(sizes):,} games", 4 * sum(sizes) * n_plies(board_size))
    parts, earlier = [], None
    # Distinct streams for one seed: SplitMix64 turns neighbouring seeds into unrelated ones.
    for part, size in enumerate(sizes):
        unique, first = None, 0
        while unique is None or len(unique) < size:
            batch = random_games(max(size, 64), 3 * seed + part, board_size, first)
            pool = batch if unique is None else Games(np.concatenate([unique.moves, batch.moves]), board_size)
            fresh = without_duplicates(pool, earlier)
            if first > 100 * max(size, 64):
                raise OthelloEduError(
                    f"found only {len(fresh)} of {size} different games on {board_size}x{board_size}"
                )
            unique, first = fresh, first + len(batch)
        unique = unique[:size]
        parts.append(unique)
        moves = unique.moves if earlier is None else np.concatenate([earlier.moves, unique.moves])
        earlier = Games(moves, board_size)
    train, validation, test = parts
    return train, validation, test


def move_squares(board_size: int = 8) -> np.ndarray:
    """Square of each token of a board of `board_size`, int64 [n_plies + 1]; entry 0 (padding) is -1."""
    squares = playable_squares(board_size)
    return np.concatenate([[-1], squares[~np.isin(squares, CENTRE)]])


def vocabulary_size(board_size: int = 8) -> int:
    """Tokens of a board of `board_size`, padding and playable squares: 61 on 8x8, 33 on 6x6, 13 on 4x4."""
    return n_plies(check_board_size(board_size)) + 1


def encode_moves(moves: npt.ArrayLike | torch.Tensor, board_size: int = 8) -> torch.Tensor:
    """Squares to tokens.

    Args:
        moves: integers of any shape, squares 0..63; -1 becomes padding (0).
        board_size: 4, 6 or 8.

    Returns:
        int64 of the same shape.

    Raises:
        OthelloEduError: for a centre square, which is never played, and one outside the board.

    Example:
        >>> encode_moves([19, 37, -1])
        tensor([20, 34,  0])
    """
    table = np.full(128, -1)  # of what has no token
    table[-1] = PADDING  # where square -1 looks
    table[move_squares(board_size)[1:]] = np.arange(1, vocabulary_size(board_size))
    moves = checks.integers("moves", moves)
    try:
        encoded = table[moves]
    except IndexError:  # beyond the table, and so far from any square
        encoded = None
    if encoded is None or (encoded.size and encoded.min() < 0):
        checks.integers("moves", moves, low=-1, high=63)
        raise OthelloEduError(
            f"a centre square or one outside the {board_size}x{board_size} board has no token"
        )
    return torch.from_numpy(encoded)


@cache
def _openings() -> frozenset:
    """Squares of the first two moves of any game: tokens of no game begin so (d3 is square 19, token 20)."""
    start = Board.start()
    pairs = ((move, reply) for move in start.legal_moves for reply in start.play(move).legal_moves)
    return frozenset((parse_square(move), parse_square(reply)) for move, reply in pairs)


def refuse_squares(tokens: torch.Tensor, board_size: int) -> None:
    """Refuse squares where tokens belong: they are integers just as well.

    Args:
        tokens: integers [n_games, time].
        board_size: of the network that should read them.

    Raises:
        OthelloEduError: where every row begins with the squares that begin a game; no row of tokens does.
    """
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] < 2:
        return
    if tuple(tokens[0, :2].tolist()) in _openings() >= set(map(tuple, tokens[:, :2].tolist())):
        raise OthelloEduError(
            f"tokens are squares: every row begins as a game does, the first with {tokens[0, :2].tolist()}. "
            f"Use `tokens(games)`, or `encode_moves(squares, {board_size})`"
        )


def tokens(games: Games) -> torch.Tensor:
    """What the model reads: all moves but the last possible one.

    Args:
        games: n_games of them.

    Returns:
        int64 [n_games, n_plies - 1], padded with 0.

    Example:
        >>> games = Games.from_transcripts(["f5d6c3"])
        >>> tokens(games)[0, :4]
        tensor([34, 40, 19,  0])

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    return encode_moves(checked(games).moves[:, :-1], games.board_size)


def next_tokens(games: Games) -> torch.Tensor:
    """What the model should predict: column `t` is the move after column `t` of `tokens`, 0 at the end.

    Args:
        games: n_games of them.

    Returns:
        int64 [n_games, n_plies - 1].

    Example:
        >>> games = Games.from_transcripts(["f5d6c3"])
        >>> next_tokens(games)[0, :4]
        tensor([40, 19,  0,  0])

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    return encode_moves(checked(games).moves[:, 1:], games.board_size)


def batches(games: Games, size: int) -> Iterator[Games]:
    """The games in order, some at a time.

    Args:
        games: all of them.
        size: how many at a time; the last part may be smaller.

    Example:
        >>> [len(batch) for batch in batches(random_games(10, seed=0), 4)]
        [4, 4, 2]
    """
    checked(games)
    size = checks.integer("size", size, 1)
    return (games[start : start + size] for start in range(0, len(games), size))
