"""The real TransformerLens and SAELens load what `interop` writes: `make test-interop` installs them."""

import numpy as np
import pytest
import torch

from othello_edu.games import encode_moves, random_games, tokens
from othello_edu.interop import (
    from_transformer_lens,
    read_saelens,
    to_transformer_lens,
    transformer_lens_config,
    write_saelens,
)
from othello_edu.pretrained import load_pretrained
from othello_edu.sae import SparseAutoencoder

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def small():
    return load_pretrained("small")


@pytest.fixture(scope="module")
def games():
    return random_games(20, seed=0)


def mirrored(games):
    """The tokens of the same games in the order of the public weights, by letter and then by digit."""
    return encode_moves(np.where(games.moves < 0, -1, 8 * (games.moves % 8) + games.moves // 8))[:, :-1]


@pytest.mark.parametrize("fold", [False, True])
def test_transformer_lens_computes_the_same_logits_and_streams(small, games, fold):
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    hooked = HookedTransformer(HookedTransformerConfig(**transformer_lens_config(small.config)))
    folding = dict.fromkeys(
        ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), fold
    )
    hooked.load_and_process_state_dict(to_transformer_lens(small), **folding)
    hooked.eval()
    with torch.no_grad():
        logits, cache = hooked.run_with_cache(mirrored(games))
        ours, ours_cache = small.run_with_cache(tokens(games), names=("resid_post",))
    theirs = logits[..., mirrored_tokens()].log_softmax(-1)
    torch.testing.assert_close(theirs, ours.log_softmax(-1), rtol=1e-3, atol=2e-3)
    if not fold:  # folding moves the streams' mean, which nothing reads
        last = cache["blocks.7.hook_resid_post"]
        torch.testing.assert_close(last, ours_cache["resid_post"][8], rtol=1e-3, atol=2e-3)

    back = from_transformer_lens(hooked.state_dict())
    with torch.no_grad():
        again = back(tokens(games)).log_softmax(-1)
    torch.testing.assert_close(again, ours.log_softmax(-1), rtol=1e-3, atol=2e-3)


def mirrored_tokens():
    squares = torch.arange(64)
    playable = [s for s in squares.tolist() if s not in (27, 28, 35, 36)]
    return [0, *(1 + playable.index(8 * (s % 8) + s // 8) for s in playable)]


def test_saelens_reconstructs_the_same_streams_and_its_folder_is_read_back(tmp_path):
    from sae_lens import SAE

    sae = SparseAutoencoder(128, 256, seed=3).requires_grad_(False)
    sae.bias.copy_(0.1 * torch.randn(256, generator=torch.Generator().manual_seed(4)))
    write_saelens(sae, tmp_path / "ours", stage=4)
    theirs = SAE.load_from_disk(str(tmp_path / "ours"), device="cpu")
    x = torch.randn(50, 128, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode(x), sae.encode(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(theirs(x), sae(x), rtol=1e-4, atol=1e-4)
    theirs.save_model(str(tmp_path / "theirs"))
    again = read_saelens(tmp_path / "theirs")
    assert torch.equal(again.weight, sae.weight) and torch.equal(again.bias, sae.bias)
