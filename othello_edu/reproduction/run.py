"""Run a reproduction part by part, keep each part as soon as it is done, and put the results together.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

import ast
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import torch
from tqdm import tqdm

from ..errors import OthelloEduError
from ..files import FilePath, atomic_write, locked, make_folder, read_json, remove_temporaries
from ..model import GPT
from ..pretrained import CARD_FILE, load_model, model_folder, read_card, taught_by
from .claims import judge
from .plan import Part, parts
from .protocol import FULL, LAST_CLAIMED, PROTOCOLS, Sizes
from .results import RESULTS, SCHEMA, read_results
from .study import SEED, TABLES, Study

_AFTERWARDS = ("__init__.py", "claims.py", "figures.py", "run.py")  # they work on finished parts


def reproduce(
    model: FilePath | GPT,
    protocol: str,
    out: FilePath,
    sizes: Sizes = FULL,
    device: str = "cpu",
    progress: bool = True,
) -> dict:
    """Every figure and table of the paper, by one of the two protocols.

    Each finished part lies in the folder at once, and the same call goes on after the last one.

    Args:
        model: name of a shipped model, folder of one, or a `GPT`.
        protocol: "published" or "corrected".
        out: a folder. `parts` (finished parts), `work` (trained probes and SAEs) and `tables` in it may be
            deleted when all is done.
        sizes: how much of everything.
        device: where the network and what is trained compute, as torch names it.
        progress: show how far it is.

    Returns:
        What `results.json` holds.

    Raises:
        OthelloEduError: for an unknown protocol, a board that is not 8x8, a network with too few blocks for
            stages 1 to 7, a folder that holds parts of another run (another model, protocol, size, or other
            code), parts that are not what this run wrote under their name, or a folder that another
            run holds.

    See Also:
        Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
    """
    if protocol not in PROTOCOLS:
        raise OthelloEduError(f"protocol is {protocol!r}; it must be one of {', '.join(PROTOCOLS)}")
    name, network, taught = _load(model)
    if network.config.board_size != 8:
        raise OthelloEduError(
            f"{name} plays {network.config.board_size}x{network.config.board_size}; "
            "the paper's experiments are on 8x8"
        )
    stages = PROTOCOLS[protocol].stages(network.config.n_layer)
    if stages[-1] < LAST_CLAIMED:
        raise OthelloEduError(
            f"{name} has {network.config.n_layer} blocks: protocol {protocol!r} looks at stages 0 to "
            f"{stages[-1]}; the paper's claims are about stages 1 to {LAST_CLAIMED}"
        )
    header = {
        "schema": SCHEMA,
        "model": name,
        "weights_sha256": fingerprint(network),
        "taught_by": taught,
        "protocol": asdict(PROTOCOLS[protocol]),
        "sizes": asdict(sizes),
        "games_seed": SEED,
        "code_sha256": code_fingerprint(),
    }
    folder = make_folder(out, RESULTS)
    with locked(folder):
        for inside in ("parts", "work", TABLES):
            remove_temporaries(make_folder(folder / inside))
        remove_temporaries(folder, RESULTS)
        study = Study(network.to(device), PROTOCOLS[protocol], sizes, folder / "work")
        return _run_parts(study, header, folder, progress)


def _run_parts(study: Study, header: dict, out: Path, progress: bool) -> dict:
    listed, finished = parts(study.protocol, study.model.config.n_layer, study.sizes), {}
    total = sum(share for _, share in listed.values())
    with tqdm(total=total, disable=not progress, bar_format=_BAR) as bar:
        for part, (function, share) in listed.items():
            bar.set_description(part)
            finished[part] = _kept_part(out, part, header, study) or _compute_part(
                out, part, header, function, study
            )
            bar.update(share)
    results = header | {"made": {part: kept["made"] for part, kept in finished.items()}}
    results["results"] = {part: kept["result"] for part, kept in finished.items()}
    results["claims"] = judge(results)
    _write(out / RESULTS, results)
    return read_results(out)


_BAR = "{desc:24} {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} to go"


def fingerprint(model: GPT) -> str:
    """SHA-256 of the weights of `model`, in the order of its parameters."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def code_fingerprint() -> str:
    """SHA-256 of the code that results depend on: parts that other code made are not mixed in.

    Comments and docstrings do not count.
    """
    digest = hashlib.sha256()
    package = Path(__file__).parent.parent
    used = """activations baselines board_metrics dictionaries directions engine evaluation games labels model
        planted probes sae sae_training scoring stability""".split()
    here = [path for path in Path(__file__).parent.glob("*.py") if path.name not in _AFTERWARDS]
    for path in [*(package / f"{name}.py" for name in used), *sorted(here)]:
        digest.update(_without_words(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


def _without_words(source: str) -> str:
    """Code without its comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _load(model: FilePath | GPT) -> tuple[str, GPT, list[str]]:
    """What the model is called, the model, and what it was taught by: nothing where it has no card."""
    if isinstance(model, GPT):
        return "a GPT", model.eval(), []
    folder = Path(model)
    if not folder.is_dir():
        folder = model_folder(str(model))
    has_card = (folder / CARD_FILE).exists()
    return folder.name, load_model(folder), list(taught_by(read_card(folder))) if has_card else []


def _part_file(out: Path, part: str) -> Path:
    return out / "parts" / f"{part.replace('/', '_')}.json"


def _kept_part(out: Path, part: str, header: dict, study: Study) -> dict | None:
    """What an earlier run has kept of a part, if it was a run of the same."""
    path = _part_file(out, part)
    if not path.exists():
        return None
    again = "delete it, and the part runs again"
    try:
        kept = read_json(path)
        made_by, _, _ = kept["header"], kept["result"], kept["made"]
        differs = [key for key in header if made_by.get(key) != header[key]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OthelloEduError(f"{path} is damaged ({error}); {again}") from error
    if made_by != header:
        raise OthelloEduError(
            f"{out} holds parts of another run (its {', '.join(differs)} differ): choose another folder"
        )
    if kept.get("part") != part:
        raise OthelloEduError(
            f"{path} holds the part {kept.get('part')!r} under the name of another; {again}"
        )
    if kept.get("sha256") != _digest(kept):
        raise OthelloEduError(f"{path} is altered: it does not have the SHA-256 that it states; {again}")
    study.saved |= kept.get("saved", {})
    return kept


def _digest(kept: dict) -> str:
    """SHA-256 of all that a part's file says."""
    text = json.dumps({key: value for key, value in kept.items() if key != "sha256"})
    return hashlib.sha256(text.encode()).hexdigest()


def _compute_part(out: Path, part: str, header: dict, function: Part, study: Study) -> dict:
    """Run a part, and keep what it returns with how it was made."""
    # Each part alone decides its randomness, so that it matters not which ran before it.
    torch.manual_seed(0)
    start, before = perf_counter(), dict(study.saved)
    result = function(study)
    made = {
        "seconds": round(perf_counter() - start, 1),
        "device": str(next(study.model.parameters()).device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    saved = {name: digest for name, digest in study.saved.items() if before.get(name) != digest}
    kept = {"part": part, "header": header, "made": made, "saved": saved, "result": result}
    _write(_part_file(out, part), kept | {"sha256": _digest(kept)})
    return kept


def _write(path: Path, content: dict) -> None:
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=None, separators=(",", ":"), allow_nan=False)
        file.write("\n")
