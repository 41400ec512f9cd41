"""Training: what it reads, how it steps, what it reports, and that stopping it loses nothing."""

import dataclasses
import errno
import itertools
import json
import math
import os
import signal
import threading

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from othello_edu import checkpoints, files, training
from othello_edu.board import SQUARE_NAMES, Board
from othello_edu.checkpoints import CHECKPOINT, LOG, new_run, read_run
from othello_edu.errors import CheckpointError, OthelloEduError
from othello_edu.evaluation import evaluate
from othello_edu.games import Games, encode_moves, next_tokens, random_games, tokens
from othello_edu.labels import legal_distribution
from othello_edu.model import GPT, GPTConfig
from othello_edu.optimizers import Muon, orthogonalise
from othello_edu.parallel import BatchGradient
from othello_edu.presets import EVALUATION_SEED, PRESETS, TRAINING_SEEDS, TrainingConfig
from othello_edu.training import train

TINY = GPTConfig(board_size=4, n_layer=2, n_head=2, d_model=16)
SHORT = TrainingConfig(
    n_games=300,
    seed=3,
    batch_size=16,
    warmup_steps=4,
    decay=0.4,
    eval_games=20,
    eval_every=80,
    precision="float32",
)


def weights(run):
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def unbroken():
    """A run that nothing disturbed."""
    return train(TINY, SHORT, progress=False)


@pytest.mark.parametrize("targets", ["move", "legal"])
def test_batches_made_ahead_are_those_made_when_they_are_needed(targets):
    run = new_run(GPT(TINY), dataclasses.replace(SHORT, first_game=1000, targets=targets))
    run.step = 3
    ready, ahead = list(training.fresh_batches(run)), list(training.fresh_batches(run, n_ahead=4))
    assert [len(inputs) for inputs, _ in ready] == [16] * 15 + [12], "300 games, of which 48 are read"
    assert len(ahead) == len(ready)
    for batch, early in zip(ready, ahead, strict=True):
        assert all(torch.equal(tensor, other) for tensor, other in zip(batch, early, strict=True))
    first = random_games(16, TRAINING_SEEDS + SHORT.seed, 4, first=1048)
    assert torch.equal(ready[0][0], tokens(first))


def test_threads_that_make_batches_end_with_them():
    run = new_run(GPT(TINY), SHORT)
    before = threading.active_count()
    upcoming = training.fresh_batches(run, n_ahead=4)
    next(upcoming)
    assert threading.active_count() > before
    upcoming.close()
    assert threading.active_count() == before


def stop_after(monkeypatch, step, number=signal.SIGINT):
    """Press Ctrl-C in the middle of a step."""
    real = training.training_step

    def interrupted(run, gradient, *batch):
        if run.step == step - 1:
            os.kill(os.getpid(), number)
        return real(run, gradient, *batch)

    monkeypatch.setattr(training, "training_step", interrupted)


# Stop and resume ----------------------------------------------------------------------------------------


def test_training_twice_gives_the_same_weights(unbroken):
    assert same(weights(train(TINY, SHORT, progress=False)), weights(unbroken))
    other = train(TINY, dataclasses.replace(SHORT, seed=4), progress=False)
    assert not same(weights(other), weights(unbroken))


@pytest.mark.parametrize("seed", range(4))
def test_a_run_stopped_at_a_random_step_resumes_to_the_same_weights(tmp_path, monkeypatch, unbroken, seed):
    stops = np.sort(np.random.default_rng(seed).choice(np.arange(1, SHORT.n_steps), 2, replace=False))
    for number, (stop, kind) in enumerate(zip(stops, (signal.SIGINT, signal.SIGTERM), strict=True)):
        with monkeypatch.context() as patch:
            stop_after(patch, stop, kind)
            with pytest.raises(KeyboardInterrupt, match=f"stopped after {stop * 16} games; resume from"):
                train(TINY, SHORT, tmp_path, resume=number > 0, progress=False)
        assert read_run(tmp_path).step == stop
        torch.manual_seed(99)  # what happens between two sessions must not matter
    resumed = train(TINY, SHORT, tmp_path, resume=True, progress=False)
    assert same(weights(resumed), weights(unbroken))
    for here, there in zip(resumed.optimizers, unbroken.optimizers, strict=True):
        mine, theirs = here.state_dict()["state"], there.state_dict()["state"]
        assert mine.keys() == theirs.keys() and all(same(mine[i], theirs[i]) for i in mine)
    measured = [[entry[key] for key in ("step", "games", "loss", "legal_rate")] for entry in resumed.log]
    assert measured == [[e[key] for key in ("step", "games", "loss", "legal_rate")] for e in unbroken.log]


