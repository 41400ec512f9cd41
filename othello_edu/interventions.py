"""Change what the network believes about a square, and watch its moves.

A probe only reads. To learn whether the network *uses* what the probe reads, the residual stream is
pushed until the probe reads something else, and the network goes on from there. If its moves follow the
edited board, it was using it (Li et al., 2023; Nanda et al., 2023).

Two directions are told apart. The *reading direction* of a square is the difference of the probe's weights
for what it holds after and before the edit; the *writing direction* is the same difference of
`board_directions`. A *push* is a direction times a length: `probe_edits` takes the length from what the probe
reads, `length_edits` takes it from the caller, so that pushes along several directions can be compared.

See Also:
    Chapter 6, :doc:`/notebooks/06_does_it_use_its_board`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from . import checks
from .board import Board
from .errors import OthelloEduError
from .games import CENTRE, PADDING, Games, Positions, move_squares, tokens
from .labels import EMPTY, MINE, THEIRS
from .model import GPT, Edits
from .probes import N_CLASSES, LinearProbe, labelled_rows

KINDS = ("flip", "erase")


@dataclass(frozen=True)
class Cases:
    """Edits of one disc each, one a row: `square` of the position after move `ply` of `game` changes.

    Attributes:
        game: int64 [n], numbers of games.
        ply: int64 [n], counted from 0.
        square: int64 [n], 0 to 63.
        before: int64 [n], contents of the square (0 empty, 1 mine, 2 theirs) before the edit.
        after: int64 [n], its contents after the edit.
        legal_before: bool [n, vocabulary], legal next tokens on the true board.
        legal_after: bool [n, vocabulary], legal next tokens on the edited board.
    """

    game: np.ndarray
    ply: np.ndarray
    square: np.ndarray
    before: np.ndarray
    after: np.ndarray
    legal_before: np.ndarray
    legal_after: np.ndarray

    def __len__(self) -> int:
        return len(self.game)


def sample_cases(
    positions: Positions, n: int, seed: int, kind: str = "flip", plies: tuple[int, int] = (9, 50)
) -> Cases:
    """Draw disc edits that change the legal moves without leaving the player to move without one.

    Args:
        positions: of the games to draw from, as `replay` gives them.
        n: how many edits.
        seed: of the drawing.
        kind: "flip" (mine becomes theirs or the reverse) or "erase" (becomes empty; never a centre square,
            which cannot be empty in a game).
        plies: first and last ply drawn.

    Raises:
        OthelloEduError: for another kind, an `n` below 1, and where these games do not offer `n` cases.

    Example:
        >>> from othello_edu import random_games, replay
        >>> cases = sample_cases(replay(random_games(10, seed=0)), n=5, seed=0)
        >>> len(cases), bool((cases.before + cases.after == MINE + THEIRS).all())
        (5, True)

    See Also:
        Chapter 6, :doc:`/notebooks/06_does_it_use_its_board`.
    """
    if kind not in KINDS:
        raise OthelloEduError(f"kind is {kind!r}; it must be one of {KINDS}")
    if n < 1:
        raise OthelloEduError(f"n is {n}; ask for at least one case")
    rng = np.random.default_rng(seed)
    squares = move_squares(positions.board_size)[1:]
    drawn: list[tuple] = []
    movers = positions.to_move.copy()  # 0 where nothing may be drawn
    movers[:, : plies[0]] = 0
    movers[:, plies[1] + 1 :] = 0
    candidates = np.argwhere((movers > 0)[..., None] & (positions.boards > 0))
    for game, ply, square in rng.permutation(candidates):
        if len(drawn) == n:
            break
        if kind == "erase" and square in CENTRE:
            continue
        contents, mover = positions.boards[game, ply].copy(), int(positions.to_move[game, ply])
        contents[square] = 3 - contents[square] if kind == "flip" else EMPTY
        edited = Board.from_contents(contents, mover, positions.board_size)
        legal_after = np.zeros(64, bool)
        legal_after[[s for s in range(64) if edited.legal_bits >> s & 1]] = True
        legal_before = positions.legal[game, ply]
        if edited.to_move != mover or (legal_after == legal_before).all():
            continue
        before = MINE if positions.boards[game, ply, square] == mover else THEIRS
        after = {"flip": 3 - before, "erase": EMPTY}[kind]
        drawn.append((game, ply, square, before, after, legal_before[squares], legal_after[squares]))
    if len(drawn) < n:
        raise OthelloEduError(f"these games offer only {len(drawn)} of {n} cases: bring more games")
    *columns, legal_before, legal_after = (np.array(column) for column in zip(*drawn, strict=True))
    padding = np.zeros((n, 1), bool)  # a token that is never legal
    return Cases(*columns, *(np.hstack([padding, legal]) for legal in (legal_before, legal_after)))


def board_directions(streams: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    """How the stream moves when one square changes and the others stay, by least squares on the boards.

    A probe's weights say how to *read* a square; these say how it is *written*, and the two need not agree.
    The writing direction of an edit is the difference between two of them, of what is there after and before.

    Args:
        streams: real [n_stages, …, d_model], as for `LinearProbe.fit`.
        labels: int […, n_squares] in 0..2, or -1 for masked.

    Returns:
        float32 [n_stages, n_squares, 3, d_model]. Entry `[stage, square, kind]` is what the square adds to
        the stream when it holds `kind`, compared with empty (so that kind 0 is zero).

    Raises:
        OthelloEduError: where shapes do not fit or every row is masked.

    References:
        Haufe et al. (2014).

    See Also:
        Chapter 6, :doc:`/notebooks/06_does_it_use_its_board`.
    """
    x, y = labelled_rows(streams, labels)
    holds = torch.cat([y == MINE, y == THEIRS, torch.ones(len(y), 1, dtype=torch.bool)], -1).float()
    # The centre is never empty and small boards leave squares out, so that columns depend on one another:
    # the pseudo-inverse takes the smallest of the solutions.
    solve = torch.linalg.pinv((holds.T @ holds).double(), hermitian=True, rtol=1e-6)
    directions = (solve @ (holds.T @ x).double())[:, :-1].float()  # [n_stages, 2 * n_squares, d_model]
    mine, theirs = directions.chunk(2, dim=1)
    return torch.stack([torch.zeros_like(mine), mine, theirs], dim=2)


def probe_edits(
    probe: LinearProbe,
    cases: Cases,
    stages: Sequence[int],
    strength: float = 1.0,
    along: torch.Tensor | None = None,
) -> Edits:
    """Edits for `model(tokens, edits=…)` that make the probe read `after` instead of `before`.

    At each stage, and only at the position of the case, the stream is pushed until the probe, which was in
    favour of `before` by some margin, stands on its boundary or is in favour of `after`. Where the probe
    already prefers `after`, nothing moves; nor where the direction would not move the probe towards `after`.

    Args:
        probe: fitted on all stages of the model.
        cases: what to edit; row `i` of the tokens must be the game of case `i`.
        stages: the stages at which the stream is pushed.
        strength: how far: 0 to the probe's boundary, 1 until it is in favour of `after` by as much as it was
            of `before`.
        along: float [n_stages, n_squares, 3, d_model]; the push goes along the difference between those of
            `after` and `before`. By default the probe's own weights, which give the reading direction, the
            shortest way; those of `board_directions` give the writing direction.

    Raises:
        OthelloEduError: for a stage that the probe does not have.

    See Also:
        Chapter 6, :doc:`/notebooks/06_does_it_use_its_board`.
    """
    if not all(0 <= stage < len(probe.weight) for stage in stages):
        raise OthelloEduError(f"stages are {list(stages)}; this probe has stages 0..{len(probe.weight) - 1}")
    along = probe.weight if along is None else along
    rows, ply = torch.arange(len(cases)), torch.as_tensor(cases.ply)

    def edit(stage):
        reading = _difference(probe.weight[stage], cases)  # [n, d_model]
        offset = _difference(probe.bias[stage], cases)
        direction = _difference(along[stage], cases)
        gain = (reading * direction).sum(-1)  # how much the margin grows with a push by one `direction`

        def move(x):
            margin = (x[rows, ply] * reading).sum(-1) + offset  # below 0: the probe prefers `before`
            size = torch.where((margin < 0) & (gain > 0), -(1 + strength) * margin / gain, 0.0)
            return _pushed(x, cases, size[:, None] * direction)

        return move

    return {("resid_post", stage): edit(stage) for stage in stages}


def length_edits(cases: Cases, along: torch.Tensor, lengths: dict[int, float | torch.Tensor]) -> Edits:
    """Pushes of given lengths, whatever a probe reads before or after them.

    Two directions are compared fairly only by pushes of the same length: `probe_edits` pushes further along
    the direction that moves the probe less.

    Args:
        cases: what to edit; row `i` of the tokens must be the game of case `i`.
        along: float [n_stages, n_squares, 3, d_model], as for `probe_edits`: a probe's `weight`, or what
            `board_directions` gives. Where the two kinds of a case have the same vector, nothing moves.
        lengths: for each stage at which the stream is pushed, how far, in the units of the stream: one
            number, or float [n], one for each case.

    Raises:
        OthelloEduError: for a stage that `along` does not have, and for lengths of another shape, below 0 or
            not finite.

    Example:
        >>> from othello_edu import random_games, replay
        >>> cases = sample_cases(replay(random_games(10, seed=0)), n=5, seed=0)
        >>> along = torch.randn(1, 64, 3, 8, generator=torch.Generator().manual_seed(0))
        >>> push = length_edits(cases, along, {0: 2.5})["resid_post", 0]
        >>> push(torch.zeros(5, 60, 8)).norm(dim=-1).sum(1)
        tensor([2.5000, 2.5000, 2.5000, 2.5000, 2.5000])

    See Also:
        Chapter 6, :doc:`/notebooks/06_does_it_use_its_board`.
    """
    along = checks.reals("along", along, "n_stages", "n_squares", N_CLASSES, "d_model").float()
    edits: dict[tuple[str, int], Callable[[torch.Tensor], torch.Tensor]] = {}
    for stage, length in lengths.items():
        if stage not in range(len(along)):
            raise OthelloEduError(f"lengths are of stage {stage}; along has stages 0..{len(along) - 1}")
        length = checks.finite("lengths", checks.reals("lengths", length).float())
        if length.shape not in ((), (len(cases),)) or (length < 0).any():
            raise OthelloEduError(
                f"lengths of stage {stage} have shape {list(length.shape)}, the least is {length.min():g}; "
                f"give one number, not below 0, or one for each of the {len(cases)} cases"
            )
        push = F.normalize(_difference(along[stage], cases), dim=-1) * length[..., None]
        edits["resid_post", stage] = partial(_pushed, cases=cases, push=push)
    return edits


def _difference(values: torch.Tensor, cases: Cases) -> torch.Tensor:
    """Values [n_squares, 3, …] of each case's square: those for `after` less those for `before`, [n, …]."""
    square, before, after = (torch.as_tensor(column) for column in (cases.square, cases.before, cases.after))
    return values[square, after] - values[square, before]


