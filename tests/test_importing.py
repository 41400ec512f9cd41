"""Networks and SAEs from outside: checked for vocabulary, window and squares, imported, reproduced on."""

import json

import pytest
import torch
from test_interop import folded
from torch.nn import functional as F

from othello_edu import importing, interop
from othello_edu.cli import main
from othello_edu.errors import CheckpointError, OthelloEduError
from othello_edu.games import encode_moves, move_squares, random_games, tokens
from othello_edu.importing import ORIGIN, import_autoencoder, import_network
from othello_edu.interop import read_dictionary_learning, read_saelens, to_mingpt, to_transformer_lens
from othello_edu.model import GPT, GPTConfig
from othello_edu.pretrained import CARD_FILE, load_model, load_pretrained, rounded
from othello_edu.reproduction import read_results
from othello_edu.reproduction.run import fingerprint
from othello_edu.sae import TopK

LAYOUTS = {"minGPT": to_mingpt, "TransformerLens": to_transformer_lens}
TOKEN_ROWS = ("tok_emb.weight", "head.weight")


@pytest.fixture(scope="module")
def small():
    return load_pretrained("small")


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return rounded(GPT(GPTConfig(n_layer=8, n_head=2, d_model=16)))


def saved(state, folder, name="synthetic_model.pth"):
    torch.save(state, folder / name)
    return folder / name


def logits(model, n_games=3):
    with torch.no_grad():
        return model(tokens(random_games(n_games, seed=1)))


def renumbered(state, squares):
    """The same network's file if its token k stood for `squares[k - 1]`, in its own numbering of squares."""
    rows = torch.cat([torch.zeros(1, dtype=torch.int64), encode_moves(squares)])
    return state | {name: state[name][rows] for name in TOKEN_ROWS}


# Networks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_is_imported_from_its_file_and_computes_the_same(layout, small, tmp_path):
    source = saved(LAYOUTS[layout](small), tmp_path)
    origin = import_network(source, tmp_path / "out", n_games=10)
    again = load_model(tmp_path / "out")
    assert again.config == small.config
    torch.testing.assert_close(logits(again), logits(small))
    assert origin == json.loads((tmp_path / "out" / ORIGIN).read_text())
    assert (origin["file"], origin["names"], origin["cut_positions"]) == (source.name, layout, 0)
    assert origin["measured"]["legal_rate"] > 0.95 and len(origin["sha256"]) == 64
    with pytest.raises(OthelloEduError, match="already holds config.json: choose another"):
        import_network(source, tmp_path / "out")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_longer_window_is_cut_and_a_shorter_one_refused(layout, small, tmp_path):
    state = LAYOUTS[layout](small)
    name = "pos_emb" if layout == "minGPT" else "pos_embed.W_pos"
    longer = torch.cat([state[name], torch.ones_like(state[name][..., :5, :])], dim=-2)
    origin = import_network(saved(state | {name: longer}, tmp_path), tmp_path / "out", n_games=5)
    assert origin["cut_positions"] == 5
    torch.testing.assert_close(logits(load_model(tmp_path / "out")), logits(small))
    shorter = saved(state | {name: state[name][..., :40, :]}, tmp_path)
    with pytest.raises(CheckpointError, match="window of 40 moves; a game needs 59"):
        import_network(shorter, tmp_path / "shorter")


@pytest.mark.parametrize("n_tokens", [60, 64, 66])
def test_another_vocabulary_is_refused_with_what_it_may_be(n_tokens, tiny, tmp_path):
    state = to_mingpt(tiny)
    state |= {name: torch.zeros(n_tokens, 16) for name in TOKEN_ROWS}
    with pytest.raises(CheckpointError, match=f"vocabulary of {n_tokens} tokens. It must be 61.*centre.*66"):
        import_network(saved(state, tmp_path), tmp_path / "out", n_head=2, untrained=True)


