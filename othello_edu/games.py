"""`Games`: many games as one array. Generation, replay, splits by game, and tokens.

A pass is not a move: a player without a legal move is skipped, and whose turn it is comes from
replaying the game, never from the parity of the ply.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from . import checks, engine
from .board import SQUARE_NAMES, Board, parse_square, parse_transcript, passes_allowed
from .engine import BLACK, EMPTY, WHITE, check_board_size, n_plies, playable_squares
from .errors import IllegalMoveError, OthelloEduError

# The four centre squares hold discs from the start, so they are never a move and need no token.
CENTRE = (27, 28, 35, 36)
PADDING = 0
_AT_ONCE = 4096  # games replayed together: 30 MB of positions


@dataclass(frozen=True, eq=False)
class Games:
    """Many games as one array.

    moves: int8 [n_games, n_plies], squares 0..63 in the order played, -1 after the end of a game.
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
    def from_transcripts(cls, transcripts, board_size: int = 8) -> "Games":
        """From strings such as `"f5d6c3"` or `"1. f5 d6 2. c3"`, each checked by playing it.

        What may be written beside the squares, `board.parse_transcript` says. Raises OthelloEduError for
        what is no transcript and IllegalMoveError for a move or a written pass against the rules; both
        name the game and the ply.
        """
        if isinstance(transcripts, str) or not isinstance(transcripts, Iterable):
            kind = type(transcripts).__name__
            raise OthelloEduError(f"transcripts must be a list of them, such as ['f5d6c3'], not {kind}")
        return games_from_texts(list(transcripts), "game {}".format, board_size)

    def __len__(self) -> int:
        return len(self.moves)

    def __getitem__(self, index) -> "Games":
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
        """One game as text: `"f5d6c3…"`."""
        return "".join(SQUARE_NAMES[square] for square in self.moves[self._number(game)] if square >= 0)

    def board(self, game: int, ply: int | None = None) -> Board:
        """The position of a game after move `ply` (counted from 0; -1 is the start), or after its last."""
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

    boards: int8 [n_games, n_plies, 64], 0 empty, 1 black, 2 white.
    to_move: int8 [n_games, n_plies], 1 black, 2 white, 0 when the game is over.
    legal: bool [n_games, n_plies, 64], the moves of the player to move.
    valid: bool [n_games, n_plies], True where move `t` was played. Other rows hold 0 and False.
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

    def __getitem__(self, games) -> "Positions":
        """The positions of some of the games (a slice, a mask or an index array)."""
        return Positions(
            self.boards[games], self.to_move[games], self.legal[games], self.valid[games], self.board_size
        )


def checked(games: Games, name: str = "games") -> Games:
    """The games, if that is what they are."""
    return checks.kind_of(name, games, Games, "Games, as `random_games` and `read_pgn` return them")


def replay(games: Games) -> Positions:
    """Play every game and keep every position.

    Raises IllegalMoveError naming the first illegal game, its ply, the square, and the board, and
    OthelloEduError where the positions do not fit into memory (7.8 kB a game on 8x8).
    """
    checked(games)
    *arrays, illegal = engine.replay_moves(games.moves, games.board_size)
    if (illegal >= 0).any():
        game = int(np.argmax(illegal >= 0))
        ply = int(illegal[game])
        before = Board.from_moves(games.moves[game, :ply], games.board_size)
        try:
            before.play(int(games.moves[game, ply]))
        except IllegalMoveError as reason:
            raise IllegalMoveError(f"game {game}, ply {ply}: {reason}") from None
    return Positions(*arrays, games.board_size)


def replay_in_parts(
    games: Games, where: Callable[[int], str] = "game {}".format, error=IllegalMoveError
) -> Iterator[Positions]:
    """Replay some thousands of games at a time; `where(game)` names one that breaks the rules."""
    for start in range(0, len(games), _AT_ONCE):
        part = games[start : start + _AT_ONCE]
        *arrays, illegal = engine.replay_moves(part.moves, games.board_size)
        if (illegal >= 0).any():
            game = int(np.argmax(illegal >= 0))
            ply = int(illegal[game])
            try:
                Board.from_moves(part.moves[game, : ply + 1], games.board_size)
            except IllegalMoveError as reason:
                raise error(f"{where(start + game)}, ply {ply}: {reason}") from None
        yield Positions(*arrays, games.board_size)


