"""Shipped models: what is written is what is read, and nothing altered is ever used."""

import dataclasses
import hashlib
import html
import json
import math
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import othello_edu as oe
from othello_edu import pretrained
from othello_edu.checkpoints import LOG
from othello_edu.errors import CheckpointError, OthelloEduError
from othello_edu.evaluation import evaluate
from othello_edu.games import random_games, tokens
from othello_edu.model import GPT, GPTConfig
from othello_edu.presets import EVALUATION_SEED, PRESETS, TrainingConfig
from othello_edu.pretrained import (
    CARD_FILE,
    CONFIG_FILE,
    MODEL_FILE,
    WEIGHTS,
    card,
    card_text,
    export,
    load_model,
    load_pretrained,
    rounded,
    save_model,
    shipped,
    starting_point,
    taught_by,
)
from othello_edu.training import train

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
import measured_tables  # noqa: E402  (that folder is no package)

TINY = GPTConfig(board_size=4, n_layer=1, n_head=2, d_model=16)
SHORT = TrainingConfig(
    n_games=200, batch_size=16, warmup_steps=4, eval_games=20, eval_every=80, precision="float32"
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(TINY)


@pytest.fixture
def folder(tmp_path, model):
    save_model(model, tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(TINY, SHORT, folder, progress=False)
    return folder


# Writing and reading ------------------------------------------------------------------------------------


def test_a_model_is_read_back_rounded_once_in_float32_and_evaluation_mode(model, folder):
    loaded = load_model(folder)
    assert loaded.config == TINY and not loaded.training
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[name].half().float())
    save_model(loaded, folder)
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.parameters(), load_model(folder).parameters(), strict=True)
    )


def test_rounded_is_the_model_that_will_be_read_back(model, folder):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sequence = tokens(random_games(3, 0, 4))
    assert torch.equal(rounded(model)(sequence), load_model(folder)(sequence))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_weights_take_two_bytes_each_and_the_checksum_is_of_the_file(model, folder):
    content = (folder / MODEL_FILE).read_bytes()
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert 2 * n_parameters < len(content) < 2 * n_parameters + 5000
    assert json.loads((folder / CONFIG_FILE).read_text())["sha256"] == {
        MODEL_FILE: hashlib.sha256(content).hexdigest()
    }


def test_large_weights_are_spread_over_files_none_of_which_is_large(model, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHARD_BYTES", 3000)
    save_model(model, tmp_path)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) > 2 and shards == list(json.loads((tmp_path / CONFIG_FILE).read_text())["sha256"])
    assert all((tmp_path / name).stat().st_size < 3000 + 1000 for name in shards)
    loaded = load_model(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in rounded(model).state_dict().items())
    (tmp_path / shards[1]).unlink()
    with pytest.raises(CheckpointError, match=shards[1]):
        load_model(tmp_path)


def test_a_configuration_may_not_name_files_elsewhere(folder):
    about = json.loads((folder / CONFIG_FILE).read_text())
    about["sha256"] = {f"../{folder.name}/{MODEL_FILE}": about["sha256"][MODEL_FILE]}
    (folder / CONFIG_FILE).write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="does not name files of this folder"):
        load_model(folder)


def test_every_altered_byte_is_refused_by_the_name_of_the_file(folder):
    content = (folder / MODEL_FILE).read_bytes()
    for at in [0, 8, 100, *np.random.default_rng(0).integers(0, len(content), 40), len(content) - 1]:
        altered = bytearray(content)
        altered[at] ^= 1
        (folder / MODEL_FILE).write_bytes(altered)
        with pytest.raises(
            CheckpointError, match=f"{MODEL_FILE} has SHA-256 .*altered or truncated; restore it"
        ):
            load_model(folder)


@pytest.mark.parametrize("length", [0, 7, 1000, -1])
def test_a_truncated_file_is_refused_by_name(folder, length):
    content = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(content[:length])
    with pytest.raises(CheckpointError, match=f"{MODEL_FILE} has SHA-256"):
        load_model(folder)


@pytest.mark.parametrize("name", [MODEL_FILE, CONFIG_FILE])
def test_a_missing_file_is_refused_by_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_model(folder)


