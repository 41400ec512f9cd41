"""A network or an autoencoder of another project, on disk, becomes a folder that this package works with.

What can be seen in the file is checked: vocabulary, window, and whether the network plays Othello by the
squares that its tokens are taken for.

See Also:
    The page :doc:`/book/from_outside`.
"""

import hashlib
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from . import checks
from .dictionaries import panel
from .errors import CheckpointError, OthelloEduError
from .evaluation import evaluate
from .files import FilePath, atomic_write, make_folder
from .games import encode_moves, move_squares, random_games
from .interop import (
    DICTIONARY_FILE,
    SAE_CONFIG,
    SAE_FILE,
    from_mingpt,
    from_transformer_lens,
    read_dictionary_learning,
    read_state,
    write_saelens,
)
from .model import GPT
from .presets import EVALUATION_SEED
from .pretrained import CARD_FILE, CONFIG_FILE, load_model, load_pretrained, rounded, save_model

ORIGIN = "origin.json"
VOCABULARIES = {13: 4, 33: 6, 61: 8}  # tokens -> board size: padding, and the squares without the centre
EMBEDDINGS = {"tok_emb.weight": ("minGPT", "pos_emb"), "embed.W_E": ("TransformerLens", "pos_embed.W_pos")}
PLAYS = 0.5  # first choices that are legal: any network that has learned the rules is far above
CLEARLY = 0.1  # so much more often in another order of squares is no chance
N_GAMES, N_TRIED = 500, 50  # random games: to measure on, and to try an order of squares on


def import_network(
    source: FilePath, out: FilePath, n_head: int = 8, untrained: bool = False, n_games: int = N_GAMES
) -> dict[str, Any]:
    """A network in minGPT's or TransformerLens' names becomes a folder that `load_model` reads.

    Tokens are taken for squares as the public OthelloGPT has them: 0 is not used, 1 to 60 are the squares in
    the order a1, a2, …, h8, without the four in the centre. Positions beyond the longest game are cut off.

    Args:
        source: the file, as `read_state` reads it.
        out: a folder for weights (float16), configuration and `origin.json`, which says what was read.
        n_head: heads of each block; only minGPT's names need it.
        untrained: take a network, too, that does not play Othello.
        n_games: random games to measure on.

    Returns:
        What `origin.json` holds: file, SHA-256, names, model, cut_positions, measured.

    Raises:
        CheckpointError: for a file that holds no such network, or another vocabulary, window or order of
            squares; and for a network that does not play, unless `untrained`.
        OthelloEduError: where the folder holds something already.

    References:
        The public code of Li et al. (2023).
    """
    source, out = Path(source), _new_folder(out)
    state = read_state(source)
    layout, embedding, positions = _layout(state, source)
    n_ctx = _checked_window(state, embedding, positions, source)
    cut = state[positions].shape[-2] - n_ctx
    state[positions] = state[positions][..., :n_ctx, :]
    model = from_mingpt(state, n_head) if layout == "minGPT" else from_transformer_lens(state)
    model = rounded(model)
    for name, value in model.state_dict().items():
        if not checks.is_finite(value):
            raise CheckpointError(f"{source}: {name} holds numbers too large for float16")
    if not untrained:
        _check_squares(model, source)
    games = random_games(n_games, EVALUATION_SEED + 1, model.config.board_size)
    measured = evaluate(model, games)
    names = ("loss", "excess_loss", "legal_rate", "legal_mass")
    origin = {
        "file": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "names": layout,
        "model": asdict(model.config),
        "cut_positions": cut,
        "measured": {"n_games": n_games} | {name: _rounded(measured[name]) for name in names},
    }
    save_model(model, out)
    _write_origin(out, origin)
    return origin


def _new_folder(out: FilePath) -> Path:
    """The folder, which must not hold a network or an SAE: a card that stays would speak of another."""
    folder = Path(checks.kind_of("out", out, (str, os.PathLike), "the path of a folder"))
    for name in (CONFIG_FILE, CARD_FILE, SAE_CONFIG, SAE_FILE):
        if (folder / name).exists():
            raise OthelloEduError(f"{folder} already holds {name}: choose another folder")
    return make_folder(out, ORIGIN)


def _rounded(value: float) -> float | None:
    """A number for the file, to five digits; null for NaN, which JSON does not have."""
    return None if math.isnan(value) else round(float(value), 5)


def _write_origin(folder: Path, origin: dict) -> None:
    with atomic_write(folder / ORIGIN, "w") as file:
        file.write(json.dumps(origin, indent=1) + "\n")


def _layout(state: dict[str, torch.Tensor], source: Path) -> tuple[str, str, str]:
    """Whose names these are, and those of its two embeddings."""
    for embedding, (layout, positions) in EMBEDDINGS.items():
        if embedding in state and positions in state:
            return layout, embedding, positions
    if "encoder.weight" in state:
        raise CheckpointError(
            f"{source} is an autoencoder: give the folder that holds it with its config.json, and --model"
        )
    some = ", ".join(repr(name[:40]) for name in sorted(state)[:3])
    raise CheckpointError(
        f"{source} holds no network in minGPT's or TransformerLens' names, which begin with "
        f"'tok_emb.weight' or 'embed.W_E': it has {some}"
    )


