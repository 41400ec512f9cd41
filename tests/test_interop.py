"""Other projects' files: read and written without loss, and the same network on their side as on ours."""

import gzip
import io
import json
import math
import pickle
import random
import re
import traceback
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional as F

from othello_edu.errors import CheckpointError, OthelloEduError
from othello_edu.games import encode_moves, move_squares, random_games, tokens
from othello_edu.interop import (
    from_mingpt,
    from_published_probe,
    from_transformer_lens,
    read_saelens,
    read_state,
    to_mingpt,
    to_published_probe,
    to_transformer_lens,
    transformer_lens_config,
    write_saelens,
)
from othello_edu.labels import EMPTY, MINE, THEIRS
from othello_edu.model import GPT, GPTConfig
from othello_edu.pretrained import load_pretrained
from othello_edu.probes import LinearProbe
from othello_edu.sae import JumpReLU, SparseAutoencoder, TopK
from othello_edu.sae_training import stack

LAYOUTS = {
    "minGPT": (to_mingpt, lambda state: from_mingpt(state, n_head=4)),
    "TransformerLens": (to_transformer_lens, from_transformer_lens),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def a_model(board_size=8, seed=0):
    """A network whose every weight matters: biases and LayerNorms too are drawn at random."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(board_size, n_layer=2, n_head=4, d_model=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return a_model()


def mirrored(games):
    """The tokens of the same games on the transposed board, where letters and digits change places."""
    squares = np.where(games.moves < 0, -1, 8 * (games.moves % 8) + games.moves // 8)
    return encode_moves(squares, games.board_size)[:, :-1]


def in_our_order(logits, board_size=8):
    """Logits of a network that numbers squares by letter, in our order of tokens."""
    squares = move_squares(board_size)[1:]
    theirs = encode_moves(8 * (squares % 8) + squares // 8, board_size)
    return logits[..., [0, *theirs.tolist()]]


def run_mingpt(state, tokens, n_head=4):
    """minGPT's forward pass, from its names."""

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    x = state["tok_emb.weight"][tokens] + state["pos_emb"][:, : tokens.shape[1]]
    B, T, D = x.shape
    for block in range(2):
        here = f"blocks.{block}"
        seen = norm(x, f"{here}.ln1")
        q, k, v = (
            linear(seen, f"{here}.attn.{name}").view(B, T, n_head, D // n_head).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(D // n_head)
        scores = scores.masked_fill(torch.triu(torch.ones(T, T), 1) > 0, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, D)
        x = x + linear(mixed, f"{here}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{here}.ln2"), f"{here}.mlp.0")), f"{here}.mlp.2")
    return F.linear(norm(x, "ln_f"), state["head.weight"])


def run_transformer_lens(state, tokens):
    """HookedTransformer's forward pass, from its names and its index conventions, folded or not."""

    def norm(x, name):
        x = F.layer_norm(x, x.shape[-1:])
        return x * state[f"{name}.w"] + state[f"{name}.b"] if f"{name}.w" in state else x

    T = tokens.shape[1]
    x = state["embed.W_E"][tokens] + state["pos_embed.W_pos"][:T]
    for block in range(2):
        here = f"blocks.{block}"
        seen = norm(x, f"{here}.ln1")
        q, k, v = (
            torch.einsum("btd,hde->bthe", seen, state[f"{here}.attn.W_{n}"]) + state[f"{here}.attn.b_{n}"]
            for n in "QKV"
        )
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(torch.triu(torch.ones(T, T), 1) > 0, -torch.inf)
        z = torch.einsum("bhqk,bkhe->bqhe", scores.softmax(-1), v)
        x = x + torch.einsum("bqhe,hed->bqd", z, state[f"{here}.attn.W_O"]) + state[f"{here}.attn.b_O"]
        hidden = F.gelu(norm(x, f"{here}.ln2") @ state[f"{here}.mlp.W_in"] + state[f"{here}.mlp.b_in"])
        x = x + hidden @ state[f"{here}.mlp.W_out"] + state[f"{here}.mlp.b_out"]
    return norm(x, "ln_final") @ state["unembed.W_U"] + state["unembed.b_U"]


def folded(state):
    """What HookedTransformer makes of its weights by default: LayerNorms go into what reads them, and
    everything that writes to the stream or to the logits is centred."""
    state = {name: value.clone() for name, value in state.items()}

    def fold(name, matrix, bias, over):
        w, b = state.pop(f"{name}.w"), state.pop(f"{name}.b")
        for m, v in zip(matrix, bias, strict=True):
            state[v] += (state[m] * b[:, None]).sum(over)
            state[m] *= w[:, None]
            state[m] -= state[m].mean(over, keepdim=True)

    for block in range(2):
        here = f"blocks.{block}"
        names = [[f"{here}.attn.{kind}_{n}" for n in "QKV"] for kind in "Wb"]
        fold(f"{here}.ln1", *names, over=-2)
        fold(f"{here}.ln2", [f"{here}.mlp.W_in"], [f"{here}.mlp.b_in"], over=-2)
        for name in ("attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out"):
            state[f"{here}.{name}"] -= state[f"{here}.{name}"].mean(-1, keepdim=True)
    fold("ln_final", ["unembed.W_U"], ["unembed.b_U"], over=-2)
    for name in ("embed.W_E", "pos_embed.W_pos", "unembed.W_U", "unembed.b_U"):
        state[name] -= state[name].mean(-1, keepdim=True)
    return state


# Networks ------------------------------------------------------------------------------------------------


@every_layout
@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_a_network_comes_back_as_it_went(layout, board_size):
    there, back = LAYOUTS[layout]
    model = a_model(board_size)
    again = back(there(model))
    assert again.config == model.config and not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("layout, run", [("minGPT", run_mingpt), ("TransformerLens", run_transformer_lens)])