def random_edits(cases: Cases, pushes: dict[int, torch.Tensor], seed: int) -> Edits:
    """The control: pushes of the same lengths, at the same places, in random directions.

    Args:
        cases: where to push.
        pushes: for each stage float [n, d_model], as `run_cases` returns those of the edits that are to be
            compared.
        seed: of the directions.
    """
    random = torch.Generator().manual_seed(seed)

    def edit(push):
        noise = torch.randn(push.shape, generator=random)
        noise *= (push.norm(dim=-1) / noise.norm(dim=-1))[:, None]
        return lambda x: _pushed(x, cases, noise)

    return {("resid_post", stage): edit(push) for stage, push in pushes.items()}


def _pushed(x: torch.Tensor, cases: Cases, push: torch.Tensor) -> torch.Tensor:
    """Streams [n, T, d_model] with a push [n, d_model] added at the position of each case."""
    x = x.clone()
    x[torch.arange(len(cases)), torch.as_tensor(cases.ply)] += push
    return x


def wrong_moves(logits: torch.Tensor, legal: np.ndarray) -> np.ndarray:
    """Errors against a set of legal moves.

    Where `k` moves are legal, the network's `k` likeliest moves are taken; each one that is illegal and each
    legal one that is missing counts.

    Args:
        logits: float [n, vocabulary], on the CPU.
        legal: bool [n, vocabulary].

    Returns:
        int64 [n].

    References:
        Li et al. (2023), section 4.2.

    Example:
        Token 0 is padding. Two moves are legal; token 3 is likelier than the legal token 2.

        >>> wrong_moves(torch.tensor([[9.0, 4.0, 2.0, 3.0]]), np.array([[False, True, True, False]]))
        array([2])
    """
    logits = logits.clone()
    logits[:, PADDING] = -torch.inf
    rank = logits.argsort(-1, descending=True).argsort(-1).numpy()
    predicted = rank < legal.sum(-1, keepdims=True)
    return (predicted != legal).sum(-1)