def test_dropout_goes_on_where_it_stopped(tmp_path, monkeypatch):
    model = dataclasses.replace(TINY, dropout=0.2)
    expected = weights(train(model, SHORT, progress=False))
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            train(model, SHORT, tmp_path, progress=False)
    torch.manual_seed(99)
    assert same(weights(train(model, SHORT, tmp_path, resume=True, progress=False)), expected)


def test_ctrl_c_during_an_evaluation_saves_that_evaluation(tmp_path, unbroken):
    def press(run):
        if run.games == 160:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(TINY, SHORT, tmp_path, progress=False, on_evaluation=press)
    stopped = read_run(tmp_path)
    assert stopped.games == 160 and [entry["games"] for entry in stopped.log] == [80, 160]
    assert not stopped.model.training
    resumed = train(TINY, SHORT, tmp_path, resume=True, progress=False)
    assert same(weights(resumed), weights(unbroken))


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    real = training.training_step

    def impatient(run, gradient, *batch):
        if run.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, gradient, *batch)

    monkeypatch.setattr(training, "training_step", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, SHORT, tmp_path, progress=False)
    assert read_run(tmp_path).step == 5, "the checkpoint of the evaluation after 80 games"


def test_signals_are_as_before_after_training():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(TINY, dataclasses.replace(SHORT, n_games=16), progress=False)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_can_train(unbroken):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(train(TINY, SHORT, progress=False)))
    thread.start()
    thread.join()
    assert same(weights(runs[0]), weights(unbroken))


def test_resuming_a_finished_run_changes_nothing(tmp_path, unbroken):
    train(TINY, SHORT, tmp_path, progress=False)
    before = (tmp_path / CHECKPOINT).read_bytes()
    again = train(TINY, SHORT, tmp_path, resume=True, progress=False)
    assert again.finished and same(weights(again), weights(unbroken))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def stopped_at(folder, step, monkeypatch, config=SHORT):
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, config, folder, progress=False)


def test_the_number_of_games_may_change_before_the_rates_fall(tmp_path, monkeypatch):
    stopped_at(tmp_path, 9, monkeypatch)  # the rates fall over the last 8 of 19 steps
    longer = dataclasses.replace(SHORT, n_games=500)
    resumed = train(TINY, longer, tmp_path, resume=True, progress=False)
    assert resumed.games == 500
    assert same(weights(resumed), weights(train(TINY, longer, progress=False)))


@pytest.mark.parametrize("step, n_games", [(14, 500), (9, 150), (9, 130)])
def test_the_number_of_games_may_not_change_once_it_would_matter(tmp_path, monkeypatch, step, n_games):
    stopped_at(tmp_path, step, monkeypatch)
    changed = dataclasses.replace(SHORT, n_games=n_games)
    message = f"n_games is 300 there and {n_games} here .*only before the learning rates begin to fall"
    with pytest.raises(CheckpointError, match=message):
        train(TINY, changed, tmp_path, resume=True, progress=False)


def test_a_run_that_ended_in_an_incomplete_batch_cannot_be_lengthened(tmp_path):
    level = dataclasses.replace(SHORT, n_games=40, decay=0.0)
    train(TINY, level, tmp_path, progress=False)
    with pytest.raises(CheckpointError, match="n_games is 40 there and 80 here"):
        train(TINY, dataclasses.replace(level, n_games=80), tmp_path, resume=True, progress=False)


