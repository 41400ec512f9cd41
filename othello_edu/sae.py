"""Sparse autoencoders: describe a residual stream as a few active features out of many.

Three kinds, which differ in how they stay sparse:

- `SparseAutoencoder`, the paper's (Du et al., 2025): one matrix reads and writes, activity has a price;
- `TopK` (Gao et al., 2024): the k largest activations stay, the others are 0;
- `JumpReLU` (Rajamanoharan et al., 2024): each feature learns a threshold of its own.

Features' directions have length 1 in all three (the paper's code normalises the other axis of its matrix).
`fit` trains them. Several of one kind, with seeds of their own, train as a *stack*: one batched product
instead of many small ones, and every one of them as it would be alone.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from . import checks
from .errors import OthelloEduError

DEAD_AFTER = 20_000  # rows that a feature sleeps through before it counts as dead while training
AUXILIARY = 1 / 32  # weight of what dead features are asked to explain (Gao et al., 2024, appendix A.2)


class Autoencoder(nn.Module):
    """What all kinds share: weight [d_model, n_features], whose columns are written, and bias [n_features].

    Where the seed is a sequence, all shapes begin with one more axis, and the module is a stack.
    """

    rescales = False  # whether `fit` may bring the stream to a size of its own

    def __init__(self, d_model: int, n_features: int, seed: int | Sequence[int]):
        super().__init__()
        checks.integer("d_model", d_model, 1)
        checks.integer("n_features", n_features, 1)
        self._start(d_model, n_features, seed)

    def _start(self, d_model, n_features, seed):
        self.weight = nn.Parameter(F.normalize(random_matrix(d_model, n_features, seed), dim=-2))
        self.bias = nn.Parameter(torch.zeros_like(self.weight[..., 0, :]))

    @property
    def d_model(self) -> int:
        """Dimensions that it reads and writes."""
        return self.directions.shape[-2]

    @property
    def n_features(self) -> int:
        """Features that it has."""
        return self.directions.shape[-1]

    @property
    def directions(self) -> torch.Tensor:
        """What each feature adds to the stream for an activation of 1, [..., d_model, n_features]."""
        return self.weight

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activations of the features, [..., d_model] -> [..., n_features], all at least 0."""
        raise NotImplementedError

    def decode(self, h: torch.Tensor) -> torch.Tensor:
        """The residual stream that these activations describe, [..., n_features] -> [..., d_model]."""
        return h @ self.weight.mT

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction of x."""
        return self.decode(self.encode(x))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """What training makes small, on rows x [n, d_model]: a number, or one for each of a stack."""
        raise NotImplementedError

    def set_gradients(self, x: torch.Tensor) -> None:
        """Put the gradient of `loss`, summed over a stack, into the parameters' `grad`."""
        self.zero_grad()
        self.loss(x).sum().backward()

    @torch.no_grad()
    def after_step(self) -> None:
        """Give the directions length 1 again, so that an activation is a length along its feature."""
        self.weight.copy_(F.normalize(self.weight, dim=-2))

    def unstack(self) -> list:
        """The autoencoders of a stack, one by one; a list of one where there is no stack."""
        if self.directions.ndim == 2:
            return [self]
        singles = []
        for index in range(len(self.directions)):
            single = self._single(index)
            state = {name: value[index].clone() for name, value in self.state_dict().items()}
            single.load_state_dict(state)
            singles.append(single.train(self.training).requires_grad_(self.bias.requires_grad))
        return singles

    def _single(self, index):
        """One of the shape and the settings of the stack's `index`-th."""
        raise NotImplementedError

    def _stream(self, x):
        """x as a tensor, if it has the width of what this reads."""
        return checks.reals("x", x, "…", self.d_model)

    def _row(self, vector):
        """A vector of each autoencoder of the stack, so that it adds to rows [n, …] of each."""
        return vector if self.directions.ndim == 2 else vector.unsqueeze(-2)


