"""How many positions per second each notion of stability marks, and at what cost beside replaying them.

Run with `python benchmarks/stability.py`. Rates depend on the machine; the ratio to replay, taken in the same
run, does not depend on it as much.
"""

from time import perf_counter

from othello_edu.games import random_games, replay
from othello_edu.kernels import n_threads
from othello_edu.stability import bracket, refuted, stable_exact, stable_paper, stable_sound


def seconds(function, repeats=5):
    """The best time of some repeats, after one call that compiles."""
    function()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return min(times)


def main():
    games = random_games(5_000, seed=1)
    positions = replay(games)
    boards, to_move = positions.boards[positions.valid], positions.to_move[positions.valid]
    subset = slice(0, 20_000)
    print(f"{len(boards):,} positions of random games, {n_threads()} thread(s)")
    print(f"{'':24s}{'positions/s':>14s}{'time / replay':>16s}")
    rules = {
        "replay": (lambda: replay(games), len(boards)),
        "stable_paper": (lambda: stable_paper(boards), len(boards)),
        "stable_sound": (lambda: stable_sound(boards), len(boards)),
        "refuted, 10 playouts": (lambda: refuted(boards[subset], to_move[subset], 10, 0), 20_000),
    }
    times = {name: seconds(function) / n_positions for name, (function, n_positions) in rules.items()}
    for name, time in times.items():
        print(f"{name:24s}{1 / time:14,.0f}{time / times['replay']:16.2f}")

    empties = (boards == 0).sum(axis=1)
    for n_empty in (6, 8, 10):
        chosen = ((empties == n_empty) & (to_move > 0)).nonzero()[0][:20]
        time = seconds(lambda rows=chosen: [stable_exact(boards[at], to_move[at]) for at in rows], 1)
        print(f"stable_exact, {n_empty:2d} empty: {1000 * time / len(chosen):.2f} ms per position")

    for n_playouts in (10, 100):
        width = bracket(positions[:500], n_playouts, seed=0).width
        shares = ", ".join(f"ply {ply + 1}: {width[ply]:.1%}" for ply in (19, 39, 49, 54))
        print(f"neither proven nor refuted by {n_playouts} playouts: {shares}")


if __name__ == "__main__":
    main()