@pytest.mark.parametrize(
    "what, changes, message",
    [
        ("training", {"seed": 4}, "seed is 3 there and 4 here"),
        ("training", {"batch_size": 8, "n_games": 200}, "n_games is 300 .*batch_size is 16 there and 8 here"),
        ("model", {"d_model": 32}, "d_model is 16 there and 32 here"),
    ],
)
def test_another_configuration_is_refused_by_name(tmp_path, monkeypatch, what, changes, message):
    stopped_at(tmp_path, 2, monkeypatch)
    model = dataclasses.replace(TINY, **changes) if what == "model" else TINY
    config = dataclasses.replace(SHORT, **changes) if what == "training" else SHORT
    with pytest.raises(CheckpointError, match=f"{CHECKPOINT} is from another configuration: .*{message}"):
        train(model, config, tmp_path, resume=True, progress=False)


def test_an_existing_checkpoint_is_never_overwritten_by_a_new_run(tmp_path, monkeypatch):
    stopped_at(tmp_path, 2, monkeypatch)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match="already holds a checkpoint.safetensors: resume it"):
        train(TINY, SHORT, tmp_path, progress=False)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_resuming_nothing_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint.safetensors in"):
        train(TINY, SHORT, tmp_path / "nowhere", resume=True, progress=False)
    with pytest.raises(OthelloEduError, match="to resume, name the folder"):
        train(TINY, SHORT, resume=True, progress=False)
    with pytest.raises(CheckpointError, match="it is not the folder of a training run"):
        read_run(tmp_path)


def test_looking_at_a_run_draws_no_random_numbers(tmp_path):
    train(TINY, SHORT, tmp_path, progress=False)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    read_run(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


# One run in one folder ----------------------------------------------------------------------------------


def test_two_runs_do_not_share_a_folder(tmp_path):
    refused = []

    def another(run):
        for resume in (False, (tmp_path / CHECKPOINT).exists()):
            with pytest.raises(OthelloEduError, match="another run writes to|already holds") as refusal:
                train(TINY, SHORT, tmp_path, resume=resume, progress=False)
            refused.append(str(refusal.value))

    short = dataclasses.replace(SHORT, n_games=160)
    run = train(TINY, short, tmp_path, progress=False, on_evaluation=another)
    assert sum(f"process {os.getpid()} on" in message for message in refused) == 3
    assert sorted(os.listdir(tmp_path)) == [CHECKPOINT, LOG], "the lock is gone"
    assert same(weights(read_run(tmp_path)), weights(run))


def test_a_folder_that_another_run_has_filled_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    """The other run ends between the first look into the folder and the lock."""
    short = dataclasses.replace(SHORT, n_games=16)
    real = training.locked

    def late(folder):
        monkeypatch.setattr(training, "locked", real)
        train(TINY, short, folder, progress=False)
        return real(folder)

    monkeypatch.setattr(training, "locked", late)
    with pytest.raises(CheckpointError, match="already holds"):
        train(TINY, dataclasses.replace(short, seed=4), tmp_path, progress=False)
    assert read_run(tmp_path).config.seed == SHORT.seed


@pytest.mark.parametrize("name", [CHECKPOINT, LOG, ""])
def test_a_folder_that_cannot_be_written_is_noticed_before_the_first_step(tmp_path, monkeypatch, name):
    def never(*arguments):
        raise AssertionError("a step was taken")

    monkeypatch.setattr(training, "training_step", never)
    if name:
        (tmp_path / name).mkdir()
        out = tmp_path
    else:
        (tmp_path / "file").write_bytes(b"")
        out = tmp_path / "file" / "run"
    with pytest.raises((OSError, CheckpointError), match=name or "Not a directory|cannot find"):
        train(TINY, SHORT, out, progress=False)


def test_a_folder_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OthelloEduError, match="empty name"):
        train(TINY, SHORT, "", progress=False)
    assert not os.listdir(tmp_path)


