"""The shipped models: rounded once to float16, checked against their SHA-256, with a card each.

See Also:
    Chapter 4, :doc:`/notebooks/04_training`, and :doc:`/book/networks`.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from . import checks
from .checkpoints import LOG, StartingPoint, read_run
from .errors import CheckpointError, OthelloEduError
from .evaluation import evaluate
from .files import FilePath, atomic_write, make_folder, read_json
from .games import random_games
from .model import GPT, GPTConfig, check_weights, checked_model
from .presets import EVALUATION_SEED

WEIGHTS = Path(__file__).parent / "weights"
MODELS = WEIGHTS.parent.parent / "models"  # of a checkout: models that no chapter needs stay out of the wheel
MODELS_VARIABLE = "OTHELLO_EDU_MODELS"
OUTSIDE = (
    *("base", "medium_legal", "small_600k", "small_seed1", "small_seed2", "small_legal"),
    *("small_legal_seed0", "small_legal_seed1", "small_legal_seed2", "small_then_move"),
)
MODEL_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "card.json"
SHARD_BYTES = 15 * 2**20  # no file of weights holds more, unless one matrix alone does

# What the card of a model says about its training; the next one's card repeats it if it goes on from there.
HISTORY = ("training", "games_read", "command", "commit", "seconds", "device")


def shipped() -> tuple[str, ...]:
    """Names that `load_pretrained` finds on this machine, in alphabetical order."""
    return tuple(sorted({path.parent.name for root in _roots() for path in root.glob(f"*/{CONFIG_FILE}")}))


def _roots() -> list[Path]:
    extra = os.environ.get(MODELS_VARIABLE)
    return [WEIGHTS, MODELS, *([Path(extra)] if extra else [])]


def model_folder(name: str) -> Path:
    """Where a model lies: in the package, in `models/` of a checkout, or in `$OTHELLO_EDU_MODELS`.

    Args:
        name: of the model, such as "small".

    Raises:
        OthelloEduError: says where it looked, and what to do.
    """
    checks.kind_of("name", name, str, "the name of a model, such as 'small'")
    one_folder = name not in ("", ".", "..") and Path(name).name == name
    for root in _roots() if one_folder else ():
        if os.path.isfile(root / name / CONFIG_FILE):  # False, too, for a name that no file can have
            return root / name
    if name not in OUTSIDE:
        available = ", ".join(shipped()) or "none"
        raise OthelloEduError(f"there is no pretrained model {name!r}; there are: {available}")
    roots = ", ".join(str(root / name) for root in _roots())
    raise OthelloEduError(
        f"the model {name!r} does not come with the package and is not on this machine (looked in {roots}). "
        f"If the project's repository has models/{name}, clone it, or copy that folder into a folder that "
        f"${MODELS_VARIABLE} names. To train it, see `othello-edu train --help`, then `othello-edu export`."
    )


def load_pretrained(name: str) -> GPT:
    """A shipped model, in float32 and evaluation mode.

    Args:
        name: one of `shipped()`.

    Raises:
        OthelloEduError: for a name that is not found.
        CheckpointError: names the file, for weights that are missing, altered, truncated, or do not fit their
            configuration.

    Example:
        >>> load_pretrained("small").config
        GPTConfig(board_size=8, n_layer=8, n_head=8, d_model=128, dropout=0.0)

    See Also:
        Chapter 4, :doc:`/notebooks/04_training`, and :doc:`/book/networks`.
    """
    return load_model(model_folder(name))


def starting_point(name: str | Path) -> StartingPoint:
    """A model that training can go on from.

    Args:
        name: of a shipped one, or a folder.

    Raises:
        OthelloEduError: as `load_model` does.
        CheckpointError: as `load_model` does, and for a folder without a readable card and log.
    """
    folder = model_folder(str(name)) if str(name) in (*shipped(), *OUTSIDE) else Path(name)
    model = load_model(folder)
    try:
        about = read_json(folder / CARD_FILE)
        history = {key: about[key] for key in HISTORY} | {"start": about.get("start")}
        log = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
        int(history["training"]["seed"]), int(history["games_read"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder} does not say how its model was trained: {error}") from error
    return StartingPoint(model, history, log)


def card(name: str) -> dict:
    """What was measured about a shipped model, and how it was made.

    Args:
        name: one of `shipped()`.

    Raises:
        OthelloEduError: for a name that is not found.
        CheckpointError: for a card that is missing or no JSON.
    """
    return read_card(model_folder(name))


def read_card(folder: FilePath) -> dict:
    """The card in a folder that `export` wrote.

    Args:
        folder: of a model.

    Raises:
        CheckpointError: for a card that is missing or no JSON.
    """
    path = Path(checks.kind_of("folder", folder, (str, os.PathLike), "the path of a folder")) / CARD_FILE
    try:
        about = read_json(path)
        if not isinstance(about, dict):
            raise ValueError(f"it holds a {type(about).__name__}")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no card of a model: {error}") from error
    return about


def card_text(name: str) -> str:
    """The card of a shipped model as Markdown; no text in it is taken for Markdown or HTML.

    Args:
        name: one of `shipped()`.

    Raises:
        OthelloEduError: for a name that is not found.
        CheckpointError: as `card` does, and for a card that lacks something.
    """
    about = card(name)
    try:
        return _markdown(name, about)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        path = model_folder(name) / CARD_FILE
        raise CheckpointError(f"{path} lacks what a card says: {type(error).__name__}: {error}") from error


def _markdown(name: str, about: dict) -> str:
    model, training, measured = about["model"], about["training"], about["measured"]
    by_ply = measured["legal_rate_by_ply"]
    rates = ", ".join(
        f"{ply + 1}: {by_ply[ply]:.1%}" for ply in range(9, len(by_ply), 10) if by_ply[ply] is not None
    )
    size = model["board_size"]
    return f"""### Model card: {as_code(name)}

