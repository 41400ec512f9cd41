"""Sparse autoencoders: all kinds find planted features, in stacks too, and do what their names say."""

import copy

import pytest
import torch
from torch.nn import functional as F

from othello_edu import sae as sae_module
from othello_edu import sae_training
from othello_edu.directions import best_cosines
from othello_edu.errors import OthelloEduError
from othello_edu.reproduction.quirks import PublishedSAE
from othello_edu.sae import JumpReLU, SparseAutoencoder, TopK
from othello_edu.sae_training import fit, linear_fall, stack, train_sae


def planted(n=20_000, d_model=24, n_features=36, seed=0):
    """Sums of about two of 36 directions each: rows [n, d_model] and the directions [d_model, n_features]."""
    random = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(d_model, n_features, generator=random), dim=0)
    present = torch.rand(n, n_features, generator=random) < 2 / n_features
    amounts = (0.5 + torch.rand(n, n_features, generator=random)) * present
    return amounts @ directions.T, directions


@pytest.fixture(scope="module")
def found():
    x, directions = planted()
    return train_sae(x, 48, l1=0.45, epochs=12, batch_size=256, learning_rate=5e-3), x, directions


# Training -----------------------------------------------------------------------------------------------


def test_planted_features_are_found(found):
    sae, _, directions = found
    start = SparseAutoencoder(24, 48, seed=0).W_enc.detach()
    assert best_cosines(directions, start).mean() < 0.6
    assert best_cosines(directions, sae.W_enc).mean() > 0.9


def test_columns_have_length_one_before_and_after_training(found):
    for W_enc in (SparseAutoencoder(24, 48).W_enc.detach(), found[0].W_enc):
        torch.testing.assert_close(W_enc.norm(dim=0), torch.ones(48), rtol=0, atol=1e-5)


def test_the_price_of_activity_buys_sparsity():
    x, _ = planted(4000)
    l0 = [(train_sae(x, 48, l1, 4, 256, 5e-3).encode(x) > 0).float().sum(-1).mean() for l1 in (0.03, 0.3)]
    assert l0[1] < 0.75 * l0[0]


def test_the_same_seed_gives_the_same_autoencoder():
    x, _ = planted(1000)
    one, two, other = (train_sae(x, epochs=1, batch_size=100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.W_enc, two.W_enc) and torch.equal(one.b_enc, two.b_enc)
    assert not torch.equal(one.W_enc, other.W_enc)
    assert one.W_enc.shape == (24, 48), "twice as many features as dimensions, as in the paper"
    assert not one.W_enc.requires_grad and not one.training


def loss(sae, x):
    hidden_pre = sae.hidden_pre(x)
    feature_acts = sae.activate(hidden_pre)
    return sae.loss(x, hidden_pre, feature_acts, sae.decode(feature_acts))


@pytest.mark.parametrize("squared", [False, True])
def test_the_loss_is_the_length_of_the_error_and_the_price_of_activity(squared):
    """Equation 7.2 of the chapter, row by row."""
    x, _ = planted(50)
    sae = SparseAutoencoder(24, 48, 3, 0.3, squared)
    expected = 0.0
    for row in x:
        h = torch.relu(row @ sae.W_enc + sae.b_enc)
        length = (row - h @ sae.W_enc.T).norm()
        expected += (length ** (2 if squared else 1) / 24 + 0.3 * h.sum() / 48) / 50
    torch.testing.assert_close(loss(sae, x), expected)


@pytest.mark.parametrize("kind", [SparseAutoencoder, PublishedSAE])
def test_in_a_stack_each_has_its_own_loss_and_price(kind):
    x, _ = planted(200)
    saes = [kind(24, 48, seed, price) for seed, price in ((3, 0.3), (4, 0.1))]
    torch.testing.assert_close(loss(stack(saes), x), torch.stack([loss(sae, x) for sae in saes]))
    assert stack(saes).to("meta").l1.is_meta, "prices travel with a stack to another device"


def test_a_row_without_error_has_no_gradient():
    sae = SparseAutoencoder(2, 2, l1=0.0)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(2))
    loss(sae, torch.tensor([[1.0, 2.0], [3.0, 1.0]])).backward()
    assert not sae.W_enc.grad.any() and not sae.b_enc.grad.any()