def final_scores(games: Games) -> np.ndarray:
    """Discs of black and of white at the end of each game, int64 [n_games, 2].

    When a game is over its empty squares count for the winner (half each in a draw), as tournaments
    score it, so the two add up to the whole board; in an unfinished game they are the discs so far.
    Raises IllegalMoveError for a game that breaks the rules.
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

    `where(game)` names a game in the messages of OthelloEduError and IllegalMoveError.
    """
    max_moves, passes = n_plies(check_board_size(board_size)), {}
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


def _check_passes(games: Games, game: int, passes: list[int], to_move: np.ndarray, where) -> None:
    """Every pass that a text writes must be one that the rules force."""
    turns = [BLACK, *to_move.tolist()]
    for ply in sorted(set(passes)):
        if passes.count(ply) > (passes_allowed(*turns[ply - 1 : ply + 1]) if ply else 0):
            board = Board.from_moves(games.moves[game, :ply], games.board_size)
            raise IllegalMoveError(f"{where(game)}, ply {ply}: {board.why_no_pass()}")


def random_games(n_games: int, seed: int, board_size: int = 8, first: int = 0) -> Games:
    """Games `first … first + n_games - 1` of `seed`, each move uniform over the legal ones.

    Game `k` depends on `(seed, k)` alone: the same whatever the number of threads or games asked for.
    """
    return Games(engine.random_moves(n_games, seed, board_size, first), board_size)


def without_duplicates(games: Games, excluded: Games | None = None) -> Games:
    """The games that occur for the first time, in order, and that are not among `excluded`."""
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

    Duplicates are replaced by further games of the same seed, so the sizes are exact. Raises
    OthelloEduError if the board does not have that many different games to give.
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
    return tuple(parts)


def move_squares(board_size: int = 8) -> np.ndarray:
    """Square of each token, int64 [n_plies + 1]; entry 0 (padding) is -1."""
    squares = playable_squares(board_size)
    return np.concatenate([[-1], squares[~np.isin(squares, CENTRE)]])


def vocabulary_size(board_size: int = 8) -> int:
    """Padding and the squares that can be played: 61 on 8x8, 33 on 6x6, 13 on 4x4."""
    return n_plies(check_board_size(board_size)) + 1


def encode_moves(moves, board_size: int = 8) -> torch.Tensor:
    """Squares to tokens, int64 of the same shape; -1 becomes padding (0)."""
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


def refuse_squares(tokens, board_size: int) -> None:
    """Raise OthelloEduError where tokens [n_games, time] are squares, which are integers just as well."""
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] < 2:
        return
    if tuple(tokens[0, :2].tolist()) in _openings() >= set(map(tuple, tokens[:, :2].tolist())):
        raise OthelloEduError(
            f"tokens are squares: every row begins as a game does, the first with {tokens[0, :2].tolist()}. "
            f"Use `tokens(games)`, or `encode_moves(squares, {board_size})`"
        )


def tokens(games: Games) -> torch.Tensor:
    """What the model reads: all moves but the last possible one, int64 [n_games, n_plies - 1]."""
    return encode_moves(checked(games).moves[:, :-1], games.board_size)


def next_tokens(games: Games) -> torch.Tensor:
    """What it should predict: column `t` is the move after column `t` of `tokens`, 0 at the end."""
    return encode_moves(checked(games).moves[:, 1:], games.board_size)


def batches(games: Games, size: int) -> Iterator[Games]:
    """The games in order, `size` at a time."""
    checked(games)
    size = checks.integer("size", size, 1)
    return (games[start : start + size] for start in range(0, len(games), size))
