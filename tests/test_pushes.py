"""Reading and writing: pushes along either kind of direction, and their random control."""

import numpy as np
import pytest
import torch

import othello_edu as oe
from othello_edu.errors import OthelloEduError
from othello_edu.interventions import (
    board_directions,
    compare,
    probe_edits,
    random_edits,
    run_cases,
    sample_cases,
    wrong_moves,
)
from othello_edu.probes import LinearProbe

STAGES = (1, 2)


@pytest.fixture(scope="module")
def world():
    torch.manual_seed(0)
    model = oe.GPT(oe.GPTConfig(board_size=6, n_layer=2, n_head=2, d_model=32)).eval()
    games = oe.random_games(60, seed=0, board_size=6)
    positions = oe.replay(games)
    streams, labels = oe.residual_streams(model, games), oe.contents(positions)[:, :-1]
    probe = LinearProbe(epochs=2).fit(streams, labels)
    cases = sample_cases(positions, 40, seed=1, plies=(5, 25))
    return model, games, cases, probe, board_directions(streams, labels)


def margins(probe, cases, streams, stage):
    """By how much the probe prefers `after` to `before` at each case."""
    rows = torch.arange(len(cases))
    logits = probe.logits(streams)[stage, cases.game, cases.ply, cases.square]
    return logits[rows, cases.after] - logits[rows, cases.before]


def test_directions_recover_how_each_square_was_written():
    random = np.random.default_rng(0)
    boards = random.integers(0, 3, (500, 5))
    written = torch.from_numpy(random.normal(size=(2, 5, 3, 4))).float()
    written[:, :, 0] = 0
    streams = sum(written[:, square, boards[:, square]] for square in range(5)) + 7
    assert torch.allclose(board_directions(streams, boards), written, atol=1e-4)


def test_masked_rows_do_not_count():
    boards = np.random.default_rng(0).integers(0, 3, (300, 5))
    streams = torch.randn(1, 300, 4, generator=torch.Generator().manual_seed(0))
    masked = boards.copy()
    masked[200:] = -1
    assert torch.allclose(
        board_directions(streams, masked), board_directions(streams[:, :200], boards[:200]), atol=1e-6
    )
    with pytest.raises(OthelloEduError, match="masked"):
        board_directions(streams, np.full_like(boards, -1))


@pytest.mark.parametrize("written", [False, True], ids=["along the probe", "along the board's directions"])
def test_a_push_mirrors_what_the_probe_reads_and_moves_nothing_else(world, written):
    model, games, cases, probe, directions = world
    edits = probe_edits(probe, cases, [1], along=directions if written else None)
    pushes = run_cases(model, games, cases, edits).pushes
    games = games[cases.game]
    plain = oe.residual_streams(model, games)
    _, cache = model.run_with_cache(oe.tokens(games), edits=edits, names=["resid_post"])
    at = torch.arange(len(cases)), torch.as_tensor(cases.ply)
    streams_of = {True: cache["resid_post"], False: plain}
    alone = type(cases)(**{**vars(cases), "game": np.arange(len(cases))})
    before, after = (margins(probe, alone, streams_of[edited], 1) for edited in (False, True))
    assert (before < 0).sum() > 10
    assert torch.allclose(after, before.abs(), atol=1e-3)
    moved = streams_of[True][1] - streams_of[False][1]
    assert torch.allclose(moved[at], pushes[1], atol=1e-4)
    moved[at] = 0
    assert moved.abs().max() < 1e-5


def test_the_control_pushes_as_far_at_the_same_places_in_another_direction(world):
    model, games, cases, probe, directions = world
    _, pushes = run_cases(model, games, cases, probe_edits(probe, cases, STAGES, along=directions))
    assert set(pushes) == set(STAGES)
    edits = random_edits(cases, pushes, seed=0)
    for stage in STAGES:
        at_rest = torch.zeros(len(cases), model.config.n_ctx, model.config.d_model)
        moved = edits["resid_post", stage](at_rest)
        at_cases = moved[torch.arange(len(cases)), torch.as_tensor(cases.ply)]
        assert torch.allclose(at_cases.norm(dim=-1), pushes[stage].norm(dim=-1), atol=1e-5)
        assert torch.cosine_similarity(at_cases, pushes[stage], dim=-1).abs().median() < 0.5
        assert moved.abs().sum() == pytest.approx(at_cases.abs().sum().item(), rel=1e-5)


def test_the_comparison_counts_against_both_boards(world):
    model, games, cases, probe, directions = world
    on_edited, on_true = compare(model, probe, games, cases, STAGES, along=directions)
    logits, pushes = run_cases(model, games, cases)
    assert pushes == {}, "nothing was edited"
    assert (on_edited.nothing == wrong_moves(logits, cases.legal_after)).all()
    assert (on_true.nothing == wrong_moves(logits, cases.legal_before)).all()
    assert on_edited.random.shape == on_true.edited.shape == (len(cases),)


def test_a_strength_of_minus_one_is_doing_nothing(world):
    model, games, cases, probe, directions = world
    on_edited, _ = compare(model, probe, games, cases, STAGES, strength=-1.0, along=directions)
    assert (on_edited.edited == on_edited.nothing).all()
    assert (on_edited.random == on_edited.nothing).all()