def test_on_their_side_it_is_the_same_network_of_the_transposed_board(model, layout, run):
    games = random_games(4, seed=1)
    with torch.no_grad():
        ours = model(tokens(games))
        theirs = run(LAYOUTS[layout][0](model), mirrored(games))
    assert (mirrored(games) != tokens(games)).any()
    torch.testing.assert_close(in_our_order(theirs), ours, rtol=1e-4, atol=1e-4)


def test_the_names_and_shapes_are_those_of_the_public_othellogpt():
    state = to_mingpt(GPT(GPTConfig(n_layer=1, d_model=512)))
    square, wide = [512, 512], [2048, 512]
    expected = {"tok_emb.weight": [61, 512], "pos_emb": [1, 59, 512], "head.weight": [61, 512]}
    expected |= {"ln_f.weight": [512], "ln_f.bias": [512]}
    layers = {"ln1": [512], "ln2": [512], "mlp.0": wide, "mlp.2": wide[::-1]}
    layers |= {f"attn.{name}": square for name in ("key", "query", "value", "proj")}
    for name, shape in layers.items():
        expected |= {f"blocks.0.{name}.weight": shape, f"blocks.0.{name}.bias": shape[:1]}
    assert {name: list(value.shape) for name, value in state.items()} == expected


def test_the_names_and_shapes_are_those_of_transformer_lens():
    config = GPTConfig(n_layer=1, d_model=128)
    state = to_transformer_lens(GPT(config))
    expected = {
        "embed.W_E": [61, 128],
        "pos_embed.W_pos": [59, 128],
        "ln_final.w": [128],
        "ln_final.b": [128],
    }
    expected |= {"unembed.W_U": [128, 61], "unembed.b_U": [61]}
    block = {"attn.W_O": [8, 16, 128], "attn.b_O": [128]}
    block |= {"mlp.W_in": [128, 512], "mlp.b_in": [512], "mlp.W_out": [512, 128], "mlp.b_out": [128]}
    for name in "QKV":
        block |= {f"attn.W_{name}": [8, 128, 16], f"attn.b_{name}": [8, 16]}
    block |= {f"ln{which}.{kind}": [128] for which in "12" for kind in "wb"}
    expected |= {f"blocks.0.{name}": shape for name, shape in block.items()}
    assert {name: list(value.shape) for name, value in state.items()} == expected
    assert transformer_lens_config(config)["d_vocab"] == 61 and transformer_lens_config(config)["n_ctx"] == 59


