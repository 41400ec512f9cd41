"""Other projects' files: networks of minGPT and TransformerLens, published probes, SAEs of two libraries.

The public OthelloGPT weights number squares by `8 * letter + digit`, where this package has
`8 * digit + letter`: the same board, transposed. The start position is its own mirror image there, so a
network read without care still names legal moves, of the mirrored game. Every function here translates.

See Also:
    Chapter 3, :doc:`/notebooks/03_a_gpt_by_hand`; chapter 5, :doc:`/notebooks/05_linear_probes`; chapter 7,
    :doc:`/notebooks/07_sparse_autoencoders`.
"""

import json
import re
import reprlib
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch

from .errors import CheckpointError, OthelloEduError
from .files import FilePath, atomic_write
from .games import encode_moves, move_squares
from .labels import EMPTY, MINE, THEIRS
from .model import GPT, GPTConfig
from .probes import LinearProbe
from .sae import Autoencoder, JumpReLU, SparseAutoencoder, TopK, UntiedAutoencoder

State = Mapping[str, torch.Tensor]
Read = TypeVar("Read", bound=Autoencoder)

BLACK_TO_PLAY, WHITE_TO_PLAY = 0, 1  # modes of the published probe; a third is either
BLANK, WHITE, BLACK = range(3)  # its options
SAE_FILE, SAE_CONFIG = "sae_weights.safetensors", "cfg.json"
DICTIONARY_FILE, DICTIONARY_CONFIG = "ae.pt", "config.json"  # of dictionary_learning
BARE = "tensor"  # what `read_state` calls the tensor of a file that holds one without a name
WRAPPERS = re.compile(r"^((_orig_mod|module)\.)+|(?<=\.)_orig_mod\.")  # torch.compile's and DDP's, in names

_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = 100
_short = _shortened.repr  # for messages: what a foreign file says can be of any length


def read_state(path: FilePath) -> dict[str, torch.Tensor]:
    """Tensors by name, from a `.safetensors` file or from a foreign PyTorch file.

    Of a PyTorch file only tensors are read, nothing else is unpickled (`weights_only=True`). Prefixes that
    training puts before the names (`module.`, `_orig_mod.`) are taken away.

    Args:
        path: of the file; a name that does not end in `.safetensors` is read as PyTorch's.

    Returns:
        Tensors on the CPU by name; of a file that holds one tensor without a name, as the published probe
        does, a dict of one.

    Raises:
        CheckpointError: naming the file, and what it seems to be, where it cannot be read or holds anything
            but tensors.
    """
    path = Path(path)
    try:
        _need_file(path)
        size = path.stat().st_size
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):
                state = torch.load(path, map_location="cpu", weights_only=True)
            _check_sums(path)
    except CheckpointError:
        raise
    except Exception as error:  # of a damaged file both libraries raise nearly anything
        fault = _fault(path, error)
    else:
        return _named_tensors({BARE: state} if torch.is_tensor(state) else state, f"{path}", size)
    # Here, so that it does not come after PyTorch's own error, which tells how to switch its safety off.
    raise CheckpointError(f"{path} cannot be read as tensors: {fault}")


def _need_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError("there is no such file")


def _check_sums(path: Path) -> None:
    """Compare a PyTorch file with the checksums in it: PyTorch writes them, and does not look at them."""
    with open(path, "rb") as file:
        if file.read(2) != b"PK":  # the older format has none
            return
        with zipfile.ZipFile(file) as archive:
            entry = archive.testzip()
    if entry is not None:
        raise CheckpointError(
            f"{path} cannot be read as tensors: {entry} does not fit its checksum: the file is damaged, "
            "or was saved without checksums (then save it again with them)"
        )


