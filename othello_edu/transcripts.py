"""Games written one to a line, `f5d6c3…`; and how any text of games is read.

Every game is played as it is read, here as in `pgn` and `wthor`, so that whatever comes out is legal from the
first move to the last. A file that is not what it claims to be raises RecordError, which names the file, the
game (its number, counted from 0, as in `games[17]`) and, where one is at fault, the ply and its square.
Nothing is repaired or left out.

See Also:
    Chapter 2, :doc:`/notebooks/02_games_as_text`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .board import SQUARE_NAMES
from .engine import check_board_size
from .errors import OthelloEduError, RecordError
from .files import FilePath, atomic_write
from .games import Games, games_from_texts, replay_in_parts

_NAMES = np.array([*SQUARE_NAMES, ""], "S2")  # the last entry is where square -1 looks

# A byte order mark, or two characters with a zero byte each: so begins no text of games in UTF-8.
_UTF_16 = re.compile(rb"\xff\xfe|\xfe\xff|(?:[^\0]\0){2}|(?:\0[^\0]){2}")


def read_text(path: FilePath) -> str:
    """The text of a file of games, `path`.

    Raises:
        RecordError: for one in UTF-16.
    """
    raw = Path(path).read_bytes()
    if _UTF_16.match(raw):
        raise RecordError(f"{path}: this is text in UTF-16 (Windows calls it Unicode); save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # players' names in old files; moves are ASCII in either
    # Programs of DOS end a text with Ctrl-Z.
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a \t\n")


def games_from_file(
    path: FilePath, texts: Sequence[str], where: Callable[[int], str], board_size: int
) -> Games:
    """`games_from_texts`; what is wrong with a text is wrong with its file.

    Args:
        path: of the file, for messages.
        texts: one a game.
        where: gives the words with which a message names a game, from its number.
        board_size: 4, 6 or 8.

    Raises:
        RecordError: for what is no transcript or against the rules.
    """
    check_board_size(board_size)
    try:
        return games_from_texts(texts, where, board_size)
    except OthelloEduError as reason:
        raise RecordError(f"{path}: {reason}") from None


def read_transcripts(path: FilePath, board_size: int = 8) -> Games:
    """Games written one to a line, such as `f5d6c3d3c4` or `F5 d6, C3`.

    Blank lines, and `#` with what follows it, are skipped; squares may be in capitals and stand apart
    (spaces, tabs, `,` `;` `|` `-`), with move numbers (`1.`) and with a result at the end. Passes need
    not be written (`--`, `pa` or `pass` if they are); a line with separators alone, `-`, is a game
    without moves.

    Args:
        path: of a text in UTF-8 or Latin-1.
        board_size: 4, 6 or 8.

    Raises:
        RecordError: names the line, the game, the ply, the square and the board; also for a file in which
            there are comments and no game.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "games.txt")
        ...     _ = path.write_text("f5d6c3  # a short one\\n1. F5 d6 2. c3 D3\\n")
        ...     read_transcripts(path).lengths
        array([3, 4])

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    texts: list[str] = []
    lines: list[int] = []
    text = read_text(path)
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.partition("#")[0].strip()
        if line:
            texts.append(line)
            lines.append(number)
    if text.strip() and not texts:
        raise RecordError(f"{path}: there are comments in it and no game")
    return games_from_file(path, texts, lambda game: f"line {lines[game]} (game {game})", board_size)


def write_transcripts(games: Games, path: FilePath) -> None:
    """Write one game to a line: `f5d6c3…`, or `-` for a game without moves.

    Args:
        games: n_games of them.
        path: of the file; one that is there is replaced.

    Raises:
        IllegalMoveError: before anything is written, for a game that breaks the rules.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "games.txt")
        ...     write_transcripts(Games.from_transcripts(["F5 d6, C3"]), path)
        ...     path.read_text()
        'f5d6c3\\n'

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    for _ in replay_in_parts(games):
        pass
    lines = _NAMES[games.moves].view(f"S{2 * games.moves.shape[1]}").ravel().tolist()
    with atomic_write(path) as file:
        file.writelines((line or b"-") + b"\n" for line in lines)