def test_folded_layernorms_give_the_same_probabilities():
    # Wider than the vocabulary, as every real one is: a narrow head cannot stand in for any bias.
    torch.manual_seed(3)
    model = GPT(GPTConfig(4, n_layer=2, n_head=4, d_model=32)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        games = random_games(5, seed=2, board_size=4)
        ours = model(tokens(games)).log_softmax(-1)
        state = folded(to_transformer_lens(model))
        there = in_our_order(run_transformer_lens(state, mirrored(games)), 4).log_softmax(-1)
        torch.testing.assert_close(there, ours, rtol=1e-3, atol=1e-3)
        back = from_transformer_lens(state)(tokens(games)).log_softmax(-1)
    torch.testing.assert_close(back, ours, rtol=1e-3, atol=1e-3)


def test_a_bias_that_the_head_cannot_express_is_refused(model):
    bias = torch.linspace(-1, 1, 61).square()  # 61 numbers from a stream of 16
    with pytest.raises(CheckpointError, match="unembed.b_U"):
        from_transformer_lens(to_transformer_lens(model) | {"unembed.b_U": bias})


def test_buffers_of_their_modules_are_no_weights(model):
    mask = {f"blocks.{block}.attn.mask": torch.ones(59, 59) for block in range(2)}
    assert torch.equal(from_mingpt(to_mingpt(model) | mask, 4).head.weight, model.head.weight)
    ignore = {"blocks.0.attn.IGNORE": torch.tensor(-torch.inf)}
    again = from_transformer_lens(to_transformer_lens(model) | mask | ignore)
    assert torch.equal(again.head.weight, model.head.weight)


@every_layout
def test_a_missing_an_unknown_and_a_misshapen_weight_are_refused_by_name(model, layout):
    there, back = LAYOUTS[layout]
    for name in there(model):
        state = there(model)
        del state[name]
        with pytest.raises(CheckpointError):
            back(state)
    with pytest.raises(CheckpointError, match="'surplus'"):
        back(there(model) | {"surplus": torch.zeros(1)})
    name = next(name for name in there(model) if "mlp" in name)
    with pytest.raises(CheckpointError, match="do not fit"):
        back(there(model) | {name: torch.zeros(3, 3)})


@every_layout
def test_embeddings_that_fit_no_board_are_refused(model, layout):
    there, back = LAYOUTS[layout]
    state = there(model)
    name = next(name for name in state if "tok_emb" in name or "W_E" in name)
    with pytest.raises(CheckpointError, match="60 tokens and 59 positions fit no board"):
        back(state | {name: state[name][:60]})


def test_a_pytorch_file_is_read_without_running_what_is_in_it(model, tmp_path):
    torch.save(to_mingpt(model), tmp_path / "gpt.ckpt")
    again = from_mingpt(read_state(tmp_path / "gpt.ckpt"), 4)
    assert torch.equal(again.position_embedding.weight, model.position_embedding.weight)

    torch.save(model, tmp_path / "whole.pt")  # a pickled module would run code
    with pytest.raises(CheckpointError, match="whole.pt"):
        read_state(tmp_path / "whole.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="list.pt holds something other"):
        read_state(tmp_path / "list.pt")


@pytest.mark.parametrize("name", ["cut.pt", "cut.safetensors"])
def test_a_truncated_or_missing_file_is_refused_by_name(model, tmp_path, name):
    with pytest.raises(CheckpointError, match=name):
        read_state(tmp_path / name)
    torch.save(to_mingpt(model), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=name):
        read_state(tmp_path / name)


# Probes --------------------------------------------------------------------------------------------------


def a_probe(d_model=5):
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 64, 3, d_model, generator=random)
    return LinearProbe.from_weights(weight, torch.zeros(2, 64, 3))


def test_a_probe_comes_back_as_it_went():
    probe = a_probe()
    tensor = to_published_probe(probe, stage=1)
    assert tensor.shape == (3, 5, 8, 8, 3)
    torch.testing.assert_close(from_published_probe(tensor).weight[0], probe.weight[1])


def test_the_published_probe_reads_blank_white_and_black_by_letter_and_digit():
    # It knows one thing: where black plays, a black disc on b7 (letter 1, digit 6) lies along dimension 2.
    tensor = torch.zeros(3, 5, 8, 8, 3)
    tensor[0, 2, 1, 6, 2] = 1
    weight = from_published_probe(tensor).weight[0]  # [square, class, dimension]
    b7 = 8 * 6 + 1
    assert weight[b7, MINE, 2] == 0.5 and weight.abs().sum() == 0.5
    tensor.zero_()[1, 2, 1, 6, 2] = 1  # where white plays, the same disc is the other player's
    assert from_published_probe(tensor).weight[0][b7, THEIRS, 2] == 0.5
    tensor.zero_()[:2, 2, 1, 6, 0] = 1
    assert from_published_probe(tensor).weight[0][b7, EMPTY, 2] == 1


def test_probes_that_do_not_fit_are_refused():
    with pytest.raises(CheckpointError, match=r"must be \[3, d_model, 8, 8, 3\]"):
        from_published_probe(torch.zeros(3, 5, 64, 3))
    probe = a_probe()
    probe.bias[1] += 1
    with pytest.raises(OthelloEduError, match="bias"):
        to_published_probe(probe, 1)
    smaller = LinearProbe.from_weights(probe.weight[:, :36], probe.bias[:, :36])
    with pytest.raises(OthelloEduError, match="36 squares"):
        to_published_probe(smaller, 0)


# Sparse autoencoders -------------------------------------------------------------------------------------


def an_sae():
    sae = SparseAutoencoder(6, 12, seed=1).requires_grad_(False)
    sae.b_enc.copy_(torch.linspace(-0.5, 0.5, 12))
    return sae


def test_an_sae_comes_back_as_it_went(tmp_path):
    sae = an_sae()
    write_saelens(sae, tmp_path, stage=3)
    again = read_saelens(tmp_path)
    assert torch.equal(again.W_enc, sae.W_enc) and torch.equal(again.b_enc, sae.b_enc)
    assert not again.W_enc.requires_grad


def untied(kind, d_model=6, n_features=12):
    """One of the kinds with an encoder of its own, every number of it drawn."""
    sae = {"topk": TopK, "jumprelu": JumpReLU}[kind](d_model, n_features, 3, seed=1).requires_grad_(False)
    random = torch.Generator().manual_seed(2)
    for parameter in sae.parameters():
        parameter += 0.3 * torch.randn(parameter.shape, generator=random)
    return sae


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_saes_with_an_encoder_of_their_own_come_back_as_they_went(kind, tmp_path):
    sae = untied(kind)
    write_saelens(sae, tmp_path, stage=3)
    again = read_saelens(tmp_path)
    assert type(again) is type(sae) and not again.W_enc.requires_grad
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.encode(x), sae.encode(x))
    torch.testing.assert_close(again(x), sae(x))
    state = read_state(tmp_path / "sae_weights.safetensors")
    before = (x - state["b_dec"]) @ state["W_enc"] + state["b_enc"]
    if kind == "topk":
        kept = before >= before.topk(3).values[:, -1:]
    else:
        kept = before > state["threshold"]
    theirs = (before.relu() * kept) @ state["W_dec"] + state["b_dec"]
    torch.testing.assert_close(theirs, sae(x))


@pytest.mark.parametrize(
    "kind, change, message",
    [
        ("topk", {"apply_b_dec_to_input": False}, "does not take the decoder bias away"),
        ("topk", {"rescale_acts_by_decoder_norm": True}, "fold it in first"),
        ("topk", {"k": 99}, "k is 99"),
        ("topk", {"k": "many"}, "cfg.json"),
        ("jumprelu", {"apply_b_dec_to_input": False}, "does not take the decoder bias away"),
    ],
)
def test_settings_that_this_package_cannot_follow_are_refused(kind, change, message, tmp_path):
    write_saelens(untied(kind), tmp_path, stage=1)
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        read_saelens(tmp_path)


def test_thresholds_must_be_there_and_above_zero(tmp_path):
    write_saelens(untied("jumprelu"), tmp_path, stage=1)
    path = tmp_path / "sae_weights.safetensors"
    tensors = dict(read_state(path))
    for threshold, message in ((torch.zeros(12), "not above 0"), (None, "has no threshold")):
        change = {} if threshold is None else {"threshold": threshold}
        rest = {name: value for name, value in tensors.items() if name != "threshold"}
        safetensors.torch.save_file(rest | change, path)
        with pytest.raises(CheckpointError, match=message):
            read_saelens(tmp_path)