class Outcome(NamedTuple):
    """What came of cases: the network's logits, and how far its streams were pushed.

    Attributes:
        logits: float [n, vocabulary], at the position of each case.
        pushes: for each stage that was edited, float [n, d_model].
    """

    logits: torch.Tensor
    pushes: dict[int, torch.Tensor]


@torch.no_grad()
def run_cases(model: GPT, games: Games, cases: Cases, edits: Edits | None = None) -> Outcome:
    """Run the network on the games of the cases, each up to its position, with these edits if any.

    Args:
        model: the network. It stays in evaluation mode.
        games: those that the cases were drawn from.
        cases: which game and position each row is.
        edits: as `probe_edits` and `random_edits` give them, for these cases.

    See Also:
        Chapter 6, :doc:`/notebooks/06_does_it_use_its_board`.
    """
    at = torch.arange(len(cases)), torch.as_tensor(cases.ply)
    pushes: dict[int, torch.Tensor] = {}

    def recorded(name, index, edit):
        def move(x):
            edited = edit(x)
            if name == "resid_post":
                pushes[index] = edited[at] - x[at]
            return edited

        return move

    model.eval()
    moves_read = tokens(games[cases.game])[:, : cases.ply.max() + 1]  # later ones change nothing before them
    recorded_edits = {key: recorded(*key, edit) for key, edit in (edits or {}).items()}
    return Outcome(model(moves_read, edits=recorded_edits)[at], pushes)