class SparseAutoencoder(Autoencoder):
    """The paper's SAE: `h = relu(x W + b)`, `x̂ = h Wᵀ`, tied weights, a bias on the encoder only.

    weight [d_model, n_features], bias [n_features]. seed: of the initial weights; a sequence of seeds gives
    a stack. l1: the price of activity, in a stack one for all or one for each.

    Its loss is mean ‖x − x̂‖₂ / d_model + l1 · mean ‖h‖₁ / n_features: the length of the error, as the
    paper's code has it, or with `squared` the square of the length, as most others do.
    """

    def __init__(
        self,
        d_model: int,
        n_features: int,
        seed: int | Sequence[int] = 0,
        l1: float | Sequence[float] = 0.077,
        squared: bool = False,
    ):
        prices = l1 if isinstance(l1, Sequence) else [l1]
        for price in prices:
            checks.number("l1", price, low=0)
        if isinstance(l1, Sequence) and (not isinstance(seed, Sequence) or len(l1) != len(seed)):
            raise OthelloEduError(f"l1 has {len(l1)} prices; give one, or one for each seed of a stack")
        checks.kind_of("squared", squared, bool, "True or False")
        super().__init__(d_model, n_features, seed)
        self.l1, self.squared = l1, squared

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activations of the features, [..., d_model] -> [..., n_features], all at least 0."""
        return F.relu(self._stream(x) @ self.weight + self._row(self.bias))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """What training makes small, on rows x [n, d_model]: a number, or one for each of a stack."""
        h = self.encode(x)
        error = torch.linalg.vector_norm(x - self.decode(h), dim=-1)
        error = error.square() if self.squared else error
        price = torch.as_tensor(self.l1, dtype=h.dtype, device=h.device)
        return error.mean(-1) / self.d_model + price * h.sum(-1).mean(-1) / self.n_features

    @torch.no_grad()
    def set_gradients(self, x: torch.Tensor) -> None:
        """Put the gradient of `loss`, summed over a stack, into the parameters' `grad`."""
        self.weight.grad, self.bias.grad = self._gradients(x, self.weight)

    def _gradients(self, x, weight):
        """Of the weight and of the bias, by hand: fewer passes over the activations, which are many."""
        stack = weight if weight.ndim == 3 else weight[None]
        rows = x.expand(len(stack), *x.shape)
        h = torch.baddbmm(self.bias.view(len(stack), 1, -1), rows, stack).relu_()
        error = torch.baddbmm(rows, h, stack.mT, alpha=-1)
        per_row = len(x) * self.d_model
        if self.squared:
            error *= 2 / per_row
        else:  # the gradient of a length is a direction; where there is no error there is none
            error /= torch.linalg.vector_norm(error, dim=-1, keepdim=True).clamp(min=1e-12) * per_row
        price = torch.as_tensor(self.l1, dtype=h.dtype, device=h.device) / (len(x) * self.n_features)
        of_h = torch.baddbmm(price.view(-1, 1, 1), error, stack, alpha=-1)
        of_h *= h > 0
        of_weight = torch.baddbmm(rows.mT @ of_h, error.mT, h, alpha=-1)
        return of_weight.view_as(weight), of_h.sum(1).view_as(self.bias)

    def _single(self, index):
        l1 = self.l1[index] if isinstance(self.l1, Sequence) else self.l1
        return type(self)(self.d_model, self.n_features, index, l1, self.squared)


