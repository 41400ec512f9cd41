"""Games in WTHOR, the format of tournament archives: games with players, tournaments and scores.

Games are played as they are read; what `transcripts` says of a bad file holds here too.

References:
    The French federation's WThor base, https://www.ffothello.org/informatique/la-base-wthor

See Also:
    Chapter 2, :doc:`/notebooks/02_games_as_text`.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from .errors import OthelloEduError, RecordError
from .files import FilePath, atomic_write
from .games import Games, final_scores, replay_in_parts

_HEADER = np.dtype(
    [
        ("century", "u1"),
        ("year_of_century", "u1"),
        ("month", "u1"),
        ("day", "u1"),
        ("n_games", "<u4"),
        ("n_names", "<u2"),
        ("year", "<u2"),
        ("board_size", "u1"),
        ("solitaire", "u1"),
        ("theoretical_empties", "u1"),
        ("reserved", "u1"),
    ]
)
_RECORD = np.dtype(
    [
        ("tournaments", "<u2"),
        ("players", "<u2", 2),
        ("black_discs", "u1"),
        ("theoretical", "u1"),
        ("moves", "u1", 60),
    ]
)
_NAME_LENGTHS = {".jou": 20, ".trn": 26}
_NO_SQUARE = -2
# A move byte is 10 * row + column, both from 1; 0 stands after the last move.
_SQUARES = np.full(256, _NO_SQUARE, np.int8)
_SQUARES[0] = -1
_SQUARES[[10 * row + column for row in range(1, 9) for column in range(1, 9)]] = np.arange(64)
_BYTES = np.array([10 * (s // 8 + 1) + s % 8 + 1 for s in range(64)] + [0], np.uint8)


@dataclass(frozen=True, eq=False)
class WthorFile:
    """A WTHOR file: its games and what it says of each.

    Attributes:
        games: n_games of them, on 8x8.
        year: when the games were played.
        created: when the file was made, None if its date is no date.
        players: uint16 [n_games, 2], black and white, places in the list of names (`.JOU`).
        tournaments: uint16 [n_games], places in the list of names (`.TRN`).
        black_discs: uint8 [n_games], black's final discs as recorded, empty squares credited to the winner.
        theoretical: uint8 [n_games], black's final discs had both played perfectly from the moment when
            `theoretical_empties` squares were empty.
        theoretical_empties: empty squares from which `theoretical` counts.
        solitaire: 1 if the games are solitaires, 0 in an archive of tournaments; kept as it stands.
    """

    games: Games
    year: int
    created: date | None
    players: np.ndarray
    tournaments: np.ndarray
    black_discs: np.ndarray
    theoretical: np.ndarray
    theoretical_empties: int
    solitaire: int = 0

    def __len__(self) -> int:
        return len(self.games)


def _header(path: FilePath, raw: bytes) -> np.void:
    if len(raw) < _HEADER.itemsize:
        raise RecordError(f"{path}: a WTHOR file starts with a header of 16 bytes; this file has {len(raw)}")
    return np.frombuffer(raw, _HEADER, 1)[0]


def _check_length(path: FilePath, raw: bytes, announced: int, record_length: int) -> None:
    """The length of a WTHOR file must agree with the number of records in its header."""
    n_records, n_left = divmod(len(raw) - 16, record_length)
    if n_records < announced:
        raise RecordError(
            f"{path}: the header announces {announced} records, but the file ends within record {n_records} "
            f"({n_left} of its {record_length} bytes are there)"
        )
    if n_records > announced or n_left:
        surplus = len(raw) - 16 - announced * record_length
        raise RecordError(f"{path}: {surplus} bytes follow the last of the {announced} records announced")


def read_wthor_records(path: FilePath) -> WthorFile:
    """Read a WTHOR file of games (`.wtb`), with the players, tournaments and scores it records.

    Games that stop early are kept as they are (`final_scores` tells them apart). Scores are kept as
    recorded, not recomputed.

    Args:
        path: of the file.

    Raises:
        RecordError: names the record, the ply, the square and the board.

    References:
        The French federation's WThor base, https://www.ffothello.org/informatique/la-base-wthor
    """
    raw = Path(path).read_bytes()
    header = _header(path, raw)
    # Before the length: the records of another board have another length.
    if header["board_size"] not in (0, 8):
        size = header["board_size"]
        raise RecordError(f"{path}: games on a {size}x{size} board; only 8x8 WTHOR files are read")
    _check_length(path, raw, int(header["n_games"]), _RECORD.itemsize)
    records = np.frombuffer(raw, _RECORD, offset=_HEADER.itemsize)
    moves = _SQUARES[records["moves"]]
    wrong = (moves == _NO_SQUARE) | np.pad((moves[:, :-1] < 0) & (moves[:, 1:] >= 0), ((0, 0), (1, 0)))
    if wrong.any():
        record, ply = np.argwhere(wrong)[0]
        byte = records["moves"][record, ply]
        reason = "is no square" if moves[record, ply] == _NO_SQUARE else "is a move after the end of the game"
        raise RecordError(f"{path}: record {record}, ply {ply}: byte {byte} {reason}")
    if (records["black_discs"] > 64).any():
        record = int(np.argmax(records["black_discs"] > 64))
        raise RecordError(f"{path}: record {record}: black has {records['black_discs'][record]} discs of 64")
    games = Games(moves, 8)
    for _ in replay_in_parts(games, lambda game: f"{path}: record {game}", RecordError):
        pass
    try:
        year = 100 * int(header["century"]) + int(header["year_of_century"])
        created = date(year, int(header["month"]), int(header["day"]))
    except ValueError:
        created = None
    return WthorFile(
        games=games,
        year=int(header["year"]),
        created=created,
        players=records["players"].copy(),
        tournaments=records["tournaments"].copy(),
        black_discs=records["black_discs"].copy(),
        theoretical=records["theoretical"].copy(),
        theoretical_empties=int(header["theoretical_empties"]),
        solitaire=int(header["solitaire"]),
    )


def read_wthor(path: FilePath) -> Games:
    """The games of a WTHOR file (`.wtb`); `read_wthor_records` gives players and scores too.

    Args:
        path: of the file.

    Raises:
        RecordError: as `read_wthor_records` does.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "games.wtb")
        ...     write_wthor(Games.from_transcripts(["f5d6c3"]), path, year=2025)
        ...     read_wthor(path)
        Games(1 games on 8x8)

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    return read_wthor_records(path).games