def _named_tensors(state: State, where: str, size: int | None = None) -> dict[str, torch.Tensor]:
    """The tensors under the names that they had before they were wrapped for training.

    size: bytes of the file that they come from. Raises CheckpointError for what is no ordinary tensor.
    """
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{where} holds something other than tensors by name: a {type(state).__name__}")
    tensors = {}
    for name, value in state.items():
        if not isinstance(name, str) or not torch.is_tensor(value):
            raise CheckpointError(
                f"{where} holds something other than tensors by name: under {_short(name)} "
                f"a {type(value).__name__}; take the dict of weights out of it"
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise CheckpointError(
                f"{where}: {_short(name)} is a sparse, quantized or meta tensor; save an ordinary one"
            )
        # A few bytes can stand for any number of numbers, if each is used many times.
        if size is not None and value.numel() * value.element_size() > size:
            raise CheckpointError(
                f"{where}: {_short(name)} has shape {list(value.shape)}, too much for {size} bytes"
            )
        plain = WRAPPERS.sub("", name)
        if plain in tensors:
            raise CheckpointError(f"{where} has {_short(plain)} twice, with and without a prefix")
        tensors[plain] = value.detach()
    return tensors


def _numbers(value: torch.Tensor, name: str) -> torch.Tensor:
    """The tensor in float32, on the CPU; raises CheckpointError for what holds no weights."""
    if not torch.is_tensor(value):
        raise CheckpointError(f"{name} is a {type(value).__name__}, not a tensor")
    if value.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise CheckpointError(f"{name} holds numbers of type {value.dtype}; weights are float32 or its like")
    value = value.detach().cpu().float()
    if not torch.isfinite(value).all():
        raise CheckpointError(f"{name} holds numbers that are infinite or none (NaN)")
    return value


# How files begin that are often met under the name of another.
BEGINNINGS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file that it stands for: run `git lfs pull`"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|!--|\?xml)", "a page of HTML: download the file itself"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd", "a compressed file: unpack it first"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"\x89HDF", "an HDF5 file"),
    (rb".{257}ustar", "a tar archive: unpack it first"),
)
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # how PyTorch's files began before they were zip archives


def _beginning(path: Path) -> str | None:
    """What a file is whose first bytes say that it is something else than its name."""
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        return "it is empty, 0 bytes"
    for pattern, kind in BEGINNINGS:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"it is {kind}"
    return None


def _fault(path: Path, error: Exception) -> str:
    """What a file is that a library could not read, without that library's own advice."""
    if isinstance(error, OSError):
        return str(error)
    if kind := _beginning(path):
        return kind
    with open(path, "rb") as file:
        head = file.read(20)
    pytorch = head.startswith((b"PK", b"\x80"))
    if path.suffix == ".safetensors":
        if pytorch:
            return "it is a PyTorch file or a pickle, not safetensors"
        return f"it is truncated or damaged ({str(error)[:200]})"
    if head[8:9] == b"{":
        return "it is a safetensors file: let its name end in .safetensors"
    if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"it pickles an object of Python, {refused[1]}, and to open that could run any code. "
            "Ask for its tensors alone: torch.save(model.state_dict(), …)"
        )
    if not pytorch:
        return f"it is no file of PyTorch's; it begins with {head!r}"
    if not head.startswith((b"PK", LEGACY)):
        return "it is a pickle, of Python objects and not of tensors, or damaged"
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {Path(name).name for name in archive.namelist()}
    except Exception:  # of a damaged archive it raises nearly anything, too
        inside = set()
    if "constants.pkl" in inside:
        return "it is a TorchScript program; ask for its tensors alone: torch.save(model.state_dict(), …)"
    if inside and "data.pkl" not in inside:
        return "it is a zip archive, but none of PyTorch's"
    return "it is truncated or damaged: fetch it again"


# Networks ------------------------------------------------------------------------------------------------