def test_squares_counted_from_the_other_side_are_noticed(small, tmp_path):
    squares = move_squares()[1:]
    state = to_mingpt(small)
    for other in (squares ^ 56, squares ^ 7):  # digits backwards, letters backwards
        with pytest.raises(CheckpointError, match="from the other side: .*if token 1 is a8"):
            import_network(saved(renumbered(state, other), tmp_path), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


def test_letters_and_digits_exchanged_play_othello_too_which_no_check_can_see(small, tmp_path):
    squares = move_squares()[1:]
    state = renumbered(to_mingpt(small), 8 * (squares % 8) + squares // 8)
    origin = import_network(saved(state, tmp_path), tmp_path / "out", n_games=50)
    assert origin["measured"]["legal_rate"] > 0.95
    assert not torch.allclose(logits(load_model(tmp_path / "out")), logits(small), atol=0.1)


def test_a_network_that_does_not_play_is_refused_unless_it_is_meant_as_a_control(small, tiny, tmp_path):
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(0)).numpy()
    scrambled = renumbered(to_mingpt(small), move_squares()[1:][shuffled])
    for state, n_head in ((scrambled, 8), (to_mingpt(small), 1), (to_mingpt(tiny), 2)):
        with pytest.raises(CheckpointError, match="does not play Othello: .*--heads.*--untrained"):
            import_network(saved(state, tmp_path), tmp_path / "out", n_head)
    import_network(saved(to_mingpt(tiny), tmp_path), tmp_path / "out", 2, untrained=True, n_games=5)
    assert torch.equal(load_model(tmp_path / "out").head.weight, tiny.head.weight)


def test_folded_layernorms_are_imported_too_with_the_buffers_of_their_file(tmp_path):
    # As Nanda's copy has them; wider than the vocabulary, so that a LayerNorm can hold the head's bias.
    torch.manual_seed(2)
    model = GPT(GPTConfig(n_layer=2, n_head=4, d_model=64)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    state = folded(to_transformer_lens(model))
    state |= {"blocks.0.attn.mask": torch.ones(59, 59).bool(), "blocks.0.attn.IGNORE": torch.tensor(-1e5)}
    import_network(saved(state, tmp_path), tmp_path / "out", untrained=True, n_games=5)
    there, here = (logits(one).softmax(-1) for one in (load_model(tmp_path / "out"), model))
    torch.testing.assert_close(there, here, rtol=0.05, atol=2e-3)  # weights are rounded to 16 bits


def test_what_is_no_network_is_told_what_it_is(tiny, tmp_path):
    (tmp_path / "zip.pth").write_bytes(b"not a file of PyTorch's")
    torch.save(tiny, tmp_path / "whole.pth")
    saved({"encoder.weight": torch.zeros(2, 2)}, tmp_path, "ae.pt")
    saved({"wte.weight": torch.zeros(2, 2)}, tmp_path, "other.pth")
    large = to_mingpt(tiny)
    large["blocks.3.mlp.0.weight"] = large["blocks.3.mlp.0.weight"] + 1e6
    saved(large, tmp_path, "large.pth")
    for name, message in {
        "zip.pth": "no file of PyTorch's",
        "whole.pth": "pickles an object of Python",
        "missing.pth": "no such file",
        "ae.pt": "is an autoencoder: give the folder",
        "other.pth": "no network in minGPT's or TransformerLens' names.*'wte.weight'",
        "large.pth": "too large for float16",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            import_network(tmp_path / name, tmp_path / "out", 2, untrained=True)


# Autoencoders --------------------------------------------------------------------------------------------


def theirs(kind, d_model=6, n_features=12, scale=0.7):
    """An SAE in dictionary_learning's names, and how that library computes activations and reconstruction."""
    random = torch.Generator().manual_seed(3)

    def drawn(*shape):
        return torch.randn(*shape, generator=random)

    state = {"encoder.weight": drawn(n_features, d_model), "decoder.weight": drawn(d_model, n_features)}
    state["decoder.weight"] *= scale
    if kind == "GatedAutoEncoder":
        state |= {name: 0.5 * drawn(n_features) for name in ("r_mag", "gate_bias", "mag_bias")}
        state["decoder_bias"] = drawn(d_model)
    else:
        state["encoder.bias"] = drawn(n_features)
        name = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias", "AutoEncoderTopK": "b_dec"}[kind]
        state[name] = drawn(d_model)
    if kind == "AutoEncoderTopK":
        state["decoder.weight"] = F.normalize(state["decoder.weight"], dim=0)
        state |= {"k": torch.tensor(3), "threshold": torch.tensor(-1.0)}

    def run(x):
        encoder, decoder = state["encoder.weight"], state["decoder.weight"]
        if kind == "GatedAutoEncoder":
            inner = F.linear(x - state["decoder_bias"], encoder)
            size = F.relu(state["r_mag"].exp() * inner + state["mag_bias"])
            acts = (inner + state["gate_bias"] > 0) * size
            return acts, F.linear(acts, decoder, state["decoder_bias"])
        if kind == "AutoEncoderNew":
            acts = F.relu(F.linear(x, encoder, state["encoder.bias"]))
            return acts, F.linear(acts, decoder, state["decoder.bias"])
        bias = state["bias" if kind == "AutoEncoder" else "b_dec"]
        acts = F.relu(F.linear(x - bias, encoder, state["encoder.bias"]))
        if kind == "AutoEncoderTopK":
            values, places = acts.topk(3, dim=-1)
            acts = torch.zeros_like(acts).scatter(-1, places, values)
        return acts, F.linear(acts, decoder, bias)

    return state, run


def written(folder, state, kind, buffer=None, **trainer):
    """The folder as the library writes it."""
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "ae.pt")
    n_features, d_model = state["encoder.weight"].shape
    about = {"dict_class": kind, "activation_dim": d_model, "dict_size": n_features, "layer": 5} | trainer
    settings = {"trainer": about, "buffer": {"ctx_len": 59} if buffer is None else buffer}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


every_kind = pytest.mark.parametrize("kind", interop.DICTIONARY_NAMES)


@every_kind
def test_an_sae_of_dictionary_learning_computes_the_same_here(kind, tmp_path):
    state, run = theirs(kind)
    sae, stage, context = read_dictionary_learning(written(tmp_path / "trainer0", state, kind))
    assert (stage, context, sae.training) == (6, 59, False)
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    acts, rebuilt = run(x)
    assert 0.05 < (acts > 0).float().mean() < 0.95
    torch.testing.assert_close(sae(x), rebuilt, rtol=1e-4, atol=1e-5)
    # Activations are lengths here: what a feature adds to the stream has length 1 for an activation of 1.
    torch.testing.assert_close(
        sae.encode(x), acts * state["decoder.weight"].norm(dim=0), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(12))


def test_a_topk_file_without_its_k_takes_it_from_the_settings(tmp_path):
    state, _ = theirs("AutoEncoderTopK")
    old = {name: value for name, value in state.items() if name not in ("k", "threshold")}
    sae, _, _ = read_dictionary_learning(written(tmp_path / "a", old, "AutoEncoderTopK", k=4))
    assert isinstance(sae, TopK) and sae.k == 4
    for folder, tensors, k in (("b", old, {}), ("c", state, {"k": 4}), ("e", state, {"k": [3]})):
        with pytest.raises(CheckpointError, match="must say one k"):
            read_dictionary_learning(written(tmp_path / folder, tensors, "AutoEncoderTopK", **k))
    state["decoder.weight"] = 2 * state["decoder.weight"]
    with pytest.raises(CheckpointError, match="do not have length 1"):
        read_dictionary_learning(written(tmp_path / "d", state, "AutoEncoderTopK"))


@pytest.mark.parametrize(
    "change, trainer, message",
    [
        ({}, {"dict_class": "Identity"}, "dict_class: 'Identity'; only AutoEncoder"),
        ({}, {"layer": None}, "layer: None; it must be a whole number"),
        ({}, {"dict_size": 99}, "dict_size is 99; the weights have 12"),
        ({"bias": torch.zeros(5)}, {}, "do not fit together"),
        ({"bias": torch.full((6,), torch.nan)}, {}, "ae.pt: bias holds numbers that are infinite or none"),
        ({"surplus": torch.zeros(1)}, {}, "has 'surplus', which a AutoEncoder has not"),
        ({"bias": None}, {}, "has no bias, which a AutoEncoder has"),
    ],
)
def test_files_that_contradict_each_other_are_refused(change, trainer, message, tmp_path):
    state = {name: value for name, value in (theirs("AutoEncoder")[0] | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        read_dictionary_learning(written(tmp_path / "x", state, "AutoEncoder", **trainer))


def mirror(d_model=16):
    """An SAE that describes any stream of so many dimensions: each of them has a feature for either sign."""
    both = torch.cat([torch.eye(d_model), -torch.eye(d_model)])
    biases = {"encoder.bias": torch.zeros(2 * d_model), "bias": torch.zeros(d_model)}
    return {"encoder.weight": both, "decoder.weight": both.T.contiguous(), **biases}


@pytest.fixture(scope="module")
def network(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    import_network(saved(to_mingpt(tiny), folder), folder / "tiny", 2, untrained=True, n_games=5)
    return folder / "tiny"


def test_an_sae_is_imported_for_its_network_and_measured_on_it(network, tmp_path):
    source = written(tmp_path / "trainer0", mirror(), "AutoEncoder")
    origin = import_autoencoder(source, network, tmp_path / "sae", n_games=5)
    assert origin == json.loads((tmp_path / "sae" / ORIGIN).read_text())
    assert origin["measured"]["explained_variance"] > 0.999 and origin["stage"] == 6
    sae, x = read_saelens(tmp_path / "sae"), torch.randn(20, 16)
    torch.testing.assert_close(sae(x), x)
    settings = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert settings["metadata"]["hook_name"] == "blocks.5.hook_resid_post"


@pytest.mark.parametrize(
    "state, about, message",
    [
        (mirror(8), {}, r"reads 8 numbers \(the network has 16"),
        (mirror(64), {}, r"reads 64 numbers \(MLP neurons, not the stream"),
        (mirror(), {"layer": 8}, "layer 8, counted from 0; there are 8"),
        (mirror(), {"buffer": {"ctx_len": 256}}, "sequences of 256 tokens; .*another game"),
        (mirror() | {"bias": torch.full((16,), 50.0)}, {}, "worse than the mean .*another network or stage"),
    ],
)
def test_an_sae_of_another_network_is_refused(state, about, message, network, tmp_path):
    if "bias" in state and state["bias"].any():
        state = state | {"encoder.weight": -state["encoder.weight"]}
    source = written(tmp_path / "x", state, "AutoEncoder", **about)
    with pytest.raises(CheckpointError, match=message):
        import_autoencoder(source, network, tmp_path / "out", n_games=5)


# The command ---------------------------------------------------------------------------------------------


def test_the_command_imports_a_network_and_its_sae_and_says_what_next(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importing.import_network, "__defaults__", (8, False, 10))
    source, out = saved(to_transformer_lens(small), tmp_path), tmp_path / "li"
    assert main(["import", str(source), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "8 blocks x 128, 8 heads, read by the names of TransformerLens" in printed
    assert f"othello-edu reproduce --model {out}" in printed and "top-1 legal 9" in printed
    folder = written(tmp_path / "trainer0", mirror(128), "AutoEncoder")
    sae = ["import", str(folder), "--out", str(tmp_path / "sae")]
    assert main(sae) == 2
    assert "--model must say of which network" in capsys.readouterr().err
    assert main([*sae, "--model", str(out)]) == 0
    assert "JumpReLU of stage 6" in capsys.readouterr().out
    assert main(["import", str(tmp_path / "none.pth"), "--out", str(tmp_path / "x")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_help_says_what_can_be_imported(capsys):
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    text = capsys.readouterr().out
    for word in ("minGPT", "TransformerLens", "dictionary_learning", "ae.pt", "--heads", "--untrained"):
        assert word in text


@pytest.mark.slow
def test_one_command_reproduces_the_paper_on_an_imported_network(network, tmp_path, capsys):
    command = [
        "reproduce",
        "--model",
        str(network),
        "--protocol",
        "corrected",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*command, "--size", "quick", "--device", "cpu"]) == 0
    results = read_results(tmp_path / "out")
    assert results["model"] == "tiny" and results["weights_sha256"] == fingerprint(load_model(network))
    assert results["taught_by"] == [], "a file from outside does not say how its network was taught"
    assert not (network / CARD_FILE).exists()
    assert {f"features/{stage}" for stage in range(9)} <= results["results"].keys()
    assert all(claim["verdict"] for claim in results["claims"])
    assert "figures in" in capsys.readouterr().out
