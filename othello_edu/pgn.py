"""Games in PGN, as Othello players use it: tags, numbered moves, comments, a result.

Games are played as they are read; what `transcripts` says of a bad file holds here too.

See Also:
    Chapter 2, :doc:`/notebooks/02_games_as_text`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .board import SQUARE_NAMES, TRANSCRIPT_WORD
from .engine import BLACK, WHITE
from .errors import OthelloEduError, RecordError
from .files import FilePath, atomic_write
from .games import Games, final_scores, replay_in_parts
from .transcripts import games_from_file, read_text


@dataclass(frozen=True, eq=False)
class PgnFile:
    """A PGN file.

    Attributes:
        games: n_games of them.
        headers: for each game the tags that stand before it, such as `{"Black": "…"}`.
    """

    games: Games
    headers: tuple[dict[str, str], ...]


# Each pattern reads on to the end of what it began, closed or not, so that no file makes it start again
# and again from the same place: reading takes time in proportion to the file's length.
_COMMENT = re.compile(r"\{[^}]*\}?|;[^\n]*")
_BETWEEN = re.compile(rf"(?:[^\[{{;]+|{_COMMENT.pattern})+")  # up to the next tag
_NAME = r"[\w:-]+"
# Many programs escape neither quotes nor the backslash that is half of a letter in Shift-JIS, so a tag ends
# at the last `"]` of its line. But several tags, or a tag and moves, may share a line: before the last comes
# the quote that ends the value by PGN's own rule, and then the first `"]`, if such a thing follows there.
_OPEN = rf'\[\s*({_NAME})\s*"'
_CLOSE = r'"\s*\]'
_MOVES = r"(?:[0-9]{1,3}\s*\.+\s*)?(?:[a-hA-H][1-8]|[{;*])|[0-9]{1,2}(?:/2)?-[0-9]"
_FOLLOWS = rf'(?=[^\S\n]*(?:\n|\Z|\[\s*{_NAME}\s*"[^"\n]*"|{_MOVES}))'
_TAG = re.compile(
    rf'{_OPEN}(?:((?:[^"\\\n]|\\.)*){_CLOSE}{_FOLLOWS}'
    rf"|([^\n]*?){_CLOSE}{_FOLLOWS}|([^\n]*){_CLOSE})"
)
_NO_VALUE = re.compile("[\n\r\ud800-\udfff]")
_ROSTER = ("Event", "Site", "Date", "Round", "Black", "White")  # always written, "?" if unknown
_SPELLING = {name.casefold(): name for name in (*_ROSTER, "Result", "FEN")}


def read_pgn_records(path: FilePath, board_size: int = 8) -> PgnFile:
    """Read a PGN file of Othello games, with the tags of each game.

    Tags (`[Black "…"]`), then moves, `1. f5 d6 2. c3`, and a result (`40-24`, `1-0`, `1/2-1/2`, `*`);
    move numbers, comments (`{…}`, `; …`) and the result may be missing. A pass is `--`, `pa` or
    `pass`, or is left out.

    Names of tags are compared without case, and the usual seven come back in their usual spelling. In a
    value `\\"` and `\\\\` are escapes; any other backslash, and a quote that should have been escaped, are
    kept. A result becomes the tag `Result` where there is none or where it says `*` or `?`; otherwise the
    tag is kept as it stands, because a game lost on time need not agree with its board.

    Args:
        path: of the file.
        board_size: 4, 6 or 8.

    Raises:
        RecordError: names the game, its first line, the ply, the square and the board; also for a file in
            which there are comments and no game.
    """
    text = read_text(path)
    texts: list[str] = []
    headers: list[dict[str, str]] = []
    lines: list[int] = []
    tags: dict[str, str] = {}
    starts = 1
    for line, name, part in _parts(path, text):
        if name is not None:
            starts = starts if tags else line
            _add_tag(tags, name, part, f"{path}: line {starts} (game {len(texts)})")
            continue
        if part.isspace():  # between two tags
            continue
        # Games without tags stand one after another: each ends with its result.
        for moves, result in _until_results(part):
            if result or moves.replace(",", " ").replace("|", " ").strip():
                blank = moves[: len(moves) - len(moves.lstrip())].count("\n")
                lines.append(starts if tags else line + blank)
                if "#" in moves:
                    where = f"{path}: line {lines[-1]} (game {len(texts)})"
                    raise RecordError(f"{where}: '#' is neither a square nor a pass; a comment is {{…}}")
                texts.append(moves)
                headers.append(_with_result(tags, result))
                tags = {}
            line += moves.count("\n")
    if tags:
        lines.append(starts)
        texts.append("")
        headers.append(tags)
    if text.strip() and not texts:
        raise RecordError(f"{path}: there are comments in it and no game")
    return PgnFile(
        games_from_file(path, texts, lambda game: f"line {lines[game]} (game {game})", board_size),
        tuple(headers),
    )


def _parts(path: FilePath, text: str) -> Iterator[tuple[int, str | None, str]]:
    """The parts of a PGN file with the line of each: a tag's name and value, or None and a stretch of moves.

    In moves are line breaks where comments were, so that their lines can be counted.
    """
    at, line = 0, 1
    while at < len(text):
        part = _TAG.match(text, at) or _BETWEEN.match(text, at)
        if part is None:
            excerpt = text[at : at + 40].partition("\n")[0]
            raise RecordError(f'{path}: line {line}: {excerpt!r} is not a tag such as [Black "…"]')
        if part.re is _TAG:
            value = next(value for value in part.groups()[1:] if value is not None)
            yield line, part[1], re.sub(r'\\(["\\])', r"\1", value)
        else:
            yield line, None, _COMMENT.sub(_without_comment, part[0])
        at, line = part.end(), line + part[0].count("\n")


def _without_comment(comment: re.Match) -> str:
    """Nothing but the line breaks of a comment, so that lines keep their numbers."""
    text = comment[0]
    never_closed = text[0] == "{" and text[-1] != "}"  # is left for the moves, where it is refused
    return text if never_closed else " " + "\n" * text.count("\n")


def _until_results(text: str) -> Iterator[tuple[str, str | None]]:
    """The moves of games that stand one after another, each with the result that ends it, if any."""
    text, at = text.lower(), 0
    # A result has one of these signs. Nearly always it is the last word of one game, and quickly found.
    *moves, last = text.rsplit(None, 1) or [""]
    if moves and "-" not in moves[0] and "*" not in moves[0]:
        word = TRANSCRIPT_WORD.fullmatch(last)
        if word and word.lastgroup == "result":
            yield moves[0], last
            yield "", None
            return
    for word in TRANSCRIPT_WORD.finditer(text):
        if word.lastgroup == "result":
            yield text[at : word.start()], word[0]
            at = word.end()
    yield text[at:], None


def _add_tag(tags: dict[str, str], name: str, value: str, where: str) -> None:
    spelled = _SPELLING.get(name.casefold(), name)
    if spelled.casefold() in map(str.casefold, tags):
        raise RecordError(f"{where} has the tag {name} twice; give each game its tags once")
    if spelled == "FEN":
        raise RecordError(f"{where} has a tag FEN; only games from the usual start are read")
    tags[spelled] = value


def _with_result(tags: dict[str, str], result: str | None) -> dict[str, str]:
    """The tags of a game, and the result behind its moves where the tags do not know one."""
    tagged = tags.get("Result")
    if result is None or (tagged is not None and (result == "*" or tagged not in ("*", "?", ""))):
        return tags
    return {**tags, "Result": result}


def read_pgn(path: FilePath, board_size: int = 8) -> Games:
    """The games of a PGN file; `read_pgn_records` says what is understood and gives the tags too.

    Args:
        path: of the file.
        board_size: 4, 6 or 8.

    Raises:
        RecordError: as `read_pgn_records` does.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "games.pgn")
        ...     _ = path.write_text('[Black "?"]\\n\\n1. f5 d6 2. c3 *\\n')
        ...     read_pgn(path)
        Games(1 games on 8x8)

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    return read_pgn_records(path, board_size).games