def test_encoder_and_decoder_share_one_matrix():
    sae = SparseAutoencoder(2, 3)
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]]))
        sae.b_enc.copy_(torch.tensor([0.0, -1.0, 0.0]))
    h = sae.encode(torch.tensor([[2.0, 0.5], [-1.0, 3.0]]))
    torch.testing.assert_close(h, torch.tensor([[2.0, 0.0, 1.6], [0.0, 2.0, 1.8]]))
    torch.testing.assert_close(sae.decode(h), torch.tensor([[2.96, 1.28], [1.08, 3.44]]))


@pytest.mark.parametrize(
    "x", [torch.zeros(0, 4), torch.tensor([[1.0, torch.nan]]), torch.tensor([[torch.inf]])]
)
def test_rows_that_cannot_be_fitted_are_refused(x):
    with pytest.raises(OthelloEduError, match="at least one row, and finite numbers"):
        train_sae(x)


# Kinds --------------------------------------------------------------------------------------------------

SETTINGS = dict(epochs=12, batch_size=256, learning_rate=5e-3, schedule=linear_fall)
KINDS = {
    "squared": lambda seed=0: SparseAutoencoder(24, 48, seed, l1=0.8, squared=True),
    "topk": lambda seed=0: TopK(24, 48, 3, seed),
    "jumprelu": lambda seed=0: JumpReLU(24, 48, 2.5, seed),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    x, directions = planted()
    return request.param, fit(KINDS[request.param](), x, **SETTINGS), x, directions


@pytest.mark.parametrize("epochs", [0, 1])
def test_training_goes_on_from_where_it_was(kind, epochs):
    """A learning rate of 0 moves nothing, so that what is left is what the training does before and after."""
    _, sae, x, _ = kind
    again = fit(copy.deepcopy(sae), 3 * x + 1, epochs=epochs, learning_rate=0)
    torch.testing.assert_close(again(x), sae(x), rtol=1e-4, atol=1e-5)


def test_every_kind_finds_planted_features(kind):
    name, sae, x, directions = kind
    assert best_cosines(directions, sae.directions).mean() > 0.9, name
    share = (x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()
    assert share < 0.25
    torch.testing.assert_close(sae.directions.norm(dim=0), torch.ones(48), rtol=0, atol=1e-5)


def test_every_kind_has_the_activity_that_it_was_asked_for(kind):
    name, sae, x, _ = kind
    active = (sae.encode(x) > 0).float().sum(1)
    if name == "topk":
        assert active.max() <= 3
    if name == "jumprelu":
        assert active.mean() == pytest.approx(2.5, rel=0.15)


def test_jumprelu_is_silent_below_its_thresholds_and_unchanged_above():
    sae = JumpReLU(2, 2, 1)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(2))
        sae.log_threshold.copy_(torch.tensor([1.0, 2.0]).log())
    h = sae.encode(torch.tensor([[0.9, 1.9], [1.1, 2.1], [-3.0, 5.0]]))
    torch.testing.assert_close(h, torch.tensor([[0.0, 0.0], [1.1, 2.1], [0.0, 5.0]]))


def test_the_pseudo_derivatives_are_the_papers():
    """Rajamanoharan et al. (2024), equations 11 and 12, with a rectangle as the kernel."""
    z = torch.tensor([0.3, 0.9, 1.1, 3.0], requires_grad=True)
    threshold = torch.tensor(1.0, requires_grad=True)
    slopes = torch.tensor([1.0, 2.0, 3.0, 4.0])
    (sae_module._Jump.apply(z, threshold, 0.5) * slopes).sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([0.0, 0.0, 3.0, 4.0]))
    torch.testing.assert_close(threshold.grad, torch.tensor(-1.0 / 0.5 * (2 + 3)))
    threshold.grad = None
    (sae_module._Step.apply(z, threshold, 0.5) * slopes).sum().backward()
    torch.testing.assert_close(threshold.grad, torch.tensor(-(2 + 3) / 0.5))


