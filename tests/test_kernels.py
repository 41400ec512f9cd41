"""Compiled functions: a cache that cannot be used is no reason to fail, nor are a fork, threads or Ctrl-C."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from othello_edu import engine, kernels

ROOT = Path(__file__).resolve().parent.parent
GAMES = "import othello_edu as oe; print(int(oe.replay(oe.random_games(3, 1)).legal.sum()), oe.perft(5))"
LEAVES = "import othello_edu as oe; print(oe.perft(5))"
SAID = "RuntimeWarning: othello_edu: "

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def python(program: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run a program that imports the package of `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)


def damaged(content: bytes, how: str) -> bytes:
    half = len(content) // 2
    return {
        "empty": b"",
        "cut": content[:half],
        "zeros": bytes(len(content)),
        "half zeros": content[:half] + bytes(len(content) - half),
        "one bit": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
        "something else": b"<html>",
    }[how]


@pytest.mark.parametrize("suffixes", [(".nbi",), (".nbc",)], ids=["indices", "code"])
def test_a_broken_cache_is_dropped_once_and_said(tmp_path, suffixes):
    before = python(GAMES, NUMBA_CACHE_DIR=str(tmp_path))
    assert before.returncode == 0, before.stderr
    files = sorted(path for path in tmp_path.rglob("*") if path.suffix in suffixes)
    assert len(files) >= 10
    ways = ("cut", "empty", "zeros", "half zeros", "one bit", "something else")
    for number, path in enumerate(files):
        path.write_bytes(damaged(path.read_bytes(), ways[number % len(ways)]))

    after = python(GAMES, NUMBA_CACHE_DIR=str(tmp_path))
    assert after.returncode == 0, after.stderr
    assert after.stdout == before.stdout
    assert after.stderr.count(SAID) == 1
    assert str(tmp_path) in after.stderr and "compiled again" in after.stderr

    mended = python(GAMES, NUMBA_CACHE_DIR=str(tmp_path))
    assert (mended.stdout, mended.stderr) == (before.stdout, "")


def test_code_of_another_source_is_not_run(tmp_path):
    """numba writes the index first: a process that is killed then leaves it with the old code."""
    package, kept = tmp_path / "package" / "othello_edu", tmp_path / "kept"
    shutil.copytree(ROOT / "othello_edu", package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    leaves = int(python(LEAVES, package.parent, NUMBA_CACHE_DIR=str(kept)).stdout)
    old = {path: path.read_bytes() for path in kept.rglob("engine.*.nbc")}
    source = package / "engine.py"
    source.write_text(source.read_text("utf-8").replace("leaves += _perft", "leaves += 2 * _perft"), "utf-8")
    assert int(python(LEAVES, package.parent, NUMBA_CACHE_DIR=str(kept)).stdout) == 2**4 * leaves
    for path, content in old.items():
        path.write_bytes(content)
    assert int(python(LEAVES, package.parent, NUMBA_CACHE_DIR=str(kept)).stdout) == 2**4 * leaves


def test_without_any_folder_for_the_cache_everything_works(tmp_path):
    """A shared installation, and a user without a home. (A file in its place stops the superuser too.)"""
    package = tmp_path / "othello_edu"
    shutil.copytree(ROOT / "othello_edu", package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    for folder in package.rglob("*.py"):
        (folder.parent / "__pycache__").touch()
    (tmp_path / "home").touch()
    home = str(tmp_path / "home")
    result = python(LEAVES, tmp_path, HOME=home, XDG_CACHE_HOME=home, LOCALAPPDATA=home, NUMBA_CACHE_DIR="")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "1396\n"
    assert result.stderr.count(SAID) == 1
    assert "NUMBA_CACHE_DIR" in result.stderr


@forks
def test_a_disk_that_is_full_is_said_once(tmp_path):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    result = python(full + LEAVES, NUMBA_CACHE_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(SAID) == 1
    assert "cannot be kept" in result.stderr and "NUMBA_CACHE_DIR" in result.stderr
    later = python(LEAVES, NUMBA_CACHE_DIR=str(tmp_path))
    assert (later.stdout, later.stderr) == (result.stdout, "")


FORKS = """
import multiprocessing
import numpy as np, torch
import othello_edu as oe
from othello_edu import kernels

torch.set_num_threads(2)

