"""Other projects' files, in and out: minGPT's OthelloGPT, TransformerLens, published probes, SAELens.

The public OthelloGPT weights number squares by `8 * letter + digit`, where this package has
`8 * digit + letter`: the same board, transposed. The start position is its own mirror image there, so a
network read without care still names legal moves, of the mirrored game. Every function here translates.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from .errors import CheckpointError, OthelloEduError
from .files import atomic_write
from .games import encode_moves, move_squares
from .labels import EMPTY, MINE, THEIRS
from .model import GPT, GPTConfig
from .probes import LinearProbe
from .sae import Autoencoder, JumpReLU, SparseAutoencoder, TopK

State = Mapping[str, torch.Tensor]

BLACK_TO_PLAY, WHITE_TO_PLAY = 0, 1  # modes of the published probe; a third is either
BLANK, WHITE, BLACK = range(3)  # its options
SAE_FILE, SAE_CONFIG = "sae_weights.safetensors", "cfg.json"


def read_state(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors by name, from a `.safetensors` file or from a foreign PyTorch file.

    Of a PyTorch file only tensors are read, nothing else is unpickled (`weights_only=True`). Raises
    CheckpointError naming the file where it cannot be read or holds anything but tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} cannot be read as tensors: {error}") from error
    if not isinstance(state, Mapping) or not all(torch.is_tensor(value) for value in state.values()):
        raise CheckpointError(f"{path} holds something other than tensors by name")
    return dict(state)


# Networks ------------------------------------------------------------------------------------------------


def to_mingpt(model: GPT) -> dict[str, torch.Tensor]:
    """The weights under the names of minGPT, as the public OthelloGPT has them, squares transposed.

    Source: the public code of Li et al. (2023).
    """
    weights, tokens = _copy(model), _transposed(model.config.board_size)
    state = {
        "tok_emb.weight": weights["token_embedding.weight"][tokens],
        "pos_emb": weights["position_embedding.weight"][None],
        "ln_f.weight": weights["ln_f.weight"],
        "ln_f.bias": weights["ln_f.bias"],
        "head.weight": weights["head.weight"][tokens],
    }
    for block in range(model.config.n_layer):
        for ours, theirs in _mingpt_names(block):
            for kind in ("weight", "bias"):
                value = weights[f"{ours}.{kind}"]
                parts = value.chunk(3) if len(theirs) == 3 else [value]
                state |= {f"{name}.{kind}": part for name, part in zip(theirs, parts, strict=True)}
    return state


def from_mingpt(state: State, n_head: int = 8) -> GPT:
    """A model from minGPT's names; the inverse of `to_mingpt`.

    n_head: the weights do not tell it; the public OthelloGPT has 8. Raises CheckpointError for a name
    that is missing or unknown, and for shapes that fit no board.
    """
    known = {name: value for name, value in state.items() if not name.endswith(".attn.mask")}
    found = _Reader(known, "minGPT")
    n_layer = found.count("blocks.")
    model = _empty(found["tok_emb.weight"], found["pos_emb"][0], n_layer, n_head)
    tokens = _transposed(model.config.board_size)
    weights = {
        "token_embedding.weight": found["tok_emb.weight"][tokens],
        "position_embedding.weight": found["pos_emb"][0],
        "ln_f.weight": found["ln_f.weight"],
        "ln_f.bias": found["ln_f.bias"],
        "head.weight": found["head.weight"][tokens],
    }
    for block in range(n_layer):
        for ours, theirs in _mingpt_names(block):
            for kind in ("weight", "bias"):
                weights[f"{ours}.{kind}"] = torch.cat([found[f"{name}.{kind}"] for name in theirs])
    return found.filled(model, weights)


def _mingpt_names(block: int):
    """(our name, their names) of the layers of one block; three names share our `qkv`."""
    here = f"blocks.{block}"
    return (
        (f"{here}.ln_1", [f"{here}.ln1"]),
        (f"{here}.ln_2", [f"{here}.ln2"]),
        (f"{here}.attn.qkv", [f"{here}.attn.{part}" for part in ("query", "key", "value")]),
        (f"{here}.attn.out", [f"{here}.attn.proj"]),
        (f"{here}.mlp.up", [f"{here}.mlp.0"]),
        (f"{here}.mlp.down", [f"{here}.mlp.2"]),
    )


def transformer_lens_config(config: GPTConfig) -> dict:
    """Arguments of TransformerLens' `HookedTransformerConfig` for a network of this shape."""
    return {
        "n_layers": config.n_layer,
        "d_model": config.d_model,
        "n_ctx": config.n_ctx,
        "d_head": config.d_model // config.n_head,
        "n_heads": config.n_head,
        "d_mlp": 4 * config.d_model,
        "d_vocab": config.vocab_size,
        "act_fn": "gelu",
        "normalization_type": "LN",
    }