def to_mingpt(model: GPT) -> dict[str, torch.Tensor]:
    """The weights under the names of minGPT, as the public OthelloGPT has them, squares transposed.

    Args:
        model: the network.

    Returns:
        Copies of its weights, on the CPU.

    References:
        The public code of Li et al. (2023).

    Example:
        >>> model = GPT(GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8))
        >>> to_mingpt(model)["tok_emb.weight"].shape
        torch.Size([13, 8])
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

    Args:
        state: tensors by name.
        n_head: heads of each block. The weights do not tell it; the public OthelloGPT has 8.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: for a name that is missing or unknown, shapes that fit no board or not each other,
            and numbers that are not finite.
    """
    found = _Reader(state, "minGPT", (".attn.mask",))
    config = found.config("tok_emb.weight", "pos_emb", n_head)
    found.check(config, to_mingpt)
    tokens = _transposed(config.board_size)
    weights = {
        "token_embedding.weight": found["tok_emb.weight"][tokens],
        "position_embedding.weight": found["pos_emb"][0],
        "ln_f.weight": found["ln_f.weight"],
        "ln_f.bias": found["ln_f.bias"],
        "head.weight": found["head.weight"][tokens],
    }
    for block in range(config.n_layer):
        for ours, theirs in _mingpt_names(block):
            for kind in ("weight", "bias"):
                weights[f"{ours}.{kind}"] = torch.cat([found[f"{name}.{kind}"] for name in theirs])
    return _loaded(config, weights)


def _mingpt_names(block: int) -> tuple[tuple[str, list[str]], ...]:
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


def transformer_lens_config(config: GPTConfig) -> dict[str, int | str]:
    """Arguments of TransformerLens' `HookedTransformerConfig` for a network of the shape `config`."""
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

    Args:
        model: the network.

    Returns:
        Copies of its weights, on the CPU.
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
    changes no probability.

    Args:
        state: tensors by name.

    Returns:
        The network, in evaluation mode.

    Raises:
        CheckpointError: for names and shapes that do not fit, and for numbers that are not finite.
    """
    found = _Reader(state, "TransformerLens", (".attn.mask", ".attn.IGNORE"))
    heads = found.shape("blocks.0.attn.W_Q")
    if len(heads) != 3 or not heads.numel():
        raise CheckpointError(f"blocks.0.attn.W_Q has shape {list(heads)}, not [heads, d_model, d_head]")
    config = found.config("embed.W_E", "pos_embed.W_pos", heads[0])
    folded = "ln_final.w" not in found.state
    found.check(config, to_transformer_lens, without=r"\.ln\d\.|^ln_final" if folded else None)
    D, tokens = config.d_model, _transposed(config.board_size)

    def norm(name):
        return (torch.ones(D), torch.zeros(D)) if folded else (found[f"{name}.w"], found[f"{name}.b"])

    head = found["unembed.W_U"].T
    gain, offset = norm("ln_final")
    weights = {
        "token_embedding.weight": found["embed.W_E"][tokens],
        "position_embedding.weight": found["pos_embed.W_pos"],
        "ln_f.weight": gain,
        "ln_f.bias": offset + _through_the_head(head, found["unembed.b_U"]),
        "head.weight": head[tokens],
    }
    for block in range(config.n_layer):
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
    return _loaded(config, weights)


def _through_the_head(head: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The vector of the stream that the head turns into this bias, up to one number for all tokens."""
    if not bias.any():
        return torch.zeros(head.shape[1])
    matrix = torch.cat([head, torch.ones(len(head), 1)], 1).double()
    try:
        solution = torch.linalg.lstsq(matrix, bias.double()[:, None], driver="gelsd").solution
    except torch.linalg.LinAlgError:
        solution = torch.zeros(matrix.shape[1], 1, dtype=matrix.dtype)
    if not torch.allclose((matrix @ solution)[:, 0], bias.double(), atol=1e-4 * bias.abs().max().item()):
        raise CheckpointError("the bias of the head, unembed.b_U, cannot be expressed without a bias")
    return _numbers(solution[:-1, 0], "unembed.b_U, expressed through the last LayerNorm,")


