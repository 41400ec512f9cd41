"""Dictionaries: the panel's numbers are what they say, rivals and yardstick are what they claim to be."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from othello_edu.dictionaries import (
    Cut,
    Directions,
    MeanDictionary,
    Panel,
    at_l0,
    best_correlations,
    panel,
)
from othello_edu.directions import both_signs, principal_components, random_directions
from othello_edu.errors import OthelloEduError
from othello_edu.games import next_tokens, random_games, tokens
from othello_edu.model import GPT, GPTConfig
from othello_edu.sae import JumpReLU, SparseAutoencoder, TopK

D = 16


# The panel ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = GPT(GPTConfig(board_size=6, n_layer=2, n_head=2, d_model=D)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def games():
    games = random_games(30, seed=9, board_size=6)
    assert len(set(games.lengths)) > 1
    return games


@pytest.fixture(scope="module")
def rows(model, games):
    """The streams of stage 1 at every position that is followed by a move."""
    return model.run_with_cache(tokens(games))[1]["resid_post"][1][next_tokens(games) > 0]


def with_weights(W_enc, b_enc):
    sae = SparseAutoencoder(*W_enc.shape).requires_grad_(False)
    sae.W_enc.copy_(W_enc)
    sae.b_enc.copy_(b_enc)
    return sae


def plus_and_minus():
    """relu(x) − relu(−x) = x: an autoencoder that loses nothing."""
    return with_weights(torch.cat([torch.eye(D), -torch.eye(D)], dim=1), torch.zeros(2 * D))


def test_an_autoencoder_that_loses_nothing_recovers_the_whole_loss(model, games):
    found = panel(model, plus_and_minus(), 1, games)
    assert found.loss_spliced == pytest.approx(found.loss, abs=1e-6)
    assert found.loss_recovered == pytest.approx(1, abs=1e-4)
    assert found.explained_variance == pytest.approx(1, abs=1e-6)
    assert found.l0 == pytest.approx(D) and found.dead_fraction == 0


def test_an_autoencoder_that_always_says_the_mean_recovers_nothing(model, games, rows):
    mean = rows.mean(0)
    # One feature, always on at the length of the mean, along the mean.
    sae = with_weights(torch.zeros(D, 1), mean.norm())
    sae.decode = lambda h: h * (mean / mean.norm())
    found = panel(model, sae, 1, games)
    assert found.loss_spliced == pytest.approx(found.loss_ablated, abs=1e-6) != found.loss
    assert found.loss_recovered == pytest.approx(0, abs=1e-4)
    assert found.explained_variance == pytest.approx(0, abs=1e-4)


def test_density_l0_dead_features_and_explained_variance_by_hand(model, games, rows):
    weight = F.normalize(torch.randn(D, 5, generator=torch.Generator().manual_seed(0)), dim=0)
    bias = torch.tensor([0.0, -0.5, -1e6, 1e6, -1e6])  # two are never active, one always
    found = panel(model, with_weights(weight, bias), 1, games, batch_size=7)
    active = np.array([[float(row @ weight[:, f] + bias[f]) > 0 for f in range(5)] for row in rows])
    np.testing.assert_allclose(found.density, active.mean(0), atol=2 / len(rows))
    assert found.density[3] == 1 and 0 < found.density[0] < 1
    assert found.l0 == pytest.approx(active.sum(1).mean(), abs=0.02)
    assert found.dead_fraction == 2 / 5


def test_explained_variance_of_a_projection_is_its_share(model, games, rows):
    half = torch.eye(D)[:, : D // 2]
    sae = with_weights(torch.cat([half, -half], dim=1), torch.zeros(D))
    centred = (rows - rows.mean(0)).square().sum()
    expected = 1 - rows[:, D // 2 :].square().sum() / centred
    assert panel(model, sae, 1, games).explained_variance == pytest.approx(expected.item(), abs=1e-4)


def test_the_loss_of_the_panel_is_the_loss_of_the_network(model, games):
    log_p, targets = model(tokens(games)).log_softmax(-1), next_tokens(games)
    expected = [-log_p[g, t, targets[g, t]].item() for g, t in (targets > 0).nonzero().tolist()]
    assert panel(model, plus_and_minus(), 2, games).loss == pytest.approx(np.mean(expected), abs=1e-5)


def test_only_the_plies_that_are_named_are_replaced_and_counted(model, games):
    named = [3, 4, 10]
    stream = model.run_with_cache(tokens(games))[1]["resid_post"][1]
    targets = next_tokens(games)

    def loss(stream):
        log_p = model(tokens(games), edits={("resid_post", 1): lambda _: stream}).log_softmax(-1)
        return -log_p.gather(-1, targets[..., None])[:, named, 0].mean().item()

    silent = with_weights(torch.eye(D), torch.full((D,), -1e6))
    silenced, ablated = stream.clone(), stream.clone()
    silenced[:, named] = 0
    ablated[:, named] = stream[:, named].mean((0, 1))
    found = panel(model, silent, 1, games, plies=named, batch_size=8)
    assert found.loss == pytest.approx(loss(stream), abs=1e-5)
    assert found.loss_spliced == pytest.approx(loss(silenced), abs=1e-5)
    assert found.loss_ablated == pytest.approx(loss(ablated), abs=1e-5)
    of_all = panel(model, silent, 1, games)
    assert len({round(p.loss, 4) for p in (found, of_all)}) == 2

    x = stream[:, named]
    expected = 1 - x.square().sum() / (x - x.mean((0, 1))).square().sum()
    assert found.explained_variance == pytest.approx(expected.item(), abs=1e-4)
    assert found.dead_fraction == 1


def test_loss_recovered_is_the_share_of_the_way_back():
    numbers = Panel(3.0, 0.9, 0.1, np.ones(4), loss=2.0, loss_spliced=2.25, loss_ablated=3.0)
    assert numbers.loss_recovered == 0.75
    assert math.isnan(dataclasses.replace(numbers, loss_ablated=2.0).loss_recovered)


def test_a_stage_that_does_not_exist_and_an_autoencoder_of_another_width_are_refused(model, games):
    for stage in (3, -1):
        with pytest.raises(OthelloEduError, match=rf"no activation \('resid_post', {stage}\)"):
            panel(model, plus_and_minus(), stage, games)
    with pytest.raises(OthelloEduError, match="the dictionary reads 8 dimensions; the model has 16"):
        panel(model, SparseAutoencoder(8, 8), 1, games)
    with pytest.raises(OthelloEduError, match="plies must lie in 0..30"):
        panel(model, plus_and_minus(), 1, games, plies=[31])


def test_a_dictionary_may_read_something_else_than_the_stream(model, games, rows):
    """The neurons of the block before, with a decoder by least squares, and the truth itself."""

    class Told:  # reads the stream off a copy that it is handed
        d_model = D

        def encode(self, source):
            return source.relu()

        def decode(self, code):
            return code[:, :D] - code[:, D:]

    x = model.run_with_cache(tokens(games))[1]["resid_post"][1]
    found = panel(model, Told(), 1, games, source=torch.cat([x, -x], dim=-1))
    assert found.explained_variance == pytest.approx(1, abs=1e-6)
    assert found.loss_spliced == pytest.approx(found.loss, abs=1e-6)
    with pytest.raises(OthelloEduError, match=r"source has shape \[3, 31, 16\]"):
        panel(model, Told(), 1, games, source=x[:3])


# Rivals -------------------------------------------------------------------------------------------------


def correlated(n=2000, d=6, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=random) @ torch.randn(d, d, generator=random) + 3


def explained(x, rebuilt):
    return float(1 - (x - rebuilt).square().sum() / (x - x.mean(0)).square().sum())


def test_all_of_both_signs_of_a_basis_rebuild_everything():
    x = correlated()
    for directions in (both_signs(principal_components(x)[0]), both_signs(torch.eye(6))):
        rival = Directions(directions, k=6).fit(x)
        code = rival.encode(x)
        assert ((code > 0).sum(1) <= 6).all() and (code >= 0).all()
        assert explained(x, rival.decode(code)) == pytest.approx(1, abs=1e-5)


def test_no_other_decoder_rebuilds_more_of_a_code():
    x = correlated()
    rival = Directions(random_directions(6, 12, seed=1), k=3).fit(x)
    code = rival.encode(x)
    best = explained(x, rival.decode(code))
    assert 0.3 < best < 1
    tied = code @ rival.W_enc.T + rival.mean
    assert explained(x, tied) < best
    random = torch.Generator().manual_seed(0)
    for _ in range(5):
        other = Directions(rival.W_enc, 3)
        noise = 1e-2 * torch.randn(rival.W_dec.shape, generator=random)
        other.mean, other.b_dec, other.W_dec = rival.mean, rival.b_dec, rival.W_dec + noise
        assert explained(x, other.decode(code)) < best


def test_directions_may_read_neurons_and_write_streams():
    source = correlated(d=9)
    x = source @ torch.randn(9, 4, generator=torch.Generator().manual_seed(5))
    rival = Directions(both_signs(torch.eye(9)), k=9).fit(x, source)
    assert rival.d_model == 4
    assert explained(x, rival.decode(rival.encode(source))) == pytest.approx(1, abs=1e-4)
    with pytest.raises(OthelloEduError, match="k is 19; there are 18 directions"):
        Directions(both_signs(torch.eye(9)), k=19)


def test_directions_are_the_means_of_what_they_stand_for():
    labels = torch.randint(0, 3, (500, 4), generator=torch.Generator().manual_seed(0))
    labels[:, 3] = 1  # never theirs, never empty
    x = correlated(500)
    told = MeanDictionary().fit(x, labels)
    torch.testing.assert_close(told.W_dec[1], x[labels[:, 1] == 1].mean(0) - x.mean(0), rtol=0, atol=1e-4)
    torch.testing.assert_close(told.W_dec[4 + 2], x[labels[:, 2] == 2].mean(0) - x.mean(0), rtol=0, atol=1e-4)
    assert not told.W_dec[4 + 3].any() and told.encode(labels).sum() == (labels > 0).sum()


def test_least_squares_undo_a_sum_of_atoms_exactly_and_means_do_not():
    """Squares that go together: their means count what they share twice."""
    random = torch.Generator().manual_seed(0)
    first = torch.randint(0, 3, (2000, 1), generator=random)
    copied = torch.rand(2000, 1, generator=random) < 0.8
    second = torch.where(copied, first, torch.randint(0, 3, (2000, 1), generator=random))
    labels = torch.cat([first, second], 1)
    atoms = torch.randn(4, 6, generator=random)
    x = MeanDictionary().encode(labels) @ atoms + 1
    exact = MeanDictionary(least_squares=True).fit(x, labels)
    torch.testing.assert_close(exact.W_dec, atoms, rtol=0, atol=1e-3)
    assert explained(x, exact.decode(exact.encode(labels))) == pytest.approx(1, abs=1e-5)
    means = MeanDictionary().fit(x, labels)
    assert explained(x, means.decode(means.encode(labels))) < 0.9
    torch.testing.assert_close(means.directions.norm(dim=0), torch.ones(4))


# At the same L0 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("l0", [1, 2.5, 3])
def test_dictionaries_of_every_kind_are_brought_to_the_same_l0(l0):
    x, new = correlated(200_000).split(100_000)
    saes = [SparseAutoencoder(6, 12, seed=1), TopK(6, 12, k=4), JumpReLU(6, 12, l0=6)]
    for dictionary in [*saes, Directions(random_directions(6, 12, 0), k=5).fit(x)]:
        before = float((dictionary.encode(x) > 0).sum(1).float().mean())
        assert before > l0
        cut = at_l0(dictionary, x, l0)
        kept = int((cut.encode(x) > 0).sum())
        assert round(l0 * len(x)) - 3 <= kept <= round(l0 * len(x)), "exact, but for a few that are equal"
        assert (cut.encode(new) > 0).sum(1).float().mean() == pytest.approx(l0, rel=0.01)
        acts = cut.encode(new)
        torch.testing.assert_close(acts[acts > 0], dictionary.encode(new)[acts > 0])
        assert acts[acts > 0].min() >= dictionary.encode(new)[acts == 0].max()
        torch.testing.assert_close(cut.decode(acts), dictionary.decode(acts))


def test_a_dictionary_that_is_sparse_enough_is_left_as_it_is():
    x = correlated(500)
    sparse = TopK(6, 12, k=2).requires_grad_(False)
    assert at_l0(sparse, x, 2).cut == at_l0(sparse, x, 7).cut == 0
    torch.testing.assert_close(at_l0(sparse, x, 2).encode(x), sparse.encode(x))
    assert int((Cut(sparse, 1e9).encode(x) > 0).sum()) == 0
    with pytest.raises(OthelloEduError, match="l0 is 0; it must be above 0"):
        at_l0(sparse, x, 0)


# Agreement ----------------------------------------------------------------------------------------------


def test_correlations_are_numpys_and_constant_features_have_none():
    random = torch.Generator().manual_seed(0)
    one, two = torch.rand(50, 3, generator=random), torch.rand(50, 4, generator=random)
    one[:, 2] = 0
    two[:, 1] = 1
    expected = np.corrcoef(one[:, :2].T, two[:, [0, 2, 3]].T)[:2, 2:].max(1)
    found = best_correlations(one, two)
    np.testing.assert_allclose(found[:2], expected, atol=1e-6)
    assert torch.isnan(found[2]) and torch.isnan(best_correlations(one, torch.ones(50, 2))).all()
    with pytest.raises(OthelloEduError, match="50 and 7 rows"):
        best_correlations(one, two[:7])
