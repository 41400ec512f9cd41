"""Two teachers on the page: the committed comparison is what the rule says, and tables and figure show it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from othello_edu.pretrained import MODELS, card, load_pretrained, taught_by
from othello_edu.reproduction import figures, load_results
from othello_edu.reproduction.arms import MEASURES
from othello_edu.reproduction.run import fingerprint

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "book" / "_ext")]

import compare_arms  # noqa: E402  (neither folder is a package)
import measured_tables  # noqa: E402

pytestmark = pytest.mark.skipif(not MODELS.exists(), reason="the networks are in a checkout alone")


@pytest.fixture(scope="module")
def record():
    return json.loads(compare_arms.RESULTS.read_text(encoding="utf-8"))


def test_the_arms_are_networks_of_one_teacher_matched_in_excess_loss(record):
    assert record["arms"] == compare_arms.ARMS
    for arm, names in record["arms"].items():
        assert [taught_by(card(name)) for name in names] == [(arm,)] * len(names)
    move, legal = ([card(n)["measured"]["excess_loss"] for n in of] for of in record["arms"].values())
    assert max(abs(np.subtract(move, legal))) < 0.01
    for name, network in record["networks"].items():
        assert network["weights_sha256"] == fingerprint(load_pretrained(name))


def test_the_committed_comparison_follows_from_the_committed_measurements(record):
    names = sum(record["arms"].values(), [])
    of_arms = [record["networks"][name]["measured"] for name in names]
    assert compare_arms.compared(of_arms, np.array(record["pairs"])) == record["compared"]
    assert set(record["compared"]) == set(MEASURES)
    assert compare_arms.claims(names) == record["claims"]


def test_the_tables_show_every_measure_and_every_claim(record):
    of_measures = measured_tables.arms_table(record)
    assert len(of_measures) == 2 + len(MEASURES)
    assert len({line.count("|") for line in of_measures}) == 1
    for line, (name, row) in zip(of_measures[2:], record["compared"].items(), strict=True):
        assert MEASURES[name].says in line and f"**{row['outcome']}**" in line
    of_claims = measured_tables.arms_claims_table(record)
    assert len(of_claims) == 2 + len(load_results("small", "corrected")["claims"])
    assert len({line.count("|") for line in of_claims}) == 1


def test_the_figure_draws_each_network_in_each_panel(record):
    figure = figures.arms(record)
    drawn = record["networks"]
    names = sum(record["arms"].values(), [])
    for ax, name in zip(
        figure.axes, ("discs", "mine_above_colours", "edited_board", "sae_variance"), strict=True
    ):
        for line, network in zip(ax.lines, names, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), drawn[network]["measured"][name])


def test_what_the_page_concludes_is_what_was_found(record):
    found = record["compared"]
    outcome = {name: row["outcome"] for name, row in found.items()}
    assert outcome["excess_loss"] == "agree"  # matched
    assert outcome["all_squares"] == outcome["discs"] == "differ"
    for name in ("all_squares", "discs"):
        move, legal = found[name]["means"]
        assert legal[1] > move[1] and legal[-1] < move[-1]
    for name in ("mine_above_colours", "edited_board", "true_board", "random_push"):
        assert outcome[name] in ("agree", "differ slightly")
    for name in ("sae_variance", "sae_loss"):
        move, legal = np.array(found[name]["means"])
        assert outcome[name] == "differ" and (legal > move).all()
    relative = {name: row["difference"] / row["matters"] for name, row in found.items()}
    assert {name for name in relative if relative[name] == max(relative.values())} <= {
        "sae_variance",
        "sae_loss",
    }
    games = {arm: [card(name)["games_read"] for name in names] for arm, names in record["arms"].items()}
    assert max(games["legal"]) < min(games["move"])
