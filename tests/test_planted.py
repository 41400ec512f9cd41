"""Planted streams: means and covariances are the real stream's, and what was planted is what is there."""

import numpy as np
import pytest
import torch

import othello_edu as oe
from othello_edu.board_metrics import BoardReader, properties
from othello_edu.dictionaries import Directions, MeanDictionary
from othello_edu.directions import best_cosines, cosines, random_directions
from othello_edu.errors import OthelloEduError
from othello_edu.planted import CLOCK, planted_streams
from othello_edu.sae import TopK
from othello_edu.sae_training import fit, linear_fall

D = 128
CENTRE = [27, 28, 35, 36]  # never empty: mine there is the absence of theirs


@pytest.fixture(scope="module")
def boards():
    """Contents [n, 64] and moves made [n] of the positions of random games."""
    positions = oe.replay(oe.random_games(400, seed=5))
    labels = oe.contents(positions)
    rows = np.nonzero(labels[..., 0] >= 0)
    return labels[rows], rows[1] + 1


@pytest.fixture(scope="module")
def stream(boards):
    """Rows of any kind, with a mean and a covariance that are far from even."""
    random = torch.Generator().manual_seed(0)
    mixed = torch.randn(D, D, generator=random) * torch.logspace(1, -1, D)
    return torch.randn(len(boards[0]), D, generator=random) @ mixed + torch.arange(D) / 8


@pytest.fixture(scope="module")
def planted(boards, stream):
    return planted_streams(stream, *boards, share=0.98)


def facts_of(labels):
    facts = torch.from_numpy(properties(labels)).float()
    return facts - facts.mean(0)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_mean_and_covariance_are_those_of_the_real_stream(boards, stream, share):
    found = planted_streams(stream, *boards, share=share, seed=3).x
    assert found.shape == stream.shape and not torch.allclose(found, stream, atol=1.0)
    torch.testing.assert_close(found.mean(0), stream.mean(0), rtol=0, atol=1e-3)
    real = torch.cov(stream.T.double())
    error = torch.cov(found.T.double()) - real
    assert error.abs().max() < 1e-4 * real.abs().max()


def test_what_is_planted_is_facts_times_atoms_and_moves_times_the_clock(boards, stream, planted):
    labels, ply = boards
    moves = torch.from_numpy(ply - ply.mean()).float()[:, None]
    rest = planted.x - planted.x.mean(0) - facts_of(labels) @ planted.atoms.T - moves * planted.clock
    # What is left is the noise: its share is as stated, and it knows nothing of the board.
    of_noise = float(rest.square().sum() / (planted.x - planted.x.mean(0)).square().sum())
    assert planted.share == pytest.approx(1 - of_noise, abs=0.01) and planted.share > 0.8
    left = MeanDictionary(least_squares=True).fit(rest, torch.from_numpy(labels).long()).W_dec
    assert left.norm(dim=1).median() < 0.1 * planted.atoms.norm(dim=0).median()


def test_least_squares_find_the_atoms_where_the_labels_are_given(boards, planted):
    labels, ply = boards
    x = planted.x - torch.from_numpy(ply).float()[:, None] * planted.clock
    found = MeanDictionary(least_squares=True).fit(x, torch.from_numpy(labels).long()).W_dec.T
    off = [column for column in range(128) if column % 64 not in CENTRE]
    same = cosines(planted.atoms, found).diag()[off]
    assert same.min() > 0.9 and same.mean() > 0.98
    # Discs count moves: without the clock, each atom takes its share of it, and turns by little.
    with_clock = cosines(planted.atoms, planted.atoms + planted.clock[:, None]).diag()
    assert 0.95 < with_clock.mean() < 1


def test_where_all_is_noise_nothing_can_be_read(boards, stream):
    labels, ply = boards
    half = len(labels) // 2
    nothing = planted_streams(stream, labels, ply, share=0.0)
    assert not nothing.atoms.any() and not nothing.clock.any() and nothing.share == pytest.approx(0)
    facts = facts_of(labels)

    def explained(x):
        """Of the facts, by least squares on one half of the rows, judged on the other."""
        weight = torch.linalg.lstsq(x[:half] - x[:half].mean(0), facts[:half]).solution
        error = facts[half:] - (x[half:] - x[:half].mean(0)) @ weight
        return float(1 - error.square().sum() / facts[half:].square().sum())

    assert explained(nothing.x) < 0.01
    assert explained(planted_streams(stream, labels, ply, share=0.98).x) > 0.8
    acts = Directions(random_directions(D, 256, 0), k=32).fit(nothing.x).encode(nothing.x)
    assert BoardReader().fit(acts[:half], labels[:half]).score(acts[half:], labels[half:]) < 0.01


def test_the_clock_has_its_share(boards, planted):
    moves = torch.from_numpy(boards[1] - boards[1].mean()).float()[:, None]
    of_clock = (moves * planted.clock).square().sum()
    of_board = (facts_of(boards[0]) @ planted.atoms.T).square().sum()
    assert 0 < of_clock < 5 * CLOCK * of_board


def test_an_autoencoder_finds_a_few_rare_atoms(boards):
    """The instrument works where little is there at a time: facts of eight squares in an even stream."""
    labels, ply = boards
    corners = labels[:, [0, 7, 56, 63, 9, 14, 49, 54]]
    even = torch.randn(len(labels), 16, generator=torch.Generator().manual_seed(1))
    found = planted_streams(even, corners, ply, share=0.98)
    settings = dict(epochs=10, batch_size=256, learning_rate=5e-3, schedule=linear_fall)
    sae = fit(TopK(16, 32, k=4), found.x, **settings)
    learned = best_cosines(found.atoms, sae.directions)
    by_chance = best_cosines(found.atoms, random_directions(16, 32, 0))
    assert learned.mean() > by_chance.mean() + 0.2


def test_what_cannot_be_planted_is_refused(boards, stream):
    labels, ply = boards
    with pytest.raises(OthelloEduError, match="share is 1; it must be at least 0, and below 1"):
        planted_streams(stream, labels, ply, share=1)
    with pytest.raises(OthelloEduError, match="x has 100 rows; a covariance of 128 dimensions needs more"):
        planted_streams(stream[:100], labels[:100], ply[:100])
    with pytest.raises(OthelloEduError, match="must vary"):
        planted_streams(stream, 0 * labels, ply)