@pytest.mark.parametrize("change", [{"d_model": 32}, {"n_layer": 2}, {"board_size": 6}])
def test_weights_of_another_configuration_are_refused_by_name(folder, change):
    about = json.loads((folder / CONFIG_FILE).read_text())
    about["model"] |= change
    (folder / CONFIG_FILE).write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=f"{MODEL_FILE} does not hold the weights of GPTConfig"):
        load_model(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"model": {}}',
        '{"model": {"depth": 3}, "sha256": ""}',
        '{"model": {"n_layer": "8"}, "sha256": ""}',
        '{"model": {"board_size": 7}, "sha256": ""}',
        '{"model": 8, "sha256": ""}',
        '{"model": {}, "sha256": ""}',
        '{"model": {}, "sha256": {}}',
    ],
)
def test_a_configuration_that_describes_no_model_is_refused_by_name(folder, text):
    (folder / CONFIG_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=f"{CONFIG_FILE} does not describe a model"):
        load_model(folder)


@pytest.mark.parametrize("checksum", [None, 7, "", "00", {}])
def test_a_checksum_that_is_none_is_refused(folder, checksum):
    about = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(about | {"sha256": {MODEL_FILE: checksum}}))
    with pytest.raises(CheckpointError, match=f"{MODEL_FILE} has SHA-256"):
        load_model(folder)


@pytest.mark.parametrize("content", [b"garbage", safetensors.torch.save({"head.weight": torch.zeros(2, 2)})])
def test_a_file_that_holds_other_things_is_refused_even_with_its_own_checksum(folder, content):
    about = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(
        json.dumps(about | {"sha256": {MODEL_FILE: hashlib.sha256(content).hexdigest()}})
    )
    (folder / MODEL_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{MODEL_FILE} does not hold "):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"n_layer": 10**9},
        {"n_layer": 10**30},
        {"d_model": 10**9, "n_head": 1},
        {"d_model": 10**18, "n_head": 1},
        {"d_model": 10**30, "n_head": 1},
    ],
)
def test_a_configuration_of_any_size_is_compared_before_a_network_is_built(folder, change, monkeypatch):
    about = json.loads((folder / CONFIG_FILE).read_text())
    about["model"] |= change
    (folder / CONFIG_FILE).write_text(json.dumps(about))

    def never(config):
        raise AssertionError(f"{config} was built")

    monkeypatch.setattr(pretrained, "GPT", never)
    with pytest.raises(CheckpointError, match=f"{MODEL_FILE} does not hold the weights of GPTConfig"):
        load_model(folder)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b'{"model": ' * 50_000])
