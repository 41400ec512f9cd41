"""Games in files: transcripts, PGN as Othello players use it, and WTHOR, the format of tournament archives.

Every game is played as it is read, so whatever comes out of here is legal from the first move to the
last. A file that is not what it claims to be raises RecordError, which names the file, the record (a
game's number, counted from 0, as in `games[17]`) and, where one is at fault, the ply and its square.
Nothing is repaired or left out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from .board import SQUARE_NAMES, TRANSCRIPT_WORD
from .engine import BLACK, EMPTY, WHITE, check_board_size
from .errors import OthelloEduError, RecordError
from .files import atomic_write
from .games import Games, games_from_texts, replay_in_parts

_NAMES = np.array([*SQUARE_NAMES, ""], "S2")  # the last entry is where square -1 looks


def final_scores(games: Games) -> np.ndarray:
    """Discs of black and of white at the end of each game, int64 [n_games, 2].

    When a game is over its empty squares count for the winner (half each in a draw), as tournaments
    score it, so the two add up to the whole board; in an unfinished game they are the discs so far.
    Raises IllegalMoveError for a game that breaks the rules.
    """
    scores = [np.zeros((0, 2), np.int64)]
    for positions in replay_in_parts(games):
        played = positions.valid.sum(axis=1)
        last = np.arange(len(played)), played - 1
        boards, over = positions.boards[last], (positions.to_move[last] == EMPTY) & (played > 0)
        discs = np.stack([(boards == player).sum(axis=1) for player in (BLACK, WHITE)], axis=1)
        discs[played == 0] = 2
        empty = np.where(over, games.board_size**2 - discs.sum(axis=1), 0)
        share = np.sign(discs - discs[:, ::-1]) + 1  # 2 to the winner, 0 to the loser, 1 each in a draw
        scores.append(discs + share * empty[:, None] // 2)
    return np.concatenate(scores)


# Text: transcripts and PGN --------------------------------------------------------------------------


# A byte order mark, or two characters with a zero byte each: so begins no text of games in UTF-8.
_UTF_16 = re.compile(rb"\xff\xfe|\xfe\xff|(?:[^\0]\0){2}|(?:\0[^\0]){2}")


def _read_text(path) -> str:
    raw = Path(path).read_bytes()
    if _UTF_16.match(raw):
        raise RecordError(f"{path}: this is text in UTF-16 (Windows calls it Unicode); save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # players' names in old files; moves are ASCII in either
    # Programs of DOS end a text with Ctrl-Z.
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a \t\n")


def _games_from_text(path, texts: Sequence[str], where: Callable[[int], str], board_size: int) -> Games:
    """`games_from_texts`; what is wrong with a text is wrong with its file."""
    check_board_size(board_size)
    try:
        return games_from_texts(texts, where, board_size)
    except OthelloEduError as reason:
        raise RecordError(f"{path}: {reason}") from None


def read_transcripts(path, board_size: int = 8) -> Games:
    """Games written one to a line, such as `f5d6c3d3c4` or `F5 d6, C3`.

    Blank lines, and `#` with what follows it, are skipped; squares may be in capitals and stand apart
    (spaces, tabs, `,` `;` `|` `-`), with move numbers (`1.`) and with a result at the end. Passes need
    not be written (`--`, `pa` or `pass` if they are); a line with separators alone, `-`, is a game
    without moves.
    Raises RecordError naming the line, the game, the ply, the square and the board; also for a file in
    which there are comments and no game.
    """
    texts, lines, text = [], [], _read_text(path)
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.partition("#")[0].strip()
        if line:
            texts.append(line)
            lines.append(number)
    if text.strip() and not texts:
        raise RecordError(f"{path}: there are comments in it and no game")
    return _games_from_text(path, texts, lambda game: f"line {lines[game]} (game {game})", board_size)


def write_transcripts(games: Games, path) -> None:
    """Write one game to a line: `f5d6c3…`, or `-` for a game without moves.

    Raises IllegalMoveError, before anything is written, for a game that breaks the rules.
    """
    for _ in replay_in_parts(games):
        pass
    lines = _NAMES[games.moves].view(f"S{2 * games.moves.shape[1]}").ravel().tolist()
    with atomic_write(path) as file:
        file.writelines((line or b"-") + b"\n" for line in lines)


@dataclass(frozen=True, eq=False)
class PgnFile:
    """A PGN file: its games, and for each the tags that stand before it (`{"Black": "…"}`)."""

    games: Games
    headers: tuple[dict[str, str], ...]


# Each pattern reads on to the end of what it began, closed or not, so that no file makes it start again
# and again from the same place: reading takes time in proportion to the file's length.
_PGN_COMMENT = re.compile(r"\{[^}]*\}?|;[^\n]*")
_PGN_BETWEEN = re.compile(rf"(?:[^\[{{;]+|{_PGN_COMMENT.pattern})+")  # up to the next tag
_PGN_NAME = r"[\w:-]+"
# Many programs escape neither quotes nor the backslash that is half of a letter in Shift-JIS, so a tag ends
# at the last `"]` of its line. But several tags, or a tag and moves, may share a line: before the last comes
# the quote that ends the value by PGN's own rule, and then the first `"]`, if such a thing follows there.
_PGN_OPEN = rf'\[\s*({_PGN_NAME})\s*"'
_PGN_CLOSE = r'"\s*\]'
_PGN_MOVES = r"(?:[0-9]{1,3}\s*\.+\s*)?(?:[a-hA-H][1-8]|[{;*])|[0-9]{1,2}(?:/2)?-[0-9]"
_PGN_FOLLOWS = rf'(?=[^\S\n]*(?:\n|\Z|\[\s*{_PGN_NAME}\s*"[^"\n]*"|{_PGN_MOVES}))'
_PGN_TAG = re.compile(
    rf'{_PGN_OPEN}(?:((?:[^"\\\n]|\\.)*){_PGN_CLOSE}{_PGN_FOLLOWS}'
    rf"|([^\n]*?){_PGN_CLOSE}{_PGN_FOLLOWS}|([^\n]*){_PGN_CLOSE})"
)
_NO_PGN_VALUE = re.compile("[\n\r\ud800-\udfff]")
_PGN_ROSTER = ("Event", "Site", "Date", "Round", "Black", "White")  # always written, "?" if unknown
_PGN_SPELLING = {name.casefold(): name for name in (*_PGN_ROSTER, "Result", "FEN")}


def read_pgn_records(path, board_size: int = 8) -> PgnFile:
    """Read a PGN file of Othello games, with the tags of each game.

    Tags (`[Black "…"]`), then moves, `1. f5 d6 2. c3`, and a result (`40-24`, `1-0`, `1/2-1/2`, `*`);
    move numbers, comments (`{…}`, `; …`) and the result may be missing. A pass is `--`, `pa` or
    `pass`, or is left out. Names of tags are compared without case, and the usual seven come back in
    their usual spelling. In a value `\\"` and `\\\\` are escapes; any other backslash, and a quote that
    should have been escaped, are kept. A result becomes the tag `Result` where there is none or where it
    says `*` or `?`; otherwise the tag is kept as it stands, because a game lost on time need not agree
    with its board.
    Raises RecordError naming the game, its first line, the ply, the square and the board; also for a
    file in which there are comments and no game.
    """
    text = _read_text(path)
    texts, headers, lines, tags, starts = [], [], [], {}, 1
    for line, name, part in _pgn_parts(path, text):
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
        _games_from_text(path, texts, lambda game: f"line {lines[game]} (game {game})", board_size),
        tuple(headers),
    )


def _pgn_parts(path, text: str) -> Iterator[tuple[int, str | None, str]]:
    """The parts of a PGN file with the line of each: a tag's name and value, or None and a stretch of moves.

    In moves are line breaks where comments were, so that their lines can be counted.
    """
    at, line = 0, 1
    while at < len(text):
        part = _PGN_TAG.match(text, at) or _PGN_BETWEEN.match(text, at)
        if part is None:
            found = text[at : at + 40].partition("\n")[0]
            raise RecordError(f'{path}: line {line}: {found!r} is not a tag such as [Black "…"]')
        if part.re is _PGN_TAG:
            value = next(value for value in part.groups()[1:] if value is not None)
            yield line, part[1], re.sub(r'\\(["\\])', r"\1", value)
        else:
            yield line, None, _PGN_COMMENT.sub(_without_comment, part[0])
        at, line = part.end(), line + part[0].count("\n")


def _without_comment(found: re.Match) -> str:
    """Nothing but the line breaks of a comment, so that lines keep their numbers."""
    never_closed = found[0][0] == "{" and found[0][-1] != "}"  # is left for the moves, where it is refused
    return found[0] if never_closed else " " + "\n" * found[0].count("\n")


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
    known = _PGN_SPELLING.get(name.casefold(), name)
    if known.casefold() in map(str.casefold, tags):
        raise RecordError(f"{where} has the tag {name} twice; give each game its tags once")
    if known == "FEN":
        raise RecordError(f"{where} has a tag FEN; only games from the usual start are read")
    tags[known] = value


def _with_result(tags: dict[str, str], result: str | None) -> dict[str, str]:
    """The tags of a game, and the result behind its moves where the tags do not know one."""
    known = tags.get("Result")
    if result is None or (known is not None and (result == "*" or known not in ("*", "?", ""))):
        return tags
    return {**tags, "Result": result}


def read_pgn(path, board_size: int = 8) -> Games:
    """The games of a PGN file; `read_pgn_records` says what is understood and gives the tags too."""
    return read_pgn_records(path, board_size).games


def write_pgn(games: Games, path, headers: Sequence[Mapping[str, str]] | None = None) -> None:
    """Write a PGN file: tags, numbered moves with passes as `--`, and the result in discs.

    headers: the tags of each game, one mapping per game; the usual six are written as "?" if unknown.
    The result is black's discs and white's (`final_scores`), or `*` for an unfinished game, unless a
    tag `Result` says otherwise.
    Raises OthelloEduError for tags that `read_pgn` would refuse, IllegalMoveError for a game that breaks
    the rules.
    """
    headers = [{}] * len(games) if headers is None else headers
    if not isinstance(headers, Sequence):
        raise OthelloEduError(f"headers must be a list of mappings, not {type(headers).__name__}")
    if len(headers) != len(games):
        raise OthelloEduError(f"headers has tags for {len(headers)} games; there are {len(games)} games")
    scores, turns = final_scores(games), []
    for positions in replay_in_parts(games):
        turns.extend(positions.to_move)
    texts = []
    for game, (given, (black, white)) in enumerate(zip(headers, scores, strict=True)):
        finished = black + white == games.board_size**2
        tags = {**dict.fromkeys(_PGN_ROSTER, "?"), "Result": f"{black}-{white}" if finished else "*"}
        tags |= _checked_tags(given, f"game {game}")
        moves = _pgn_turns(games.moves[game], turns[game])
        result = TRANSCRIPT_WORD.fullmatch(tags["Result"])
        moves.append(result[0] if result and result.lastgroup == "result" else "*")
        lines = ['[{} "{}"]'.format(name, re.sub(r'(["\\])', r"\\\1", value)) for name, value in tags.items()]
        lines += ["", *(" ".join(moves[at : at + 8]) for at in range(0, len(moves), 8)), "", ""]
        texts.append("\n".join(lines))
    with atomic_write(path, "w") as file:
        file.writelines(texts)


def _checked_tags(given: Mapping[str, str], where: str) -> dict[str, str]:
    """Tags to write, as they will be read."""
    if not isinstance(given, Mapping):
        raise OthelloEduError(f"{where}: its tags are a mapping such as {{'Black': '…'}}, not {given!r}")
    tags = {}
    for name, value in given.items():
        value = str(value)
        if not isinstance(name, str) or not re.fullmatch(_PGN_NAME, name) or _NO_PGN_VALUE.search(value):
            raise OthelloEduError(
                f"{where}, tag {name!r}, value {value!r}: a name is a word (letters, digits, `_`, `-`, `:`), "
                "a value one line of characters that UTF-8 knows"
            )
        _add_tag(tags, name, value, where)
    return tags


def _pgn_turns(moves: np.ndarray, to_move: np.ndarray) -> list[str]:
    """`["1. f5 d6", "2. c3 d3", …]`: black's move and white's, either of which may be a pass."""
    words, mover = [], BLACK
    for square, after in zip(moves[moves >= 0].tolist(), to_move.tolist(), strict=False):
        if mover != (BLACK, WHITE)[len(words) % 2]:
            words.append("--")
        words.append(SQUARE_NAMES[square])
        mover = after
    return [f"{at // 2 + 1}. {' '.join(words[at : at + 2])}" for at in range(0, len(words), 2)]


# WTHOR ----------------------------------------------------------------------------------------------

_WTHOR_HEADER = np.dtype(
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
_WTHOR_RECORD = np.dtype(
    [
        ("tournaments", "<u2"),
        ("players", "<u2", 2),
        ("black_discs", "u1"),
        ("theoretical", "u1"),
        ("moves", "u1", 60),
    ]
)
_WTHOR_NAME_LENGTHS = {".jou": 20, ".trn": 26}
_NO_SQUARE = -2
# A move byte is 10 * row + column, both from 1; 0 stands after the last move.
_WTHOR_SQUARES = np.full(256, _NO_SQUARE, np.int8)
_WTHOR_SQUARES[0] = -1
_WTHOR_SQUARES[[10 * row + column for row in range(1, 9) for column in range(1, 9)]] = np.arange(64)
_WTHOR_BYTES = np.array([10 * (s // 8 + 1) + s % 8 + 1 for s in range(64)] + [0], np.uint8)


@dataclass(frozen=True, eq=False)
class WthorFile:
    """A WTHOR file: its games and what it says of each.

    year: when the games were played. created: when the file was made, None if its date is no date.
    players: uint16 [n_games, 2], black and white, places in the list of names (`.JOU`).
    tournaments: uint16 [n_games], places in the list of names (`.TRN`).
    black_discs: uint8 [n_games], black's final discs as recorded, empty squares credited to the winner.
    theoretical: uint8 [n_games], black's final discs had both played perfectly from the moment when
    `theoretical_empties` squares were empty.
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