def write_pgn(games: Games, path: FilePath, headers: Sequence[Mapping[str, str]] | None = None) -> None:
    """Write a PGN file: tags, numbered moves with passes as `--`, and the result in discs.

    The result is black's discs and white's (`final_scores`), or `*` for an unfinished game, unless a
    tag `Result` says otherwise.

    Args:
        games: n_games of them.
        path: of the file; one that is there is replaced.
        headers: the tags of each game, one mapping per game; the usual six are written as "?" if unknown.

    Raises:
        OthelloEduError: for tags that `read_pgn` would refuse.
        IllegalMoveError: for a game that breaks the rules.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "games.pgn")
        ...     write_pgn(Games.from_transcripts(["f5d6c3"]), path, [{"Event": "A lesson"}])
        ...     print(path.read_text().rstrip())
        [Event "A lesson"]
        [Site "?"]
        [Date "?"]
        [Round "?"]
        [Black "?"]
        [White "?"]
        [Result "*"]
        <BLANKLINE>
        1. f5 d6 2. c3 *

    See Also:
        Chapter 2, :doc:`/notebooks/02_games_as_text`.
    """
    headers = [{}] * len(games) if headers is None else headers
    if not isinstance(headers, Sequence):
        raise OthelloEduError(f"headers must be a list of mappings, not {type(headers).__name__}")
    if len(headers) != len(games):
        raise OthelloEduError(f"headers has tags for {len(headers)} games; there are {len(games)} games")
    scores = final_scores(games)
    turns: list[np.ndarray] = []
    for positions in replay_in_parts(games):
        turns.extend(positions.to_move)
    texts = []
    for game, (header, (black, white)) in enumerate(zip(headers, scores, strict=True)):
        finished = black + white == games.board_size**2
        tags = {**dict.fromkeys(_ROSTER, "?"), "Result": f"{black}-{white}" if finished else "*"}
        tags |= _checked_tags(header, f"game {game}")
        moves = _turns(games.moves[game], turns[game])
        result = TRANSCRIPT_WORD.fullmatch(tags["Result"])
        moves.append(result[0] if result and result.lastgroup == "result" else "*")
        lines = ['[{} "{}"]'.format(name, re.sub(r'(["\\])', r"\\\1", value)) for name, value in tags.items()]
        lines += ["", *(" ".join(moves[at : at + 8]) for at in range(0, len(moves), 8)), "", ""]
        texts.append("\n".join(lines))
    with atomic_write(path, "w") as file:
        file.writelines(texts)