def test_resuming_removes_what_a_killed_run_left_and_mends_its_log(tmp_path, monkeypatch):
    stopped_at(tmp_path, 14, monkeypatch)  # after 224 games, two of three evaluations
    log = (tmp_path / LOG).read_text()
    assert len(log.splitlines()) == 2
    left = [f".{name}.0123abcd.tmp" for name in (CHECKPOINT, LOG)]
    for short in (log.splitlines(keepends=True)[0], log[:-5], "", None):  # killed before the log was written
        (tmp_path / LOG).unlink()
        if short is not None:
            (tmp_path / LOG).write_text(short)
        for name in left:
            (tmp_path / name).write_bytes(b"half of")
        with monkeypatch.context() as patch:
            patch.setattr(training, "training_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                train(TINY, SHORT, tmp_path, resume=True, progress=False)
        assert (tmp_path / LOG).read_text() == log
        assert sorted(os.listdir(tmp_path)) == [CHECKPOINT, LOG]


def test_a_finished_run_that_was_killed_before_its_log_was_written_is_mended_too(tmp_path):
    short = dataclasses.replace(SHORT, n_games=32)
    train(TINY, short, tmp_path, progress=False)
    log = (tmp_path / LOG).read_text()
    (tmp_path / LOG).write_text("")
    train(TINY, short, tmp_path, resume=True, progress=False)
    assert (tmp_path / LOG).read_text() == log != ""


def rewritten(folder, checkpoint, change):
    """A checkpoint that says something else and states its right SHA-256."""
    (folder / CHECKPOINT).write_bytes(checkpoint)
    with safe_open(folder / CHECKPOINT, "pt") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        about = json.loads(file.metadata()["about"])
    text = change(about, arrays) or json.dumps(about)
    metadata = {"format": checkpoints.FORMAT, "about": text, "sha256": checkpoints._digest(text, arrays)}
    return safetensors.torch.save(arrays, metadata=metadata)


@pytest.mark.parametrize(
    "change",
    [
        lambda about, arrays: about["model"].update(n_layer=10**9),
        lambda about, arrays: about["model"].update(d_model=10**9, n_head=1),
        lambda about, arrays: about["model"].update(d_model=10**30, n_head=1),
        lambda about, arrays: about["model"].update(n_layer=3),
        lambda about, arrays: about["model"].update(board_size=6),
        lambda about, arrays: about.pop("step") and None,
        lambda about, arrays: about.update(log=None),
        lambda about, arrays: about.update(training=[]),
        lambda about, arrays: arrays.pop("random") is None,
        lambda about, arrays: arrays.update({"optimizer.0.0.x.y": torch.zeros(1)}),
        lambda about, arrays: arrays.update(random=torch.zeros(3)),
        lambda about, arrays: "[" * 100_000,
        lambda about, arrays: "[]",
    ],
)
def test_a_checkpoint_that_says_what_it_does_not_hold_is_refused(tmp_path, checkpoint, change):
    content = rewritten(tmp_path, checkpoint, change)
    refused(tmp_path, content)
    with pytest.raises(CheckpointError, match=CHECKPOINT):
        train(TINY, dataclasses.replace(SHORT, n_games=48), tmp_path, resume=True, progress=False)


# Checkpoint files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The bytes of a good checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoint")
    train(TINY, dataclasses.replace(SHORT, n_games=48), folder, progress=False)
    return (folder / CHECKPOINT).read_bytes()


def refused(folder, content):
    (folder / CHECKPOINT).write_bytes(content)
    with pytest.raises(CheckpointError, match=CHECKPOINT):
        read_run(folder)


def test_an_untouched_checkpoint_is_read(tmp_path, checkpoint):
    (tmp_path / CHECKPOINT).write_bytes(checkpoint)
    assert read_run(tmp_path).games == 48


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999, 0.99999])
def test_a_truncated_checkpoint_is_refused(tmp_path, checkpoint, share):
    refused(tmp_path, checkpoint[: int(share * len(checkpoint))])


@pytest.mark.parametrize(
    "content", [b"", b"garbage", bytes(8), bytes(4096), b"\xff" * 4096, b"PK\x03\x04" * 99]
)
def test_garbage_is_refused(tmp_path, content):
    refused(tmp_path, content)


def test_any_altered_byte_is_refused(tmp_path, checkpoint):
    header = 8 + int.from_bytes(checkpoint[:8], "little")
    text = checkpoint[:header].rstrip(b" ")  # what follows is filling
    random = np.random.default_rng(0)
    in_header, in_weights = random.integers(0, len(text), 100), random.integers(header, len(checkpoint), 100)
    for at in [*in_header.tolist(), *in_weights.tolist(), header, len(checkpoint) - 1]:
        altered = bytearray(checkpoint)
        altered[at] ^= 1 << random.integers(8)
        refused(tmp_path, bytes(altered))