@dataclass(frozen=True)
class Errors:
    """Wrong moves of each case against one board: see `compare`.

    Attributes:
        nothing: int64 [n], of the network as it is.
        edited: int64 [n], with the edit.
        random: int64 [n], with pushes of the same lengths in random directions.
    """

    nothing: np.ndarray
    edited: np.ndarray
    random: np.ndarray


def compare(
    model: GPT,
    probe: LinearProbe,
    games: Games,
    cases: Cases,
    stages: Sequence[int],
    strength: float = 1.0,
    seed: int = 0,
    along: torch.Tensor | None = None,
) -> tuple[Errors, Errors]:
    """Count wrong moves, doing nothing, with the edit, and with its random control.

    Args:
        model: the network. It stays in evaluation mode.
        probe: fitted on all stages of the model.
        games: those that the cases were drawn from.
        cases: what to edit.
        stages: the stages at which the stream is pushed.
        strength: how far, as for `probe_edits`.
        seed: of the random directions.
        along: directions of the pushes, as for `probe_edits`.

    Returns:
        The errors against the edited board and those against the true board. The first should fall and the
        second rise if the network uses what was edited; both rise if it is merely disturbed.

    Raises:
        OthelloEduError: for a stage that the probe does not have.

    See Also:
        Chapter 6, :doc:`/notebooks/06_does_it_use_its_board`.
    """
    nothing = run_cases(model, games, cases).logits
    edited, pushes = run_cases(model, games, cases, probe_edits(probe, cases, stages, strength, along))
    random = run_cases(model, games, cases, random_edits(cases, pushes, seed)).logits

    def errors(legal: np.ndarray) -> Errors:
        return Errors(*(wrong_moves(logits, legal) for logits in (nothing, edited, random)))

    return errors(cases.legal_after), errors(cases.legal_before)
