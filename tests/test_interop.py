"""Other projects' files: read and written without loss, and the same network on their side as on ours."""

import json
import math

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
    probe = LinearProbe()
    random = torch.Generator().manual_seed(0)
    probe.weight = torch.randn(2, 64, 3, d_model, generator=random)
    probe.bias = torch.zeros(2, 64, 3)
    return probe


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
    probe.weight = probe.weight[:, :36]
    with pytest.raises(OthelloEduError, match="36 squares"):
        to_published_probe(probe, 0)


# Sparse autoencoders -------------------------------------------------------------------------------------


def an_sae():
    sae = SparseAutoencoder(6, 12, seed=1).requires_grad_(False)
    sae.bias.copy_(torch.linspace(-0.5, 0.5, 12))
    return sae


def test_an_sae_comes_back_as_it_went(tmp_path):
    sae = an_sae()
    write_saelens(sae, tmp_path, stage=3)
    again = read_saelens(tmp_path)
    assert torch.equal(again.weight, sae.weight) and torch.equal(again.bias, sae.bias)
    assert not again.weight.requires_grad


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
    assert type(again) is type(sae) and not again.weight.requires_grad
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
    stack = SparseAutoencoder(6, 12, [0, 1])
    with pytest.raises(OthelloEduError, match="this is a stack"):
        write_saelens(stack, tmp_path, stage=1)
    write_saelens(stack.unstack()[1], tmp_path, stage=1)
    assert torch.equal(read_saelens(tmp_path).weight, stack.weight[1])


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
        sae.bias.copy_(0.1 * torch.randn(256, generator=torch.Generator().manual_seed(4)))
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
    assert torch.equal(again.weight, sae.weight) and torch.equal(again.bias, sae.bias)
