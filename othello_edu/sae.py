"""Sparse autoencoders: describe a residual stream as a few active features out of many.

An SAE looks at a row x of the stream in two steps, and is trained on a third::

    hidden_pre   = what each feature receives            [..., n_features]
    feature_acts = what is left of it: few are above 0   [..., n_features]
    sae_out      = the stream that these describe        [..., d_model]

Three kinds, which differ in how they stay sparse:

- `SparseAutoencoder`, the paper's (Du et al., 2025): one matrix reads and writes, activity has a price;
- `TopK` (Gao et al., 2024): the k largest activations stay, the others are 0;
- `JumpReLU` (Rajamanoharan et al., 2024): each feature learns a threshold of its own.

Names and shapes are SAELens': W_enc [d_model, n_features], W_dec [n_features, d_model], b_enc [n_features],
b_dec [d_model]. A row of W_dec is what a feature adds to the stream; it has length 1 in all three (the
paper's code normalises the other axis of its matrix). `sae_training.fit` trains them.

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
"""

import torch
from torch import nn
from torch.nn import functional as F

from . import checks
from .directions import random_directions
from .errors import OthelloEduError


class Autoencoder(nn.Module):
    """What all kinds share: what is done with a row, in which order. Each kind says how.

    Where parameters begin with one more axis (`sae_training.stack`), so does all that comes out.

    Args:
        d_model: dimensions of the stream.
        n_features: how many features describe it.

    Raises:
        OthelloEduError: where one of them is no integer from 1 up.
    """

    W_enc: torch.Tensor
    W_dec: torch.Tensor
    b_enc: torch.Tensor

    def __init__(self, d_model: int, n_features: int):
        super().__init__()
        self.d_model = checks.integer("d_model", d_model, 1)
        self.n_features = checks.integer("n_features", n_features, 1)

    def hidden_pre(self, x: torch.Tensor) -> torch.Tensor:
        """What the features receive, before small or negative ones are silenced.

        Args:
            x: float [..., d_model], residual streams.

        Returns:
            float [..., n_features].
        """
        raise NotImplementedError

    def activate(self, hidden_pre: torch.Tensor) -> torch.Tensor:
        """What is left of what the features receive: few features, and none below 0.

        Args:
            hidden_pre: float [..., n_features].

        Returns:
            float [..., n_features], at least 0.
        """
        raise NotImplementedError

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activations of the features.

        Args:
            x: float [..., d_model], residual streams.

        Returns:
            float [..., n_features], all at least 0.

        Raises:
            OthelloEduError: for rows of another width.

        Example:
            >>> SparseAutoencoder(d_model=4, n_features=8).encode(torch.zeros(10, 4)).shape
            torch.Size([10, 8])
        """
        return self.activate(self.hidden_pre(x))

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """The residual stream that these activations describe.

        Args:
            feature_acts: float [..., n_features].

        Returns:
            float [..., d_model].
        """
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction of x.

        Args:
            x: float [..., d_model], residual streams.

        Returns:
            float [..., d_model].
        """
        return self.decode(self.encode(x))

    def loss(
        self, x: torch.Tensor, hidden_pre: torch.Tensor, feature_acts: torch.Tensor, sae_out: torch.Tensor
    ) -> torch.Tensor:
        """What training makes small.

        Args:
            x: float [n, d_model], residual streams.
            hidden_pre: float [n, n_features], what the features received.
            feature_acts: float [n, n_features], what was left of it.
            sae_out: float [n, d_model], the reconstruction.

        Returns:
            A number; of a stack, one for each SAE.
        """
        raise NotImplementedError

    @property
    def directions(self) -> torch.Tensor:
        """What each feature adds to the stream for an activation of 1, in columns [d_model, n_features]."""
        return self.W_dec.mT

    @torch.no_grad()
    def normalise(self) -> None:
        """Give the directions length 1 again, so that an activation is a length along its feature."""
        self.W_dec.copy_(F.normalize(self.W_dec, dim=-1))


# The paper's -----------------------------------------------------------------------------------------


