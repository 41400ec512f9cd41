"""Reading and writing: pushes along either kind of direction, equally far, and their random control."""

import numpy as np
import pytest
import torch

import othello_edu as oe
from othello_edu.errors import OthelloEduError
from othello_edu.interventions import (
    board_directions,
    compare,
    length_edits,
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


def at_rest(model, cases, edits, stage):
    """What an edit adds to streams [n, T, d_model] of zeros, and the same at the positions of the cases."""
    moved = edits["resid_post", stage](torch.zeros(len(cases), model.config.n_ctx, model.config.d_model))
    return moved, moved[torch.arange(len(cases)), torch.as_tensor(cases.ply)]


def differences(along, cases, stage):
    """From `before` to `after`, case by case."""
    return torch.stack(
        [
            along[stage, square, after] - along[stage, square, before]
            for square, before, after in zip(cases.square, cases.before, cases.after, strict=True)
        ]
    )


@pytest.mark.parametrize("each", [False, True], ids=["one length", "a length for each case"])
def test_pushes_of_a_given_length_have_it_along_reading_and_along_writing(world, each):
    model, _, cases, probe, written = world
    lengths = torch.linspace(0, 5, len(cases)) if each else torch.full((len(cases),), 2.5)
    for along in (probe.weight, written):
        edits = length_edits(cases, along, {stage: lengths if each else 2.5 for stage in STAGES})
        assert set(edits) == {("resid_post", stage) for stage in STAGES}
        for stage in STAGES:
            moved, pushes = at_rest(model, cases, edits, stage)
            assert torch.allclose(pushes.norm(dim=-1), lengths, atol=1e-5)
            assert moved.abs().sum() == pytest.approx(pushes.abs().sum().item(), rel=1e-5), "only there"
            cosine = torch.cosine_similarity(pushes, differences(along, cases, stage), dim=-1)
            assert torch.allclose(cosine[lengths > 0], torch.ones(int((lengths > 0).sum())), atol=1e-5)


def test_as_long_as_a_mirroring_push_along_the_same_direction_is_that_push(world):
    model, games, cases, probe, written = world
    mirrored = run_cases(model, games, cases, probe_edits(probe, cases, [1], along=written))
    lengths = {1: mirrored.pushes[1].norm(dim=-1)}
    again = run_cases(model, games, cases, length_edits(cases, written, lengths))
    assert torch.allclose(again.pushes[1], mirrored.pushes[1], atol=1e-4)
    assert torch.allclose(again.logits, mirrored.logits, atol=1e-3)


def test_a_push_of_a_given_length_is_made_where_the_probe_needs_none_too(world):
    model, games, cases, probe, _ = world
    pushes = run_cases(model, games, cases, probe_edits(probe, cases, [1])).pushes[1]
    needless = pushes.norm(dim=-1) == 0
    assert needless.any(), "some are read as `after` already"
    pushes = run_cases(model, games, cases, length_edits(cases, probe.weight, {1: 3.0})).pushes[1]
    assert torch.allclose(pushes.norm(dim=-1), torch.full((len(cases),), 3.0), atol=1e-4)


def test_along_no_direction_nothing_moves(world):
    model, _, cases, probe, _ = world
    moved, _ = at_rest(model, cases, length_edits(cases, torch.zeros_like(probe.weight), {1: 3.0}), 1)
    assert (moved == 0).all()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({3: 1.0}, "lengths are of stage 3; along has stages 0..2"),
        ({-1: 1.0}, "lengths are of stage -1"),
        ({1: -0.5}, "the least is -0.5; give one number, not below 0"),
        ({1: torch.ones(7)}, r"shape \[7\].* one for each of the 40 cases"),
        ({1: float("nan")}, "must be finite numbers"),
        ({1: "far"}, "lengths are .* must be real numbers"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(world, lengths, message):
    _, _, cases, probe, _ = world
    with pytest.raises(OthelloEduError, match=message):
        length_edits(cases, probe.weight, lengths)


def test_directions_of_another_shape_are_refused(world):
    _, _, cases, probe, _ = world
    with pytest.raises(OthelloEduError, match="along have shape .*n_stages, n_squares, 3, d_model"):
        length_edits(cases, probe.weight[1], {1: 1.0})


def test_the_control_pushes_as_far_at_the_same_places_in_another_direction(world):
    model, games, cases, probe, directions = world
    _, pushes = run_cases(model, games, cases, probe_edits(probe, cases, STAGES, along=directions))
    assert set(pushes) == set(STAGES)
    edits = random_edits(cases, pushes, seed=0)
    for stage in STAGES:
        moved, at_cases = at_rest(model, cases, edits, stage)
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