def test_topk_keeps_the_largest_and_nothing_negative():
    sae = TopK(3, 3, 2)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(3))
    h = sae.encode(torch.tensor([[3.0, 1.0, 2.0], [-1.0, 4.0, -2.0]]))
    torch.testing.assert_close(h, torch.tensor([[3.0, 0.0, 2.0], [0.0, 4.0, 0.0]]))


def test_dead_features_are_put_to_work(monkeypatch):
    """Features that begin asleep: without help they stay so."""
    x, _ = planted(8000)
    dead = {}
    for weight in (0.0, sae_training.AUXILIARY):
        monkeypatch.setattr(sae_training, "AUXILIARY", weight)
        sae = TopK(24, 48, 3)
        with torch.no_grad():
            sae.b_enc[:24] = -3
        fit(sae, x, epochs=15, batch_size=256, learning_rate=5e-3)
        dead[weight] = float((sae.encode(x) > 0).any(0).logical_not().float().mean())
    assert dead[0.0] > 0.3 and dead[sae_training.AUXILIARY] < dead[0.0] / 2


def test_the_units_of_the_stream_do_not_matter_where_activity_has_no_price():
    x, _ = planted(2000)
    for make in (KINDS["topk"], KINDS["jumprelu"]):
        one, ten = (fit(make(), factor * x, 2, 256, 5e-3) for factor in (1, 10))
        torch.testing.assert_close(10 * one(x), ten(10 * x), rtol=1e-3, atol=1e-2)


# Stacks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["paper", *KINDS])
def test_an_autoencoder_of_a_stack_is_what_it_would_be_alone(name):
    make = KINDS.get(name, lambda seed=0: SparseAutoencoder(24, 48, seed, l1=0.3))
    x, _ = planted(2000)
    settings = dict(epochs=1, batch_size=100, learning_rate=2e-3)
    saes = fit([make(seed) for seed in (4, 5, 6)], x, **settings)
    stacked = stack(saes)
    assert stacked.encode(x[:7]).shape == (3, 7, 48)
    assert stacked(x[:7]).shape == (3, 7, 24)
    for seed, single in zip((4, 5, 6), saes, strict=True):
        alone = fit(make(seed), x, **settings)
        assert type(single) is type(alone) and not single.W_enc.requires_grad
        assert torch.allclose(stacked(x[:7])[seed - 4], single(x[:7]), atol=1e-4)
        torch.testing.assert_close(single.directions, alone.directions, rtol=0, atol=2e-3)
        torch.testing.assert_close(single(x[:7]), alone(x[:7]), rtol=0, atol=2e-2)


def test_only_autoencoders_that_are_alike_are_trained_together():
    x, _ = planted(500)
    prices = [SparseAutoencoder(24, 48, 0, price) for price in (0.1, 0.5)]
    assert fit(prices, x, 1)[1] is prices[1] and prices[1].l1 == 0.5
    for other, what in ((TopK(24, 48, 4), "k"), (TopK(24, 40, 3), "n_features"), (KINDS["jumprelu"](), "k")):
        with pytest.raises(OthelloEduError, match=f"they differ in .*{what}"):
            fit([TopK(24, 48, 3), other], x)
    with pytest.raises(OthelloEduError, match="saes is empty"):
        fit([], x)


def test_a_schedule_falls_in_the_last_fifth_only():
    factors = [linear_fall(step, 100) for step in range(100)]
    assert factors[:80] == [1] * 80 and factors[90] == pytest.approx(0.5) and 0 < factors[99] < 0.1
    x, _ = planted(500)
    still = fit(SparseAutoencoder(24, 48), x, 1, 100, 1e-3, schedule=lambda step, n: 0.0)
    assert torch.equal(still.b_enc, torch.zeros(48))


def test_settings_that_cannot_be_are_refused():
    x, _ = planted(500)
    with pytest.raises(OthelloEduError, match="x has 24 dimensions; the SAE reads 8"):
        fit(SparseAutoencoder(8, 16), x)
    with pytest.raises(OthelloEduError, match="k is 17; it must lie between 1 and .*, 16"):
        TopK(8, 16, 17)
    with pytest.raises(OthelloEduError, match="l0 is 0; it must be above 0, and at most 16 features"):
        JumpReLU(8, 16, 0)