def everything(number):
    games = oe.random_games(20_000, number)
    boards = oe.replay(games[:1500]).boards
    stable = int(oe.stable_paper(boards).sum()), int(oe.stable_sound(boards).sum())
    flipped = int(oe.refuted(boards[:, 30], np.ones(1500, int), 5, 1).sum())
    score = oe.auroc(games.moves[:, :40].astype(float), games.moves[:, 40:44] > 30).sum()
    model = oe.GPT(oe.GPTConfig(n_layer=1))
    streams = oe.residual_streams(model, games[:100])
    return int(games.moves.astype(int).sum()), stable, flipped, float(score), list(streams.shape)

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, number):
        return str(everything(number))

expected = [everything(number) for number in range(4)]
(torch.ones(1000, 1000) @ torch.ones(1000, 1000)).exp().sum()
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    assert pool.map_async(everything, range(4)).get(timeout=120) == expected
loader = torch.utils.data.DataLoader(
    Data(), batch_size=2, num_workers=2, multiprocessing_context=context, timeout=120
)
assert [text for batch in loader for text in batch] == [str(numbers) for numbers in expected]
print("no child hangs; threads:", kernels.n_threads(), context.Pool(1).apply(kernels.n_threads))
"""


@forks
def test_forked_processes_can_use_everything_their_parent_has_used():
    result = python(FORKS, OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="2")
    assert result.stdout == "no child hangs; threads: 2 1\n", result.stderr


THREADS = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np, torch
import othello_edu as oe

torch.set_num_threads(2)
oe.perft(3)  # in this thread alone, and nothing else: the kernels' first calls meet as well

def games(number):
    games = oe.random_games(30_000, number)
    boards = oe.replay(games[:2000]).boards
    return int(games.moves.astype(int).sum()), int(oe.stable_sound(boards).sum())

with ThreadPoolExecutor(8) as threads:
    found = list(threads.map(games, range(16)))
assert found == [games(number) for number in range(16)]
print("all the same")
"""


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_many_threads_can_call_kernels_at_once(layer):
    """numba's own threads of the layer `workqueue` end the process where two calls meet."""
    environment = {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": layer}
    result = python(THREADS, **environment)
    assert result.stdout == "all the same\n", result.stderr


@pytest.mark.parametrize("n_threads", [1, 2, 7])
@pytest.mark.parametrize(("n", "size"), [(0, 5), (1, 5), (5, 5), (6, 5), (100, 7)])
def test_pieces_are_the_whole_and_each_is_done_once(monkeypatch, n_threads, n, size):
    monkeypatch.setattr(kernels, "n_threads", lambda: n_threads)
    done, largest = np.zeros(n, int), []

    def work(piece):
        done[piece] += 1
        largest.append(piece.stop - piece.start)

    kernels.in_pieces(work, n, size)
    assert done.tolist() == [1] * n
    assert max(largest, default=0) <= size


@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_after_an_error_or_ctrl_c_no_other_piece_begins(monkeypatch, n_threads, error):
    monkeypatch.setattr(kernels, "n_threads", lambda: n_threads)
    begun, failed = [], threading.Event()

    def work(piece):
        begun.append(piece)
        if threading.current_thread() is threading.main_thread():
            failed.set()
            raise error
        failed.wait()

    with pytest.raises(error):
        kernels.in_pieces(work, 100_000, 1)
    assert len(begun) < 100_000


def test_an_error_in_another_thread_is_raised(monkeypatch):
    monkeypatch.setattr(kernels, "n_threads", lambda: 2)
    failed = threading.Event()

    def work(piece):
        if threading.current_thread() is not threading.main_thread():
            failed.set()
            raise ZeroDivisionError
        failed.wait()

    with pytest.raises(ZeroDivisionError):
        kernels.in_pieces(work, 2, 1)


def test_a_kernel_is_never_asked_for_much_at_once(monkeypatch):
    """So that Ctrl-C is heard between two calls."""
    asked = []

    def instead(moves, *arguments):
        asked.append(len(moves))
        moves[:] = -1

    monkeypatch.setattr(engine, "_random_games", instead)
    engine.random_moves(100_000, seed=1)
    assert sum(asked) >= 100_000 and max(asked) <= 10_000


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("work", [lambda: engine.perft(14), lambda: engine.random_moves(10**6, 1)])
def test_ctrl_c_ends_long_work(monkeypatch, work):
    """`perft(14)` alone would take minutes."""
    calls = []
    for name in ("_perft", "_random_games"):
        monkeypatch.setattr(engine, name, counting(getattr(engine, name), calls))
    # As in a terminal: a process that a shell has started in the background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) < 20


def counting(kernel, calls):
    """The kernel, which at its third call sends Ctrl-C to its own process."""

    def called(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return kernel(*arguments)

    return called