def to_transformer_lens(model: GPT) -> dict[str, torch.Tensor]:
    """The weights under TransformerLens' names, LayerNorms not folded, squares transposed.

    For a `HookedTransformer` of the shape that `transformer_lens_config` gives, loaded with its
    `load_and_process_state_dict`. Its tokens are those of the public OthelloGPT weights.
    """
    config, weights, tokens = model.config, _copy(model), _transposed(model.config.board_size)
    H, D, V = config.n_head, config.d_model, config.vocab_size
    state = {
        "embed.W_E": weights["token_embedding.weight"][tokens],
        "pos_embed.W_pos": weights["position_embedding.weight"],
        "ln_final.w": weights["ln_f.weight"],
        "ln_final.b": weights["ln_f.bias"],
        "unembed.W_U": weights["head.weight"][tokens].T,
        "unembed.b_U": torch.zeros(V),
    }
    for block in range(config.n_layer):
        here = f"blocks.{block}"
        qkv, bias = weights[f"{here}.attn.qkv.weight"], weights[f"{here}.attn.qkv.bias"]
        for name, matrix, vector in zip("QKV", qkv.chunk(3), bias.chunk(3), strict=True):
            state[f"{here}.attn.W_{name}"] = matrix.view(H, D // H, D).mT
            state[f"{here}.attn.b_{name}"] = vector.view(H, D // H)
        state[f"{here}.attn.W_O"] = weights[f"{here}.attn.out.weight"].T.reshape(H, D // H, D)
        state[f"{here}.attn.b_O"] = weights[f"{here}.attn.out.bias"]
        for ours, theirs in (("up", "in"), ("down", "out")):
            state[f"{here}.mlp.W_{theirs}"] = weights[f"{here}.mlp.{ours}.weight"].T
            state[f"{here}.mlp.b_{theirs}"] = weights[f"{here}.mlp.{ours}.bias"]
        for which in "12":
            state[f"{here}.ln{which}.w"] = weights[f"{here}.ln_{which}.weight"]
            state[f"{here}.ln{which}.b"] = weights[f"{here}.ln_{which}.bias"]
    return {name: value.contiguous() for name, value in state.items()}


def from_transformer_lens(state: State) -> GPT:
    """A model from TransformerLens' names; the inverse of `to_transformer_lens`.

    LayerNorms may be folded into the matrices that read them (as `HookedTransformer` does by default):
    ours then have weight 1 and bias 0. The head has no bias here: one that folding has made is expressed
    through the last LayerNorm, and logits may differ by one number for all moves of a position, which
    changes no probability. Raises CheckpointError for names and shapes that do not fit.
    """
    known = {n: v for n, v in state.items() if not n.endswith((".attn.mask", ".attn.IGNORE"))}
    found = _Reader(known, "TransformerLens")
    n_layer, embedding = found.count("blocks."), found["embed.W_E"]
    n_head, D = found["blocks.0.attn.W_Q"].shape[0], embedding.shape[1]
    model = _empty(embedding, found["pos_embed.W_pos"], n_layer, n_head)
    tokens = _transposed(model.config.board_size)
    folded = "ln_final.w" not in known

    def norm(name):
        return (torch.ones(D), torch.zeros(D)) if folded else (found[f"{name}.w"], found[f"{name}.b"])

    head = found["unembed.W_U"].T
    gain, offset = norm("ln_final")
    weights = {
        "token_embedding.weight": embedding[tokens],
        "position_embedding.weight": found["pos_embed.W_pos"],
        "ln_f.weight": gain,
        "ln_f.bias": offset + _through_the_head(head, found["unembed.b_U"]),
        "head.weight": head[tokens],
    }
    for block in range(n_layer):
        here = f"blocks.{block}"
        matrices = [found[f"{here}.attn.W_{name}"].mT.reshape(D, D) for name in "QKV"]
        weights[f"{here}.attn.qkv.weight"] = torch.cat(matrices)
        weights[f"{here}.attn.qkv.bias"] = torch.cat([found[f"{here}.attn.b_{n}"].flatten() for n in "QKV"])
        weights[f"{here}.attn.out.weight"] = found[f"{here}.attn.W_O"].reshape(D, D).T
        weights[f"{here}.attn.out.bias"] = found[f"{here}.attn.b_O"]
        for ours, theirs in (("up", "in"), ("down", "out")):
            weights[f"{here}.mlp.{ours}.weight"] = found[f"{here}.mlp.W_{theirs}"].T
            weights[f"{here}.mlp.{ours}.bias"] = found[f"{here}.mlp.b_{theirs}"]
        for which in "12":
            gain, offset = norm(f"{here}.ln{which}")
            weights |= {f"{here}.ln_{which}.weight": gain, f"{here}.ln_{which}.bias": offset}
    return found.filled(model, weights)


def _through_the_head(head: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The vector of the stream that the head turns into this bias, up to one number for all tokens."""
    if not bias.any():
        return torch.zeros(head.shape[1])
    matrix = torch.cat([head, torch.ones(len(head), 1)], 1).double()
    solution = torch.linalg.lstsq(matrix, bias.double()[:, None], driver="gelsd").solution
    if not torch.allclose((matrix @ solution)[:, 0], bias.double(), atol=1e-4 * bias.abs().max().item()):
        raise CheckpointError("the bias of the head, unembed.b_U, cannot be expressed without a bias")
    return solution[:-1, 0].float()


class _Reader:
    """Named tensors of one project: says which is missing, and which nobody asked for."""

    def __init__(self, state: State, layout: str):
        self.state, self.layout, self.unread = state, layout, set(state)

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self.state:
            raise CheckpointError(f"{name!r} is missing: this is no GPT in {self.layout}'s names")
        self.unread.discard(name)
        return self.state[name].detach().float()

    def count(self, prefix: str) -> int:
        return len({name.split(".")[1] for name in self.state if name.startswith(prefix)})

    def filled(self, model: GPT, weights: State) -> GPT:
        if self.unread:
            raise CheckpointError(f"{sorted(self.unread)[0]!r} is no part of a GPT in {self.layout}'s names")
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"the weights in {self.layout}'s names do not fit: {error}") from error
        return model.eval()


def _empty(embedding: torch.Tensor, positions: torch.Tensor, n_layer: int, n_head: int) -> GPT:
    """A model of the shape that the embeddings tell."""
    for board_size in (4, 6, 8):
        config = GPTConfig(board_size, n_layer, n_head, embedding.shape[1])
        if len(embedding) == config.vocab_size and len(positions) == config.n_ctx:
            return GPT(config)
    raise CheckpointError(
        f"{len(embedding)} tokens and {len(positions)} positions fit no board: 8x8 has 61 and 59"
    )


def _copy(model: GPT) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _transposed(board_size: int) -> torch.Tensor:
    """Their token of each of our tokens, and the other way round, int64 [vocab]."""
    squares = move_squares(board_size)[1:]
    theirs = encode_moves(8 * (squares % 8) + squares // 8, board_size)
    return torch.cat([torch.zeros(1, dtype=torch.int64), theirs])


# Probes and sparse autoencoders ----------------------------------------------------------------------------


def from_published_probe(probe: torch.Tensor) -> LinearProbe:
    """A probe of one stage from the published tensor [3 modes, d_model, 8 rows, 8 columns, 3 options].

    Modes are black to play, white to play, either; options blank, white, black (Nanda et al., 2023). Mine is
    black's disc where black plays and white's where white plays, and the two are averaged. Raises
    CheckpointError for another shape.
    """
    if probe.ndim != 5 or probe.shape[0] != 3 or tuple(probe.shape[2:]) != (8, 8, 3):
        raise CheckpointError(f"the tensor has shape {tuple(probe.shape)}; it must be [3, d_model, 8, 8, 3]")
    black, white = probe[BLACK_TO_PLAY].float(), probe[WHITE_TO_PLAY].float()  # [d_model, 8, 8, 3]
    empty = black[..., BLANK] + white[..., BLANK]
    mine = black[..., BLACK] + white[..., WHITE]
    theirs = black[..., WHITE] + white[..., BLACK]
    weight = torch.stack([empty, mine, theirs]) / 2  # [class, d_model, letter, digit]
    read = LinearProbe()
    read.weight = weight.permute(3, 2, 0, 1).reshape(1, 64, *weight.shape[:2])
    read.bias = torch.zeros(1, 64, 3)
    return read


def to_published_probe(probe: LinearProbe, stage: int) -> torch.Tensor:
    """The inverse of `from_published_probe`, float32 [3, d_model, 8, 8, 3].

    The layout has no place for a bias: what it reads agrees with this probe's only if that is zero. "Either"
    cannot tell mine from theirs by colour and holds their mean. Raises OthelloEduError for a probe with a
    bias, or one of another board than 8x8.
    """
    weight = probe.weight[stage]  # [n_squares, 3, d_model]
    if len(weight) != 64:
        raise OthelloEduError(f"the probe reads {len(weight)} squares; the published layout has 64")
    if probe.bias[stage].any():
        raise OthelloEduError("the probe has a bias, for which the published layout has no place")
    board = weight.permute(2, 0, 1).reshape(-1, 8, 8, 3).transpose(1, 2)  # [d_model, letter, digit, class]
    empty, mine, theirs = (board[..., kind] for kind in (EMPTY, MINE, THEIRS))
    either = (mine + theirs) / 2
    modes = [(empty, theirs, mine), (empty, mine, theirs), (empty, either, either)]  # blank, white, black
    return torch.stack([torch.stack(options, -1) for options in modes]).contiguous()


def write_saelens(sae: Autoencoder, folder: str | Path, stage: int) -> None:
    """Write an SAE of a stage, of any of this package's kinds, as a folder that SAELens loads.

    Raises OthelloEduError for a stack: write its autoencoders one by one.
    """
    if sae.directions.ndim != 2:
        raise OthelloEduError("this is a stack of autoencoders: write those of `unstack()` one by one")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    untied = isinstance(sae, TopK | JumpReLU)
    tensors = {
        "W_enc": sae.encoder if untied else sae.directions,
        "W_dec": sae.directions.T,
        "b_enc": sae.bias,
        "b_dec": sae.centre if untied else torch.zeros(sae.d_model),
    }
    special = {"architecture": "standard"}
    if isinstance(sae, TopK):
        special = {"architecture": "topk", "k": sae.k, "rescale_acts_by_decoder_norm": False}
    elif isinstance(sae, JumpReLU):
        special = {"architecture": "jumprelu"}
        tensors["threshold"] = sae.log_threshold.exp()
    hook = f"blocks.{stage - 1}.hook_resid_post" if stage else "blocks.0.hook_resid_pre"
    config = special | {
        "d_in": sae.d_model,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": untied,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"hook_name": hook},
    }
    with atomic_write(folder / SAE_FILE) as file:
        file.write(
            safetensors.torch.save({k: v.detach().cpu().float().contiguous() for k, v in tensors.items()})
        )
    with atomic_write(folder / SAE_CONFIG, "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")


def read_saelens(folder: str | Path) -> Autoencoder:
    """An SAE from SAELens' folder, if it is one that this package has: standard (tied, without a decoder
    bias), TopK or JumpReLU, whose decoder biases are taken away from what they read.

    Raises CheckpointError, naming the file, for files that cannot be read and for any other kind of SAE.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / SAE_CONFIG).read_text(encoding="utf-8"))
        kind = config.get("architecture", "standard")
        normalised = config.get("normalize_activations", "none")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / SAE_CONFIG} does not describe an SAE: {error}") from error
    untied = kind in ("topk", "jumprelu")
    if kind not in ("standard", "topk", "jumprelu") or normalised not in ("none", None):
        raise CheckpointError(
            f"{folder / SAE_CONFIG} describes a {kind} SAE with activations normalised by {normalised!r}; "
            "only standard, topk and jumprelu ones without normalisation can be read"
        )
    if untied and not config.get("apply_b_dec_to_input", True):
        raise CheckpointError(
            f"{folder / SAE_CONFIG}: its encoder does not take the decoder bias away; this package's does"
        )
    if config.get("rescale_acts_by_decoder_norm"):
        raise CheckpointError(
            f"{folder / SAE_CONFIG} ranks features by their decoder's length: "
            "fold it in first (SAELens' fold_W_dec_norm)"
        )
    path = folder / SAE_FILE
    tensors = read_state(path)
    needed = ["W_enc", "W_dec", "b_enc", "b_dec"] + ["threshold"] * (kind == "jumprelu")
    if missing := sorted(set(needed) - set(tensors)):
        raise CheckpointError(f"{path} has no {missing[0]}")
    encoder, decoder, bias, centre = (tensors[name].float() for name in needed[:4])
    threshold = tensors["threshold"].float() if kind == "jumprelu" else bias
    if (
        encoder.ndim != 2
        or decoder.shape != encoder.T.shape
        or not bias.shape == threshold.shape == encoder.shape[1:]
        or centre.shape != encoder.shape[:1]
    ):
        shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in needed)
        raise CheckpointError(f"{path}: {shapes} do not fit together")
    if not untied:
        if not torch.equal(encoder, decoder.T) or centre.any():
            raise CheckpointError(
                f"{path} has a decoder of its own; this package's standard SAE reads and writes by one matrix"
            )
        return _filled(SparseAutoencoder(*encoder.shape), weight=encoder, bias=bias)
    state = {"encoder": encoder, "weight": decoder.T, "bias": bias, "centre": centre}
    if kind == "jumprelu":
        if not (threshold > 0).all():
            raise CheckpointError(f"{path} has a threshold that is not above 0")
        l0 = encoder.shape[1]  # what it was trained towards is not in the file, and no matter now
        return _filled(JumpReLU(*encoder.shape, l0), **state, log_threshold=threshold.log())
    try:
        sae = TopK(*encoder.shape, config.get("k"))
    except (OthelloEduError, TypeError) as error:
        raise CheckpointError(f"{folder / SAE_CONFIG}: {error}") from error
    return _filled(sae, **state)


def _filled(sae, **state) -> Autoencoder:
    sae.load_state_dict(state)
    return sae.eval().requires_grad_(False)