class _Reader:
    """Named tensors of one project: says by name what is missing, of another shape, or unknown."""

    def __init__(self, state: State, layout: str, buffers: tuple[str, ...]):
        state = _named_tensors(state, f"the state in {layout}'s names")
        self.state = {name: value for name, value in state.items() if not name.endswith(buffers)}
        self.layout = layout

    def __getitem__(self, name: str) -> torch.Tensor:
        self.shape(name)
        return _numbers(self.state[name], name)

    def shape(self, name: str) -> torch.Size:
        if name not in self.state:
            raise CheckpointError(f"{name!r} is missing: this is no GPT in {self.layout}'s names")
        return self.state[name].shape

    def config(self, embedding: str, positions: str, n_head: int) -> GPTConfig:
        """The shape of the network that these two tensors tell."""
        tokens, places = self.shape(embedding), self.shape(positions)
        if len(tokens) != 2 or len(places) < 2:
            raise CheckpointError(f"{embedding} {list(tokens)} and {positions} {list(places)} fit no board")
        n_layer = len({name.split(".")[1] for name in self.state if name.startswith("blocks.")})
        for board_size in (4, 6, 8):
            try:
                config = GPTConfig(board_size, n_layer, n_head, tokens[1])
            except OthelloEduError as error:
                raise CheckpointError(f"the weights in {self.layout}'s names do not fit: {error}") from error
            if tokens[0] == config.vocab_size and places[-2] == config.n_ctx:
                return config
        raise CheckpointError(
            f"{tokens[0]} tokens and {places[-2]} positions fit no board: 8x8 has 61 and 59"
        )

    def check(self, config: GPTConfig, written: Callable[[GPT], State], without: str | None = None) -> None:
        """Compare with what `written` makes of such a network, less the names that match `without`.

        Before the network is built: names and shapes of a damaged file can ask for one of any size.
        """
        with torch.device("meta"):
            one_block = GPT(replace(config, n_layer=1))
        unread = set(self.state)
        for name, value in written(one_block).items():
            blocks = range(config.n_layer) if name.startswith("blocks.0.") else (0,)
            for theirs in (name.replace("blocks.0.", f"blocks.{block}.", 1) for block in blocks):
                if without and re.search(without, theirs):
                    continue
                if (found := self.shape(theirs)) != value.shape:
                    raise CheckpointError(
                        f"the weights in {self.layout}'s names do not fit: {theirs} has shape {list(found)}; "
                        f"with the embeddings and {config.n_head} heads go {list(value.shape)}"
                    )
                unread.discard(theirs)
        if unread:
            raise CheckpointError(f"{_short(min(unread))} is no part of a GPT in {self.layout}'s names")


def _loaded(config: GPTConfig, weights: State) -> GPT:
    model = GPT(config)
    model.load_state_dict(weights)
    return model.eval()


def _copy(model: GPT) -> dict[str, torch.Tensor]:
    state = {name: value.detach() for name, value in model.state_dict().items()}
    # On the device "meta", which has shapes and no numbers, there is nothing to copy.
    return {name: value if value.is_meta else value.cpu().clone() for name, value in state.items()}


