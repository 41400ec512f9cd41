"""Training of sparse autoencoders: the loop, its schedule, dead features, and several SAEs in one product.

`fit` takes an SAE of any kind in `sae.py`, or a list of SAEs that differ in nothing but their seeds (and
prices). A list is trained as a *stack*: its parameters lie behind each other, so that one batched product
does the work of many small ones, and each comes out as it would alone.

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from . import checks
from .errors import OthelloEduError
from .sae import Autoencoder, SparseAutoencoder, UntiedAutoencoder, keep_largest

DEAD_AFTER = 20_000  # rows that a feature sleeps through before it counts as dead
AUXILIARY = 1 / 32  # weight of what dead features are asked to explain (Gao et al., 2024, appendix A.2)

Given = TypeVar("Given", bound=Autoencoder | Sequence[Autoencoder])  # to be trained: one, or several


def train_sae(
    x: torch.Tensor,
    n_features: int | None = None,
    l1: float = 0.077,
    epochs: int = 4,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> SparseAutoencoder:
    """The paper's SAE of the residual streams of one stage, trained.

    Args:
        x: real [..., d_model], finite.
        n_features: 2 · d_model by default, the paper's.
        l1: the price of activity, as in `SparseAutoencoder`.
        epochs: how often each row is read.
        batch_size: rows of a step.
        learning_rate: of AdamW.
        seed: of the first directions, and of the order of the rows.

    Returns:
        The SAE, in evaluation mode and without gradients.

    Raises:
        OthelloEduError: for what `SparseAutoencoder` or `fit` refuse.

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
    """
    x = checks.reals("x", x, "…", "d_model")
    n_features = 2 * x.shape[-1] if n_features is None else n_features
    sae = SparseAutoencoder(x.shape[-1], n_features, checks.seed("seed", seed), l1)
    return fit(sae, x, epochs, batch_size, learning_rate, order=seed)


def fit(
    sae: Given,
    x: torch.Tensor | Callable[[int], torch.Tensor],
    epochs: int = 4,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    order: int = 0,
    schedule: Callable[[int, int], float] | None = None,
    weight_decay: float = 0.0,
) -> Given:
    """Train an SAE, or a list of them together, on residual streams.

    AdamW on batches of rows, in an order that is the same for all of a list. Deterministic given the seeds
    and the number of threads.

    The paper's SAE is trained on x as it is, for its price is in the units of x, and its dead features stay
    dead. The others see x in units of its standard deviation, and put dead features to work. An SAE that was
    trained before goes on from where it is.

    Args:
        sae: one SAE, or a list of those that `stack` takes. They are trained in place.
        x: real [..., d_model], finite; or a function from the epoch (0, 1, …) to such rows, for streams that
            are drawn anew.
        epochs: how often each row is read; 0 trains nothing.
        batch_size: rows of a step.
        learning_rate: of AdamW.
        order: seed of the order in which rows are read.
        schedule: from (step, number of steps) to a factor of the learning rate; constant by default.
        weight_decay: of AdamW.

    Returns:
        What it got, `sae`, in evaluation mode and without gradients.

    Raises:
        OthelloEduError: for rows that are missing or not finite, or of another width, and for SAEs that do
            not fit into one stack.

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
    """
    settings = (epochs, batch_size, learning_rate, order, schedule, weight_decay)
    if isinstance(sae, list | tuple):
        stacked = stack(sae)
        _train(stacked, x, *settings)
        unstack(stacked, sae)
    elif isinstance(sae, Autoencoder):
        _train(sae, x, *settings)
    else:
        shown = checks.shown(sae)
        raise OthelloEduError(
            f"sae is {shown}; it must be an autoencoder, such as SparseAutoencoder(128, 256)"
        )
    return sae


def _train(
    sae: Autoencoder,
    x: torch.Tensor | Callable[[int], torch.Tensor],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    order: int,
    schedule: Callable[[int, int], float] | None,
    weight_decay: float,
) -> None:
    """`fit` for one SAE, or one stack of them."""
    epochs, batch_size = checks.integer("epochs", epochs, 0), checks.integer("batch_size", batch_size, 1)
    checks.number("learning_rate", learning_rate, low=0)
    order = checks.seed("order", order)
    if schedule is not None and not callable(schedule):
        shown = checks.shown(schedule)
        raise OthelloEduError(f"schedule is {shown}; it must be a function of step and number of steps")
    checks.number("weight_decay", weight_decay, low=0)
    drawn = x if callable(x) else lambda epoch: x
    rows = _rows(drawn(0), sae.d_model)
    scale = 1.0
    if isinstance(sae, UntiedAutoencoder) and epochs > 0:
        mean = rows.mean(0)
        scale = float((rows - mean).square().mean().sqrt()) or 1.0
        if sae.b_dec.any():  # it was trained before, on x as it is
            sae.rescale(1 / scale)
        else:
            with torch.no_grad():
                sae.b_dec.copy_(mean / scale)
    sae.to(rows.device).train().requires_grad_(True)
    adam = torch.optim.AdamW(sae.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    random = torch.Generator().manual_seed(order)
    asleep = torch.tensor(0)  # rows since each feature was last active, [(n_saes,) 1, n_features]
    step, n_steps = 0, epochs * -(-len(rows) // batch_size)
    for epoch in range(epochs):
        if epoch and callable(x):
            rows = _rows(drawn(epoch), sae.d_model)
        for chosen in torch.randperm(len(rows), generator=random).split(batch_size):
            if schedule is not None:
                adam.param_groups[0]["lr"] = learning_rate * schedule(step, n_steps)
            batch = rows[chosen.to(rows.device)] / scale
            hidden_pre = sae.hidden_pre(batch)
            feature_acts = sae.activate(hidden_pre)
            sae_out = sae.decode(feature_acts)
            loss = sae.loss(batch, hidden_pre, feature_acts, sae_out)
            if isinstance(sae, UntiedAutoencoder):
                active = (feature_acts > 0).any(-2, keepdim=True)
                asleep = (asleep + len(batch)) * ~active
                dead = asleep >= DEAD_AFTER
                if dead.any():
                    loss = loss + AUXILIARY * unexplained(sae, batch - sae_out, hidden_pre, dead)
            sae.zero_grad()
            loss.sum().backward()
            adam.step()
            sae.normalise()
            step += 1
    if isinstance(sae, UntiedAutoencoder) and epochs > 0:
        sae.rescale(scale)
    sae.eval().requires_grad_(False)


def unexplained(
    sae: UntiedAutoencoder, error: torch.Tensor, hidden_pre: torch.Tensor, dead: torch.Tensor
) -> torch.Tensor:
    """What the dead features nearest to waking cannot explain of what the others leave.

    A share of the error. Through it a gradient reaches dead features again.

    Args:
        sae: of n_features features.
        error: float [n, d_model], `x − sae_out`.
        hidden_pre: float [n, n_features].
        dead: bool [1, n_features].

    Returns:
        A number, 0 for an SAE without dead features; of a stack, one for each SAE.

    References:
        Gao et al. (2024), appendix A.2.
    """
    k = min(sae.d_model // 2, int(dead.sum(-1).max()))
    feature_acts = keep_largest(hidden_pre.masked_fill(~dead, -torch.inf), k)
    error = error.detach()
    rest = error - feature_acts @ sae.W_dec
    share = rest.square().sum(-1).mean(-1) / error.square().sum(-1).mean(-1)
    return torch.where(dead.any((-2, -1)), share, 0.0)


def linear_fall(step: int, n_steps: int) -> float:
    """A schedule for `fit`: the full learning rate, and in the last fifth of the steps a line to zero.

    Args:
        step: steps done.
        n_steps: steps in all.

    Returns:
        A factor of the learning rate, at most 1.

    Example:
        >>> [round(linear_fall(step, 10), 2) for step in (0, 8, 9)]
        [1.0, 1.0, 0.5]
    """
    return min(1.0, 5 * (1 - checks.integer("step", step, 0) / checks.integer("n_steps", n_steps, 1)))


def _rows(x, d_model):
    x = checks.reals("x", x, "…", "d_model")
    if x.shape[-1] != d_model:
        raise OthelloEduError(f"x has {x.shape[-1]} dimensions; the SAE reads {d_model}")
    x = x.reshape(-1, d_model).float()
    if len(x) == 0 or not checks.is_finite(x):
        raise OthelloEduError("x needs at least one row, and finite numbers only")
    return x


# Stacks ----------------------------------------------------------------------------------------------

_SHARED = ("d_model", "n_features", "squared", "k", "l0", "strength")  # settings that have no axis of a stack


def stack(saes: Sequence[Autoencoder]) -> Autoencoder:
    """SAEs of one kind and shape as one, `[n, d_model] -> [n_saes, n, n_features]`.

    Matrices get an axis in front, [n_saes, d_model, n_features], and vectors one more for the rows, [n_saes,
    1, n_features]: the products and sums in `sae.py` then mean the same for each of them.

    Args:
        saes: a list of SAEs that are alike; only their prices of activity may differ.

    Returns:
        One with a copy of their parameters.

    Raises:
        OthelloEduError: for an empty list, and for SAEs that differ in anything else.
    """
    if not checks.kind_of("saes", saes, (list, tuple), "a list of SAEs"):
        raise OthelloEduError("saes is empty; a stack needs at least one")
    for sae in saes:
        checks.kind_of("sae", sae, Autoencoder, "an autoencoder, such as SparseAutoencoder(128, 256)")
    first, stacked = saes[0], copy.deepcopy(saes[0])
    for sae in saes:
        differ = [name for name in _SHARED if getattr(sae, name, None) != getattr(first, name, None)]
        if type(sae) is not type(first) or differ:
            what = ", ".join(differ) or f"kind, {type(first).__name__} and {type(sae).__name__}"
            raise OthelloEduError(f"SAEs that are trained together must be alike: they differ in {what}")
    for name, parameter in first.named_parameters():
        values = torch.stack([sae.get_parameter(name).detach() for sae in saes])
        setattr(stacked, name, nn.Parameter(values if parameter.ndim == 2 else values[:, None]))
    if isinstance(first, SparseAutoencoder):
        del stacked.l1
        stacked.register_buffer("l1", torch.tensor([sae.l1 for sae in saes]))
    return stacked


@torch.no_grad()
def unstack(stacked: Autoencoder, saes: Sequence[Autoencoder]) -> list[Autoencoder]:
    """Give the parameters of a stack back to the SAEs that it was made of.

    Args:
        stacked: what `stack` has made of them.
        saes: these.

    Returns:
        A list of these.
    """
    for index, sae in enumerate(saes):
        sae.to(stacked.b_enc.device).train(stacked.training)
        for name, parameter in sae.named_parameters():
            parameter.copy_(stacked.get_parameter(name)[index].view_as(parameter))
            parameter.requires_grad_(stacked.b_enc.requires_grad)
    return list(saes)