- **Network**: GPT, {model["n_layer"]:d} blocks of {model["d_model"]:d} dimensions, {model["n_head"]:d} heads,
  {about["n_parameters"]:,} parameters, {size:d}x{size:d} Othello.
- **Data**: {about["games_read"]:,} uniform random legal games, generated on the fly, each read once
  (seed {training["seed"]:d}).
- **Taught by**: {", then ".join(TEACHERS[name] for name in taught_by(about))}.
- **Made by**: {_history_text(about)}.
- **Measured** on {measured["n_games"]:,} random games that it never saw, after rounding to float16:
  loss {measured["loss"]:.4f} nats per move,
  excess loss over the best possible {measured["excess_loss"]:.4f} nats,
  likeliest move legal {measured["legal_rate"]:.2%}, probability on legal moves {measured["legal_mass"]:.2%}.
- **Likeliest move legal, by move number**: {rates}.
- **Calibration**: the probability of its likeliest move is
  off by {measured["calibration"]["error"]:.3f} on average (expected calibration error).
- **Not for** playing well: it has seen random games only, and knows what is legal, not what is good.
  Not for other board sizes, for positions that no game reaches, or as evidence about language models.
"""


def trainings(about: dict) -> list[dict]:
    """The trainings that a card tells of, the first one first: one that went on from another has several.

    Args:
        about: a card.
    """
    earlier = about.get("start")
    return [*(trainings(earlier) if earlier else []), about]


def taught_by(about: dict) -> tuple[str, ...]:
    """What a network was told about the next move, in the order of its trainings.

    Args:
        about: its card.

    Returns:
        `("move",)`, `("legal",)`, or several where its teacher changed.
    """
    names = [step["training"].get("targets", "move") for step in trainings(about)]
    return tuple(name for name, _ in groupby(names))


TEACHERS = {"move": "the move that was drawn", "legal": "all legal moves with equal weight"}


def _history_text(about: dict) -> str:
    return "; then ".join(_step_text(step) for step in trainings(about))


def _step_text(about: dict) -> str:
    planned = about["training"].get("first_game", 0) + about["training"]["n_games"]
    unfinished = f", stopped after {about['games_read']:,} of {planned:,} games"
    return (
        f"{as_code(about['command'])} at commit {as_code(about['commit'][:12])}, "
        f"{about['seconds'] / 60:.0f} minutes on {as_text(about['device'])}"
        + (unfinished if about["games_read"] < planned else "")
    )


def as_text(text: str) -> str:
    """A `text` from a file as Markdown that shows it as it is, on one line, in a table too."""
    return re.sub(r"([\\`*_\[\]$|~])", r"\\\1", escape(" ".join(text.split()), quote=False))


def as_code(text: str) -> str:
    """A `text` from a file as code in Markdown, on one line: its fence is longer than any within.

    Example:
        >>> as_code("train --seed 3")
        '`train --seed 3`'
    """
    text = " ".join(text.split())
    runs = re.findall("`+", text)
    fence = "`" * (1 + max(map(len, runs), default=0))
    edge = " " if runs or not text else ""
    return f"{fence}{edge}{text}{edge}{fence}"


def export(
    checkpoint: FilePath,
    folder: FilePath,
    command: str,
    commit: str,
    device: str,
    n_games: int = 2000,
    unfinished: bool = False,
) -> dict:
    """Round a training run to float16, measure what is left of it, and write a shippable folder.

    Args:
        checkpoint: the folder that `train` wrote.
        folder: for weights, configuration, card and log.
        command: that trained it, for the card.
        commit: at which it was trained, for the card.
        device: on which it was trained, for the card.
        n_games: random games of the measurement, which no training reads.
        unfinished: take a run, too, that has not read all its games; its card says so.

    Returns:
        The card.

    Raises:
        CheckpointError: for an unfinished run otherwise.
    """
    run = read_run(checkpoint)
    if not (run.finished or unfinished):
        raise CheckpointError(
            f"the run in {checkpoint} is unfinished: it has read {run.games:,} of "
            f"{run.config.first_game + run.config.n_games:,} games. Resume it, or export it as it is with "
            "--unfinished (in Python unfinished=True), which goes on its card"
        )
    folder = make_folder(folder, MODEL_FILE, CONFIG_FILE, CARD_FILE, LOG)
    model = rounded(run.model)
    measured = evaluate(model, random_games(n_games, EVALUATION_SEED + 1, model.config.board_size))
    by_ply = [None if np.isnan(rate) else round(float(rate), 5) for rate in measured.pop("legal_rate_by_ply")]
    about = {
        "model": asdict(model.config),
        "training": asdict(run.config),
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "games_read": run.games,
        "command": command,
        "commit": commit,
        "seconds": round(run.seconds),
        "device": device,
        "start": run.start,
        "measured": {"n_games": n_games, **measured, "legal_rate_by_ply": by_ply},
    } | ({} if run.finished else {"unfinished": True})
    save_model(model, folder)
    with atomic_write(folder / CARD_FILE, "w") as file:
        file.write(json.dumps(about, indent=1) + "\n")
    with atomic_write(folder / LOG, "w") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in run.log)
    return about


def rounded(model: GPT) -> GPT:
    """The same `model` with every weight rounded to float16, once, and kept as float32."""
    copy = GPT(checked_model(model).config)
    copy.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    return copy.eval()


def save_model(model: GPT, folder: FilePath) -> None:
    """Write weights (float16) and configuration, each file atomically, into a folder.

    Weights of more than `SHARD_BYTES` are spread over several files, in the order of the parameters.

    Args:
        model: whose weights are rounded.
        folder: made, if it is not there.
    """
    checked_model(model)
    folder = make_folder(checks.kind_of("folder", folder, (str, os.PathLike), "the path of a folder"))
    shards: list[dict[str, torch.Tensor]] = []
    bytes_left = 0
    for name, value in model.state_dict().items():
        if not shards or bytes_left < 2 * value.numel():
            shards.append({})
            bytes_left = SHARD_BYTES
        shards[-1][name] = value.cpu().half()
        bytes_left -= 2 * value.numel()
    digests = {}
    for number, shard in enumerate(shards, 1):
        content = safetensors.torch.save(shard)
        name = MODEL_FILE if len(shards) == 1 else f"model-{number}-of-{len(shards)}.safetensors"
        digests[name] = hashlib.sha256(content).hexdigest()
        with atomic_write(folder / name) as file:
            file.write(content)
    with atomic_write(folder / CONFIG_FILE, "w") as file:
        json.dump({"model": asdict(model.config), "sha256": digests}, file, indent=1)
        file.write("\n")


def load_model(folder: FilePath) -> GPT:
    """A model written by `save_model`.

    Args:
        folder: that `save_model` wrote.

    Raises:
        CheckpointError: names the file at fault.
    """
    folder = Path(checks.kind_of("folder", folder, (str, os.PathLike), "the path of a folder"))
    try:
        about = read_json(folder / CONFIG_FILE)
        config = GPTConfig(**about["model"])
        digests = {str(name): str(digest) for name, digest in about["sha256"].items()}
        if not digests or any(Path(name).name != name for name in digests):
            raise ValueError("sha256 does not name files of this folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} does not describe a model: {error}") from error
    state: dict[str, torch.Tensor] = {}
    for name, expected in digests.items():
        content = _verified(folder / name, expected)
        try:
            state |= {key: value.float() for key, value in safetensors.torch.load(content).items()}
        except SafetensorError as error:
            raise CheckpointError(f"{folder / name} does not hold weights: {error}") from error
        for key, value in state.items():
            if not checks.is_finite(value):
                raise CheckpointError(f"{folder / name} holds {key}, in which numbers are not finite")
    try:
        check_weights(config, state)  # before a network of the size that the configuration claims is built
    except OthelloEduError as error:
        files = ", ".join(digests)
        raise CheckpointError(f"{folder / files} does not hold the weights of {config}: {error}") from error
    model = GPT(config)
    model.load_state_dict(state)
    return model.eval()


def _verified(path: Path, expected: str) -> bytes:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise CheckpointError(
            f"{path} has SHA-256 {digest[:12]}… where {CONFIG_FILE} says {expected[:12]}…: "
            "the file is altered or truncated; restore it from the repository or install the package again"
        )
    return content
