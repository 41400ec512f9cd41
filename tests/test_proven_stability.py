"""Proven stability read from streams: what is planted is found, sums of colours are not, fits are matched."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from othello_edu.games import random_games
from othello_edu.pretrained import MODELS, load_pretrained
from othello_edu.reproduction.run import fingerprint
from othello_edu.stability import stable_sound

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import proven_stability  # noqa: E402  (the folder is no package)


@pytest.fixture(scope="module")
def record():
    return json.loads(proven_stability.RESULTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def samples():
    return {
        part: proven_stability.Sample(random_games(150, seed=at)) for at, part in enumerate(("fit", "judge"))
    }


def test_a_planted_direction_is_found_and_what_only_adds_up_is_not(samples):
    """The true stream here is a mixture of the colours, and noise: there is nothing else to find."""
    random = torch.Generator().manual_seed(0)
    mixture = torch.randn(244, 64, generator=random)
    colours = {part: of.facts["colours"] for part, of in samples.items()}
    streams = {p: x @ mixture + torch.randn(len(x), 64, generator=random) for p, x in colours.items()}
    made_up = proven_stability.made_up_streams(streams, samples)

    def judged(of):
        scores = proven_stability.linear(of["fit"], samples["fit"].labels, of["judge"], epochs=6)
        return proven_stability.judged(scores, samples["judge"], n_resamples=50)

    rival = judged(colours)
    found = {
        name: proven_stability.summary(judged(of) - rival, proven_stability.PLANTED)
        for name, of in made_up.items()
    }
    assert found["without"]["high"] < 0 < found["planted"]["low"]


def test_hidden_layers_read_from_colours_what_no_sum_of_them_holds(samples):
    """Whether two tiles have the same colour, the simplest thing of this kind."""
    pairs = {
        part: of.facts["colours"][:, :192].view(-1, 64, 3)[:, [27, 28], 1] for part, of in samples.items()
    }
    equal = {part: (x[:, 0] == x[:, 1]).numpy() for part, x in pairs.items()}
    labels = np.repeat(equal["fit"][:, None], 64, axis=1).astype(np.int8)
    right = {
        name: ((reader(pairs["fit"], labels, pairs["judge"], 3)[:, 0] > 0) == equal["judge"]).mean()
        for name, reader in proven_stability.READERS.items()
    }
    assert right["hidden layers"] == 1 > right["linear"] + 0.1


def test_proven_discs_stay_proven_if_all_colours_are_swapped(samples):
    games = samples["judge"].games[:20]
    boards = proven_stability.replay(games).boards
    swapped = np.array([0, 2, 1], np.int8)[boards]
    np.testing.assert_array_equal(stable_sound(boards), stable_sound(swapped))


def test_labels_are_masked_where_no_disc_lies(samples):
    of = samples["fit"]
    assert ((of.labels == -1) == ~of.taken).all()
    assert ((of.labels == 1) == of.stable).all() and of.stable.any()


def test_the_committed_readings_are_matched_in_games(record):
    by_reader = {}
    for of in record["readings"]:
        by_reader.setdefault(of["reader"], {}).setdefault(of["reads"], []).append((of["games"], of["epochs"]))
    made_up = {"without", "planted"}
    for reader, names in by_reader.items():
        assert set(names) - made_up == set(proven_stability.WHO_READS[reader])
        fits = [fit for name, fit in names.items() if name not in made_up]
        assert all(fit == fits[0] for fit in fits) and len(fits[0]) > 3
    assert record["games"]["fit"] == proven_stability.GAMES["fit"]


@pytest.mark.skipif(not MODELS.exists(), reason="the networks are in a checkout alone")
def test_the_committed_readings_are_of_the_shipped_network(record):
    assert record["weights_sha256"] == fingerprint(load_pretrained(record["model"]))


def test_the_instrument_finds_the_planted_stability_and_nothing_beyond_the_rivals_in_the_network(record):
    differences = record["differences"]
    assert differences["planted, linear - colours, linear"]["planted"]["low"] > 0.03
    assert differences["without, linear - colours, linear"]["planted"]["high"] < 0
    of_stream = [of for pair, of in differences.items() if pair.startswith("the stream")]
    assert len(of_stream) == 5
    assert all(of[place]["high"] < 0 for of in of_stream for place in ("sides", "inside"))
