"""Random games beside the same bitboards written in C, and how fast many games are replayed.

Run with `python benchmarks/engine.py`. Rates depend on the machine and on what else it does; the ratios come
from runs that alternate, so that both sides meet the same machine. Without a C compiler there is no ratio.
"""

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

# Threads of the C version that wait for its next call would keep a core from the other side.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from othello_edu import contents, engine, kernels, replay
from othello_edu.games import Games
from othello_edu.labels import legal_tokens

SOURCE = Path(__file__).with_name("random_games.c")
N_GAMES, SEED, REPEATS = 50_000, 1, 7


def compile_c(folder):
    """`f(n_games, n_threads) -> moves` in C, or None where gcc or its OpenMP is missing."""
    library = Path(folder) / "random_games.so"
    command = ["gcc", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-o", library, SOURCE]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no C version to compare with: {error}")
        return None
    function = ctypes.CDLL(str(library)).random_games
    u64 = ctypes.c_uint64
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, u64, u64, ctypes.c_int]
    function.restype = None

    def random_moves(n_games, n_threads):
        moves = np.empty((n_games, engine.n_plies(8)), np.int8)
        function(moves.ctypes.data, *moves.shape, SEED, int(engine.PLAYABLE[8]), n_threads)
        return moves

    return random_moves


def fastest(*functions):
    """Seconds of the fastest of some runs of each function, the functions taking turns."""
    seconds = np.full((REPEATS, len(functions)), np.inf)
    for repeat in range(REPEATS):
        for at, function in enumerate(functions):
            start = perf_counter()
            function()
            seconds[repeat, at] = perf_counter() - start
    return seconds.min(axis=0)


def random_games(in_c):
    most = kernels.n_threads()
    for n_threads in sorted({1, most}):
        torch.set_num_threads(n_threads)
        versions = [lambda: engine.random_moves(N_GAMES, SEED)]
        if in_c:
            versions.append(lambda n_threads=n_threads: in_c(N_GAMES, n_threads))
        seconds = fastest(*versions)
        line = f"random games, {n_threads} thread(s): {N_GAMES / seconds[0]:12,.0f} games/s"
        if in_c:
            line += f"; C {N_GAMES / seconds[1]:12,.0f}; ratio {seconds[1] / seconds[0]:.2f}"
        print(line)
    torch.set_num_threads(most)


def replays():
    games = Games(engine.random_moves(4096, SEED))
    n_positions = int(games.lengths.sum())

    def with_labels():
        positions = replay(games)
        return contents(positions), legal_tokens(positions)

    seconds = fastest(lambda: replay(games), with_labels)
    print(f"replay, {kernels.n_threads()} thread(s): {n_positions / seconds[0]:20,.0f} positions/s")
    print(f"   with contents and legal moves: {n_positions / seconds[1]:9,.0f} positions/s")


def main():
    engine.random_moves(1, SEED)  # compiles
    with tempfile.TemporaryDirectory() as folder:
        in_c = compile_c(folder)
        if in_c and not np.array_equal(in_c(1000, 1), engine.random_moves(1000, SEED)):
            raise SystemExit("the C version plays other games: there is nothing to compare")
        random_games(in_c)
    replays()


if __name__ == "__main__":
    main()