def test_a_stack_is_written_one_by_one(tmp_path):
    saes = [SparseAutoencoder(6, 12, seed) for seed in (0, 1)]
    stacked = stack(saes)
    with pytest.raises(OthelloEduError, match="this is a stack"):
        write_saelens(stacked, tmp_path, stage=1)
    write_saelens(saes[1], tmp_path, stage=1)
    assert torch.equal(read_saelens(tmp_path).W_enc, stacked.W_enc[1])


def test_saelens_finds_its_names_shapes_and_the_place_of_the_stage(tmp_path):
    sae = an_sae()
    write_saelens(sae, tmp_path, stage=3)
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert config["metadata"]["hook_name"] == "blocks.2.hook_resid_post"
    assert (config["d_in"], config["d_sae"]) == (6, 12)
    state = read_state(tmp_path / "sae_weights.safetensors")
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes == {"W_enc": (6, 12), "W_dec": (12, 6), "b_enc": (12,), "b_dec": (6,)}
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    theirs = F.relu(x @ state["W_enc"] + state["b_enc"]) @ state["W_dec"] + state["b_dec"]
    torch.testing.assert_close(theirs, sae(x))
    write_saelens(sae, tmp_path / "embedding", stage=0)
    config = json.loads((tmp_path / "embedding" / "cfg.json").read_text())
    assert config["metadata"]["hook_name"] == "blocks.0.hook_resid_pre"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"architecture": "gated"}, "cfg.json describes a gated SAE"),
        ({"normalize_activations": "layer_norm"}, "normalised by 'layer_norm'"),
    ],
)
def test_saes_of_another_kind_are_refused(tmp_path, change, message):
    write_saelens(an_sae(), tmp_path, stage=1)
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        read_saelens(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"W_dec": torch.ones(12, 6)}, "a decoder of its own"),
        ({"b_dec": torch.ones(6)}, "a decoder of its own"),
        ({"b_enc": torch.ones(3)}, "do not fit together"),
        ({"b_enc": None}, "has no b_enc"),
    ],
)
def test_sae_weights_that_this_package_cannot_hold_are_refused(tmp_path, change, message):
    write_saelens(an_sae(), tmp_path, stage=1)
    path = tmp_path / "sae_weights.safetensors"
    tensors = {k: v for k, v in (read_state(path) | change).items() if v is not None}
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(CheckpointError, match=message):
        read_saelens(tmp_path)
    (tmp_path / "cfg.json").write_text("[]")
    with pytest.raises(CheckpointError, match="cfg.json does not describe an SAE"):
        read_saelens(tmp_path)


# Files that are not what they seem ------------------------------------------------------------------------


def refused(read, *arguments):
    """The message of the package's refusal, around which nothing says how to switch PyTorch's safety off."""
    with pytest.raises(CheckpointError) as caught:
        read(*arguments)
    shown = "".join(traceback.format_exception(caught.value))
    assert "weights_only" not in shown and "trust the source" not in shown
    return str(caught.value)


class Something:
    """An object of Python, as it is pickled whole by those who save a model and not its weights."""


def torch_bytes(value, zipped=True):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def zip_bytes(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"nothing")
    return buffer.getvalue()


WEIGHTS = {"a": torch.arange(300.0)}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 101\n"
IMPOSTORS = {
    "a whole module": (lambda: torch_bytes(torch.nn.Linear(2, 2)), "torch.nn.modules.linear.Linear"),
    "a whole module, older": (lambda: torch_bytes(torch.nn.Linear(2, 2), False), "linear.Linear"),
    "an object": (lambda: torch_bytes({"a": Something()}), r"test_interop.Something.*run any code"),
    "a plain pickle": (lambda: pickle.dumps(Something(), 2), r"test_interop.Something.*run any code"),
    "a newer pickle": (lambda: pickle.dumps(Something(), 5), "a pickle, of Python objects"),
    "an LFS pointer": (lambda: LFS, "a Git LFS pointer.*git lfs pull"),
    "a page": (lambda: b"\xef\xbb\xbf\n <!DOCTYPE html>\n<html>Sign in</html>", "a page of HTML"),
    "nothing": (lambda: b"", "it is empty, 0 bytes"),
    "half a file": (lambda: torch_bytes(WEIGHTS)[:900], "truncated or damaged"),
    "half an older file": (lambda: torch_bytes(WEIGHTS, False)[:-100], "truncated or damaged"),
    "another archive": (lambda: zip_bytes("a/a.npy"), "a zip archive, but none of PyTorch's"),
    "TorchScript": (lambda: zip_bytes("a/constants.pkl"), "a TorchScript program"),
    "gzip": (lambda: gzip.compress(torch_bytes(WEIGHTS)), "a compressed file: unpack it"),
    "safetensors": (lambda: safetensors.torch.save(WEIGHTS), r"let its name end in \.safetensors"),
    "words": (lambda: b"Entry not found", "no file of PyTorch's; it begins with b'Entry not found'"),
    "a list": (lambda: torch_bytes([1]), "holds something other than tensors by name: a list"),
    "a run": (lambda: torch_bytes({"model": WEIGHTS, "step": 3}), "under 'model' a dict"),
    "numbered": (lambda: torch_bytes({1: torch.zeros(1)}), "under 1 a Tensor"),
    "sparse": (lambda: torch_bytes({"a": torch.eye(2).to_sparse()}), "'a' is a sparse"),
    "endless": (lambda: torch_bytes({"a": torch.zeros(1).expand(2**40)}), r"'a' has shape \[1099511627776\]"),
}


@pytest.mark.filterwarnings("ignore")  # of PyTorch, about what the test saves
@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_a_file_that_is_something_else_is_told_what_it_is(impostor, tmp_path):
    make, message = IMPOSTORS[impostor]
    path = tmp_path / "gpt.pt"
    path.write_bytes(make())
    said = refused(read_state, path)
    assert str(path) in said and re.search(message, said, re.DOTALL), said