def test_a_configuration_that_cannot_be_parsed_is_refused_by_name(folder, content):
    (folder / CONFIG_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{CONFIG_FILE} does not describe a model"):
        load_model(folder)


def test_names_of_files_that_cannot_be_are_refused(folder):
    about = json.loads((folder / CONFIG_FILE).read_text())
    for name in ("a\0b", "a" * 300, "..", "."):
        (folder / CONFIG_FILE).write_text(json.dumps(about | {"sha256": {name: "00"}}))
        with pytest.raises(CheckpointError):
            load_model(folder)


# Export and card ----------------------------------------------------------------------------------------


def test_export_measures_the_rounded_model_and_tells_how_it_was_made(run_folder, tmp_path):
    about = export(
        run_folder, tmp_path, "othello-edu train --preset mini", "0123abc", "one core", n_games=100
    )
    model = load_model(tmp_path)
    measured = evaluate(model, random_games(100, EVALUATION_SEED + 1, 4))
    for name in ("loss", "excess_loss", "legal_rate", "legal_mass"):
        assert about["measured"][name] == measured[name]
    np.testing.assert_allclose(
        np.array(about["measured"]["legal_rate_by_ply"], float), measured["legal_rate_by_ply"], atol=1e-5
    )
    assert about["model"] == dataclasses.asdict(TINY) and about["training"] == dataclasses.asdict(SHORT)
    assert about["games_read"] == 200 and about["measured"]["n_games"] == 100
    assert about["n_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert (about["command"], about["commit"]) == ("othello-edu train --preset mini", "0123abc")
    assert json.loads((tmp_path / CARD_FILE).read_text()) == about
    assert (tmp_path / LOG).read_text() == (run_folder / LOG).read_text()


def test_the_card_can_be_read_by_a_person(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    monkeypatch.setattr(pretrained, "MODELS", tmp_path / "none")
    about = export(
        run_folder, tmp_path / "tiny", "othello-edu train …", "0123456789abcdef", "one core", n_games=50
    )
    assert pretrained.shipped() == ("tiny",)
    assert pretrained.card("tiny") == about
    text = card_text("tiny")
    assert text.startswith("### Model card: `tiny`\n")
    for part in (
        "4x4 Othello",
        "200 uniform random legal games",
        "seed 0",
        "othello-edu train …` at commit `0123456789ab`",
        "one core",
        f"excess loss over the best possible {about['measured']['excess_loss']:.4f} nats",
        f"likeliest move legal {about['measured']['legal_rate']:.2%}",
        "by move number**: 10: ",
        f"off by {about['measured']['calibration']['error']:.3f} on average",
        "**Not for** playing well",
    ):
        assert part in text, part


def bad_card(tmp_path, monkeypatch, content):
    """A folder of models with one, whose card is this."""
    monkeypatch.setenv(pretrained.MODELS_VARIABLE, str(tmp_path))
    (tmp_path / "foreign").mkdir(exist_ok=True)
    (tmp_path / "foreign" / CONFIG_FILE).write_text("{}")
    (tmp_path / "foreign" / CARD_FILE).write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"3", b"\xff", b"[" * 100_000, None])
def test_a_card_that_is_missing_or_no_json_is_refused_by_name(tmp_path, monkeypatch, content):
    bad_card(tmp_path, monkeypatch, content or b"")
    if content is None:
        (tmp_path / "foreign" / CARD_FILE).unlink()
    for function in (card, card_text):
        with pytest.raises(CheckpointError, match=f"foreign.{CARD_FILE} is no card of a model"):
            function("foreign")


def test_a_card_that_lacks_or_mistakes_anything_is_refused_by_name(tmp_path, monkeypatch):
    good = card("small")
    places = [(key,) for key in good] + [(key, inner) for key in ("model", "measured") for inner in good[key]]
    refusals = 0
    for place in places:
        for value in (None, [], "<b>", {}):
            about = json.loads(json.dumps(good))
            target = about if len(place) == 1 else about[place[0]]
            target[place[-1]] = value
            bad_card(tmp_path, monkeypatch, json.dumps(about).encode())
            try:
                assert "<b>" not in card_text("foreign").replace("`<b>`", "")
            except CheckpointError as error:
                assert f"{CARD_FILE} lacks what a card says" in str(error)
                refusals += 1
    assert refusals > len(places)
    deep = json.dumps(good)
    for _ in range(2000):
        deep = deep.replace('"start": null', '"start": {"training": {}, "start": null}', 1)
    bad_card(tmp_path, monkeypatch, deep.encode())
    with pytest.raises(CheckpointError, match=CARD_FILE):
        card_text("foreign")


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</code><script>alert(1)</script>",
    "`<script>alert(1)</script>`",
    "``` `` ` <b>",
    "a\n\n<script>alert(1)</script>\n\n# Heading",
    "[link](javascript:alert(1))",
    "![picture](x)",
    "*a* _b_ | c | $x$ ~~d~~ \\<b>",
    "&lt;b&gt; &#60;b&#62;",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_card_stays_text_where_it_becomes_html(tmp_path, monkeypatch, text):
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False})
    about = card("small") | {"command": text, "commit": text[:12], "device": text}
    about |= {"start": about["start"] | {"device": text, "command": text}}
    bad_card(tmp_path, monkeypatch, json.dumps(about).encode())
    good = markdown.render(card_text("small"))
    actual = markdown.render(card_text("foreign"))
    tags = re.compile(r"</?(?!code)[a-z][^>]*>")
    assert tags.findall(actual) == tags.findall(good), "the same elements as of a card without tricks"
    shown = " ".join(text.split())
    assert html.unescape(actual).count(shown) >= 4, "and it is shown as it is"
    row = measured_tables.networks_table({"foreign": about})
    assert all(tag in ("<p>", "</p>") for tag in tags.findall(markdown.renderInline(row[-1])))


