"""The shipped models: rounded once to float16, checked against their SHA-256, with a card each."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.torch
from safetensors import SafetensorError

from .errors import CheckpointError, OthelloEduError
from .files import atomic_write
from .games import random_games
from .model import GPT, GPTConfig
from .training import EVALUATION_SEED, LOG, evaluate, read_run

WEIGHTS = Path(__file__).parent / "weights"
MODEL_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "card.json"

# What the card of a model says about its training; the next one's card repeats it if it goes on from there.
HISTORY = ("training", "games_read", "command", "commit", "seconds", "device")


def shipped() -> tuple[str, ...]:
    """Names that `load_pretrained` knows, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in WEIGHTS.glob(f"*/{CONFIG_FILE}")))


def starting_point(name: str | Path) -> tuple[GPT, dict]:
    """A model that training can go on from, by shipped name or folder: the model and its card.

    Raises as `load_pretrained` does, and CheckpointError for a folder without a readable card.
    """
    folder = WEIGHTS / name if str(name) in shipped() else Path(name)
    model = load_model(folder)
    try:
        about = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        kept = {key: about[key] for key in HISTORY}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CARD_FILE} does not say how it was trained: {error}") from error
    return model, kept | {"start": about.get("start")}


def load_pretrained(name: str) -> GPT:
    """A shipped model, in float32 and evaluation mode.

    Raises OthelloEduError for a name that is not shipped, and CheckpointError (naming the file) for
    weights that are missing, altered, truncated, or do not fit their configuration.
    """
    if name not in shipped():
        raise OthelloEduError(
            f"there is no pretrained model {name!r} in {WEIGHTS}; there are: {', '.join(shipped()) or 'none'}"
        )
    return load_model(WEIGHTS / name)


def card(name: str) -> dict:
    """What was measured about a shipped model, and how it was made."""
    path = WEIGHTS / name / CARD_FILE
    if not path.is_file():
        raise OthelloEduError(
            f"there is no card for a model {name!r}; there are: {', '.join(shipped()) or 'none'}"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def card_text(name: str) -> str:
    """The card of a shipped model as Markdown."""
    about = card(name)
    model, training, measured = about["model"], about["training"], about["measured"]
    by_ply = measured["legal_rate_by_ply"]
    rates = ", ".join(
        f"{ply + 1}: {by_ply[ply]:.1%}" for ply in range(9, len(by_ply), 10) if by_ply[ply] is not None
    )
    size = model["board_size"]
    return f"""### Model card: `{name}`

- **Network**: GPT, {model["n_layer"]} blocks of {model["d_model"]} dimensions, {model["n_head"]} heads,
  {about["n_parameters"]:,} parameters, {size}x{size} Othello.
- **Data**: {about["games_read"]:,} uniform random legal games, generated on the fly, each read once
  (seed {training["seed"]}).
- **Made by**: `{about["command"]}` at commit `{about["commit"][:12]}`,
  {about["seconds"] / 60:.0f} minutes on {about["device"]}.
- **Measured** on {measured["n_games"]:,} random games that it never saw, after rounding to float16:
  loss {measured["loss"]:.4f} nats per move,
  excess loss over the best possible {measured["excess_loss"]:.4f} nats,
  likeliest move legal {measured["legal_rate"]:.2%}, probability on legal moves {measured["legal_mass"]:.2%}.
- **Likeliest move legal, by move number**: {rates}.
- **Not for** playing well: it has seen random games only, and knows what is legal, not what is good.
  Not for other board sizes, for positions that no game reaches, or as evidence about language models.
"""


def export(
    checkpoint: str | Path, folder: str | Path, command: str, commit: str, device: str, n_games: int = 2000
) -> dict:
    """Round a finished training run to float16, measure what is left of it, and write a shippable folder.

    checkpoint: the folder that `train` wrote. command, commit and device go on the card. n_games: random
    games of the measurement, which no training reads. Returns the card.
    """
    run = read_run(checkpoint)
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
    }
    save_model(model, folder)
    with atomic_write(Path(folder) / CARD_FILE, "w") as file:
        file.write(json.dumps(about, indent=1) + "\n")
    with atomic_write(Path(folder) / LOG, "w") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in run.log)
    return about


def rounded(model: GPT) -> GPT:
    """The same model with every weight rounded to float16, once, and kept as float32."""
    copy = GPT(model.config)
    copy.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    return copy.eval()


def save_model(model: GPT, folder: str | Path) -> None:
    """Write weights (float16) and configuration, each atomically, into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = safetensors.torch.save({name: value.cpu().half() for name, value in model.state_dict().items()})
    about = {"model": asdict(model.config), "sha256": hashlib.sha256(content).hexdigest()}
    with atomic_write(folder / MODEL_FILE) as file:
        file.write(content)
    with atomic_write(folder / CONFIG_FILE, "w") as file:
        json.dump(about, file, indent=1)
        file.write("\n")


def load_model(folder: str | Path) -> GPT:
    """A model written by `save_model`. Raises CheckpointError naming the file at fault."""
    folder = Path(folder)
    try:
        about = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        config = GPTConfig(**about["model"])
        expected = str(about["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} does not describe a model: {error}") from error
    path = folder / MODEL_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise CheckpointError(
            f"{path} has SHA-256 {found[:12]}… where {CONFIG_FILE} says {expected[:12]}…: "
            "the file is altered or truncated; restore it from the repository or install the package again"
        )
    try:
        state = {name: value.float() for name, value in safetensors.torch.load(content).items()}
        model = GPT(config)
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold the weights of {config}: {error}") from error
    return model.eval()
