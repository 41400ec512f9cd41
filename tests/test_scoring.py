"""Scores of features: equal to scikit-learn's, exact with ties, and not fooled by the move number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from othello_edu.errors import OthelloEduError
from othello_edu.scoring import (
    auroc,
    auroc_resampled,
    auroc_within,
    bootstrap_interval,
    f1,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sklearn_auroc(scores, labels):
    return np.array([[roc_auc_score(label, score) for label in labels.T] for score in scores.T])


# AUROC ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["smooth", "sparse", "few values", "negative zeros", "tiny and huge"])
def test_auroc_equals_scikit_learns(rng, kind, dtype):
    n = 3000
    scores = {
        "smooth": rng.standard_normal((n, 7)),
        "sparse": np.maximum(rng.standard_normal((n, 7)) - 1.5, 0),
        "few values": rng.integers(-2, 3, (n, 7)),
        "negative zeros": rng.choice([-0.0, 0.0, 1.0, -1.0], (n, 7)),
        "tiny and huge": rng.choice([1e-40, -1e-40, 1e30, -1e30, 0.0], (n, 7)) * rng.integers(1, 4, (n, 7)),
    }[kind].astype(dtype)
    labels = rng.random((n, 5)) < (0.002, 0.05, 0.3, 0.5, 0.99)
    actual = auroc(scores, labels)
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, sklearn_auroc(scores, labels), rtol=0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_auroc_counts_the_pairs_in_the_right_order(seed, n, n_values):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, n_values, (n, 1)).astype(float) - 1, rng.random((n, 1)) < 0.5
    true, false = scores[labels], scores[~labels]
    actual = auroc(scores, labels)[0, 0]
    if len(true) and len(false):
        ahead, level = (true[:, None] > false).sum(), (true[:, None] == false).sum()
        assert actual == (ahead + level / 2) / (len(true) * len(false))
    else:
        assert np.isnan(actual)


def test_auroc_needs_no_more_than_the_order_of_the_scores(rng):
    scores, labels = rng.standard_normal((500, 3)), rng.random((500, 4)) < 0.4
    plain = auroc(scores, labels)
    np.testing.assert_array_equal(auroc(np.exp(scores), labels), plain)
    np.testing.assert_allclose(auroc(-scores, labels), 1 - plain, atol=1e-15)
    np.testing.assert_allclose(auroc(scores, ~labels), 1 - plain, atol=1e-15)


def test_a_perfect_score_has_auroc_one_and_a_constant_score_one_half(rng):
    labels = rng.random((100, 1)) < 0.5
    scores = np.column_stack([labels, ~labels, np.zeros(100), np.full(100, -3.0)]).astype(np.float32)
    assert auroc(scores, labels).ravel().tolist() == [1.0, 0.0, 0.5, 0.5]


def test_auroc_is_nan_where_a_label_is_constant(rng):
    labels = np.column_stack([np.zeros(50, bool), np.ones(50, bool), rng.random(50) < 0.5])
    actual = auroc(rng.standard_normal((50, 2)), labels)
    assert np.isnan(actual).tolist() == [[True, True, False]] * 2


def test_auroc_is_the_same_in_blocks(rng, monkeypatch):
    scores, labels = rng.standard_normal((300, 9)).astype(np.float32), rng.random((300, 4)) < 0.4
    whole = auroc(scores, labels)
    monkeypatch.setattr("othello_edu.scoring._BLOCK", 600)  # two columns at a time
    monkeypatch.setattr("othello_edu.scoring._ROWS", 70)
    np.testing.assert_array_equal(auroc(scores, labels), whole)


def test_torch_tensors_score_as_arrays_do(rng):
    scores, labels = rng.standard_normal((200, 3)).astype(np.float32), rng.random((200, 2)) < 0.4
    features = torch.tensor(scores, requires_grad=True)
    np.testing.assert_array_equal(auroc(features, torch.tensor(labels)), auroc(scores, labels))
    half = torch.tensor(scores).bfloat16()
    np.testing.assert_array_equal(auroc(half, labels), auroc(half.float().numpy(), labels))
    np.testing.assert_array_equal(f1(features > 0, torch.tensor(labels)), f1(scores > 0, labels))


def test_auroc_leaves_its_inputs_as_they_were(rng):
    scores, labels = rng.standard_normal((50, 3)), rng.random((50, 2)) < 0.4
    before = scores.copy(), labels.copy()
    auroc(scores, labels)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused_by_row_and_column(bad):
    scores = np.zeros((10, 4), np.float32)
    scores[7, 2] = bad
    with pytest.raises(OthelloEduError, match="row 7, column 2"):
        auroc(scores, np.zeros((10, 1), bool))


def test_shapes_and_types_that_do_not_fit_are_refused():
    scores, labels = np.zeros((10, 4)), np.zeros((10, 2), bool)
    with pytest.raises(OthelloEduError, match="scores have shape"):
        auroc(scores[:, 0], labels)
    with pytest.raises(OthelloEduError, match="labels have shape"):
        auroc(scores, labels[:9])
    with pytest.raises(OthelloEduError, match="labels have shape"):
        auroc(scores, labels[:, 0])
    with pytest.raises(OthelloEduError, match="must be bool"):
        auroc(scores, labels.astype(int))
    with pytest.raises(OthelloEduError, match="real numbers"):
        auroc(scores.astype(complex), labels)
    with pytest.raises(OthelloEduError, match="active is float64"):
        f1(scores, labels)
    with pytest.raises(OthelloEduError, match="labels have shape"):
        f1(scores > 0, labels[:9])
    with pytest.raises(OthelloEduError, match="groups have shape"):
        auroc_within(scores, labels, np.zeros(9, int))


def test_no_scores_and_no_labels_give_empty_tables():
    assert auroc(np.zeros((10, 0)), np.zeros((10, 2), bool)).shape == (0, 2)
    assert auroc(np.zeros((10, 3)), np.zeros((10, 0), bool)).shape == (3, 0)
    assert np.isnan(auroc(np.zeros((0, 3)), np.zeros((0, 2), bool))).all()


# Within groups ----------------------------------------------------------------------------------------


def test_a_score_that_is_only_the_ply_is_worth_nothing_within_a_ply(rng):
    ply = np.repeat(np.arange(60), 50)
    labels = rng.random((3000, 4)) < ply[:, None] / 60  # likelier later in the game, as stable discs are
    scores = np.column_stack([ply, np.exp(ply / 10)])
    assert (auroc(scores, labels) > 0.75).all()
    assert (auroc_within(scores, labels, ply) == 0.5).all()


def test_a_score_that_knows_more_than_the_ply_keeps_its_worth_within_a_ply(rng):
    ply = np.repeat(np.arange(60), 50)
    labels = rng.random((3000, 1)) < 0.5
    knows = labels + 0.5 * rng.standard_normal((3000, 1))
    within = auroc_within(np.column_stack([knows, knows + ply[:, None]]), labels, ply)
    assert (within > 0.85).all()
    assert within[0] == within[1], "adding the ply changes nothing within one"
    assert auroc(knows + ply[:, None], labels)[0, 0] < 0.6


def test_auroc_within_is_the_average_weighted_by_pairs(rng):
    groups = rng.integers(0, 5, 400) * 10
    scores, labels = rng.integers(0, 6, (400, 3)), rng.random((400, 2)) < 0.2
    labels[groups == 20] = True  # no pair in this group
    total, weight = np.zeros((3, 2)), np.zeros(2)
    for group in (0, 10, 30, 40):
        rows = groups == group
        pairs = labels[rows].sum(0) * (~labels[rows]).sum(0)
        total += sklearn_auroc(scores[rows], labels[rows]) * pairs
        weight += pairs
    np.testing.assert_allclose(auroc_within(scores, labels, groups), total / weight, atol=1e-12)
    assert np.isnan(auroc_within(scores, np.ones((400, 1), bool), groups)).all()


# F1 ---------------------------------------------------------------------------------------------------


def resampled_case(rng, n_games=12, n_plies=9, k=3):
    scores = rng.integers(0, 5, (n_games * n_plies, k)).astype(np.float32)
    labels = rng.random((n_games * n_plies, k)) < 0.2 + 0.1 * scores
    games, plies = np.divmod(np.arange(n_games * n_plies), n_plies)
    return scores, labels, games, plies


def test_auroc_on_resampled_games_is_auroc_of_the_repeated_rows(rng):
    scores, labels, games, plies = resampled_case(rng)
    everywhere = auroc_resampled(scores, labels, games, seed=3, n_resamples=20)
    at_same_ply = auroc_resampled(scores, labels, games, 3, groups=plies, n_resamples=20)
    assert everywhere.shape == at_same_ply.shape == (21, 3)
    drawn = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), 20)
    for draw, times in enumerate(np.concatenate([np.ones((1, 12), int), drawn])):
        rows = np.repeat(np.arange(len(games)), times[games])
        expected = auroc(scores[rows], labels[rows]).diagonal()
        np.testing.assert_allclose(everywhere[draw], expected, rtol=1e-12)
        expected = auroc_within(scores[rows], labels[rows], plies[rows]).diagonal()
        np.testing.assert_allclose(at_same_ply[draw], expected, rtol=1e-12)


def test_each_label_may_count_rows_of_its_own(rng):
    scores, labels, games, plies = resampled_case(rng)
    among = rng.random(labels.shape) < 0.5
    actual = auroc_resampled(scores, labels, games, 0, groups=plies, among=among, n_resamples=0)[0]
    for k, rows in enumerate(among.T):
        expected = auroc_within(scores[rows][:, [k]], labels[rows][:, [k]], plies[rows])
        np.testing.assert_allclose(actual[k], expected[0, 0], rtol=1e-12)
    labels[:, 1] = True
    assert np.isnan(auroc_resampled(scores, labels, games, 0, n_resamples=5)[:, 1]).all()


def test_an_auroc_that_is_all_ply_comes_out_as_all_ply(rng):
    """The planted confound: label and score both grow with the ply and have nothing else in common."""
    games, plies = np.divmod(np.arange(400 * 30), 30)
    label = rng.random(len(plies)) < plies / 30
    score = (plies + rng.normal(0, 2, len(plies))).astype(np.float32)
    everywhere, within = (
        auroc_resampled(score[:, None], label[:, None], games, 0, groups=groups)[:, 0]
        for groups in (None, plies)
    )
    assert everywhere[0] > 0.8
    low, high = np.quantile(within[1:], [0.025, 0.975])
    assert low < 0.5 < high and high - low < 0.05


def test_resampling_refuses_columns_that_do_not_belong_together(rng):
    scores, labels, games, _ = resampled_case(rng)
    with pytest.raises(OthelloEduError, match="each score has its own label"):
        auroc_resampled(scores[:, :2], labels, games, 0)
    with pytest.raises(OthelloEduError, match=r"games have shape \[5\]; they must be \[108\]"):
        auroc_resampled(scores, labels, games[:5], 0)
    scores[4, 1] = np.nan
    with pytest.raises(OthelloEduError, match="finite"):
        auroc_resampled(scores, labels, games, 0)


def test_f1_equals_scikit_learns(rng):
    active = rng.random((20_000, 6)) < (0, 0.01, 0.1, 0.5, 0.9, 1)
    labels = rng.random((20_000, 4)) < (0, 0.05, 0.5, 1)
    expected = [[f1_score(label, feature, zero_division=0) for label in labels.T] for feature in active.T]
    np.testing.assert_allclose(f1(active, labels), expected, rtol=1e-12)


def test_f1_of_a_silent_feature_is_zero_and_of_a_perfect_one_is_one():
    labels = np.array([[True, False], [False, False], [True, False]])
    assert f1(labels, labels).tolist() == [[1.0, 0.0], [0.0, 0.0]]


# Uncertainty ------------------------------------------------------------------------------------------


def test_an_interval_of_a_mean_agrees_with_the_normal_one(rng):
    values = rng.standard_normal((400, 2)) + (0, 5)
    low, high = bootstrap_interval(values, 400, seed=1, n_resamples=4000)
    half = 1.96 * values.std(axis=0) / np.sqrt(400)
    np.testing.assert_allclose(low, values.mean(axis=0) - half, atol=0.015)
    np.testing.assert_allclose(high, values.mean(axis=0) + half, atol=0.015)


def test_intervals_hold_the_truth_about_as_often_as_they_promise(rng):
    samples = rng.exponential(1.0, (80, 400))  # 400 experiments of 80 games
    low, high = bootstrap_interval(samples, 80, seed=0, n_resamples=300, level=0.9)
    assert 0.82 < np.mean((low <= 1.0) & (high >= 1.0)) < 0.94


def test_resampling_games_admits_that_positions_of_one_game_are_alike(rng):
    # 40 games of 50 positions that differ between games only: there are 40 facts here, not 2000.
    per_game = rng.standard_normal(40)
    positions = np.repeat(per_game, 50)
    low, high = bootstrap_interval(lambda games: positions.reshape(40, 50)[games].mean(), 40, seed=0)
    naive_low, naive_high = bootstrap_interval(positions, 2000, seed=0)
    assert high - low > 4 * (naive_high - naive_low)


def test_an_interval_takes_any_statistic_of_the_games_and_repeats_with_its_seed(rng):
    scores, labels = rng.standard_normal((30, 20, 2)), rng.random((30, 20, 3)) < 0.5

    def statistic(games):
        return auroc(scores[games].reshape(-1, 2), labels[games].reshape(-1, 3))

    low, high = bootstrap_interval(statistic, 30, seed=2, n_resamples=50)
    assert low.shape == high.shape == (2, 3)
    assert (low < statistic(np.arange(30))).all() and (statistic(np.arange(30)) < high).all()
    np.testing.assert_array_equal(bootstrap_interval(statistic, 30, seed=2, n_resamples=50)[0], low)
    assert (bootstrap_interval(statistic, 30, seed=3, n_resamples=50)[0] != low).any()


def test_an_interval_refuses_what_it_cannot_resample():
    with pytest.raises(OthelloEduError, match="statistic has shape"):
        bootstrap_interval(np.zeros(10), 11, seed=0)
    with pytest.raises(OthelloEduError, match="n_games is 0"):
        bootstrap_interval(np.zeros(0), 0, seed=0)
    with pytest.raises(OthelloEduError, match="level is 95"):
        bootstrap_interval(np.zeros(10), 10, seed=0, level=95)