def test_an_unfinished_run_is_told_by_its_card_and_by_those_of_its_heirs(tmp_path, monkeypatch):
    def stop(run):
        if run.games == 80:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(TINY, SHORT, tmp_path / "run", progress=False, on_evaluation=stop)
    about = ("…", "0123abc", "one core", 20)
    with pytest.raises(CheckpointError, match="unfinished: it has read 80 of 200 games.*unfinished=True"):
        export(tmp_path / "run", tmp_path / "part", *about)
    assert export(tmp_path / "run", tmp_path / "part", *about, unfinished=True)["unfinished"] is True
    start = starting_point(tmp_path / "part")
    more = dataclasses.replace(SHORT, n_games=16, first_game=80)
    train(TINY, more, tmp_path / "more", progress=False, start=start)
    assert "unfinished" not in export(tmp_path / "more", tmp_path / "whole", *about)
    monkeypatch.setenv(pretrained.MODELS_VARIABLE, str(tmp_path))
    for name in ("part", "whole"):
        assert card_text(name).count("stopped after 80 of 200 games") == 1
    assert "stopped after" not in card_text("small")


def test_export_tries_its_folder_before_it_measures(run_folder, tmp_path, monkeypatch):
    def never(*arguments):
        raise AssertionError("measured")

    monkeypatch.setattr(pretrained, "evaluate", never)
    (tmp_path / CARD_FILE).mkdir()
    with pytest.raises(OSError, match=CARD_FILE):
        export(run_folder, tmp_path, "…", "0123abc", "one core")
    with pytest.raises(OthelloEduError, match="empty name"):
        export(run_folder, "", "…", "0123abc", "one core")


# Going on from a model ------------------------------------------------------------------------------------


def test_training_goes_on_from_a_model_and_its_card_tells_the_whole_history(
    run_folder, tmp_path, monkeypatch
):
    export(run_folder, tmp_path / "first", "the first command", "0123abc", "one core", n_games=20)
    start = starting_point(tmp_path / "first")
    assert start.model.config == TINY and len(start.log) == 3
    more = dataclasses.replace(SHORT, n_games=100, first_game=200, targets="legal")
    run = train(TINY, more, tmp_path / "run", progress=False, start=start)
    assert run.games == 300 and [entry["games"] for entry in run.log] == [80, 160, 200, 248, 300]

    about = export(
        tmp_path / "run", tmp_path / "second", "the second command", "4567def", "a GPU", n_games=20
    )
    assert about["games_read"] == 300 and about["start"]["command"] == "the first command"
    assert about["start"]["training"] == dataclasses.asdict(SHORT)
    assert [json.loads(line)["games"] for line in open(tmp_path / "second" / LOG)] == [80, 160, 200, 248, 300]
    assert starting_point(tmp_path / "second").card["start"] == about["start"]

    monkeypatch.setenv(pretrained.MODELS_VARIABLE, str(tmp_path))
    text = card_text("second")
    assert "`the first command` at commit `0123abc`" in text and "; then `the second command`" in text
    assert "**Taught by**: the move that was drawn, then all legal moves with equal weight." in text


def test_a_card_of_before_targets_tells_of_drawn_moves_and_one_teacher_is_named_once():
    old = {"training": {"seed": 0}, "start": None}
    drawn, legal = ({"training": {"targets": name}} for name in ("move", "legal"))
    assert taught_by(old) == ("move",)
    assert taught_by(drawn | {"start": old}) == ("move",)
    assert taught_by(legal | {"start": drawn | {"start": old}}) == ("move", "legal")
    assert taught_by(drawn | {"start": legal | {"start": drawn}}) == ("move", "legal", "move")


def test_training_begins_with_the_weights_it_goes_on_from(run_folder, tmp_path):
    export(run_folder, tmp_path, "…", "0123abc", "one core", n_games=20)
    still = dataclasses.replace(SHORT, n_games=16, learning_rate=0.0, adamw_learning_rate=0.0)
    run = train(TINY, still, progress=False, start=starting_point(tmp_path))
    expected = load_model(tmp_path).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in run.model.state_dict().items())


def test_a_model_without_a_history_or_of_another_shape_is_no_starting_point(run_folder, tmp_path):
    export(run_folder, tmp_path, "…", "0123abc", "one core", n_games=20)
    with pytest.raises(OthelloEduError, match="the model to start from is .*d_model=16.*; this run trains"):
        train(dataclasses.replace(TINY, d_model=32), SHORT, progress=False, start=starting_point(tmp_path))
    (tmp_path / CARD_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="does not say how its model was trained"):
        starting_point(tmp_path)
    with pytest.raises(CheckpointError, match="does not describe a model"):
        starting_point(tmp_path / "nothing")