@pytest.mark.parametrize(
    "content, message",
    [
        (LFS, "a Git LFS pointer"),
        (b"<html>", "a page of HTML"),
        (b"", "it is empty"),
        (torch_bytes(WEIGHTS), "a PyTorch file or a pickle, not safetensors"),
        (safetensors.torch.save(WEIGHTS)[:-1], "it is truncated or damaged"),
        (b'{"a": ' * 100_000, "it is truncated or damaged"),
    ],
)
def test_so_is_one_that_calls_itself_safetensors(content, message, tmp_path):
    (tmp_path / "gpt.safetensors").write_bytes(content)
    assert re.search(f"gpt.safetensors.*{message}", refused(read_state, tmp_path / "gpt.safetensors"))


def test_places_without_a_file_are_refused(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path, f"{tmp_path}/a\0b.pt", tmp_path / ("long" * 200)):
        assert "cannot be read" in refused(read_state, path)
        assert "cfg.json does not describe an SAE" in refused(read_saelens, path)


@pytest.mark.parametrize("zipped", [True, False])
def test_one_flipped_bit_of_a_weight_is_noticed_where_the_file_has_checksums(zipped, tmp_path):
    content = bytearray(torch_bytes(WEIGHTS, zipped))
    content[content.find(WEIGHTS["a"].numpy().tobytes()) + 802] ^= 64
    path = tmp_path / "gpt.pt"
    path.write_bytes(content)
    if zipped:
        assert "data/0 does not fit its checksum" in refused(read_state, path)
    else:
        assert (read_state(path)["a"] != WEIGHTS["a"]).sum() == 1


# Checkpoints, and the published probe's file --------------------------------------------------------------


@every_layout
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_what_training_wraps_around_names_is_taken_away(model, layout, prefix, tmp_path):
    there, back = LAYOUTS[layout]
    wrapped = {prefix + name: value for name, value in there(model).items()}
    assert torch.equal(back(wrapped).head.weight, model.head.weight)
    torch.save(wrapped, tmp_path / "gpt.pt")
    safetensors.torch.save_file({n: v.contiguous() for n, v in wrapped.items()}, tmp_path / "gpt.safetensors")
    for path in tmp_path.iterdir():
        state = read_state(path)
        assert set(state) == set(there(model))
        assert torch.equal(back(state).head.weight, model.head.weight)


def test_a_block_compiled_by_itself_has_its_prefix_within(model):
    inner = {name.replace("blocks.1.", "blocks.1._orig_mod."): v for name, v in to_mingpt(model).items()}
    assert torch.equal(from_mingpt(inner, 4).blocks[1].mlp.up.weight, model.blocks[1].mlp.up.weight)


def test_one_name_with_and_without_a_prefix_is_refused(model, tmp_path):
    torch.save({"a": torch.zeros(1), "module.a": torch.ones(1)}, tmp_path / "gpt.pt")
    assert "has 'a' twice" in refused(read_state, tmp_path / "gpt.pt")


@pytest.mark.parametrize("kind", ["pt", "older pt", "parameter", "named pt", "safetensors"])
def test_the_published_probe_is_read_from_its_file(kind, tmp_path):
    tensor, path = to_published_probe(a_probe(), stage=1), tmp_path / "probe.pth"
    if kind == "safetensors":
        path = tmp_path / "probe.safetensors"
        safetensors.torch.save_file({"probe": tensor}, path)
    else:
        bare = {"parameter": torch.nn.Parameter(tensor), "named pt": {"probe": tensor}}.get(kind, tensor)
        torch.save(bare, path, _use_new_zipfile_serialization=kind != "older pt")
    state = read_state(path)
    (value,) = state.values()
    assert torch.equal(value, tensor) and not value.requires_grad
    assert torch.equal(from_published_probe(state).weight, from_published_probe(tensor).weight)


def test_a_state_of_more_or_other_than_a_probe_is_no_probe():
    tensor = to_published_probe(a_probe(), stage=1)
    assert "2 tensors" in refused(from_published_probe, {"a": tensor, "b": tensor})
    assert "0 tensors" in refused(from_published_probe, {})
    assert "int64" in refused(from_published_probe, tensor.long())
    assert "must be [3" in refused(from_published_probe, tensor[:, :0])
    for number in (torch.nan, torch.inf):
        assert "NaN" in refused(from_published_probe, torch.where(tensor > 1, number, tensor))


def test_large_numbers_of_a_probe_do_not_overflow_on_the_way():
    tensor = torch.full((3, 2, 8, 8, 3), 3e38)
    assert (from_published_probe(tensor).weight == 3e38).all()


@every_layout
@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: torch.full_like(value, torch.nan),
        lambda value: torch.full_like(value, -torch.inf),
        lambda value: torch.full_like(value, 1e300, dtype=torch.float64),
        lambda value: value.long(),
        lambda value: value.bool(),
        lambda value: value.to(torch.complex64),
        lambda value: value.to_sparse(),
        lambda value: value.numpy(),
        lambda value: value[..., None],
        lambda value: value[:0],
        lambda value: value.sum(),
        lambda value: None,
    ],
)
def test_every_weight_must_hold_finite_numbers_in_the_right_shape(model, layout, spoil):
    there, back = LAYOUTS[layout]
    state = there(model)
    for name, value in state.items():
        said = refused(back, state | {name: spoil(value)})
        assert name in said or "fit no board" in said


def test_many_blocks_by_name_alone_do_not_build_a_network(model):
    one = torch.zeros(1)
    for layout, (there, back) in LAYOUTS.items():
        names = {f"blocks.{block}.attn.b_O": one for block in range(2, 20_000)}
        assert layout in refused(back, there(model) | names)