class SparseAutoencoder(Autoencoder):
    """The paper's SAE: tied weights, and a bias on the encoder only.

    A row x becomes activations h, and these a reconstruction x̂::

        h = relu(x W + b)
        x̂ = h Wᵀ

    W_enc [d_model, n_features] and b_enc [n_features] are trained; W_dec is W_encᵀ, and there is no b_dec.
    The loss is the length of the error, as the paper's code has it, and the price of activity::

        mean ‖x − x̂‖₂ / d_model + l1 · mean ‖h‖₁ / n_features

    Args:
        d_model: dimensions of the stream.
        n_features: how many features describe it.
        seed: of the first W_enc, whose columns have length 1.
        l1: the price of activity, in the units of the stream; at least 0.
        squared: the loss takes the square of the length instead, as most others do.

    Raises:
        OthelloEduError: for arguments that are none of this.

    References:
        Du et al. (2025), and its public code.

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`; `sae_training.train_sae`.
    """

    def __init__(
        self, d_model: int, n_features: int, seed: int = 0, l1: float = 0.077, squared: bool = False
    ):
        super().__init__(d_model, n_features)
        checks.number("l1", l1, low=0)
        checks.kind_of("squared", squared, bool, "True or False")
        self.l1, self.squared = l1, squared
        self._initialise(seed)

    def _initialise(self, seed):
        self.W_enc = nn.Parameter(random_directions(self.d_model, self.n_features, seed))
        self.b_enc = nn.Parameter(torch.zeros(self.n_features))

    @property
    def W_dec(self) -> torch.Tensor:  # type: ignore[override]  # it follows W_enc, and nobody sets it
        """The same matrix, turned round, [n_features, d_model]."""
        return self.W_enc.mT

    def hidden_pre(self, x: torch.Tensor) -> torch.Tensor:
        """How far `x` [..., d_model] reaches along each feature, plus its bias, [..., n_features]."""
        return checks.reals("x", x, "…", self.d_model) @ self.W_enc + self.b_enc

    def activate(self, hidden_pre: torch.Tensor) -> torch.Tensor:
        """What is below 0 in `hidden_pre` [..., n_features] becomes 0."""
        return F.relu(hidden_pre)

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """The directions laid end to end, each as long as `feature_acts` [..., n_features] says."""
        return feature_acts @ self.W_dec

    def loss(
        self, x: torch.Tensor, hidden_pre: torch.Tensor, feature_acts: torch.Tensor, sae_out: torch.Tensor
    ) -> torch.Tensor:
        """The description is off, and it talks too much.

        Args:
            x: float [n, d_model], residual streams.
            hidden_pre: not used.
            feature_acts: float [n, n_features].
            sae_out: float [n, d_model], the reconstruction.

        Returns:
            A number; of a stack, one for each SAE.
        """
        error = torch.linalg.vector_norm(x - sae_out, dim=-1)  # [n]
        error = error.square() if self.squared else error
        activity = feature_acts.sum(-1)  # [n]
        return error.mean(-1) / self.d_model + self.l1 * activity.mean(-1) / self.n_features


# Those with an encoder of their own ------------------------------------------------------------------


class UntiedAutoencoder(Autoencoder):
    """What TopK and JumpReLU share: an encoder of its own, and a decoder bias, which the encoder takes away.

    W_enc [d_model, n_features], b_enc [n_features], W_dec [n_features, d_model], b_dec [d_model]; at first
    W_dec is W_encᵀ::

        h = sparse((x − b_dec) W_enc + b_enc)
        x̂ = h W_dec + b_dec

    Args:
        d_model: dimensions of the stream.
        n_features: how many features describe it.
        seed: of the first directions.
    """

    b_dec: torch.Tensor

    def __init__(self, d_model: int, n_features: int, seed: int):
        super().__init__(d_model, n_features)
        directions = random_directions(self.d_model, self.n_features, seed)
        self.W_enc = nn.Parameter(directions)
        self.W_dec = nn.Parameter(directions.T.contiguous())
        self.b_enc = nn.Parameter(torch.zeros(self.n_features))
        self.b_dec = nn.Parameter(torch.zeros(self.d_model))

    def hidden_pre(self, x: torch.Tensor) -> torch.Tensor:
        """What each feature reads in `x` − b_dec, and its bias, [..., d_model] -> [..., n_features]."""
        return (checks.reals("x", x, "…", self.d_model) - self.b_dec) @ self.W_enc + self.b_enc

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """The active features' directions, as `feature_acts` [..., n_features] says, added to b_dec."""
        return feature_acts @ self.W_dec + self.b_dec

    def loss(
        self, x: torch.Tensor, hidden_pre: torch.Tensor, feature_acts: torch.Tensor, sae_out: torch.Tensor
    ) -> torch.Tensor:
        """The share of the variance that is missed: activity needs no price, and units do not matter.

        Args:
            x: float [n, d_model], residual streams.
            hidden_pre: not used.
            feature_acts: not used.
            sae_out: float [n, d_model], the reconstruction.

        Returns:
            A number; of a stack, one for each SAE.
        """
        error = (x - sae_out).square().sum(-1).mean(-1)
        return error / (x - x.mean(0)).square().sum(-1).mean()

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        """Turn an SAE of `x / scale` into the same one of x: what is a length grows, directions stay.

        Args:
            scale: above 0.

        Raises:
            OthelloEduError: for a scale that is not.
        """
        checks.number("scale", scale, above=0)
        self.b_enc *= scale
        self.b_dec *= scale


