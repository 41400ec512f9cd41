"""What the tests of files of games share: games, files, and damage."""

import random

import numpy as np

from othello_edu.errors import RecordError
from othello_edu.games import Games, random_games, replay


def some_games(n=40, seed=1, board_size=8):
    """Random games, some of them cut short, one of them before its first move."""
    moves = random_games(n, seed, board_size).moves.copy()
    for game in range(0, n, 5):
        moves[game, game % moves.shape[1] :] = -1
    return Games(moves, board_size)


def same(games, expected):
    return np.array_equal(games.moves, expected.moves) and games.board_size == expected.board_size


def text_file(tmp_path, text, name="games.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def game_with_a_pass(seed=0, board_size=8):
    """One game, the ply before which a player had to pass, and nobody did earlier."""
    games = random_games(200, seed, board_size)
    to_move = replay(games).to_move
    previous = np.concatenate([np.ones((len(games), 1), np.int8), to_move[:, :-2]], axis=1)
    passed = (to_move[:, :-1] == previous) & (to_move[:, :-1] > 0)
    game = int(np.argmax(passed.any(axis=1)))
    return games[game], int(np.argmax(passed[game])) + 1


def damaged(data, at, value):
    return data[:at] + bytes([value]) + data[at + 1 :]


def mutated(data, rng):
    """One to four changes: a byte set, a bit flipped, a stretch removed, doubled or filled with junk."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        stretch = slice(at, at + rng.choice([1, 2, 3, 16, 68, 500]))
        change = rng.choice([0, 0, 1, 1, 2, 3, 4])  # a changed byte keeps the file's length
        if change == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif change == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif change == 2:
            del data[stretch]
        elif change == 3:
            data[at:at] = data[stretch]
        else:
            data[at:at] = bytes(
                rng.choice(b'[]{};"\\\n\t #-.*0189afhp\x00\xff\xc3') for _ in range(rng.randrange(30))
            )
    return bytes(data)


def fuzz(path, read, data, seed, times):
    rng, read_well, refused = random.Random(seed), 0, 0
    for _ in range(times):
        path.write_bytes(mutated(data, rng))
        try:
            games = read(path)
        except RecordError as error:
            assert path.name in str(error)
            refused += 1
        else:
            replay(games)  # raises if a single move is illegal
            read_well += 1
    return read_well, refused