def _transposed(board_size: int) -> torch.Tensor:
    """Their token of each of our tokens, and the other way round, int64 [vocab]."""
    squares = move_squares(board_size)[1:]
    theirs = encode_moves(8 * (squares % 8) + squares // 8, board_size)
    return torch.cat([torch.zeros(1, dtype=torch.int64), theirs])


# Probes and sparse autoencoders ----------------------------------------------------------------------------


def from_published_probe(probe: torch.Tensor | State) -> LinearProbe:
    """A probe of one stage from the published tensor.

    Its axes are [3 modes, d_model, 8 rows, 8 columns, 3 options]. Modes are black to play, white to play,
    either; options blank, white, black. Mine is black's disc where black plays and white's where white plays,
    and the two are averaged.

    Args:
        probe: the tensor, or what `read_state` read from a file that holds this one alone.

    Returns:
        The probe, of one stage and without a bias.

    Raises:
        CheckpointError: for another shape, more than one tensor, and numbers that are not finite.

    References:
        Nanda et al. (2023).
    """
    if isinstance(probe, Mapping):
        if len(probe) != 1:
            raise CheckpointError(f"there are {len(probe)} tensors; the published probe is one alone")
        (probe,) = probe.values()
    probe = _numbers(probe, "the published probe")
    if probe.ndim != 5 or probe.shape[0] != 3 or tuple(probe.shape[2:]) != (8, 8, 3) or not probe.shape[1]:
        raise CheckpointError(f"the tensor has shape {tuple(probe.shape)}; it must be [3, d_model, 8, 8, 3]")
    black, white = probe[BLACK_TO_PLAY].double(), probe[WHITE_TO_PLAY].double()  # [d_model, 8, 8, 3]
    empty = black[..., BLANK] + white[..., BLANK]
    mine = black[..., BLACK] + white[..., WHITE]
    theirs = black[..., WHITE] + white[..., BLACK]
    weight = (torch.stack([empty, mine, theirs]) / 2).float()  # [class, d_model, letter, digit]
    weight = weight.permute(3, 2, 0, 1).reshape(1, 64, *weight.shape[:2])
    return LinearProbe.from_weights(weight, torch.zeros(1, 64, 3))


def to_published_probe(probe: LinearProbe, stage: int) -> torch.Tensor:
    """The inverse of `from_published_probe`.

    The layout has no place for a bias. Its mode "either" cannot tell mine from theirs by colour and holds
    their mean.

    Args:
        probe: of the squares of 8x8, without a bias.
        stage: which of the stages that the probe reads, by its place among them.

    Returns:
        float32 [3, d_model, 8, 8, 3].

    Raises:
        OthelloEduError: for a probe with a bias, or one of another board than 8x8.
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


def write_saelens(sae: Autoencoder, folder: FilePath, stage: int) -> None:
    """Write an SAE of a stage, of any of this package's kinds, as a folder that SAELens loads.

    Args:
        sae: one SAE, and no stack.
        folder: made where there is none; two files are written there.
        stage: which the SAE was trained on, 0 for the embedding, l for after block l; it becomes a hook's
            name.

    Raises:
        OthelloEduError: for a stack: write the SAEs that it was made of one by one.
    """
    if sae.W_enc.ndim != 2:
        raise OthelloEduError("this is a stack of SAEs: write those that it was made of one by one")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"W_enc": sae.W_enc, "W_dec": sae.W_dec, "b_enc": sae.b_enc}
    # SAELens' always have one.
    tensors["b_dec"] = sae.b_dec if isinstance(sae, UntiedAutoencoder) else torch.zeros(sae.d_model)
    special: dict[str, str | int | bool] = {"architecture": "standard"}
    if isinstance(sae, TopK):
        special = {"architecture": "topk", "k": sae.k, "rescale_acts_by_decoder_norm": False}
    elif isinstance(sae, JumpReLU):
        special = {"architecture": "jumprelu"}
        tensors["threshold"] = sae.threshold
    hook = f"blocks.{stage - 1}.hook_resid_post" if stage else "blocks.0.hook_resid_pre"
    config = special | {
        "d_in": sae.d_model,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": isinstance(sae, UntiedAutoencoder),
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


def read_saelens(folder: FilePath) -> Autoencoder:
    """An SAE from SAELens' folder, if it is one that this package has.

    These are standard (tied, without a decoder bias), and TopK or JumpReLU whose decoder biases are taken
    away from what they read. Both of SAELens' layouts are read: `k` beside the architecture, or (before
    version 6) in `activation_fn_kwargs`.

    Args:
        folder: with `cfg.json` and `sae_weights.safetensors`.

    Returns:
        The SAE, in evaluation mode and without gradients.

    Raises:
        CheckpointError: naming the file and the setting or the tensor, for files that cannot be read or
            contradict each other and for any other kind of SAE.
    """
    folder = Path(folder)
    path = folder / SAE_FILE
    config = _read_config(folder / SAE_CONFIG)
    kind = config["architecture"]
    tensors = read_state(path)
    needed = ["W_enc", "W_dec", "b_enc", "b_dec"] + ["threshold"] * (kind == "jumprelu")
    if missing := sorted(set(needed) - set(tensors)):
        raise CheckpointError(f"{path} has no {missing[0]}")
    if unknown := sorted(set(tensors) - set(needed)):
        raise CheckpointError(f"{path} has {_short(unknown[0])}, no part of a {kind} SAE of this package")
    read = {name: _numbers(value, f"{path}: {name}") for name, value in tensors.items()}
    W_enc, W_dec, b_enc, b_dec = (read[name] for name in needed[:4])
    threshold = read.pop("threshold", b_enc)
    if (
        W_enc.ndim != 2
        or not W_enc.numel()
        or W_dec.shape != W_enc.T.shape
        or not b_enc.shape == threshold.shape == W_enc.shape[1:]
        or b_dec.shape != W_enc.shape[:1]
    ):
        shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in needed)
        raise CheckpointError(f"{path}: {shapes} do not fit together")
    d_model, n_features = W_enc.shape
    for name, size in (("d_in", d_model), ("d_sae", n_features)):
        if config.get(name, size) != size:
            raise CheckpointError(
                f"{folder / SAE_CONFIG}: {name} is {_short(config[name])}; the weights have {size}"
            )
    if kind == "standard":
        if not torch.equal(W_enc, W_dec.T) or b_dec.any():
            raise CheckpointError(
                f"{path} has a decoder of its own; this package's standard SAE reads and writes by one matrix"
            )
        return _filled(SparseAutoencoder(d_model, n_features), W_enc=W_enc, b_enc=b_enc)
    if kind == "jumprelu":
        if not (threshold > 0).all():
            raise CheckpointError(f"{path} has a threshold that is not above 0")
        l0 = n_features  # what it was trained towards is not in the file, and no matter now
        return _filled(JumpReLU(d_model, n_features, l0), **read, log_threshold=threshold.log())
    try:
        return _filled(TopK(d_model, n_features, config["k"]), **read)
    except OthelloEduError as error:
        raise CheckpointError(f"{folder / SAE_CONFIG}: {error}") from error


def _read_settings(path: Path) -> dict:
    """The object in a JSON file that describes an SAE."""
    try:
        _need_file(path)
        fault: object = None
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            fault = f"it holds a {type(config).__name__}"
    except OSError as error:
        fault = error
    except (ValueError, RecursionError) as error:
        fault = _beginning(path) or error
    if fault is not None:
        raise CheckpointError(f"{path} does not describe an SAE: {fault}")
    return config


def _read_config(path: Path) -> dict:
    """SAELens' cfg.json of an SAE that this package has; `architecture` and `k` as version 6 has them."""
    config = _read_settings(path)

    def refuse_if(wrong, what):
        if wrong:
            raise CheckpointError(f"{path} {what}")

    def told(key):
        return _short(config.get(key))

    # Before version 6 an activation was named beside the architecture, which it could make a TopK.
    activations = [config.get(key) for key in ("activation_fn_str", "activation_fn")]
    kind = config.get("architecture", "standard")
    if kind == "standard" and "topk" in activations:
        kind = "topk"
    normalised = config.get("normalize_activations")
    refuse_if(
        kind not in ("standard", "topk", "jumprelu") or normalised not in ("none", None, False),
        f"describes a {told('architecture').strip(chr(39))} SAE with activations normalised by "
        f"{told('normalize_activations')}; only standard, topk and jumprelu ones without can be read",
    )
    for activation in activations:
        refuse_if(
            activation not in (None, "topk" if kind == "topk" else "relu"),
            f"describes a {kind} SAE with the activation {_short(activation)}; "
            "this package has ReLUs, and the k largest of a topk SAE",
        )
    refuse_if(
        config.get("finetuning_scaling_factor") not in (False, None),
        f"says finetuning_scaling_factor: {told('finetuning_scaling_factor')}; this package's SAEs have none",
    )
    refuse_if(
        kind != "standard" and config.get("apply_b_dec_to_input", True) is not True,
        f"says apply_b_dec_to_input: {told('apply_b_dec_to_input')}: "
        "its encoder does not take the decoder bias away; this package's does",
    )
    refuse_if(
        config.get("rescale_acts_by_decoder_norm") not in (False, None),
        "ranks features by their decoder's length (rescale_acts_by_decoder_norm): "
        "fold it in first (SAELens' fold_W_dec_norm)",
    )
    config["architecture"] = kind
    if kind == "topk":
        older = config.get("activation_fn_kwargs") or {}
        refuse_if(
            not isinstance(older, dict) or set(older) - {"k"},
            f"says activation_fn_kwargs: {told('activation_fn_kwargs')}, of which only k is understood",
        )
        stated = [k for k in (config.get("k"), older.get("k")) if k is not None]
        refuse_if(not stated, "describes a topk SAE without its k")
        for k in stated:
            whole = type(k) is int and k >= 1
            refuse_if(not whole, f"says k: {_short(k)}; it must be a whole number, at least 1")
        refuse_if(stated[-1] != stated[0], f"says k twice, {_short(stated[0])} and {_short(stated[-1])}")
        config["k"] = stated[0]
    return config


