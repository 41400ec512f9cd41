"""Does it matter what a network was taught by? Writes results/arms.json, for the page that shows it.

    .venv/bin/python tools/compare_arms.py

The networks of each arm are named in `ARMS`; what is measured, and when arms differ, in
`othello_edu.reproduction.arms`. Numbers behind verdicts come from `othello-edu reproduce`, whose results of
every network must be there. Measurements are kept as they come; a network that is there with the same weights
is not measured again.
"""

import json
import sys
from dataclasses import asdict
from numbers import Real
from pathlib import Path

import numpy as np

from othello_edu.errors import OthelloEduError
from othello_edu.files import atomic_write
from othello_edu.pretrained import card, load_pretrained
from othello_edu.reproduction import load_results
from othello_edu.reproduction.arms import (
    MEASURES,
    SAE_KS,
    SAE_STAGES,
    compare,
    compare_pairs,
    measure,
    similarities,
)
from othello_edu.reproduction.results import round_all, rounded
from othello_edu.reproduction.run import fingerprint

RESULTS = Path(__file__).parent.parent / "results" / "arms.json"
ARMS = {
    "move": ["small_600k", "small_seed1", "small_seed2"],
    "legal": ["small_legal_seed0", "small_legal_seed1", "small_legal_seed2"],
}
BESIDE = ["small_then_move"]  # measured and shown, but in no arm


def write(results: dict) -> None:
    with atomic_write(RESULTS, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


def compared(of_arms: list[dict], pairs: np.ndarray) -> dict:
    """Every measure: the two arms, and what comes of it."""
    n_first = len(ARMS["move"])
    found = {}
    for name, of in MEASURES.items():
        if name == "readings":
            found[name] = compare_pairs(pairs, n_first, of.matters)
        else:
            found[name] = compare([network[name] for network in of_arms], n_first, of.matters)
    rows = {}
    for name, of in MEASURES.items():
        numbers = asdict(found[name])
        means, outcome = round_all(numbers.pop("means")), numbers.pop("outcome")
        numbers = {key: rounded(value) for key, value in numbers.items()}
        rows[name] = asdict(of) | {"means": means} | numbers | {"outcome": outcome}
    return rows


def claims(names: list[str]) -> list[dict]:
    """The verdicts of the paper's claims on each network, and the numbers that the arms differ in."""
    runs = [load_results(name, "corrected") for name in names]
    if len({json.dumps(run["sizes"]) for run in runs}) > 1:
        raise OthelloEduError("the reproductions of these networks differ in size")
    rows = []
    for of_claim in zip(*(run["claims"] for run in runs), strict=True):
        shared = set.intersection(*(set(claim["numbers"]) for claim in of_claim))
        numbers = {}
        for key in of_claim[0]["numbers"]:
            values = [claim["numbers"].get(key) for claim in of_claim]
            if key in shared and all(isinstance(value, Real) for value in values) and len(set(values)) > 1:
                found = compare(np.array(values, float)[:, None], len(ARMS["move"]), 0)
                numbers[key] = {
                    "means": round_all(found.means[:, 0]),
                    "spread": rounded(found.spread),
                    "found_from": rounded(found.found_from),
                    "differ": found.outcome == "differ",
                }
        verdicts = [claim["verdict"] for claim in of_claim]
        rows.append({"source": of_claim[0]["source"], "says": of_claim[0]["says"]})
        rows[-1] |= {"verdicts": verdicts, "numbers": numbers}
    return rows


def main() -> int:
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    measured = kept.get("networks", {})
    names = [*ARMS["move"], *ARMS["legal"]]
    models = {name: load_pretrained(name) for name in (*names, *BESIDE)}
    for name, model in models.items():
        if measured.get(name, {}).get("weights_sha256") != fingerprint(model):
            print(f"measuring {name}", flush=True)
            measured[name] = {"weights_sha256": fingerprint(model), "games": card(name)["games_read"]}
            measured[name] |= {"measured": measure(model)}
            write(kept | {"networks": measured})
    print("comparing pairs", flush=True)
    pairs = np.array(round_all(similarities([models[name] for name in names])))
    results = {
        "arms": ARMS,
        "sae": {"stages": SAE_STAGES, "k": SAE_KS},
        "beside": BESIDE,
        "networks": {name: measured[name] for name in models},
        "pairs": round_all(pairs),
        "compared": compared([measured[name]["measured"] for name in names], pairs),
        "claims": claims(names),
    }
    write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