def test_weights_that_are_no_checkpoint_are_refused(tmp_path):
    from safetensors.torch import save

    refused(tmp_path, save({"a": torch.zeros(3)}))
    refused(tmp_path, save({"a": torch.zeros(3)}, metadata={"format": "pt"}))


def test_a_checkpoint_holds_nothing_that_must_be_unpickled(tmp_path, checkpoint):
    (tmp_path / CHECKPOINT).write_bytes(checkpoint)
    with safe_open(tmp_path / CHECKPOINT, "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["model"] == dataclasses.asdict(TINY) and about["step"] == 3


class FullDisk:
    """A file that writes half of what it is given, and then the disk is full."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def writelines(self, lines):
        self.write("".join(lines))


@pytest.mark.parametrize("victim", [CHECKPOINT, LOG])
def test_a_full_disk_leaves_the_previous_checkpoint_usable(tmp_path, monkeypatch, unbroken, victim):
    def full(path, *arguments, **more):
        file = open(path, *arguments, **more)
        return FullDisk(file) if victim in path.name and checkpoint.exists() else file

    checkpoint = tmp_path / CHECKPOINT
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", full, raising=False)
        with pytest.raises(OSError, match="No space left"):
            train(TINY, SHORT, tmp_path, progress=False)
    assert victim == LOG or read_run(tmp_path).games == 80
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    resumed = train(TINY, SHORT, tmp_path, resume=True, progress=False)
    assert same(weights(resumed), weights(unbroken))
    assert len((tmp_path / LOG).read_text().splitlines()) == len(resumed.log)


def test_the_log_is_one_strict_json_object_an_evaluation(tmp_path):
    run = train(TINY, SHORT, tmp_path, progress=False)

    def no_nan(constant):
        raise AssertionError(constant)

    lines = (tmp_path / LOG).read_text().splitlines()
    entries = [json.loads(line, parse_constant=no_nan) for line in lines]
    assert entries == run.log
    assert [entry["games"] for entry in entries] == [80, 160, 240, 300]
    for entry in entries:
        assert {"step", "seconds", "train_loss", "loss", "excess_loss", "legal_rate", "legal_mass"} <= set(
            entry
        )
        assert entry["legal_rate_by_ply"][0] is None, "nobody predicts the first move"
        assert len(entry["legal_rate_by_ply"]) == 12


def test_a_training_that_diverges_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    real = training.training_step

    def diverges(run, gradient, *batch):
        loss = real(run, gradient, *batch)
        if run.step == 7:
            with torch.no_grad():
                run.model.head.weight[3, 3] = torch.nan
        return loss

    monkeypatch.setattr(training, "training_step", diverges)
    with pytest.raises(
        OthelloEduError, match="diverged: weights are no longer finite .*lower the learning rate"
    ):
        train(TINY, SHORT, tmp_path, progress=False)
    assert read_run(tmp_path).games == 80


# What it reads, how it steps ----------------------------------------------------------------------------


def test_training_reads_each_game_once_and_the_incomplete_last_batch_too(monkeypatch):
    read = []

    def spy(n_games, seed, *arguments, **more):
        games = random_games(n_games, seed, *arguments, **more)
        if seed != EVALUATION_SEED:
            read.append((seed, games.moves))
        return games

    monkeypatch.setattr(training, "random_games", spy)
    run = train(TINY, SHORT, progress=False)
    assert [len(moves) for _, moves in read] == [16] * 18 + [12]
    assert {seed for seed, _ in read} == {TRAINING_SEEDS + SHORT.seed}
    expected = random_games(300, TRAINING_SEEDS + SHORT.seed, board_size=4)
    np.testing.assert_array_equal(np.concatenate([moves for _, moves in read]), expected.moves)
    assert run.games == 300 and run.step == SHORT.n_steps == 19


def test_games_of_the_evaluation_are_never_trained_on():
    with pytest.raises(OthelloEduError, match="seed is 4294967296; .*never reads the games that measure it"):
        TrainingConfig(seed=EVALUATION_SEED - TRAINING_SEEDS)
    assert TrainingConfig(seed=EVALUATION_SEED - TRAINING_SEEDS - 1).seed > 0


def test_rates_warm_up_stay_and_fall_to_almost_nothing():
    config = TrainingConfig(n_games=1000, batch_size=10, warmup_steps=9, decay=0.4)
    rates = [config.rate(step) for step in range(config.n_steps)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[9:61] == [1.0] * 52
    np.testing.assert_allclose(rates[60:], np.arange(40, 0, -1) / 40)


def test_without_warm_up_and_decay_the_rate_is_full_throughout():
    config = TrainingConfig(n_games=100, batch_size=10, warmup_steps=0, decay=0.0)
    assert {config.rate(step) for step in range(config.n_steps)} == {1.0}


def test_both_optimisers_follow_the_schedule(monkeypatch):
    used_rates = []
    real = training.training_step

    def spy(run, gradient, *batch):
        loss = real(run, gradient, *batch)
        used_rates.append([group["lr"] for optimizer in run.optimizers for group in optimizer.param_groups])
        return loss

    monkeypatch.setattr(training, "training_step", spy)
    train(TINY, SHORT, progress=False)
    rates = np.array([SHORT.rate(step) for step in range(SHORT.n_steps)])
    np.testing.assert_allclose(
        np.array(used_rates), rates[:, None] * [SHORT.learning_rate, SHORT.adamw_learning_rate]
    )


def test_every_weight_has_one_optimiser_and_muon_has_the_matrices_of_the_blocks():
    model = GPT(TINY)
    both = new_run(model, SHORT).optimizers
    muon, adamw = ([p for group in o.param_groups for p in group["params"]] for o in both)
    assert {id(p) for p in muon} | {id(p) for p in adamw} == {id(p) for p in model.parameters()}
    assert len(muon) + len(adamw) == len(list(model.parameters()))
    assert {id(p) for p in muon} == {id(p) for p in model.blocks.parameters() if p.ndim == 2}


def test_the_loss_of_a_step_ignores_padding():
    torch.manual_seed(0)
    model = GPT(TINY)
    config = dataclasses.replace(SHORT, learning_rate=0.0, adamw_learning_rate=0.0)
    run = new_run(model, config)
    games = random_games(16, TRAINING_SEEDS + SHORT.seed, board_size=4)
    assert (games.lengths < 12).any()
    log_p = model(tokens(games)).log_softmax(-1)
    moves = encode_moves(games.moves, 4)
    expected = [
        -log_p[game, ply, moves[game, ply + 1]].item()
        for game in range(16)
        for ply in range(games.lengths[game] - 1)
    ]
    inputs, targets = next(training.fresh_batches(run))
    loss = training.training_step(run, BatchGradient(model, "float32", 16), inputs, targets)
    assert loss.item() == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize("board_size, plies", [(4, range(3, 8)), (6, range(20, 31))])
def test_the_gradient_of_all_legal_moves_is_the_average_over_every_draw(board_size, plies):
    """Of one game at a time, cut where the next move is drawn: exact, since every draw is made."""
    torch.manual_seed(0)
    config = GPTConfig(board_size=board_size, n_layer=2, n_head=2, d_model=16)
    model = GPT(config)
    gradient = BatchGradient(model, "float32", 1)
    games = random_games(6, seed=2, board_size=board_size)
    compared = 0
    for game, ply in itertools.product(range(6), plies):
        next_move = games.moves[game, ply]
        if next_move < 0:
            continue
        before = Board.from_moves(games.moves[game, :ply], board_size)
        moves = np.full((len(before.legal_moves), games.moves.shape[1]), -1, np.int8)
        moves[:, :ply] = games.moves[game, :ply]
        moves[:, ply] = [SQUARE_NAMES.index(name) for name in before.legal_moves]
        continuations = Games(moves, board_size)
        at_ply = torch.arange(games.moves.shape[1] - 1) == ply - 1  # the target in question, and no other
        drawn_loss = gradient(tokens(continuations), next_tokens(continuations) * at_ply).item()
        drawn_gradient = flat_gradient(model)
        loss = gradient(tokens(continuations[0]), legal_distribution(continuations[0]) * at_ply[:, None])
        assert loss.item() == pytest.approx(drawn_loss, rel=1e-5)
        torch.testing.assert_close(flat_gradient(model), drawn_gradient, rtol=1e-4, atol=1e-6)
        compared += len(continuations) > 1
    assert compared >= 10


def flat_gradient(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_a_perfect_predictor_has_the_best_possible_loss_on_either_target():
    """Its loss on all legal moves is the mean logarithm of their number, game by game exactly; on drawn
    moves it is the same, since every legal move costs as much."""
    for board_size in (4, 6, 8):
        games = random_games(50, seed=5, board_size=board_size)
        distribution = legal_distribution(games)
        perfect = PlantedLogits(distribution.log().clamp(min=-100))
        gradient = BatchGradient(perfect, "float32", len(games))
        n_legal = distribution.gt(0).sum(-1)
        floor = n_legal[n_legal > 0].log().mean().item()
        for targets in (distribution, next_tokens(games)):
            assert gradient(tokens(games), targets).item() == pytest.approx(floor, rel=1e-5)


class PlantedLogits(torch.nn.Module):
    """Predicts what it was made with."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)
        self.config = GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=1)

    def forward(self, tokens):
        return self.logits


