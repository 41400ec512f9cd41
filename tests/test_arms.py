"""Two ways of teaching compared: the test finds what is planted, and seldom what is not there."""

import copy

import numpy as np
import pytest
import torch

from othello_edu import GPT, GPTConfig
from othello_edu.errors import OthelloEduError
from othello_edu.reproduction import arms
from othello_edu.reproduction.arms import AGREE, CHANCE, DIFFER, SLIGHTLY, UNCLEAR, compare, compare_pairs

SEEDS = np.random.default_rng(0)


def test_arms_that_differ_in_nothing_are_called_different_once_in_ten():
    found = [compare(SEEDS.normal(size=(6, 9)), 3, 1).p <= CHANCE for _ in range(600)]
    error = np.sqrt(0.1 * 0.9 / len(found))
    assert abs(np.mean(found) - 0.1) < 4 * error


@pytest.mark.parametrize(
    ("shift", "matters", "outcome"), [(9, 5, DIFFER), (9, 10, SLIGHTLY), (0, 9, AGREE), (0, 0.1, UNCLEAR)]
)
def test_a_planted_difference_is_found_and_weighed(shift, matters, outcome):
    noise = np.array([0.0, 1, 2, 0.1, 1.1, 2.1])[:, None] + np.zeros(4)
    found = compare(noise + shift * np.repeat([0, 1], 3)[:, None], 3, matters)
    assert found.outcome == outcome
    assert found.difference == pytest.approx(shift + 0.1) and found.spread == 2
    assert found.means.shape == (2, 4)


def test_found_from_is_the_size_at_which_a_difference_is_found():
    values = SEEDS.normal(size=(6, 5))
    limit = compare(values, 3, 1).found_from
    alone = values - np.repeat([values[:3].mean(0), values[3:].mean(0)], 3, axis=0)
    second = np.repeat([0, 1], 3)[:, None]
    assert compare(alone + 1.01 * limit * second, 3, 1).p == CHANCE
    assert compare(alone + 0.95 * limit * second, 3, 1).p > CHANCE


def table(across, noise):
    """How alike six networks are: 0.9 within an arm, `across` between the arms."""
    arm = np.repeat([0, 1], 3)
    alike = np.where(arm[:, None] == arm, 0.9, across)[..., None] + np.zeros(3)
    noise = noise * SEEDS.normal(size=alike.shape)
    return alike + noise + noise.swapaxes(0, 1)


def test_networks_less_alike_across_the_arms_are_found():
    found = compare_pairs(table(0.7, noise=0.01), 3, matters=0.05)
    assert found.outcome == DIFFER and found.difference == pytest.approx(0.2, abs=0.03)
    within, across = found.means
    assert within.mean() > across.mean()
    assert compare_pairs(table(0.95, noise=0.01), 3, matters=0.5).outcome == AGREE  # more alike: no loss
    chance = [compare_pairs(table(0.9, noise=0.05), 3, 1).p <= CHANCE for _ in range(400)]
    assert np.mean(chance) < 0.1 + 4 * np.sqrt(0.1 * 0.9 / len(chance))


@pytest.mark.parametrize("n_first", [2, 4])
def test_too_few_networks_tell_nothing(n_first):
    with pytest.raises(OthelloEduError, match="each needs three"):
        compare(np.zeros((6, 1)), n_first, 1)
    with pytest.raises(OthelloEduError, match="each needs three"):
        compare_pairs(np.zeros((6, 6, 1)), n_first, 1)


@pytest.fixture
def tiny(monkeypatch):
    """Networks that say nothing, and so few games that they can be measured in a test."""
    monkeypatch.setattr(arms, "FIT_GAMES", 30)
    monkeypatch.setattr(arms, "NEW_GAMES", 20)
    monkeypatch.setattr(arms, "LOSS_GAMES", 10)
    monkeypatch.setattr(arms, "N_CASES", 10)
    monkeypatch.setattr(arms, "SAE_STAGES", (1,))
    monkeypatch.setattr(arms, "SAE_KS", (4, 8))
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(GPT(GPTConfig(n_layer=2, n_head=2, d_model=72)).eval())
    return models


def test_a_network_is_measured_the_same_way_twice_in_everything_that_is_compared(tiny):
    measured = arms.measure(tiny[0])
    assert measured == arms.measure(tiny[0])
    assert {*measured, "readings"} == set(arms.MEASURES)
    assert {name: len(curve) for name, curve in measured.items() if len(curve) > 1} == {
        **dict.fromkeys(("all_squares", "discs", "mine_above_colours", "halves", "reading_writing"), 3),
        **dict.fromkeys(("edited_board", "true_board", "random_push"), 3),
        **dict.fromkeys(("sae_variance", "sae_loss"), 2),
    }
    assert np.isfinite(np.concatenate(list(measured.values()))).all()


def test_probe_subspaces_are_compared_without_common_axes(tiny):
    """The same network with its dimensions shuffled says the same in other words."""
    model, other = tiny
    order = torch.randperm(72, generator=torch.Generator().manual_seed(0))
    turned = copy.deepcopy(model)
    for name, value in turned.state_dict().items():
        if "qkv" in name or "up" in name:  # read the stream
            value.copy_(value[:, order] if name.endswith("weight") else value)
        elif "out" in name or "down" in name:  # write into it
            value.copy_(value[order])
        else:
            value.copy_(value[..., order])
    alike = arms.similarities([model, turned, other])
    assert alike.shape == (3, 3, 3)
    np.testing.assert_allclose(alike[0, 1], 1, atol=1e-3)
    assert (alike[0, 2, 1:] < 0.99).all()
