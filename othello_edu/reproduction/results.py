"""The results file: numbers as it holds them, and how it is read.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

import json
from pathlib import Path
from typing import SupportsFloat

import numpy as np
import numpy.typing as npt

from ..errors import OthelloEduError
from ..files import FilePath

SCHEMA = 1
RESULTS = "results.json"
_PACKAGE = Path(__file__).parent.parent
ROOTS = (_PACKAGE / "results", _PACKAGE.parent / "results")  # installed; in a checkout


def load_results(model: str, protocol: str) -> dict:
    """The committed results of a shipped model.

    Args:
        model: its name.
        protocol: "published" or "corrected".

    Returns:
        What `reproduce` returned.

    Raises:
        OthelloEduError: that says what there is, and how the rest is made.

    Example:
        >>> load_results("small", "corrected")["protocol"]["name"]
        'corrected'
    """
    for root in ROOTS:
        path = root / model / protocol / RESULTS
        if Path(model).name == model and path.is_file():
            return read_results(path)
    available = {path.parts[-3:-1] for root in ROOTS for path in root.glob(f"*/*/{RESULTS}")}
    known = ", ".join("/".join(pair) for pair in sorted(available)) or "none"
    raise OthelloEduError(
        f"no results of {model!r} by protocol {protocol!r} come with the package; there are: {known}. "
        f"To make them: othello-edu reproduce --model {model} --protocol {protocol} "
        f"--out results/{model}/{protocol}"
    )


def read_results(path: FilePath) -> dict:
    """The results file of a run.

    Args:
        path: of the file, or of its folder.

    Returns:
        What `reproduce` returned.

    Raises:
        OthelloEduError: for a file that is not one, or of another schema.
    """
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
    """The results of a part that runs for each stage.

    Args:
        results: `{name of part: result}`.
        part: the name before the stage.

    Returns:
        `{stage: result}`, in order.

    Example:
        >>> by_stage({"probes/2": {}, "probes/0": {}, "model": {}}, "probes")
        {0: {}, 2: {}}
    """
    of_part = {name: result for name, result in results.items() if name.startswith(part + "/")}
    return dict(sorted((int(name.split("/")[1]), result) for name, result in of_part.items()))


def rounded(value: SupportsFloat) -> float | None:
    """A number for the results file, `value` to four digits; null for NaN, which JSON does not have."""
    number = float(value)
    return None if np.isnan(number) else round(number, 4)


def round_all(values: npt.ArrayLike) -> list:
    """`rounded`, of each of `values`, an array of any shape but a single number."""
    values = np.asarray(values, float)
    return [rounded(value) if values.ndim == 1 else round_all(value) for value in values]