def _wthor_header(path, raw: bytes) -> np.void:
    if len(raw) < _WTHOR_HEADER.itemsize:
        raise RecordError(f"{path}: a WTHOR file starts with a header of 16 bytes; this file has {len(raw)}")
    return np.frombuffer(raw, _WTHOR_HEADER, 1)[0]


def _check_wthor_length(path, raw: bytes, announced: int, record_length: int) -> None:
    """The length of a WTHOR file must agree with the number of records in its header."""
    records, left = divmod(len(raw) - 16, record_length)
    if records < announced:
        raise RecordError(
            f"{path}: the header announces {announced} records, but the file ends within record {records} "
            f"({left} of its {record_length} bytes are there)"
        )
    if records > announced or left:
        more = len(raw) - 16 - announced * record_length
        raise RecordError(f"{path}: {more} bytes follow the last of the {announced} records announced")


def read_wthor_records(path) -> WthorFile:
    """Read a WTHOR file of games (`.wtb`), with the players, tournaments and scores it records.

    Games that stop early are kept as they are (`final_scores` tells them apart). Scores are kept as
    recorded, not recomputed. Raises RecordError naming the record, the ply, the square and the board.
    Source: the French federation's WThor base, https://www.ffothello.org/informatique/la-base-wthor
    """
    raw = Path(path).read_bytes()
    header = _wthor_header(path, raw)
    # Before the length: the records of another board have another length.
    if header["board_size"] not in (0, 8):
        size = header["board_size"]
        raise RecordError(f"{path}: games on a {size}x{size} board; only 8x8 WTHOR files are read")
    _check_wthor_length(path, raw, int(header["n_games"]), _WTHOR_RECORD.itemsize)
    records = np.frombuffer(raw, _WTHOR_RECORD, offset=_WTHOR_HEADER.itemsize)
    moves = _WTHOR_SQUARES[records["moves"]]
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


