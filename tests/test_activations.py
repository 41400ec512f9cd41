"""Residual streams of many games: what the network computes, in the memory that was asked for."""

import numpy as np
import pytest
import torch

from othello_edu.activations import mlp_activations, residual_streams
from othello_edu.errors import OthelloEduError
from othello_edu.evaluation import evaluate
from othello_edu.games import random_games, tokens
from othello_edu.model import GPT, GPTConfig


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GPT(GPTConfig(board_size=6, n_layer=3, n_head=2, d_model=16)).eval()


@pytest.fixture(scope="module")
def games():
    return random_games(25, seed=2, board_size=6)


@pytest.fixture(scope="module")
def cache(model, games):
    with torch.no_grad():
        return model.run_with_cache(tokens(games))[1]


def test_residual_streams_are_those_of_the_cache(model, games, cache):
    streams = residual_streams(model, games)
    assert streams.shape == (4, 25, 31, 16) and streams.dtype == torch.float32
    torch.testing.assert_close(streams, cache["resid_post"], rtol=0, atol=1e-5)
    assert not streams.requires_grad


def test_mlp_activations_are_those_of_the_cache(model, games, cache):
    neurons = mlp_activations(model, games)
    assert neurons.shape == (3, 25, 31, 64)
    torch.testing.assert_close(neurons, cache["mlp_post"], rtol=0, atol=1e-5)
    subset = mlp_activations(model, games, blocks=[2, 0], plies=[4])
    torch.testing.assert_close(subset, cache["mlp_post"][[2, 0]][:, :, [4]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 25, 1000])
def test_the_batch_size_changes_nothing(model, games, cache, batch_size):
    streams = residual_streams(model, games, batch_size=batch_size)
    torch.testing.assert_close(streams, cache["resid_post"], rtol=0, atol=1e-5)


def test_some_stages_and_plies_in_any_order(model, games, cache):
    streams = residual_streams(model, games, stages=[3, 0], plies=[30, 2, 5])
    torch.testing.assert_close(streams, cache["resid_post"][[3, 0]][:, :, [30, 2, 5]], rtol=0, atol=1e-5)
    middle = residual_streams(model, games, stages=(1,), plies=range(4, 9))
    torch.testing.assert_close(middle, cache["resid_post"][[1], :, 4:9], rtol=0, atol=1e-5)


def test_streams_can_go_to_a_file_on_disk(model, games, cache, tmp_path):
    shape = (2, 25, 31, 16)
    file = np.lib.format.open_memmap(tmp_path / "streams.npy", "w+", np.float16, shape)
    streams = residual_streams(model, games, stages=[1, 2], out=file, batch_size=8)
    file.flush()
    written = np.load(tmp_path / "streams.npy")
    assert streams.dtype == torch.float16
    np.testing.assert_array_equal(written, streams.numpy())
    np.testing.assert_allclose(written, cache["resid_post"][1:3], atol=2e-3)
    assert np.abs(written).max() > 0.01


def test_streams_can_go_to_a_tensor_in_its_own_precision(model, games, cache):
    out = torch.full((4, 25, 31, 16), torch.nan, dtype=torch.float64)
    assert residual_streams(model, games, out=out) is out
    torch.testing.assert_close(out.float(), cache["resid_post"], rtol=0, atol=1e-5)
    half = residual_streams(model, games, dtype=torch.float16)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), cache["resid_post"], rtol=0, atol=2e-3)


def test_only_a_batch_of_games_is_in_the_network_at_a_time(model, games):
    sizes = []
    handle = model.blocks[0].register_forward_hook(lambda block, inputs, output: sizes.append(len(output)))
    try:
        residual_streams(model, games, batch_size=10)
    finally:
        handle.remove()
    assert sizes == [10, 10, 5]


def test_dropout_is_off_and_the_mode_is_as_before(games):
    torch.manual_seed(0)
    model = GPT(GPTConfig(board_size=6, n_layer=1, n_head=2, d_model=16, dropout=0.5))
    assert torch.equal(residual_streams(model, games), residual_streams(model, games))
    assert model.training
    residual_streams(model.eval(), games)
    assert not model.training


def test_no_games_give_no_rows(model, games):
    assert residual_streams(model, games[:0]).shape == (4, 0, 31, 16)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"stages": [4]}, r"no activation \('resid_post', 4\)"),
        ({"stages": [-1]}, r"no activation \('resid_post', -1\)"),
        ({"stages": [1, 1]}, r"\[1, 1\] names a stage or block twice"),
        ({"plies": [31]}, r"plies must lie in 0\.\.30"),
        ({"plies": [-1]}, r"plies must lie in 0\.\.30"),
        (
            {"out": np.zeros((4, 25, 32, 16), np.float32)},
            r"out has shape \(4, 25, 32, 16\); .*\(4, 25, 31, 16\)",
        ),
    ],
)
def test_what_does_not_exist_is_refused_by_name(model, games, arguments, message):
    with pytest.raises(OthelloEduError, match=message):
        residual_streams(model, games, **arguments)


@pytest.mark.parametrize("function", [residual_streams, mlp_activations])
def test_games_on_another_board_are_refused(model, function):
    with pytest.raises(OthelloEduError, match="the model plays 6x6, the games are on 4x4"):
        function(model, random_games(2, seed=0, board_size=4))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reads", [residual_streams, mlp_activations, evaluate])
def test_a_model_keeps_its_mode_whatever_ends_the_reading(monkeypatch, reads, training, error):
    model, games = GPT(GPTConfig(board_size=4, n_layer=1, n_head=2, d_model=16)), random_games(8, 1, 4)
    model.train(training)

    def stop(*arguments, **keywords):
        assert not model.training
        raise error

    monkeypatch.setattr(model, "forward", stop)
    with pytest.raises(error):
        reads(model, games)
    assert model.training == training
    monkeypatch.undo()
    reads(model, games)
    assert model.training == training