class TopK(UntiedAutoencoder):
    """The k largest activations of each row stay: L0 is what you ask for, at most.

    Args:
        d_model: dimensions of the stream.
        n_features: how many features describe it.
        k: active features of a row, at most; 1 to n_features.
        seed: of the first directions.

    Raises:
        OthelloEduError: for arguments that are none of this.

    References:
        Gao et al. (2024).

    Example:
        >>> acts = TopK(d_model=4, n_features=8, k=2).encode(torch.eye(4))
        >>> int((acts > 0).sum(1).max()) <= 2
        True

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`; `sae_training.fit`.
    """

    def __init__(self, d_model: int, n_features: int, k: int, seed: int = 0):
        super().__init__(d_model, n_features, seed)
        self.k = checks.integer("k", k)
        if not 1 <= self.k <= n_features:
            raise OthelloEduError(f"k is {k}; it must lie between 1 and the number of features, {n_features}")

    def activate(self, hidden_pre: torch.Tensor) -> torch.Tensor:
        """At most k of `hidden_pre` [..., n_features], and 0 for the others."""
        return keep_largest(hidden_pre, self.k)


def keep_largest(hidden_pre: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest numbers of each row where they are above 0, and 0 elsewhere.

    Args:
        hidden_pre: real [..., n_features].
        k: 0 to n_features.

    Returns:
        The same shape and type.

    Raises:
        OthelloEduError: for what is no such array or number.

    Example:
        >>> keep_largest(torch.tensor([[3.0, 1.0, 2.0], [-1.0, -2.0, 5.0]]), k=2).tolist()
        [[3.0, 0.0, 2.0], [0.0, 0.0, 5.0]]
    """
    hidden_pre = checks.reals("hidden_pre", hidden_pre, "…", "n_features")
    k = checks.integer("k", k, 0, hidden_pre.shape[-1])
    values, places = hidden_pre.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(hidden_pre).scatter(-1, places, F.relu(values))


class JumpReLU(UntiedAutoencoder):
    """Each feature is silent below a threshold that it learns, and unchanged above it.

    threshold [n_features] is kept as its logarithm, so that it stays above 0. The loss is the share of the
    variance that is missed plus a price of being more or less active than asked::

        strength · (L0 / l0 − 1)²

    The step at the threshold has no useful gradient, and gets a pseudo-derivative of width `bandwidth`, in
    units of the stream's standard deviation, as thresholds are while training.

    Args:
        d_model: dimensions of the stream.
        n_features: how many features describe it.
        l0: how many active features a row should have on average; above 0, at most n_features.
        seed: of the first directions.
        strength: of that price; at least 0.

    Raises:
        OthelloEduError: for arguments that are none of this.

    References:
        Rajamanoharan et al. (2024), sections 3 and 4.

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`; `sae_training.fit`.
    """

    bandwidth = 0.5  # in units of the stream's standard deviation, as thresholds are while training

    log_threshold: torch.Tensor

    def __init__(self, d_model: int, n_features: int, l0: float, seed: int = 0, strength: float = 0.1):
        super().__init__(d_model, n_features, seed)
        checks.number("strength", strength, low=0)
        if not 0 < checks.number("l0", l0) <= n_features:
            raise OthelloEduError(f"l0 is {l0}; it must be above 0, and at most {n_features} features")
        self.l0, self.strength = l0, strength
        self.log_threshold = nn.Parameter(torch.full((n_features,), 0.5).log())

    @property
    def threshold(self) -> torch.Tensor:
        """What a feature must receive to be active, [n_features]."""
        return self.log_threshold.exp()

    def activate(self, hidden_pre: torch.Tensor) -> torch.Tensor:
        """0, or what is above the feature's threshold in `hidden_pre`, [..., n_features]."""
        return _Jump.apply(hidden_pre, self.threshold, self.bandwidth)

    def loss(
        self, x: torch.Tensor, hidden_pre: torch.Tensor, feature_acts: torch.Tensor, sae_out: torch.Tensor
    ) -> torch.Tensor:
        """Share of the variance that is missed, and a price of being more or less active than asked.

        Args:
            x: float [n, d_model], residual streams.
            hidden_pre: float [n, n_features], what the features received.
            feature_acts: float [n, n_features].
            sae_out: float [n, d_model], the reconstruction.

        Returns:
            A number; of a stack, one for each SAE.
        """
        l0 = _Step.apply(hidden_pre, self.threshold, self.bandwidth).sum(-1).mean(-1)
        missed = super().loss(x, hidden_pre, feature_acts, sae_out)
        return missed + self.strength * (l0 / self.l0 - 1).square()

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        """Turn an SAE of x divided by `scale` into the same one of x."""
        super().rescale(scale)
        self.log_threshold += torch.tensor(scale).log()


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
