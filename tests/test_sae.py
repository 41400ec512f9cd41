"""Sparse autoencoders: they find planted features, and the panel's numbers are what they say."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from othello_edu.errors import OthelloEduError
from othello_edu.games import next_tokens, random_games, tokens
from othello_edu.model import GPT, GPTConfig
from othello_edu.sae import Panel, SparseAutoencoder, panel, train_sae

D = 16


def planted(n=20_000, d_model=24, n_features=36, seed=0):
    """Sums of about two of 36 directions each: rows [n, d_model] and the directions [d_model, n_features]."""
    random = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(d_model, n_features, generator=random), dim=0)
    present = torch.rand(n, n_features, generator=random) < 2 / n_features
    amounts = (0.5 + torch.rand(n, n_features, generator=random)) * present
    return amounts @ directions.T, directions


@pytest.fixture(scope="module")
def found():
    x, directions = planted()
    return train_sae(x, 48, l1=0.45, epochs=12, batch_size=256, learning_rate=5e-3), x, directions


def nearest(directions, weight):
    """Cosine of each direction with the column that is nearest to it."""
    return (directions.T @ F.normalize(weight, dim=0)).max(dim=1).values


# Training -----------------------------------------------------------------------------------------------


def test_planted_features_are_found(found):
    sae, _, directions = found
    start = SparseAutoencoder(24, 48, seed=0).weight.detach()
    assert nearest(directions, start).mean() < 0.6
    assert nearest(directions, sae.weight).mean() > 0.9


def test_columns_have_length_one_before_and_after_training(found):
    for weight in (SparseAutoencoder(24, 48).weight.detach(), found[0].weight):
        torch.testing.assert_close(weight.norm(dim=0), torch.ones(48), rtol=0, atol=1e-5)


def test_the_price_of_activity_buys_sparsity():
    x, _ = planted(4000)
    l0 = [(train_sae(x, 48, l1, 4, 256, 5e-3).encode(x) > 0).float().sum(-1).mean() for l1 in (0.03, 0.3)]
    assert l0[1] < 0.75 * l0[0]


def test_the_same_seed_gives_the_same_autoencoder():
    x, _ = planted(1000)
    one, two, other = (train_sae(x, epochs=1, batch_size=100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.weight, two.weight) and torch.equal(one.bias, two.bias)
    assert not torch.equal(one.weight, other.weight)
    assert one.weight.shape == (24, 48), "twice as many features as dimensions, as in the paper"
    assert not one.weight.requires_grad and not one.training


def test_encoder_and_decoder_share_one_matrix():
    sae = SparseAutoencoder(2, 3)
    with torch.no_grad():
        sae.weight.copy_(torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]]))
        sae.bias.copy_(torch.tensor([0.0, -1.0, 0.0]))
    h = sae.encode(torch.tensor([[2.0, 0.5], [-1.0, 3.0]]))
    torch.testing.assert_close(h, torch.tensor([[2.0, 0.0, 1.6], [0.0, 2.0, 1.8]]))
    torch.testing.assert_close(sae.decode(h), torch.tensor([[2.96, 1.28], [1.08, 3.44]]))


@pytest.mark.parametrize(
    "x", [torch.zeros(0, 4), torch.tensor([[1.0, torch.nan]]), torch.tensor([[torch.inf]])]
)
def test_rows_that_cannot_be_fitted_are_refused(x):
    with pytest.raises(OthelloEduError, match="at least one row, and finite numbers"):
        train_sae(x)


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


def with_weights(weight, bias):
    sae = SparseAutoencoder(*weight.shape).requires_grad_(False)
    sae.weight.copy_(weight)
    sae.bias.copy_(bias)
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
    with pytest.raises(OthelloEduError, match="the SAE reads 8 dimensions; the model has 16"):
        panel(model, SparseAutoencoder(8, 8), 1, games)
    with pytest.raises(OthelloEduError, match="plies must lie in 0..30"):
        panel(model, plus_and_minus(), 1, games, plies=[31])