def _filled(sae: Read, **state: torch.Tensor) -> Read:
    """The SAE with this state, for use and no more training."""
    sae.load_state_dict(state)
    return sae.eval().requires_grad_(False)


# What dictionary_learning calls the tensors of each class: ours -> theirs.
DICTIONARY_NAMES = {
    "AutoEncoder": {"b_enc": "encoder.bias", "b_dec": "bias"},
    "AutoEncoderNew": {"b_enc": "encoder.bias", "b_dec": "decoder.bias"},
    "GatedAutoEncoder": {
        "r_mag": "r_mag",
        "gate_bias": "gate_bias",
        "b_enc": "mag_bias",
        "b_dec": "decoder_bias",
    },
    "AutoEncoderTopK": {"b_enc": "encoder.bias", "b_dec": "b_dec"},
}
NO_THRESHOLD = 1e-30  # a JumpReLU with so low a threshold is a ReLU


def read_dictionary_learning(folder: FilePath) -> tuple[JumpReLU | TopK, int, int | None]:
    """An SAE from the folder that the library dictionary_learning writes, as Karvonen et al. (2024) did.

    Four of its classes can be read. `AutoEncoder` and `AutoEncoderNew` have ReLUs, which are JumpReLUs with
    a threshold of next to nothing. `GatedAutoEncoder` shares one matrix between gate and magnitude, so that
    the gate is a threshold on the magnitude, and it is a JumpReLU exactly. `AutoEncoderTopK` is our `TopK`.
    Rows of W_dec get length 1, and activations the length that they had; TopK's have it already.

    Args:
        folder: with `ae.pt` and `config.json`.

    Returns:
        The SAE, in evaluation mode and without gradients; its stage (their layer l is read after block l,
        counted from 0: stage l + 1); and the length of the sequences that it was trained on, if the folder
        tells it.

    Raises:
        CheckpointError: naming the file and the setting or the tensor, for files that cannot be read or
            contradict each other and for any other class.

    References:
        Karvonen et al. (2024), and the public code of dictionary_learning.
    """
    path, config = Path(folder) / DICTIONARY_FILE, Path(folder) / DICTIONARY_CONFIG
    settings = _read_settings(config)
    trainer, buffer = settings.get("trainer"), settings.get("buffer") or {}
    if not isinstance(trainer, dict) or not isinstance(buffer, dict):
        raise CheckpointError(f"{config} has no settings under the name 'trainer'")
    kind, layer = trainer.get("dict_class"), trainer.get("layer")
    if not isinstance(kind, str) or kind not in DICTIONARY_NAMES:
        known = ", ".join(DICTIONARY_NAMES)
        raise CheckpointError(f"{config} says dict_class: {_short(kind)}; only {known} can be read")
    if type(layer) is not int or layer < 0:
        raise CheckpointError(f"{config} says layer: {_short(layer)}; it must be a whole number, at least 0")
    tensors = read_state(path)
    k = tensors.pop("k", None)
    tensors.pop("threshold", None)  # of newer TopK files, and not used by TopK
    names = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"} | DICTIONARY_NAMES[kind]
    if missing := sorted(set(names.values()) - set(tensors)):
        raise CheckpointError(f"{path} has no {missing[0]}, which a {kind} has")
    if unknown := sorted(set(tensors) - set(names.values())):
        raise CheckpointError(f"{path} has {_short(unknown[0])}, which a {kind} has not")
    read = {ours: _numbers(tensors[theirs], f"{path}: {theirs}") for ours, theirs in names.items()}
    shape = read["W_enc"].shape
    wanted = {"W_enc": shape, "W_dec": shape[::-1], "b_dec": shape[1:]}
    if (
        len(shape) != 2
        or not shape.numel()
        or any(value.shape != wanted.get(name, shape[:1]) for name, value in read.items())
    ):
        shapes = ", ".join(f"{theirs} {list(tensors[theirs].shape)}" for theirs in names.values())
        raise CheckpointError(f"{path}: {shapes} do not fit together")
    n_features, d_model = shape
    for name, size in (("activation_dim", d_model), ("dict_size", n_features)):
        if trainer.get(name, size) != size:
            raise CheckpointError(f"{config}: {name} is {_short(trainer[name])}; the weights have {size}")
    context = buffer.get("ctx_len")
    if context is not None and type(context) is not int:
        raise CheckpointError(f"{config} says ctx_len: {_short(context)}; it must be a whole number")
    read["W_enc"], read["W_dec"] = read["W_enc"].T.contiguous(), read["W_dec"].T.contiguous()
    lengths = read["W_dec"].norm(dim=1)
    if kind == "AutoEncoderTopK":
        return _filled(_top_k(trainer, k, d_model, lengths, config), **read), layer + 1, context
    threshold = torch.zeros(n_features)
    if kind == "AutoEncoderNew":  # its encoder does not take b_dec away; ours does, and gets it back here
        read["b_enc"] = read["b_enc"] + read["b_dec"] @ read["W_enc"]
    if kind == "GatedAutoEncoder":
        gain = read.pop("r_mag").exp()
        threshold = read["b_enc"] - gain * read.pop("gate_bias")
        read["W_enc"] = read["W_enc"] * gain
    lengths = torch.where(lengths > 0, lengths, 1.0)
    read["W_dec"] = read["W_dec"] / lengths[:, None]
    read["W_enc"], read["b_enc"] = read["W_enc"] * lengths, read["b_enc"] * lengths
    log_threshold = (threshold * lengths).clamp(min=NO_THRESHOLD).log()
    read |= {"log_threshold": log_threshold}
    for name, value in read.items():
        _numbers(value, f"{path}: {name}, brought to this package's form,")
    return _filled(JumpReLU(d_model, n_features, n_features), **read), layer + 1, context


def _top_k(trainer: dict, k: torch.Tensor | None, d_model: int, lengths: torch.Tensor, config: Path) -> TopK:
    """A TopK of the size and the k that the files agree on."""
    stated = [trainer["k"]] if trainer.get("k") is not None else []
    stated += [k.item()] if k is not None and k.numel() == 1 else []
    if not stated or stated[-1] != stated[0]:
        raise CheckpointError(f"{config} and the weights beside it must say one k: they say {_short(stated)}")
    if not torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3):
        raise CheckpointError(
            f"{config}: rows of its decoder do not have length 1, so that its k largest are not ours"
        )
    try:
        return TopK(d_model, len(lengths), stated[0])
    except OthelloEduError as error:
        raise CheckpointError(f"{config}: {error}") from error
