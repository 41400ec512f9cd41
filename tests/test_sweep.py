"""The sweep of training settings: every row differs in one thing, is measured once, and is shown."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from othello_edu.model import GPTConfig
from othello_edu.presets import PRESETS, TrainingConfig

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "book" / "_ext")]

import measured_tables  # noqa: E402  (neither folder is a package)
import sweep  # noqa: E402


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    config = TrainingConfig(n_games=64, batch_size=16, warmup_steps=2)
    monkeypatch.setitem(PRESETS, "mini", (GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8), config))
    monkeypatch.setattr(sweep, "RESULTS", tmp_path / "sweep.json")
    return tmp_path / "sweep.json"


def test_each_row_changes_one_thing_of_the_preset():
    base_model, base = (asdict(config) for config in PRESETS["mini"])
    for name, changes in sweep.CHANGES.items():
        model, training = (asdict(config) for config in sweep.configuration("mini", "move", changes))
        changed = {k for k in model if model[k] != base_model[k]}
        changed |= {k for k in training if training[k] != base[k]} - {"precision"}
        if "adamw_only" in changes:
            assert changed == {"learning_rate", "adamw_learning_rate"}
        else:
            assert changed == set(changes) - {"averaged"}, name


def test_rows_are_added_once_and_each_gets_the_same_time(tiny, monkeypatch):
    speeds = {"as the preset": 1.0, "batch of 32 games": 0.5, "AdamW alone, 0.001": 1.5}
    by_changes = {json.dumps(sweep.CHANGES[name]): speed for name, speed in speeds.items()}
    monkeypatch.setattr(
        sweep, "relative_speed", lambda preset, targets, changes: by_changes[json.dumps(changes)]
    )
    arguments = ["--preset", "mini", "--games", "64", "--only", *speeds]
    assert sweep.main(arguments[:-1]) == 0
    assert sweep.main(arguments) == 0
    rows = json.loads(tiny.read_text())
    assert [row["change"] for row in rows] == list(speeds)
    assert [row["games"] for row in rows] == [64, 32, 96]
    assert all(0 < row["legal_rate"] <= 1 for row in rows)
    assert len({row["excess_loss"] for row in rows}) == 3


def test_other_targets_make_rows_of_their_own(tiny):
    arguments = ["--preset", "mini", "--games", "64", "--only", "as the preset"]
    assert sweep.main([*arguments, "--targets", "legal"]) == sweep.main(arguments) == 0
    legal, move = json.loads(tiny.read_text())
    assert (legal["targets"], move["targets"]) == ("legal", "move")
    assert legal["games"] == move["games"] and legal["excess_loss"] != move["excess_loss"]


def test_averaged_weights_are_the_mean_of_the_last_ones(tiny):
    """A single step is averaged at 64 games in batches of 16: the mean is the end itself, with its rates."""
    short = sweep.one_run("mini", "move", {"decay": 0.0, "averaged": 0.25}, 64)
    alone = sweep.one_run("mini", "move", {"decay": 0.0}, 64)
    longer = sweep.one_run("mini", "move", {"decay": 0.0, "averaged": 0.75}, 64)
    assert short["excess_loss"] == alone["excess_loss"] != longer["excess_loss"]


def test_speed_is_relative_to_the_preset(tiny):
    assert sweep.relative_speed("mini", "move", {"warmup_steps": 0}) == 1.0
    assert sweep.relative_speed("mini", "move", {"batch_size": 32}, rounds=2, steps=1) > 0


def test_the_table_has_every_row_of_the_file_and_the_best_one_first():
    rows = json.loads((ROOT / "book" / "sweep.json").read_text())
    assert {row["change"] for row in rows} <= set(sweep.CHANGES)
    lines = measured_tables.sweep_table(rows)
    first_cells = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert sorted(set(first_cells) - {"what is changed", ":--"}) == sorted({row["change"] for row in rows})
    assert len([name for name in first_cells if name in sweep.CHANGES]) == len(rows)
    same_time = [row for row in rows if row["preset_games"] == rows[0]["preset_games"]]
    best = min(same_time, key=lambda row: row["excess_loss"])
    assert lines[4].startswith(f"| {best['change']} | {best['relative_speed']:.2f} | {best['games']:,} |")


def test_a_networks_row_tells_its_whole_history():
    card = json.loads((ROOT / "othello_edu" / "weights" / "small_20k" / "card.json").read_text())
    first = card | {"seconds": 120, "device": "a laptop", "start": None}
    second = card | {"seconds": 60, "device": "a GPU", "games_read": 4321, "start": first}
    head, rule, *rows, blank, made, went_on = measured_tables.networks_table({"one": first, "two": second})
    assert head.count("|") == rule.count("|") == rows[0].count("|") and len(rows) == 2 and not blank
    assert "| `one` | 8×128 | drawn move | 20,032 |" in rows[0] and "| 4,321 |" in rows[1]
    assert f"| {card['measured']['legal_rate']:.2%} |" in rows[0]
    assert made == "- `one`: seed 0; 2 minutes on a laptop."
    assert went_on == "- `two`: seed 0; 2 minutes on a laptop; then 1 minute on a GPU."


def test_the_page_says_of_small_what_was_measured():
    rows = json.loads((ROOT / "book" / "sweep.json").read_text(encoding="utf-8"))
    ten_minutes = {
        row["change"]: row for row in rows if (row["preset"], row["preset_games"]) == ("small", 180_000)
    }
    excess = {change: row["excess_loss"] for change, row in ten_minutes.items()}
    preset = excess.pop("as the preset")
    for as_well in ("half as many blocks", "Muon at twice the rate"):
        assert abs(excess[as_well] - preset) < 0.006
    for a_little_less in ("half the width again", "batch of 32 games", "batch of 128 games"):
        assert 0.006 < excess[a_little_less] - preset < 0.015
    for clearly_less in ("half as many blocks again", "three quarters of the width", "twice the width"):
        assert excess[clearly_less] > preset + 0.018
    assert max(excess, key=excess.get) == "twice the width"


def test_the_page_says_of_three_times_as_long_what_was_measured():
    rows = json.loads((ROOT / "book" / "sweep.json").read_text(encoding="utf-8"))
    excess = {
        row["preset_games"]: row["excess_loss"]
        for row in rows
        if (row["preset"], row["change"]) == ("small", "as the preset")
    }
    assert 0.5 < excess[540_000] / excess[180_000] < 0.65
    assert sum(row["preset_games"] == 540_000 for row in rows) == 1


def test_the_page_says_of_averaged_weights_what_was_measured():
    rows = json.loads((ROOT / "book" / "sweep.json").read_text(encoding="utf-8"))
    of = {row["change"]: row for row in rows if (row["preset"], row["preset_games"]) == ("small", 180_000)}
    mean, preset = of["rates stay, mean of the last weights"], of["as the preset"]
    assert mean["legal_rate"] >= preset["legal_rate"] and mean["excess_loss"] > preset["excess_loss"] + 0.01


def test_the_page_says_of_small_legal_when_it_learned_what_was_logged():
    log = (ROOT / "models" / "small_legal" / "log.jsonl").read_text().splitlines()
    excess = {entry["games"]: entry["excess_loss"] for entry in map(json.loads, log)}
    high, falls, end = excess[600_000], excess[1_200_000], excess[2_000_000]
    assert 0 < high - falls < 0.02 < 0.1 < falls - end


def test_the_page_says_of_networks_of_a_gpu_what_was_measured():
    models = {
        path.parent.name: json.loads(path.read_text()) for path in (ROOT / "models").glob("*/card.json")
    }
    models["small"] = json.loads((ROOT / "othello_edu" / "weights" / "small" / "card.json").read_text())
    excess = {name: card["measured"]["excess_loss"] for name, card in models.items()}
    on_gpu = {name for name, card in models.items() if "H100" in card["device"]}
    assert on_gpu == {"base", "medium_legal"}
    assert all(models[name]["seconds"] < 12 * 60 for name in on_gpu)
    assert max(excess[name] for name in on_gpu) < 0.6 * min(excess[name] for name in excess.keys() - on_gpu)
