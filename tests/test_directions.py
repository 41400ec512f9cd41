"""Sets of directions: principal components are scikit-learn's, random ones have no favourite, cosines."""

import numpy as np
import pytest
import torch

from othello_edu.directions import (
    best_cosines,
    both_signs,
    cosines,
    principal_components,
    random_directions,
    stretched,
)
from othello_edu.errors import OthelloEduError


def correlated(n=2000, d=6, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=random) @ torch.randn(d, d, generator=random) + 3


def test_principal_components_are_scikit_learns():
    from sklearn.decomposition import PCA

    x = correlated()
    ours, shares = principal_components(x)
    theirs = PCA(6).fit(x.numpy())
    components = torch.from_numpy(theirs.components_).T
    torch.testing.assert_close((ours * components).sum(0).abs(), torch.ones(6), rtol=0, atol=1e-4)
    np.testing.assert_allclose(shares, theirs.explained_variance_ratio_, atol=1e-6)


def test_both_signs_are_each_direction_and_then_each_opposite():
    directions = random_directions(6, 4, seed=0)
    torch.testing.assert_close(both_signs(directions)[:, 4:], -directions)
    assert torch.equal(both_signs(directions)[:, :4], directions)


def test_random_directions_have_length_one_no_favourite_and_a_seed():
    directions = random_directions(8, 4000, seed=3)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(4000))
    assert directions.mean(1).abs().max() < 0.03
    assert torch.equal(directions, random_directions(8, 4000, seed=3))
    assert not torch.equal(directions, random_directions(8, 4000, seed=4))


def test_stretched_directions_spread_as_the_rows_do():
    x = correlated(20_000)
    components, shares = principal_components(x)
    directions = stretched(random_directions(6, 20_000, seed=0), x)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(20_000))
    spread = (components.T @ directions).square().mean(1)
    assert (spread.diff() < 0).all() and spread[0] > 1.5 / 6
    round_cloud = torch.cat([torch.eye(6), -torch.eye(6)])
    plain = random_directions(6, 50, seed=1)
    torch.testing.assert_close(stretched(plain, round_cloud), plain, rtol=0, atol=1e-5)


def test_cosines_do_not_depend_on_lengths_and_know_opposites():
    directions = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 3.0]])
    table = cosines(directions, torch.tensor([[-2.0, 1.0], [0.0, 1.0]]))
    half = 0.5**0.5
    torch.testing.assert_close(table, torch.tensor([[-1, half], [0, half], [-half, 1.0]]))


def test_a_permuted_dictionary_agrees_with_itself_and_a_random_one_does_not():
    directions = random_directions(64, 40, seed=0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(best_cosines(directions, 3 * directions[:, order]), torch.ones(40))
    assert best_cosines(directions, random_directions(64, 40, seed=2)).mean() < 0.5


def test_directions_that_cannot_be_compared_are_refused():
    with pytest.raises(OthelloEduError, match="others has shape|others"):
        best_cosines(torch.eye(3), torch.eye(4))
    with pytest.raises(OthelloEduError, match="others hold no directions to compare with"):
        best_cosines(torch.eye(3), torch.zeros(3, 0))