def _checked_tags(header: Mapping[str, str], where: str) -> dict[str, str]:
    """Tags to write, as they will be read."""
    if not isinstance(header, Mapping):
        raise OthelloEduError(f"{where}: its tags are a mapping such as {{'Black': '…'}}, not {header!r}")
    tags: dict[str, str] = {}
    for name, value in header.items():
        value = str(value)
        if not isinstance(name, str) or not re.fullmatch(_NAME, name) or _NO_VALUE.search(value):
            raise OthelloEduError(
                f"{where}, tag {name!r}, value {value!r}: a name is a word (letters, digits, `_`, `-`, `:`), "
                "a value one line of characters that UTF-8 knows"
            )
        _add_tag(tags, name, value, where)
    return tags


def _turns(moves: np.ndarray, to_move: np.ndarray) -> list[str]:
    """`["1. f5 d6", "2. c3 d3", …]`: black's move and white's, either of which may be a pass."""
    words: list[str] = []
    mover = BLACK
    for square, after in zip(moves[moves >= 0].tolist(), to_move.tolist(), strict=False):
        if mover != (BLACK, WHITE)[len(words) % 2]:
            words.append("--")
        words.append(SQUARE_NAMES[square])
        mover = after
    return [f"{at // 2 + 1}. {' '.join(words[at : at + 2])}" for at in range(0, len(words), 2)]
