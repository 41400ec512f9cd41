"""The results file: numbers as it holds them, and how it is read."""

import json
from pathlib import Path

import numpy as np

from ..errors import OthelloEduError

SCHEMA = 1
RESULTS = "results.json"
_PACKAGE = Path(__file__).parent.parent
ROOTS = (_PACKAGE / "results", _PACKAGE.parent / "results")  # installed; in a checkout


def load_results(model: str, protocol: str) -> dict:
    """The committed results of a shipped model: `load_results("small", "corrected")`.

    Raises OthelloEduError that says what there is, and how the rest is made.
    """
    for root in ROOTS:
        path = root / model / protocol / RESULTS
        if Path(model).name == model and path.is_file():
            return read_results(path)
    available = {path.parts[-3:-1] for root in ROOTS for path in root.glob(f"*/*/{RESULTS}")}
    known = ", ".join("/".join(pair) for pair in sorted(available)) or "none"
    raise OthelloEduError(
        f"no results of {model!r} by protocol {protocol!r} come with the package; there are: {known}. To "
        f"make "
        f"them: othello-edu reproduce --model {model} --protocol {protocol} --out results/{model}/{protocol}"
    )


def read_results(path: str | Path) -> dict:
    """The results file of a run. Raises OthelloEduError for a file that is not one, or of another schema."""
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        schema = results["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OthelloEduError(f"{path} is not a results file of `othello-edu reproduce`: {error}") from error
    if schema != SCHEMA:
        raise OthelloEduError(f"{path} has schema {schema}; this version reads schema {SCHEMA}: run it again")
    return results


def by_stage(results: dict, part: str) -> dict[int, dict]:
    """{stage: result} of a part that runs for each stage, in order, from {part: result}."""
    of_part = {name: result for name, result in results.items() if name.startswith(part + "/")}
    return dict(sorted((int(name.split("/")[1]), result) for name, result in of_part.items()))


def rounded(value) -> float | None:
    """To four digits, for the results file; null for NaN, which JSON does not have."""
    return None if np.isnan(value := float(value)) else round(value, 4)


def round_all(values) -> list:
    """`rounded`, of an array of any shape."""
    values = np.asarray(values, float)
    return rounded(values) if values.ndim == 0 else [round_all(value) for value in values]
