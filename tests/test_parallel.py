"""Several threads and several processes find the gradient that one finds, and train the same network."""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from othello_edu import parallel, training
from othello_edu.checkpoints import CHECKPOINT, LOG, read_run
from othello_edu.errors import OthelloEduError
from othello_edu.games import PADDING, encode_moves, random_games
from othello_edu.labels import legal_distribution
from othello_edu.model import GPT, GPTConfig
from othello_edu.parallel import BatchGradient, Processes, fastest_precision
from othello_edu.presets import PRESETS, TrainingConfig
from othello_edu.training import train

TINY = GPTConfig(board_size=4, n_layer=2, n_head=2, d_model=16)


def plain_gradient(model, sequences):
    """Loss and gradient as everybody writes them first."""
    model.zero_grad()
    logits = model(sequences[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten(), ignore_index=PADDING)
    loss.backward()
    return loss.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(TINY)


@pytest.fixture
def three_threads(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.setattr(parallel, "SMALLEST_SLICE", 1)
    yield
    torch.set_num_threads(before)


# 4x4 games end early, so that slices have different numbers of moves.
GAMES = random_games(20, seed=1, board_size=4)
SEQUENCES = encode_moves(GAMES.moves, 4)
BATCH = SEQUENCES[:, :-1], SEQUENCES[:, 1:]
BATCH_OF_TWO = BATCH[0][:2], BATCH[1][:2]


def test_slices_of_a_batch_add_up_to_the_gradient_of_the_batch(model, three_threads):
    expected = plain_gradient(model, SEQUENCES)
    gradient = BatchGradient(model, "float32", len(SEQUENCES))
    assert len(gradient.flat) == 3
    for _ in range(2):  # the second time over the first one's gradient, which somebody has thrown away
        model.zero_grad()
        loss = gradient(*BATCH)
        torch.testing.assert_close(loss, expected[0])
        torch.testing.assert_close([p.grad for p in model.parameters()], expected[1])
    assert torch.get_num_threads() == 3


def test_slices_see_the_weights_that_an_optimiser_has_moved(model, three_threads):
    gradient = BatchGradient(model, "float32", len(SEQUENCES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    copy = GPT(TINY)
    copy.load_state_dict(model.state_dict())
    expected = plain_gradient(copy, SEQUENCES)
    torch.testing.assert_close(gradient(*BATCH), expected[0])
    torch.testing.assert_close([p.grad for p in model.parameters()], expected[1])


def test_a_batch_smaller_than_the_number_of_threads_is_read_whole(model, three_threads):
    expected = plain_gradient(model, SEQUENCES[:2])
    gradient = BatchGradient(model, "float32", len(SEQUENCES))
    gradient(*BATCH)
    torch.testing.assert_close(gradient(*BATCH_OF_TWO), expected[0])
    torch.testing.assert_close([p.grad for p in model.parameters()], expected[1])


def test_with_dropout_there_is_one_thread_so_that_training_can_be_repeated(three_threads):
    model = GPT(GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8, dropout=0.1))
    assert len(BatchGradient(model, "float32", 20).flat) == 1


@pytest.mark.parametrize("precision, within", [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_slices_add_up_with_distributions_as_targets(model, three_threads, precision, within):
    distribution = legal_distribution(GAMES)
    log_p = model(BATCH[0]).log_softmax(-1)
    expected = -(log_p * distribution).sum() / distribution.sum()
    expected.backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
    gradient = BatchGradient(model, precision, len(GAMES))
    assert len(gradient.flat) == 3
    assert gradient(BATCH[0], distribution).item() == pytest.approx(expected.item(), rel=within)
    actual = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(actual, gradients, rtol=0, atol=within * gradients.abs().max().item())


def test_an_error_in_a_thread_reaches_the_caller(model, three_threads):
    gradient = BatchGradient(model, "float32", len(SEQUENCES))
    with pytest.raises(OthelloEduError, match="tokens hold"):
        gradient(SEQUENCES[:, :-1] + 100, SEQUENCES[:, 1:])


def test_bfloat16_is_a_rounded_gradient_and_leaves_weights_in_float32(model):
    loss, expected = plain_gradient(model, SEQUENCES)
    gradient = BatchGradient(model, "bfloat16", len(SEQUENCES))
    assert gradient(*BATCH).item() == pytest.approx(loss.item(), rel=1e-2)
    actual = torch.cat([p.grad.flatten() for p in model.parameters()])
    expected = torch.cat([g.flatten() for g in expected])
    assert F.cosine_similarity(actual, expected, dim=0) > 0.999
    assert not torch.equal(actual, expected)
    assert (
        {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {torch.float32}
    )


@pytest.mark.parametrize(
    "seconds, expected",
    [((3.0, 1.0), "bfloat16"), ((1.4, 1.0), "float32"), ((1.0, 8.0), "float32")],
)
def test_bfloat16_is_chosen_where_it_is_half_as_fast_again(monkeypatch, seconds, expected):
    def clock():
        now = 0.0
        while True:
            for duration in seconds:  # of float32, then of bfloat16
                yield now
                now += duration
                yield now

    ticks = clock()
    monkeypatch.setattr(parallel.time, "perf_counter", lambda: next(ticks))
    assert fastest_precision("cpu") == expected


def test_compiled_the_gradient_is_the_same(model, three_threads, monkeypatch):
    compiling = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compiling(module, backend="eager"))
    expected = plain_gradient(model, SEQUENCES)
    gradient = BatchGradient(model, "float32", len(SEQUENCES), compiled=True)
    assert len(gradient.flat) == 1, "torch.compile traces in one thread only"
    torch.testing.assert_close(gradient(*BATCH), expected[0])
    torch.testing.assert_close([p.grad for p in model.parameters()], expected[1])
    distribution = F.one_hot(BATCH[1], model.config.vocab_size).float()
    distribution[..., PADDING] = 0
    torch.testing.assert_close(gradient(BATCH[0], distribution), expected[0])
    torch.testing.assert_close([p.grad for p in model.parameters()], expected[1])


def test_alone_a_process_is_the_first_of_one_and_speaks_for_all():
    alone, weights = Processes(), torch.ones(3)
    assert (alone.rank, alone.n) == (0, 1) and alone.first
    assert alone.any(True) and not alone.any(False) and alone.agree(7)
    alone.broadcast([weights]), alone.all_reduce(weights)
    assert torch.equal(weights, torch.ones(3))


# Several processes ------------------------------------------------------------------------------------------

PRESET = ("train", "--preset", "mini", "--device", "cpu", "--precision", "float32", "--threads", "1")


def launched(n_processes, folder, *more):
    """The command line as a list, under torchrun where there are several processes."""
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes), "-m")
    modules = ("othello_edu.cli",) if n_processes == 1 else (*launcher, "othello_edu.cli")
    return [sys.executable, "-m", *modules, *PRESET, "--out", str(folder), *more]


def finished(command, root):
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def weights_of(folder):
    return read_run(folder).model.state_dict()


@pytest.fixture(scope="module")
def alone(root, tmp_path_factory):
    """A run of one process: eleven batches and half of one."""
    folder = tmp_path_factory.mktemp("alone")
    finished(launched(1, folder, "--games", "737"), root)
    return folder


def test_two_processes_train_the_network_of_one(root, tmp_path, alone):
    done = finished(launched(2, tmp_path / "run", "--games", "737"), root)
    assert done.stdout.count("737 games in") == 1, "one process reports"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [CHECKPOINT, LOG]
    two, one = ([json.loads(line) for line in open(f / LOG)] for f in (tmp_path / "run", alone))
    assert [entry["games"] for entry in two] == [entry["games"] for entry in one] == [737]
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], abs=1e-3)
    assert two[0]["train_loss"] == pytest.approx(one[0]["train_loss"], abs=1e-3)
    torch.testing.assert_close(weights_of(tmp_path / "run"), weights_of(alone), rtol=1e-3, atol=2e-4)


def test_two_processes_learn_from_all_legal_moves_as_one_does(root, tmp_path):
    more = ("--games", "737", "--targets", "legal")
    for n_processes in (1, 2):
        finished(launched(n_processes, tmp_path / str(n_processes), *more), root)
    run_of_one, run_of_two = (read_run(tmp_path / name) for name in "12")
    assert run_of_one.config.targets == run_of_two.config.targets == "legal"
    assert run_of_one.log[0]["train_loss"] == pytest.approx(run_of_two.log[0]["train_loss"], abs=1e-3)
    weights = (run.model.state_dict() for run in (run_of_two, run_of_one))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=2e-4)