def _checked_window(state: dict[str, torch.Tensor], embedding: str, positions: str, source: Path) -> int:
    """How many moves a network of this vocabulary must read, if it reads as many."""
    if state[embedding].ndim != 2 or state[positions].ndim < 2:
        raise CheckpointError(f"{source}: {embedding} and {positions} must be matrices")
    n_tokens, window = state[embedding].shape[0], state[positions].shape[-2]
    if n_tokens not in VOCABULARIES:
        raise CheckpointError(
            f"{source} has a vocabulary of {n_tokens} tokens. It must be 61 on 8x8: one that is not used, "
            "then the 60 squares that can be played, in order, without the four in the centre. 60 tokens "
            "lack the first; 64 and more have tokens for the centre, for passes or for the end of a game "
            "(66 in the paper's own network): such a network reads other sequences, and cannot be imported"
        )
    n_ctx = n_tokens - 2
    if window < n_ctx:
        raise CheckpointError(
            f"{source} has a window of {window} moves; a game needs {n_ctx}, all of its moves but the last"
        )
    return n_ctx


def _flipped(model: GPT) -> GPT:
    """The same network, its tokens taken for squares counted from the other side: a8, … for a1, ….

    Reading letters for digits changes nothing that play could show: it turns the start position, and so every
    game, into one of Othello. This does not: the start position comes out with its colours exchanged.
    """
    size = model.config.board_size
    there = encode_moves(move_squares(size)[1:] ^ 56, size)  # the digit d becomes 7 - d
    other, tokens = GPT(model.config).eval(), torch.cat([torch.zeros(1, dtype=torch.int64), there])
    weights = dict(model.state_dict())
    for name in ("token_embedding.weight", "head.weight"):
        weights[name] = weights[name][tokens]
    other.load_state_dict(weights)
    return other


def _check_squares(model: GPT, source: Path) -> None:
    """Does it name legal moves, its tokens taken for squares as the public network's are?"""
    games = random_games(N_TRIED, EVALUATION_SEED + 2, model.config.board_size)
    as_read, other = (evaluate(one, games)["legal_rate"] for one in (model, _flipped(model)))
    if other > as_read + CLEARLY:
        raise CheckpointError(
            f"{source} numbers its squares from the other side: its likeliest move is legal in {other:.0%} "
            f"of positions if token 1 is a8 (or h1), and in {as_read:.0%} if it is a1. Put the rows of its "
            "embedding and of its head in the order a1, a2, …, h8 first"
        )
    if as_read < PLAYS:
        raise CheckpointError(
            f"{source} does not play Othello: its likeliest move is legal in {as_read:.0%} of positions. "
            "Squares in another order than a1, a2, …, h8 look like this, and so does a wrong number of heads "
            "(--heads); a network that has learned nothing is imported with --untrained"
        )


def import_autoencoder(
    source: FilePath, model: FilePath, out: FilePath, n_games: int = 100
) -> dict[str, Any]:
    """An SAE that dictionary_learning wrote becomes a folder that `read_saelens` reads.

    Streams have no squares, so an SAE fits its network in whatever order tokens are taken for squares.

    Args:
        source: the folder with `ae.pt` and `config.json`.
        model: the network that it was trained on: name of a shipped one, or folder.
        out: a folder for the SAE in SAELens' form and `origin.json`.
        n_games: random games to measure on.

    Returns:
        What `origin.json` holds: file, SHA-256, stage, kind, measured.

    Raises:
        CheckpointError: for files that `read_dictionary_learning` refuses, and for an SAE of another width,
            stage or window than the network's, or that describes its streams worse than their mean does.
        OthelloEduError: for a network that is not found, and where the folder holds something already.

    References:
        Karvonen et al. (2024).
    """
    source, out = Path(source), _new_folder(out)
    sae, stage, context = read_dictionary_learning(source)
    network = load_model(model) if Path(model).is_dir() else load_pretrained(str(model))
    config, path = network.config, source / DICTIONARY_FILE
    if sae.d_model != config.d_model:
        what = (
            "MLP neurons, not the stream: the network" if sae.d_model == 4 * config.d_model else "the network"
        )
        raise CheckpointError(f"{path} reads {sae.d_model} numbers ({what} has {config.d_model} dimensions)")
    if stage > config.n_layer:
        raise CheckpointError(f"{path} is of layer {stage - 1}, counted from 0; there are {config.n_layer}")
    if context not in (None, config.n_ctx):
        raise CheckpointError(
            f"{path} was trained on sequences of {context} tokens; the network reads {config.n_ctx} moves: "
            "it is an autoencoder of another game or network"
        )
    measured = panel(network, sae, stage, random_games(n_games, EVALUATION_SEED + 1, config.board_size))
    if not measured.explained_variance > 0:
        raise CheckpointError(
            f"{path} describes stage {stage} of {model} worse than the mean of the stream does (explained "
            f"variance {measured.explained_variance:.2f}): it was trained on another network or stage"
        )
    names = ("l0", "explained_variance", "dead_fraction", "loss_recovered")
    origin = {
        "file": f"{source.name}/{DICTIONARY_FILE}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "stage": stage,
        "kind": type(sae).__name__,
        "measured": {"n_games": n_games} | {name: _rounded(getattr(measured, name)) for name in names},
    }
    write_saelens(sae, out, stage)
    _write_origin(out, origin)
    return origin