def read_wthor(path) -> Games:
    """The games of a WTHOR file (`.wtb`); `read_wthor_records` gives players and scores too."""
    return read_wthor_records(path).games


def write_wthor_records(file: WthorFile, path) -> None:
    """Write a WTHOR file of games on 8x8: what `read_wthor_records` reads back is the same.

    Raises OthelloEduError where an array does not fit, IllegalMoveError for a game that breaks the rules.
    """
    games, n_games = file.games, len(file.games)
    if games.board_size != 8:
        raise OthelloEduError(f"WTHOR holds games on 8x8; these are on {games.board_size}x{games.board_size}")
    for _ in replay_in_parts(games):
        pass
    header, records = np.zeros(1, _WTHOR_HEADER), np.zeros(n_games, _WTHOR_RECORD)
    for name in ("players", "tournaments", "black_discs", "theoretical"):
        values, room = np.asarray(getattr(file, name)), records[name]
        most = 64 if name == "black_discs" else np.iinfo(room.dtype).max
        if values.shape != room.shape or not np.issubdtype(values.dtype, np.integer):
            raise OthelloEduError(
                f"{name} is {values.dtype} {values.shape}; it must be integers {room.shape}"
            )
        if values.size and not 0 <= values.min() <= values.max() <= most:
            raise OthelloEduError(f"{name} must lie in 0..{most}")
        records[name] = values
    records["moves"] = _WTHOR_BYTES[games.moves]
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


def write_wthor(games: Games, path, year: int = 0) -> None:
    """Write games on 8x8 as a WTHOR file: nobody's names (players and tournaments 0), scores computed.

    The theoretical score of a game is its own. `write_wthor_records` writes players and tournaments.
    """
    nobody = np.zeros((len(games), 2), np.uint16)
    discs = final_scores(games)[:, 0].astype(np.uint8)
    write_wthor_records(WthorFile(games, year, None, nobody, nobody[:, 0], discs, discs, 0), path)


def read_wthor_names(path) -> list[str]:
    """Names of the players (`.JOU`) or of the tournaments (`.TRN`) that WTHOR files number from 0."""
    length = _WTHOR_NAME_LENGTHS.get(Path(path).suffix.lower())
    if length is None:
        raise RecordError(f"{path}: names of players are in .JOU files, names of tournaments in .TRN files")
    raw = Path(path).read_bytes()
    _check_wthor_length(path, raw, int(_wthor_header(path, raw)["n_names"]), length)
    names = [raw[at : at + length].partition(b"\0")[0] for at in range(16, len(raw), length)]
    return [name.decode("latin-1") for name in names]