def test_two_processes_stopped_like_one_go_on_as_one(root, tmp_path):
    games = ("--games", "9600")
    command = launched(2, tmp_path / "stopped", *games)
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, start_new_session=True)
    shown = b""
    while not re.search(rb" [1-9]\d*/9600 ", shown):  # until a step is done
        shown += process.stderr.read1()
        assert process.poll() is None, shown.decode()
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    _, rest = process.communicate(timeout=120)
    stopped = read_run(tmp_path / "stopped")
    assert process.returncode != 0 and 0 < stopped.games < 9600
    assert (shown + rest).decode().count(f"stopped after {stopped.games:,} games") == 1

    finished(launched(1, tmp_path / "stopped", *games, "--resume"), root)
    finished(launched(1, tmp_path / "unbroken", *games), root)
    resumed, unbroken = read_run(tmp_path / "stopped"), read_run(tmp_path / "unbroken")
    assert resumed.games == unbroken.games == 9600
    assert resumed.log[-1]["loss"] == pytest.approx(unbroken.log[-1]["loss"], abs=0.03)


def test_a_run_stopped_as_one_process_goes_on_as_two(root, tmp_path, alone, monkeypatch):
    real = training.training_step

    def interrupted(run, gradient, *batch):
        if run.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, gradient, *batch)

    model_config, config = PRESETS["mini"]
    monkeypatch.setattr(training, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(model_config, replace(config, n_games=737, precision="float32"), tmp_path, progress=False)
    assert read_run(tmp_path).step == 6
    finished(launched(2, tmp_path, "--games", "737", "--resume"), root)
    torch.testing.assert_close(weights_of(tmp_path), weights_of(alone), rtol=1e-3, atol=2e-4)


# Killed without a word --------------------------------------------------------------------------------------

SHORT = TrainingConfig(n_games=480, batch_size=16, eval_games=8, eval_every=16, precision="float32")


def train_in_folder(folder, resume):
    torch.set_num_threads(1)
    train(TINY, SHORT, folder, resume=resume, progress=False)


def child(folder):
    """A process that trains in a folder, from the checkpoint if there is one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["othello_edu.training"])
    process = context.Process(target=train_in_folder, args=(folder, (folder / CHECKPOINT).exists()))
    process.start()
    return process


def test_twenty_kills_at_random_moments_cost_at_most_the_games_since_the_last_checkpoint(tmp_path):
    """Each process is killed as by a power cut, wherever it is: in a step, in an evaluation, in a write."""
    unbroken, folder = tmp_path / "unbroken", tmp_path / "run"
    child(unbroken).join()  # and the server is warm
    shutil.rmtree(unbroken)
    begun = time.monotonic()
    child(unbroken).join()
    seconds = time.monotonic() - begun

    random_moment, kills, games = random.Random(0), 0, 0
    while kills < 20:
        process = child(folder)
        process.join(random_moment.uniform(0.0, seconds))
        if process.exitcode is not None:  # it was done: check it, and begin another run to kill
            assert process.exitcode == 0
            assert_same_run(folder, unbroken)
            shutil.rmtree(folder)
            games = 0
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        if (folder / CHECKPOINT).exists():  # before the first one there is nothing to lose
            kills += 1
            reached = read_run(folder).games
            assert reached >= games, "nothing that was saved is lost"
            games = reached
    child(folder).join()
    assert_same_run(folder, unbroken)


def assert_same_run(folder, reference):
    assert all(torch.equal(weights_of(folder)[name], value) for name, value in weights_of(reference).items())
    n_evaluations = SHORT.n_games // SHORT.eval_every
    assert len((folder / LOG).read_text().splitlines()) == n_evaluations