def test_a_folder_here_is_a_starting_point_by_its_bare_name(run_folder, tmp_path, monkeypatch):
    export(run_folder, tmp_path / "mine", "…", "0123abc", "one core", n_games=20)
    monkeypatch.chdir(tmp_path)
    assert starting_point("mine").card["games_read"] == 200
    assert starting_point("small").model.config == GPTConfig()


# What is shipped ----------------------------------------------------------------------------------------


def test_a_name_that_is_not_shipped_is_refused_with_those_that_are():
    for function in (load_pretrained, card):
        with pytest.raises(OthelloEduError, match="'tiny'.*there are: .*small"):
            function("tiny")
    with pytest.raises(OthelloEduError):
        load_pretrained("../weights/small")
    for name in ("", ".", "..", "a\0b", "small\0", "a" * 300, "a/b", None, 3, b"small", ["small"]):
        for function in (load_pretrained, card, card_text):
            with pytest.raises(OthelloEduError, match="there is no pretrained model|name of a model"):
                function(name)
    for name in ("a\0b", "a" * 300):
        with pytest.raises(CheckpointError):
            starting_point(name)


def test_a_model_outside_the_package_is_looked_for_where_the_message_says(model, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "MODELS", tmp_path / "checkout")
    monkeypatch.delenv(pretrained.MODELS_VARIABLE, raising=False)
    with pytest.raises(
        OthelloEduError, match="'base' does not come with .*checkout/base.*othello-edu train --help"
    ):
        load_pretrained("base")
    monkeypatch.setenv(pretrained.MODELS_VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.raises(OthelloEduError, match="elsewhere/base"):
        load_pretrained("base")
    save_model(model, tmp_path / "elsewhere" / "base")
    assert load_pretrained("base").config == TINY and "base" in shipped()


def test_small_is_shipped_and_loads():
    assert "small" in shipped() and oe.load_pretrained is load_pretrained
    model = load_pretrained("small")
    assert model.config == GPTConfig(board_size=8, n_layer=8, n_head=8, d_model=128) and not model.training
    assert (WEIGHTS / "small" / MODEL_FILE).stat().st_size < 4e6


def test_small_knows_more_of_the_rules_than_chance_and_as_much_as_its_card_says():
    about = card("small")
    games = random_games(60, seed=3)
    actual = evaluate(load_pretrained("small"), games)
    assert actual["legal_rate"] > 0.75
    # 60 games of 59 moves: three standard errors, were moves independent, doubled as they are not.
    p = about["measured"]["legal_rate"]
    assert abs(actual["legal_rate"] - p) < 6 * math.sqrt(p * (1 - p) / (60 * 59))
    assert actual["excess_loss"] == pytest.approx(about["measured"]["excess_loss"], rel=0.15)


@pytest.mark.skipif(not pretrained.MODELS.is_dir(), reason="models/ is in a checkout only")
def test_the_page_of_networks_says_of_the_wider_ones_and_of_the_other_teacher_what_was_measured():
    cards = {name: pretrained.card(name) for name in ("small", "small_legal", "medium_legal", "base")}
    excess = {name: card["measured"]["excess_loss"] for name, card in cards.items()}
    assert cards["small_legal"]["games_read"] == cards["small"]["games_read"]
    assert 0.4 < excess["small_legal"] / excess["small"] < 0.6, "about twice as near"
    assert cards["base"]["training"]["targets"] == "move" and cards["base"]["model"]["d_model"] == 512
    assert cards["base"]["games_read"] == cards["base"]["training"]["n_games"] < PRESETS["base"][1].n_games
    assert cards["medium_legal"]["model"]["d_model"] == 256


@pytest.mark.parametrize("name", shipped())
def test_the_card_of_every_model_is_complete(name):
    about = card(name)
    assert set(pretrained.HISTORY) | {"model", "n_parameters", "start", "measured"} == set(about)
    assert {
        "n_games",
        "loss",
        "excess_loss",
        "legal_rate",
        "legal_mass",
        "calibration",
        "legal_rate_by_ply",
    } == set(about["measured"])
    assert len(about["measured"]["legal_rate_by_ply"]) == about["model"]["board_size"] ** 2 - 4
    log = [json.loads(line) for line in (pretrained.model_folder(name) / LOG).read_text().splitlines()]
    assert log[-1]["games"] == about["games_read"]
    assert f"Model card: `{name}`" in card_text(name)
