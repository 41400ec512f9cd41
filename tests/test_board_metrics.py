"""Board metrics and sparse probes: known answers on planted activations, and scikit-learn's numbers."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from othello_edu.board_metrics import (
    BoardReader,
    SparseProbe,
    choose_features,
    coverage,
    description_bits,
    properties,
)
from othello_edu.errors import OthelloEduError

N_SQUARES = 5


def boards(n=3000, seed=0):
    return np.random.default_rng(seed).integers(0, 3, (n, N_SQUARES))


def perfect_features(labels, noise=0.0, seed=0):
    """One feature a property, of its own size, and silent where it does not hold."""
    truth = properties(labels).astype(np.float32)
    sizes = np.linspace(0.5, 3, truth.shape[1])
    random = np.random.default_rng(seed)
    wrong = random.random(truth.shape) < noise
    return torch.from_numpy(np.where(wrong, random.random(truth.shape) * sizes * 0.3, truth * sizes)).float()


def test_properties_are_mine_then_theirs():
    assert properties([[0, 1, 2]]).tolist() == [[False, True, False, False, False, True]]


def test_a_feature_for_every_property_covers_all_and_reads_every_board():
    labels = boards()
    feature_acts = perfect_features(labels)
    assert coverage(feature_acts, labels) == 1
    reader = BoardReader().fit(feature_acts, labels)
    new = boards(seed=1)
    new = new[new.any(1)]  # an empty board has no property to find
    assert reader.score(perfect_features(new), new) == 1
    np.testing.assert_array_equal(reader.predict(perfect_features(new)), properties(new))


def test_a_code_that_knows_nothing_scores_as_blind_guessing_does():
    labels = boards()
    feature_acts = torch.rand(len(labels), 8, generator=torch.Generator().manual_seed(0))
    base = properties(labels).mean(0)
    assert coverage(feature_acts, labels) == pytest.approx((2 * base / (1 + base)).mean(), abs=0.01)
    assert BoardReader().fit(feature_acts, labels).score(feature_acts, labels) == 0


def test_coverage_is_what_scikit_learn_finds_one_by_one():
    labels = boards(400)
    feature_acts = perfect_features(labels, noise=0.4)[:, :4]
    truth = properties(labels)
    best = [
        max(
            f1_score(truth[:, p], feature_acts[:, f] > share / 10 * feature_acts[:, f].max())
            for f in range(4)
            for share in range(10)
        )
        for p in range(truth.shape[1])
    ]
    assert coverage(feature_acts, labels) == pytest.approx(np.mean(best), abs=1e-6)


def test_coverage_on_other_games_is_that_of_the_features_that_were_chosen():
    labels, new = boards(600), boards(600, seed=1)
    lucky = torch.rand(600, 300, generator=torch.Generator().manual_seed(0)) < 0.5
    feature_acts = torch.cat([perfect_features(labels)[:, :3], lucky.float()], 1)
    unlucky = torch.rand(600, 300, generator=torch.Generator().manual_seed(1)) < 0.5
    new_feature_acts = torch.cat([perfect_features(new)[:, :3], unlucky.float()], 1)
    assert coverage(feature_acts, labels, new_feature_acts, new) < coverage(feature_acts, labels) - 0.01
    assert coverage(feature_acts, labels, feature_acts, labels) == pytest.approx(
        coverage(feature_acts, labels)
    )


def test_a_property_that_never_occurs_is_left_out():
    labels = boards()
    labels[:, 0] = 1  # mine, always: never theirs
    assert coverage(perfect_features(labels), labels) == 1


def test_a_threshold_is_chosen_where_features_whisper_when_wrong():
    labels = boards()
    feature_acts = perfect_features(labels, noise=0.3)  # wrong activations stay below 0.3 of the largest
    reader = BoardReader().fit(feature_acts, labels)
    largest = feature_acts.amax(0)
    assert (reader.cut / largest).mean() == pytest.approx(0.3, abs=0.05)
    assert (
        reader.score(feature_acts, labels)
        > 0.75
        > BoardReader().fit(feature_acts[:, :3], labels).score(feature_acts[:, :3], labels)
    )


def test_a_feature_that_was_rarely_active_is_not_believed():
    labels = boards(200)
    feature_acts = torch.zeros(200, 1)
    feature_acts[np.flatnonzero(labels[:, 0] == 1)[:5], 0] = 1
    assert not BoardReader().fit(feature_acts, labels).says.any()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(OthelloEduError, match=r"feature_acts has shape \[3, 2\] and labels \[4, 5\]"):
        coverage(torch.zeros(3, 2), boards(4))


# The length of a description ----------------------------------------------------------------------------


def test_bits_by_hand():
    """Of eight rows: always on is free, half of them 1 bit, and each value that can be told apart costs."""
    always = torch.full((8,), 2.0)
    half = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1])
    graded = torch.tensor([0.0, 0, 0, 0, 1, 1, 2, 2])  # 1/2, 1/4, 1/4: 1/2 + 1/2 + 1/2
    never = torch.zeros(8)
    assert description_bits(torch.stack([always, half], 1), 1.0) == 1
    assert description_bits(torch.stack([always, half, graded, never], 1), 1.0) == 2.5
    assert description_bits(graded[:, None], 5.0) == 1, "a coarse step sees only whether it is active"
    assert description_bits(torch.stack([graded, graded], 1), torch.tensor([1.0, 5.0])) == 2.5
    assert description_bits(-half[:, None], 1.0) == 0


def test_rare_features_cost_fewer_bits_than_common_ones_at_the_same_l0():
    common = torch.eye(2).repeat(32, 1)  # one of two is active
    rare = torch.eye(64)  # one of sixty-four
    one = torch.cat([torch.ones(64, 1), torch.zeros(64, 63)], 1)  # always the same one
    assert all(bool((code.sum(1) == 1).all()) for code in (common, rare, one))
    assert description_bits(one, 1.0) == 0 < description_bits(common, 1.0) == 2
    assert description_bits(rare, 1.0) == pytest.approx(6 + 63 * np.log2(64 / 63))  # 64 times H(1/64)


def test_bits_need_rows_and_a_precision():
    with pytest.raises(OthelloEduError, match="step is 0; it must be above 0"):
        description_bits(torch.ones(2, 2), 0)
    with pytest.raises(OthelloEduError, match="step holds numbers that are not above 0"):
        description_bits(torch.ones(2, 2), torch.tensor([1.0, 0.0]))
    with pytest.raises(OthelloEduError, match="no rows"):
        description_bits(torch.ones(0, 2), 1.0)


# Probes of k features -----------------------------------------------------------------------------------


def planted(n=4000, n_features=30, seed=0):
    """Square s is told by features 3 s and 3 s + 1 together; the others are noise."""
    labels = boards(n, seed)
    feature_acts = torch.randn(n, n_features, generator=torch.Generator().manual_seed(seed))
    for square in range(N_SQUARES):
        kind = torch.from_numpy(labels[:, square])
        feature_acts[:, 3 * square] += 3.0 * (kind == 1)
        feature_acts[:, 3 * square + 1] += 2.5 * (kind == 2)
    return feature_acts, labels


def test_the_features_that_tell_are_chosen():
    chosen = choose_features(*planted(), 2)
    assert chosen.sort(1).values.tolist() == [[3 * s, 3 * s + 1] for s in range(N_SQUARES)]


def test_more_features_read_more_and_noise_reads_nothing():
    feature_acts, labels = planted()
    new_feature_acts, new_labels = planted(seed=1)
    shares = [
        SparseProbe(k).fit(feature_acts, labels).score(new_feature_acts, new_labels) for k in (1, 2, 16, 100)
    ]
    assert shares[0] + 0.15 < shares[1] and abs(shares[2] - shares[1]) < 0.02 and shares[3] > shares[1] - 0.02
    noise = SparseProbe(2).fit(feature_acts[:, 15:], labels).score(new_feature_acts[:, 15:], new_labels)
    assert noise == pytest.approx(1 / 3, abs=0.03)


def test_a_sparse_probe_is_scored_on_the_squares_that_are_not_masked():
    feature_acts, labels = planted()
    probe = SparseProbe(1).fit(feature_acts, labels)
    right = probe.predict(feature_acts) == labels
    assert probe.score(feature_acts, labels) == right.mean()
    masked = np.where(right, labels, -1)  # what it misses is not asked
    assert probe.score(feature_acts, masked) == 1
    with pytest.raises(OthelloEduError, match="all labels are masked"):
        probe.score(feature_acts, np.full_like(labels, -1))
    with pytest.raises(OthelloEduError, match="call fit first"):
        SparseProbe(1).score(feature_acts, labels)


def test_a_sparse_probe_is_scikit_learns_regression_on_the_same_features():
    feature_acts, labels = planted(800)
    probe = SparseProbe(3, ridge=1e-3).fit(feature_acts, labels)
    for square in range(2):
        x = probe._inputs(feature_acts, square).numpy()
        theirs = LogisticRegression(C=1 / (1e-3 * len(x)), fit_intercept=False, tol=1e-10, max_iter=5000)
        theirs.fit(x, labels[:, square])
        np.testing.assert_allclose(
            (x @ probe.weight[square].numpy()) - (x @ probe.weight[square].numpy()).mean(1, keepdims=True),
            theirs.decision_function(x) - theirs.decision_function(x).mean(1, keepdims=True),
            atol=1e-4,
        )


def test_squares_that_can_be_told_perfectly_and_squares_that_never_change_are_no_trouble():
    labels = boards(500)
    labels[:, 1] = 2
    feature_acts = perfect_features(labels)
    predicted = SparseProbe(4).fit(feature_acts, labels).predict(feature_acts)
    np.testing.assert_array_equal(predicted, labels)
