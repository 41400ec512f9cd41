"""The command line: `othello-edu train` and `othello-edu export`, their help, and how they end."""

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import warnings

import pytest
import torch

from othello_edu import cli, pretrained, training
from othello_edu.checkpoints import CHECKPOINT, LOG, read_run
from othello_edu.cli import main
from othello_edu.files import locked
from othello_edu.kernels import cores
from othello_edu.model import GPTConfig
from othello_edu.presets import PRESETS, TrainingConfig
from othello_edu.pretrained import load_model


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A preset that is done in a moment."""
    config = TrainingConfig(n_games=200, batch_size=16, warmup_steps=4, eval_games=20, eval_every=80)
    monkeypatch.setitem(PRESETS, "mini", (GPTConfig(board_size=4, n_layer=1, n_head=2, d_model=16), config))


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_the_help_says_it_all(capsys):
    with pytest.raises(SystemExit) as stop:
        run("train", "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--start MODEL", "--precision", "--decay SHARE", "--compile", "torchrun"):
        assert option in text
    for option in (
        "--preset",
        "--games N",
        "--seed S",
        "--out DIR",
        "--resume",
        "--device",
        "--threads N",
        "--dropout RATE",
    ):
        assert option in text
    for name, (model, config) in PRESETS.items():
        assert re.search(
            rf"{name}: .*{model.n_layer} blocks x {model.d_model}, {config.n_games:,} games", text
        )
    for word in (CHECKPOINT, LOG, "Ctrl-C", "exit status: 0", "130", "same weights", "--games may change"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 110


def test_the_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    text = capsys.readouterr().out
    for command in ("train", "export", "import", "reproduce"):
        assert re.search(rf"^ +{command}\b", text, re.MULTILINE), command
    assert "`" not in text


def test_the_package_installs_the_command():
    (entry,) = importlib.metadata.distribution("othello-edu").entry_points.select(name="othello-edu")
    assert entry.load() is cli.main


def test_training_says_how_it_went_and_where_it_is(tmp_path, capsys):
    assert run("train", "--preset", "mini", "--out", tmp_path / "run", "--games", 160, "--seed", 5) == 0
    output = capsys.readouterr()
    assert re.search(
        r"160 games in .* min: loss \d\.\d+, excess loss \d\.\d+ nats, top-1 legal \d+", output.out
    )
    assert str(tmp_path / "run" / CHECKPOINT) in output.out
    assert "160/160" in output.err and "games/s" in output.err, "progress, with its rate"
    trained = read_run(tmp_path / "run")
    assert (trained.games, trained.config.n_games, trained.config.seed) == (160, 160, 5)
    assert len((tmp_path / "run" / LOG).read_text().splitlines()) == 2


def test_ctrl_c_then_resume_gives_the_weights_of_an_unbroken_run(tmp_path, monkeypatch, capsys):
    command = ("train", "--preset", "mini", "--device", "cpu", "--out")
    assert run(*command, tmp_path / "unbroken") == 0
    real = training.training_step

    def press(run, gradient, *batch):
        if run.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, gradient, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(training, "training_step", press)
        assert run(*command, tmp_path / "stopped") == 130
    stderr = capsys.readouterr().err
    assert f"othello-edu: stopped after 112 games; resume from {tmp_path / 'stopped'}" in stderr
    assert run(*command, tmp_path / "stopped", "--resume") == 0
    here, there = (read_run(tmp_path / name).model.state_dict() for name in ("stopped", "unbroken"))
    assert all(torch.equal(here[name], there[name]) for name in there)


def test_a_real_ctrl_c_leaves_a_usable_checkpoint(root, tmp_path):
    command = [sys.executable, "-m", "othello_edu.cli", "train", "--preset", "mini", "--out", str(tmp_path)]
    process = subprocess.Popen([*command, "--threads", "1"], cwd=root, stderr=subprocess.PIPE)
    shown = b""
    while b"games/s" not in shown:  # the first step is done
        shown += process.stderr.read1()
        assert process.poll() is None, shown.decode()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate()
    assert process.returncode == 130, rest.decode()
    assert b"Traceback" not in rest and b"resume from" in rest
    stopped = read_run(tmp_path)
    assert 0 < stopped.games < stopped.config.n_games


def test_an_interrupt_before_training_begins_ends_with_130_too(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train", interrupted)
    assert run("train", "--preset", "mini", "--out", tmp_path) == 130
    assert capsys.readouterr().err == "othello-edu: stopped\n"


def test_bad_input_ends_with_2_and_one_line(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"garbage")
    train = ("train", "--preset", "mini", "--out")
    for arguments, message in [
        ((*train, tmp_path / "run"), "already holds"),
        ((*train, tmp_path / "run", "--resume"), "cannot be read"),
        ((*train, tmp_path / "new", "--resume"), "there is no checkpoint"),
        ((*train, tmp_path / "new", "--games", 0), "n_games is 0"),
        ((*train, tmp_path / "new", "--seed", -1), "seed is -1"),
        ((*train, tmp_path / "new", "--device", "abacus"), "cannot train on device 'abacus'"),
        ((*train, tmp_path / "file"), "File exists"),
    ]:
        assert run(*arguments) == 2, arguments
        stderr = capsys.readouterr().err
        assert message in stderr and "Traceback" not in stderr
        assert stderr.splitlines()[-1].startswith("othello-edu: "), stderr


@pytest.mark.parametrize("beyond", [1, 99_999, 10**30])
def test_more_threads_than_cores_are_limited_to_them_and_said(tmp_path, monkeypatch, capsys, beyond):
    thread_counts = []
    monkeypatch.setattr(torch, "set_num_threads", thread_counts.append)
    assert run("train", "--preset", "mini", "--threads", cores() + beyond, "--out", tmp_path / "a") == 0
    assert thread_counts[0] == cores()
    warning = capsys.readouterr().err
    assert f"--threads {cores() + beyond}: training with {cores()}" in warning

    assert run("train", "--preset", "mini", "--threads", 1, "--out", tmp_path / "b") == 0
    assert "--threads" not in capsys.readouterr().err and 1 in thread_counts


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "COMMAND"),
        (["train"], "--out"),
        (["train", "--out", "x", "--preset", "huge"], "invalid choice: 'huge'"),
        (["train", "--out", "x", "--games", "many"], "invalid int value: 'many'"),
        (["train", "--out", "x", "--threads", "0"], "'0' is not a positive number"),
        (["export", "x"], "--out"),
        (["train", "--out", ""], "the name of the folder is empty"),
        (["train", "--out="], "the name of the folder is empty"),
        (["export", "x", "--out", " "], "the name of the folder is empty"),
        (["export", "", "--out", "x"], "the name of the folder is empty"),
        (["reproduce", "--model", "small", "--out", ""], "the name of the folder is empty"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_why(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_twin_is_trained_with_dropout_and_a_share_is_asked_for(tmp_path, capsys):
    train = ("train", "--preset", "mini", "--device", "cpu", "--games", 40)
    assert run(*train, "--out", tmp_path / "without") == 0
    assert run(*train, "--dropout", 0.2, "--out", tmp_path / "with") == 0
    runs = [read_run(tmp_path / name) for name in ("without", "with")]
    assert [of.model.config.dropout for of in runs] == [0, 0.2]
    assert runs[0].log[-1]["loss"] != runs[1].log[-1]["loss"]
    capsys.readouterr()
    assert run(*train, "--dropout", 1, "--out", tmp_path / "all") == 2
    assert "dropout is 1" in capsys.readouterr().err and not (tmp_path / "all").exists()


def test_training_goes_on_from_an_exported_model_with_games_it_has_not_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pretrained, "MODELS", tmp_path / "no models")  # as where the package is installed
    about = ("--command", "…", "--commit", "0123abc", "--device", "one core")
    train = ("train", "--preset", "mini", "--device", "cpu", "--games")
    assert run(*train, 160, "--seed", 5, "--out", tmp_path / "run") == 0
    assert run("export", tmp_path / "run", "--out", tmp_path / "model", *about) == 0
    start = ("--start", tmp_path / "model")
    start = (*start, "--decay", 1)
    assert run(*train, 40, *start, "--out", tmp_path / "more") == 0
    more = read_run(tmp_path / "more")
    assert (more.config.seed, more.config.first_game, more.games, more.config.decay) == (5, 160, 200, 1.0)
    assert run(*train, 40, *start, "--out", tmp_path / "more", "--resume") == 0, "the same command goes on"
    assert run("export", tmp_path / "more", "--out", tmp_path / "another", *about) == 0
    capsys.readouterr()
    for arguments, message in [
        ((*start, "--seed", 6), "was trained with seed 5"),
        (("--start", "small"), "the model to start from is"),
        (("--start", tmp_path / "nothing"), "nothing/config.json does not describe a model"),
        ((*start, "--decay", 2), "decay is 2.0"),
        (("--start", "base"), "'base' does not come with the package"),
        (("--start", tmp_path / "another", "--resume"), "is from another configuration: first_game is 160"),
    ]:
        out = tmp_path / ("more" if "--resume" in arguments else "new")
        assert run(*train, 40, *arguments, "--out", out) == 2, arguments
        assert message in capsys.readouterr().err


def test_export_writes_a_model_that_loads(tmp_path, capsys, monkeypatch):
    assert run("train", "--preset", "mini", "--out", tmp_path / "run") == 0
    about = ("--command", "othello-edu train …", "--commit", "0123abc", "--device", "one core")
    assert run("export", tmp_path / "run", "--out", tmp_path / "shipped", *about) == 0
    assert "after rounding to float16: excess loss" in capsys.readouterr().out
    assert load_model(tmp_path / "shipped").config == PRESETS["mini"][0]
    assert run("export", tmp_path / "nothing", "--out", tmp_path / "shipped", *about) == 2
    message = capsys.readouterr().err
    assert "there is no checkpoint.safetensors in" in message and "resum" not in message


def test_an_unfinished_run_is_exported_only_where_that_is_meant(tmp_path, monkeypatch, capsys):
    real = training.training_step

    def press(run, gradient, *batch):
        if run.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return real(run, gradient, *batch)

    monkeypatch.setattr(training, "training_step", press)
    assert run("train", "--preset", "mini", "--device", "cpu", "--out", tmp_path / "run") == 130
    about = ("--command", "…", "--commit", "0123abc", "--device", "one core")
    assert run("export", tmp_path / "run", "--out", tmp_path / "model", *about) == 2
    stderr = capsys.readouterr().err
    assert "is unfinished: it has read 112 of 200 games" in stderr and "--unfinished" in stderr
    assert not (tmp_path / "model").exists()
    assert run("export", tmp_path / "run", "--out", tmp_path / "model", *about, "--unfinished") == 0
    assert load_model(tmp_path / "model").config == PRESETS["mini"][0]


def test_another_precision_on_resuming_is_said(tmp_path, monkeypatch, capsys):
    command = ("train", "--preset", "mini", "--device", "cpu", "--out", tmp_path / "run")
    assert run(*command, "--precision", "bfloat16") == 0
    with pytest.warns(UserWarning, match="was trained in bfloat16; .* float32"):
        assert run(*command, "--resume", "--precision", "float32") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for same in ((), ("--precision", "auto"), ("--precision", "bfloat16")):
            assert run(*command, "--resume", *same) == 0


def test_a_folder_in_use_ends_with_2_and_says_by_whom(tmp_path, capsys):
    with locked(tmp_path):
        assert run("train", "--preset", "mini", "--out", tmp_path) == 2
    assert re.search(rf"another run writes to .*process {os.getpid()} on ", capsys.readouterr().err)