class _Untied(Autoencoder):
    """An encoder of its own, a decoder bias, and dead features that are put to work.

    encoder [d_model, n_features], bias [n_features], weight [d_model, n_features] (of the decoder),
    centre [d_model]: `h = sparse((x − centre) encoder + bias)`, `x̂ = h weightᵀ + centre`.
    """

    rescales = True

    def __init__(self, d_model: int, n_features: int, seed: int | Sequence[int]):
        super().__init__(d_model, n_features, seed)
        self.encoder = nn.Parameter(self.weight.detach().clone())
        self.centre = nn.Parameter(torch.zeros_like(self.weight[..., 0]))
        self.register_buffer("idle", torch.zeros_like(self.bias), persistent=False)

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """What the features receive before the small ones are silenced, [..., n_features]."""
        return (self._stream(x) - self._row(self.centre)) @ self.encoder + self._row(self.bias)

    def decode(self, h: torch.Tensor) -> torch.Tensor:
        """[..., n_features] -> [..., d_model]."""
        return h @ self.weight.mT + self._row(self.centre)

    def rescale(self, scale: float) -> None:
        """Turn an autoencoder of x / scale into the same one of x."""
        checks.number("scale", scale, above=0)
        for vector in (self.bias, self.centre):
            vector.data *= scale

    def _loss(self, x, before, h):
        """Share of the variance that is missed, and what dead features could explain of the rest."""
        error = x - self.decode(h)
        variance = (x - x.mean(0)).square().sum(-1).mean()
        loss = error.square().sum(-1).mean(-1) / variance
        with torch.no_grad():
            self.idle += len(x)
            self.idle[(h > 0).any(-2)] = 0
            dead = self.idle >= DEAD_AFTER
        if not dead.any():
            return loss
        # The dead features nearest to waking explain what the others leave: a gradient reaches them again.
        k = min(self.d_model // 2, int(dead.sum(-1).max()))
        asleep = before.masked_fill(~self._row(dead), -torch.inf)
        rest = error.detach()
        said = keep_largest(asleep, k) @ self.weight.mT
        unexplained = (rest - said).square().sum(-1).mean(-1) / rest.square().sum(-1).mean(-1)
        return loss + AUXILIARY * torch.where(dead.any(-1), unexplained, 0.0)


class TopK(_Untied):
    """The k largest activations of each row stay (Gao et al., 2024): L0 is what you ask for, at most."""

    def __init__(self, d_model: int, n_features: int, k: int, seed: int | Sequence[int] = 0):
        super().__init__(d_model, n_features, seed)
        k = checks.integer("k", k)
        if not 1 <= k <= n_features:
            raise OthelloEduError(f"k is {k}; it must lie between 1 and the number of features, {n_features}")
        self.k = k

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """[..., d_model] -> [..., n_features], at most k of them above 0."""
        return keep_largest(self.before(x), self.k)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Share of the variance that is missed."""
        before = self.before(x)
        return self._loss(x, before, keep_largest(before, self.k))

    def _single(self, index):
        return TopK(self.d_model, self.n_features, self.k, index)


class JumpReLU(_Untied):
    """Each feature is silent below a threshold that it learns, and unchanged above it.

    l0: how many active features a row should have on average. The loss is the share of the variance that is
    missed plus strength · (L0 / l0 − 1)²; the step at the threshold has no useful gradient, and gets a
    pseudo-derivative of width `bandwidth` (Rajamanoharan et al., 2024, sections 3 and 4).
    """

    bandwidth = 0.5  # in units of the stream's standard deviation, as thresholds are while training

    def __init__(
        self,
        d_model: int,
        n_features: int,
        l0: float,
        seed: int | Sequence[int] = 0,
        strength: float = 0.1,
    ):
        super().__init__(d_model, n_features, seed)
        checks.number("strength", strength, low=0)
        if not 0 < checks.number("l0", l0) <= n_features:
            raise OthelloEduError(f"l0 is {l0}; it must be above 0, and at most {n_features} features")
        self.l0, self.strength = l0, strength
        self.log_threshold = nn.Parameter(torch.full_like(self.bias, 0.5).log())

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """[..., d_model] -> [..., n_features], 0 or above the feature's threshold."""
        return _Jump.apply(self.before(x), self._row(self.log_threshold.exp()), self.bandwidth)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Share of the variance that is missed, and a price of being more or less active than asked."""
        before, threshold = self.before(x), self._row(self.log_threshold.exp())
        h = _Jump.apply(before, threshold, self.bandwidth)
        l0 = _Step.apply(before, threshold, self.bandwidth).sum(-1).mean(-1)
        return self._loss(x, before, h) + self.strength * (l0 / self.l0 - 1).square()

    def rescale(self, scale: float) -> None:
        """Turn an autoencoder of x / scale into the same one of x."""
        super().rescale(scale)
        self.log_threshold.data += torch.tensor(scale).log()

    def _single(self, index):
        return JumpReLU(self.d_model, self.n_features, self.l0, index, self.strength)


class _Jump(torch.autograd.Function):
    """z where z is above the threshold, else 0."""

    @staticmethod
    def forward(ctx, z, threshold, bandwidth):
        active = z > threshold
        ctx.save_for_backward(z, threshold, active)
        ctx.bandwidth = bandwidth
        return z * active

    @staticmethod
    def backward(ctx, gradient):
        z, threshold, active = ctx.saved_tensors
        near = (z - threshold).abs() < ctx.bandwidth / 2
        of_threshold = -(threshold / ctx.bandwidth) * near * gradient
        return gradient * active, of_threshold.sum_to_size(threshold.shape), None


class _Step(torch.autograd.Function):
    """1 where z is above the threshold, else 0; only the threshold learns from it."""

    @staticmethod
    def forward(ctx, z, threshold, bandwidth):
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx, gradient):
        z, threshold = ctx.saved_tensors
        near = (z - threshold).abs() < ctx.bandwidth / 2
        return None, (near * gradient / -ctx.bandwidth).sum_to_size(threshold.shape), None


def keep_largest(before: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest numbers of each row where they are above 0, and 0 elsewhere, [..., n_features]."""
    before = checks.reals("before", before, "…", "n_features")
    values, places = before.topk(checks.integer("k", k, 0, before.shape[-1]), dim=-1, sorted=False)
    return torch.zeros_like(before).scatter(-1, places, F.relu(values))


def random_matrix(rows: int, columns: int, seed: int | Sequence[int]) -> torch.Tensor:
    """Standard normal numbers [rows, columns], or for a sequence of seeds [n_seeds, rows, columns]."""

    stack = isinstance(seed, Sequence)
    seeds = [checks.seed("seed", s) for s in (seed if stack else [seed])]
    if not seeds:
        raise OthelloEduError("seed is an empty sequence; a stack needs at least one")
    rows, columns = checks.integer("rows", rows, 1), checks.integer("columns", columns, 1)
    checks.memory(f"{len(seeds)} matrices of {rows} x {columns}", 4 * len(seeds) * rows * columns)
    made = [torch.randn(rows, columns, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(made) if stack else made[0]


def linear_fall(step: int, n_steps: int) -> float:
    """A schedule for `fit`: the full learning rate, and in the last fifth of the steps a line to zero."""
    return min(1.0, 5 * (1 - checks.integer("step", step, 0) / checks.integer("n_steps", n_steps, 1)))


def fit(
    sae: Autoencoder,
    x: torch.Tensor | Callable[[int], torch.Tensor],
    epochs: int = 4,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    order: int = 0,
    schedule: Callable[[int, int], float] | None = None,
    weight_decay: float = 0.0,
) -> Autoencoder:
    """Train an SAE, or a stack of them, on residual streams x [..., d_model] of one stage; returns it.

    x may also be a function from the epoch (0, 1, …) to such rows, for streams that are drawn anew. AdamW on
    batches of rows in an order drawn from the seed `order`, the same for all of a stack. schedule: from
    (step, number of steps) to a factor of the learning rate; constant by default. Deterministic given the
    seeds and the number of threads. Raises OthelloEduError for rows that are missing or not finite, or of
    another width.
    """
    checks.kind_of("sae", sae, Autoencoder, "an autoencoder, such as SparseAutoencoder(128, 256)")
    epochs, batch_size = checks.integer("epochs", epochs, 0), checks.integer("batch_size", batch_size, 1)
    checks.number("learning_rate", learning_rate, low=0)
    order = checks.seed("order", order)
    checks.kind_of("schedule", schedule, (Callable, type(None)), "a function of step and number of steps")
    checks.number("weight_decay", weight_decay, low=0)
    drawn = x if callable(x) else lambda epoch: x
    rows = _rows(drawn(0), sae.d_model)
    scale = 1.0
    if sae.rescales:
        mean = rows.mean(0)
        scale = float((rows - mean).square().mean().sqrt()) or 1.0
        with torch.no_grad():
            sae.centre.copy_(mean / scale)
    sae.to(rows.device).train().requires_grad_(True)
    adam = torch.optim.AdamW(sae.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    random = torch.Generator().manual_seed(order)
    step, n_steps = 0, epochs * -(-len(rows) // batch_size)
    for epoch in range(epochs):
        if epoch and callable(x):
            rows = _rows(drawn(epoch), sae.d_model)
        for chosen in torch.randperm(len(rows), generator=random).split(batch_size):
            if schedule is not None:
                adam.param_groups[0]["lr"] = learning_rate * schedule(step, n_steps)
            batch = rows[chosen.to(rows.device)]
            sae.set_gradients(batch / scale if sae.rescales else batch)
            adam.step()
            sae.after_step()
            step += 1
    if sae.rescales:
        sae.rescale(scale)
    return sae.eval().requires_grad_(False)


def train_sae(
    x: torch.Tensor,
    n_features: int | None = None,
    l1: float = 0.077,
    epochs: int = 4,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> SparseAutoencoder:
    """The paper's SAE of residual streams x [..., d_model] of one stage, trained.

    n_features: 2 · d_model by default, the paper's. For the other arguments, and what is refused, see
    `SparseAutoencoder` and `fit`.
    """
    x = checks.reals("x", x, "…", "d_model")
    n_features = 2 * x.shape[-1] if n_features is None else n_features
    sae = SparseAutoencoder(x.shape[-1], n_features, checks.seed("seed", seed), l1)
    return fit(sae, x, epochs, batch_size, learning_rate, order=seed)


def _rows(x, d_model):
    x = checks.reals("x", x, "…", "d_model")
    if x.shape[-1] != d_model:
        raise OthelloEduError(f"x has {x.shape[-1]} dimensions; the SAE reads {d_model}")
    x = x.reshape(-1, d_model).float()
    if len(x) == 0 or not checks.is_finite(x):
        raise OthelloEduError("x needs at least one row, and finite numbers only")
    return x