def test_a_checkpoint_of_before_targets_is_one_of_drawn_moves(tmp_path):
    run = train(TINY, dataclasses.replace(SHORT, n_games=32), tmp_path, progress=False)
    about, arrays = checkpoints.read_checkpoint(tmp_path)
    old = dataclasses.asdict(about["training"])
    del old["targets"]
    about |= {"model": dataclasses.asdict(about["model"]), "training": old}
    text = json.dumps(about)
    metadata = {"about": text, "sha256": checkpoints._digest(text, arrays)}
    metadata["format"] = "othello-edu training checkpoint 3"
    (tmp_path / CHECKPOINT).write_bytes(safetensors.torch.save(arrays, metadata=metadata))
    assert read_run(tmp_path).config == run.config
    resumed = train(TINY, dataclasses.replace(SHORT, n_games=32), tmp_path, resume=True, progress=False)
    assert same(weights(resumed), weights(run))
    with pytest.raises(CheckpointError, match="targets is 'move' there and 'legal' here"):
        other = dataclasses.replace(SHORT, n_games=32, targets="legal")
        train(TINY, other, tmp_path, resume=True, progress=False)


def test_a_run_on_all_legal_moves_goes_on_after_ctrl_c_as_if_nothing_had_been(tmp_path, monkeypatch):
    config = dataclasses.replace(SHORT, targets="legal")
    unbroken = train(TINY, config, progress=False)
    real = training.training_step

    def interrupted(run, gradient, *batch):
        if run.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, gradient, *batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "training_step", interrupted)
        train(TINY, config, tmp_path, progress=False)
    assert read_run(tmp_path).step == 8
    resumed = train(TINY, config, tmp_path, resume=True, progress=False)
    assert same(weights(resumed), weights(unbroken))
    drawn = train(TINY, SHORT, progress=False)
    assert not same(weights(drawn), weights(unbroken)), "the other targets make another network"