def write_wthor_records(file: WthorFile, path: FilePath) -> None:
    """Write a WTHOR file of games on 8x8: what `read_wthor_records` reads back is the same.

    Args:
        file: games, and what is recorded of each.
        path: of the file; one that is there is replaced.

    Raises:
        OthelloEduError: where an array does not fit, or the games are on a smaller board.
        IllegalMoveError: for a game that breaks the rules.
    """
    games, n_games = file.games, len(file.games)
    if games.board_size != 8:
        raise OthelloEduError(f"WTHOR holds games on 8x8; these are on {games.board_size}x{games.board_size}")
    for _ in replay_in_parts(games):
        pass
    header, records = np.zeros(1, _HEADER), np.zeros(n_games, _RECORD)
    for name in ("players", "tournaments", "black_discs", "theoretical"):
        values, field = np.asarray(getattr(file, name)), records[name]
        most = 64 if name == "black_discs" else np.iinfo(field.dtype).max
        if values.shape != field.shape or not np.issubdtype(values.dtype, np.integer):
            raise OthelloEduError(
                f"{name} is {values.dtype} {values.shape}; it must be integers {field.shape}"
            )
        if values.size and not 0 <= values.min() <= values.max() <= most:
            raise OthelloEduError(f"{name} must lie in 0..{most}")
        records[name] = values
    records["moves"] = _BYTES[games.moves]
    for name in ("year", "theoretical_empties", "solitaire"):
        value = getattr(file, name)
        if not 0 <= value <= np.iinfo(header[name].dtype).max:
            raise OthelloEduError(f"{name} is {value}; it must lie in 0..{np.iinfo(header[name].dtype).max}")
        header[name] = value
    header["n_games"], header["board_size"] = n_games, 8
    if file.created is not None:
        header["century"], header["year_of_century"] = divmod(file.created.year, 100)
        header["month"], header["day"] = file.created.month, file.created.day
    with atomic_write(path) as out:
        out.write(header.tobytes() + records.tobytes())


def write_wthor(games: Games, path: FilePath, year: int = 0) -> None:
    """Write games on 8x8 as a WTHOR file: nobody's names (players and tournaments 0), scores computed.

    The theoretical score of a game is its own. `write_wthor_records` writes players and tournaments.

    Args:
        games: n_games of them.
        path: of the file; one that is there is replaced.
        year: when the games were played.

    Raises:
        OthelloEduError: for games on a smaller board.
        IllegalMoveError: for a game that breaks the rules.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "games.wtb")
        ...     write_wthor(Games.from_transcripts(["f5d6c3", "f5f6"]), path, year=2025)
        ...     read_wthor_records(path).black_discs
        array([5, 3], dtype=uint8)

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    nobody = np.zeros((len(games), 2), np.uint16)
    discs = final_scores(games)[:, 0].astype(np.uint8)
    write_wthor_records(WthorFile(games, year, None, nobody, nobody[:, 0], discs, discs, 0), path)


def read_wthor_names(path: FilePath) -> list[str]:
    """Names of the players (`.JOU`) or of the tournaments (`.TRN`) that WTHOR files number from 0.

    Args:
        path: of the file; its ending says which names it holds.

    Raises:
        RecordError: for another ending, or a file of another length than its header announces.
    """
    length = _NAME_LENGTHS.get(Path(path).suffix.lower())
    if length is None:
        raise RecordError(f"{path}: names of players are in .JOU files, names of tournaments in .TRN files")
    raw = Path(path).read_bytes()
    _check_length(path, raw, int(_header(path, raw)["n_names"]), length)
    names = [raw[at : at + length].partition(b"\0")[0] for at in range(16, len(raw), length)]
    return [name.decode("latin-1") for name in names]
