"""What the `LayerExplorer` needs without a kernel: a network, its probes and features, in one file.

See Also:
    The page :doc:`/book/explorer`, which reads such a file.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ..activations import residual_streams
from ..errors import OthelloEduError
from ..files import atomic_write
from ..games import Games, next_tokens
from ..labels import MINE, THEIRS
from ..model import GPT
from ..probes import LinearProbe
from ..sae import Autoencoder, SparseAutoencoder, TopK

N_EXAMPLES = 4  # positions shown for each feature
_HALF = torch.float16


def explorer_file(
    model: GPT,
    probe: LinearProbe,
    written: torch.Tensor,
    saes: Sequence[Autoencoder],
    games: Games,
    library: Sequence[dict[str, Any]] = (),
) -> bytes:
    """A safetensors file for `PageBackend` in `backends.js`, everything rounded to float16.

    Args:
        model: the network.
        probe: fitted on every stage of the model, on the 64 squares of an 8x8 board.
        written: float of the same shape as the probe's weights: what `board_directions` gives for the same
            stages and squares. A disc is turned over along its writing direction.
        saes: one for each stage, of the paper's kind or TopK, all with the same number of features.
        games: where to look for the positions at which each feature is most active, at most one of each game.
        library: games to begin with, each with "name", "moves" and "ply".

    Returns:
        The content of the file.

    Raises:
        OthelloEduError: where these do not fit each other.
    """
    n_stages = model.n_stages
    if tuple(probe.weight.shape[:2]) != (n_stages, 64):
        raise OthelloEduError(
            f"the probe has stages and squares {tuple(probe.weight.shape[:2])}; it needs ({n_stages}, 64)"
        )
    if written.shape != probe.weight.shape:
        raise OthelloEduError(
            f"written has shape {list(written.shape)}; it needs that of the probe's weights, "
            f"{list(probe.weight.shape)}: board_directions(streams, labels) of all stages"
        )
    if len(saes) != n_stages:
        raise OthelloEduError(f"{len(saes)} autoencoders for {n_stages} stages: give one for each")
    encoders = [encoder_of(sae) for sae in saes]
    top, values = _top_examples(model, saes, games)
    tensors = {name: value.to(_HALF) for name, value in model.state_dict().items()}
    # Only what the kinds score more than empty matters; discs are only turned over, mine to theirs or back.
    tensors |= {
        f"probe.{name}": (value[:, :, 1:] - value[:, :, :1]).to(_HALF)
        for name, value in (("weight", probe.weight), ("bias", probe.bias))
    }
    tensors["writing"] = (written[:, :, THEIRS] - written[:, :, MINE]).to(_HALF)
    tensors["sae.weight"] = torch.stack([weight for weight, _ in encoders]).to(_HALF)
    tensors["sae.bias"] = torch.stack([bias for _, bias in encoders]).to(_HALF)
    tensors |= {
        "examples.moves": torch.from_numpy(games.moves),
        "examples.top": top,
        "examples.value": values,
    }
    about = {
        "network": fingerprint(model),
        "config": asdict(model.config),
        "context": model.config.n_ctx,
        "along": "writing",
        "k": getattr(saes[0], "k", 0),  # of TopK; 0 for the paper's kind
        "n_examples": N_EXAMPLES,
        "library": list(library),
    }
    return safetensors.torch.save(
        {name: value.contiguous() for name, value in tensors.items()}, {"explorer": json.dumps(about)}
    )


def fingerprint(model: GPT) -> str:
    """A short digest of a network's weights, rounded to float16: the same network has the same one.

    Args:
        model: the network.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> import othello_edu as oe
        >>> len(fingerprint(oe.GPT(oe.GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8))))
        16
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().to(_HALF).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def encoder_of(sae: Autoencoder) -> tuple[torch.Tensor, torch.Tensor]:
    """How an autoencoder reads a stream, as one matrix and one bias.

    Args:
        sae: of the paper's kind or TopK.

    Returns:
        float [n_features, d_model] and float [n_features].

    Raises:
        OthelloEduError: for another kind.
    """
    if isinstance(sae, SparseAutoencoder):
        return sae.W_enc.detach().T, sae.b_enc.detach()
    if isinstance(sae, TopK):
        return sae.W_enc.detach().T, (sae.b_enc - sae.b_dec @ sae.W_enc).detach()
    raise OthelloEduError(f"an explorer shows the paper's autoencoder or TopK, not {type(sae).__name__}")


@torch.no_grad()
def _top_examples(model, saes, games):
    """For each stage and feature the positions where it is most active, (game, ply), and how active it is.

    Both are [n_stages, n_features, N_EXAMPLES], the first with a last axis of 2.
    """
    valid = next_tokens(games) != 0
    tops, values = [], []
    for stage, sae in enumerate(saes):
        feature_acts = sae.encode(residual_streams(model, games, [stage])[0])  # [n_games, time, n_features]
        best, ply = feature_acts.masked_fill(~valid[..., None], 0).max(dim=1)  # the best ply of each game
        value, game = best.topk(N_EXAMPLES, dim=0)  # [n, n_features]
        tops.append(torch.stack([game.T, ply.gather(0, game).T], dim=-1))
        values.append(value.T)
    return torch.stack(tops).to(torch.int16), torch.stack(values).to(_HALF)


def write_explorer(folder: Path, content: bytes, model: GPT, **more: Any) -> str:
    """Write what a site serves at its root, with a file of `explorer_file`.

    These are `explorer-HASH.safetensors`; `explorer.json`, which names it and the network's fingerprint; and
    both again as scripts, for pages opened from a disk, where nothing can be fetched. Files of another
    content are removed.

    Args:
        folder: where to write; it must be there.
        content: what `explorer_file` gave.
        model: the network in it.
        **more: what else `explorer.json` says.

    Returns:
        The name of the file with the weights.
    """
    name = f"explorer-{hashlib.sha256(content).hexdigest()[:12]}"
    for old in folder.glob("explorer-*"):
        old.unlink()
    (folder / f"{name}.safetensors").write_bytes(content)
    text = base64.b64encode(content).decode()
    (folder / f"{name}.js").write_text(f'globalThis.othelloWeights = "{text}";\n', encoding="utf-8")
    manifest = json.dumps({"weights": f"{name}.safetensors", "network": fingerprint(model), **more})
    (folder / "explorer.js").write_text(f"globalThis.othelloExplorer = {manifest};\n", encoding="utf-8")
    with atomic_write(folder / "explorer.json", "w") as file:  # the last: what it names is there
        file.write(manifest)
    return f"{name}.safetensors"