def test_only_the_two_targets_are_known():
    with pytest.raises(OthelloEduError, match="targets is 'human'; it must be move or legal"):
        TrainingConfig(targets="human")


def test_orthogonalise_moves_every_singular_value_by_the_same_polynomial():
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 8, 8), (2, 24, 8), (2, 8, 24), (5, 5)):
        matrices = torch.randn(shape, generator=generator, dtype=torch.float64)
        u, s, vt = torch.linalg.svd(matrices, full_matrices=False)
        s = s / s.square().sum(-1, keepdim=True).sqrt()
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        torch.testing.assert_close(orthogonalise(matrices), u @ (s[..., None] * vt), rtol=0, atol=1e-9)


def test_orthogonalise_makes_singular_values_near_one():
    matrices = torch.randn(4, 32, 96, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert 0.6 < values.min() and values.max() < 1.3
    assert torch.equal(orthogonalise(torch.zeros(2, 4, 4)), torch.zeros(2, 4, 4))


def test_muon_is_the_muon_of_torch():
    shapes = [(16, 16), (48, 16), (16, 48), (16, 16)]
    generator = torch.Generator().manual_seed(0)

    def draw():
        return [torch.randn(shape, generator=generator) for shape in shapes]

    start = draw()
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    muon = Muon(ours, lr=0.02, weight_decay=0.1)
    torch_muon = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(6):
        for own, reference, gradient in zip(ours, theirs, draw(), strict=True):
            own.grad, reference.grad = gradient, gradient.clone()
        for optimizer in (muon, torch_muon):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 / (step + 1)
            optimizer.step()
        for value, own, reference in zip(start, ours, theirs, strict=True):
            # torch's iteration runs in bfloat16, with 8 bits of precision.
            assert (own - reference).norm() < 0.02 * (reference - value).norm()


# Learning -----------------------------------------------------------------------------------------------


def test_a_few_thousand_games_teach_a_small_network_most_of_the_rules():
    model, config = PRESETS["mini"]
    config = dataclasses.replace(config, n_games=4000, batch_size=16, warmup_steps=20, eval_games=100)
    torch.manual_seed(config.seed)
    start = evaluate(GPT(model), random_games(100, EVALUATION_SEED, 6))
    run = train(model, config, progress=False)
    end = run.log[-1]
    assert end["excess_loss"] < start["excess_loss"] / 2
    assert end["legal_rate"] > start["legal_rate"] + 0.3
    assert not run.model.training


def test_every_preset_is_a_network_that_can_be_built():
    assert set(PRESETS) == {"mini", "small", "medium", "base"}
    for model, config in PRESETS.values():
        assert 1 <= config.batch_size <= config.eval_every <= config.n_games
        with torch.device("meta"):
            assert GPT(model).n_stages == model.n_layer + 1
    small, config = PRESETS["small"]
    assert dataclasses.astuple(small) == (8, 8, 8, 128, 0.0) and config.n_games >= 600_000


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n_games": 0}, "n_games is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"decay": 1.5}, "decay is 1.5"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1"),
        ({"adamw_learning_rate": math.nan}, "adamw_learning_rate is nan"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_an_impossible_schedule_is_refused(wrong, message):
    with pytest.raises(OthelloEduError, match=message):
        TrainingConfig(**wrong)


@pytest.mark.parametrize("precision", ["float16", "", None])
def test_a_precision_that_does_not_exist_is_refused(precision):
    with pytest.raises(OthelloEduError, match="precision is .*; it must be auto, float32 or bfloat16"):
        TrainingConfig(precision=precision)


def test_the_precision_that_was_measured_at_the_start_is_kept(tmp_path, monkeypatch):
    automatic = dataclasses.replace(SHORT, precision="auto")
    monkeypatch.setattr(training, "fastest_precision", lambda device: "bfloat16")
    stop_after(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, automatic, tmp_path, progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(training, "fastest_precision", lambda device: "float32")
    assert train(TINY, automatic, tmp_path, resume=True, progress=False).config.precision == "bfloat16"
    with pytest.raises(KeyboardInterrupt):
        stop_after(monkeypatch, 5)
        train(TINY, automatic, tmp_path / "other", progress=False)
    monkeypatch.undo()
    resumed = train(TINY, SHORT, tmp_path / "other", resume=True, progress=False)
    assert resumed.config.precision == "float32", "asked for by name, it may change"


def test_a_precision_that_changes_on_resuming_is_said(tmp_path, monkeypatch):
    in_bfloat16 = dataclasses.replace(SHORT, precision="bfloat16")
    stopped_at(tmp_path, 5, monkeypatch, in_bfloat16)
    with pytest.warns(
        UserWarning, match="trained in bfloat16; after 80 games it goes on in float32"
    ) as caught:
        resumed = train(TINY, SHORT, tmp_path, resume=True, progress=False)
    assert caught[0].filename == __file__ and resumed.config.precision == "float32"
    assert read_run(tmp_path).config.precision == "float32", "and from then on it is the checkpoint's"


def test_a_device_that_does_not_exist_is_refused():
    with pytest.raises(OthelloEduError, match="cannot train on device 'abacus'"):
        train(TINY, SHORT, device="abacus", progress=False)