# SAELens' older layout, and what its files may say that this package cannot follow ------------------------


@pytest.fixture
def older_topk(shared_data):
    folder = shared_data.parent / "cases" / "saelens_v5_topk"
    if not folder.is_dir():
        pytest.skip("no folder shared/cases beside the repository")
    return folder


def test_a_topk_in_the_older_layout_is_read(older_topk):
    sae = read_saelens(older_topk)
    assert isinstance(sae, TopK) and sae.k == 4
    state = read_state(older_topk / "sae_weights.safetensors")
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    before = (x - state["b_dec"]) @ state["W_enc"] + state["b_enc"]
    kept = before.relu() * (before >= before.topk(4).values[:, -1:])
    torch.testing.assert_close(sae.encode(x), kept)
    torch.testing.assert_close(sae(x), kept @ state["W_dec"] + state["b_dec"])


OLDER = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}, "finetuning_scaling_factor": False}


def rewritten(folder, kind, change, tensors=None):
    """An SAE's folder with other settings (None takes one away) and more tensors."""
    write_saelens(an_sae() if kind == "standard" else untied(kind), folder, stage=1)
    path = folder / "cfg.json"
    config = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    if tensors:
        path = folder / "sae_weights.safetensors"
        safetensors.torch.save_file(read_state(path) | tensors, path)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        OLDER | {"k": None},
        OLDER,
        OLDER | {"k": None, "architecture": "standard"},  # version 4 called it so
        OLDER | {"k": None, "architecture": None, "normalize_activations": False},
        OLDER | {"k": None, "activation_fn_str": None, "activation_fn": "topk"},
        {"activation_fn_kwargs": None, "normalize_activations": None, "apply_b_dec_to_input": None},
    ],
)
def test_every_way_to_say_topk_is_understood(change, tmp_path):
    sae = read_saelens(rewritten(tmp_path, "topk", change))
    assert isinstance(sae, TopK) and sae.k == 3
    assert torch.equal(sae.W_enc, untied("topk").W_enc)


def test_the_other_kinds_are_read_in_the_older_layout_too(tmp_path):
    older = {"activation_fn_str": "relu", "activation_fn_kwargs": {}, "finetuning_scaling_factor": False}
    for kind in ("standard", "jumprelu"):
        sae = read_saelens(rewritten(tmp_path / kind, kind, older))
        assert type(sae) is (SparseAutoencoder if kind == "standard" else JumpReLU)


@pytest.mark.parametrize(
    "kind, change, message",
    [
        ("standard", {"activation_fn_str": "tanh-relu"}, "the activation 'tanh-relu'"),
        ("standard", {"activation_fn": "gelu"}, "the activation 'gelu'"),
        ("topk", {"activation_fn_str": "relu"}, "a topk SAE with the activation 'relu'"),
        ("topk", {"activation_fn_str": ["topk"]}, "the activation"),
        ("jumprelu", {"activation_fn_str": "topk"}, "a jumprelu SAE with the activation 'topk'"),
        ("standard", {"finetuning_scaling_factor": True}, "finetuning_scaling_factor: True"),
        ("topk", {"finetuning_scaling_factor": True}, "finetuning_scaling_factor: True"),
        ("topk", {"architecture": "batchtopk"}, "describes a batchtopk SAE"),
        ("topk", {"architecture": ["topk"]}, "describes a "),
        ("topk", {"normalize_activations": True}, "normalised by True"),
        ("topk", {"apply_b_dec_to_input": "no"}, "does not take the decoder bias away"),
        ("topk", {"k": None}, "without its k"),
        ("topk", {"k": None, "activation_fn_kwargs": {}}, "without its k"),
        ("topk", {"k": None, "activation_fn_kwargs": {"k": 3, "postact_fn": "id"}}, "only k is understood"),
        ("topk", {"activation_fn_kwargs": [3]}, "only k is understood"),
        ("topk", {"activation_fn_kwargs": {"k": 4}}, "k twice, 3 and 4"),
        ("topk", {"activation_fn_kwargs": {"k": 3.0}}, "whole number"),
        ("topk", {"d_sae": 13}, "d_sae is 13; the weights have 12"),
        ("topk", {"d_in": "6"}, "d_in is '6'"),
        *[("topk", {"k": k}, "k: .*whole number") for k in (4.0, True, False, 0, -1, "4", [4], 1e400, {})],
        *[("topk", OLDER | {"k": None, "activation_fn_kwargs": {"k": k}}, "whole") for k in (3.0, True, 0)],
        ("topk", {"k": 13}, "k is 13"),
    ],
)
def test_settings_are_judged_when_the_file_is_read(kind, change, message, tmp_path):
    said = refused(read_saelens, rewritten(tmp_path, kind, change))
    assert "cfg.json" in said and re.search(message, said), said


@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu"])
@pytest.mark.parametrize("name", ["scaling_factor", "finetuning_scaling_factor", "b_gate", "W_skip", "a\0b"])
def test_a_tensor_that_an_sae_of_this_package_lacks_is_refused_by_name(kind, name, tmp_path):
    folder = rewritten(tmp_path, kind, {}, {name: torch.full((12,), 2.0)})
    assert f"has {name!r}" in refused(read_saelens, folder)


@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"])
def test_the_weights_of_an_sae_are_finite_floats(name, tmp_path):
    for number in (torch.nan, torch.inf, 1):
        wrong = torch.full({"W_enc": (6, 12), "W_dec": (12, 6), "b_dec": (6,)}.get(name, (12,)), number)
        assert name in refused(read_saelens, rewritten(tmp_path, "jumprelu", {}, {name: wrong}))


