"""Probes find what is written in a stream, as well as a full solver does, and nothing where nothing is."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from othello_edu.activations import residual_streams
from othello_edu.baselines import MajorityBaseline
from othello_edu.errors import OthelloEduError
from othello_edu.games import random_games, replay
from othello_edu.labels import contents
from othello_edu.pretrained import load_pretrained
from othello_edu.probes import LinearProbe, MLPProbe, accuracy, balanced_accuracy, shuffled


def planted(n_games=60, n_plies=10, d_model=12, n_squares=5, seed=0, offset=0.0):
    """Streams of two stages and, for the second stage only, labels that a matrix can read."""
    random = torch.Generator().manual_seed(seed)
    streams = torch.randn(2, n_games, n_plies, d_model, generator=random)
    directions = torch.randn(d_model, n_squares * 3, generator=random)
    labels = (streams[1] @ directions).view(n_games, n_plies, n_squares, 3).argmax(-1).numpy()
    scales = torch.logspace(-1, 1, d_model)  # some directions vary a hundred times as much as others
    return streams * scales + offset, labels


def halves(streams, labels):
    half = len(labels) // 2
    return (streams[:, :half], labels[:half]), (streams[:, half:], labels[half:])


# What it finds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_planted_labels_are_read_where_they_are_written_and_guessed_elsewhere(offset):
    train, test = halves(*planted(3000, offset=offset))
    elsewhere, where = LinearProbe().fit(*train).score(*test)
    assert where > 0.97
    chance = MajorityBaseline().fit(train[1]).score(test[1])
    assert chance < 0.5 and abs(elsewhere - chance) < 0.06


def test_random_labels_are_guessed_at_chance():
    streams, labels = planted(400)
    random = np.random.default_rng(0).integers(0, 3, labels.shape)
    train, test = halves(streams, random)
    assert np.abs(LinearProbe().fit(*train).score(*test) - 1 / 3).max() < 0.03


def test_few_rows_are_read_as_often_as_they_need():
    train, _ = halves(*planted(20))
    assert len(train[1]) * train[1].shape[1] == 100
    assert LinearProbe().fit(*train).score(*train)[1] > 0.9


@pytest.fixture(scope="module")
def small():
    """Streams of the shipped model and what the player to move sees: 150 games to fit, 120 to judge."""
    games = random_games(270, seed=0)
    streams = residual_streams(load_pretrained("small"), games, stages=[0, 2, 5], plies=range(4, 54))
    return streams, contents(replay(games))[:, 4:54]


def test_as_accurate_as_the_logistic_regression_of_scikit_learn(small):
    streams, labels = small
    predicted = LinearProbe().fit(streams[:, :150], labels[:150]).predict(streams[:, 150:])
    for square in (0, 1, 18, 20, 43):  # a corner, its neighbour, an inner corner, two of the middle
        fitted, judged = labels[:150, :, square].ravel(), labels[150:, :, square].ravel()
        for stage in (1, 2):
            rows, held_out = (part.reshape(-1, 128).numpy() for part in streams[stage].split([150, 120]))
            reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
            reference.fit(rows[fitted >= 0], fitted[fitted >= 0])
            expected = reference.score(held_out[judged >= 0], judged[judged >= 0])
            actual = (predicted[stage, ..., square].ravel() == judged)[judged >= 0].mean()
            assert actual > expected - 0.01, (square, stage)


def test_a_trained_network_holds_more_of_the_board_than_its_embedding_or_the_majority(small):
    streams, labels = small
    probe = LinearProbe().fit(streams[:, :150], labels[:150])
    embedding, _, middle = probe.score(streams[:, 150:], labels[150:])
    majority = MajorityBaseline().fit(labels[:150]).score(labels[150:])
    assert middle > embedding + 0.1 and middle > majority + 0.1


# How it is fitted ---------------------------------------------------------------------------------------


def test_masked_labels_count_for_nothing():
    streams, labels = planted()
    masked = np.random.default_rng(0).random(labels.shape) < 0.3
    masked[3] = True
    twisted = np.where(masked, -1, labels)
    assert (twisted[3] == -1).all()
    probe = LinearProbe().fit(streams, twisted)
    ruined = streams.clone()
    ruined[:, 3] = 1e6 * torch.randn(ruined[:, 3].shape, generator=torch.Generator().manual_seed(1))
    again = LinearProbe().fit(ruined, twisted)
    assert torch.equal(probe.weight, again.weight), "rows masked throughout are not looked at"
    right = probe.predict(streams) == labels
    np.testing.assert_allclose(probe.score(streams, twisted), [row[~masked].mean() for row in right])


def test_a_label_masked_everywhere_is_never_learned():
    streams, labels = planted()
    labels[..., 2] = -1
    probe = LinearProbe().fit(streams, labels)
    assert (probe.weight[:, 2] == 0).all() and (probe.weight[:, 1] != 0).all()


def test_weights_and_biases_reproduce_the_logits():
    streams, labels = planted(offset=3.0)
    probe = LinearProbe().fit(streams, labels)
    assert probe.weight.shape == (2, 5, 3, 12) and probe.bias.shape == (2, 5, 3)
    expected = torch.einsum("sgtd,sqcd->sgtqc", streams, probe.weight) + probe.bias[:, None, None]
    torch.testing.assert_close(probe.logits(streams), expected, rtol=1e-4, atol=1e-3)
    predicted = probe.predict(streams)
    assert predicted.dtype == np.int8 and predicted.shape == (2, 60, 10, 5)
    np.testing.assert_array_equal(predicted, probe.logits(streams).argmax(-1))


def test_a_probe_made_from_weights_reads_as_the_fitted_one_does():
    streams, labels = planted()
    fitted = LinearProbe().fit(streams, labels)
    again = LinearProbe.from_weights(fitted.weight.numpy(), fitted.bias.double())
    assert torch.equal(again.logits(streams), fitted.logits(streams)) and again.bias.dtype == torch.float32
    transposed = LinearProbe.from_weights(fitted.weight.mT.contiguous().mT, fitted.bias)
    assert torch.equal(transposed.logits(streams), fitted.logits(streams)), "wherever it lies in memory"


def test_weights_that_are_no_probe_are_refused():
    weight, bias = torch.zeros(2, 5, 3, 12), torch.zeros(2, 5, 3)
    for wrong in (weight[..., :2, :], weight[0], weight.mT):
        with pytest.raises(OthelloEduError, match=r"weight have shape .*\[n_stages, n_squares, 3, d_model\]"):
            LinearProbe.from_weights(wrong, bias)
    with pytest.raises(OthelloEduError, match=r"bias have shape \[2, 4, 3\]; they must be \[2, 5, 3\]"):
        LinearProbe.from_weights(weight, bias[:, :4])
    with pytest.raises(OthelloEduError, match=r"weight\[0, 0, 0, 0\] is nan"):
        LinearProbe.from_weights(weight.log() - weight.log(), bias)
    with pytest.raises(OthelloEduError, match="nothing to read with"):
        LinearProbe.from_weights(weight[:0], bias[:0])


def test_predictions_of_many_rows_are_those_of_each():
    streams, labels = planted(500)
    probe = LinearProbe().fit(streams[:, :60], labels[:60])
    assert streams[0, ..., 0].numel() > 4096, "more rows than go through at once"
    in_parts = np.concatenate([probe.predict(part) for part in streams.split(7, dim=1)], axis=1)
    np.testing.assert_array_equal(probe.predict(streams), in_parts)


def test_the_same_seed_gives_the_same_probe_and_leaves_the_streams_alone():
    streams, labels = planted()
    before = streams.clone()
    first, second = LinearProbe(seed=1).fit(streams, labels), LinearProbe(seed=1).fit(streams, labels)
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
    assert torch.equal(streams, before)
    assert not torch.equal(LinearProbe(seed=2).fit(streams, labels).weight, first.weight)


def test_stages_are_fitted_independently():
    streams, labels = planted()
    of_both, of_second = LinearProbe().fit(streams, labels), LinearProbe().fit(streams[1:], labels)
    torch.testing.assert_close(of_both.weight[1:], of_second.weight, rtol=1e-4, atol=1e-5)


def test_rows_may_come_flat_and_in_half_precision():
    streams, labels = planted()
    flat, flat_labels = streams.flatten(1, 2), labels.reshape(-1, 5)
    expected = LinearProbe().fit(streams, labels)
    actual = LinearProbe().fit(flat, flat_labels)
    assert torch.equal(actual.weight, expected.weight)
    np.testing.assert_array_equal(actual.score(flat, flat_labels), expected.score(streams, labels))
    half = LinearProbe(epochs=20).fit(streams.half(), labels)
    assert half.weight.dtype == torch.float32 and half.score(streams.half(), labels)[1] > 0.9


def test_a_direction_that_never_varies_does_no_harm():
    streams, labels = planted(400)
    streams[..., 0] = 1.0
    streams[..., 1] = streams[..., 2]
    probe = LinearProbe().fit(streams, labels)
    assert torch.isfinite(probe.weight).all() and probe.score(streams, labels)[1] > 0.8


# Accuracy ----------------------------------------------------------------------------------


def test_accuracy_by_square_by_ply_and_by_game():
    labels = np.array([[[0, 1], [2, 2]], [[0, 2], [-1, -1]]])  # [game, ply, square]
    predicted = np.array([[[0, 1], [2, 0]], [[1, 2], [0, 0]]])
    assert accuracy(predicted, labels) == pytest.approx(4 / 6)
    np.testing.assert_allclose(accuracy(predicted, labels, by="square"), [2 / 3, 2 / 3])
    np.testing.assert_allclose(accuracy(predicted, labels, by="ply"), [3 / 4, 1 / 2])
    np.testing.assert_allclose(accuracy(predicted, labels, by="game"), [3 / 4, 1 / 2])
    stages = np.stack([predicted, labels])
    np.testing.assert_allclose(accuracy(stages, labels), [4 / 6, 1])
    assert accuracy(stages, labels, by="ply").shape == (2, 2)


def test_accuracy_of_nothing_is_not_a_number():
    labels = np.array([[[0, -1]], [[1, -1]]])
    actual = accuracy(np.zeros_like(labels), labels, by="square")
    assert actual[0] == 0.5 and np.isnan(actual[1])


# Errors -------------------------------------------------------------------------------------------------


def test_labels_of_all_plies_are_refused_with_what_to_do():
    streams, labels = planted()
    longer = np.concatenate([labels, labels[:, :1]], axis=1)
    for act in (LinearProbe().fit, LinearProbe().fit(streams, labels).score):
        with pytest.raises(
            OthelloEduError, match=r"do not describe the same rows: .*e\.g\. labels\[:, :-1\]"
        ):
            act(streams, longer)


@pytest.mark.parametrize("wrong", [3, -2])
def test_labels_that_are_no_contents_are_refused(wrong):
    streams, labels = planted()
    labels[0, 0, 0] = wrong
    with pytest.raises(OthelloEduError, match="labels must be 0, 1, 2 or -1"):
        LinearProbe().fit(streams, labels)


def test_a_probe_with_nothing_to_fit_or_not_fitted_says_so():
    streams, labels = planted()
    with pytest.raises(OthelloEduError, match="every row of the labels is masked"):
        LinearProbe().fit(streams, np.full_like(labels, -1))
    for act in (LinearProbe().logits, LinearProbe().predict):
        with pytest.raises(OthelloEduError, match="not fitted: call fit first"):
            act(streams)


def test_streams_of_another_model_are_refused():
    streams, labels = planted()
    probe = LinearProbe().fit(streams, labels)
    for wrong in (streams[:1], streams[..., :4]):
        with pytest.raises(OthelloEduError, match=r"this probe was fitted on \[2, …, 12\]"):
            probe.predict(wrong)


def test_accuracy_refuses_what_does_not_fit():
    labels = np.zeros((2, 3, 4), int)
    with pytest.raises(OthelloEduError, match="by is 'tile'"):
        accuracy(labels, labels, by="tile")
    for predicted, truth in ((labels[:, :2], labels), (labels[0], labels[0])):
        with pytest.raises(OthelloEduError, match="must end in the same"):
            accuracy(predicted, truth)


# Without a bias, with a hidden layer, with labels that mean nothing ----------------------------------------


def test_a_probe_without_bias_has_none_and_is_scikit_learns():
    streams, labels = planted(600)
    train, test = halves(streams, labels)
    probe = LinearProbe(epochs=20, with_bias=False).fit(*train)
    assert not probe.bias.any() and probe.score(*test)[1] > 0.95
    x, y = train[0][1].reshape(-1, 12), train[1].reshape(-1, 5)
    reference = LogisticRegression(C=1e4, fit_intercept=False, max_iter=5000)
    for square in range(2):
        reference.fit(x.numpy(), y[:, square])
        expected = reference.score(test[0][1].reshape(-1, 12).numpy(), test[1][..., square].ravel())
        actual = (probe.predict(test[0])[1, ..., square] == test[1][..., square]).mean()
        assert actual > 0.96 and actual == pytest.approx(expected, abs=0.03)


def test_a_probe_without_bias_reads_less_where_the_answer_is_an_offset():
    """One square always holds the same; nothing in centred streams says so."""
    streams, labels = planted(300)
    labels = np.full_like(labels, 2)
    with_bias, without = (LinearProbe(with_bias=kind).fit(streams, labels) for kind in (True, False))
    assert with_bias.score(streams, labels)[0] == 1 > without.score(streams, labels)[0] + 0.1


def test_a_hidden_layer_computes_what_a_matrix_cannot_read():
    random = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (1, 800, 5, 2), generator=random) * 2.0 - 1
    labels = ((signs[0].prod(-1) > 0) + 1).long().numpy()[..., None]  # mine where the signs agree
    streams = torch.cat([signs, 0.1 * torch.randn(1, 800, 5, 4, generator=random)], -1)
    train, test = halves(streams, labels)
    assert LinearProbe().fit(*train).score(*test)[0] < 0.6
    assert MLPProbe(hidden=32, epochs=20, learning_rate=0.01).fit(*train).score(*test)[0] > 0.97


def test_a_hidden_layer_reads_what_a_matrix_reads_and_masks_are_left_out():
    streams, labels = planted(1500)
    labels[:, 3] = -1
    labels[::2, :, 1] = -1
    train, test = halves(streams, labels)
    probe = MLPProbe(hidden=64, epochs=20).fit(*train)
    elsewhere, where = probe.score(*test)
    assert where > 0.93 and elsewhere < 0.5
    assert probe.logits(test[0]).shape == (*test[0].shape[:-1], 5, 3)
    poisoned = train[0].clone()
    poisoned[:, :, 3] = 1e4  # rows that are masked throughout
    again = MLPProbe(hidden=64, epochs=20).fit(poisoned, train[1])
    torch.testing.assert_close(again.out, probe.out)
    same = MLPProbe(hidden=64, epochs=20).fit(*train)
    assert torch.equal(same.weight, probe.weight)


def test_shuffled_labels_stay_at_their_ply_and_masks_stay_in_place():
    _, labels = planted(50)
    labels[:, :, 0] = np.arange(10) % 3  # what lies on square 0 depends on the ply alone
    labels[7, 4:] = -1
    mixed = shuffled(labels, seed=3)
    np.testing.assert_array_equal(mixed == -1, labels == -1)
    np.testing.assert_array_equal(mixed[..., 0], labels[..., 0])
    for ply in range(10):
        boards = [sorted(map(tuple, array[:, ply])) for array in (labels, mixed)]
        assert boards[0] == boards[1]
    assert (mixed != labels).mean() > 0.3 and np.array_equal(mixed, shuffled(labels, seed=3))


def test_on_shuffled_labels_a_probe_finds_no_more_than_the_majority():
    streams, labels = planted(3000)
    train, test = halves(streams, labels)
    actual = LinearProbe().fit(train[0], shuffled(train[1], seed=0)).score(*test)[1]
    assert actual < MajorityBaseline().fit(train[1]).score(test[1]) + 0.03


def test_balanced_accuracy_is_the_mean_over_classes():
    labels = np.array([[[0, 0, 0, 0, 0, 0, 1, 1, 2, -1]]])
    assert balanced_accuracy(np.zeros_like(labels), labels) == pytest.approx(1 / 3)
    assert balanced_accuracy(np.array([[[0, 0, 0, 0, 0, 0, 1, 2, 2, 0]]]), labels) == pytest.approx(2.5 / 3)