@pytest.mark.parametrize(
    "content, message",
    [
        (LFS, "a Git LFS pointer"),
        (b"<!doctype html>", "a page of HTML"),
        (b"", "it is empty"),
        (b"\xff\xfe{\0}\0", "decode"),
        (b"[" * 100_000, "recursion|nested"),
        (b'{"a":' * 100_000, "recursion|nested"),
        (b'{"architecture": "topk"', "delimiter"),
        (b'"topk"', "it holds a str"),
        (b"null", "it holds a NoneType"),
        (b'{"k": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_settings_that_are_no_settings_are_told_what_they_are(content, message, tmp_path):
    (rewritten(tmp_path, "topk", {}) / "cfg.json").write_bytes(content)
    said = refused(read_saelens, tmp_path)
    assert "cfg.json does not describe an SAE" in said and re.search(message, said)


# Mutated files: the package's own error, or what the file says --------------------------------------------


def damaged(content, chance):
    """The bytes after one to three accidents: of the disk, of the line, of an editor."""
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        start = chance.randrange(len(content) + 1)
        if chance.random() < 0.5:  # names and shapes are at the beginning or the end
            start = min(start, 300) if chance.random() < 0.5 else max(start, len(content) - 300)
        end = min(len(content), start + chance.choice((1, 1, 2, 4, 8, 64)))
        accident = chance.randrange(7)
        if accident < 3 and start < len(content):
            content[start] ^= 1 << chance.randrange(8)
        elif accident == 3:
            del content[start:]
        elif accident == 4:
            content[start:end] = chance.choice((b"", b"\0", b"\xff" * 8, b"NaN", b"[" * 5000, b"9" * 20))
        elif accident == 5:
            content[start:start] = content[start:end]
        else:
            other = chance.randrange(len(content) + 1)
            piece, there = content[start:end], content[other : other + end - start]
            if len(piece) == len(there):
                content[start:end], content[other : other + len(there)] = there, piece
    return bytes(content)


def spoilt(state, chance):
    """The tensors with one of them renamed, exchanged, left out, or holding something else."""
    state, (one, other) = dict(state), chance.sample(sorted(state), 2)
    value, number = state[one].clone(), chance.choice((torch.nan, torch.inf, -torch.inf, 1e38, 1e-45, 0.0))
    match chance.randrange(7):
        case 0:
            state[one], state[other] = state[other], state[one]
        case 1:
            names = ("a\0b", "x" * 5000, "", ".", "blocks.", "blocks.9.", "module.")
            state[chance.choice((*names, f"module.{one}", f"module.{other}"))] = state.pop(one)
        case 2:
            del state[one]
        case 3:
            value.view(-1)[chance.randrange(value.numel())] = number
            state[one] = value
        case 4:
            kinds = ("int64", "bool", "float16", "float64", "complex64", "float8_e5m2")
            state[one] = value.to(getattr(torch, chance.choice(kinds)))
        case 5:
            turned = value.mT if value.ndim > 1 else value.flip(0)
            state[one] = chance.choice((value[None], value[:0], value.sum(), turned))
        case 6:
            state[one] = torch.cat([value, value], chance.randrange(value.ndim))
    return {name: value.contiguous() for name, value in state.items()}


def in_safetensors(content):
    """What a safetensors file says, read without its library: names, types and places in a JSON header."""
    length = int.from_bytes(content[:8], "little")
    kinds = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32"}
    kinds |= {"U32": "uint32", "BOOL": "bool", "C64": "complex64", "F8_E5M2": "float8_e5m2"}
    found = {}
    for name, about in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            numbers = torch.tensor(list(content[8 + length :][start:end]), dtype=torch.uint8)
            found[name] = numbers.view(getattr(torch, kinds[about["dtype"]])).reshape(about["shape"])
    return found


def plain(state):
    return {re.sub(r"^(module\.)+", "", name): value for name, value in state.items()}


def bits(state):
    """What can be compared where NaNs are not equal to themselves, and float8 to nothing."""
    return {name: (v.dtype, v.shape, v.flatten().view(torch.uint8).tolist()) for name, v in state.items()}


def as_numbers(state):
    return {name: value.float() for name, value in state.items()}


def check_network(there, back):
    def check(state):
        model = back(state)
        written, said = there(model), as_numbers(state)
        if said.pop("unembed.b_U", torch.zeros(1)).any():  # expressed through the last LayerNorm
            said["ln_final.b"] = model.ln_f.bias.detach()
        written.pop("unembed.b_U", None)
        assert bits(written) == bits(said)

    return check


def check_probe(state):
    (tensor,) = state.values()
    weight, tensor = from_published_probe(state).weight[0], tensor.double()
    for square in (0, 6, 13, 63):
        here = tensor[:, :, square % 8, square // 8]
        read = {EMPTY: here[0, :, 0] + here[1, :, 0], MINE: here[0, :, 2] + here[1, :, 1]}
        read[THEIRS] = here[0, :, 1] + here[1, :, 2]
        for kind, expected in read.items():
            assert torch.equal(weight[square, kind], (expected / 2).float())


STATES = {
    "minGPT": (lambda: to_mingpt(a_model(4)), check_network(to_mingpt, lambda state: from_mingpt(state, 4))),
    "TransformerLens": (
        lambda: to_transformer_lens(a_model(4)),
        check_network(to_transformer_lens, from_transformer_lens),
    ),
    "probe": (lambda: {"tensor": to_published_probe(a_probe(2), stage=1)}, check_probe),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("container", ["pt", "older pt", "safetensors"])
@pytest.mark.parametrize("content", STATES)
def test_a_mutated_file_is_refused_or_read_as_it_says(content, container, seed, tmp_path):
    make, check = STATES[content]
    original, chance = make(), random.Random(f"{content} {container} {seed}")
    path = tmp_path / ("file.safetensors" if container == "safetensors" else "file.pt")

    def written(state):
        if container == "safetensors":
            return safetensors.torch.save(state)
        bare = state["tensor"] if set(state) == {"tensor"} else state
        return torch_bytes(bare, zipped=container == "pt")

    healthy, refusals = written(original), 0
    for _ in range(40):
        if chance.random() < 0.7 or len(original) == 1:
            path.write_bytes(damaged(healthy, chance))
            said = original  # what is damaged and read after all is what was there, thanks to the checksums
        else:
            said = spoilt(original, chance)
            path.write_bytes(written(said))
        try:
            state = read_state(path)
            if container == "safetensors":  # which has none
                said = in_safetensors(path.read_bytes())
            if container != "older pt":
                assert bits(state) == bits(plain(said))
            check(state)
        except OthelloEduError as error:
            assert "weights_only" not in "".join(traceback.format_exception(error))
            assert len(str(error)) < 1000
            refusals += 1
    assert refusals > 10


BAD = (None, True, 4.0, 0, -1, 10**400, math.nan, math.inf, "", "topk", "a\0b", "\ud800", [], [[4]], {"k": 2})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["standard", "topk", "older topk", "jumprelu"])
def test_a_mutated_folder_of_an_sae_is_refused_or_read_as_it_says(kind, seed, tmp_path):
    chance, older = random.Random(f"{kind} {seed}"), OLDER | {"k": None}
    rewritten(tmp_path, kind.split()[-1], older if kind == "older topk" else {})
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    settings, weights = tmp_path / "cfg.json", tmp_path / "sae_weights.safetensors"
    refusals = 0
    for _ in range(60):
        for path, content in files.items():
            path.write_bytes(content)
        match chance.randrange(4):
            case 0:
                settings.write_bytes(damaged(files[settings], chance))
            case 1:
                config = json.loads(files[settings])
                one, other = chance.sample(sorted(config), 2)
                config[one] = chance.choice((*BAD, config[other]))
                settings.write_text(json.dumps(config))
            case 2:
                weights.write_bytes(damaged(files[weights], chance))
            case 3:
                weights.write_bytes(safetensors.torch.save(spoilt(read_state(weights), chance)))
        try:
            sae = read_saelens(tmp_path)
        except CheckpointError as error:
            assert len(str(error)) < 1000
            refusals += 1
            continue
        # What is read computes what the file says: (x - b_dec) W_enc + b_enc, silenced, W_dec + b_dec.
        config, said = json.loads(settings.read_bytes()), as_numbers(read_state(weights))
        x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
        before = (x - said["b_dec"]) @ said["W_enc"] + said["b_enc"]
        if not before.isfinite().all():  # weights of 1e38 are finite, what they compute is not
            continue
        if isinstance(sae, TopK):
            assert sae.k == config.get("k", config.get("activation_fn_kwargs", {}).get("k"))
            before[before < before.topk(sae.k).values[:, -1:]] = 0
        elif isinstance(sae, JumpReLU):
            before[before <= said["threshold"]] = 0
        torch.testing.assert_close(sae.encode(x), before.relu())
        torch.testing.assert_close(sae(x), before.relu() @ said["W_dec"] + said["b_dec"])
    assert refusals > 10


# The real TransformerLens and SAELens: `make test-interop` --------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("fold", [False, True])
def test_transformer_lens_computes_the_same_logits_and_streams(fold):
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    small, games = load_pretrained("small"), random_games(20, seed=0)

    hooked = HookedTransformer(HookedTransformerConfig(**transformer_lens_config(small.config)))
    folding = dict.fromkeys(
        ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), fold
    )
    hooked.load_and_process_state_dict(to_transformer_lens(small), **folding)
    hooked.eval()
    with torch.no_grad():
        logits, cache = hooked.run_with_cache(mirrored(games))
        ours, ours_cache = small.run_with_cache(tokens(games), names=("resid_post",))
    theirs = in_our_order(logits).log_softmax(-1)
    torch.testing.assert_close(theirs, ours.log_softmax(-1), rtol=1e-3, atol=2e-3)
    if not fold:  # folding moves the streams' mean, which nothing reads
        last = cache["blocks.7.hook_resid_post"]
        torch.testing.assert_close(last, ours_cache["resid_post"][8], rtol=1e-3, atol=2e-3)

    back = from_transformer_lens(hooked.state_dict())
    with torch.no_grad():
        again = back(tokens(games)).log_softmax(-1)
    torch.testing.assert_close(again, ours.log_softmax(-1), rtol=1e-3, atol=2e-3)


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu"])
def test_saelens_reconstructs_the_same_streams_and_its_folder_is_read_back(kind, tmp_path):
    from sae_lens import SAE

    if kind == "standard":
        sae = SparseAutoencoder(128, 256, seed=3).requires_grad_(False)
        sae.b_enc.copy_(0.1 * torch.randn(256, generator=torch.Generator().manual_seed(4)))
    else:
        sae = untied(kind, 128, 256)
    write_saelens(sae, tmp_path / "ours", stage=4)
    theirs = SAE.load_from_disk(str(tmp_path / "ours"), device="cpu")
    x = torch.randn(50, 128, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode(x), sae.encode(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(theirs(x), sae(x), rtol=1e-4, atol=1e-4)
    theirs.save_model(str(tmp_path / "theirs"))
    again = read_saelens(tmp_path / "theirs")
    torch.testing.assert_close(again.encode(x), sae.encode(x))
    assert torch.equal(again.W_enc, sae.W_enc) and torch.equal(again.b_enc, sae.b_enc)
